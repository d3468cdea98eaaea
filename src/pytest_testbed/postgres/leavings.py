"""What a test that commits for real leaves behind besides rows, and what is done about it: it must not reach the next test.

Open transactions and locks are undone, listeners hear no more, and who goes on sending statements is hung up on.
"""

from __future__ import annotations

import time
from typing import Any

from ..services.doorway import Doorway
from .emptying import Emptier
from .strays import Moment, Stray, end_backends, end_prepared, find, now
from .threads import Threads

__all__ = ["Leavings"]

UNMET = "so that the next test does not meet it."


class Leavings:
    """Ends what the running test leaves; each thing that is worth telling is told, in words for the user.

    Args:
        emptier: whose connection looks.
        doorway: by which applications reach the database; None where they do not.
    """

    def __init__(self, emptier: Emptier, doorway: Doorway | None) -> None:
        self._emptier = emptier
        self._doorway = doorway
        self._threads = Threads()
        self._ahead = 0.0
        """Seconds that the server's clock is ahead of ours."""
        self._next = 0
        """The number that the server's next writing transaction would have got, when we last looked."""
        self._began = Moment(0.0, 0)
        self._begun_by_us: set[int] = set()
        """Backends whose transaction we have begun, after that of an earlier test."""
        self._came = 0
        self._listens = 0

    @property
    def threads(self) -> str:
        """The names of the threads that the last test has left running; "" where there are none."""
        return self._threads.left

    # --- the time of a test

    def look_at_clock(self) -> None:
        """Note where the server is in time, for the beginnings of tests."""
        moment = now(self._emptier.cursor())
        self._ahead, self._next = moment.time - time.time(), moment.number

    def begin(self, came: int) -> None:
        """Take note that a test begins.

        Args:
            came: how many messages had come by the door when the database was last put back.
        """
        self._began = Moment(time.time() + self._ahead, self._next)
        self._came = came
        if self._doorway is not None:
            self._doorway.board.begin(came)
            self._listens = self._doorway.board.listens
        self._threads.begin()

    def end(self) -> None:
        """Take note that it has ended."""
        self._threads.end()

    # --- what it has open

    def end_open(self) -> list[str]:
        """End open transactions, locks and running statements; return what there is to tell."""
        strays, self._next = self._emptier.ask(lambda cursor: find(cursor, self._began, self._begun_by_us))
        cursor = self._emptier.cursor()
        ended = self._end_all(cursor, strays) if strays else set()
        told = [f"{stray.describe()}. It was ended, {UNMET}" for stray in strays if stray.is_worth_telling and stray.pid in ended]
        if names := end_prepared(cursor):
            told.append(f"transactions were prepared and never ended: {', '.join(names)}. They were rolled back, {UNMET}")
        return told

    def _end_all(self, cursor: Any, strays: list[Stray]) -> set[int]:
        """Undo what is open: behind the back of its connection where that can be done, else with the connection.

        Returns:
            the backends of which something was ended: others were about to leave by themselves.
        """
        ended: set[int] = set()
        if self._doorway is not None:
            # told of no backend at all it would do so to each
            if opened := [stray.pid for stray in strays if stray.began is not None and not stray.is_running]:
                ended |= set(self._doorway.visits("reset", opened))
                self._begun_by_us |= ended
            if locking := [stray.pid for stray in strays if stray.has_advisory_locks]:
                ended |= set(self._doorway.visits("unlock", locking))
        rest = [stray for stray in strays if stray.pid not in ended]
        rest = [stray for stray in rest if stray.is_worth_telling or stray.opened >= self._began.time]
        return ended | end_backends(cursor, rest)

    # --- who goes on

    @property
    def late(self) -> int:
        """How many clients had to wait at the door because they sent something between two tests."""
        return self._doorway.board.late if self._doorway is not None else 0

    def end_clients(self, late: int) -> list[str]:
        """Let those who came by the door do nothing more of this test; return what there is to tell.

        Args:
            late: what `late` was before the database began to be put back.
        """
        if self._doorway is None:
            return []
        told = self._silence(self._doorway)
        return told + self._end_late(self._doorway) if self.late != late else told

    def _silence(self, doorway: Doorway) -> list[str]:
        """Let nobody listen any more who began to in the test, and stays; return what there is to tell."""
        if doorway.board.listens == self._listens or not (pids := doorway.visits("silence")):
            return []
        who = ", ".join(f"pid {pid}" for pid in pids)
        return [f"a connection ({who}) went on listening for notifications (LISTEN). It does so no more, {UNMET}"]

    def _end_late(self, doorway: Doorway) -> list[str]:
        """End connections of the test that send statements by now; return what there is to tell."""
        if ended := doorway.end_late(self._came):
            return [
                f"something of the test went on sending statements after its end (a thread, a task, a process): {len(ended)} "
                f"of its connections were ended, {UNMET}"
            ]
        if self.threads:
            return [
                f"something sent statements after the test's end, on a connection that is older than the test, which has left "
                f"threads running ({self.threads}): they wait, and are then in the next test. Let the test wait for its "
                "threads."
            ]
        return []
