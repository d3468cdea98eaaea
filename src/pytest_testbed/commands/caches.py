"""The entries of the cache directory: what later runs may use again."""

from __future__ import annotations

import re
import time
from pathlib import Path

from ..services.places import cache_directory
from .shown import bytes_of

__all__ = ["OURS", "Cache"]

OURS = re.compile(r"pgdata-\d+-[0-9a-f]{16}\.pack(\.[0-9a-f]{8})?|pg-versions\..*")
"""Names of entries, which are files. A directory that the user chose may hold other things, which we did not make."""


class Cache:
    """The cache directory as it is now.

    Args:
        chosen: the user's own directory, "" for the usual one, in which everything is ours.
    """

    def __init__(self, chosen: str) -> None:
        self.directory = cache_directory(chosen)
        self._is_chosen = bool(chosen)
        self.fault = ""
        """Why the entries cannot be told; "" where they can."""

    def entries(self, unused_for: float = 0.0) -> list[tuple[Path, int]]:
        """Return the entries, with their bytes, that nobody has written to for so many seconds."""
        if self.directory is None:
            return []
        try:
            found = [path for path in self.directory.iterdir() if not self._is_chosen or is_ours(path)]
        except OSError as error:
            self.fault = f"the cache {self.directory} cannot be read: {error.strerror}"
            return []
        return [(path, bytes_of(path)) for path in sorted(found) if not unused_for or _age(path) > unused_for]


def is_ours(path: Path) -> bool:
    """Tell whether an entry of a directory that the user chose was made by us."""
    return OURS.fullmatch(path.name) is not None and path.is_file()


def _age(path: Path) -> float:
    try:
        return time.time() - path.lstat().st_mtime
    except OSError:
        return 0.0
