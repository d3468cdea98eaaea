"""The one database connection that the transaction isolation keeps, on psycopg2 or psycopg."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from importlib import import_module
from typing import Any

from sqlalchemy import Dialect

from .savepoints import BASE

__all__ = ["ACTIVE", "FAILED_BEFORE", "IDLE", "IN_ERROR", "IN_TRANSACTION", "Kept"]

IDLE, ACTIVE, IN_TRANSACTION, IN_ERROR = range(4)
"""libpq's states of a transaction, the same in both drivers."""

FAILED_BEFORE = "current transaction is aborted, commands ignored until end of transaction block"
ARE_DEFERRED = "SELECT EXISTS (SELECT FROM pg_constraint WHERE condeferred)"


class Kept:
    """A DBAPI connection with one cursor for our own statements.

    `connection` is None until `open`. `has_deferred` tells whether the database has constraints that are
    deferred at first; None: not known.

    Args:
        connect: opens a connection.
    """

    undo = f"ROLLBACK TO SAVEPOINT {BASE};ROLLBACK;DEALLOCATE ALL;SELECT pg_advisory_unlock_all()"
    """What undoes all that a test did on it."""

    def __init__(self, connect: Callable[[], Any]) -> None:
        self._connect = connect
        self._cursor: Any = None
        self._info: Any = None
        self.connection: Any = None
        self.has_deferred: bool | None = None

    def open(self, dialect: Dialect) -> None:
        """Connect; the dialect says what it expects of a connection."""
        connection = self._connect()
        if connection.__class__.__module__.partition(".")[0] == "psycopg":
            connection.autocommit = True  # else it would send a BEGIN of its own before ours
            _register_hstore(connection, dialect)
        # (psycopg2 begins by itself once, with our first text; as we roll back by text too, it never notices)
        self.connection, self._cursor, self._info = connection, connection.cursor(), connection.info
        self.has_deferred = None  # learned at the first commit: the first query need not wait for it

    def is_closed(self) -> bool:
        """Tell whether it is not open, whoever closed it."""
        return self.connection is None or bool(self.connection.closed)

    def is_broken(self) -> bool:
        """Tell whether it was lost, now that it is closed, rather than closed by its user."""
        connection = self.connection
        return bool(connection.broken) if hasattr(connection, "broken") else connection.closed == 2

    def is_usable(self) -> bool:
        """Tell whether something can be sent in its transaction, be it only a rollback."""
        return not self.is_closed() and self.status() in (IDLE, IN_TRANSACTION, IN_ERROR)

    def cancel(self) -> None:
        """Break off the statement that runs."""
        self.connection.cancel()

    def discard(self) -> None:
        """Close it."""
        connection, self.connection, self._cursor = self.connection, None, None
        if connection is not None:
            with suppress(Exception):
                connection.close()

    def status(self) -> int:
        """Return the state of its transaction: one of the four constants."""
        return int(self._info.transaction_status)

    def execute(self, sql: str) -> None:
        """Send a statement of ours."""
        self._cursor.execute(sql)

    def ask(self, sql: str) -> Any:
        """Return the first value that a query gives."""
        self._cursor.execute(sql)
        return self._cursor.fetchone()[0]

    def rows(self, sql: str) -> list[Any]:
        """Return what a query gives."""
        self._cursor.execute(sql)
        found: list[Any] = self._cursor.fetchall()
        return found

    def tag(self, cursor: Any, statement: str) -> str:
        """Return the command tag of the statement that a cursor has sent; "" where the driver has none."""
        return str(cursor.statusmessage or "")  # psycopg has none for a cursor of the server

    def doubt(self) -> None:
        """Note that a statement failed, for drivers that do not tell what has become of the transaction."""

    def note_held(self, kind: str) -> None:
        """Note a statement that left something behind, for drivers that must know of it; `kind` begins its command tag."""

    def failed_before(self, dialect: Dialect) -> Exception:
        """Make the error that the server gives in a failed transaction."""
        errors: Any = import_module(f"{dialect.dbapi.__name__}.errors")  # type: ignore[union-attr]
        error: Exception = errors.InFailedSqlTransaction(FAILED_BEFORE)
        return error

    def has_deferred_constraints(self) -> bool:
        """Tell whether the database has constraints that are deferred at first; asks it where that is not known."""
        if self.has_deferred is None:
            self.has_deferred = bool(self.ask(ARE_DEFERRED))
        return self.has_deferred


def _register_hstore(connection: Any, dialect: Dialect) -> None:
    # SQLAlchemy does this once per engine, on the first connection that it sees
    if getattr(dialect, "_has_native_hstore", False):
        from psycopg.types import TypeInfo
        from psycopg.types.hstore import register_hstore

        if (info := TypeInfo.fetch(connection, "hstore")) is not None:
            register_hstore(info, connection)
