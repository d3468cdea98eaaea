"""Things for tests in the host: made ahead, had over the wire, and removed with the run that they were made for."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from pathlib import Path
from secrets import token_hex
from types import SimpleNamespace
from typing import Any

import pytest

from pytest_testbed import Testbed
from pytest_testbed.errors import ConfigurationError, HostError, ServiceNotReady
from pytest_testbed.services import stock as stock_module
from pytest_testbed.services.host import Host
from pytest_testbed.services.model import Endpoint, ServiceSpec
from pytest_testbed.services.serve import Conversation
from pytest_testbed.services.starting import Slot
from pytest_testbed.services.stock import Stock
from pytest_testbed.testing import FakeOptions, FakeProvider, FakeServer, fake_spec

HERE = __name__
ONE, TWO = "a" * 12, "b" * 12


class Shelf(Stock):
    """Makes nothing, and writes down what it was asked for."""

    calls = ("say", "refuse", "removed")
    made: list[str] = []
    gone: list[str] = []
    gate = threading.Event()
    gate.set()
    """Shut, it lets nothing be made."""

    def make(self, name: str) -> None:
        assert Shelf.gate.wait(10)
        with self._changed:
            Shelf.made.append(name)
            self._changed.notify_all()

    def remove(self, name: str) -> None:
        with self._changed:
            Shelf.gone.append(name)
            self._changed.notify_all()

    def removed(self, count: int) -> list[str]:
        with self._changed:
            assert self._changed.wait_for(lambda: len(Shelf.gone) >= count, 10)
        return Shelf.gone

    def say(self, word: str) -> list[str]:
        return [word, self.endpoint.kind]

    def refuse(self) -> None:
        raise ServiceNotReady("not now")

    def await_made(self, count: int) -> None:
        with self._changed:
            assert self._changed.wait_for(lambda: len(Shelf.made) >= count, 10)


class Broken(Shelf):
    def __init__(self, *args: Any) -> None:
        raise TypeError("a fault of the kind's own")


dropped: list[str] = []


def drop(endpoint: Endpoint, name: str) -> None:
    dropped.append(name)


class Elsewhere(FakeProvider):
    """Its servers cannot be started again, so there is another one on another port."""

    def start(self, spec, context):  # type: ignore[no-untyped-def]
        return Gone(spec.kind, FakeOptions(**spec.options))


class Gone(FakeServer):
    def restart(self) -> bool:
        Path(self._options.dies_with).unlink()
        raise OSError("it is gone")


def spec(stock: str = "Shelf", **more: Any) -> ServiceSpec:
    return fake_spec("alpha", **more).with_(stock=f"{HERE}:{stock}" if stock else "", drop=f"{HERE}:drop")


@pytest.fixture(autouse=True)
def empty_shelf() -> None:
    Shelf.made.clear()
    Shelf.gone.clear()
    Shelf.gate.set()
    dropped.clear()


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Host]:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    host = Host(token_hex(6), None, {}, {"fake": "pytest_testbed.testing:FakeProvider", "elsewhere": f"{HERE}:Elsewhere"})
    yield host
    Shelf.gate.set()
    host.close()


def started(host: Host, run: str, given: ServiceSpec) -> Slot:
    host.join(run, os.getpid())
    slot = host.start(given, run)
    assert slot.done.wait(10)
    assert slot.error is None
    return slot


def owned(host: Host) -> list[str]:
    return host.ledger.owned("on alpha")


def place_of(slot: Slot, run: str) -> str:
    assert slot.endpoint is not None
    return f"{slot.endpoint.host}:{slot.endpoint.port}/testbed_{run}_"


# --- ahead of the tests


def test_the_first_are_made_before_a_test_asks(host: Host) -> None:
    slot = started(host, ONE, spec())
    slot.stocks[ONE].await_made(2)  # type: ignore[attr-defined]
    assert Shelf.made == [f"testbed_{ONE}_1", f"testbed_{ONE}_2"]
    assert owned(host) == [place_of(slot, ONE)]
    assert host.stock("alpha", ONE) is slot.stocks[ONE]


def test_a_kept_service_makes_ahead_for_each_run(host: Host) -> None:
    slot = started(host, ONE, spec())
    started(host, TWO, spec())
    assert set(slot.stocks) == {ONE, TWO}
    assert owned(host) == [place_of(slot, ONE), place_of(slot, TWO)]


@pytest.mark.parametrize("stock", ["Broken", "Missing"])
def test_a_stock_that_cannot_be_had_is_told_to_who_asks_and_holds_no_service_up(host: Host, stock: str) -> None:
    slot = started(host, ONE, spec(stock))
    assert slot.error is None
    for _ in range(2):
        with pytest.raises((TypeError, ConfigurationError)):
            host.stock("alpha", ONE)
    assert started(host, TWO, spec(stock)).error is None
    assert owned(host) == []


def test_where_no_thread_can_be_had_that_is_told_and_nothing_is_on_record(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    begun = []

    def begin(self: Shelf) -> None:
        begun.append(self)
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(Shelf, "begin", begin)
        slot = started(host, ONE, spec())
        with pytest.raises(HostError, match="nothing can be made for tests on alpha: can't start new thread"):
            host.stock("alpha", ONE)
    assert (slot.stocks, owned(host)) == ({}, [])
    assert all(stock._closed for stock in begun)
    assert host.stock("alpha", ONE).take()


def test_what_was_not_started_has_none(host: Host) -> None:
    host.join(ONE, os.getpid())
    with pytest.raises(HostError, match="alpha has not been started"):
        host.stock("alpha", ONE)


# --- the end of a run


def test_what_a_run_had_on_a_kept_service_goes_with_it(host: Host) -> None:
    slot = started(host, ONE, spec())
    stock = slot.stocks[ONE]
    started(host, TWO, spec())
    host.leave(ONE)
    host.clear_after(ONE)
    assert dropped == [f"testbed_{ONE}_"]
    assert owned(host) == [place_of(slot, TWO)]
    assert set(slot.stocks) == {TWO}
    assert stock._closed
    assert not any(thread.is_alive() for thread in stock._threads)
    assert host.late_faults() == []


def test_a_run_that_has_left_gets_nothing_any_more(host: Host) -> None:
    """Another process of it, or an application at its front door, may still ask."""
    slot = started(host, ONE, spec())
    host.leave(ONE)
    host.clear_after(ONE)
    with pytest.raises(HostError, match="alpha: the run has ended"):
        host.stock("alpha", ONE)
    assert slot.stocks == {}
    assert owned(host) == []


def test_what_may_still_be_made_at_the_end_stays_on_record(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stock_module, "CLOSE_TIMEOUT", 0.01)
    Shelf.gate.clear()
    slot = started(host, ONE, spec())
    stock = slot.stocks[ONE]
    with stock._changed:
        assert stock._changed.wait_for(lambda: stock.is_busy, 10)
    host.leave(ONE)
    host.clear_after(ONE)
    (fault,) = host.late_faults()
    assert "something is still being made or removed there" in fault
    assert owned(host) == [place_of(slot, ONE)]
    assert host.close() == [], "the end of the host tries again"
    assert owned(host) == []


def test_the_end_of_the_host_closes_all(host: Host) -> None:
    slot = started(host, ONE, spec())
    started(host, TWO, spec())
    stocks = list(slot.stocks.values())
    assert host.close() == []
    assert all(stock._closed for stock in stocks)
    assert dropped == [f"testbed_{ONE}_", f"testbed_{TWO}_"]
    assert owned(host) == []
    with pytest.raises(HostError, match="is ending its services"):
        host.stock("alpha", ONE)


# --- another server in its place


def test_a_server_that_is_started_again_is_made_ready_anew(host: Host, tmp_path: Path) -> None:
    died = tmp_path / "died"
    slot = started(host, ONE, spec(dies_with=str(died)))
    before = host.stock("alpha", ONE).take()
    died.touch()
    assert host.check("alpha", slot.generation) is slot
    assert host.stock("alpha", ONE).endpoint is slot.endpoint
    host.stock("alpha", ONE).give_back(before)
    assert host.stock("alpha", ONE).take() not in Shelf.made[: Shelf.made.index(before) + 1]
    assert owned(host) == [place_of(slot, ONE)]


def test_a_kept_server_that_was_replaced_has_other_runs_things_as_well(host: Host, tmp_path: Path) -> None:
    died = tmp_path / "died"
    given = spec(provider="elsewhere", dies_with=str(died))
    slot = started(host, ONE, given)
    before = place_of(slot, ONE)
    died.touch()
    started(host, TWO, given)
    assert place_of(slot, ONE) != before
    assert sorted(owned(host)) == [place_of(slot, ONE), place_of(slot, TWO)]
    assert host.stock("alpha", ONE).endpoint is slot.endpoint
    host.leave(ONE)
    host.clear_after(ONE)
    assert host.late_faults() == []


# --- over the wire

PROVIDERS = {"fake": "pytest_testbed.testing:FakeProvider"}


@pytest.fixture
def testbed() -> Iterator[Testbed]:
    testbed = Testbed([spec(), fake_spec("beta")], providers=PROVIDERS)
    testbed.endpoint("alpha")
    yield testbed
    assert testbed.close() == []


def test_a_test_takes_and_gives_back(testbed: Testbed) -> None:
    names = [testbed.take("alpha") for _ in range(3)]
    assert names == [f"testbed_{testbed.run}_{number}" for number in (1, 2, 3)]
    for name in ("testbed_of_mine", *names):
        testbed.give_back("alpha", name)
    assert testbed.take("alpha") not in names
    assert testbed.call("alpha", "removed", count=3) == names
    assert testbed.call("alpha", "say", word="hello") == ["hello", "alpha"]


@pytest.mark.parametrize("what", ["take", "remove", "close", "__init__", "nonsense"])
def test_nothing_else_can_be_called(testbed: Testbed, what: str) -> None:
    with pytest.raises(HostError, match=rf"alpha has nothing called '{what}'\."):
        testbed.call("alpha", what)


def test_what_goes_wrong_in_a_call_is_told_as_it_is(testbed: Testbed) -> None:
    with pytest.raises(ServiceNotReady, match="not now"):
        testbed.call("alpha", "refuse")
    with pytest.raises(HostError, match=r"the host process failed: TypeError\(.*'wrd'"):
        testbed.call("alpha", "say", wrd="hello")


def test_a_kind_without_any_is_refused(testbed: Testbed) -> None:
    with pytest.raises(HostError, match="beta has not been started"):
        testbed.take("beta")
    testbed.endpoint("beta")
    for ask in (lambda: testbed.take("beta"), lambda: testbed.call("beta", "say")):
        with pytest.raises(HostError, match="there is nothing to be had for tests on beta"):
            ask()


@pytest.mark.parametrize("is_gone", [True, False])
def test_who_was_interrupted_leaves_nothing_out(host: Host, is_gone: bool) -> None:
    slot = started(host, ONE, spec())
    wire = SimpleNamespace(waiting=lambda: is_gone)
    server: Any = SimpleNamespace(host=host)
    conversation = Conversation(server, wire, ONE)  # type: ignore[arg-type]
    name = conversation._answer({"do": "take", "kind": "alpha"})["name"]
    assert (name in slot.stocks[ONE]._out) is not is_gone
