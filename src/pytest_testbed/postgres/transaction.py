"""The one transaction of a test, which all its sessions and connections share; each is an *owner* in it.

An owner's commit checks his constraints and takes his name off his work, his rollback goes back to a
savepoint; `savepoints` tells which. Before each turn of an owner the transaction is brought into a state in
which he can work: what others left open is undone, and what failed.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator
from threading import RLock
from typing import Any

from sqlalchemy.orm import Session

from ..errors import IsolationError, TestbedWarning
from .admin import sqlstate
from .kept import IDLE, IN_ERROR, IN_TRANSACTION, Kept
from .pool import OWNER, Owner
from .savepoints import BASE, Stack

__all__ = ["SharedTransaction", "warn"]

ARM = f"BEGIN;SAVEPOINT {BASE}"
CHECK = "SET CONSTRAINTS ALL IMMEDIATE"

# by name, because there is no other way back to each constraint's own default
DEFER_AGAIN = """DO $testbed$ DECLARE names text; BEGIN
SELECT string_agg(name, ',') INTO names FROM (
  SELECT format('%I.%I', n.nspname, c.conname) AS name FROM pg_catalog.pg_constraint c
  JOIN pg_catalog.pg_namespace n ON n.oid = c.connamespace
  WHERE c.conparentid = 0 AND NOT pg_is_other_temp_schema(n.oid) GROUP BY 1 HAVING bool_and(c.condeferred)) deferred;
IF names IS NOT NULL THEN EXECUTE 'SET CONSTRAINTS ' || names || ' DEFERRED'; END IF;
END $testbed$"""

RAW = "a COMMIT or ROLLBACK that went past SQLAlchemy (on the driver's own connection, or as text)"
REMEDY = "Use database isolation for such a test: @pytest.mark.pg(isolation='database')."
LOST = ("3B001", "25P01")  # no such savepoint, no transaction


class SharedTransaction:
    """The transaction on the kept connection: who works in it, and what undoes that.

    Args:
        kept: the connection.
        name: the fixture whose engine is on it, for errors.

    Attributes:
        lock: keeps statements of several threads from coming between a savepoint and its run.
        stack: the owners' runs, and their savepoints.
        running: whether anybody may use it.
        test_number: an owner belongs to the test that had this number when he came.
        breaches: what has ended it behind our back since it began.
        deferring: whether a statement in it has changed which constraints are deferred.
        schema_changed: whether a statement has defined something.
        closing: whether nobody looks any more at work that stays where it should be undone.
        nobody: the owner that SQLAlchemy is itself, when it gets to know the server.
    """

    def __init__(self, kept: Kept, name: str) -> None:
        self.kept = kept
        self.lock: Any = RLock()
        self.stack = Stack()
        self.running = False
        self.test_number = 0
        self.breaches: list[str] = []
        self.deferring = False
        self.schema_changed = False
        self.closing = False
        self.nobody = Owner(None)
        self._abandoned: list[Owner] = []
        self._name = name
        self._process = os.getpid()

    # --- the transaction as a whole

    def send(self, sql: str) -> None:
        """Send a statement of ours.

        Raises:
            IsolationError: the test has ended the transaction behind our back.
        """
        try:
            self.kept.execute(sql)
        except Exception as error:
            if self.running and sqlstate(error) in LOST:
                raise IsolationError(f"{RAW} ended the test's transaction. {REMEDY}") from error
            raise

    def forget(self) -> None:
        """Forget what was in it: it begins anew."""
        self.stack.clear()
        self.breaches.clear()
        self._abandoned.clear()
        self.deferring = False

    def go_on(self, running: bool) -> None:
        """Let nobody go on who was in it until now; let others use it where something is `running`."""
        self.test_number += 1
        self.stack.clear()
        self._abandoned.clear()
        self.running = running

    def note_breach(self, how: str) -> None:
        """Note that the transaction was ended behind our back."""
        self.breaches.append(f"{how} ended the test's transaction")

    def told_breaches(self) -> str:
        """Return what has ended it, each way once; "" where nothing has."""
        return "; ".join(dict.fromkeys(self.breaches))

    def ended_behind(self, how: str) -> None:
        """Note that it was ended behind our back, and begin another, in which the test goes on until it fails for that."""
        self.note_breach(how)
        self.stack.clear()
        self.send(ARM)

    # --- owners

    def kept_connection(self) -> Any:
        """Return the kept connection, for the pool."""
        return self.kept.connection

    def admit(self, fairy: Any) -> None:
        """Take note of somebody new, and of the cursors that he uses past SQLAlchemy."""
        owner = Owner(self.test_number)
        fairy.info[OWNER] = owner
        connection = fairy.dbapi_connection

        # holds no reference to the fairy, which must die, and be returned, with its last user
        def cursor(*args: Any, **options: Any) -> Any:
            with self.lock:
                self.enter(owner)
                owner.raw |= owner.cursor_out
                owner.cursor_out = True
            return connection.cursor(*args, **options)

        fairy.cursor = cursor

    def returned(self, record: Any) -> bool:
        """Take a record back from its user; tell whether the pool may hand it out again."""
        if record.dbapi_connection is None:  # invalidated, or detached and still in use
            return False
        return self._abandon(record.info.get(OWNER))

    def invalidated(self, connection: Any, record: Any, error: BaseException | None) -> None:
        """Take note that somebody's connection was invalidated; SQLAlchemy tells it."""
        self._abandon(record.info.get(OWNER))

    def _abandon(self, owner: Owner | None) -> bool:
        """Note that somebody has gone. What he left open is undone by whoever comes next.

        Not at once, because Python's garbage collector may call this in the middle of anything.
        """
        if owner is None or owner.test != self.test_number or not self.running:
            return False
        if owner.raw or owner.cursor_out or owner in self.stack.failed or self.stack.has(owner):
            self._abandoned.append(owner)
        return True

    def owner_of(self, fairy: Any) -> Owner:
        """Return who has a connection of the pool's."""
        record = fairy._connection_record
        owner: Owner = (fairy if record is None else record).info.get(OWNER, self.nobody)
        return owner

    # --- an owner's turn

    def enter(self, owner: Owner) -> None:
        """Let the owner send a statement: a savepoint before it, where another one's work is on top.

        Raises:
            IsolationError: he may not, or the connection is gone.
        """
        self._check(owner)
        self.settle(owner)
        # in a failed transaction the server refuses everything until the rollback
        if (before := self.stack.enter(owner)) and self.kept.status() != IN_ERROR:
            self.send(before)

    def _check(self, owner: Owner) -> None:
        if not self.running or (owner.test != self.test_number and owner.test is not None):
            raise IsolationError(f"a session or connection of {self._name} was used after its test had ended.")
        if os.getpid() != self._process:
            raise IsolationError(f"{self._name} cannot be used in a forked child: it is one connection. {REMEDY}")

    def settle(self, owner: Owner | None) -> None:
        """Bring the transaction into a state in which the owner, or somebody new, can work.

        Raises:
            IsolationError: the connection is gone.
        """
        if self.kept.is_closed():
            raise IsolationError(f"the connection of this test's transaction is gone, and its work with it. {REMEDY}")
        while self._abandoned:
            self._undo_of(self._abandoned.pop())
        status = self.kept.status()
        if status == IN_TRANSACTION:
            return
        if status == IDLE:
            self.ended_behind(RAW)
        elif status == IN_ERROR and not (self.stack.runs and self.stack.runs[-1].owner is owner):
            sql, lost = self.stack.fail()
            self.send(sql)
            if lost:
                warn(f"a statement that failed past SQLAlchemy took committed work with it. {REMEDY}")

    # --- commit

    def commit_of(self, fairy: Any) -> None:
        """Commit the work of the one who has a connection of the pool's."""
        self.commit(self.owner_of(fairy))

    def commit(self, owner: Owner) -> None:
        """Commit one owner's work, as far as this test can tell.

        Raises:
            IsolationError: he may not, or the connection is gone.
        """
        with self.lock:
            self._check(owner)
            self.settle(owner)
            if self.kept.status() == IN_ERROR or owner in self.stack.failed:
                self._undo_of(owner)  # as a server does that is told COMMIT in a failed transaction
                return
            if owner.raw or owner.cursor_out:
                self.stack.wrote(owner)
                self.kept.has_deferred = None  # nobody saw what it was
            try:
                self.send(";".join(part for part in self._commit_parts(owner) if part))
            except Exception as error:
                if not self.kept.is_closed():
                    self._undo_of(owner)  # the server's transaction is over, too, when its commit fails
                if sqlstate(error).startswith("23") and self.stack.runs:
                    error.add_note(f"Another session has uncommitted work in this test; the rows may be its own. {REMEDY}")
                raise
            self.stack.committed(owner)
            owner.at_commit.clear()

    def _commit_parts(self, owner: Owner) -> Iterator[str]:
        yield CHECK
        yield from owner.at_commit.values()
        if self.kept.has_deferred_constraints():
            yield DEFER_AGAIN
        yield self.stack.commit(owner)

    # --- rollback

    def rollback_of(self, fairy: Any) -> None:
        """Undo the uncommitted work of the one who has a connection of the pool's."""
        self.rollback(self.owner_of(fairy))

    def rollback(self, owner: Owner) -> None:
        """Undo one owner's uncommitted work."""
        with self.lock:
            if self.running and owner.test in (self.test_number, None) and not self.kept.is_closed():
                self.settle(owner)
                self._undo_of(owner)

    def _undo_of(self, owner: Owner) -> None:
        if owner.raw or owner.cursor_out:
            self.stack.wrote(owner)
            owner.raw = owner.cursor_out = False
        owner.at_commit.clear()
        sql, stayed = self.stack.rollback(owner)
        if sql:
            self.send(sql)
        self._undone()
        if stayed:
            self._warn_of_rest("session or connection rolled back")

    def _undone(self) -> None:
        if self.schema_changed:
            self.kept.has_deferred = None

    def _warn_of_rest(self, what: str) -> None:
        if not self.closing:
            warn(
                f"a {what} after another one had written or committed on top of its uncommitted work; "
                f"in transaction isolation that work stays. {REMEDY}"
            )

    # --- an owner's own savepoints

    def rollback_to(self, owner: Owner, name: str) -> None:
        """Undo what the owner did since his savepoint.

        Raises:
            IsolationError: he may not, or the connection is gone.
        """
        with self.lock:
            self._check(owner)
            self.settle(owner)
            sql, stayed = self.stack.rollback_to(owner, name)
            if sql:
                self.send(sql)
            self._undone()
        if stayed:
            self._warn_of_rest("nested transaction was rolled back")

    def release(self, owner: Owner, name: str) -> bool:
        """Forget the owner's savepoint; tell whether that can be: his statements may have failed.

        Raises:
            IsolationError: he may not, or the connection is gone.
        """
        with self.lock:
            self._check(owner)
            self.settle(owner)
            if owner in self.stack.failed or self.kept.status() == IN_ERROR:
                return False
            if sql := self.stack.release(owner, name):
                self.send(sql)
            return True

    # --- an owner's end

    def look_at(self, thing: Any) -> None:
        """Have a last look at the open work of a session or connection.

        Raises:
            sqlalchemy.exc.IntegrityError: it breaks a deferred constraint.
        """
        if self._may_be_looked_at(thing):
            connection = thing.connection() if isinstance(thing, Session) else thing
            if not connection.invalidated and self._has_written(self.owner_of(connection._dbapi_connection)):
                connection.exec_driver_sql(CHECK)

    def _may_be_looked_at(self, thing: Any) -> bool:
        if not self.running or (self.kept.has_deferred is False and not self.deferring) or not thing.in_transaction():
            return False
        # a session or nested transaction that waits for its rollback has nothing that could be looked at
        return (not isinstance(thing, Session) or thing.is_active) and self.kept.status() == IN_TRANSACTION

    def _has_written(self, owner: Owner) -> bool:
        return owner.raw or owner.cursor_out or self.stack.has(owner, written=True)

    def close_quietly(self, thing: Any) -> None:
        """Close a session or connection."""
        self.closing = True  # its work may well stay below another session's: nobody looks any more
        try:
            thing.close()
        finally:
            self.closing = False


def warn(text: str) -> None:
    """Give a warning that pytest shows with the test."""
    warnings.warn(TestbedWarning(text), stacklevel=3)
