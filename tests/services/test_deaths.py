"""Whoever dies, and however: nothing of the run is left, and nobody else's run is touched."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from pytest_testbed import Testbed
from pytest_testbed.commands.line import main
from pytest_testbed.services.death import gone_within
from pytest_testbed.services.ledger import end_processes_of, start_time, sweep
from pytest_testbed.services.places import state_directory
from tests import leftovers, listeners
from tests.conftest import Brokers, Servers

OWNER = """
import json, os, sys, time
from pytest_testbed import Testbed
from pytest_testbed.postgres.service import postgres_spec
from pytest_testbed.rabbitmq.service import rabbitmq_spec

options = json.loads(sys.argv[1])
kind = options.pop("kind", "postgres")
testbed = Testbed([{"postgres": postgres_spec, "rabbitmq": rabbitmq_spec}[kind](**options)])
testbed.prefetch([kind])
if "early" not in sys.argv:
    testbed.endpoint(kind)
if "take" in sys.argv:
    testbed.take(kind)
child = os.fork() if "fork" in sys.argv else 0
if child or "fork" not in sys.argv:
    print(json.dumps({"run": testbed.run, "host": testbed.client.pid, "child": child}), flush=True)
    if "end" in sys.argv:
        os._exit(3)
sys.stdin.read()
"""


class Owner:
    """A process with a service of its own, to be killed."""

    def __init__(self, spec: dict[str, object], *words: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", OWNER, json.dumps(spec), *words], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert self.process.stdout is not None
        facts = json.loads(self.process.stdout.readline())
        self.run: str = facts["run"]
        self.host: int = facts["host"]
        self.child: int = facts["child"]

    def kill(self, number: int = signal.SIGKILL) -> None:
        """Send a signal to the owner and wait for its end."""
        self.process.send_signal(number)
        self.process.wait(10)


@pytest.fixture
def spec(everywhere: Testbed) -> dict[str, object]:
    """What a server of this provider is made from."""
    endpoint = everywhere.endpoint("postgres")
    spec = everywhere._specs["postgres"]
    if endpoint.provider == "external":
        return {"provider": "external", "url": spec.url, "url_source": "the tests"}
    assert spec.process is not None
    assert spec.container is not None
    return {"provider": endpoint.provider, "bindir": spec.process.options["bindir"], "image": spec.container.image}


@pytest.fixture
def local_spec(servers: Servers) -> dict[str, object]:
    """The quickest server of our own."""
    spec = servers.any_local()._specs["postgres"]
    assert spec.process is not None
    return {"provider": "local", "bindir": spec.process.options["bindir"]}


@pytest.fixture
def broker_spec(brokers: Brokers) -> dict[str, object]:
    """A broker of our own."""
    brokers.get("local")
    return {"kind": "rabbitmq", "provider": "local"}


@pytest.fixture
def owners() -> Iterator[list[Owner]]:
    """The owners that a test made, ended after it."""
    made: list[Owner] = []
    yield made
    for owner in made:
        owner.process.kill()
        owner.process.communicate()
        if owner.child:
            with suppress(ProcessLookupError):
                os.kill(owner.child, signal.SIGKILL)
        assert leftovers.gone(owner.run) == {}


def test_killed_owner_leaves_nothing(spec: dict[str, object], owners: list[Owner]) -> None:
    owners.append(owner := Owner(spec))
    assert leftovers.of(owner.run)
    owner.kill()
    assert leftovers.gone(owner.run) == {}
    assert gone_within(owner.host, 5)


def test_killed_owner_whose_forked_child_lives_on(spec: dict[str, object], owners: list[Owner]) -> None:
    owners.append(owner := Owner(spec, "fork"))
    owner.kill()
    assert leftovers.gone(owner.run) == {}
    os.kill(owner.child, 0)  # it does live on


def test_killed_while_the_service_is_starting(spec: dict[str, object], owners: list[Owner]) -> None:
    owners.append(owner := Owner(spec, "early"))
    owner.kill()
    assert gone_within(owner.host, 30)  # it waits for the launch
    assert leftovers.gone(owner.run) == {}


def test_owner_that_leaves_without_a_word(local_spec: dict[str, object], owners: list[Owner]) -> None:
    owners.append(owner := Owner(local_spec, "end"))
    assert owner.process.wait(10) == 3
    assert leftovers.gone(owner.run) == {}


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_host_ends_in_order_on_a_signal(local_spec: dict[str, object], owners: list[Owner], number: int) -> None:
    owners.append(owner := Owner(local_spec))
    os.kill(owner.host, number)
    assert leftovers.gone(owner.run) == {}


def test_killed_host_is_swept_by_the_next_run_and_nobody_else(local_spec: dict[str, object], owners: list[Owner]) -> None:
    owners.append(bystander := Owner(local_spec))
    owners.append(owner := Owner(local_spec))
    os.kill(owner.host, signal.SIGKILL)
    assert gone_within(owner.host, 5)
    assert leftovers.processes(owner.run), "the server outlives a killed host until somebody sweeps"
    owners.append(Owner(local_spec))
    assert leftovers.gone(owner.run) == {}
    assert leftovers.processes(bystander.run)
    assert leftovers.directories(bystander.run)


def test_sweep_ends_nobody_who_only_looks_at_a_dead_runs_files(local_spec: dict[str, object], owners: list[Owner]) -> None:
    owners.append(owner := Owner(local_spec))
    (directory,) = leftovers.directories(owner.run)
    os.kill(owner.host, signal.SIGKILL)
    assert gone_within(owner.host, 5)
    with subprocess.Popen(["tail", "-f", f"{directory}/postgres.log"], stdout=subprocess.DEVNULL) as reader:
        state = state_directory()
        assert state is not None
        faults = sweep(state / "runs", {"directory": lambda name, run: end_processes_of(Path(name), run)})
        assert faults == []
        assert leftovers.gone(owner.run) == {}
        assert reader.poll() is None
        reader.kill()


def test_host_is_ended_from_the_command_line(
    local_spec: dict[str, object], owners: list[Owner], capsys: pytest.CaptureFixture[str]
) -> None:
    owners.append(bystander := Owner(local_spec))
    owners.append(owner := Owner(local_spec))
    assert main(["ps"]) == 0
    (row,) = (line for line in capsys.readouterr().out.splitlines() if line.startswith(owner.run))
    assert f"  pid {owner.process.pid}  " in row
    assert "MB" in row
    assert main(["stop", owner.run]) == 0
    assert capsys.readouterr().out.startswith(f"stopped {owner.run}")
    assert leftovers.of(owner.run) == {}
    assert leftovers.processes(bystander.run)


def test_no_shared_memory_is_left(local_spec: dict[str, object], owners: list[Owner]) -> None:
    owners.append(owner := Owner(local_spec))
    (directory,) = leftovers.directories(owner.run)
    # line 7 of postmaster.pid: key and id of the server's System V segment
    segment = Path(directory, "data", "postmaster.pid").read_text().splitlines()[6].split()[1]
    assert segment in leftovers.shared_memory()
    owner.kill()
    assert leftovers.gone(owner.run) == {}
    assert segment not in leftovers.shared_memory()
    assert not any(owner.run in name for name in leftovers.shared_memory())


def test_killed_owner_of_a_broker_leaves_nothing(broker_spec: dict[str, object], owners: list[Owner]) -> None:
    owners.append(owner := Owner(broker_spec, "take"))
    pids = leftovers.processes(owner.run)
    ports = listeners.of(pids)
    assert len(ports) == 3
    owner.kill()
    assert leftovers.gone(owner.run) == {}
    assert not [pid for pid in pids if start_time(pid)], "its helpers go with it"
    assert not ports & set(listeners.everybody().values())


def test_killed_while_the_broker_is_starting(broker_spec: dict[str, object], owners: list[Owner]) -> None:
    owners.append(owner := Owner(broker_spec, "early"))
    assert await_some(lambda: leftovers.processes(owner.run))
    owner.kill()
    assert gone_within(owner.host, 30)  # it waits for the launch
    assert leftovers.gone(owner.run) == {}


def test_broker_of_a_killed_host_is_swept_by_the_next_run(
    broker_spec: dict[str, object], local_spec: dict[str, object], owners: list[Owner]
) -> None:
    owners.append(owner := Owner(broker_spec, "take"))
    pids = leftovers.processes(owner.run)
    os.kill(owner.host, signal.SIGKILL)
    assert gone_within(owner.host, 5)
    assert leftovers.processes(owner.run), "the broker outlives a killed host until somebody sweeps"
    owners.append(Owner(local_spec))
    assert leftovers.gone(owner.run) == {}
    assert not [pid for pid in pids if start_time(pid)]


SWEEP = """
import sys
from pathlib import Path
from pytest_testbed.services.ledger import sweep
from pytest_testbed.services.removers import REMOVERS
assert sweep(Path(sys.argv[1]), {"directory": REMOVERS["directory"]}) == []
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="root: only root's servers run as somebody else")
def test_sweep_where_root_may_not_look_into_processes_of_others(broker_spec: dict[str, object], owners: list[Owner]) -> None:
    """As in a container, unless it is given the right."""
    owners.append(owner := Owner(broker_spec))
    os.kill(owner.host, signal.SIGKILL)
    assert gone_within(owner.host, 5)
    state = state_directory()
    assert state is not None
    rights = ["setpriv", "--bounding-set", "-all,+chown,+dac_override,+fowner,+kill,+setuid,+setgid"]
    subprocess.run([*rights, sys.executable, "-c", SWEEP, str(state / "runs")], check=True)
    assert leftovers.gone(owner.run) == {}


def await_some(what: Callable[[], object], seconds: float = 10.0) -> bool:
    deadline = time.monotonic() + seconds
    while not what():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.005)
    return True
