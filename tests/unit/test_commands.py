"""The command line, on records that were written by hand."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from pytest_testbed.commands import containers, shown, stop
from pytest_testbed.commands.line import main
from pytest_testbed.services import places, removers
from pytest_testbed.services.ledger import Lease, Ledger
from pytest_testbed.services.model import Refusal
from pytest_testbed.services.record import changed

ME = Lease.of(os.getpid())
Capture = pytest.CaptureFixture[str]


class Home:
    """A user's directories, with hosts that are real processes."""

    def __init__(self, path: Path) -> None:
        self.runs = path / "state" / "pytest-testbed" / "runs"
        self.cache = path / "cache" / "pytest-testbed"
        for directory in (self.runs, self.cache):
            directory.mkdir(mode=0o700, parents=True)
        self.path = path
        self.hosts: dict[str, subprocess.Popen[bytes]] = {}

    def host(self, run: str, *, dead: bool = False, code: str = "input()") -> Lease:
        """Start a process in a host's place."""
        process = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        lease = Lease.of(process.pid)
        if dead:
            process.kill()
            process.communicate()
        else:
            self.hosts[run] = process
        return lease

    def record(
        self,
        run: str,
        host: Lease = ME,
        *things: tuple[str, str],
        owner: Lease | None = None,
        kept: bool = False,
        tenants: tuple[int, ...] = (),
        services: tuple[str, ...] = (),
    ) -> Path:
        """Write a record; services are words like `postgres/docker`."""
        ledger = Ledger(self.runs, run, host, owner, project=str(self.path / "shop"), kept=kept)
        for what, name in things:
            ledger.own(what, name)
        ledger.tells(
            services=[
                {"kind": kind, "provider": provider, "source": "", "address": "localhost:54321", "since": time.time() - 200}
                for kind, provider in (service.split("/") for service in services)
            ],
            tenants=[{"run": "other", "pid": pid} for pid in tenants],
            write=True,
        )
        return self.runs / f"{run}.json"

    def directory(self, run: str) -> Path:
        """Make a run's directory, with 2000 bytes in it."""
        made = self.path / f"testbed-{run}"
        (made / "data").mkdir(parents=True)
        (made / "data" / "file").write_bytes(b"x" * 2000)
        return made

    def runs_on_record(self) -> list[str]:
        return sorted(path.stem for path in self.runs.glob("*.json"))


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Home]:
    """Directories of this test's own, so that no real run is seen."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    for name in ("TESTBED_CACHE_DIR", "TESTBED_MAX_AGE"):
        monkeypatch.delenv(name, raising=False)
    home = Home(tmp_path)
    yield home
    for process in home.hosts.values():
        process.kill()
        process.communicate()


def lines(capsys: Capture) -> list[str]:
    return capsys.readouterr().out.splitlines()


AWAY = changed(ME, {"namespace": "pid:[1]"})


# --- ps


def test_ps_where_nothing_is(home: Home, capsys: Capture) -> None:
    assert main(["ps"]) == 0
    assert lines(capsys) == ["nothing is running"]


def test_ps_shows_a_line_for_each_service(home: Home, capsys: Capture) -> None:
    directory = home.directory("aaa")
    home.record("aaa", ME, ("directory", str(directory)), owner=ME, services=("postgres/local", "redis/external", "x/local"))
    assert main(["ps"]) == 0
    head, *rows = lines(capsys)
    assert head.split() == ["RUN", "KIND", "PROVIDER", "ADDRESS", "AGE", "OWNER", "SIZE", "PROJECT"]
    columns = [head.index(word) for word in head.split()]
    cells = [[row[a:b].strip() for a, b in zip(columns, [*columns[1:], None], strict=True)] for row in rows]
    us, shop = f"pid {os.getpid()}", str(home.path / "shop")
    assert cells == [
        ["aaa", "postgres", "local", "localhost:54321", "3 min", us, "2.0 kB", shop],
        ["aaa", "redis", "external", "localhost:54321", "3 min", us, "-", shop],
        ["aaa", "x", "local", "localhost:54321", "3 min", us, "-", shop],
    ]


def owners(capsys: Capture) -> dict[str, str]:
    assert main(["ps", "--json"]) == 0
    return {row["run"]: row["owner"] for row in json.loads(capsys.readouterr().out)["runs"]}


def test_ps_says_whose_each_is(home: Home, capsys: Capture) -> None:
    home.record("owned", owner=ME)
    home.record("idle", kept=True)
    home.record("busy", kept=True, tenants=(6, 5))
    home.record("shared", tenants=(7,))
    home.record("nobody")
    home.record("dead", home.host("dead", dead=True), kept=True)
    home.record("away", AWAY, kept=True)
    (home.runs / "folder.json").mkdir()
    (home.runs / "ended.json").symlink_to("nowhere")
    home.record("version").write_text('{"format": 1}')
    home.record("torn").write_text('{"form')
    assert owners(capsys) == {
        "owned": f"pid {os.getpid()}",
        "idle": "kept, idle",
        "busy": "kept, used by pid 5, 6",
        "shared": "pid 7",
        "nobody": "-",
        "dead": "dead",
        "away": "elsewhere, heard 0 s ago",
        "folder": "unreadable",
        "version": "another version",
        "torn": "unreadable",
    }


def test_silent_host_elsewhere_is_dead_after_the_time_that_is_set(
    home: Home, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = home.record("away", AWAY)
    facts = json.loads(record.read_text())
    facts["beat"]["seconds"] -= 7300
    record.write_text(json.dumps(facts))
    assert owners(capsys) == {"away": "elsewhere, heard 2 h ago"}
    monkeypatch.setenv("TESTBED_MAX_AGE", "7200")
    assert owners(capsys) == {"away": "dead"}


def test_a_host_without_services_and_a_record_without_facts_have_dashes(home: Home, capsys: Capture) -> None:
    home.record("aaa")
    (home.runs / "bbb.json").write_text("")
    main(["ps"])
    rows = [row.split() for row in lines(capsys)[1:]]
    assert [row[:4] for row in rows] == [["aaa", "-", "-", "-"], ["bbb", "-", "-", "-"]]


def test_size_of_a_container_is_the_engines_word(home: Home, capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    import pytest_testbed.services.providers.engine_address as engines

    class Api:
        timeout = 0.0

        def containers(self, **asked: object) -> list[dict[str, object]]:
            assert asked == {"all": True, "size": True, "filters": {"label": "pytest-testbed.run"}}
            assert self.timeout == containers.SECONDS
            labels = {"pytest-testbed.run": "aaa", "pytest-testbed.kind": "postgres"}
            return [{"Labels": labels, "SizeRw": 63_400_000}, {"Labels": {}, "SizeRw": 1}, {"Labels": labels, "SizeRw": None}]

        def close(self) -> None: ...

    class Engine:
        api = Api()

    monkeypatch.setattr(engines, "connect", lambda seconds: Engine())
    home.record("aaa", ME, ("container", "testbed-aaa-postgres"), services=("postgres/docker",))
    main(["ps"])
    assert "63 MB" in lines(capsys)[1]
    for gone in (lambda seconds: 1 / 0, lambda seconds: Refusal("no engine answers", "start one")):
        monkeypatch.setattr(engines, "connect", gone)
        main(["ps"])
        assert lines(capsys)[1].split()[-2] == "-"


def test_no_engine_is_asked_without_containers(home: Home) -> None:
    home.record("aaa", ME, ("directory", str(home.path / "testbed-aaa")))
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "pytest_testbed", "ps"], capture_output=True, text=True, check=True
    )
    assert len(done.stdout.splitlines()) == 2
    loaded = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert "pytest_testbed.commands.ps" in loaded
    assert loaded & {"docker", "pytest", "pytest_testbed.services.providers.docker", "testcontainers"} == set()


def test_ps_counts_the_cache(home: Home, capsys: Capture) -> None:
    (home.cache / "pgdata-18.pack").write_bytes(b"x" * 1500)
    (home.cache / "other").mkdir()
    (home.cache / "other" / "file").write_bytes(b"x" * 1500)
    assert main(["ps"]) == 0
    assert lines(capsys) == ["nothing is running", "", f"cache: 2 entries, 3.0 kB, in {home.cache}"]
    assert main(["ps", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {
        "runs": [],
        "cache": {"directory": str(home.cache), "entries": 2, "size": 3000},
    }


@pytest.mark.parametrize("command", [["ps"], ["ps", "--json"], ["prune"]], ids=" ".join)
def test_a_cache_that_cannot_be_read(home: Home, capsys: Capture, monkeypatch: pytest.MonkeyPatch, command: list[str]) -> None:
    plain = Path.iterdir

    def iterdir(path: Path) -> Iterator[Path]:
        if path == home.cache:
            raise PermissionError(13, "Permission denied")
        return plain(path)

    monkeypatch.setattr(Path, "iterdir", iterdir)
    assert main(command) == 1
    out, err = capsys.readouterr()
    assert err == f"the cache {home.cache} cannot be read: Permission denied\n"
    assert out


def test_entries_of_the_cache_that_go_meanwhile(home: Home, capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    (home.cache / "here").write_bytes(b"x" * 10)
    (home.cache / "below").mkdir()
    (home.cache / "below" / "here").write_bytes(b"x" * 10)
    plain, walk = Path.iterdir, os.walk
    monkeypatch.setattr(Path, "iterdir", lambda path: [*plain(path), path / "gone"])
    monkeypatch.setattr(os, "walk", lambda top: ((at, below, [*names, "gone"]) for at, below, names in walk(top)))
    assert main(["ps"]) == 0
    assert lines(capsys)[-1] == f"cache: 3 entries, 20 B, in {home.cache}"
    assert main(["prune"]) == 0
    assert lines(capsys) == ["nothing to remove"], "whatever is gone is not old"


# --- stop


def test_stop_ends_what_is_kept_and_idle(home: Home, capsys: Capture) -> None:
    home.record("idle", home.host("idle"), kept=True, services=("postgres/docker", "redis/local"))
    home.record("busy", home.host("busy"), kept=True, tenants=(5,))
    home.record("owned", home.host("owned"), owner=ME)
    assert main(["stop"]) == 0
    assert lines(capsys) == ["stopped idle postgres (docker), redis (local)"]
    assert home.hosts["idle"].wait(5) == -15
    assert home.hosts["busy"].poll() is None
    assert home.hosts["owned"].poll() is None
    assert main(["stop"]) == 0
    assert lines(capsys) == ["no host is kept and idle"]


def test_stop_all_ends_every_living_one(home: Home, capsys: Capture) -> None:
    for run in ("aaa", "bbb"):
        home.record(run, home.host(run), tenants=(5,))
    home.record("dead", home.host("dead", dead=True))
    home.record("away", changed(home.host("away"), {"namespace": "pid:[1]"}))
    assert main(["stop", "--all"]) == 0
    assert lines(capsys) == ["stopped aaa", "stopped bbb"]
    assert [home.hosts[run].wait(5) for run in ("aaa", "bbb")] == [-15, -15]
    assert home.hosts["away"].poll() is None


def test_stop_takes_the_beginning_of_a_name(home: Home, capsys: Capture) -> None:
    for run in ("abc1", "abd2"):
        home.record(run, home.host(run), tenants=(5,))
    assert main(["stop", "ab", "abd", "x"]) == 1
    captured = capsys.readouterr()
    assert captured.out == "stopped abd2\n"
    assert captured.err.splitlines() == [
        "ab is the beginning of several runs: abc1, abd2",
        "there is no run x; known are: abc1, abd2",
    ]
    assert home.hosts["abd2"].wait(5) == -15
    assert home.hosts["abc1"].poll() is None


def test_the_whole_name_is_no_mere_beginning(home: Home, capsys: Capture) -> None:
    for run in ("ab", "abc"):
        home.record(run, home.host(run))
    assert main(["stop", "ab"]) == 0
    assert lines(capsys) == ["stopped ab"]
    assert home.hosts["abc"].poll() is None


def test_stop_signals_nobody_who_is_not_surely_the_host(home: Home, capsys: Capture) -> None:
    lease = home.host("stranger")
    home.record("reused", changed(lease, {"start": "1"}))
    home.record("away", changed(lease, {"machine": "another"}))
    (home.runs / "torn.json").write_text('{"format": 2')
    assert main(["stop", "reused", "away", "torn"]) == 1
    assert capsys.readouterr().err.splitlines() == [
        "reused was not stopped: its host is dead already; `prune` removes what it left",
        "away was not stopped: it runs elsewhere; stop it there",
        "torn was not stopped: its record is unreadable",
    ]
    assert home.hosts["stranger"].poll() is None


def test_stop_tells_of_a_host_that_stays(home: Home, capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    lease = home.host("aaa", code="import signal; signal.signal(15, signal.SIG_IGN); print(flush=True); input()")
    out = home.hosts["aaa"].stdout
    assert out is not None
    out.readline()
    home.record("aaa", lease)
    monkeypatch.setattr(stop, "PATIENCE", 0.2)
    assert main(["stop", "aaa"]) == 1
    assert capsys.readouterr().err == f"aaa was not stopped: its host, pid {lease.pid}, has not ended within 0 s\n"


@pytest.mark.parametrize(
    ("error", "out", "err"),
    [
        (LookupError("it does not live"), "stopped aaa\n", ""),
        (PermissionError(1, "Operation not permitted"), "", "aaa was not stopped: its host, pid {}: Operation not permitted\n"),
    ],
)
def test_stop_of_a_host_that_has_just_ended_or_is_somebody_elses(
    home: Home, capsys: Capture, monkeypatch: pytest.MonkeyPatch, error: Exception, out: str, err: str
) -> None:
    def end(lease: Lease, seconds: float) -> bool:
        raise error

    monkeypatch.setattr(stop, "end", end)
    home.record("aaa")
    assert main(["stop", "aaa"]) == bool(err)
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == (out, err.format(os.getpid()))


# --- prune


def test_prune_removes_what_the_dead_left(home: Home, capsys: Capture) -> None:
    dead, living = home.directory("dead"), home.directory("alive")
    record = home.record("dead", home.host("dead", dead=True), ("directory", str(dead)))
    home.record("alive", ME, ("directory", str(living)))
    home.record("away", AWAY, ("directory", str(living)))
    length = record.stat().st_size
    told = [f"directory {dead} (run dead), 2.0 kB", f"record dead.json, {shown.size(length)}"]
    assert main(["prune", "--dry-run"]) == 0
    total = shown.size(2000 + length)
    assert lines(capsys) == [*(f"would remove {line}" for line in told), f"2 things would be removed, {total}"]
    assert dead.exists()
    assert home.runs_on_record() == ["alive", "away", "dead"]
    assert main(["prune"]) == 0
    assert lines(capsys) == [*(f"removed {line}" for line in told), f"2 things removed, {total}"]
    assert not dead.exists()
    assert living.exists()
    assert home.runs_on_record() == ["alive", "away"]
    assert main(["prune"]) == 0
    assert lines(capsys) == ["nothing to remove"]


def test_prune_tells_what_resists_and_what_is_out_of_reach(home: Home, capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    def remove(name: str, run: str) -> bool:
        raise OSError("the engine is away")

    monkeypatch.setitem(removers.REMOVERS, "container", remove)
    home.record("dead", home.host("dead", dead=True), ("container", "testbed-dead-x"), ("on postgres", "db:5432/a"))
    assert main(["prune"]) == 1
    captured = capsys.readouterr()
    assert captured.out.splitlines() == [
        "left on postgres: db:5432/a (run dead): only a run on that server can remove it",
        "nothing to remove",
    ]
    assert captured.err == "container testbed-dead-x of a dead run could not be removed: the engine is away\n"
    assert home.runs_on_record() == ["dead"]


def test_what_was_gone_already_is_not_counted(home: Home, capsys: Capture) -> None:
    record = home.record("dead", home.host("dead", dead=True), ("directory", str(home.path / "testbed-dead")))
    length = shown.size(record.stat().st_size)
    assert main(["prune"]) == 0
    assert lines(capsys) == [f"removed record dead.json, {length}", f"1 thing removed, {length}"]


def old(path: Path, days: float) -> Path:
    then = time.time() - days * 86400
    os.utime(path, (then, then))
    return path


def test_prune_removes_old_files_without_a_record(home: Home, capsys: Capture) -> None:
    (home.runs / "young.sock").write_text("")
    (home.runs / "old.sock").write_text("")
    old(home.runs / "old.sock", 2)
    assert main(["prune", "--dry-run"]) == 0
    assert (home.runs / "old.sock").exists()
    assert main(["prune"]) == 0
    assert f"removed file {home.runs / 'old.sock'}, 0 B" in lines(capsys)
    assert [path.name for path in home.runs.iterdir()] == ["young.sock"]


def test_only_force_removes_records_that_cannot_be_read(home: Home, capsys: Capture) -> None:
    for name, text in (("torn", "{"), ("version", '{"format": 1}'), ("young", "{")):
        (home.runs / f"{name}.json").write_text(text)
    living = json.loads(home.record("living").read_text())
    (home.runs / "living.json").write_text(json.dumps({**living, "format": 3}))
    home.record("away", AWAY)
    for name in ("torn", "version", "living", "away"):
        old(home.runs / f"{name}.json", 2)
    assert main(["prune"]) == 0
    assert main(["prune", "--force", "--dry-run"]) == 0
    assert home.runs_on_record() == ["away", "living", "torn", "version", "young"]
    capsys.readouterr()
    assert main(["prune", "--force"]) == 0
    assert lines(capsys) == [
        "removed record torn.json (unreadable), 1 B",
        "removed record version.json (another version), 13 B",
        "2 things removed, 14 B",
    ]
    assert home.runs_on_record() == ["away", "living", "young"]


def test_prune_tells_of_files_that_it_may_not_remove(home: Home, capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = Path.unlink

    def refuse(path: Path, missing_ok: bool = False) -> None:
        if path in files:
            raise PermissionError(1, "Operation not permitted")
        plain(path, missing_ok)

    files = [home.runs / "lone.sock", home.runs / "torn.json", home.cache / "aged"]
    for path in files:
        path.write_text("{")
        old(path, 20)
    monkeypatch.setattr(Path, "unlink", refuse)
    assert main(["prune", "--force"]) == 1
    captured = capsys.readouterr()
    assert captured.out == "nothing to remove\n"
    assert captured.err.splitlines() == [f"{path} could not be removed: Operation not permitted" for path in files[1:]]
    assert all(path.exists() for path in files)


def test_cache_entries_go_when_they_are_old(home: Home, capsys: Capture) -> None:
    (home.cache / "aged").mkdir()
    for name, days in (("aged/file", 20), ("aged", 20), ("middle", 10), ("new", 0)):
        if not (home.cache / name).exists():
            (home.cache / name).write_bytes(b"x" * 10)
        old(home.cache / name, days)
    assert main(["prune", "--dry-run"]) == 0
    assert lines(capsys) == [f"would remove cache {home.cache / 'aged'}, 10 B", "1 thing would be removed, 10 B"]
    assert main(["prune"]) == 0
    assert sorted(path.name for path in home.cache.iterdir()) == ["middle", "new"]
    assert main(["prune", "--cache-age", "5"]) == 0
    assert [path.name for path in home.cache.iterdir()] == ["new"]
    assert main(["prune", "--cache"]) == 0
    assert list(home.cache.iterdir()) == []


def test_in_a_directory_of_the_users_choice_only_what_is_ours_is_seen(
    home: Home, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen = home.path / "chosen"
    chosen.mkdir(mode=0o700)
    for name in ("pgdata-18-0123456789abcdef.pack", "pg-versions.json", "thesis.tex", "pgdata-18-old.pack"):
        (chosen / name).write_text("")
    (chosen / "pgdata-17-0123456789abcdef.pack").mkdir()
    monkeypatch.setenv("TESTBED_CACHE_DIR", str(chosen))
    assert main(["ps"]) == 0
    assert lines(capsys)[-1] == f"cache: 2 entries, 0 B, in {chosen}"
    assert main(["prune", "--cache"]) == 0
    assert sorted(path.name for path in chosen.iterdir()) == [
        "pgdata-17-0123456789abcdef.pack",
        "pgdata-18-old.pack",
        "thesis.tex",
    ]


# --- the line itself


def test_no_command_shows_help(home: Home, capsys: Capture) -> None:
    assert main([]) == 0
    out = capsys.readouterr().out
    assert all(word in out for word in ("ps", "stop", "prune", "exit codes"))


@pytest.mark.parametrize("argv", [["x"], ["stop", "--all", "abc"], ["prune", "--cache-age", "-1"], ["prune", "--cache-age", "x"]])
def test_wrong_usage_is_code_2(home: Home, argv: list[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(argv)
    assert caught.value.code == 2


@pytest.mark.parametrize("text", ["x", "-1", "nan", "inf"])
def test_a_wrong_time_in_the_environment_is_code_2(
    home: Home, monkeypatch: pytest.MonkeyPatch, capsys: Capture, text: str
) -> None:
    monkeypatch.setenv("TESTBED_MAX_AGE", text)
    with pytest.raises(SystemExit) as caught:
        main(["ps"])
    assert caught.value.code == 2
    assert f"TESTBED_MAX_AGE is '{text}': a number of seconds is needed" in capsys.readouterr().err


def test_state_that_cannot_be_used(home: Home, monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    for directory in (home.runs, home.cache):
        directory.rmdir()
        directory.write_text("")

    def nowhere() -> Path:
        raise FileNotFoundError(2, "No usable temporary directory")

    monkeypatch.setattr(places, "temporary", nowhere)
    for argv in (["ps"], ["stop"], ["prune"]):
        assert main(argv) == 0
    assert lines(capsys) == ["nothing is running", "no host is kept and idle", "nothing to remove"]


@pytest.mark.parametrize(("seconds", "text"), [(-5, "0 s"), (12.7, "12 s"), (200, "3 min"), (7300, "2 h"), (86400 * 5, "5 d")])
def test_age(seconds: float, text: str) -> None:
    assert shown.age(seconds) == text


@pytest.mark.parametrize(
    ("number", "text"),
    [(None, "-"), (0, "0 B"), (999, "999 B"), (1500, "1.5 kB"), (12_000_000, "12 MB"), (999_900, "1.0 MB"), (10**13, "10 TB")],
)
def test_size(number: int | None, text: str) -> None:
    assert shown.size(number) == text


def test_home_is_shortened(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    assert [shown.home_short(path) for path in ("/home/me", "/home/me/a", "/home/meg/a")] == ["~", "~/a", "/home/meg/a"]


def test_a_reader_that_has_seen_enough_is_no_error() -> None:
    import subprocess
    import sys

    command = [sys.executable, "-m", "pytest_testbed", "ps"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == ""
        assert process.wait(30) == 0
