"""How old files are."""

from __future__ import annotations

import os
import time
from datetime import datetime, timedelta
from pathlib import Path

from .tree import walk

__all__ = ["moment", "set_age"]


def moment(age: timedelta | datetime) -> int:
    """Return in nanoseconds when a file of that age was changed; a clock that the test has stopped is heeded.

    Args:
        age: how long ago, or when; a datetime without a zone is local time.

    Raises:
        TypeError: it is neither.
    """
    if isinstance(age, datetime):
        return round(age.timestamp() * 1_000_000) * 1000
    if not isinstance(age, timedelta):
        raise TypeError(f"{age!r} is no age; a timedelta is, or a datetime, or days=, hours=, minutes=, seconds=.")
    return time.time_ns() - age // timedelta(microseconds=1) * 1000


def set_age(path: Path, changed_ns: int) -> None:
    """Let a file have been changed at a time, or a folder with all that is in it; links themselves, not where they lead."""
    inner = [entry.path for entry in walk(path)] if path.is_dir() and not path.is_symlink() else []
    for each in (*reversed(inner), os.fspath(path)):  # what is in a folder first
        if os.utime in os.supports_follow_symlinks:
            os.utime(each, ns=(changed_ns, changed_ns), follow_symlinks=False)
        elif not os.path.islink(each):
            os.utime(each, ns=(changed_ns, changed_ns))
