"""The connections that the transaction isolation keeps for async engines: on asyncpg, and on psycopg.

SQLAlchemy's own code is synchronous for async drivers too: it runs in greenlets, which hand each wait to
the event loop. So does this; what is said outside of a greenlet must do without a loop.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from sqlalchemy import URL, Dialect
from sqlalchemy.util.concurrency import await_only, in_greenlet

from .kept import ACTIVE, FAILED_BEFORE, IDLE, IN_ERROR, IN_TRANSACTION, Kept
from .savepoints import BASE
from .statements import tag_of

__all__ = ["AsyncKept", "AsyncpgKept", "PsycopgKept", "make_kept"]

SETS_STATEMENTS = frozenset(["PREPARE", "DEALLOCATE", "DISCARD"])


class AsyncKept(Kept):
    """A connection of an async driver. `connection` is SQLAlchemy's adapted one.

    Args:
        connect: opens a connection of the driver, with more arguments for it.
        end: ends what runs on the backend with a process number; or the backend, where the second argument says so.
    """

    outlives_loops = False
    """Whether it can be used on another event loop."""

    def __init__(self, connect: Callable[..., Any], end: Callable[[int, bool], None]) -> None:
        super().__init__(connect)
        self._end = end
        self._driver: Any = None
        self._pid = 0
        self._killed = False
        self.raw = False
        """Somebody has the driver's own connection, or a cursor that SQLAlchemy did not use."""
        self.loose: Any = None
        """The last one who got a cursor."""

    def settle_in(self) -> None:
        """Make ready for another loop."""

    def note_loose_cursor(self) -> None:
        """Note that somebody may use a cursor past SQLAlchemy: the last one that was given it has not used yet."""
        self.raw |= self.loose is not None and self.loose.cursor_out

    def note_held(self, kind: str) -> None:
        """Note a statement that left something behind: the driver does not hear of what it prepares."""
        self.raw |= kind in SETS_STATEMENTS

    def refresh(self) -> None:
        """Forget what is known of the schema, and of statements that were prepared."""

    def cancel(self) -> None:
        """Break off the statement that runs."""
        self._end(self._pid, False)

    def kill(self) -> None:
        """End the backend, and wait until it has gone."""
        self._killed = True
        self._end(self._pid, True)


class PsycopgKept(AsyncKept):
    """A connection of psycopg, which any loop can use: it has no other ties than a lock."""

    outlives_loops = True

    def open(self, dialect: Dialect) -> None:
        """Connect; the dialect says what it expects of a connection."""
        context = dialect.create_connect_args(URL.create("postgresql"))[1].get("context")
        adapted = dialect.dbapi.connect(async_creator_fn=self._connect, context=context)  # type: ignore[union-attr]
        adapted.set_autocommit(True)  # else it would send a BEGIN of its own before ours
        self.connection, self._driver = adapted, adapted.driver_connection
        self._cursor, self._info = self._driver.cursor(), self._driver.info
        self._pid = self._info.backend_pid
        self.has_deferred = None
        self.raw = False

    def settle_in(self) -> None:
        """Make ready for another loop."""
        self._driver.lock = asyncio.Lock()
        if hasattr(self.connection, "_execute_mutex"):  # SQLAlchemy's, in some of its versions
            self.connection._execute_mutex = asyncio.Lock()

    def discard(self) -> None:
        """Close it."""
        driver, self.connection, self._driver, self._cursor = self._driver, None, None, None
        if driver is not None:
            driver.pgconn.finish()  # at once, on any loop and on none

    def execute(self, sql: str) -> None:
        """Send a statement of ours."""
        if in_greenlet():
            await_only(self._cursor.execute(sql))
        else:
            self._send_at_once(sql)

    def ask(self, sql: str) -> Any:
        """Return the first value that a query gives."""
        await_only(self._cursor.execute(sql))
        return await_only(self._cursor.fetchone())[0]

    def _send_at_once(self, sql: str) -> None:
        """Send a statement by libpq itself, which waits for the answer and needs no loop."""
        from psycopg.errors import error_from_result
        from psycopg.pq import ExecStatus

        result = self._driver.pgconn.exec_(sql.encode())
        if result.status not in (ExecStatus.COMMAND_OK, ExecStatus.TUPLES_OK):
            raise error_from_result(result)

    def refresh(self) -> None:
        """Forget what is known of statements that were prepared past SQLAlchemy."""
        if self.raw and not in_greenlet():
            self.discard()  # the driver has not heard of the DEALLOCATE
        self.raw = False

    def tag(self, cursor: Any, statement: str) -> str:
        """Return the command tag of the statement that a cursor has sent; "" where the driver has none."""
        return super().tag(cursor._cursor, statement)

    def failed_before(self, dialect: Dialect) -> Exception:
        """Make the error that the server gives in a failed transaction."""
        error: Exception = dialect.dbapi.errors.InFailedSqlTransaction(FAILED_BEFORE)  # type: ignore[union-attr]
        return error


class AsyncpgKept(AsyncKept):
    """A connection of asyncpg, which belongs to one loop."""

    def __init__(self, connect: Callable[..., Any], end: Callable[[int, bool], None]) -> None:
        super().__init__(connect, end)
        self._state = IN_TRANSACTION
        self._doubted = False

    def open(self, dialect: Dialect) -> None:
        """Connect; the dialect says what it expects of a connection."""
        adapted = dialect.dbapi.connect(async_creator_fn=self._connect)  # type: ignore[union-attr]
        self._driver = adapted.driver_connection
        self._pid = self._driver.get_server_pid()
        # it allows transaction blocks of its own only where it began the outer one itself; ours are begun by text
        await_only(self._driver.transaction().start())
        await_only(self._driver.execute("ROLLBACK"))
        self._adopt(adapted)
        self.has_deferred = None
        self.raw = self._doubted = self._killed = False

    def _adopt(self, adapted: Any) -> None:
        adapted.set_isolation_level("autocommit")  # else it would begin by itself
        self.connection = adapted

    def discard(self) -> None:
        """Close it."""
        driver, self.connection, self._driver = self._driver, None, None
        if driver is None:
            return
        with suppress(Exception):
            if in_greenlet() and not self._killed:
                await_only(asyncio.wait_for(driver.close(timeout=1), 2))
            driver.terminate()  # does nothing to one that is closed

    def is_closed(self) -> bool:
        """Tell whether it is not open, whoever closed it."""
        return self.connection is None or self._driver.is_closed()

    def is_broken(self) -> bool:
        """Tell whether it was lost: nobody closes it without harm to SQLAlchemy."""
        return True

    def execute(self, sql: str) -> None:
        """Send a statement of ours."""
        self._say(self._driver.execute(sql))

    def ask(self, sql: str) -> Any:
        """Return the first value that a query gives."""
        return self._say(self._driver.fetchval(sql))

    def _say(self, coroutine: Any) -> Any:
        try:
            answer = await_only(coroutine)
        except Exception as error:
            self.doubt()
            self.connection._handle_exception(error)  # raises what SQLAlchemy knows
        self._state, self._doubted = IN_TRANSACTION, False
        return answer

    def doubt(self) -> None:
        """Note that something failed, so that the state of the transaction is not known."""
        self._doubted = True

    def status(self) -> int:
        """Return the state of its transaction: one of the four constants."""
        if not in_greenlet():
            return ACTIVE  # nothing can be said on it any more
        if not self._driver.is_in_transaction():
            return IDLE
        if self._doubted or self.raw or (self.loose is not None and self.loose.cursor_out):
            self._probe()
        return self._state

    def _probe(self) -> None:
        """Ask the server; the driver does not tell whether a transaction has failed."""
        from asyncpg import InterfaceError, PostgresError

        try:
            await_only(self._driver.execute("SELECT"))
            self._state, self._doubted = IN_TRANSACTION, False
        except InterfaceError:
            self._state = ACTIVE  # somebody else's statement is under way
        except PostgresError:
            self._state, self._doubted = IN_ERROR, False

    @property
    def undo(self) -> str:  # type: ignore[override]
        """What undoes all that a test did on it."""
        # the driver and SQLAlchemy go on using statements that they have prepared
        deallocate = "DEALLOCATE ALL;" if self.raw else ""
        return f"ROLLBACK TO SAVEPOINT {BASE};ROLLBACK;{deallocate}SELECT pg_advisory_unlock_all()"

    def refresh(self) -> None:
        """Forget what is known of the schema, and of statements that were prepared."""
        self.raw = False
        await_only(self._driver.reload_schema_state())
        self._adopt(type(self.connection)(self.connection.dbapi, self._driver))

    def tag(self, cursor: Any, statement: str) -> str:
        """Return what the command tag of a statement begins with."""
        return "DECLARE" if cursor.server_side else tag_of(statement)

    def failed_before(self, dialect: Dialect) -> Exception:
        """Make the error that the server gives in a failed transaction."""
        from asyncpg.exceptions import InFailedSQLTransactionError

        try:
            self.connection._handle_exception(InFailedSQLTransactionError(FAILED_BEFORE))
        except Exception as error:
            return error
        raise AssertionError


KINDS: dict[str, type[AsyncKept]] = {"asyncpg": AsyncpgKept, "psycopg": PsycopgKept}


def make_kept(driver: str, connect: Callable[..., Any], end: Callable[[int, bool], None]) -> AsyncKept:
    """Return a kept connection, not yet open, on the driver "asyncpg" or "psycopg"."""
    return KINDS[driver](connect, end)
