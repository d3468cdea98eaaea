"""The transaction that the tasks of an async test share: SQLAlchemy hands out the driver's own connection, too."""

from __future__ import annotations

from typing import Any

from sqlalchemy.pool.base import _ConnectionFairy

from .kept_async import AsyncKept
from .pool import OWNER, Owner
from .streamed import Streamed
from .transaction import REMEDY, SharedTransaction, warn

__all__ = ["AsyncTransaction"]

SHARED = "testbed_transaction"
"""Under this key a checked-out connection's `info` has the transaction."""


class AsyncTransaction(SharedTransaction):
    """The transaction on the kept connection of async tests; each test gives it a lock for tasks of its own."""

    kept: AsyncKept

    def admit(self, fairy: Any) -> None:
        """Take note of somebody new, of the cursors that he uses past SQLAlchemy, and of the driver's connection."""
        super().admit(fairy)
        fairy.__class__ = GuardedFairy
        fairy.info[SHARED] = self
        owner, inner = fairy.info[OWNER], fairy.cursor

        def cursor(*args: Any, **options: Any) -> Any:
            self.kept.note_loose_cursor()
            made = inner(*args, **options)
            self.kept.loose = owner
            return Streamed(made, self.lock) if options.get("server_side") else made

        fairy.cursor = cursor

    def note_raw(self, owner: Owner) -> None:
        """Note that somebody takes the driver's own connection, whose statements nobody sees."""
        owner.raw = self.kept.raw = True
        if self.stack.runs and self.stack.runs[-1].owner not in (owner, None):
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

    def _check(self, owner: Owner) -> None:
        super()._check(owner)
        if owner in self._abandoned:
            self._abandoned.remove(owner)  # detached, and still in use

    def rollback_of(self, fairy: Any) -> None:
        """Undo the uncommitted work of the one who has a connection; later, where another loop than the test's runs."""
        if self.lock.is_here():
            super().rollback_of(fairy)
        else:
            self._abandon(self.owner_of(fairy))


class GuardedFairy(_ConnectionFairy):
    """SQLAlchemy's handle on a connection, which tells when somebody takes the driver's own one from it."""

    __slots__ = ()

    @property
    def driver_connection(self) -> Any:  # type: ignore[override]
        """The driver's own connection."""
        self.info[SHARED].note_raw(self.info[OWNER])
        return super().driver_connection

    def commit(self) -> None:
        """Commit, as a session does."""
        self.info[SHARED].commit_of(self)

    def rollback(self) -> None:
        """Roll back, as a session does."""
        self.info[SHARED].rollback_of(self)
