"""Database isolation: tests commit for real in the worker's own database, which is put back in place after each."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, NamedTuple

from ..errors import IsolationError
from ..services.doorway import Doorway
from . import traits
from .admin import LOCK_NOT_AVAILABLE, sqlstate
from .database import Database, waited_for
from .emptying import CatalogChanged, Emptier
from .layers import Layer
from .sequences import set_back
from .strays import CLEANER, Moment, Stray, end_backends, end_prepared, find, now, prepare
from .threads import Threads
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
UNMET = "so that the next test does not meet it."


class Trace(NamedTuple):
    """How far things had gone: the number of the next writing transaction, and what had been used of ours and by the door."""

    number: int
    uses: int
    messages: int


class Below(NamedTuple):
    """What was known of the database before something that outlives tests has added to it."""

    layer: object
    definitions: dict[str, str]
    base: str
    is_lost: bool


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
        self._known: dict[str, str] = {}
        self._layers: list[Below] = []
        self._over: list[object] = []
        self._is_lost = False
        self._engine: Any = None
        self._as_made: list[Any] = []
        self._factory: Any = None
        self._is_used = False
        self._uses = 0
        self._keeps = False
        self._wide: list[Layer] = []
        self._seen = 0 if is_early else self._messages
        self._ahead = 0.0
        self._began = Moment(0.0, 0)
        self._next = 0
        self._begun_by_us: set[int] = set()
        self._threads = Threads()
        self._in_test = False
        self._is_dirty = False
        self._is_missing = False
        """Whether a fixture has left the database dropped: the next one may be about to make it."""
        self._told: list[str] = []
        self._came = 0
        self._listens = 0
        database.noted = self.use
        database.is_put_back = lambda: self._in_test
        database.around = self._carry_over

    # --- the spans of time

    def use(self) -> None:
        """Note that something of ours has connected."""
        self._is_used = True
        self._uses += 1

    @property
    def was_used(self) -> bool:
        """Whether anybody may have written since the database was put back."""
        return self._is_used or self._has_come

    @property
    def _has_come(self) -> bool:
        return self.doorway is not None and self.doorway.board.messages != self._seen

    @property
    def is_at_work(self) -> bool:
        """Whether a test runs that may have written already: what is found now cannot be told from what it did."""
        return self._in_test and self.was_used

    def trace(self) -> Trace:
        """Return how far things have gone, for `refuse_late`."""
        return Trace(now(self._emptier.cursor()).number, self._uses, self._messages)

    @property
    def _messages(self) -> int:
        return self.doorway.board.messages if self.doorway is not None else 0

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

    def begin(self, *, commits: bool = True) -> list[str]:
        """Take note that a test begins; return what there is to tell of those before it.

        Args:
            commits: whether it commits for real: then its sequences begin as the database's did.
        """
        self.settle_between()
        if self._is_missing:
            self._is_missing = False
            if self._is_dropped():
                self._mend()
        if not self._emptier.is_ready:
            self.settle()
        if commits and self._database.has_moved and not self._database.is_watched:
            self._set_sequences_back()
        for layer in self._wide:
            layer.remember()
        self._began = Moment(time.time() + self._ahead, self._next)
        self._came = self._seen
        if self.doorway is not None:
            self.doorway.board.begin(self._came)
            self._listens = self.doorway.board.listens
        self._threads.begin()
        self._in_test = True
        told, self._told = self._told + self._emptier.take_told(), []
        return told

    def _set_sequences_back(self) -> None:
        """Give back the numbers that tests in transactions have taken from sequences."""
        with self._undoing():
            self._restore([])
        self._database.has_moved = False

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

    def _undo_late(self) -> list[str]:
        """Undo what a thread may have done that the last test has left running.

        Without such a thread it was a hook of the project, for instance: then it is for the tests to find.
        """
        if not self._threads.left or not self._has_come:
            return []
        for layer in self._wide:
            layer.remember()
        aftermath = self._put_back()
        if aftermath.tables or aftermath.is_renewed:
            what = "changed definitions of tables" if aftermath.is_renewed else f"wrote to {', '.join(aftermath.tables)}"
            aftermath.left.append(
                f"something {what} after the end of its test, which has left threads running ({self._threads.left}). "
                "It was undone."
            )
        return aftermath.left

    def settle(self, layer: object = None) -> None:
        """Take what was done since the last test for the state that tests begin with: something that outlives them did it.

        Args:
            layer: who has done it, where that will end (`settle_after`).
        """
        if self._is_dirty:
            self._mend()
        if self._is_dropped():
            self._is_missing = True
            self._note_seen()
            return
        for wide in self._wide:
            wide.commit()
        is_added = self.was_used
        may_set_back = not is_added and not self._emptier.is_ready and not self._database.is_watched
        if self._database.has_moved and may_set_back:
            if text := set_back(self._database.sequences()):
                self._emptier.cursor().execute(text)
            self._database.has_moved = False
        with self._locks_explained(UNTAKEN):
            if layer is not None and self._emptier.is_ready:
                self._emptier.push(is_added=is_added)
                self._layers.append(Below(layer, self._known, self._database.base, self._is_lost))
            else:
                self._emptier.capture(is_added=is_added)
        definitions = self._emptier.definitions()
        if not self._known and not is_added:
            self._known = definitions
        elif is_added and definitions != self._known:
            self._known = definitions
            self._dispose_all()  # a database that anybody is connected to cannot be copied
            with self._hushed(), self._moved_out():
                self._keep_definitions()
        moment = now(self._emptier.cursor())
        self._ahead, self._next = moment.time - time.time(), moment.number
        self._note_seen()

    def _keep_definitions(self) -> None:
        """Keep a copy of the database, unless somebody has stayed in it: nobody can copy it then, and he may hold locks."""
        self._is_lost = bool(self._bound()) or self._database.is_occupied()
        if not self._is_lost:
            self._emptier.carry_over(self._keep_base, is_new=False)

    def _keep_base(self) -> None:
        """Keep a copy of the database with the definitions that fixtures have made, to begin with where a test changes them."""
        before = self._database.base
        self._is_lost = not self._database.keep_base()
        if before != self._database.base and before not in (below.base for below in self._layers):
            self._database.forget(before)

    def settle_after(self, layer: object) -> None:
        """Undo what somebody has done who has ended and what he did at his end: cleaning up, he may have emptied seeds.

        Args:
            layer: who.
        """
        has_left = self._leave(layer)
        if self._in_test:
            self._is_used |= has_left  # then the end of the test undoes it
        elif (has_left or self.was_used) and self._emptier.is_ready and not self._is_dirty:
            if self._is_dropped():
                self._is_dirty = True  # it is made anew when somebody needs it: after the last test nobody does
                self._note_seen()
                return
            for wide in self._wide:
                wide.remember()
            with self._undoing():
                self._restore([])

    def _is_dropped(self) -> bool:
        """Whether somebody has dropped the database: a suite may make its own at the beginning, and drop it at the end."""
        if not self._emptier.is_ready or not self._emptier.has_ended() or self._database.is_there():
            return False
        self._emptier.note_drop()
        return True

    def _leave(self, layer: object) -> bool:
        """Let the state below be the one to go back to, where somebody has ended who had one of his own; tell whether he had."""
        if layer not in (below.layer for below in self._layers) or not self._emptier.is_ready:
            return False
        self._over.append(layer)
        while self._layers and self._layers[-1].layer in self._over:
            below = self._layers.pop()
            self._over.remove(below.layer)
            self._emptier.pop()
            self._known, self._is_lost = below.definitions, below.is_lost
            self._database.begin_with(below.base)
        return True

    def _note_seen(self) -> None:
        self._database.note_change()
        self._is_used = False
        if self.doorway is not None:
            self._seen = self.doorway.board.messages

    def end(self) -> Aftermath:
        """Put the database back, if anybody has used it since `begin`."""
        self._is_dirty = self.was_used  # until it is put back: that may be interrupted anywhere
        self._in_test = False
        self._threads.end()
        if self._keeps:
            self._keeps = False
            with self._undoing():
                self._end_strays()
                self._database.set_aside()
            return NOTHING
        return self._put_back() if self.was_used else NOTHING

    def _put_back(self) -> Aftermath:
        late = self.doorway.board.late if self.doorway is not None else 0
        with self._undoing():
            left = self._end_strays()
            self._clean_engine()
            written = self._restore(left)
            if self.doorway is not None:
                left += self._silence(self.doorway)
                if self.doorway.board.late != late:
                    left += self._end_late(self.doorway)
        left += self._emptier.take_told()
        return Aftermath(self._emptier.tables_among(written or []), left, written is None)

    def _restore(self, left: list[str]) -> list[str] | None:
        """Put the database back; return what was not as it was, None where there is a new database."""
        try:
            return self._emptier.restore()
        except CatalogChanged:
            self._renew_definitions(left)
            return None

    @contextmanager
    def _undoing(self) -> Iterator[None]:
        """Put the database back within: under sessions of wider scopes, and unseen by applications.

        What is there when that fails, or is interrupted, never becomes the state that tests begin with.

        Raises:
            IsolationError: somebody has locked what would have to be undone.
        """
        self._is_dirty = True
        for layer in self._wide:
            layer.reset()
        with self._hushed():
            with self._locks_explained(UNDOABLE):
                yield
            self._note_seen()
        self._is_dirty = False
        for layer in self._wide:
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

    def _mend(self) -> None:
        """Make the database anew, as an earlier attempt to put it back has failed."""
        for layer in self._wide:
            layer.remember()
        with self._undoing():
            if not self._emptier.is_ready:
                self._layers.clear()
            if self._is_lost and self._emptier.is_ready and not (self._is_dropped() or self._emptier.is_dropped):
                self._restore([])  # a new one would lack what fixtures have made
            else:
                self._renew()

    def _silence(self, doorway: Doorway) -> list[str]:
        """Let nobody listen any more who began to in the test, and stays; return what there is to tell."""
        if doorway.board.listens == self._listens or not (pids := doorway.visits("silence")):
            return []
        who = ", ".join(f"pid {pid}" for pid in pids)
        return [f"a connection ({who}) went on listening for notifications (LISTEN). It does so no more, {UNMET}"]

    def _end_late(self, doorway: Doorway) -> list[str]:
        """End connections of the test that send statements by now; return what there is to tell."""
        if ended := doorway.end_late(self._came):
            return [
                f"something of the test went on sending statements after its end (a thread, a task, a process): {len(ended)} "
                f"of its connections were ended, {UNMET}"
            ]
        if self._threads.left:
            return [
                f"something sent statements after the test's end, on a connection that is older than the test, which has left "
                f"threads running ({self._threads.left}): they wait, and are then in the next test. Let the test wait for its "
                "threads."
            ]
        return []

    @contextmanager
    def _hushed(self) -> Iterator[None]:
        """Let applications wait while the database is put back."""
        if self.doorway is None:
            yield
            return
        self.doorway.board.hush(True)
        try:
            yield
        finally:
            self.doorway.board.hush(False)

    # --- what the test has left

    def _end_strays(self) -> list[str]:
        if self._is_dropped():
            return []
        strays, self._next = self._emptier.ask(lambda cursor: find(cursor, self._began, self._begun_by_us))
        cursor = self._emptier.cursor()
        ended = self._end_all(cursor, strays) if strays else set()
        told = [f"{stray.describe()}. It was ended, {UNMET}" for stray in strays if stray.is_worth_telling and stray.pid in ended]
        if names := end_prepared(cursor):
            told.append(f"transactions were prepared and never ended: {', '.join(names)}. They were rolled back, {UNMET}")
        return told

    def _end_all(self, cursor: Any, strays: list[Stray]) -> set[int]:
        """Undo what is open: behind the back of its connection where that can be done, else with the connection.

        Returns:
            the backends of which something was ended: others were about to leave by themselves.
        """
        ended: set[int] = set()
        if self.doorway is not None:
            # told of no backend at all it would do so to each
            if opened := [stray.pid for stray in strays if stray.began is not None and not stray.is_running]:
                ended |= set(self.doorway.visits("reset", opened))
                self._begun_by_us |= ended
            if locking := [stray.pid for stray in strays if stray.has_advisory_locks]:
                ended |= set(self.doorway.visits("unlock", locking))
        rest = [stray for stray in strays if stray.pid not in ended]
        rest = [stray for stray in rest if stray.is_worth_telling or stray.opened >= self._began.time]
        return ended | end_backends(cursor, rest)

    # --- a new database

    def _renew_definitions(self, left: list[str]) -> None:
        if not self._is_lost or self._emptier.is_dropped:
            self._renew()
            left += [
                f"{what}, which no other backend can have. It was ended with the database, {UNMET}" for what in self._bound()
            ]
            return
        if not self._emptier.recognise():
            return
        left.append(
            "the schema was changed, and no copy of it could be made before, as a connection was open that a fixture has "
            "made: it stays as it is now. Name what makes the schema in testbed_pg_schema, so that it can be brought back, or "
            "let the fixture close its connections when it has made it (engine.dispose())."
        )

    def _renew(self) -> None:
        """Make the database anew; what fixtures had made in one that was dropped is gone, so there is nothing to wait for."""
        if self._emptier.is_dropped:
            self._is_lost = False
            self._layers = [below._replace(is_lost=False) for below in self._layers]
        self._database.renew()

    def _carry_over(self, replace: Callable[[], None]) -> None:
        """Let a new database take the place of the old one, with all that fixtures of wider scopes have put into it."""
        self._dispose_all()
        with self._moved_out():
            self._emptier.carry_over(replace)
        self._note_seen()

    def _bound(self) -> list[str]:
        """Return those who did not move out, each with what it would have lost."""
        return self.doorway.bound() if self.doorway is not None else []

    @contextmanager
    def _moved_out(self) -> Iterator[None]:
        """Let nobody be connected to the database, and bring applications back unseen to the one that takes its place."""
        if self.doorway is None:
            yield
            return
        with waited_for(self.doorway):
            yield

    # --- our own engine

    @contextmanager
    def test(self) -> Iterator[Any]:
        """Give one test a plain engine on the worker's database."""
        if self._engine is None or traits.of_engine(self._engine) != self._as_made:
            self._dispose()
            self._engine = self._noticed_engine()
            self._as_made = traits.of_engine(self._engine)
        yield self._engine

    def _clean_engine(self) -> None:
        """Let the next test find connections as new, without the price of new ones."""
        if self._engine is None:
            return
        try:
            if self._engine.pool.checkedout():
                raise RuntimeError("a connection was left open")
            connections = [self._engine.raw_connection() for _ in range(self._engine.pool.checkedin())]
            for connection in connections:
                discard(connection.driver_connection)
                connection.close()
        except Exception:
            self._dispose()

    def _dispose(self) -> None:
        engine, self._engine = self._engine, None
        if engine is not None:
            with suppress(Exception):
                engine.dispose()

    def _dispose_all(self) -> None:
        """Let nothing of ours be connected, sessions of wider scopes included: they connect again."""
        self._dispose()
        for layer in self._wide:
            layer.engine.dispose()

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

    @contextmanager
    def layer(self, name: str) -> Iterator[Any]:
        """Give a session for fixtures of a wider scope: what they commit, all tests find until that scope ends."""
        engine = self._noticed_engine()
        layer = Layer(name, engine)
        self._wide.append(layer)
        try:
            yield layer.session
        finally:
            self._wide.remove(layer)
            layer.session.close()
            engine.dispose()

    def _noticed_engine(self) -> Any:
        """Return an engine whose use is noticed."""
        from sqlalchemy import event

        engine = self._database.plain_engine()
        event.listen(engine, "checkout", lambda *_: self.use())
        return engine

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
        self._dispose()


def discard(connection: Any) -> None:
    """Bring a driver's connection back to the state in which it was opened."""
    connection.rollback()
    connection.autocommit = True
    with connection.cursor() as cursor:
        cursor.execute("DISCARD ALL")
    connection.autocommit = False
