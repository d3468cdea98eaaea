"""What the dialect of a guarded engine does in place of its own methods, so that nothing is really committed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sqlalchemy import Engine, event

from ..errors import IsolationError
from .admin import LOCK_NOT_AVAILABLE, sqlstate
from .pool import Owner
from .sending import Sending, refuse_twophase
from .transaction import REMEDY, SharedTransaction

__all__ = ["Substitutes"]

SEND = ("do_execute", "do_executemany", "do_execute_no_params")
LEVELS = ("READ COMMITTED", "READ UNCOMMITTED")
TOO_LATE = "25001"  # in a transaction that has begun, as SET TRANSACTION is told


class Substitutes:
    """The methods that the dialect of a guarded engine has in place of its own, and the engine's listeners.

    Args:
        shared: the transaction of all who connect by them.
        bystanders: describes the other connections to the database, for a lock that could not be had.
    """

    def __init__(self, shared: SharedTransaction, bystanders: Callable[[], str]) -> None:
        self._shared = shared
        self._sending = Sending(shared)
        self._bystanders = bystanders

    def put_on(self, engine: Engine) -> None:
        """Put them on an engine and its dialect."""
        dialect = engine.dialect
        for name in SEND:
            setattr(dialect, name, self._sending.guarded(getattr(dialect, name), dialect))
        substitutes: dict[str, Callable[..., Any]] = {
            "do_commit": self._shared.commit_of,
            "do_rollback": self._shared.rollback_of,
            "do_close": lambda connection: None,
            "do_terminate": lambda connection: None,
            "do_savepoint": self._savepoint,
            "do_rollback_to_savepoint": self._rollback_to_savepoint,
            "do_release_savepoint": self._release_savepoint,
            "do_begin_twophase": refuse_twophase,
            "set_isolation_level": set_isolation_level,
            "reset_isolation_level": lambda connection: None,
            "set_readonly": set_readonly,
            "set_deferrable": set_deferrable,
        }
        for name, substitute in substitutes.items():
            setattr(dialect, name, substitute)
        event.listen(engine, "handle_error", self._explain)
        event.listen(engine, "invalidate", self._shared.invalidated)

    # --- nested transactions

    def _savepoint(self, connection: Any, name: str) -> None:
        _, own = self._own(connection, name)
        connection.exec_driver_sql(f"SAVEPOINT {own}")

    def _rollback_to_savepoint(self, connection: Any, name: str) -> None:
        self._shared.rollback_to(*self._own(connection, name))

    def _release_savepoint(self, connection: Any, name: str) -> None:
        owner, own = self._own(connection, name)
        with self._shared.lock:
            if not self._shared.release(owner, own):
                connection.exec_driver_sql(f"RELEASE SAVEPOINT {own}")  # refused, by an error of SQLAlchemy's as of any statement

    def _own(self, connection: Any, name: str) -> tuple[Owner, str]:
        """Return who has a connection, and what a savepoint of his is called in our one transaction."""
        owner = self._shared.owner_of(connection._dbapi_connection)
        # SQLAlchemy counts per connection, so two sessions would use one name
        return owner, f"{name}_{id(owner):x}"

    # --- errors

    def _explain(self, context: Any) -> IsolationError | None:
        """Add what the database's own error does not tell; return an error to be raised in its place."""
        original, shown = context.original_exception, context.sqlalchemy_exception
        if shown is None:
            return None
        if isinstance(original, IsolationError):
            return IsolationError(*original.args)  # not as the cause of a StatementError
        if sqlstate(original) == LOCK_NOT_AVAILABLE:
            shown.add_note(self._bystanders())
        elif sqlstate(original) == TOO_LATE and "TRANSACTION" in str(original):
            shown.add_note(f"The test's own transaction has long begun. {REMEDY}")
        return None


def set_isolation_level(connection: Any, level: str) -> None:
    """Take the level that the transaction has.

    Raises:
        IsolationError: it is another one.
    """
    if level not in LEVELS:
        raise IsolationError(f"isolation level {level} cannot be had inside the test's transaction. {REMEDY}")


def set_readonly(connection: Any, value: bool) -> None:
    """Take what the transaction is.

    Raises:
        IsolationError: it shall be a read-only one.
    """
    if value:
        raise IsolationError(f"a read-only transaction cannot be had inside the test's transaction. {REMEDY}")


def set_deferrable(connection: Any, value: bool) -> None:
    """Take what the transaction is.

    Raises:
        IsolationError: it shall be a deferrable one.
    """
    if value:
        raise IsolationError(f"a deferrable transaction cannot be had inside the test's transaction. {REMEDY}")
