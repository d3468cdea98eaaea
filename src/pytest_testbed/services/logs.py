"""Which part of a server's log belongs to a test: marks, ends of files, and the records of one database.

The standard library only, and quick: a mark is set before every test.
"""

from __future__ import annotations

import os
import re
import time

from .model import Endpoint, LogMark

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["cut", "last_lines", "mark_of", "of_database"]

LONGEST = 1024 * 1024
"""Bytes of a log that are read at most."""

# `time [process] user@database SEVERITY:  `; a server's own processes write none of the third part
_OF_A_SESSION = re.compile(r"\S+ \S+ \S+ \[\d+\] [^:]*?@(\S+) \S+:  ")


def mark_of(endpoint: Endpoint) -> LogMark:
    """Return where a server's log is now, for `logs(since=...)`."""
    size = -1
    if endpoint.log:
        try:  # a `with suppress()` takes as long as all the rest
            size = os.stat(endpoint.log).st_size
        except OSError:
            size = -1  # it is not written yet, or not any more
    return LogMark(time.time(), size)


def last_lines(path: Path | str, lines: int = 50, since: LogMark | None = None) -> str:
    """Return the last lines of a log file, or of what was written to it after a mark; "" where it cannot be read.

    A file that is shorter than it was at the mark was begun anew, so that all of it came later.
    """
    try:
        with open(path, "rb") as log:
            end = log.seek(0, os.SEEK_END)
            begin = since.size if since is not None and 0 <= since.size <= end else 0
            start = log.seek(max(begin, end - LONGEST))
            written = log.read(end - start)
    except OSError:
        return ""
    if start > begin:
        written = written.partition(b"\n")[2]  # the rest of a line
    # not splitlines(): a statement may hold any character that it takes for the end of a line
    found = written.decode(errors="replace").removesuffix("\n").split("\n")
    return "\n".join(found[-lines:]) if lines > 0 else ""


def of_database(text: str, database: str, others_prefix: str = "testbed_") -> str:
    """Return a log without the records of other test databases on the same server.

    A record is a line with the lines after it that begin with a tab. Dropped are those that say
    `user@other` after time and process, as the servers that we start do; what says nothing of a
    database, or was written in another format, is kept.

    Args:
        text: the log.
        database: the database whose records are kept.
        others_prefix: how the names of other databases begin whose records are dropped.
    """
    kept: list[str] = []
    keep = True
    for line in text.split("\n"):
        if not line.startswith("\t"):
            found = _OF_A_SESSION.match(line)
            keep = found is None or found[1] == database or not found[1].startswith(others_prefix)
        if keep:
            kept.append(line)
    return "\n".join(kept)


def cut(text: str, lines: int) -> str:
    """Return the last lines of a text, and before them, where some are missing, a line that says how many."""
    found = text.removesuffix("\n").split("\n")
    left_out = len(found) - lines
    if left_out <= 0:
        return text
    what = "1 line before these is" if left_out == 1 else f"{left_out} lines before these are"
    return "\n".join([f"… {what} left out", *found[left_out:]])
