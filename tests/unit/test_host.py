"""What a kept host does with services that failed, recovered, or cannot be looked at."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from pathlib import Path
from secrets import token_hex
from types import SimpleNamespace
from typing import Any

import pytest

from pytest_testbed.errors import ServiceDied
from pytest_testbed.services import host as host_module
from pytest_testbed.services.host import Host
from pytest_testbed.services.model import Endpoint
from pytest_testbed.services.serve import Conversation
from pytest_testbed.services.starting import Slot
from pytest_testbed.testing import FakeProvider, FakeServer, fake_spec

HERE = __name__


class Moody(FakeServer):
    """A fake server that can be told to misbehave."""

    fault_of_restart: Exception | None = None
    fault_of_look: Exception | None = None
    ended: str | None = None
    gate = threading.Event()
    """Closed, it lets no server come up."""
    launching = threading.Event()
    """Set by a launch."""
    made: list[FakeServer] = []

    def restart(self) -> bool:
        if Moody.fault_of_restart is not None:
            raise Moody.fault_of_restart
        Moody.ended = None
        return super().restart()

    def exited(self) -> str | None:
        if Moody.fault_of_look is not None:
            raise Moody.fault_of_look
        return Moody.ended or super().exited()


class MoodyProvider(FakeProvider):
    def start(self, spec, context):  # type: ignore[no-untyped-def]
        Moody.launching.set()
        assert Moody.gate.wait(10)
        Moody.made.append(Moody(spec.kind, self.options(spec)))
        return Moody.made[-1]

    def options(self, spec):  # type: ignore[no-untyped-def]
        from pytest_testbed.testing import FakeOptions

        return FakeOptions(**spec.options)


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Host]:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    Moody.fault_of_restart = Moody.fault_of_look = Moody.ended = None
    Moody.gate.set()
    host = Host(token_hex(6), None, {}, {"fake": f"{HERE}:MoodyProvider"})
    yield host
    Moody.fault_of_restart = Moody.fault_of_look = Moody.ended = None
    host.close()


def started(host: Host, run: str) -> Slot:
    host.join(run, os.getpid())
    slot = host.start(fake_spec("alpha"), run)
    assert slot.done.wait(10)
    return slot


def endpoint(slot: Slot) -> Endpoint:
    assert slot.endpoint is not None
    return slot.endpoint


def test_service_that_came_back_is_no_failed_one(host: Host) -> None:
    slot = started(host, "one")
    Moody.ended, Moody.fault_of_restart = "exit code 1", OSError("no room")
    assert host.check("alpha", slot.generation) is slot
    assert slot.error is not None
    Moody.fault_of_restart = None
    assert host.check("alpha", slot.generation) is slot
    assert slot.error is None
    host.leave("one")
    assert started(host, "two").error is None


def test_service_that_cannot_be_looked_at_holds_nobody_up(host: Host) -> None:
    slot = started(host, "one")
    host.leave("one")
    Moody.fault_of_look = RuntimeError("a fault of the provider")
    assert started(host, "two") is slot
    assert slot.error is not None
    assert "a fault of the provider" in str(slot.error)
    Moody.fault_of_look = None
    host.leave("two")
    assert started(host, "three").error is None


def test_nobody_gets_into_a_host_that_is_about_to_end(host: Host) -> None:
    from pytest_testbed.errors import HostError

    host.join("one", os.getpid())
    assert not host.begin_to_close()
    host.leave("one")
    assert host.begin_to_close()
    with pytest.raises(HostError, match="is ending"):
        host.join("two", os.getpid())


def test_service_that_comes_up_after_the_end_is_ended_too(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("CLOSE_TIMEOUT", "LAUNCH_TIMEOUT"):
        monkeypatch.setattr(host_module, name, 0.0)
    Moody.gate.clear()
    host.join("one", os.getpid())
    slot = host.start(fake_spec("alpha"), "one")
    assert host.close() == []
    assert slot.running is None
    Moody.gate.set()
    assert slot.done.wait(10)
    assert slot.running is not None
    assert slot.running.exited() == "exit code 0"


def test_the_end_waits_longer_for_a_launch_than_for_a_choice(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    """A container that the engine makes when nobody waits any more would stay until the next run."""
    monkeypatch.setattr(host_module, "CLOSE_TIMEOUT", 0.0)
    Moody.launching.clear()
    Moody.gate.clear()
    host.join("one", os.getpid())
    host.start(fake_spec("alpha"), "one")
    assert Moody.launching.wait(10)
    closing = threading.Thread(target=host.close)
    closing.start()
    closing.join(0.2)
    assert closing.is_alive()
    Moody.gate.set()
    closing.join(10)
    assert not closing.is_alive()
    assert Moody.made[-1].exited() == "exit code 0"


def test_client_is_told_of_a_service_that_could_not_be_started_again(host: Host) -> None:
    slot = started(host, "one")
    Moody.ended, Moody.fault_of_restart = "exit code 1", OSError("no room")
    server: Any = SimpleNamespace(host=host)
    with pytest.raises(ServiceDied, match="no room"):
        Conversation(server, server, "one")._answer({"do": "check", "kind": "alpha", "generation": slot.generation})


def test_a_run_has_left_and_has_its_answer_before_a_kept_host_may_end(host: Host) -> None:
    """A host that is over before its answer is sent looks like one that broke; who has the answer finds the host idle."""
    run, seen = "a" * 12, []
    said = iter([{"do": "leave", "number": 1}])

    def look(*answer: object) -> None:
        seen.append((host.idle() > 0, host.begin_to_close()))

    wire = SimpleNamespace(receive=lambda: next(said), send=look)
    server = SimpleNamespace(host=host, keep=60.0, finish_where_nothing_is_kept=look)
    host.join(run, os.getpid())
    Conversation(server, wire, run).answer_all()  # type: ignore[arg-type]
    assert seen == [(True, False), (True, True)], "at the answer, and after it"
