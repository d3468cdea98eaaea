"""Leases, records and the sweep of dead runs."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pytest_testbed.services import ledger as module
from pytest_testbed.services.death import end
from pytest_testbed.services.ledger import (
    FORMAT,
    Lease,
    Ledger,
    end_processes_of,
    present,
    read_record,
    silence,
    start_time,
    strays,
    sweep,
)
from pytest_testbed.services.places import socket_of
from pytest_testbed.services.record import as_data, changed


@pytest.fixture
def dead() -> Lease:
    """The lease of a process that has ended."""
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        lease = Lease.of(process.pid)
        process.communicate(b"\n")
    return lease


ALIVE = Lease.of(os.getpid())


def test_lease_of_a_living_and_of_an_ended_process(dead: Lease) -> None:
    assert ALIVE.alive() is True
    assert dead.alive() is False


def test_pid_that_is_used_again_is_another_process() -> None:
    assert changed(ALIVE, {"start": "1"}).alive() is False


def test_other_boot_is_dead_and_other_machine_or_namespace_unknown() -> None:
    assert changed(ALIVE, {"boot": "another"}).alive() is False
    assert changed(ALIVE, {"machine": "another"}).alive() is None
    assert changed(ALIVE, {"namespace": "another"}).alive() is None


def test_zombie_is_dead() -> None:
    child = os.fork()
    if not child:
        os._exit(0)
    os.waitid(os.P_PID, child, os.WEXITED | os.WNOWAIT)
    try:
        assert start_time(child) == ""
    finally:
        os.waitpid(child, 0)


def record_of(directory: Path, run: str, host: Lease, *things: tuple[str, str]) -> Path:
    ledger = Ledger(directory, run, host, ALIVE)
    for what, name in things:
        ledger.own(what, name)
    return directory / f"{run}.json"


def rewritten(record: Path, **changes: object) -> Path:
    """Change a record by hand; it keeps its time."""
    modified = record.stat().st_mtime
    record.write_text(json.dumps({**json.loads(record.read_text()), **changes}))
    os.utime(record, (modified, modified))
    return record


def test_record_is_there_while_something_is_owned(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path, "one", ALIVE, ALIVE)
    ledger.own("directory", "/a")
    ledger.own("directory", "/b")
    assert ledger.owned("directory") == ["/a", "/b"]
    ledger.disown("directory", "/a")
    (record,) = tmp_path.iterdir()
    assert json.loads(record.read_text())["things"] == [["directory", "/b", ""]]
    ledger.close()
    assert record.exists(), "a thing that resisted stays on record"
    ledger.disown("directory", "/b")
    ledger.close()
    assert list(tmp_path.iterdir()) == []


def test_sweep_removes_what_the_dead_left_and_nothing_else(tmp_path: Path, dead: Lease) -> None:
    record_of(tmp_path, "dead", dead, ("thing", "a"))
    kept = [
        record_of(tmp_path, "alive", ALIVE, ("thing", "b")),
        record_of(tmp_path, "elsewhere", changed(dead, {"machine": "another"}), ("thing", "c")),
    ]
    removed: list[tuple[str, str]] = []
    assert sweep(tmp_path, {"thing": lambda name, run: removed.append((name, run))}) == []
    assert removed == [("a", "dead")]
    assert sorted(tmp_path.iterdir()) == sorted(kept)


def test_what_resists_or_is_out_of_reach_stays_on_record(tmp_path: Path, dead: Lease) -> None:
    record = record_of(tmp_path, "dead", dead, ("thing", "stuck"), ("thing", "far"), ("unknown", "x"))

    def remove(name: str, run: str) -> None:
        raise {"stuck": OSError("busy"), "far": LookupError("on another server")}[name]

    faults = sweep(tmp_path, {"thing": remove})
    assert faults == ["thing stuck of a dead run could not be removed: busy"]
    assert json.loads(record.read_text())["things"] == [
        ["thing", "stuck", ""],
        ["thing", "far", ""],
        ["unknown", "x", ""],
    ]


TORN = ["", "{", "[]", "null", "{}", '{"format": 2}', '{"format": 2, "host": {"pid": 1}}', '{"format": 99, "host": {}}']


def test_what_lay_on_a_server_of_the_dead_hosts_own_went_with_it(tmp_path: Path, dead: Lease) -> None:
    thing = ("on alpha", "127.0.0.1:1/testbed_one_")
    services = [{"kind": "alpha", "provider": "local", "address": "127.0.0.1:1"}]
    for provider, stays in (("local", False), ("docker", False), ("external", True)):
        record = rewritten(record_of(tmp_path, "one", dead, thing), services=[{**services[0], "provider": provider}])
        assert sweep(tmp_path, {}) == []
        assert record.exists() is stays
    record = rewritten(record_of(tmp_path, "one", dead, ("on alpha", "127.0.0.1:2/testbed_one_")), services=services)
    assert sweep(tmp_path, {}) == []
    assert record.exists(), "it lay on another one"


def test_two_sweeps_at_once_write_nothing_back_that_either_has_removed(tmp_path: Path, dead: Lease) -> None:
    record = record_of(tmp_path, "one", dead, ("directory", "/a"), ("on alpha", "h:1/b"))
    assert sweep(tmp_path, {"directory": lambda *_: sweep(tmp_path, {"on alpha": lambda *_: None})}) == []
    assert not record.exists()
    record = record_of(tmp_path, "one", dead, ("directory", "/a"))
    assert sweep(tmp_path, {"directory": lambda *_: record.unlink()}) == [], "another was quicker"
    assert not record.exists()


@pytest.mark.parametrize("text", TORN)
def test_torn_or_foreign_record_is_left_alone(tmp_path: Path, text: str) -> None:
    record = tmp_path / "torn.json"
    record.write_text(text)
    os.utime(record, (0, 0))
    assert sweep(tmp_path, {}, max_age=0) == []
    assert record.read_text() == text


@pytest.mark.parametrize(
    "change", [{"things": [["thing"]]}, {"things": 1}, {"run": "x"}, {"beat": {}}, {"format": 1}, {"tenants": [1]}], ids=str
)
def test_dead_record_with_one_thing_wrong_is_left_alone(tmp_path: Path, dead: Lease, change: dict[str, object]) -> None:
    record = rewritten(record_of(tmp_path, "dead", dead, ("thing", "a")), **change)
    with pytest.raises(ValueError, match="another version" if "format" in change else "unreadable"):
        read_record(record)
    assert sweep(tmp_path, {"thing": lambda name, run: pytest.fail("judged")}) == []
    assert record.exists()


def test_ledger_that_cannot_be_written_does_not_stop_a_run(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "missing", "one", ALIVE, ALIVE)
    ledger.own("thing", "a")
    assert ledger.owned("thing") == ["a"]
    Ledger(None, "one", ALIVE, ALIVE).own("thing", "a")


def test_only_a_runs_own_directory_is_removed(tmp_path: Path) -> None:
    victim = tmp_path / "testbed-other"
    victim.mkdir()
    with pytest.raises(ValueError, match="left alone"):
        end_processes_of(victim, "one")
    assert victim.exists()


# --- what a record tells


def test_what_a_record_holds(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path, "one", ALIVE, None, project="/src/shop", kept=True)
    assert list(tmp_path.iterdir()) == [], "nothing is written before there is anything to write"
    service = {"kind": "postgres", "provider": "docker", "source": "postgres:18", "address": "localhost:5432", "since": 1.5}
    ledger.tells(services=[service])
    ledger.beat()
    assert list(tmp_path.iterdir()) == []
    before = time.time(), time.clock_gettime(time.CLOCK_BOOTTIME)
    ledger.write()
    ledger.tells(tenants=[{"run": "two", "pid": 7}])
    ledger.own("thing", "a", tenant="two")
    facts = json.loads((tmp_path / "one.json").read_text())
    beat = facts.pop("beat")
    assert beat["boot"] == ALIVE.boot
    assert before[0] <= facts.pop("made") + 1 <= beat["wall"] + 1 <= time.time() + 1
    assert before[1] <= beat["seconds"] <= time.clock_gettime(time.CLOCK_BOOTTIME)
    assert facts == {
        "format": FORMAT,
        "run": "one",
        "host": as_data(ALIVE),
        "owner": None,
        "project": "/src/shop",
        "kept": True,
        "tenants": [{"run": "two", "pid": 7}],
        "services": [service],
        "things": [["thing", "a", "two"]],
    }


def test_things_of_one_tenant(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path, "one", ALIVE, ALIVE)
    ledger.own("thing", "ours")
    ledger.own("thing", "theirs", tenant="two")
    assert ledger.owned("thing") == ["ours", "theirs"]
    assert ledger.owned("thing", "two") == ["theirs"]
    assert ledger.owned("thing", "") == ["ours"]
    ledger.disown("thing", "theirs")
    assert ledger.owned("thing") == ["ours"]


def test_tells_writes_where_it_is_asked_to(tmp_path: Path) -> None:
    Ledger(tmp_path, "one", ALIVE, ALIVE).tells(tenants=[], write=True)
    assert (tmp_path / "one.json").exists()


def test_beat_renews_the_record_and_its_time(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path, "one", ALIVE, ALIVE)
    ledger.write()
    record = tmp_path / "one.json"
    os.utime(record, (0, 0))
    first = read_record(record)["beat"]
    ledger.beat()
    assert read_record(record)["beat"]["seconds"] > first["seconds"]
    assert record.stat().st_mtime > time.time() - 60


# --- hosts that cannot be seen from here: their beat

HIDDEN = changed(ALIVE, {"namespace": "pid:[1]"})
AWAY = changed(ALIVE, {"machine": "another", "boot": "another"})


def swept(directory: Path, max_age: float = 3600.0) -> list[str]:
    """Return the runs that a sweep takes for dead."""
    found: list[str] = []
    assert sweep(directory, {"thing": lambda name, run: found.append(run)}, max_age=max_age) == []
    return found


def beat_of(seconds_ago: float, boot: str = ALIVE.boot) -> dict[str, object]:
    return {"boot": boot, "seconds": time.clock_gettime(time.CLOCK_BOOTTIME) - seconds_ago, "wall": 0.0}


@pytest.mark.parametrize("lease", [HIDDEN, changed(ALIVE, {"machine": "another"})], ids=["container", "host name"])
@pytest.mark.parametrize(("ago", "found"), [(3500.0, []), (3700.0, ["one"]), (-3700.0, [])])
def test_same_boot_is_judged_by_its_clock_alone(tmp_path: Path, lease: Lease, ago: float, found: list[str]) -> None:
    """Whatever the wall clock says: it may have been set meanwhile, for the record's time as well."""
    record = rewritten(record_of(tmp_path, "one", lease, ("thing", "a")), beat=beat_of(ago))
    os.utime(record, (0, 0) if ago < 3600 else (time.time() + 9e6,) * 2)
    assert swept(tmp_path) == found


@pytest.mark.parametrize(("ago", "found"), [(3500.0, []), (3700.0, ["one"]), (-9e6, [])])
def test_another_machine_is_judged_by_the_file_systems_clock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ago: float, found: list[str]
) -> None:
    record = rewritten(record_of(tmp_path, "one", AWAY, ("thing", "a")), beat=beat_of(9e9, "another"))
    now = present(tmp_path)
    assert now is not None
    os.utime(record, (now - ago,) * 2)
    monkeypatch.setattr(time, "time", lambda: now + 9e6)  # this machine's own clock is a day in December
    assert swept(tmp_path) == found
    assert sorted(path.suffix for path in tmp_path.iterdir()) == ([] if found else [".json"]), "the probe is gone"


def test_without_a_boot_id_the_clock_of_the_file_system_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    record = rewritten(record_of(tmp_path, "one", HIDDEN, ("thing", "a")), beat=beat_of(9e9, ""))
    monkeypatch.setattr(module, "boot", lambda: "")
    assert (silence(record, read_record(record)) or 0.0) < 60


def test_where_no_present_time_can_be_had_nothing_is_judged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    record = record_of(tmp_path, "one", AWAY, ("thing", "a"))
    rewritten(record, beat=beat_of(0, "another"))
    os.utime(record, (0, 0))
    monkeypatch.setattr(os, "open", refuse)
    assert swept(tmp_path) == []
    assert present(tmp_path) is None


def test_what_can_be_seen_is_not_judged_by_its_beat(tmp_path: Path, dead: Lease) -> None:
    rewritten(record_of(tmp_path, "asleep", ALIVE, ("thing", "a")), beat=beat_of(9e6))
    record_of(tmp_path, "dead", dead, ("thing", "a"))
    rewritten(record_of(tmp_path, "reused", changed(ALIVE, {"start": "1"}), ("thing", "a")), beat=beat_of(0))
    rewritten(record_of(tmp_path, "rebooted", changed(ALIVE, {"boot": "before"}), ("thing", "a")), beat=beat_of(0, "before"))
    assert swept(tmp_path) == ["dead", "rebooted", "reused"]


def test_a_record_is_no_younger_for_what_was_removed_of_it(tmp_path: Path) -> None:
    record = record_of(tmp_path, "one", AWAY, ("thing", "a"), ("on postgres", "b"))
    rewritten(record, beat=beat_of(0, "another"))
    os.utime(record, (1000, 1000))
    assert swept(tmp_path) == ["one"]
    assert read_record(record)["things"] == [["on postgres", "b", ""]]
    assert record.stat().st_mtime == 1000


# --- beside the records


def test_socket_and_lock_go_with_their_record(tmp_path: Path, dead: Lease) -> None:
    Ledger(tmp_path, "dead", dead, None).write()
    Ledger(tmp_path, "alive", ALIVE, None).write()
    for run in ("dead", "alive"):
        socket_of(tmp_path, run).write_text("")
        tmp_path.joinpath(f"{run}.lock").write_text("")
    assert sweep(tmp_path, {}) == []
    assert sorted(path.name for path in tmp_path.iterdir()) == ["alive.json", "alive.lock", "alive.sock"]


def test_lock_that_somebody_holds_stays(tmp_path: Path, dead: Lease) -> None:
    Ledger(tmp_path, "dead", dead, None).write()
    with open(tmp_path / "dead.lock", "w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        assert sweep(tmp_path, {}) == []
    assert [path.name for path in tmp_path.iterdir()] == ["dead.lock"]


def test_socket_stays_while_something_is_on_record(tmp_path: Path, dead: Lease) -> None:
    record_of(tmp_path, "dead", dead, ("far", "x"))
    socket_of(tmp_path, "dead").write_text("")
    assert sweep(tmp_path, {}) == []
    assert socket_of(tmp_path, "dead").exists()


def test_old_files_without_a_record_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # so that the socket's path is short
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("a.sock")
    for name in ("a.lock", "a.part", "new.sock", "new.lock", "new.part", "held.lock", "a.txt"):
        (tmp_path / name).write_text("")
    for path in tmp_path.iterdir():
        if not path.name.startswith("new"):
            os.utime(path, (0, 0))
    with open(tmp_path / "held.lock") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        assert [path.name for path in strays(tmp_path, 3600)] == ["a.lock", "a.part", "a.sock", "held.lock"]
        assert sweep(tmp_path, {}, max_age=3600) == []
    left = sorted(path.name for path in tmp_path.iterdir())
    assert left == ["a.txt", "held.lock", "new.lock", "new.part", "new.sock"]


def test_files_that_a_host_renews_are_not_old_however_short_the_age(tmp_path: Path) -> None:
    for name, age in (("beating.lock", 60), ("old.lock", 120)):
        (tmp_path / name).write_text("")
        os.utime(tmp_path / name, (time.time() - age,) * 2)
    assert [path.name for path in strays(tmp_path, 1.0)] == ["old.lock"]


# --- directories of all sorts


def refuse(*args: object, **given: object) -> int:
    raise OSError(errno.EROFS, os.strerror(errno.EROFS))


def test_state_directory_that_can_only_be_read(tmp_path: Path, dead: Lease, monkeypatch: pytest.MonkeyPatch) -> None:
    record = record_of(tmp_path, "dead", dead, ("thing", "a"))
    for where, name in ((os, "open"), (os, "replace"), (Path, "unlink"), (Path, "write_text")):
        monkeypatch.setattr(where, name, refuse)
    ledger = Ledger(tmp_path, "one", ALIVE, ALIVE)
    ledger.own("thing", "a")
    ledger.write()
    ledger.disown("thing", "a")
    ledger.close()
    removed: list[str] = []
    faults = sweep(tmp_path, {"thing": lambda name, run: removed.append(name)})
    assert removed == ["a"]
    assert faults == [f"the record {record} of a dead run could not be removed: Read-only file system"]


def test_state_and_things_on_two_file_systems(tmp_path: Path, dead: Lease) -> None:
    if not os.access("/dev/shm", os.W_OK) or os.stat("/dev/shm").st_dev == tmp_path.stat().st_dev:
        pytest.skip("second file system: there is no /dev/shm")
    run = os.urandom(6).hex()
    directory = Path("/dev/shm", f"testbed-{run}")
    (directory / "data").mkdir(parents=True)
    record_of(tmp_path, run, dead, ("directory", str(directory)))
    assert sweep(tmp_path, {"directory": lambda name, run: end_processes_of(Path(name), run)}) == []
    assert not directory.exists()
    assert list(tmp_path.iterdir()) == []


# --- ending a process that is not our child


def test_end_waits_for_the_end() -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        assert end(Lease.of(process.pid), 10) is True
    assert process.returncode == -15


def test_end_tells_of_one_that_stays() -> None:
    code = "import signal; signal.signal(15, signal.SIG_IGN); print(flush=True); input()"
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        assert end(Lease.of(process.pid), 0.1) is False
        process.kill()


@pytest.mark.parametrize("pidfd", [True, False])
def test_end_signals_nobody_but_the_one_who_is_meant(monkeypatch: pytest.MonkeyPatch, pidfd: bool) -> None:
    if not pidfd:
        monkeypatch.delattr(os, "pidfd_open")
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        lease = Lease.of(process.pid)
        for change in ({"start": "1"}, {"namespace": "pid:[1]"}, {"machine": "another"}, {"boot": "before"}):
            with pytest.raises(LookupError):
                end(changed(lease, change), 1)
        assert process.poll() is None
        assert end(lease, 10) is True
    with pytest.raises(LookupError):
        end(lease, 1)
