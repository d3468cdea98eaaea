"""Transaction isolation: an engine on which nothing is ever really committed.

One database connection is kept for the whole run. Each test has one transaction on it, with an armed
savepoint, and the dialect's own commit and rollback are turned into *release and arm again* and *roll
back to it*; at the end the transaction is rolled back. So sessions, connections and application code
commit and roll back as on a database of their own. docs/explanation/isolation.md tells the method.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from threading import RLock
from typing import Any

from sqlalchemy import Engine, create_engine, event
from sqlalchemy.orm import Session
from sqlalchemy.pool import Pool

from ..errors import IsolationError, TestbedWarning
from .savepoints import BASE, Stack

__all__ = ["Guard"]

IDLE, _ACTIVE, IN_TRANSACTION, IN_ERROR = range(4)
"""libpq's states of a transaction, the same in both drivers."""

ARM = f"BEGIN;SAVEPOINT {BASE}"
UNDO = f"ROLLBACK TO SAVEPOINT {BASE};ROLLBACK;SELECT pg_advisory_unlock_all()"
CHECK = "SET CONSTRAINTS ALL IMMEDIATE"

INITIALLY_DEFERRED = """
SELECT format('%I.%I', n.nspname, c.conname) FROM pg_constraint c
JOIN pg_namespace n ON n.oid = c.connamespace
WHERE c.conparentid = 0 GROUP BY 1 HAVING bool_and(c.condeferred) ORDER BY 1
"""

READS = ("SELECT", "SHOW", "FETCH", "SET", "EXPLAIN", "DECLARE", "CLOSE", "LISTEN", "NOTIFY", "SAVEPOINT")
"""First words of command tags that change no row. (A function called by SELECT may write all the same.)"""

RAW = "a commit or rollback on the driver's own connection"
REMEDY = "Use database isolation for such a test: @pytest.mark.pg(isolation='database')."
_TEST = "testbed_test"


class GuardedPool(Pool):
    """Hands the one kept connection to as many as ask, each with a record of its own."""

    def __init__(self, guard: Guard) -> None:
        # no reset on return: a session or connection that is closed rolls back by itself
        super().__init__(guard.kept_connection, reset_on_return=None)
        self._guard = guard
        self._free: list[Any] = []

    def _do_get(self) -> Any:
        record = self._free.pop() if self._free else self._create_connection()
        record.info[_TEST] = self._guard.test_number
        return record

    def _do_return_conn(self, record: Any) -> None:
        if self._guard.returned(record):
            self._free.append(record)

    def recreate(self) -> Pool:
        """Return itself: an application may dispose of the engine and go on (`Engine.dispose`)."""
        return self

    def dispose(self) -> None:
        """Forget the records; the kept connection belongs to the guard and stays."""
        self._free.clear()

    def status(self) -> str:
        """Describe the pool."""
        return f"{self.__class__.__name__}: one kept connection"


class Guard:
    """The kept connection, the engine on it, and the transaction of the test that runs.

    Args:
        connect: opens a DBAPI connection (psycopg2 or psycopg) to the worker's database.
        url: what the engine shows as its URL.
        renew: makes the worker's database anew, after something was really committed in it.
        bystanders: describes the other connections to this database, for a lock that could not be had.
    """

    def __init__(
        self,
        connect: Callable[[], Any],
        url: Any,
        *,
        renew: Callable[[], None] = lambda: None,
        bystanders: Callable[[], str] = lambda: "",
    ) -> None:
        self._connect = connect
        self._renew = renew
        self._bystanders = bystanders
        self._connection: Any = None
        self._cursor: Any = None
        self._info: Any = None
        self._lock = RLock()  # statements of several threads must not come between a savepoint and its run
        self._stack = Stack()
        self._deferred: list[str] | None = None
        self._schema_changed = False
        self._keep = True
        self._breaches: list[str] = []
        self._running = False
        self._begun: set[Any] = set()
        self.test_number = 0
        self.engine = self._make_engine(url)

    def _make_engine(self, url: Any) -> Engine:
        engine = create_engine(url, pool=GuardedPool(self))
        dialect = engine.dialect
        for name in ("do_execute", "do_executemany", "do_execute_no_params"):
            setattr(dialect, name, self._guarded(getattr(dialect, name)))
        replacements: dict[str, Callable[..., Any]] = {
            "do_begin": lambda fairy: self._begun.add(fairy._connection_record),
            "do_commit": self._commit,
            "do_rollback": self._rollback,
            "do_close": lambda connection: None,
            "do_terminate": lambda connection: None,
            "do_savepoint": self._savepoint,
            "do_rollback_to_savepoint": self._rollback_to_savepoint,
            "do_release_savepoint": self._release_savepoint,
            "do_begin_twophase": self._refuse_twophase,
            "set_isolation_level": self._set_isolation_level,
            "reset_isolation_level": lambda connection: None,
        }
        for name, replacement in replacements.items():
            setattr(dialect, name, replacement)
        event.listen(engine, "handle_error", self._explain)
        return engine

    # --- the kept connection

    def kept_connection(self) -> Any:
        """Return the kept connection, for the pool.

        Raises:
            IsolationError: no test runs, or the test's connection is gone.
        """
        if not self._running:
            raise IsolationError("pg_engine was used while no test that asked for it ran (a thread that was left over?).")
        if self._connection.closed:
            raise IsolationError(f"the connection of this test's transaction is gone, and its work with it. {REMEDY}")
        return self._connection

    def returned(self, record: Any) -> bool:
        """Take a record back from its user; tell whether the pool may hand it out again."""
        if record.info.get(_TEST) != self.test_number or not self._running:
            return False
        if record in self._begun:
            self._begun.discard(record)
        elif record.dbapi_connection is not None and not self._connection.closed:
            self._undo_of(record)  # used past SQLAlchemy's transactions (engine.raw_connection())
        return True

    def _open(self) -> None:
        self._discard()
        connection = self._connect()
        if connection.__class__.__module__.startswith("psycopg."):
            connection.autocommit = True  # else it would send a BEGIN of its own before ours
        self._connection, self._cursor, self._info = connection, connection.cursor(), connection.info
        self._keep = True
        self._learn_deferred()
        if self._status() != IDLE:
            # psycopg2 has begun by itself; said as text it goes on believing so and leaves BEGIN to us
            self._send("ROLLBACK")

    def _discard(self) -> None:
        connection, self._connection, self._cursor = self._connection, None, None
        self.engine.pool.dispose()
        if connection is not None:
            with suppress(Exception):
                connection.close()

    def _learn_deferred(self) -> None:
        self._cursor.execute(INITIALLY_DEFERRED)
        self._deferred = [row[0] for row in self._cursor.fetchall()]

    def _status(self) -> int:
        return int(self._info.transaction_status)

    def _send(self, sql: str) -> None:
        self._cursor.execute(sql)

    def close(self) -> None:
        """Close the kept connection."""
        self._discard()

    # --- one test

    @contextmanager
    def test(self) -> Iterator[Engine]:
        """Give one test the engine; afterwards everything that the test did is undone.

        Raises:
            IsolationError: at the end, where the test really committed something.
        """
        self._begin()
        try:
            yield self.engine
        finally:
            self._end()

    def _begin(self) -> None:
        if self._connection is None or self._connection.closed:
            self._open()
        self._stack.runs.clear()
        self._breaches.clear()
        self._begun.clear()
        try:
            self._send(ARM)
        except Exception:
            # the server, or this one backend, went away between two tests: once more on a new one
            self._open()
            self._send(ARM)
        self.test_number += 1
        self._running = True

    def _end(self) -> None:
        with self._lock:
            self._running = False
            if self._connection.closed:
                self._discard()  # the test's own doing (a killed backend): nothing was committed
                return
            try:
                self._send(UNDO)
            except Exception as error:
                if self._connection.closed or sqlstate(error).startswith(("57P", "08")):
                    self._discard()
                    return
                if not self._breaches:
                    self._breaches.append(f"{RAW} ended the test's transaction")
            if self._schema_changed:
                self._schema_changed = False
                self._deferred = None
            if self._breaches:
                self._recover()
            if not self._keep:
                self._discard()

    def _recover(self) -> None:
        """Give the next test a clean database after a real commit, and fail the one that did it."""
        breaches = "; ".join(self._breaches)
        self._breaches.clear()
        self._discard()
        self._renew()
        raise IsolationError(
            f"{breaches}: what it did was really committed, or lost, and no rollback can undo it. The next test gets a "
            f"database made anew. Commit and roll back through the session, connection or engine. {REMEDY}"
        )

    @contextmanager
    def closing(self, thing: Any) -> Iterator[Any]:
        """Close a session or connection at the end of its fixture, after a last look at its open work.

        Raises:
            sqlalchemy.exc.IntegrityError: it left rows that break a deferred constraint.
        """
        try:
            yield thing
            if self._running and thing.in_transaction() and self._deferred != [] and self._status() == IN_TRANSACTION:
                connection = thing.connection() if isinstance(thing, Session) else thing
                connection.exec_driver_sql(CHECK)
        finally:
            thing.close()

    # --- statements

    def _guarded(self, send: Callable[..., None]) -> Callable[..., None]:
        def run(cursor: Any, statement: str, *rest: Any) -> None:
            owner = rest[-1].root_connection._dbapi_connection._connection_record
            with self._lock:
                self._before(owner)
                send(cursor, statement, *rest)
                self._after(owner, cursor, statement)

        return run

    def _before(self, owner: Any) -> None:
        if not self._running or owner.info.get(_TEST, self.test_number) != self.test_number:
            raise IsolationError("a session or connection of pg_engine was used after its test had ended.")
        status = self._status()
        if status == IDLE:
            self._ended_behind(RAW)
        elif status == IN_ERROR:
            return  # the server refuses everything until the rollback
        if before := self._stack.enter(owner):
            self._send(before)

    def _after(self, owner: Any, cursor: Any, statement: str) -> None:
        if self._status() == IDLE:
            self._ended_behind(f"the statement {shortened(statement)!r}")
            return
        tag = cursor.statusmessage or ""
        if not tag.startswith(READS) or statement.lstrip()[:4].upper() == "WITH":
            self._stack.wrote(owner)
            if tag.startswith(("CREATE", "ALTER", "DROP")):
                self._schema_changed = True
                self._deferred = None
            elif tag.startswith("PREPARE"):
                self._keep = False  # survives a rollback

    def _ended_behind(self, how: str) -> None:
        self._breaches.append(f"{how} ended the test's transaction")
        self._stack.runs.clear()
        self._send(ARM)

    # --- what the dialect is told, by sessions and connections alike

    def _commit(self, fairy: Any) -> None:
        owner = fairy._connection_record
        with self._lock:
            status = self._status()
            if not self._running:
                return
            if status == IDLE:
                self._ended_behind(RAW)
            elif status == IN_ERROR:
                self._rollback(fairy)  # as a server does that is told COMMIT in a failed transaction
            else:
                parts = [CHECK, self._defer_again(), self._stack.commit_text(owner)]
                self._send(";".join(part for part in parts if part))
                self._stack.committed(owner)

    def _defer_again(self) -> str:
        if self._deferred is None:
            self._learn_deferred()
        return f"SET CONSTRAINTS {', '.join(self._deferred)} DEFERRED" if self._deferred else ""

    def _rollback(self, fairy: Any) -> None:
        if self._running and self._connection is not None and not self._connection.closed:
            self._undo_of(fairy._connection_record)

    def _undo_of(self, owner: Any) -> None:
        with self._lock:
            if self._status() == IDLE:
                self._ended_behind(RAW)
                return
            sql, stayed = self._stack.rollback(owner)
            if not sql and self._status() == IN_ERROR:
                # it failed below others' work: only the newest run can be undone, whosever it is
                sql = f"ROLLBACK TO SAVEPOINT {self._stack.runs[-1].savepoint or BASE}"
            if sql:
                self._send(sql)
        if stayed:
            warn(
                "a session rolled back after another one had written or committed on top of its uncommitted work; "
                f"in transaction isolation that work stays. {REMEDY}"
            )

    def _savepoint(self, connection: Any, name: str) -> None:
        own = self._own_name(connection, name)
        connection.exec_driver_sql(f"SAVEPOINT {own}")
        self._stack.set_inner(connection._dbapi_connection._connection_record, own)

    def _rollback_to_savepoint(self, connection: Any, name: str) -> None:
        own = self._own_name(connection, name)
        self._send(f"ROLLBACK TO SAVEPOINT {own}")
        if self._stack.rolled_back_to(own):
            warn(f"rolling back to a savepoint took another session's work with it. {REMEDY}")

    def _release_savepoint(self, connection: Any, name: str) -> None:
        own = self._own_name(connection, name)
        self._send(f"RELEASE SAVEPOINT {own}")
        self._stack.released(own)

    def _own_name(self, connection: Any, name: str) -> str:
        # SQLAlchemy counts per connection, so two sessions would use one name in our one transaction
        return f"{name}_{id(connection._dbapi_connection._connection_record):x}"

    def _refuse_twophase(self, connection: Any, xid: Any) -> None:
        raise IsolationError(f"a two-phase transaction cannot run inside the test's transaction. {REMEDY}")

    def _set_isolation_level(self, connection: Any, level: str) -> None:
        if level not in ("READ COMMITTED", "READ UNCOMMITTED"):
            raise IsolationError(f"isolation level {level} cannot be had inside the test's transaction. {REMEDY}")

    def _explain(self, context: Any) -> None:
        """Add to a lock time-out who else is connected and may hold the lock."""
        if sqlstate(context.original_exception) == "55P03" and context.sqlalchemy_exception is not None:
            context.sqlalchemy_exception.add_note(self._bystanders())


def warn(text: str) -> None:
    """Give a warning that pytest shows with the test."""
    warnings.warn(TestbedWarning(text), stacklevel=3)


def sqlstate(error: BaseException | None) -> str:
    """Return the SQLSTATE of a driver's error, "" where it has none."""
    return getattr(error, "pgcode", None) or getattr(error, "sqlstate", None) or ""


def shortened(statement: str) -> str:
    """Return a statement on one line, cut to what fits."""
    text = " ".join(statement.split())
    return text if len(text) <= 80 else text[:77] + "..."
