"""The docker provider against a real engine; skipped with the provider's own words where none answers."""

from __future__ import annotations

import contextlib
import gc
import ipaddress
import json
import os
import socket
import socketserver
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg2
import pytest

from pytest_testbed.errors import ServiceNotReady, ServiceUnavailable
from pytest_testbed.services.logs import mark_of
from pytest_testbed.services.model import RANDOM, ContainerRecipe, Context, Endpoint, LogMark, Refusal, ServiceSpec
from pytest_testbed.services.providers import docker as docker_provider
from pytest_testbed.services.providers.docker import DockerProvider, DockerRunning, remove_container, wants_ryuk
from pytest_testbed.services.providers.engine_address import Engine, Placement, connect

IMAGES = ("postgres:18", "postgres:15")  # the default, and what a machine without registry has
IDLE = ("sleep", "300")  # a container that is up at once, for tests that need no server
TUNED = ("postgres", "-c", "fsync=off", "-c", "synchronous_commit=off", "-c", "full_page_writes=off")
SOURCE = Path(docker_provider.__file__).parents[3]


@dataclass
class Told:
    """What a provider told through its context."""

    owned: list[tuple[str, str]] = field(default_factory=list)
    disowned: list[tuple[str, str]] = field(default_factory=list)
    progress: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def context(self, run: str, directory: Path, **changes: Any) -> Context:
        """Return a context that writes here."""
        usual: dict[str, Any] = {
            "own": lambda *pair: self.owned.append(pair),
            "disown": lambda *pair: self.disowned.append(pair),
            "progress": self.progress.append,
            "note": self.notes.append,
        }
        return Context(run=run, directory=directory, cache=None, **(usual | changes))


def make_spec(image: str, kind: str = "postgres", **recipe: Any) -> ServiceSpec:
    usual: dict[str, Any] = {
        "command": TUNED,
        "environment": {
            "POSTGRES_USER": "u",
            "POSTGRES_PASSWORD": "p",
            "POSTGRES_INITDB_ARGS": "--no-sync",
            "PGDATA": "/testbed/data",
        },
        "tmpfs": {"/testbed": "1g"},
        "shm_size": 128 * 2**20,
        "password": "p",
    }
    container = ContainerRecipe(image=image, port=5432, user="u", **(usual | recipe))
    options = {"database": "u", "scheme": "postgresql"}
    return ServiceSpec(kind=kind, probe="psycopg2:connect", container=container, options=options)


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> str:
    """An image that the engine has or gets; skips without one."""
    context = Told().context("probe", tmp_path_factory.mktemp("probe"))
    refusal = None
    for name in IMAGES:
        refusal = DockerProvider().refusal(make_spec(name), context)
        if refusal is None:
            return name
    assert refusal is not None
    pytest.skip(f"docker: {refusal.reason}; {refusal.remedy}")


@pytest.fixture
def engine(image: str) -> Iterator[Engine]:
    """The engine, to look behind the provider's back."""
    found = connect()
    assert isinstance(found, Engine)
    with contextlib.closing(found.api):
        yield found


@pytest.fixture
def told() -> Told:
    return Told()


@pytest.fixture
def run() -> str:
    return "test" + uuid.uuid4().hex[:8]


@pytest.fixture
def context(told: Told, run: str, tmp_path: Path) -> Context:
    return told.context(run, tmp_path)


@pytest.fixture
def start(image: str, engine: Engine, context: Context, run: str) -> Iterator[Callable[..., DockerRunning]]:
    """Start containers; whatever of this run is left at the end is removed."""
    yield lambda **recipe: DockerProvider().start(make_spec(image, **recipe), context)
    for name in names_of(engine, run):
        remove_container(name, run)


def names_of(engine: Engine, run: str) -> list[str]:
    found = engine.api.containers(all=True, filters={"label": f"pytest-testbed.run={run}"})
    return [each["Names"][0].lstrip("/") for each in found]


def query(endpoint: Endpoint, sql: str = "SELECT 1") -> Any:
    url = endpoint.url() + "?connect_timeout=2"
    with contextlib.closing(psycopg2.connect(url)) as connection, connection, connection.cursor() as cursor:
        cursor.execute(sql)
        return cursor.fetchone() if cursor.description else None


def wait_for(running: DockerRunning) -> None:
    deadline = time.monotonic() + 60
    while True:
        try:
            query(running.endpoint)
            return
        except psycopg2.OperationalError:
            assert running.exited() is None, running.logs()
            assert time.monotonic() < deadline, running.logs()
            threading.Event().wait(0.02)


def ending(running: DockerRunning) -> str:
    deadline = time.monotonic() + 20
    while (end := running.exited()) is None:
        assert time.monotonic() < deadline
        threading.Event().wait(0.02)
    return end


# --- a life


def test_a_container_lives_and_leaves_nothing(
    start: Callable[..., DockerRunning], engine: Engine, told: Told, context: Context, run: str, image: str
) -> None:
    running = start()
    found = engine.api.inspect_container(running.name)
    wait_for(running)

    assert running.name == f"testbed-{run}-postgres"
    assert running.endpoint == Endpoint(
        kind="postgres",
        host=running.endpoint.host,
        port=running.endpoint.port,
        user="u",
        password="p",
        database="u",
        scheme="postgresql",
        provider="docker",
        source=image,
    )
    labels, host = found["Config"]["Labels"], found["HostConfig"]
    assert (labels["pytest-testbed.run"], labels["pytest-testbed.kind"]) == (run, "postgres")
    assert host["Tmpfs"] == {"/testbed": "size=1g"}
    assert host["ShmSize"] == 128 * 2**20
    assert {"Cmd": list(TUNED)}.items() <= found["Config"].items()
    assert query(running.endpoint, "SHOW fsync") == ("off",)
    assert "ready to accept connections" in running.logs()
    assert len(running.logs(2).splitlines()) == 2

    volumes = [mount["Name"] for mount in found["Mounts"] if mount["Type"] == "volume"]
    running.stop()
    assert names_of(engine, run) == []
    left = engine.api.volumes()["Volumes"] or []
    assert not {each["Name"] for each in left} & set(volumes)
    assert told.owned == told.disowned == [("container", running.name)]
    running.stop()
    assert running.exited() == "removed"
    assert running.logs() == ""


def test_ports_are_published_on_loopback_only(start: Callable[..., DockerRunning], engine: Engine) -> None:
    running = start(command=IDLE)
    if running.endpoint.host != "127.0.0.1":
        pytest.skip("the engine is not on this machine, or this is a container beside it")
    ports = engine.api.inspect_container(running.name)["NetworkSettings"]["Ports"]
    assert ports == {"5432/tcp": [{"HostIp": "127.0.0.1", "HostPort": str(running.endpoint.port)}]}


def test_it_is_owned_before_it_is_made(image: str, engine: Engine, told: Told, run: str, tmp_path: Path) -> None:
    there_when_owned: list[list[str]] = []
    context = told.context(run, tmp_path, own=lambda what, name: there_when_owned.append(names_of(engine, run)))
    running = DockerProvider().start(make_spec(image, command=IDLE), context)
    running.stop()
    assert there_when_owned == [[]]


def test_kinds_start_at_the_same_time(image: str, engine: Engine, context: Context, run: str) -> None:
    provider, started = DockerProvider(), dict[str, DockerRunning]()

    def bring(kind: str) -> None:
        spec = make_spec(image, kind, command=IDLE)
        assert provider.refusal(spec, context) is None
        started[kind] = provider.start(spec, context)

    threads = [threading.Thread(target=bring, args=(kind,)) for kind in ("one", "two", "three")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    try:
        assert sorted(names_of(engine, run)) == [f"testbed-{run}-{kind}" for kind in ("one", "three", "two")]
        assert len({each.endpoint.port if each.endpoint.port != 5432 else each for each in started.values()}) == 3
    finally:
        for running in started.values():
            running.stop()


# --- endings


def test_a_killed_server_is_seen_and_comes_back_at_its_port(
    start: Callable[..., DockerRunning], engine: Engine, told: Told
) -> None:
    running = start()
    wait_for(running)
    query(running.endpoint, "CREATE TABLE mine (a int)")
    before = running.endpoint
    engine.api.kill(running.name)
    assert ending(running) == "killed by signal 9"

    assert running.restart() is False
    assert running.exited() is None
    wait_for(running)
    assert running.endpoint == before
    assert query(running.endpoint, "SELECT to_regclass('mine')") == (None,)
    running.stop()
    assert told.owned.count(("container", running.name)) == told.disowned.count(("container", running.name))


def test_a_removed_container_comes_back_too(start: Callable[..., DockerRunning], engine: Engine) -> None:
    running = start(command=IDLE)
    before = running.endpoint
    engine.api.remove_container(running.name, force=True, v=True)
    assert ending(running) == "removed"
    assert running.restart() is False
    assert running.exited() is None
    assert running.endpoint == before


def test_data_on_disk_survive_a_restart(
    start: Callable[..., DockerRunning], engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    if connect_is_remote(engine) or sys.platform != "linux":
        pytest.skip("the container's own address is reached from the engine's machine only")
    # At its own address: a published port would be another after docker's restart.
    monkeypatch.setattr(docker_provider, "placement", lambda engine: Placement())
    running = start(tmpfs={}, command=("postgres",))  # tuned servers lose their last commits when killed
    wait_for(running)
    query(running.endpoint, "CREATE TABLE mine AS SELECT 7 AS a")
    engine.api.kill(running.name)
    assert ending(running) == "killed by signal 9"
    assert running.restart() is True
    wait_for(running)
    assert query(running.endpoint, "SELECT a FROM mine") == (7,)


def connect_is_remote(engine: Engine) -> bool:
    return bool(engine.address.remote_host)


def test_exit_codes_are_told(start: Callable[..., DockerRunning], engine: Engine, run: str) -> None:
    running = start(command=("sh", "-c", "trap 'echo bye; exit 3' TERM; echo up; while :; do sleep 0.05; done"))
    deadline = time.monotonic() + 20
    while "up" not in running.logs():
        assert time.monotonic() < deadline
    engine.api.kill(running.name, signal="TERM")
    assert ending(running) == "exit code 3"
    assert "bye" in running.logs()


def test_a_paused_container_has_not_exited(start: Callable[..., DockerRunning], engine: Engine) -> None:
    running = start(command=IDLE)
    engine.api.pause(running.name)
    try:
        assert running.exited() is None
    finally:
        engine.api.unpause(running.name)


def test_a_paused_one_is_sick_and_is_made_anew(start: Callable[..., DockerRunning], engine: Engine) -> None:
    running = start()
    wait_for(running)
    before = running.endpoint
    assert running.sick() is None
    query(running.endpoint, "CREATE TABLE mine (a int)")
    engine.api.pause(running.name)
    assert running.exited() is None
    assert running.sick() == "paused"

    assert running.restart() is False
    assert running.sick() is None
    wait_for(running)
    assert running.endpoint == before
    assert query(running.endpoint, "SELECT to_regclass('mine')") == (None,)


def test_a_paused_one_with_data_on_disk_is_made_anew_too(
    start: Callable[..., DockerRunning], engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    running = start(command=IDLE, tmpfs={})
    woken: list[str] = []
    monkeypatch.setattr(running._engine.api, "restart", lambda name, timeout: woken.append(name))
    before = (running.endpoint, engine.api.inspect_container(running.name)["Id"])
    engine.api.pause(running.name)
    assert running.restart() is False
    assert woken == []
    state = engine.api.inspect_container(running.name)
    assert running.endpoint == before[0]
    assert state["Id"] != before[1]
    assert state["State"]["Status"] == "running"


def test_a_stopped_one_comes_back_at_its_port(start: Callable[..., DockerRunning], engine: Engine) -> None:
    running = start()
    wait_for(running)
    before = running.endpoint
    engine.api.stop(running.name, timeout=10)
    assert ending(running).startswith(("exit code", "killed by signal"))
    assert running.sick() is None
    assert running.restart() is False
    wait_for(running)
    assert running.endpoint == before


def test_where_a_stranger_took_its_name_it_cannot_come_back(
    start: Callable[..., DockerRunning], engine: Engine, told: Told, image: str
) -> None:
    running = start(command=IDLE)
    engine.api.remove_container(running.name, force=True, v=True)
    stranger = engine.api.create_container(image, name=running.name, command=list(IDLE))["Id"]
    try:
        engine.api.start(stranger)
        assert ending(running) == "removed"
        with pytest.raises(ServiceUnavailable, match=f"(?s){running.name} is already in use.*it is let be"):
            running.restart()
        running.stop()
        found = engine.api.inspect_container(running.name)
        assert (found["Id"], found["State"]["Running"]) == (stranger, True)
        assert set(told.owned) == set(told.disowned)
    finally:
        engine.api.remove_container(stranger, force=True, v=True)


# --- secrets


def test_a_secret_is_made_for_the_placeholder_and_stays(start: Callable[..., DockerRunning], engine: Engine) -> None:
    recipe: dict[str, Any] = {
        "password": RANDOM,
        "environment": {"SECRET": RANDOM, "URL": f"me:{RANDOM}@here", "OWN": "mine"},
        "command": ("sh", "-c", "sleep 300", f"--password={RANDOM}"),
    }
    running = start(**recipe)

    def secrets_of(found: dict[str, Any]) -> list[str]:
        variables = dict(line.split("=", 1) for line in found["Config"]["Env"])
        assert variables["OWN"] == "mine"
        return [variables["SECRET"], variables["URL"][3:-5], found["Config"]["Cmd"][-1].partition("=")[2]]

    before = running.endpoint.password
    assert len(before) >= 24
    assert RANDOM not in before
    assert set(secrets_of(engine.api.inspect_container(running.name))) == {before}
    engine.api.remove_container(running.name, force=True, v=True)
    running.restart()
    assert running.endpoint.password == before
    assert set(secrets_of(engine.api.inspect_container(running.name))) == {before}
    running.stop()
    assert start(**recipe).endpoint.password != before


# --- logs of a test


def test_logs_since_a_mark_are_those_of_the_engines_clock(
    start: Callable[..., DockerRunning], monkeypatch: pytest.MonkeyPatch
) -> None:
    running = start(command=("sh", "-c", "echo early; sleep 0.5; echo late; sleep 300"))
    deadline = time.monotonic() + 20
    while "early" not in running.logs():
        assert time.monotonic() < deadline
    threading.Event().wait(0.05)
    mark = mark_of(running.endpoint)
    while "late" not in running.logs():
        assert time.monotonic() < deadline
    assert running.logs(since=mark) == "late\n"
    # an engine whose clock is behind ours would be asked for what is still to come
    monkeypatch.setattr(docker_provider, "clock_ahead", lambda engine: -3600.0)
    ahead = LogMark(mark.time + 3600)
    assert running.logs(since=ahead) == "late\n"
    monkeypatch.setattr(docker_provider, "clock_ahead", lambda engine: 0.0)
    assert running.logs(since=ahead) == ""


# --- an engine that goes away


class Way:
    """A way to the real engine that can be shut: frozen, so that nothing passes; gone, so that nobody answers."""

    def __init__(self, path: str, engine: str) -> None:
        self.path, self._engine, self._open = path, engine, threading.Event()
        self._open.set()
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(path)
        self._listener.listen()
        self._pairs: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                near, _ = self._listener.accept()
                far = socket.socket(socket.AF_UNIX)
                far.connect(self._engine)
                self._pairs += [near, far]
                for one, other in ((near, far), (far, near)):
                    threading.Thread(target=self._carry, args=(one, other), daemon=True).start()

    def _carry(self, one: socket.socket, other: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := one.recv(65536):
                self._open.wait()
                other.sendall(data)
            other.shutdown(socket.SHUT_WR)

    def freeze(self) -> None:
        self._open.clear()

    def thaw(self) -> None:
        self._open.set()

    def break_off(self) -> None:
        """Close what is open, as an engine does that is started again."""
        for each in self._pairs:
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()
        self._pairs = []

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        Path(self.path).unlink(missing_ok=True)
        self.break_off()
        self.thaw()


@pytest.fixture
def way(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> Iterator[Way]:
    if not engine.address.socket:
        pytest.skip("needs an engine with a socket on this machine")
    with tempfile.TemporaryDirectory(prefix="tb-") as folder:
        way = Way(f"{folder}/engine.sock", engine.address.socket)
        monkeypatch.setenv("DOCKER_HOST", f"unix://{way.path}")
        yield way
        way.close()


@pytest.fixture
def behind(way: Way, engine: Engine, image: str, context: Context, run: str) -> Iterator[DockerRunning]:
    """A container that is reached by that way."""
    yield DockerProvider().start(make_spec(image, command=("sh", "-c", "echo here; sleep 300")), context)
    for name in names_of(engine, run):
        engine.api.remove_container(name, force=True, v=True)


def test_a_frozen_engine_does_not_hold_us_up(
    behind: DockerRunning, way: Way, told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert docker_provider.LOOK_SECONDS <= 5
    monkeypatch.setattr(docker_provider, "LOOK_SECONDS", 0.3)
    way.freeze()
    began = time.monotonic()
    assert behind.logs() == ""
    assert behind.sick() is None
    assert "does not answer" in (behind.exited() or "")
    with pytest.raises(TimeoutError):
        behind.stop()
    assert time.monotonic() - began < 4 * 0.3 + 1
    assert told.disowned == []  # a later run removes it
    way.thaw()
    behind.stop()
    assert told.owned == told.disowned


@pytest.mark.filterwarnings("ignore::ResourceWarning")  # docker's client leaves a socket open that it cannot connect
def test_an_engine_that_is_gone_is_told_at_once(behind: DockerRunning, way: Way, told: Told) -> None:
    way.close()
    began = time.monotonic()
    assert behind.logs() == ""
    assert behind.sick() is None
    with pytest.raises(OSError, match=r"(?i)no such file|connection"):
        behind.stop()
    assert time.monotonic() - began < 2
    assert told.disowned == []
    gc.collect()


def test_an_engine_that_was_started_again_is_asked_anew(behind: DockerRunning, way: Way, engine: Engine, run: str) -> None:
    assert behind.exited() is None
    deadline = time.monotonic() + 20
    while behind.logs() != "here\n":
        assert time.monotonic() < deadline
    way.break_off()  # with live restore the containers run on
    assert behind.logs() == "here\n"
    way.break_off()
    behind.stop()
    assert names_of(engine, run) == []


# --- Ryuk, where somebody wants it


class FakeReaper:
    """Stands for testcontainers' reaper, whose image no test can count on."""

    def __init__(self, fault: str = "") -> None:
        self.fault, self.calls = fault, list[str]()

    def get_instance(self) -> FakeReaper:
        self.calls.append("start")
        if self.fault:
            raise OSError(self.fault)
        return self

    def delete_instance(self) -> None:
        self.calls.append("delete")


@pytest.fixture
def reaper(engine: Engine, image: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeReaper]:
    from testcontainers.core import config, container

    fake = FakeReaper()
    monkeypatch.setattr(container, "Reaper", fake)
    engine.api.tag(image, "testbed-tests-ryuk", "1")  # an image that is there, and is not the service's own
    monkeypatch.setattr(config.testcontainers_config, "ryuk_image", "testbed-tests-ryuk:1")
    monkeypatch.setattr(config.testcontainers_config, "tc_properties", {})
    monkeypatch.delenv("TESTCONTAINERS_RYUK_DISABLED", raising=False)
    yield fake
    engine.api.remove_image("testbed-tests-ryuk:1")


def start_two(image: str, told: Told, run: str, tmp_path: Path) -> list[DockerRunning]:
    provider = DockerProvider()
    return [provider.start(make_spec(image, kind, command=IDLE), told.context(run, tmp_path)) for kind in ("one", "two")]


@pytest.mark.parametrize("said", ["variable", "property"])
def test_ryuk_is_started_once_where_it_is_asked_for(
    said: str,
    reaper: FakeReaper,
    image: str,
    engine: Engine,
    told: Told,
    run: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from testcontainers.core.config import testcontainers_config
    from testcontainers.core.labels import LABEL_SESSION_ID, SESSION_ID

    if said == "variable":
        monkeypatch.setenv("TESTCONTAINERS_RYUK_DISABLED", "false")
    else:
        monkeypatch.setattr(testcontainers_config, "tc_properties", {"ryuk.disabled": "false"})
    there: list[int] = []
    monkeypatch.setattr(reaper, "get_instance", lambda: (there.append(len(names_of(engine, run))), reaper.calls.append("start")))
    started = start_two(image, told, run, tmp_path)
    try:
        assert reaper.calls == ["start"]
        assert there == [0]  # before the first container, so that none is without it
        for running in started:
            labels = engine.api.inspect_container(running.name)["Config"]["Labels"]
            assert labels[LABEL_SESSION_ID] == SESSION_ID
            assert labels["pytest-testbed.run"] == run
        assert told.notes == []
    finally:
        for running in started:
            running.stop()


@pytest.mark.parametrize("fault", ["no answer", "no image"])
def test_a_ryuk_that_cannot_be_had_is_a_note(
    fault: str, reaper: FakeReaper, image: str, told: Told, run: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from testcontainers.core.config import testcontainers_config

    monkeypatch.setenv("TESTCONTAINERS_RYUK_DISABLED", "0")
    reaper.fault = "no answer"
    if fault == "no image":
        monkeypatch.setattr(testcontainers_config, "ryuk_image", "127.0.0.1:9/no/such:ryuk")
    for running in start_two(image, told, run, tmp_path):
        assert running.exited() is None
        running.stop()
    assert reaper.calls == (["start", "delete"] if fault == "no answer" else [])
    assert len(told.notes) == 1
    assert told.notes[0].startswith("Ryuk was asked for and could not be started (")
    assert told.notes[0].endswith("); the ledger cleans up")
    assert ("such:ryuk is not there" if fault == "no image" else "no answer") in told.notes[0]


def test_without_a_wish_there_is_no_ryuk(reaper: FakeReaper, image: str, told: Told, run: str, tmp_path: Path) -> None:
    for running in start_two(image, told, run, tmp_path):
        running.stop()
    assert reaper.calls == []


@pytest.mark.parametrize(
    ("variable", "there", "wanted"),
    [
        (None, None, False),
        ("false", None, True),
        ("0", None, True),
        ("FALSE", None, True),
        ("", None, False),
        ("true", None, False),
        (None, "false", True),
        (None, "true", False),
        ("true", "false", False),
        ("false", "true", True),
    ],
)
def test_the_wish_for_ryuk_must_be_said(variable: str | None, there: str | None, wanted: bool) -> None:
    environment = {} if variable is None else {"TESTCONTAINERS_RYUK_DISABLED": variable}
    assert wants_ryuk(environment, {} if there is None else {"ryuk.disabled": there}) is wanted


def test_asking_often_does_not_hammer_the_engine(start: Callable[..., DockerRunning], monkeypatch: pytest.MonkeyPatch) -> None:
    running = start(command=IDLE)
    calls: list[float] = []
    inspect = running._engine.api.inspect_container
    monkeypatch.setattr(running._engine.api, "inspect_container", lambda name: (calls.append(time.monotonic()), inspect(name))[1])
    until = time.monotonic() + 0.45
    while time.monotonic() < until:
        assert running.exited() is None
    assert 2 <= len(calls) <= 5


# --- failures leave nothing


def test_a_half_started_container_is_removed(
    start: Callable[..., DockerRunning],
    engine: Engine,
    told: Told,
    run: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    there: list[list[str]] = []

    def interrupted(self: DockerRunning) -> tuple[str, int]:
        there.append(names_of(engine, run))
        raise KeyboardInterrupt

    monkeypatch.setattr(DockerRunning, "_address", interrupted)
    with pytest.raises(KeyboardInterrupt):
        start(command=IDLE)
    assert len(there[0]) == 1
    assert names_of(engine, run) == []
    assert told.owned == told.disowned


def test_a_container_that_ends_at_once_is_told_with_its_log(
    start: Callable[..., DockerRunning], engine: Engine, run: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    address = DockerRunning._address

    def late(self: DockerRunning) -> tuple[str, int]:
        engine.api.wait(self.name, timeout=20)
        return address(self)

    monkeypatch.setattr(DockerRunning, "_address", late)
    with pytest.raises(ServiceNotReady, match=r"(?s)exit code 4.*the last words"):
        start(command=("sh", "-c", "echo the last words; exit 4"))
    assert names_of(engine, run) == []


# --- a quick start and a plain one

REFUSES = ("sh", "-c", "echo quick; exit 4")
PLAIN = ("sh", "-c", "echo plain; sleep 300")


def test_what_does_not_take_the_quick_start_is_started_plainly(
    start: Callable[..., DockerRunning], engine: Engine, told: Told, run: str, image: str
) -> None:
    running = start(command=("sh", "-c", "sleep 0.3; exit 4"), plain_command=PLAIN, more_ports={"second": 8080})
    assert ending(running) == "exit code 4"
    before = running.endpoint
    assert running.mend() is True
    assert running.exited() is None
    assert engine.api.inspect_container(running.name)["Config"]["Cmd"] == list(PLAIN)
    assert told.notes == [f"postgres: {image} did not take the quick start (exit code 4), and was started plainly"]
    assert running.endpoint == before.with_(port=running.endpoint.port, ports=running.endpoint.ports)
    assert len(names_of(engine, run)) == 1

    engine.api.kill(running.name)
    assert ending(running) == "killed by signal 9"
    assert running.mend() is False, "the plain one is the last"
    running.restart()
    assert engine.api.inspect_container(running.name)["Config"]["Cmd"] == list(PLAIN)


def test_a_quick_start_that_ends_at_once_is_none_too(
    start: Callable[..., DockerRunning], engine: Engine, told: Told, run: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    address = DockerRunning._address

    def late(self: DockerRunning) -> tuple[str, int]:
        if not self._is_plain:
            engine.api.wait(self.name, timeout=20)
        return address(self)

    monkeypatch.setattr(DockerRunning, "_address", late)
    running = start(command=REFUSES, plain_command=PLAIN)
    assert running.exited() is None
    [note] = told.notes
    assert "(exit code 4), and was started plainly" in note
    assert len(names_of(engine, run)) == 1


@pytest.mark.parametrize("fault", ["no plain command", "it was removed"])
def test_nothing_else_is_started_plainly(
    fault: str, start: Callable[..., DockerRunning], engine: Engine, told: Told, run: str
) -> None:
    running = start(command=IDLE, plain_command=() if fault == "no plain command" else PLAIN)
    if fault == "it was removed":
        engine.api.remove_container(running.name, force=True, v=True)
    else:
        engine.api.kill(running.name)
    ending(running)
    assert running.mend() is False
    assert told.notes == []
    assert len(names_of(engine, run)) == (0 if fault == "it was removed" else 1)


def test_more_ports_are_published_on_loopback_and_stay(start: Callable[..., DockerRunning], engine: Engine) -> None:
    running = start(command=IDLE, more_ports={"second": 8080, "third": 8081})
    if running.endpoint.host != "127.0.0.1":
        pytest.skip("the engine is not on this machine, or this is a container beside it")
    published = {"5432/tcp": running.endpoint.port} | {
        "8080/tcp": running.endpoint.ports["second"],
        "8081/tcp": running.endpoint.ports["third"],
    }
    expected = {inner: [{"HostIp": "127.0.0.1", "HostPort": str(port)}] for inner, port in published.items()}
    assert engine.api.inspect_container(running.name)["NetworkSettings"]["Ports"] == expected
    engine.api.remove_container(running.name, force=True, v=True)
    running.restart()
    assert engine.api.inspect_container(running.name)["NetworkSettings"]["Ports"] == expected


def test_a_lost_port_fails_the_restart_and_leaves_nothing(
    start: Callable[..., DockerRunning], engine: Engine, told: Told, run: str
) -> None:
    running = start(command=IDLE)
    if running.endpoint.host != "127.0.0.1":
        pytest.skip("needs a published port on this machine")
    engine.api.remove_container(running.name, force=True, v=True)
    with socket.create_server(("127.0.0.1", running.endpoint.port)), pytest.raises(Exception, match="in use|allocated"):
        running.restart()
    assert names_of(engine, run) == []
    assert set(told.owned) == set(told.disowned)
    assert running.exited() == "removed"


def test_a_refused_memory_mount_is_done_without(start: Callable[..., DockerRunning], engine: Engine, told: Told) -> None:
    running = start(command=IDLE, tmpfs={"/testbed": "nonsense"})
    assert running.exited() is None
    assert not engine.api.inspect_container(running.name)["HostConfig"].get("Tmpfs")
    assert any("tmpfs" in line for line in told.progress)
    assert told.notes == told.progress


def test_a_strangers_container_is_never_touched(
    start: Callable[..., DockerRunning], engine: Engine, told: Told, run: str, image: str
) -> None:
    name = f"testbed-{run}-postgres"
    stranger = engine.api.create_container(image, name=name, labels={"pytest-testbed.run": "another"})["Id"]
    try:
        with pytest.raises(Exception, match="already in use"):
            start(command=IDLE)
        assert remove_container(name, run) is False
        assert remove_container(stranger[:12], "another") is False  # the digits of an id are no name
        assert engine.api.inspect_container(name)["Id"] == stranger
        assert told.owned == told.disowned
    finally:
        engine.api.remove_container(stranger, force=True, v=True)


def test_a_second_start_does_not_remove_the_first(start: Callable[..., DockerRunning], engine: Engine) -> None:
    running = start(command=IDLE)
    with pytest.raises(Exception, match="already in use"):
        start(command=IDLE)
    assert running.exited() is None
    assert engine.api.inspect_container(running.name)["State"]["Running"]


def test_leftovers_are_removed_once(start: Callable[..., DockerRunning], engine: Engine, run: str) -> None:
    running = start(command=IDLE)
    assert remove_container(running.name, "another") is False
    assert running.exited() is None
    assert remove_container(running.name, run) is True
    assert remove_container(running.name, run) is False
    assert names_of(engine, run) == []


def test_without_an_engine_nothing_is_known_of_leftovers(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/none.sock")
    with pytest.raises(ServiceUnavailable, match="no such file"):
        remove_container("testbed-x-postgres", "x")


# --- images


def test_a_kind_without_an_image_is_refused(context: Context) -> None:
    refusal = DockerProvider().refusal(ServiceSpec(kind="odd", probe="a:b"), context)
    assert refusal == Refusal("there is no container image for odd", "use another provider")


def test_an_image_that_cannot_be_pulled_is_refused_once(engine: Engine, context: Context, told: Told) -> None:
    name = "127.0.0.1:9/no/such:image"  # nobody listens at the discard port
    provider = DockerProvider()
    refusal = provider.refusal(make_spec(name), context)
    assert refusal is not None
    assert name in refusal.reason
    assert "refused" in refusal.reason
    assert f"docker pull {name}" in refusal.remedy
    assert "image option" in refusal.remedy
    assert "testbed_provider = local" in refusal.remedy
    assert "\n" not in refusal.reason + refusal.remedy
    assert provider.refusal(make_spec(name), context) is refusal
    assert told.progress == [f"pulling {name} …"]


def events_of_a_pull() -> Iterator[dict[str, Any]]:
    yield {"status": "Pulling from library/thing", "id": "1"}
    for step in range(11):
        yield {"status": "Downloading", "id": "a", "progressDetail": {"current": step * 10, "total": 100}}
    yield {"status": "Download complete", "id": "a", "progressDetail": {}}
    for step in range(8):  # a second layer turns up late: of all, less is done than was shown
        yield {"status": "Downloading", "id": "b", "progressDetail": {"current": step, "total": 100}}
    yield {"status": "Extracting", "id": "a", "progressDetail": {"current": 1, "total": 900}}


class FakeEngine(socketserver.ThreadingUnixStreamServer):
    """Has no image until it was asked to pull one, and tells of the pull in small steps."""

    daemon_threads = True

    def __init__(self, path: str, events: list[dict[str, Any]]) -> None:
        super().__init__(path, FakeEngineTalk)
        self.events, self.pulled = events, False


class FakeEngineTalk(socketserver.StreamRequestHandler):
    server: FakeEngine

    def handle(self) -> None:
        line = self.rfile.readline().decode()
        while self.rfile.readline().strip():
            pass
        status, body = 200, b'{"Id": "1"}'
        if "/version" in line:
            body = b'{"ApiVersion": "1.41"}'
        elif "/images/create" in line:
            body, self.server.pulled = b"", True
        elif not self.server.pulled:
            status, body = 404, b'{"message": "No such image"}'
        head = f"HTTP/1.1 {status} X\r\nContent-Type: application/json\r\nConnection: close\r\n"
        if body:
            self.wfile.write(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
            return
        self.wfile.write(f"{head}Transfer-Encoding: chunked\r\n\r\n".encode())
        for event in self.server.events:
            data = json.dumps(event).encode() + b"\r\n"
            self.wfile.write(f"{len(data):x}\r\n".encode() + data + b"\r\n")
            self.wfile.flush()
            threading.Event().wait(0.06)
        self.wfile.write(b"0\r\n\r\n")


@pytest.fixture
def fake_engine(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[list[dict[str, Any]]], None]]:
    with contextlib.ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="tb-"))

        def serve(events: list[dict[str, Any]]) -> None:
            server = stack.enter_context(FakeEngine(f"{folder}/engine.sock", events))
            stack.callback(server.shutdown)
            threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
            monkeypatch.setenv("DOCKER_HOST", f"unix://{folder}/engine.sock")

        yield serve


def test_a_pull_shows_its_progress(fake_engine: Callable[[list[dict[str, Any]]], None], context: Context, told: Told) -> None:
    fake_engine(list(events_of_a_pull()))
    began = time.monotonic()
    assert DockerProvider().refusal(make_spec("thing:1"), context) is None
    seconds = time.monotonic() - began
    assert told.progress[0] == "pulling thing:1 …"
    percents = [int(line.split()[-2]) for line in told.progress[1:]]
    assert len(percents) >= 2
    assert percents == sorted(percents)
    assert 60 < percents[-1] <= 100
    assert len(told.progress) <= 1 + seconds / 0.2


def test_the_error_of_a_pull_is_shown(fake_engine: Callable[[list[dict[str, Any]]], None], context: Context) -> None:
    fake_engine([{"error": "toomanyrequests: you have reached\nyour limit", "errorDetail": {}}])
    refusal = DockerProvider().refusal(make_spec("thing:1"), context)
    assert refusal is not None
    assert "(toomanyrequests: you have reached your limit)" in refusal.reason


# --- the process around it


@pytest.mark.usefixtures("unmeasured")
def test_neither_warnings_nor_output_come_from_the_libraries(image: str) -> None:
    code = f"""
import sys
from pathlib import Path
from pytest_testbed.services.model import ContainerRecipe, Context, ServiceSpec
from pytest_testbed.services.providers.docker import DockerProvider
assert not {{"docker", "testcontainers", "requests"}} & set(sys.modules)
ignore = lambda *words: None
context = Context(run="x", directory=Path("."), cache=None, own=ignore, disown=ignore, progress=ignore)
spec = ServiceSpec(kind="k", probe="a:b", container=ContainerRecipe(image={image!r}, port=1))
assert DockerProvider().refusal(spec, context) is None
import testcontainers.core.container
"""
    python = [sys.executable, "-W", "error::DeprecationWarning", "-c", code]
    env = os.environ | {"PYTHONPATH": str(SOURCE)}
    done = subprocess.run(python, env=env, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


INSIDE = """
import json, os, sys, threading, time
from pathlib import Path
import psycopg2
from pytest_testbed.services.model import Context, ServiceSpec
from pytest_testbed.services.providers.docker import DockerProvider
words = lambda *words: None
context = Context(run=sys.argv[1], directory=Path("/tmp"), cache=None, own=words, disown=words, progress=words)
provider, spec = DockerProvider(), ServiceSpec.from_json(json.loads(sys.argv[2]))
refusal = provider.refusal(spec, context)
assert refusal is None, refusal
running = provider.start(spec, context)
try:
    until = time.monotonic() + 60
    while True:
        try:
            psycopg2.connect(running.endpoint.url() + "?connect_timeout=2").close()
            break
        except psycopg2.OperationalError as error:
            assert running.exited() is None and time.monotonic() < until, (error, running.endpoint)
            threading.Event().wait(0.02)
finally:
    running.stop()
print(json.dumps(running.endpoint.to_json()))
"""


@pytest.fixture
def network(engine: Engine, run: str) -> Iterator[str]:
    name = f"testbed-{run}-net"
    made = engine.api.create_network(name)["Id"]
    yield name
    engine.api.remove_network(made)


@pytest.mark.parametrize("where", ["default bridge", "own network, custom host name"])
def test_from_inside_a_container_services_are_reached_on_its_network(
    where: str, image: str, engine: Engine, network: str, run: str
) -> None:
    if not engine.address.socket or sys.platform != "linux":
        pytest.skip("needs an engine on this machine, to mount this Python into a container")
    subnet = engine.api.inspect_network(network if "own" in where else "bridge")["IPAM"]["Config"][0]["Subnet"]
    folders = {"/usr", sys.base_prefix, sys.prefix, str(SOURCE), str(Path(psycopg2.__file__).parents[1])}
    binds = [f"{folder}:{folder}:ro" for folder in sorted(folders)]
    host = engine.api.create_host_config(
        binds=[*binds, f"{engine.address.socket}:/var/run/docker.sock"],
        network_mode=network if "own" in where else "bridge",
    )
    outer = engine.api.create_container(
        image,
        entrypoint=[sys.executable, "-c", INSIDE, run, json.dumps(make_spec(image).to_json())],
        environment={"PYTHONPATH": str(SOURCE), "HOME": "/root"},
        user="0",
        hostname="laptop" if "own" in where else None,
        labels={"pytest-testbed.run": run},
        host_config=host,
    )["Id"]
    try:
        engine.api.start(outer)
        code = engine.api.wait(outer, timeout=120)["StatusCode"]
        output = engine.api.logs(outer).decode()
        assert code == 0, output
        endpoint = Endpoint.from_json(json.loads(output.splitlines()[-1]))
        assert endpoint.port == 5432
        assert ipaddress.ip_address(endpoint.host) in ipaddress.ip_network(subnet)
        assert len(names_of(engine, run)) == 1  # the outer one: the service is gone again
    finally:
        engine.api.remove_container(outer, force=True, v=True)
