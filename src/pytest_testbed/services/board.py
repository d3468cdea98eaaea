"""A few numbers in memory that the host process and a pytest process share, so that neither has to ask the other.

A test that does not use an exported address must not pay for it: a look at the board takes less than a
microsecond, a question to the host a hundred times that.
"""

from __future__ import annotations

import mmap
import os
import threading
import time

__all__ = ["Board"]

_SIZE = 4096
MESSAGES, HUSHED, LATE, LISTENS, BEGAN, ON_THEIR_WAY, VISITS = range(7)
GLANCE = 0.0002
"""Seconds between two looks at whether all that was on its way has been passed on."""
PATIENCE = 0.2
"""Seconds in which that must have happened: who takes longer passes on much, or waits for the server himself."""


class Board:
    """Some counters: each is written by one process, and under a lock where that has a thread for each client.

    Args:
        file: descriptor of the shared memory, which stays the caller's.
    """

    def __init__(self, file: int) -> None:
        self._memory = mmap.mmap(file, _SIZE)
        self._numbers = memoryview(self._memory).cast("Q")
        self._lock = threading.Lock()

    @staticmethod
    def allocate() -> int:
        """Return the descriptor of new shared memory."""
        if hasattr(os, "memfd_create"):
            file = os.memfd_create("pytest-testbed", os.MFD_CLOEXEC)
        else:
            from tempfile import TemporaryFile

            with TemporaryFile() as temporary:
                file = os.dup(temporary.fileno())
        os.ftruncate(file, _SIZE)
        return file

    # --- written by the host

    @property
    def messages(self) -> int:
        """How much clients have sent through the front door so far, in pieces as they came."""
        return self._numbers[MESSAGES]

    def count_message(self) -> None:
        """Note that a client has sent something; before it is passed on, so that nothing is done unseen."""
        with self._lock:
            self._numbers[MESSAGES] += 1

    def set_out(self) -> None:
        """Note that something is on its way, until `passed_on`: whoever hushes waits for it.

        Before it is taken from the client, so that who looks finds it there or here. `hushed` is looked at after this.
        """
        with self._lock:
            self._numbers[ON_THEIR_WAY] += 1

    def passed_on(self) -> None:
        """Note that something is with the service, or has to wait."""
        with self._lock:
            self._numbers[ON_THEIR_WAY] -= 1

    @property
    def on_their_way(self) -> int:
        """How much of what clients have sent is being passed on at the moment."""
        return self._numbers[ON_THEIR_WAY]

    @property
    def late(self) -> int:
        """How many clients had to wait because they sent something between two tests."""
        return self._numbers[LATE]

    def count_late(self) -> None:
        """Note that a client had to wait."""
        with self._lock:
            self._numbers[LATE] += 1

    @property
    def listens(self) -> int:
        """How many times a client has asked to be told of notifications."""
        return self._numbers[LISTENS]

    def count_listen(self) -> None:
        """Note that a client wants to be told of notifications."""
        with self._lock:
            self._numbers[LISTENS] += 1

    @property
    def visits(self) -> int:
        """How many clients are there."""
        return self._numbers[VISITS]

    def note_visits(self, count: int) -> None:
        """Note how many clients are there."""
        self._numbers[VISITS] = count

    # --- written by the pytest process

    @property
    def began(self) -> int:
        """How much had been sent when the running test began."""
        return self._numbers[BEGAN]

    def begin(self, messages: int) -> None:
        """Note that a test begins, before which so much was sent."""
        self._numbers[BEGAN] = messages

    @property
    def hushed(self) -> bool:
        """Whether what clients send has to wait: a test has ended, and what it left is being cleared."""
        return bool(self._numbers[HUSHED])

    def hush(self, on: bool) -> None:
        """Let what clients send wait from now on, or go on; what was on its way before is with the service then."""
        with self._lock:  # which also puts the two looks in their order
            self._numbers[HUSHED] = on
        deadline = time.monotonic() + PATIENCE
        while on and self._numbers[ON_THEIR_WAY] and time.monotonic() < deadline:
            time.sleep(GLANCE)
