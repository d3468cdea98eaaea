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
from sqlalchemy.pool.base import _ConnectionFairy
from sqlalchemy.util.concurrency import in_greenlet

from ..errors import IsolationError
from .guard import REMEDY, Guard, warn
from .kept import ACTIVE
from .kept_async import AsyncKept, make_kept
from .loops import Leaves, reach, running_loop
from .pool import OWNER, GuardedPool, Owner
from .streamed import Streamed
from .tasks import TaskLock

__all__ = ["AsyncGuard"]

SETS_STATEMENTS = frozenset(["PREPARE", "DEALLOCATE", "DISCARD"])
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
        self._kept: AsyncKept
        self._due = False  # a test may begin
        self._begun = False
        self._ended_early = False
        self._open_sessions: list[Any] = []
        self._late: list[Exception] = []
        super().__init__(connect, url, **more)

    # --- the engine

    def _make_kept(self, connect: Callable[..., Any]) -> AsyncKept:
        return self._new_kept()

    def _create_engine(self, pool: GuardedPool) -> Engine:
        self.async_engine: AsyncEngine = create_async_engine(self._url, pool=pool)
        dialect: Any = self.async_engine.sync_engine.dialect
        for name in JSON_CODECS:
            if hasattr(dialect, name):
                setattr(dialect, name, once_for_each(getattr(dialect, name)))
        return self.async_engine.sync_engine

    def admit(self, fairy: Any) -> None:
        """Take note of somebody new, of the cursors that he uses past SQLAlchemy, and of the driver's connection."""
        super().admit(fairy)
        fairy.__class__ = GuardedFairy
        fairy.info[GUARD] = self
        owner, inner = fairy.info[OWNER], fairy.cursor

        def cursor(*args: Any, **options: Any) -> Any:
            self._kept.note_loose_cursor()
            made = inner(*args, **options)
            self._kept.loose = owner
            return Streamed(made, self._lock) if options.get("server_side") else made

        fairy.cursor = cursor

    def note_raw(self, owner: Owner) -> None:
        """Note that somebody takes the driver's own connection, whose statements nobody sees."""
        owner.raw = self._kept.raw = True
        if self._stack.runs and self._stack.runs[-1].owner not in (owner, None):
            warn(
                "the driver's own connection is used while another session has uncommitted work in this test; in transaction "
                f"isolation what is sent on it is undone with that work. {REMEDY}"
            )

    def returned(self, record: Any) -> bool:
        """Take a record back from its user, or from the garbage collector; tell whether it may be handed out again."""
        if record.dbapi_connection is None:
            self._abandon(record.info.get(OWNER))
            return False
        return super().returned(record)

    def _guarded(self, send: Callable[..., None]) -> Callable[..., None]:
        def doubting(*arguments: Any) -> None:
            try:
                send(*arguments)
            except BaseException:
                self._kept.doubt()
                raise

        return super()._guarded(doubting)

    def _seldom(self, owner: Owner, kind: str, tag: str, statement: str) -> None:
        self._kept.raw |= kind in SETS_STATEMENTS
        super()._seldom(owner, kind, tag, statement)

    def _check(self, owner: Owner) -> None:
        super()._check(owner)
        if owner in self._abandoned:
            self._abandoned.remove(owner)  # detached, and still in use

    def _rollback(self, fairy: Any) -> None:
        if self._lock.is_here():
            super()._rollback(fairy)
        else:
            self._abandon(self._owner_of(fairy))

    # --- one test

    @contextmanager
    def test(self) -> Iterator[AsyncEngine]:  # type: ignore[override]
        """Give one test the engine; afterwards everything that the test did is undone.

        Raises:
            IsolationError: at the end, where the test really committed something.
        """
        self._renew_engine()
        self._lock = TaskLock(self.NAME)
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
            if self._lock.loop is None:
                self._lock.loop = loop
            with self._lock:
                if self._due:  # no other task was faster
                    self._begin_on(loop)
        super().prepare()

    def _begin_on(self, loop: asyncio.AbstractEventLoop) -> None:
        if not self._kept.outlives_loops:
            self._kept = self._kept_of.get(loop) or self._new_kept()
            self._kept_of[loop] = self._kept
        if self._kept.is_closed():
            self._open()
        self._kept.settle_in()
        self._leaves.watch(loop)
        self._start()
        self._due, self._begun = False, True
        if self.resets_sequences:
            self._set_sequences_back()

    def _take_leave(self, loop: asyncio.AbstractEventLoop) -> None:
        """Do what needs a loop that is about to be closed."""
        if self._begun and self._lock.loop is loop:
            for session in self._open_sessions:
                self._keep_error(partial(self._look, session))
            if not self._kept.outlives_loops:
                self._ended_early = self._running
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
        self._kept.note_loose_cursor()
        stale = self._schema_changed or self._kept.raw
        if not self._kept.is_closed() and self._kept.status() == ACTIVE:
            with suppress(Exception):
                self._kept.kill()  # what a server is told by a closed connection it may hear when it is done
        super()._undo_test()
        if stale and not self._kept.is_closed():
            self._kept.refresh()
            self.engine.pool.dispose()

    def _reach(self, call: Callable[[], Any]) -> Any:
        return reach(self._lock.loop, call)

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
            self._reach(partial(self._close, session))
            raise
        else:
            self._reach(partial(self._look_and_close, session))
        finally:
            self._open_sessions.remove(session)

    def _look_and_close(self, session: Any) -> None:
        try:
            if in_greenlet():  # else its loop is closed; it was looked at before that
                self._look(session)
        finally:
            self._close(session)

    def close(self) -> None:
        """Close the kept connections."""
        for loop, kept in list(self._kept_of.items()):
            with suppress(Exception):
                reach(loop, kept.discard)
        if self._kept.outlives_loops:
            self._kept.discard()


GUARD = "testbed_guard"
"""Under this key a checked-out connection's `info` has the guard."""


class GuardedFairy(_ConnectionFairy):
    """SQLAlchemy's handle on a connection, which tells when somebody takes the driver's own one from it."""

    __slots__ = ()

    @property
    def driver_connection(self) -> Any:  # type: ignore[override]
        """The driver's own connection."""
        self.info[GUARD].note_raw(self.info[OWNER])
        return super().driver_connection

    def commit(self) -> None:
        """Commit, as a session does."""
        self.info[GUARD].engine.dialect.do_commit(self)

    def rollback(self) -> None:
        """Roll back, as a session does."""
        self.info[GUARD].engine.dialect.do_rollback(self)


def once_for_each(setup: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Let what SQLAlchemy sets up for each of its connections be done once for the driver's one below them."""
    done: WeakKeyDictionary[Any, None] = WeakKeyDictionary()

    @wraps(setup)
    async def run(adapted: Any) -> None:
        if adapted.driver_connection not in done:
            await setup(adapted)
            done[adapted.driver_connection] = None

    return run
