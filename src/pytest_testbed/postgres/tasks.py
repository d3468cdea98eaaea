"""A lock for the tasks of one event loop, which SQLAlchemy's synchronous code can wait for."""

from __future__ import annotations

import asyncio
from typing import Any

from sqlalchemy.util.concurrency import await_only, in_greenlet

from ..errors import IsolationError
from .loops import current_loop

__all__ = ["TaskLock"]

OTHER_LOOP = (
    "{name} was used on two event loops (or threads) in one test, and a connection belongs to one. Give the test and its "
    "async fixtures the same loop_scope, and let an application under test run on the test's own loop (with httpx: "
    "AsyncClient and ASGITransport). Else use database isolation: @pytest.mark.pg(isolation='database')."
)


class TaskLock:
    """Keeps tasks from coming between each other's statements; whoever has it may take it again.

    It is taken in the greenlets in which SQLAlchemy runs. Outside of them, where no loop runs, nobody can be
    waited for.

    Args:
        name: of the fixture, for errors.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._holder: Any = None
        self._depth = 0
        self._waiters: list[asyncio.Future[None]] = []
        self.loop: asyncio.AbstractEventLoop | None = None
        """The loop whose tasks may take it; None: not known yet."""

    def is_here(self) -> bool:
        """Tell whether the lock's loop is the one that runs; outside of any it is."""
        return self.loop is None or current_loop() in (self.loop, None)

    def acquire(self, timeout: float | None = None) -> bool:
        """Take it; tell whether that could be done in time.

        Args:
            timeout: seconds; None: wait for it, or take it by force from a task that is not run any more.

        Raises:
            IsolationError: another loop runs here.
        """
        if not self.is_here():
            raise IsolationError(OTHER_LOOP.format(name=self._name))
        me = (current_loop() and asyncio.current_task()) or self
        if self._holder not in (None, me) and not self._wait(timeout):
            return False
        self._holder = me
        self._depth += 1
        return True

    def _wait(self, timeout: float | None) -> bool:
        if not in_greenlet():
            self._depth = 0
            return timeout is None
        loop = asyncio.get_running_loop()
        deadline = None if timeout is None else loop.time() + timeout
        while self._holder is not None:  # whoever was faster has it again
            if deadline is not None and loop.time() >= deadline:
                return False
            waiter = loop.create_future()
            alarm = None if deadline is None else loop.call_at(deadline, _wake, waiter)
            self._waiters.append(waiter)
            try:
                await_only(waiter)
            finally:
                self._waiters.remove(waiter)
                if alarm is not None:
                    alarm.cancel()
        return True

    def release(self) -> None:
        """Let it go."""
        self._depth -= 1
        if self._depth <= 0:
            self._holder = None
            for waiter in self._waiters:
                _wake(waiter)

    def __enter__(self) -> None:
        self.acquire()

    def __exit__(self, *error: object) -> None:
        self.release()


def _wake(waiter: asyncio.Future[None]) -> None:
    if not waiter.done():
        waiter.set_result(None)
