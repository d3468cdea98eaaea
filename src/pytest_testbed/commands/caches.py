"""The entries of the cache directory: what later runs may use again."""

from __future__ import annotations

import time
from pathlib import Path

from ..services.places import cache_directory
from .shown import bytes_of

__all__ = ["OURS", "Cache"]

OURS = ("pgdata-*", "pg-versions.*", "testbed-*")
"""Names of entries. A directory that the user chose may hold other things, which we did not make."""


class Cache:
    """The cache directory as it is now.

    Args:
        chosen: the user's own directory, "" for the usual one, in which everything is ours.
    """

    def __init__(self, chosen: str) -> None:
        self.directory = cache_directory(chosen)
        self._patterns = OURS if chosen else ("*",)

    def entries(self, unused_for: float = 0.0) -> list[tuple[Path, int]]:
        """Return the entries, with their bytes, that nobody has written to for so many seconds."""
        if self.directory is None:
            return []
        found = {path for pattern in self._patterns for path in self.directory.glob(pattern)}
        return [(path, bytes_of(path)) for path in sorted(found) if not unused_for or _age(path) > unused_for]


def _age(path: Path) -> float:
    try:
        return time.time() - path.lstat().st_mtime
    except OSError:
        return 0.0
