"""What each run owns, written down before it is made, so that somebody can always clean up.

One JSON file per run: the lease of its host process, its owner and tenants, its services, and the things it
owns. A run is dead when its host process is. Where that process cannot be seen from here (another container
or machine), the run is dead when its host has not renewed the record, its beat, for long.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from threading import Lock

from .lease import Lease, boot, seconds_since_boot, start_time
from .places import PREFIX, remove_tree, socket_of
from .record import as_data

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = [
    "BEAT",
    "DEFAULT_MAX_AGE",
    "FORMAT",
    "MARK",
    "Lease",
    "Ledger",
    "alive",
    "clear",
    "dead_records",
    "end_processes_of",
    "present",
    "read_record",
    "remove_stray",
    "silence",
    "start_time",
    "strays",
    "sweep",
    "things_of",
]

FORMAT = 2

BEAT = 30.0
"""Seconds after which a host that is at work renews its record."""

DEFAULT_MAX_AGE = 86400.0
"""Seconds without a beat after which a host that cannot be seen from here is taken for dead."""

MARK = "TESTBED_SERVICE_OF"
"""Environment variable that every process started for a run carries, with the run's identity."""

OWN = ("docker", "local")
"""Providers whose servers end with the host."""


class Ledger:
    """The record of one run.

    Args:
        directory: where records lie, or None: then nothing is written, and only this process cleans up.
        run: the run's identity.
        host: the lease of the process that owns the things.
        owner: the lease of the process for which it does; None where it serves whoever comes.
        project: the directory of the project.
        kept: whether the host outlives the runs that use it.
    """

    def __init__(
        self, directory: Path | None, run: str, host: Lease, owner: Lease | None, *, project: str = "", kept: bool = False
    ) -> None:
        self._path = directory / f"{run}.json" if directory is not None else None
        self._boot = host.boot
        self._facts = {
            "format": FORMAT,
            "run": run,
            "host": as_data(host),
            "owner": as_data(owner),
            "project": project,
            "kept": kept,
            "made": time.time(),
            "tenants": [],
            "services": [],
        }
        self._things: list[tuple[str, str, str]] = []
        self._lock = Lock()

    def own(self, what: str, name: str, tenant: str = "") -> None:
        """Write down that this run, or one that it serves, is about to make a thing."""
        with self._lock:
            self._things.append((what, name, tenant))
            self._write()

    def disown(self, what: str, name: str) -> None:
        """Take a thing off the record: it is gone."""
        with self._lock:
            for thing in self._things:
                if thing[:2] == (what, name):
                    self._things.remove(thing)
                    self._write()
                    return

    def owned(self, what: str, tenant: str | None = None) -> list[str]:
        """Return the names of the things of one sort, in the order in which they were made.

        Args:
            what: the sort.
            tenant: only what was made for this one; None for all.
        """
        with self._lock:
            return [name for sort, name, whose in self._things if sort == what and tenant in (None, whose)]

    def tells(
        self,
        services: Iterable[Mapping[str, Any]] | None = None,
        tenants: Iterable[Mapping[str, Any]] | None = None,
        *,
        write: bool = False,
    ) -> None:
        """Replace what the record tells of services and tenants.

        It is written where there is a record already, or where `write` says so.
        """
        with self._lock:
            if services is not None:
                self._facts["services"] = [dict(each) for each in services]
            if tenants is not None:
                self._facts["tenants"] = [dict(each) for each in tenants]
            if write or self._is_written():
                self._write()

    def keep(self) -> None:
        """Note that the host outlives its run."""
        with self._lock:
            self._facts["kept"] = True
            self._write()

    def write(self) -> None:
        """Write the record now: this host is to be found, though it owns nothing yet."""
        with self._lock:
            self._write()

    def beat(self) -> None:
        """Renew the record, if there is one, so that it can be seen elsewhere that this host lives."""
        with self._lock:
            if self._is_written():
                self._write()

    def close(self) -> None:
        """Remove the record where nothing is left on it."""
        with self._lock:
            if self._path is not None and not self._things:
                with suppress(OSError):
                    self._path.unlink(missing_ok=True)

    def _is_written(self) -> bool:
        return self._path is not None and self._path.exists()

    def _write(self) -> None:
        if self._path is None:
            return
        beat = {"boot": self._boot, "seconds": seconds_since_boot(), "wall": time.time()}
        with suppress(OSError):  # a full disk must not stop a run; then only this process cleans up
            _write_record(self._path, {**self._facts, "beat": beat, "things": self._things})


def _write_record(path: Path, facts: Mapping[str, Any], modified: float | None = None) -> None:
    part = path.with_suffix(".part")
    part.write_text(json.dumps(facts))
    if modified is not None:
        os.utime(part, (modified, modified))
    os.replace(part, path)


# --- reading and judging


def read_record(path: Path) -> dict[str, Any]:
    """Return what a record says.

    Raises:
        OSError: it is gone, or cannot be read.
        ValueError: it is torn ("unreadable"), or of "another version".
    """
    try:
        facts = json.loads(path.read_text())
        if facts["format"] == FORMAT and _is_sound(facts, path.stem):
            return dict(facts)
        fault = "another version" if facts["format"] != FORMAT else "unreadable"
    except (ValueError, KeyError, TypeError, AttributeError):
        fault = "unreadable"
    raise ValueError(fault)


def _is_sound(facts: Mapping[str, Any], run: str) -> bool:
    lease, beat = Lease(**facts["host"]), facts["beat"]
    return (
        facts["run"] == run
        and isinstance(lease.pid, int)
        and all(isinstance(text, str) for text in (lease.machine, lease.boot, lease.namespace, lease.start, beat["boot"]))
        and isinstance(beat["seconds"], (int, float))
        and all(isinstance(each, dict) for sort in ("tenants", "services") for each in facts[sort])
        and all(len(thing) == 3 and all(isinstance(text, str) for text in thing) for thing in facts["things"])
    )


def present(directory: Path) -> float | None:
    """Return the present time of a directory's file system, which may be another machine's; None if it cannot be told."""
    probe = directory / f"clock-{os.getpid()}-{time.monotonic_ns()}.part"
    try:
        handle = os.open(probe, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
        try:
            os.utime(handle)  # without a time: a file server takes its own
            return os.fstat(handle).st_mtime
        finally:
            os.close(handle)
            probe.unlink(missing_ok=True)
    except OSError:
        return None


def silence(path: Path, facts: Mapping[str, Any]) -> float | None:
    """Return the seconds since a record's last beat; None where that cannot be told.

    On the boot where it was written, by the clock that nobody sets. Elsewhere, by the clock of the file
    system on which the record lies: this machine's own may differ from the one that wrote it.
    """
    beat, here = facts["beat"], boot()
    if here and beat["boot"] == here:
        return seconds_since_boot() - float(beat["seconds"])
    now = present(path.parent)
    try:
        return None if now is None else now - path.stat().st_mtime
    except OSError:
        return None


def alive(path: Path, facts: Mapping[str, Any], max_age: float) -> bool | None:
    """Tell whether a record's host lives; None where it cannot be seen from here and has not been silent for long."""
    seen = Lease(**facts["host"]).alive()
    if seen is not None:
        return seen
    silent = silence(path, facts)
    return False if silent is not None and silent > max_age else None


def dead_records(directory: Path, max_age: float) -> Iterator[tuple[Path, dict[str, Any]]]:
    """Yield the records of dead runs. One that is torn or of another version is not ours to judge."""
    for path in sorted(directory.glob("*.json")):
        with suppress(OSError, ValueError):
            facts = read_record(path)
            if alive(path, facts, max_age) is False:
                yield path, facts


def strays(directory: Path, max_age: float) -> list[Path]:
    """Return sockets, locks and half written files that have no record, and are old."""
    found = [path for end in ("sock", "lock", "part") for path in directory.glob(f"*.{end}")]
    lone = sorted(path for path in found if not path.with_suffix(".json").exists())
    now = present(directory) if lone else None
    old = []
    for path in lone if now is not None else ():
        with suppress(OSError):
            if now is not None and now - path.lstat().st_mtime > max(max_age, 3 * BEAT):
                old.append(path)
    return old


# --- removing


def remove_stray(path: Path) -> bool:
    """Remove a file that has no record; tell whether that was done. A lock that somebody holds is left."""
    try:
        if path.suffix != ".lock":
            path.unlink()
            return True
        import fcntl

        with open(path) as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            path.unlink()
    except OSError:
        return False
    return True


def things_of(facts: Mapping[str, Any]) -> list[list[str]]:
    """Return what a dead run may have left: what it made on servers of its host's own went with them."""
    ended = {(f"on {each.get('kind')}", each.get("address")) for each in facts["services"] if each.get("provider") in OWN}
    return [thing for thing in facts["things"] if (thing[0], thing[1].rpartition("/")[0]) not in ended]


def clear(path: Path, facts: Mapping[str, Any], removers: Mapping[str, Callable[[str, str], object]]) -> list[str]:
    """Remove what a dead run left, and then its record, socket and lock; see `sweep`."""
    faults: list[str] = []
    removed = []
    for thing in things_of(facts):
        what, name = thing[:2]
        try:
            if what in removers:
                removers[what](name, facts["run"])
                removed.append(thing)
        except LookupError:
            pass  # not where we are now
        except Exception as error:
            faults.append(f"{what} {name} of a dead run could not be removed: {error}")
    try:
        now = read_record(path)  # others remove things at the same time, and what they have written must stay so
        left = [thing for thing in things_of(now) if thing not in removed]
        if not left:
            socket_of(path.parent, path.stem).unlink(missing_ok=True)
            path.unlink(missing_ok=True)
            remove_stray(path.with_suffix(".lock"))
        elif left != now["things"]:
            _write_record(path, {**now, "things": left}, path.stat().st_mtime)  # it is no younger for that
    except FileNotFoundError:
        pass  # another was quicker
    except (OSError, ValueError) as error:
        faults.append(f"the record {path} of a dead run could not be removed: {getattr(error, 'strerror', None) or error}")
    return faults


def sweep(
    directory: Path, removers: Mapping[str, Callable[[str, str], object]], *, max_age: float = DEFAULT_MAX_AGE
) -> list[str]:
    """Remove what dead runs left; runs that live or cannot be judged are not touched.

    Args:
        directory: where the records lie.
        removers: for each sort of thing a `remove(name, run)`; a sort without one stays on record, and
            so does a thing for which it raises LookupError: it is out of reach from here.
        max_age: seconds without a beat after which a host that cannot be seen from here is dead.

    Returns:
        One line for each thing that could not be removed.
    """
    faults = []
    for path, facts in dead_records(directory, max_age):
        faults += clear(path, facts, removers)
    for path in strays(directory, max_age):
        remove_stray(path)
    return faults


def _processes_of(directory: Path, run: str) -> Iterator[int]:
    """Yield the processes that were started for a run: they carry its mark in their environment."""
    if sys.platform == "linux":
        mark = f"{MARK}={run}".encode()
        for entry in os.scandir("/proc"):
            if entry.name.isdigit():
                with suppress(OSError):
                    if _carries(Path(entry.path), mark, directory):
                        yield int(entry.name)
        return
    # elsewhere environments cannot be read: an orphan with the run's directory in its command line
    import subprocess

    done = subprocess.run(["ps", "-axww", "-o", "pid=,ppid=,command="], capture_output=True, text=True, check=False)
    for line in done.stdout.splitlines():
        pid, parent, command = line.split(maxsplit=2)
        if parent == "1" and str(directory) in command:
            yield int(pid)


def _carries(process: Path, mark: bytes, directory: Path) -> bool:
    try:
        return mark in (process / "environ").read_bytes().split(b"\0")
    except PermissionError:  # a container's root may not look into processes of others: as where no environment can be read
        parent = (process / "stat").read_bytes().rpartition(b")")[2].split()[1]
        return parent == b"1" and os.fsencode(directory) in (process / "cmdline").read_bytes()


def end_processes_of(directory: Path, run: str) -> None:
    """Kill what a dead run started in `directory`, then remove the directory and the servers' shared memory.

    The mark and the directory's name hold the run's random identity, so no stranger is meant.
    """
    if directory.name != f"{PREFIX}{run}":
        raise ValueError(f"{directory} is not the directory of run {run}; it is left alone.")
    from . import segments

    left = segments.noted_in(directory)
    for pid in _processes_of(directory, run):
        if pid != os.getpid():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
    remove_tree(directory)
    segments.remove(left)
