"""What each run owns, written down before it is made, so that somebody can always clean up.

One JSON file per run: the lease of its host process, its owner, and the things it owns. A run is dead
when its host process is; only leases that can be judged from here are judged.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from threading import Lock

from .places import PREFIX, remove_tree
from .record import as_data, record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["MARK", "Ledger", "Lease", "end_processes_of", "start_time", "sweep"]

FORMAT = 1
BEAT = 30.0

MARK = "TESTBED_SERVICE_OF"
"""Environment variable that every process started for a run carries, with the run's identity."""


def start_time(pid: int) -> str:
    """Return a mark of when process `pid` began, "" when there is no such living process.

    A pid alone is no identity, it is used again; pid and start time together are. A zombie counts
    as gone.
    """
    if sys.platform == "linux":
        try:
            text = Path(f"/proc/{pid}/stat").read_text()
        except OSError:
            return ""
        fields = text.rpartition(")")[2].split()
        return "" if fields[0] in "ZX" else fields[19]
    import subprocess

    done = subprocess.run(["ps", "-o", "stat=,lstart=", "-p", str(pid)], capture_output=True, text=True, check=False)
    state, _, began = done.stdout.strip().partition(" ")
    return "" if not state or state.startswith("Z") else began.strip()


def _read(path: str) -> str:
    with suppress(OSError):
        return Path(path).read_text().strip()
    return ""


def _machine() -> str:
    if hasattr(os, "uname"):
        return os.uname().nodename
    import socket

    return socket.gethostname()


def _pid_namespace() -> str:
    with suppress(OSError):
        return os.readlink("/proc/self/ns/pid")
    return ""


@record(frozen=True)
class Lease:
    """A living process, so named that it can be recognised, or known to be out of sight."""

    machine: str
    boot: str
    namespace: str
    pid: int
    start: str

    @classmethod
    def of(cls, pid: int) -> Lease:
        """Return the lease of a process of this machine."""
        return cls(_machine(), _read("/proc/sys/kernel/random/boot_id"), _pid_namespace(), pid, start_time(pid))

    def alive(self) -> bool | None:
        """Tell whether the process lives; None where that cannot be seen from here."""
        here = Lease.of(self.pid)
        if (self.machine, self.namespace) != (here.machine, here.namespace):
            return None
        if self.boot != here.boot:
            return False  # the same machine, started again since
        return here.start != "" and here.start == self.start


class Ledger:
    """The record of one run.

    Args:
        directory: where records lie, or None: then nothing is written, and only this process cleans up.
        run: the run's identity.
        host: the lease of the process that owns the things.
        owner: the lease of the process for which it does.
    """

    def __init__(
        self, directory: Path | None, run: str, host: Lease, owner: Lease | None, *, project: str = "", kept: bool = False
    ) -> None:
        self._path = directory / f"{run}.json" if directory is not None else None
        self._head = {"format": FORMAT, "run": run, "host": as_data(host), "owner": owner and as_data(owner), "made": time.time()}
        self._things: list[tuple[str, str, str]] = []
        self._lock = Lock()

    def own(self, what: str, name: str, tenant: str = "") -> None:
        """Write down that this run is about to make a thing."""
        with self._lock:
            self._things.append((what, name, tenant))
            self._write()

    def disown(self, what: str, name: str) -> None:
        """Take a thing off the record: it is gone."""
        with self._lock:
            self._things = [thing for thing in self._things if thing[:2] != (what, name)]
            self._write()

    def owned(self, what: str, tenant: str | None = None) -> list[str]:
        """Return the names of the things of one sort, in the order in which they were made."""
        with self._lock:
            return [name for sort, name, whose in self._things if sort == what and tenant in (None, whose)]

    def write(self) -> None:
        with self._lock:
            self._write()

    def beat(self) -> None:
        pass

    def tells(self, **facts: object) -> None:
        pass

    def close(self) -> None:
        """Remove the record where nothing is left on it."""
        with self._lock:
            if self._path is not None and not self._things:
                with suppress(OSError):
                    self._path.unlink(missing_ok=True)

    def _write(self) -> None:
        if self._path is None:
            return
        _write_record(self._path, {**self._head, "things": self._things})


def _write_record(path: Path, facts: Mapping[str, Any]) -> None:
    part = path.with_suffix(".part")
    with suppress(OSError):  # a full disk must not stop a run; then only this process cleans up
        part.write_text(json.dumps(facts))
        os.replace(part, path)


def _dead_records(directory: Path) -> Iterator[tuple[Path, dict[str, Any]]]:
    for path in sorted(directory.glob("*.json")):
        try:
            facts = json.loads(path.read_text())
            if facts["format"] == FORMAT and Lease(**facts["host"]).alive() is False:
                yield path, facts
        except (OSError, ValueError, KeyError, TypeError):
            continue  # torn, or of another version: not ours to judge


def sweep(directory: Path, removers: Mapping[str, Callable[[str, str], None]]) -> list[str]:
    """Remove what dead runs left; runs that live or cannot be judged are not touched.

    Args:
        directory: where the records lie.
        removers: for each sort of thing a `remove(name, run)`; a sort without one stays on record, and
            so does a thing for which it raises LookupError: it is out of reach from here.

    Returns:
        One line for each thing that could not be removed.
    """
    faults = []
    for path, facts in _dead_records(directory):
        left = []
        for what, name, *_ in facts.get("things", []):
            try:
                if what not in removers:
                    left.append((what, name))
                else:
                    removers[what](name, facts["run"])
            except LookupError:
                left.append((what, name))  # not where we are now
            except Exception as error:
                left.append((what, name))
                faults.append(f"{what} {name} of a dead run could not be removed: {error}")
        if left:
            _write_record(path, {**facts, "things": left})
        else:
            path.unlink(missing_ok=True)
    return faults


def _processes_of(directory: Path, run: str) -> Iterator[int]:
    """Yield the processes that were started for a run: they carry its mark in their environment."""
    if sys.platform == "linux":
        mark = f"{MARK}={run}".encode()
        for entry in os.scandir("/proc"):
            if entry.name.isdigit():
                with suppress(OSError):
                    if mark in Path(entry.path, "environ").read_bytes().split(b"\0"):
                        yield int(entry.name)
        return
    # elsewhere environments cannot be read: an orphan with the run's directory in its command line
    import subprocess

    done = subprocess.run(["ps", "-axww", "-o", "pid=,ppid=,command="], capture_output=True, text=True, check=False)
    for line in done.stdout.splitlines():
        pid, parent, command = line.split(maxsplit=2)
        if parent == "1" and str(directory) in command:
            yield int(pid)


def end_processes_of(directory: Path, run: str) -> None:
    """Kill what a dead run started in `directory`, then remove the directory.

    The mark and the directory's name hold the run's random identity, so no stranger is meant.
    """
    if directory.name != f"{PREFIX}{run}":
        raise ValueError(f"{directory} is not the directory of run {run}; it is left alone.")
    for pid in _processes_of(directory, run):
        if pid != os.getpid():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
    remove_tree(directory)
