"""Transaction isolation: an engine on which nothing is ever really committed.

One database connection is kept for the whole run. Each test has one transaction on it, with an armed
savepoint, and the dialect's own commit and rollback are turned into *release and arm again* and *roll
back to it*; at the end the transaction is rolled back. So sessions, connections and application code
commit and roll back as on a database of their own. docs/explanation/isolation.md tells the method.

Here a test begins and ends. What happens meanwhile is in `transaction` (whose work is in it, and what undoes
that), `sending` (one statement) and `dialect` (what SQLAlchemy calls).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any

from sqlalchemy import Engine, create_engine
from sqlalchemy.orm import Session

from ..errors import IsolationError
from . import sequences as sequences_
from . import traits
from .admin import sqlstate
from .dialect import Substitutes
from .escapes import Escapes
from .factory import SessionFactory
from .kept import ACTIVE, IDLE, IN_ERROR, Kept
from .layers import ARM_LEVEL, UNDO_LEVEL, Layers
from .pool import GuardedPool
from .savepoints import BASE
from .transaction import ARM, RAW, REMEDY, SharedTransaction

__all__ = ["Guard"]

ESCAPE = "somebody connected by the URL of the test's engine, past the test's transaction, and wrote to the database"
RENEWED = "It was really committed; the next test gets a database made anew"
PATIENCE = 5.0
"""Seconds that the end of a test waits for the statement of a thread that was left over."""


class Guard:
    """The kept connection, the engine on it, and the transaction of the test that runs.

    Args:
        connect: opens a DBAPI connection (psycopg2 or psycopg) to the worker's database.
        url: what the engine shows as its URL.
        renew: makes the worker's database anew, after something was really committed in it.
        set_aside: gives it another name and makes it anew, so that a failed test can be looked at.
        bystanders: describes the other connections to this database, for a lock that could not be had.
        sequences: tells what the sequences of a database just made give next, by schema and name.
        escapes: gives what looks after those who come past the test's transaction, None where somebody else does.
        begun: called when a test begins.

    Attributes:
        resets_sequences: whether the next test finds its sequences as in a database just made.
    """

    NAME = "pg_engine"
    USER = "a thread"

    def __init__(
        self,
        connect: Callable[[], Any],
        url: Any,
        *,
        renew: Callable[[], None] = lambda: None,
        set_aside: Callable[[], None] = lambda: None,
        bystanders: Callable[[], str] = lambda: "",
        sequences: Callable[[], sequences_.Values] = dict,
        escapes: Callable[[], Escapes | None] = lambda: None,
        begun: Callable[[], None] = lambda: None,
    ) -> None:
        self._shared = self._make_shared(connect)
        self._substitutes = Substitutes(self._shared, bystanders)
        self._renew = renew
        self._set_aside = set_aside
        self._keeps = False
        self._sequences = sequences
        self._find_escapes = escapes
        self._note_begun = begun
        self.resets_sequences = False
        self._factory: SessionFactory | None = None
        self._url = url
        self.layers = Layers(self)
        self.engine = self.make_engine()

    def _make_shared(self, connect: Callable[[], Any]) -> SharedTransaction:
        return SharedTransaction(Kept(connect), self.NAME)

    # --- the engine

    def _create_engine(self, pool: GuardedPool) -> Engine:
        return create_engine(self._url, pool=pool)

    def make_engine(self, *, wide: bool = False) -> Engine:
        """Make an engine on the kept connection; a `wide` one is for the layers, and can be used between tests too."""
        pool = GuardedPool(self._shared, partial(self.prepare, wide=wide))
        engine = self._create_engine(pool)
        self._substitutes.put_on(engine)
        pool.own_listeners = len(pool.dispatch.connect)
        if not wide:
            self._as_made = traits.of_engine(engine)
        return engine

    def _renew_engine(self) -> None:
        if traits.of_engine(self.engine) != self._as_made:
            self.engine = self.make_engine()  # listeners and options are a test's own, as its rows are

    # --- the kept connection

    def prepare(self, *, wide: bool = False) -> None:
        """Make ready for somebody new.

        Raises:
            IsolationError: no test runs, or the test's connection is gone.
        """
        with self._shared.lock:
            if wide:
                self.layers.check_use()
            if not self._shared.running or (self.layers.between and not wide):
                raise IsolationError(
                    f"{self.NAME} was used while no test that asked for it ran ({self.USER} that was left over?)."
                )
            self._shared.settle(None)
            if wide:
                self.layers.touch()

    def _open(self) -> None:
        self._discard()
        self._shared.kept.open(self.engine.dialect)

    def _discard(self) -> None:
        self.layers.lose(self._shared.told_breaches() or "the connection that had them was lost")
        self.engine.pool.dispose()
        self._shared.kept.discard()

    def close(self) -> None:
        """Close the kept connection."""
        self._discard()

    # --- one test

    @property
    def is_test_running(self) -> bool:
        """Whether a test has the kept connection."""
        return self._shared.running and not self.layers.between

    @contextmanager
    def test(self) -> Iterator[Engine]:
        """Give one test the engine; afterwards everything that the test did is undone.

        Raises:
            IsolationError: at the end, where the test really committed something.
        """
        if self.layers and self.is_test_running:  # there a test begins before its first fixture
            yield self.engine
            return
        with self._without_escapes():
            self.begin_level()
            try:
                if self.resets_sequences:
                    self._set_sequences_back()
                yield self.engine
            finally:
                self._end()

    @contextmanager
    def _without_escapes(self) -> Iterator[None]:
        """Fail the test where somebody has come by the engine's URL, past its transaction, and has written.

        Raises:
            IsolationError: somebody has.
        """
        self._note_begun()
        if (escapes := self._find_escapes()) is None:
            yield
            return
        escapes.begin()
        try:
            yield
        finally:
            escapes.is_watching = False
        if escapes.has_come and self._find_escapes() is escapes:
            if has_written := escapes.has_written():
                self.layers.lose(ESCAPE)
            if has_written or not self.layers:  # what was only deleted leaves no trace
                self._renew()
            if has_written:
                raise IsolationError(f"{ESCAPE}. {RENEWED}{self.layers.note_of_loss()}. {REMEDY}")

    def _set_sequences_back(self) -> None:
        """Let the sequences begin as they were below the test; the end of the test undoes that, too."""
        wanted = {**self._sequences(), **self.layers.sequences()}
        with self._shared.lock:
            # below the savepoint that a rollback in the test goes back to
            self._shared.send(f"RELEASE SAVEPOINT {BASE};{sequences_.set_back(wanted)};SAVEPOINT {BASE}")

    def keep(self) -> None:
        """Commit for real what the running test did so far, and let it do no more; its end sets the database aside.

        Raises:
            IsolationError: there is nothing that could be committed.
        """
        shared = self._shared
        with shared.lock:
            self.layers.refuse_keeping()
            if shared.kept.is_closed() or shared.kept.status() in (ACTIVE, IDLE):
                raise IsolationError("the test's transaction is gone.")
            if shared.kept.status() == IN_ERROR:
                shared.send(shared.stack.fail()[0])
            shared.running = False
            self._keeps = True
            shared.kept.execute("COMMIT")

    def _end(self) -> None:
        self._shared.running = False
        if not self._shared.lock.acquire(timeout=PATIENCE):
            self._shared.kept.cancel()
            self._shared.lock.acquire()
        try:
            with self._reset_layers():
                if self._keeps:
                    self._keeps = False
                    self._discard()
                    self._set_aside()
                else:
                    self._undo_test()
        finally:
            self._shared.lock.release()

    @contextmanager
    def _reset_layers(self) -> Iterator[None]:
        """Let the sessions of the layers end what they do, and be as before the test once that is undone."""
        if not self.layers:
            yield
            return
        shared = self._shared
        shared.running = not self._keeps and shared.kept.is_usable()
        shared.closing = True
        try:
            self.layers.reset()
        finally:
            shared.running = shared.closing = False
        try:
            yield
        finally:
            self.layers.restore()

    # --- levels: a test, and the layers below tests

    @contextmanager
    def layer(self, name: str) -> Iterator[Session]:
        """Give a session whose rows all tests see until it ends; each test is rolled back onto them.

        Args:
            name: the fixture, for errors.

        Raises:
            IsolationError: a test runs; or what lies below was lost.
        """
        with self.layers.open(name) as session:
            yield session

    def begin_level(self) -> None:
        """Begin what will be undone as a whole: a test, or a layer below tests.

        Raises:
            IsolationError: it would lie on layers whose rows are gone.
        """
        with self._shared.lock:
            if self.layers:
                self.layers.settle()
            if self._shared.kept.is_closed():
                self._open()
            self._renew_engine()
            self._start()

    def _start(self) -> None:
        self._shared.forget()
        self._arm()
        self.go_on(True)
        self.layers.between = False

    def _arm(self) -> None:
        if self.layers:
            try:
                self._shared.send(ARM_LEVEL)
            except Exception:
                self._discard()
                self.layers.settle()
            return
        try:
            self._shared.send(ARM)
        except Exception:
            # the server, or this one backend, went away between two tests: once more on a new one
            self._open()
            self._shared.send(ARM)

    def go_on(self, running: bool) -> None:
        """Let nobody go on who had the kept connection until now; let others have it where something is `running`."""
        self._shared.go_on(running)

    def end_level(self) -> None:
        """Undo a layer.

        Raises:
            IsolationError: something was really committed in it.
        """
        with self._shared.lock:
            self._shared.running = False
            self._shared.kept.has_deferred = None  # it may have defined something
            self._undo_test()

    def give_up_level(self, error: Exception) -> None:
        """Throw away what could not be committed to a layer, and the layers with it.

        Args:
            error: why not.

        Raises:
            IsolationError: something was really committed.
        """
        with self._shared.lock:
            if isinstance(error, IsolationError) and self._shared.kept.is_usable():
                self._shared.note_breach(RAW)
                self._recover()
            self._discard()

    def check_level(self) -> None:
        """Look whether the transaction of the layers is as it was, before something is put on them.

        Raises:
            IsolationError: what was done between two tests has ended it.
        """
        with self._shared.lock:
            if not self._shared.kept.is_usable():
                self._discard()
                return
            self._shared.settle(None)
            if self._shared.breaches:
                self._recover()

    def read_sequences(self) -> dict[tuple[str, str], int]:
        """Return what each sequence gives next, by schema and name."""
        return sequences_.read(self._shared.kept.rows)

    def _undo_test(self) -> None:
        shared, kept = self._shared, self._shared.kept
        if kept.is_closed():
            # a killed backend has committed nothing; whoever closes it himself may have (psycopg's `with` block does)
            if not kept.is_broken():
                shared.note_breach("the driver's own connection was closed, which")
            self._discard()
        elif kept.status() == ACTIVE:
            # a statement that a signal broke off (pytest-timeout): who hangs up has committed nothing
            with suppress(Exception):
                kept.cancel()
            self._discard()
        else:
            try:
                shared.send(UNDO_LEVEL if self.layers else kept.undo)
            except Exception as error:
                if kept.is_closed() or sqlstate(error).startswith(("57P", "08")):
                    self._discard()
                elif not shared.breaches:
                    shared.note_breach(RAW)
        if shared.schema_changed:
            shared.schema_changed = False
            kept.has_deferred = None
        if shared.breaches:
            self._recover()

    def _recover(self) -> None:
        """Give the next test a clean database after a real commit, and fail the one that did it."""
        breaches = self._shared.told_breaches()
        self._shared.breaches.clear()
        self.layers.lose(breaches)
        self._discard()
        self._renew()
        raise IsolationError(
            f"{breaches}: what it did was really committed, or lost, and no rollback can undo it. The next test gets a "
            f"database made anew{self.layers.note_of_loss()}. Commit and roll back through the session, connection or engine. "
            f"{REMEDY}"
        )

    # --- what fixtures give

    @contextmanager
    def closing(self, thing: Any) -> Iterator[Any]:
        """Close a session or connection at the end of its fixture, after a last look at its open work.

        Raises:
            sqlalchemy.exc.IntegrityError: it left rows that break a deferred constraint.
        """
        try:
            yield thing
            self._shared.look_at(thing)
        finally:
            self._shared.close_quietly(thing)

    def sessionmaker(self, engine: Engine) -> SessionFactory:
        """Return a factory of sessions for one test."""
        if self._factory is None or not self._factory.may_serve(engine):
            self._factory = SessionFactory(engine)
        return self._factory
