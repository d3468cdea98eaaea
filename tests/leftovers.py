"""What a run left on this machine: processes, directories, containers, records, shared memory."""

from __future__ import annotations

import os
import subprocess
import tempfile
import time
from pathlib import Path

from pytest_testbed.services.ledger import MARK, start_time
from pytest_testbed.services.places import PREFIX, state_directory


def processes(run: str) -> list[int]:
    """Return the living processes that were started for a run."""
    mark = f"{MARK}={run}".encode()
    found = []
    for entry in os.scandir("/proc"):
        if entry.name.isdigit():
            try:
                environ = Path(entry.path, "environ").read_bytes()
            except OSError:
                continue
            if mark in environ.split(b"\0") and start_time(int(entry.name)):
                found.append(int(entry.name))
    return found


def directories(run: str) -> list[str]:
    """Return the directories that carry a run's name."""
    places = ("/dev/shm", "/tmp", tempfile.gettempdir(), "/var/tmp")
    return sorted({str(path) for place in places for path in Path(place).glob(f"{PREFIX}{run}*")})


def containers(run: str) -> list[str]:
    """Return the containers that carry a run's label; none where no engine answers."""
    command = ["docker", "ps", "-aq", "--filter", f"label=pytest-testbed.run={run}"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return []
    return done.stdout.split()


def records(run: str) -> list[str]:
    """Return the ledger's records of a run."""
    state = state_directory()
    return [str(path) for path in (state / "runs").glob(f"{run}*")] if state else []


def shared_memory() -> set[str]:
    """Return the System V segments of this machine, by id, and the files in /dev/shm."""
    done = subprocess.run(["ipcs", "-m"], capture_output=True, text=True, check=False)
    segments = {line.split()[1] for line in done.stdout.splitlines() if line.startswith("0x")}
    return segments | {entry.name for entry in os.scandir("/dev/shm")}


def of(run: str) -> dict[str, list[object]]:
    """Return everything that is left of a run."""
    found: dict[str, list[object]] = {
        "processes": list(processes(run)),
        "directories": list(directories(run)),
        "containers": list(containers(run)),
        "records": list(records(run)),
    }
    return {what: names for what, names in found.items() if names}


def gone(run: str, seconds: float = 5.0) -> dict[str, list[object]]:
    """Wait until nothing is left of a run, at most so many seconds; return what is left then."""
    deadline = time.monotonic() + seconds
    while (left := of(run)) and time.monotonic() < deadline:
        time.sleep(0.02)
    return left
