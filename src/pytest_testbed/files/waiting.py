"""Waits for files that others write: by looking, as no event of the system is told of on every file system."""

from __future__ import annotations

import glob
import os
import re
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from .inside import inside, nothing_there, shown, sized
from .tree import Entry, entry_of, read_bytes, text_or_bytes

__all__ = ["Containing", "Matching", "Wait"]

Containing = str | bytes | re.Pattern[str] | re.Pattern[bytes] | None
Matching = Callable[[Path], object] | None
FIRST, LONGEST = 0.002, 0.05
"""Seconds between two looks: at first, and at most."""
EMPTY = 0.5
"""Seconds after which a file that stays empty counts as written: it is often made long before it is."""
LARGE = 1_000_000
"""Bytes above which a file is looked into again only if it has changed."""
MOST_LINES = 10


def now() -> float:
    """Return a time that no test can stop."""
    return time.clock_gettime(time.CLOCK_MONOTONIC) if hasattr(time, "clock_gettime") else time.monotonic()


class Wait:
    """One wait for a name.

    Args:
        root: the directory.
        name: in it; may be a pattern such as "report-*.csv".
        within: seconds.
    """

    def __init__(self, root: Path, name: str, within: float) -> None:
        self._root, self._name, self._within = root, name, within
        self._path = inside(root, name)
        self._seen: dict[str, tuple[tuple[int, int], float]] = {}
        """By path: its size and time of change, and since when it is so."""
        self._checked: dict[str, tuple[int, int]] = {}
        """By path: the state in which it was looked into."""
        self._reasons: dict[str, str] = {}

    def looks(self) -> Iterator[None]:
        """Yield for each look; the last one is at the deadline, which counts from the first."""
        yield
        start, pause, clock = now(), FIRST, threading.Event()
        while (left := start + self._within - now()) > 0:
            clock.wait(min(pause, left))  # `time.sleep` is what tests replace
            pause = min(pause * 1.5, LONGEST)
            yield

    def there(self) -> list[Entry]:
        """Return what is there under the name; broken links are not."""
        found = entry_of(self._path, self._name)
        paths = [str(self._path)]
        if found is None and glob.has_magic(self._name):
            paths = [
                os.path.join(self._root, each) for each in sorted(glob.glob(self._name, root_dir=self._root, recursive=True))
            ]
        entries = [entry_of(os.path.realpath(path), os.path.relpath(path, self._root)) for path in paths]
        return [entry for entry in entries if entry is not None and entry.kind != "link"]  # one that leads to itself

    def is_gone(self) -> bool:
        """Tell whether there is nothing under the name, not even a broken link."""
        return not os.path.lexists(self._path) and not self.there()

    def finished(self, containing: Containing, matching: Matching, still: float) -> Path | None:
        """Return what is there and written, and is as it should be."""
        for entry in self.there():
            why = self._unfinished(entry, containing, matching, still)
            self._reasons[entry.name] = why
            if not why:
                return self._root / entry.name
        return None

    def _unfinished(self, entry: Entry, containing: Containing, matching: Matching, still: float) -> str:
        state = (entry.size, entry.modified_ns)
        if entry.kind == "file":
            before, since = self._seen.get(entry.name, (None, 0.0))
            if before != state:
                self._seen[entry.name] = (state, now())
                since = now()
            if now() - since < self._long_enough(entry, still):
                return "is still being written" if entry.size else "is empty"
        # a small one may have changed within a tick of the file system's clock
        if self._checked.get(entry.name) == state and matching is None and entry.size > LARGE:
            return self._reasons[entry.name]
        self._checked[entry.name] = state
        return _lacks(entry, containing) or _unlike(self._root / entry.name, matching)

    def _long_enough(self, entry: Entry, still: float) -> float:
        """Return for how long a file must have been as it is; who waits no time wants to know what is there now."""
        return min(still if entry.size else max(still, EMPTY), self._within / 2) if still > 0 else 0.0

    def unmet(self, containing: Containing, matching: Matching) -> str:
        """Return why nothing was found, and what is there instead."""
        wanted = f" with {shown_criterion(containing)}" if containing is not None else ""
        head = f"no file {self._name!r}{wanted} came within {self._within:g} s"
        entries = self.there()
        if not entries:
            broken = entry_of(self._path, self._name)
            if broken is not None and broken.kind == "link":
                return f"{head}: it is a link to {broken.target!r}, where nothing is."
            return f"{head}: {nothing_there(self._root, self._name)}"
        lines = [f"{head}."]
        for entry in entries[:5]:
            lines.append(f"  {shown(entry.name)} is there ({_what(entry)}) and {self._reasons.get(entry.name, 'came too late')}.")
            lines += _last_lines(entry)
        if len(entries) > 5:
            lines.append(f"  … and {len(entries) - 5} more")
        return "\n".join(lines)

    def present(self) -> str:
        """Return the words for what is there and should not be."""
        entries = self.there()
        names = ", ".join(f"{shown(entry.name)} ({_what(entry)})" for entry in entries[:5])
        more = f" and {len(entries) - 5} more" if len(entries) > 5 else ""
        return f"{names or repr(self._name)}{more}"


def shown_criterion(containing: Containing) -> str:
    """Return what a file must have in it, for errors."""
    return repr(containing.pattern if isinstance(containing, re.Pattern) else containing)


def _lacks(entry: Entry, containing: Containing) -> str:
    if containing is None:
        return ""
    try:
        data = read_bytes(entry.path)
    except OSError as error:
        return f"cannot be read ({error.strerror or error})"
    if isinstance(containing, re.Pattern):
        pattern = containing.pattern
        found = containing.search(data if isinstance(pattern, bytes) else data.decode("utf-8", "replace"))  # type: ignore[arg-type]
        return "" if found else f"has nothing in it that fits {pattern!r}"
    return "" if _as_bytes(containing) in data else f"does not have {containing!r} in it"


def _as_bytes(containing: str | bytes) -> bytes:
    return containing.encode("utf-8") if isinstance(containing, str) else containing


def _unlike(path: Path, matching: Matching) -> str:
    if matching is None:
        return ""
    try:
        return "" if matching(path) else "does not match"
    except Exception as error:  # what reads half a file may fail in many ways
        return f"does not match: {type(error).__name__}: {shown(str(error))}"


def _what(entry: Entry) -> str:
    return sized(entry.size) if entry.kind == "file" else f"a {entry.kind}"


def _last_lines(entry: Entry) -> Iterator[str]:
    if entry.kind != "file" or not entry.size:
        return
    try:
        text = text_or_bytes(read_bytes(entry.path, 100_000))
    except OSError:
        return
    if isinstance(text, str):
        lines = text.splitlines()
        if len(lines) > MOST_LINES:
            yield f"    … {len(lines) - MOST_LINES} lines before"
        yield from (f"    {shown(line)}" for line in lines[-MOST_LINES:])
