"""A server-side cursor whose batches are fetched in turn with the statements of other tasks."""

from __future__ import annotations

from typing import Any

__all__ = ["Streamed"]


class Streamed:
    """Stands for a cursor; several tasks share its connection, which can do one thing at a time.

    Args:
        cursor: the cursor.
        lock: keeps others away while rows are fetched.
    """

    __slots__ = ("_lock", "_streamed")

    def __init__(self, cursor: Any, lock: Any) -> None:
        object.__setattr__(self, "_streamed", cursor)
        object.__setattr__(self, "_lock", lock)

    def fetchone(self) -> Any:
        """Fetch a row."""
        with self._lock:
            return self._streamed.fetchone()

    def fetchmany(self, size: int | None = None) -> Any:
        """Fetch some rows."""
        with self._lock:
            return self._streamed.fetchmany(size)

    def fetchall(self) -> Any:
        """Fetch the rest."""
        with self._lock:
            return self._streamed.fetchall()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._streamed, name)

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(self._streamed, name, value)
