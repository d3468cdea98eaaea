"""Database isolation: tests commit for real in the worker's own database, which is put back in place after each."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any, NamedTuple

from ..errors import IsolationError
from ..services.doorway import Doorway
from .admin import LOCK_NOT_AVAILABLE, sqlstate
from .database import Database
from .emptying import Emptier
from .foundation import Foundation
from .leavings import Leavings
from .plain import PlainEngines
from .sequences import set_back
from .strays import CLEANER, now, prepare
from .waiting import hushed
from .written import has_written

__all__ = ["Aftermath", "RealCommits", "Trace"]


class Aftermath(NamedTuple):
    """What was found after a test: tables that were not as they were, what was open, whether there is a new database."""

    tables: list[str]
    left: list[str]
    is_renewed: bool = False


NOTHING = Aftermath([], [])
UNDOABLE = (
    "the database could not be put back, as somebody holds a lock on what was written. It is made anew before the next test, "
    "which ends that connection."
)
UNTAKEN = "what fixtures of a wider scope have written could not be taken note of, as somebody holds a lock on it."


class Trace(NamedTuple):
    """How far things had gone: the number of the next writing transaction, and what had been used of ours and by the door."""

    number: int
    uses: int
    messages: int


class RealCommits:
    """The worker's database as tests use it that commit for real.

    Args:
        database: the worker's.
        doorway: by which applications reach it; None where no address can be given away.
        is_early: whether they have known it since before the first test: what they did is for all tests.
    """

    def __init__(self, database: Database, doorway: Doorway | None = None, *, is_early: bool = False) -> None:
        self._database = database
        self.doorway = doorway
        self._emptier = Emptier(lambda: prepare(database.connect_plainly(CLEANER)))
        self._engines = PlainEngines(database.plain_engine, self.use)
        self._foundation = Foundation(database, self._emptier, self._engines, doorway)
        self._leavings = Leavings(self._emptier, doorway)
        self._is_used = False
        self._uses = 0
        self._seen = 0 if is_early else self._messages
        self._keeps = False
        self._in_test = False
        self._is_dirty = False
        self._is_missing = False
        """Whether a fixture has left the database dropped: the next one may be about to make it."""
        self._told: list[str] = []
        database.noted = self.use
        database.is_put_back = lambda: self._in_test
        database.around = self._carry_over

    # --- who has come

    def use(self) -> None:
        """Note that something of ours has connected."""
        self._is_used = True
        self._uses += 1

    @property
    def was_used(self) -> bool:
        """Whether anybody may have written since the database was put back."""
        return self._is_used or self._has_come

    @property
    def is_at_work(self) -> bool:
        """Whether a test runs that may have written already: what is found now cannot be told from what it did."""
        return self._in_test and self.was_used

    @property
    def _has_come(self) -> bool:
        return self.doorway is not None and self.doorway.board.messages != self._seen

    @property
    def _messages(self) -> int:
        return self.doorway.board.messages if self.doorway is not None else 0

    def _note_seen(self) -> None:
        self._database.note_change()
        self._is_used = False
        if self.doorway is not None:
            self._seen = self.doorway.board.messages

    def trace(self) -> Trace:
        """Return how far things have gone, for `refuse_late`."""
        return Trace(now(self._emptier.cursor()).number, self._uses, self._messages)

    def refuse_late(self, fixture: str, since: Trace) -> None:
        """Refuse a fixture of a wider scope that has written in the middle of a test.

        Args:
            fixture: its name.
            since: what `trace` gave before it was set up.

        Raises:
            IsolationError: it has written.
        """
        if (self._uses, self._messages) != (since.uses, since.messages) and has_written(self._emptier.cursor(), since.number):
            raise IsolationError(
                f"the fixture {fixture!r} wrote to the database and was asked for while a test ran that had used it already: "
                "what it wrote is undone with that test, and the tests that follow would have the fixture without its rows. Name "
                "it as an argument of the test (or in pytest.mark.usefixtures), so that pytest sets it up before the test begins."
            )

    # --- the spans of time

    def begin(self, *, commits: bool = True) -> list[str]:
        """Take note that a test begins; return what there is to tell of those before it.

        Args:
            commits: whether it commits for real: then its sequences begin as the database's did.
        """
        self.settle_between()
        if self._is_missing:
            self._is_missing = False
            if self._foundation.is_dropped():
                self._mend()
        if not self._emptier.is_ready:
            self.settle()
        if commits and self._database.has_moved and not self._database.is_watched:
            self._set_sequences_back()
        for layer in self._engines.wide:
            layer.remember()
        self._leavings.begin(self._seen)
        self._in_test = True
        told, self._told = self._told + self._emptier.take_told(), []
        return told

    def settle_between(self) -> None:
        """Take what was done since the last test for the state that tests begin with, unless it comes late from a test."""
        if self._in_test or self._database.is_watched:
            return
        if self._is_dirty:
            self._mend()
        if self.was_used and self._emptier.is_ready:
            self._told += self._undo_late()
            if self.was_used:
                self.settle()

    def settle(self, layer: object = None) -> None:
        """Take what was done since the last test for the state that tests begin with: something that outlives them did it.

        Args:
            layer: who has done it, where that will end (`settle_after`).
        """
        if self._is_dirty:
            self._mend()
        if self._foundation.is_dropped():
            self._is_missing = True
            self._note_seen()
            return
        for wide in self._engines.wide:
            wide.commit()
        is_added = self.was_used
        may_set_back = not is_added and not self._emptier.is_ready and not self._database.is_watched
        if self._database.has_moved and may_set_back:
            if text := set_back(self._database.sequences()):
                self._emptier.cursor().execute(text)
            self._database.has_moved = False
        with self._locks_explained(UNTAKEN):
            self._foundation.take(layer, is_added=is_added)
        self._foundation.take_definitions(is_added=is_added)
        self._leavings.look_at_clock()
        self._note_seen()

    def settle_after(self, layer: object) -> None:
        """Undo what somebody has done who has ended and what he did at his end: cleaning up, he may have emptied seeds.

        Args:
            layer: who.
        """
        has_left = self._foundation.leave(layer)
        if self._in_test:
            self._is_used |= has_left  # then the end of the test undoes it
        elif (has_left or self.was_used) and self._emptier.is_ready and not self._is_dirty:
            if self._foundation.is_dropped():
                self._is_dirty = True  # it is made anew when somebody needs it: after the last test nobody does
                self._note_seen()
                return
            for wide in self._engines.wide:
                wide.remember()
            with self._undoing():
                self._foundation.restore([])

    def end(self) -> Aftermath:
        """Put the database back, if anybody has used it since `begin`."""
        self._is_dirty = self.was_used  # until it is put back: that may be interrupted anywhere
        self._in_test = False
        self._leavings.end()
        if self._keeps:
            self._keeps = False
            with self._undoing():
                self._end_open()
                self._database.set_aside()
            return NOTHING
        return self._put_back() if self.was_used else NOTHING

    # --- putting it back

    def _put_back(self) -> Aftermath:
        late = self._leavings.late
        with self._undoing():
            left = self._end_open()
            self._engines.clean()
            written = self._foundation.restore(left)
            left += self._leavings.end_clients(late)
        left += self._emptier.take_told()
        return Aftermath(self._emptier.tables_among(written or []), left, written is None)

    def _end_open(self) -> list[str]:
        return [] if self._foundation.is_dropped() else self._leavings.end_open()

    def _undo_late(self) -> list[str]:
        """Undo what a thread may have done that the last test has left running.

        Without such a thread it was a hook of the project, for instance: then it is for the tests to find.
        """
        if not self._leavings.threads or not self._has_come:
            return []
        for layer in self._engines.wide:
            layer.remember()
        aftermath = self._put_back()
        if aftermath.tables or aftermath.is_renewed:
            what = "changed definitions of tables" if aftermath.is_renewed else f"wrote to {', '.join(aftermath.tables)}"
            aftermath.left.append(
                f"something {what} after the end of its test, which has left threads running ({self._leavings.threads}). "
                "It was undone."
            )
        return aftermath.left

    def _set_sequences_back(self) -> None:
        """Give back the numbers that tests in transactions have taken from sequences."""
        with self._undoing():
            self._foundation.restore([])
        self._database.has_moved = False

    def _mend(self) -> None:
        """Make the database anew, as an earlier attempt to put it back has failed."""
        for layer in self._engines.wide:
            layer.remember()
        with self._undoing():
            self._foundation.mend()

    def _carry_over(self, replace: Callable[[], None]) -> None:
        """Let a new database take the place of the old one, with all that fixtures of wider scopes have put into it."""
        self._foundation.carry_over(replace)
        self._note_seen()

    @contextmanager
    def _undoing(self) -> Iterator[None]:
        """Put the database back within: under sessions of wider scopes, and unseen by applications.

        What is there when that fails, or is interrupted, never becomes the state that tests begin with.

        Raises:
            IsolationError: somebody has locked what would have to be undone.
        """
        self._is_dirty = True
        for layer in self._engines.wide:
            layer.reset()
        with hushed(self.doorway):
            with self._locks_explained(UNDOABLE):
                yield
            self._note_seen()
        self._is_dirty = False
        for layer in self._engines.wide:
            layer.restore()
        self._is_used = False  # what the sessions of wider scopes have just read

    @contextmanager
    def _locks_explained(self, what: str) -> Iterator[None]:
        """Tell who is in the way.

        Raises:
            IsolationError: somebody has locked what is looked at, or would have to be undone.
        """
        try:
            yield
        except Exception as error:
            if sqlstate(error) != LOCK_NOT_AVAILABLE:
                raise
            reason, *_ = str(error).splitlines()
            text = f"{what} Let fixtures end their transactions before tests begin, and what outlives a test do so at its end"
            raise IsolationError(f"{text} (commit or rollback).\n{reason}\n{self._database.bystanders()}".rstrip()) from error

    # --- what a test is given

    def test(self) -> AbstractContextManager[Any]:
        """Give one test a plain engine on the worker's database."""
        return self._engines.test()

    def layer(self, name: str) -> AbstractContextManager[Any]:
        """Give a session for fixtures of a wider scope: what they commit, all tests find until that scope ends."""
        return self._engines.layer(name)

    @contextmanager
    def closing(self, thing: Any) -> Iterator[Any]:
        """Close a session or connection at the end of its fixture."""
        try:
            yield thing
        finally:
            try:
                thing.close()
            except Exception as error:
                if not getattr(error, "connection_invalidated", False):
                    raise  # if so, the test has ended it: by dropping the database, for one

    def sessionmaker(self, engine: Any) -> Any:
        """Return a factory of sessions for one test."""
        from sqlalchemy.orm import sessionmaker

        return sessionmaker(engine)

    def keep(self) -> None:
        """Let the end of the running test set its database aside: what it did is committed."""
        self._keeps = True

    def close(self) -> None:
        """Close our connections."""
        self._emptier.close()
        self._engines.dispose()
