"""Hosts that are kept for the next run: found again, as clean as new, replaced where they are sick."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import psycopg2
import pytest

from pytest_testbed import Endpoint, Testbed
from pytest_testbed.postgres.service import connection_parameters, postgres_spec
from pytest_testbed.rabbitmq.api import ManagementApi
from pytest_testbed.services import client
from pytest_testbed.services.death import gone_within
from pytest_testbed.services.ledger import MARK
from pytest_testbed.services.model import ServiceSpec
from tests import leftovers
from tests.conftest import Brokers, Servers

Make = Callable[..., Testbed]


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Make]:
    """Make a face of a kept host, each as if for a run of its own; the hosts are ended after the test."""
    pids: set[int] = set()
    open_ones: list[Testbed] = []

    def make(spec: ServiceSpec, reuse: float = 60.0) -> Testbed:
        testbed = Testbed([spec], reuse=reuse, project=str(tmp_path))
        pids.add(testbed.client.pid)
        open_ones.append(testbed)
        return testbed

    yield make
    for testbed in open_ones:
        testbed.close()
    for pid in pids:
        if not gone_within(pid, 0):
            os.kill(pid, signal.SIGTERM)
            assert gone_within(pid, 10)


@pytest.fixture(params=["local", "docker"])
def spec(request: pytest.FixtureRequest, servers: Servers) -> ServiceSpec:
    """A server of our own on each provider that has one."""
    testbed = servers.any_local() if request.param == "local" else servers.get("docker")
    return testbed._specs["postgres"]


@pytest.fixture
def local(servers: Servers) -> ServiceSpec:
    """The quickest server of our own."""
    return servers.any_local()._specs["postgres"]


def execute(endpoint: Endpoint, sql: str, database: str | None = None) -> list[tuple[object, ...]]:
    connection = psycopg2.connect(**connection_parameters(endpoint, database))
    try:
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute(sql)
            return cursor.fetchall() if cursor.description else []
    finally:
        connection.close()


def databases(endpoint: Endpoint) -> set[str]:
    return {str(row[0]) for row in execute(endpoint, "SELECT datname FROM pg_database")}


def await_true(what: Callable[[], bool], seconds: float = 10.0) -> bool:
    deadline = time.monotonic() + seconds
    while not what():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def test_next_run_finds_the_same_server_and_starts_nothing(make: Make, spec: ServiceSpec) -> None:
    first = make(spec)
    before = first.endpoint("postgres")
    assert first.age("postgres") is None
    host = first.client.pid
    assert first.close() == []
    second = make(spec)
    assert second.client.pid == host
    assert second.endpoint("postgres") == before
    age = second.age("postgres")
    assert age is not None
    assert age >= 0
    assert second.run != first.run
    assert second.notes == []


def test_equal_recipes_are_equal() -> None:
    assert postgres_spec() == postgres_spec()


@pytest.mark.parametrize(
    "changed",
    [
        {"args": ["-c", "work_mem=9MB"]},
        {"timeout": 61.0},
        {"initdb_args": ["--data-checksums"]},
    ],
)
def test_changed_option_is_another_fingerprint(changed: dict[str, object]) -> None:
    def fingerprint(**more: object) -> str:
        return Testbed([postgres_spec(**more)], reuse=1.0, project="here").fingerprint()  # type: ignore[arg-type]

    assert fingerprint() == fingerprint()
    assert fingerprint() != fingerprint(**changed)


def test_project_and_engine_are_part_of_the_fingerprint(monkeypatch: pytest.MonkeyPatch) -> None:
    def fingerprint(project: str) -> str:
        return Testbed([postgres_spec()], reuse=1.0, project=project).fingerprint()

    here = fingerprint("here")
    assert fingerprint("there") != here
    monkeypatch.setenv("DOCKER_HOST", "tcp://127.0.0.1:1")
    assert fingerprint("here") != here


def test_another_version_of_our_code_is_another_fingerprint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for folder in ("services/providers", "postgres", "rabbitmq"):
        (tmp_path / "pytest_testbed" / folder).mkdir(parents=True)
        (tmp_path / "pytest_testbed" / folder / "some.py").write_text("")
    monkeypatch.setattr(client, "HOME", str(tmp_path))
    found = set()
    for changed in (1, 2, 2):
        os.utime(tmp_path / "pytest_testbed" / "postgres" / "some.py", (2e9 + changed, 2e9 + changed))
        found.add(Testbed([postgres_spec()], reuse=1.0, project="here").fingerprint())
    assert len(found) == 2


def test_two_runs_at_once_share_a_host_and_have_databases_of_their_own(make: Make, local: ServiceSpec) -> None:
    first, second = make(local), make(local)
    assert first.client.pid == second.client.pid
    assert first.endpoint("postgres").port == second.endpoint("postgres").port
    assert first.run != second.run


def test_databases_of_a_run_go_when_it_leaves_and_those_of_others_stay(make: Make, local: ServiceSpec) -> None:
    first, second = make(local), make(local)
    endpoint = first.endpoint("postgres")
    names = []
    for testbed in (first, second):
        name = f"testbed_{testbed.run}_main"
        testbed.own("on postgres", f"{endpoint.host}:{endpoint.port}/{name}")
        execute(endpoint, f'CREATE DATABASE "{name}"')
        names.append(name)
    second.endpoint("postgres")
    first.close()
    assert await_true(lambda: names[0] not in databases(endpoint))
    assert names[1] in databases(endpoint)


def test_next_run_finds_the_same_broker_and_none_of_the_first_ones_virtual_hosts(make: Make, brokers: Brokers) -> None:
    spec = brokers.get("local")._specs["rabbitmq"]
    first = make(spec)
    endpoint, host = first.endpoint("rabbitmq"), first.client.pid
    taken = first.take("rabbitmq")
    with closing(ManagementApi(endpoint)) as api:
        assert taken in api.vhosts()
        first.close()
        second = make(spec)
        assert second.client.pid == host
        assert second.endpoint("rabbitmq") == endpoint
        assert second.take("rabbitmq").startswith(f"testbed_{second.run}_")
        assert await_true(lambda: not [name for name in api.vhosts() if first.run in name])
        assert second.notes == []


def test_broker_that_was_killed_is_started_again_and_has_nothing_of_the_run_before(make: Make, brokers: Brokers) -> None:
    spec = brokers.get("local")._specs["rabbitmq"]
    first = make(spec)
    endpoint = first.endpoint("rabbitmq")
    first.take("rabbitmq")
    (broker,) = (pid for pid in leftovers.processes(host_name(first)) if Path(f"/proc/{pid}/comm").read_text().startswith("beam"))
    os.kill(broker, signal.SIGKILL)
    assert gone_within(broker, 5)
    first.close()  # its virtual hosts cannot be dropped now
    second = make(spec)
    assert second.endpoint("rabbitmq").port == endpoint.port
    assert any("had ended (killed by signal 9): it was started anew" in note for note in second.notes), second.notes
    assert second.take("rabbitmq").startswith(f"testbed_{second.run}_")
    with closing(ManagementApi(endpoint)) as api:
        assert await_true(lambda: not [name for name in api.vhosts() if first.run in name]), api.vhosts()


RUN = """
import json, sys
from pytest_testbed import Testbed
from pytest_testbed.services.model import ServiceSpec
testbed = Testbed([ServiceSpec.from_json(json.loads(sys.argv[1]))], reuse=60.0, project=sys.argv[2])
endpoint = testbed.endpoint("postgres")
name = f"testbed_{testbed.run}_main"
testbed.own("on postgres", f"{endpoint.host}:{endpoint.port}/{name}")
print(json.dumps([testbed.client.pid, name]), flush=True)
sys.stdin.read()
"""


def test_killed_run_leaves_the_host_and_no_database(make: Make, local: ServiceSpec, tmp_path: Path) -> None:
    import json

    command = [sys.executable, "-c", RUN, json.dumps(local.to_json()), str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        host, name = json.loads(process.stdout.readline())
        second = make(local)
        assert second.client.pid == host
        endpoint = second.endpoint("postgres")
        execute(endpoint, f'CREATE DATABASE "{name}"')
        process.kill()
    assert await_true(lambda: name not in databases(endpoint))


def test_idle_host_ends_by_itself_and_leaves_nothing(make: Make, spec: ServiceSpec) -> None:
    testbed = make(spec, reuse=0.3)
    testbed.endpoint("postgres")
    client = testbed.client
    host = host_name(testbed)
    testbed.close()
    assert gone_within(client.pid, 15)
    assert leftovers.gone(host) == {}
    place = testbed.place()
    assert place is not None
    assert not place.path.exists()


def host_name(testbed: Testbed) -> str:
    """Return the identity of a kept host, by the record that its process has written."""
    import json

    from pytest_testbed.services.places import state_directory

    state = state_directory()
    assert state is not None
    for path in (state / "runs").glob("*.json"):
        if json.loads(path.read_text())["host"]["pid"] == testbed.client.pid:
            return path.stem
    raise LookupError(testbed.client.pid)


def test_time_to_wait_is_what_the_last_run_said(make: Make, local: ServiceSpec) -> None:
    first = make(local, reuse=60.0)
    first.endpoint("postgres")
    pid = first.client.pid
    first.close()
    make(local, reuse=0.2).close()
    assert gone_within(pid, 10)


def test_host_of_one_run_that_is_told_to_stay_ends_after_that_time(local: ServiceSpec) -> None:
    with Testbed([local]) as testbed:
        testbed.endpoint("postgres")
        pid = testbed.client.pid
        testbed.keep(0.3)
    assert gone_within(pid, 10)


def test_host_in_use_does_not_end(make: Make, local: ServiceSpec) -> None:
    first = make(local, reuse=0.1)
    host = first.client.pid
    first.endpoint("postgres")
    second = make(local, reuse=0.1)
    first.close()
    assert not gone_within(host, 0.5)
    assert execute(second.endpoint("postgres"), "SELECT 1") == [(1,)]


def test_host_that_was_killed_between_two_runs_is_replaced_and_swept(make: Make, local: ServiceSpec) -> None:
    first = make(local)
    first.endpoint("postgres")
    host, pid = host_name(first), first.client.pid
    first.close()
    os.kill(pid, signal.SIGKILL)
    assert gone_within(pid, 5)
    second = make(local)
    assert second.client.pid != pid
    assert execute(second.endpoint("postgres"), "SELECT 1") == [(1,)]
    assert leftovers.gone(host) == {}


def server_of(run: str) -> int:
    """Return the server process of a host: the one whose parent is the host."""
    found = []
    for pid in leftovers.processes(run):
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            if b"-D" in file.read().split(b"\0"):
                found.append(pid)
    assert len(found) == 1, (MARK, found)
    return found[0]


@pytest.mark.parametrize("between", [True, False], ids=["between two runs", "during a run"])
def test_server_that_was_killed_is_started_again_and_that_is_said(make: Make, local: ServiceSpec, between: bool) -> None:
    first = make(local)
    first.endpoint("postgres")
    os.kill(server_of(host_name(first)), signal.SIGKILL)
    if not between:
        assert await_true(lambda: first.check("postgres")[0] == "killed by signal 9")
        assert execute(first.endpoint("postgres"), "SELECT 1") == [(1,)]
        return
    first.close()
    second = make(local)
    assert execute(second.endpoint("postgres"), "SELECT 1") == [(1,)]
    assert any("had ended (killed by signal 9): it was started anew" in note for note in second.notes), second.notes


@pytest.fixture
def containers(servers: Servers) -> ServiceSpec:
    return servers.get("docker")._specs["postgres"]


@pytest.mark.parametrize(
    ("command", "what"),
    [
        (["docker", "pause"], "was paused"),
        (["docker", "stop", "-t", "1"], "had ended (exit code 0)"),
        (["docker", "kill"], "had ended (killed by signal 9)"),
        (["docker", "rm", "-f"], "had ended (removed)"),
    ],
    ids=["paused", "stopped", "killed", "removed"],
)
@pytest.mark.parametrize("between", [True, False], ids=["between two runs", "during a run"])
def test_container_that_somebody_touched_is_replaced_and_that_is_said(
    make: Make, containers: ServiceSpec, command: list[str], what: str, between: bool
) -> None:
    first = make(containers)
    first.endpoint("postgres")
    host = host_name(first)
    if between:
        first.close()
    subprocess.run([*command, f"testbed-{host}-postgres"], check=True, capture_output=True)
    if not between:
        assert await_true(lambda: first.check("postgres")[0] != "")
        assert execute(first.endpoint("postgres"), "SELECT 1") == [(1,)]
        return
    second = make(containers)
    assert execute(second.endpoint("postgres"), "SELECT 1") == [(1,)]
    assert any(what in note and "it was started anew" in note for note in second.notes), second.notes
    assert len(leftovers.containers(host)) == 1


def test_server_that_does_not_answer_is_replaced(make: Make, local: ServiceSpec) -> None:
    first = make(local)
    first.endpoint("postgres")
    server = server_of(host_name(first))
    first.close()
    os.kill(server, signal.SIGSTOP)
    second = make(local)
    assert execute(second.endpoint("postgres"), "SELECT 1") == [(1,)]
    assert any("did not answer" in note for note in second.notes), second.notes
    assert gone_within(server, 10)


def test_external_server_is_left_as_it_was(make: Make, servers: Servers) -> None:
    spec = servers.get("external")._specs["postgres"]
    first = make(spec)
    endpoint, host = first.endpoint("postgres"), first.client.pid
    before = databases(endpoint)
    name = f"testbed_{first.run}_main"
    first.own("on postgres", f"{endpoint.host}:{endpoint.port}/{name}")
    execute(endpoint, f'CREATE DATABASE "{name}"')
    first.close()
    assert await_true(lambda: databases(endpoint) == before)
    second = make(spec)
    assert second.client.pid == host
    assert second.endpoint("postgres") == endpoint


def test_failed_start_is_tried_again_for_the_next_run(make: Make, tmp_path: Path) -> None:
    from pytest_testbed.errors import ServiceUnavailable

    gone = postgres_spec(provider="local", bindir=str(tmp_path / "bin"))
    first = make(gone)
    with pytest.raises(ServiceUnavailable):
        first.endpoint("postgres")
    pid = first.client.pid
    second = make(gone)
    with pytest.raises(ServiceUnavailable):
        second.endpoint("postgres")
    first.close()
    second.close()
    assert gone_within(pid, 5), "a host without a service is not worth to stay"
