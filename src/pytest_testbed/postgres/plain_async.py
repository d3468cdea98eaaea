"""Database isolation for async engines: a plain engine, whose connections are closed wherever their loop went."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any

from sqlalchemy import event
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, create_async_engine
from sqlalchemy.pool import Pool

from .loops import Leaves, reach, running_loop

__all__ = ["PlainAsync"]


class LoopPool(Pool):
    """A pool without limits that hands out a connection only on the loop on which it was opened."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._loop_of: dict[Any, asyncio.AbstractEventLoop] = {}
        self._free: list[Any] = []

    def _do_get(self) -> Any:
        loop = running_loop("pg_async_engine")
        for index, record in enumerate(self._free):
            if self._loop_of[record] is loop:
                return self._free.pop(index)
        record = self._create_connection()
        self._loop_of[record] = loop
        return record

    def _do_return_conn(self, record: Any) -> None:
        self._free.append(record)

    def recreate(self) -> Pool:
        """Return itself: an application may dispose of the engine and go on."""
        return self

    def dispose(self) -> None:
        """Close the connections that nobody has, where this is their loop."""
        loop = running_loop("pg_async_engine.dispose()")
        for record in [record for record in self._free if self._loop_of[record] is loop]:
            self._free.remove(record)
            del self._loop_of[record]
            record.close()

    def status(self) -> str:
        """Describe the pool."""
        return f"{self.__class__.__name__}: {len(self._loop_of)} connections, {len(self._free)} of them free"


class PlainAsync:
    """An async engine on the worker's database for one test, without any transaction of ours.

    Args:
        connect: opens a connection of the driver; a coroutine function.
        url: what the engine shows as its URL; it names the driver.
        end: ends the backend with a process number.
        explain: listens for errors.
        noted: called when the engine is used.
    """

    def __init__(
        self,
        connect: Callable[..., Any],
        url: Any,
        *,
        end: Callable[[int], None],
        explain: Callable[[Any], None],
        noted: Callable[[], None],
    ) -> None:
        self._connect = connect
        self._url = url
        self._end = end
        self._explain = explain
        self._noted = noted
        self._leaves = Leaves(self._take_leave)
        self._opened: dict[asyncio.AbstractEventLoop, list[Any]] = {}
        self._open_sessions: list[AsyncSession] = []

    @contextmanager
    def test(self) -> Iterator[AsyncEngine]:
        """Give the engine; afterwards none of its connections is open."""
        engine = create_async_engine(self._url, poolclass=LoopPool)
        event.listen(engine.sync_engine, "do_connect", self._open)
        event.listen(engine.sync_engine, "handle_error", self._explain)
        event.listen(engine.sync_engine, "checkout", lambda *_: self._noted())
        try:
            yield engine
        finally:
            for loop in list(self._opened):
                reach(loop, partial(self._take_leave, loop))

    def _open(self, dialect: Any, record: Any, arguments: Any, parameters: dict[str, Any]) -> Any:
        loop = running_loop("pg_async_engine")
        adapted = dialect.dbapi.connect(async_creator_fn=self._connect, context=parameters.get("context"))
        self._opened.setdefault(loop, []).append(adapted)
        self._leaves.watch(loop)
        return adapted

    def _take_leave(self, loop: asyncio.AbstractEventLoop) -> None:
        for session in self._open_sessions:
            with suppress(Exception):
                session.sync_session.close()
        for adapted in self._opened.pop(loop, []):
            self._close(adapted.driver_connection, adapted)

    def _close(self, driver: Any, adapted: Any) -> None:
        if hasattr(driver, "pgconn"):
            driver.pgconn.finish()
        elif not driver.is_closed():
            try:
                adapted.close()
            except Exception:  # its loop is gone, or its statement runs
                self._end(driver.get_server_pid())

    @contextmanager
    def closing(self, session: AsyncSession) -> Iterator[AsyncSession]:
        """Close a session at the end of its fixture."""
        self._open_sessions.append(session)
        try:
            yield session
        finally:
            for loop in list(self._opened):
                reach(loop, partial(self._close_session, session))
            self._open_sessions.remove(session)

    def _close_session(self, session: AsyncSession) -> None:
        with suppress(Exception):  # its connections are closed in any case
            session.sync_session.close()
