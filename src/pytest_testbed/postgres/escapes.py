"""What is written to a database past a test's transaction, by the address that the test's engine shows."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

from ..services.doorway import Doorway
from .written import has_written

__all__ = ["Escapes"]


class Escapes:
    """Looks whether somebody came by that address during a test, and what he did.

    Where nobody has come, which is nearly always, it costs a look at a number in memory.

    Args:
        doorway: the address.
        number: tells the number that the server's next writing transaction will get.
        connected: opens a cursor on the database.
    """

    def __init__(self, doorway: Doorway, number: Callable[[], int], connected: Callable[[], AbstractContextManager[Any]]) -> None:
        self._board = doorway.board
        self._number, self._connected = number, connected
        self._since: int | None = None
        self._seen = 0
        self.is_watching = False
        """Whether a test runs past which nobody may write."""

    def stale(self) -> None:
        """Note that something may write, or has written, that is no escape."""
        self._since = None

    def begin(self) -> None:
        """Take note that a test begins; `is_watching` is the caller's to take back."""
        self.is_watching = True
        if self._since is None:
            self._since = self._number()
        self._seen = self._board.messages

    @property
    def has_come(self) -> bool:
        """Whether somebody has come since the test began, and nothing is known that he may be taken for."""
        return self._since is not None and self._board.messages != self._seen

    def has_written(self) -> bool:
        """Tell whether he has left rows, or definitions: what was only deleted leaves no trace."""
        assert self._since is not None
        with self._connected() as cursor:
            found = has_written(cursor, self._since)
        self.stale()
        return found
