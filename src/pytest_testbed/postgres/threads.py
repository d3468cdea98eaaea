"""Threads that a test has begun and left running: what is sent to the database later may be theirs."""

from __future__ import annotations

import threading

__all__ = ["Threads"]


class Threads:
    """What was running when a test began, and what more when it ended."""

    def __init__(self) -> None:
        self._before: set[threading.Thread] = set()
        self._left: list[threading.Thread] = []

    def begin(self) -> None:
        """Take note that a test begins."""
        self._before = set(threading.enumerate())

    def end(self) -> None:
        """Take note that it has ended."""
        self._left = [thread for thread in threading.enumerate() if thread not in self._before]
        self._before.clear()

    @property
    def left(self) -> str:
        """The names of those that it has left; "" where there are none."""
        return ", ".join(thread.name for thread in self._left)
