"""System V shared memory that a killed server leaves behind: it lies in no directory, and outlives every process."""

from __future__ import annotations

import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from .record import record

__all__ = ["noted_in", "remove", "segments"]

TABLE = Path("/proc/sysvipc/shm")
"""Where Linux lists them; elsewhere nothing tells who made one, and they are left."""
PATIENCE = 2.0
"""Seconds in which the children of a killed server have seen that it is gone."""


@record(frozen=True)
class Segment:
    """One segment: its id, the process that made it, how many are attached to it."""

    number: int
    maker: int
    attached: int


def segments() -> list[Segment]:
    """Return the segments of this machine."""
    with suppress(OSError):
        head, *rows = TABLE.read_text().splitlines()
        names = head.split()
        each = [dict(zip(names, row.split(), strict=False)) for row in rows]
        return [Segment(int(facts["shmid"]), int(facts["cpid"]), int(facts["nattch"])) for facts in each]
    return []


def noted_in(directory: Path) -> list[int]:
    """Return the ids of the segments of the servers in a run's directory.

    A server notes its process id and its segment's in a file. Both must be right: ids are used again.
    """
    found: list[int] = []
    for path in directory.glob("*/*.pid"):
        with suppress(OSError):
            words = path.read_text(errors="replace").split()
            found += [each.number for each in segments() if [str(each.maker)] == words[:1] and str(each.number) in words]
    return found


def remove(numbers: Iterable[int]) -> None:
    """Remove segments, as soon as nobody is attached to them any more."""
    wanted = set(numbers)
    deadline = time.monotonic() + PATIENCE
    while wanted:
        there = {each.number: each.attached for each in segments() if each.number in wanted}
        wanted &= set(there)
        for number in [number for number in wanted if not there[number]]:
            _remove(number)
            wanted.remove(number)
        if wanted and time.monotonic() > deadline:
            return
        if wanted:
            time.sleep(0.01)


def _remove(number: int) -> None:
    import subprocess

    with suppress(FileNotFoundError):
        subprocess.run(["ipcrm", "-m", str(number)], capture_output=True, check=False)
