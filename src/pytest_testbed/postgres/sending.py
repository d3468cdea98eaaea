"""What happens around each statement of a test: before it, whose turn it is; after it, what it left in the transaction."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sqlalchemy import Dialect

from ..errors import IsolationError
from .kept import IDLE, IN_ERROR
from .pool import Owner
from .statements import (
    CHANGES,
    DEFINES,
    ENDS,
    HOLDS,
    ON_COMMIT,
    PREPARES,
    READS,
    SAVEPOINT,
    SETS_LOCALLY,
    SETTING,
    find,
    local_settings,
    may_write,
    quoted,
    shortened,
)
from .transaction import REMEDY, SharedTransaction

__all__ = ["Sending", "refuse_twophase"]


class Sending:
    """Sends statements in the transaction that all share, and follows what they do to it.

    Args:
        shared: the transaction.
    """

    def __init__(self, shared: SharedTransaction) -> None:
        self._shared = shared

    def guarded(self, send: Callable[..., None], dialect: Dialect) -> Callable[..., None]:
        """Return what a dialect does in place of one of its methods that send a statement.

        Args:
            send: the method.
            dialect: whose it is.
        """
        shared = self._shared

        def run(cursor: Any, statement: str, *rest: Any) -> None:
            owner = shared.owner_of(rest[-1].root_connection._dbapi_connection)
            with shared.lock:
                shared.enter(owner)
                if shared.stack.failed and owner in shared.stack.failed:
                    # as the server would, had each session a connection of its own
                    raise shared.kept.failed_before(dialect)
                if PREPARES.match(statement):
                    refuse_twophase()
                owner.cursor_out = False
                if SETS_LOCALLY.search(statement):
                    self._remember(owner, local_settings(statement, rest[0]))
                try:
                    send(cursor, statement, *rest)
                except BaseException:
                    shared.kept.doubt()
                    raise
                self._after(owner, cursor, statement)

        return run

    def _remember(self, owner: Owner, names: list[str]) -> None:
        """Let settings of one transaction end with its commit: what they were is set again then."""
        kept = self._shared.kept
        for name in names:
            if name in owner.at_commit or kept.status() == IN_ERROR:
                continue
            before = kept.ask(f"SELECT current_setting({quoted(name)}, true)")
            if before is not None or "." in name:  # else there is no such setting, and the statement will be refused
                owner.at_commit[name] = f"SELECT set_config({quoted(name)}, {quoted(before or '')}, false)"

    def _after(self, owner: Owner, cursor: Any, statement: str) -> None:
        shared = self._shared
        if shared.kept.status() == IDLE:
            shared.ended_behind(f"the statement {shortened(statement)!r}")
            return
        if owner is shared.nobody:
            return  # SQLAlchemy's own questions change nothing
        tag = shared.kept.tag(cursor, statement)
        kind = tag.partition(" ")[0] or "DECLARE"
        if kind == "SELECT":
            if may_write(statement):
                self._changed(owner, statement, defines="create" in statement.lower())
        elif kind in CHANGES:
            shared.stack.wrote(owner)
        else:
            self._seldom(owner, kind, tag, statement)

    def _changed(self, owner: Owner, statement: str, *, defines: bool) -> None:
        shared = self._shared
        shared.stack.wrote(owner)
        if not defines:
            return
        shared.kept.has_deferred = None
        shared.schema_changed = True
        if match := find(ON_COMMIT, statement):
            name, action = match[1], match[2].upper()
            owner.at_commit[name] = f"DROP TABLE IF EXISTS pg_temp.{name}" if action == "DROP" else f"DELETE FROM pg_temp.{name}"

    def _seldom(self, owner: Owner, kind: str, tag: str, statement: str) -> None:
        if kind in READS:
            return
        if kind in HOLDS:
            self._held(owner, kind, tag, statement)
        elif match := find(SAVEPOINT, statement):
            self._own_savepoint(owner, match[1].split()[0].lower(), match[2])
        elif kind in ("COMMIT", "ROLLBACK", "BEGIN", "START"):
            if find(ENDS, statement):  # and another one was begun at once
                self._shared.ended_behind(f"the statement {shortened(statement)!r}")
        else:
            self._changed(owner, statement, defines=kind in DEFINES)

    def _held(self, owner: Owner, kind: str, tag: str, statement: str) -> None:
        shared = self._shared
        shared.kept.note_held(kind)
        shared.deferring |= tag == "SET CONSTRAINTS"
        shared.stack.held(owner)
        if match := find(SETTING, statement):
            owner.at_commit.pop(match[1].lower(), None)

    def _own_savepoint(self, owner: Owner, verb: str, name: str) -> None:
        """Follow a savepoint that was said as text."""
        stack = self._shared.stack
        if verb == "savepoint":
            stack.set_inner(owner, name)
        elif verb == "release":
            stack.release(owner, name)
        else:
            stack.rollback_to(owner, name)


def refuse_twophase(*_: Any) -> None:
    """Refuse the first half of a two-phase commit.

    Raises:
        IsolationError: always.
    """
    raise IsolationError(f"a two-phase transaction cannot run inside the test's transaction. {REMEDY}")
