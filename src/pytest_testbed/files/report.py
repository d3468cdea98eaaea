"""A tree in the report of a test that failed: what fits of it, in bounded time, and nothing is opened that could block."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

from .inside import shown, sized
from .tree import Entry, read_bytes, text_or_bytes, walk

__all__ = ["captured"]

MOST_ENTRIES = 60
MOST_IN_FOLDER = 20
MOST_COUNTED = 100_000
"""Entries after which nobody counts any more."""
MOST_LINES = 8
"""Lines that are shown of one file."""
MOST_LINES_IN_ALL = 120
READ = 4000
"""Bytes up to which the content of a file is shown."""
WIDEST = 120
OLD = 3600
"""Seconds after which a file is old enough to say so."""
UNITS = ((86_400, "day"), (3600, "hour"))


def captured(root: Path) -> str:
    """Return the section of a report."""
    if not root.is_dir():
        return f"{root}\nis not there any more."
    return "\n".join([str(root), *_lines(root)])


def _lines(root: Path) -> Iterator[str]:
    in_folder: dict[str, int] = {}
    hidden: set[str] = set()
    total = told = 0
    room = MOST_LINES_IN_ALL
    for entry in walk(root):
        total += 1
        if total > MOST_COUNTED:
            break
        folder = entry.name.rpartition("/")[0]
        in_folder[folder] = in_folder.get(folder, 0) + 1
        if in_folder[folder] > MOST_IN_FOLDER or told >= MOST_ENTRIES or folder in hidden:
            if entry.kind == "folder":
                hidden.add(entry.name)  # what is in it would stand there without it
            continue
        told += 1
        yield _row(entry)
        lines = _content(entry)[:room]
        room -= len(lines)
        yield from lines
    if not total:
        yield "(nothing in it)"
    if total > told:
        yield f"… and {'at least ' if total > MOST_COUNTED else ''}{total - told:,} more"


def _row(entry: Entry) -> str:
    name = shown(entry.name, WIDEST)
    if entry.kind == "folder":
        return f"{name}/{'  (empty)' if entry.is_empty else ''}{_age(entry)}"
    if entry.kind == "link":
        broken = "" if os.path.exists(entry.path) else "  (broken)"
        return f"{name} -> {shown(entry.target)}{broken}{_age(entry)}"
    if entry.kind == "file":
        return f"{name}  {sized(entry.size)}{'  executable' if entry.is_executable else ''}{_age(entry)}"
    return f"{name}  ({entry.kind})"


def _age(entry: Entry) -> str:
    seconds = time.time() - entry.modified_ns / 1e9
    for size, unit in UNITS:
        if abs(seconds) >= max(size, OLD):
            count = int(abs(seconds) // size)
            return f"  {count:,} {unit}{'s' if count > 1 else ''} {'old' if seconds > 0 else 'in the future'}"
    return ""


def _content(entry: Entry) -> list[str]:
    if entry.kind != "file" or not 0 < entry.size <= READ:
        return []
    try:
        text = text_or_bytes(read_bytes(entry.path, READ))
    except OSError as error:
        return [f"    (cannot be read: {error.strerror or error})"]
    if not isinstance(text, str):
        return []
    lines = text.splitlines()
    more = [f"    … ({len(lines)} lines)"] if len(lines) > MOST_LINES else []
    return [*(f"    {_cut(line)}" for line in lines[:MOST_LINES]), *more]


def _cut(line: str) -> str:
    plain = "".join(each if each.isprintable() else " " for each in line[: WIDEST + 1])
    return plain if len(plain) <= WIDEST else f"{plain[:WIDEST]}…"
