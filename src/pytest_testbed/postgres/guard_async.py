"""Transaction isolation for async engines: the guard, on connections of asyncpg or psycopg.

The fixtures are synchronous, so that they serve every plugin that runs async tests; none of those says
which event loop a test will have. So a test's transaction begins on the loop that first asks for a
connection. Its end is brought to that loop where the loop can still be run; a loop that is closed
before takes leave first (`_take_leave`), which is when a connection that belongs to it is given up.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial, wraps
from typing import Any
from weakref import WeakKeyDictionary

from sqlalchemy import Engine
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, create_async_engine
from sqlalchemy.util.concurrency import in_greenlet

from ..errors import IsolationError
from .guard import Guard
from .kept import ACTIVE
from .kept_async import AsyncKept, make_kept
from .loops import Leaves, reach, running_loop
from .pool import GuardedPool
from .tasks import TaskLock
from .transaction_async import AsyncTransaction

__all__ = ["AsyncGuard"]

JSON_CODECS = ("setup_asyncpg_json_codec", "setup_asyncpg_jsonb_codec")


class AsyncGuard(Guard):
    """The kept connections of async tests, the engine on them, and the transaction of the test that runs.

    Args:
        connect: opens a connection of the driver; a coroutine function.
        url: what the engine shows as its URL; it names the driver.
        driver: "asyncpg" or "psycopg".
        end: ends what runs on the backend with a process number; or the backend, where the second argument says so.
        more: as for the guard.
    """

    NAME = "pg_async_engine"
    USER = "a task"

    def __init__(
        self, connect: Callable[..., Any], url: Any, *, driver: str, end: Callable[[int, bool], None], **more: Any
    ) -> None:
        self._new_kept = partial(make_kept, driver, connect, end)
        self._kept_of: WeakKeyDictionary[asyncio.AbstractEventLoop, AsyncKept] = WeakKeyDictionary()
        self._leaves = Leaves(self._take_leave)
        self._shared: AsyncTransaction
        self._due = False  # a test may begin
        self._begun = False
        self._ended_early = False
        self._open_sessions: list[Any] = []
        self._late: list[Exception] = []
        super().__init__(connect, url, **more)

    # --- the engine

    def _make_shared(self, connect: Callable[..., Any]) -> AsyncTransaction:
        return AsyncTransaction(self._new_kept(), self.NAME)

    def _create_engine(self, pool: GuardedPool) -> Engine:
        self.async_engine: AsyncEngine = create_async_engine(self._url, pool=pool)
        dialect: Any = self.async_engine.sync_engine.dialect
        for name in JSON_CODECS:
            if hasattr(dialect, name):
                setattr(dialect, name, once_for_each(getattr(dialect, name)))
        return self.async_engine.sync_engine

    # --- one test

    @contextmanager
    def test(self) -> Iterator[AsyncEngine]:  # type: ignore[override]
        """Give one test the engine; afterwards everything that the test did is undone.

        Raises:
            IsolationError: at the end, where the test really committed something.
        """
        self._renew_engine()
        self._shared.lock = TaskLock(self.NAME)
        self._due = True
        self._begun = self._ended_early = False
        with self._without_escapes():
            try:
                yield self.async_engine
            finally:
                self._end()

    def prepare(self, *, wide: bool = False) -> None:
        """Make ready for somebody new; for the first one the test's transaction begins.

        Raises:
            ConfigurationError: no event loop runs.
            IsolationError: no test runs, or another loop does, or the test's connection is gone.
        """
        loop = running_loop(self.NAME)
        if self._due:
            if self._shared.lock.loop is None:
                self._shared.lock.loop = loop
            with self._shared.lock:
                if self._due:  # no other task was faster
                    self._begin_on(loop)
        super().prepare()

    def _begin_on(self, loop: asyncio.AbstractEventLoop) -> None:
        if not self._shared.kept.outlives_loops:
            self._shared.kept = self._kept_of.get(loop) or self._new_kept()
            self._kept_of[loop] = self._shared.kept
        if self._shared.kept.is_closed():
            self._open()
        self._shared.kept.settle_in()
        self._leaves.watch(loop)
        self._start()
        self._due, self._begun = False, True
        if self.resets_sequences:
            self._set_sequences_back()

    def _take_leave(self, loop: asyncio.AbstractEventLoop) -> None:
        """Do what needs a loop that is about to be closed."""
        if self._begun and self._shared.lock.loop is loop:
            for session in self._open_sessions:
                self._keep_error(partial(self._shared.look_at, session))
            if not self._shared.kept.outlives_loops:
                self._ended_early = self._shared.running
                self._keep_error(self._end_once)
        if (kept := self._kept_of.pop(loop, None)) is not None:
            kept.discard()

    def _keep_error(self, call: Callable[[], None]) -> None:
        try:
            call()
        except Exception as error:
            self._late.append(error)

    def _end(self) -> None:
        self._due = False
        if self._begun:
            self._reach(self._end_once)
        if self._late:
            error = self._late[0]
            self._late.clear()
            raise error

    def _end_once(self) -> None:
        self._begun = False
        super()._end()

    def _undo_test(self) -> None:
        kept = self._shared.kept
        kept.note_loose_cursor()
        stale = self._shared.schema_changed or kept.raw
        if not kept.is_closed() and kept.status() == ACTIVE:
            with suppress(Exception):
                kept.kill()  # what a server is told by a closed connection it may hear when it is done
        super()._undo_test()
        if stale and not kept.is_closed():
            kept.refresh()
            self.engine.pool.dispose()

    def _reach(self, call: Callable[[], Any]) -> Any:
        return reach(self._shared.lock.loop, call)

    def keep(self) -> None:
        """Commit for real what the running test did so far, and let it do no more; its end sets the database aside.

        Raises:
            IsolationError: there is nothing that could be committed.
        """
        if self._ended_early:
            raise IsolationError(
                "the test's event loop is closed, and asyncpg's connection with it. It can be kept on psycopg "
                "(testbed_pg_async_driver = psycopg), or where the loop outlives the test."
            )
        if not self._begun:
            raise IsolationError(f"the test had no connection of {self.NAME}.")
        self._reach(super().keep)

    @contextmanager
    def closing(self, thing: AsyncSession) -> Iterator[AsyncSession]:
        """Close a session at the end of its fixture, after a last look at its open work.

        Raises:
            sqlalchemy.exc.IntegrityError: it left rows that break a deferred constraint.
        """
        session = thing.sync_session
        self._open_sessions.append(session)
        try:
            yield thing
        except BaseException:
            self._reach(partial(self._shared.close_quietly, session))
            raise
        else:
            self._reach(partial(self._look_and_close, session))
        finally:
            self._open_sessions.remove(session)

    def _look_and_close(self, session: Any) -> None:
        try:
            if in_greenlet():  # else its loop is closed; it was looked at before that
                self._shared.look_at(session)
        finally:
            self._shared.close_quietly(session)

    def close(self) -> None:
        """Close the kept connections."""
        for loop, kept in list(self._kept_of.items()):
            with suppress(Exception):
                reach(loop, kept.discard)
        if self._shared.kept.outlives_loops:
            self._shared.kept.discard()


def once_for_each(setup: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Let what SQLAlchemy sets up for each of its connections be done once for the driver's one below them."""
    done: WeakKeyDictionary[Any, None] = WeakKeyDictionary()

    @wraps(setup)
    async def run(adapted: Any) -> None:
        if adapted.driver_connection not in done:
            await setup(adapted)
            done[adapted.driver_connection] = None

    return run
