"""Leases, records and the sweep of dead runs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from pytest_testbed.services.ledger import Lease, Ledger, end_processes_of, start_time, sweep
from pytest_testbed.services.record import changed


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


def test_record_is_there_while_something_is_owned(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path, "one", ALIVE, ALIVE)
    ledger.own("directory", "/a")
    ledger.own("directory", "/b")
    assert ledger.owned("directory") == ["/a", "/b"]
    ledger.disown("directory", "/a")
    (record,) = tmp_path.iterdir()
    assert json.loads(record.read_text())["things"] == [["directory", "/b"]]
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
    assert json.loads(record.read_text())["things"] == [["thing", "stuck"], ["thing", "far"], ["unknown", "x"]]


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"format": 99, "host": {}}', '{"format": 1, "host": {"pid": 1}}'])
def test_torn_or_foreign_record_is_left_alone(tmp_path: Path, text: str) -> None:
    record = tmp_path / "torn.json"
    record.write_text(text)
    assert sweep(tmp_path, {}) == []
    assert record.read_text() == text


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
