"""`prune`: remove what dead runs left, and what the cache holds for nobody."""

from __future__ import annotations

import json
import shutil
import sys
from contextlib import suppress
from functools import partial
from pathlib import Path

from ..services.ledger import Lease, clear, dead_records, present, remove_stray, strays, things_of
from ..services.places import socket_of
from ..services.removers import REMOVERS
from .caches import Cache
from .runs import Run, records_directory, runs_of
from .shown import bytes_of, size

__all__ = ["Pruning"]


class Pruning:
    """One call of `prune`; it tells of each thing as it goes.

    Args:
        max_age: seconds without a beat after which a host that cannot be seen from here is dead.
        dry_run: only tell.
    """

    def __init__(self, max_age: float, *, dry_run: bool) -> None:
        self._max_age = max_age
        self._dry_run = dry_run
        self._directory = records_directory()
        self._count = self._bytes = 0
        self._faults: list[str] = []

    def runs(self) -> None:
        """Remove what dead runs left, as the next run's sweep would."""
        if self._directory is None:
            return
        for path, facts in dead_records(self._directory, self._max_age):
            length = bytes_of(path)
            things = things_of(facts)
            for what, name, _ in things:
                if what not in REMOVERS:
                    print(f"left {what}: {name} (run {path.stem}): only a run on that server can remove it")
                elif self._dry_run:
                    self._tell(f"{what} {name} (run {path.stem})", bytes_of(Path(name)) if what == "directory" else None)
            if self._dry_run:
                left = any(what not in REMOVERS for what, _, _ in things)
            else:
                self._faults += clear(path, facts, {what: partial(self._remove, what) for what in REMOVERS})
                left = path.exists()
            if not left:
                self._tell(f"record {path.name}", length)
        for path in strays(self._directory, self._max_age):
            length = bytes_of(path)
            if self._dry_run or remove_stray(path):
                self._tell(f"file {path}", length)

    def unreadable(self) -> None:
        """Remove old records that cannot be read; what they told of stays, if there is any."""
        now = present(self._directory) if self._directory is not None else None
        for run in runs_of(self._directory, self._max_age):
            if run.state not in ("unreadable", "another version") or now is None:
                continue
            try:
                length, old = bytes_of(run.path), now - run.path.stat().st_mtime > self._max_age
                if not old or may_live(run):
                    continue
                if not self._dry_run:
                    socket_of(run.path.parent, run.id).unlink(missing_ok=True)
                    run.path.unlink(missing_ok=True)
                self._tell(f"record {run.path.name} ({run.state})", length)
            except OSError as error:
                self._faults.append(f"{run.path} could not be removed: {error.strerror}")

    def cache(self, cache: Cache, unused_for: float) -> None:
        """Remove entries of the cache that are older; 0 for all of them."""
        for path, length in cache.entries(unused_for):
            try:
                if not self._dry_run and path.is_dir() and not path.is_symlink():
                    shutil.rmtree(path)
                elif not self._dry_run:
                    path.unlink(missing_ok=True)
                self._tell(f"cache {path}", length)
            except OSError as error:
                self._faults.append(f"{path} could not be removed: {error.strerror}")
        if cache.fault:
            self._faults.append(cache.fault)

    def end(self) -> int:
        """Tell the total and what resisted; return the exit code."""
        would = "would be removed" if self._dry_run else "removed"
        things = "thing" if self._count == 1 else "things"
        print(f"{self._count} {things} {would}, {size(self._bytes)}" if self._count else "nothing to remove")
        for fault in self._faults:
            print(fault, file=sys.stderr)
        return 1 if self._faults else 0

    def _remove(self, what: str, name: str, run: str) -> None:
        length = bytes_of(Path(name)) if what == "directory" else None
        if REMOVERS[what](name, run):
            self._tell(f"{what} {name} (run {run})", length)

    def _tell(self, what: str, length: int | None) -> None:
        self._count += 1
        self._bytes += length or 0
        told = "" if length is None else f", {size(length)}"
        print(f"{'would remove' if self._dry_run else 'removed'} {what}{told}")


def may_live(run: Run) -> bool:
    """Tell whether the host of a record of another version lives: the lease may be as we know it."""
    with suppress(OSError, ValueError, KeyError, TypeError):
        return Lease(**json.loads(run.path.read_text())["host"]).alive() is True
    return False
