"""Wider scopes in transaction isolation: rows that are set up once, below the savepoint of each test.

    BEGIN ─ rows of a module ─ testbed_level ─ rows of a class ─ testbed_level ─ a test

A layer and a test are the same thing to the kept connection: a level, which is rolled back at its end.
The lowest level is the transaction itself. Between two tests the topmost layer is open for its session;
when a test begins, what the sessions have not committed yet is committed to it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING, Any

from sqlalchemy import Engine, event, inspect
from sqlalchemy.orm import Session, make_transient, make_transient_to_detached, object_session
from sqlalchemy.orm.attributes import set_committed_value

from ..errors import IsolationError
from . import traits
from .statements import CHANGES, DEFINES

if TYPE_CHECKING:
    from .guard import Guard

__all__ = ["Layer", "Layers"]

ARM_LEVEL = "SAVEPOINT testbed_level;SAVEPOINT testbed_0"
UNDO_LEVEL = "ROLLBACK TO SAVEPOINT testbed_level;RELEASE SAVEPOINT testbed_level;DEALLOCATE ALL;SELECT pg_advisory_unlock_all()"


class Layer:
    """One wider scope: its session, and what that knew before the running test."""

    def __init__(self, name: str, engine: Engine) -> None:
        self.name = name
        self.engine = engine
        self.session = Session(engine)
        self._known: list[tuple[Any, tuple[Any, ...]]] = []
        self.sequences: dict[tuple[str, str], int] = {}

    def commit(self) -> None:
        """Commit what the session has open; a failed session has nothing that could be."""
        if self.session.in_transaction():
            if self.session.is_active:
                self.session.commit()
            else:
                self.session.rollback()

    def remember(self) -> None:
        """Note which objects the session has, as a test may add to them and take from them."""
        self._known = [(each, inspect(each).identity) for each in self.session.identity_map.values()]

    def reset(self) -> None:
        """Let the session forget what it has open, whatever state it is in."""
        with suppress(Exception):
            self.session.rollback()
        if self.session.in_transaction():
            with suppress(Exception):
                self.session.close()

    def restore(self) -> None:
        """Let the session have the objects again that it had before the test, and look at their rows anew."""
        before = {id(each) for each, _ in self._known}
        for each in list(self.session):
            if id(each) not in before:
                self.session.expunge(each)
        self.session.expire_all()
        for each, identity in self._known:
            if each not in self.session:
                self._take_back(each, identity)
        self.session.expire_all()
        self._known = []

    def _take_back(self, each: Any, identity: tuple[Any, ...]) -> None:
        """Make an object that the test deleted or let go one of the session's rows again."""
        if (other := object_session(each)) is not None:
            other.expunge(each)
        make_transient(each)
        mapper = inspect(each).mapper
        # what else it holds may lead to objects of the test, which `add` would take along
        for attribute in mapper.attrs:
            each.__dict__.pop(attribute.key, None)
        for column, value in zip(mapper.primary_key, identity, strict=True):
            set_committed_value(each, mapper.get_property_by_column(column).key, value)
        make_transient_to_detached(each)
        self.session.add(each)


class Layers:
    """The open layers below the tests of one guard, lowest first.

    Attributes:
        between: whether the layers' sessions have the kept connection, as no test runs.
        test: what the running test is called, for errors.
        is_needed_later: tells whether tests follow that lie on the layers.
        follows_sequences: whether some test of the run wants to have them set back.

    Args:
        guard: whose kept connection it is.
    """

    def __init__(self, guard: Guard) -> None:
        self._guard = guard
        self._open: list[Layer] = []
        self._engines: dict[str, tuple[Engine, list[Any]]] = {}
        self._lost = ""
        self._setting_up = ""
        self._before: dict[tuple[str, str], int] | None = None
        self.follows_sequences = False
        self.between = False
        self.test = ""
        self.is_needed_later: Callable[[], bool] = lambda: True

    def __bool__(self) -> bool:
        return bool(self._open)

    @property
    def names(self) -> str:
        """The fixtures that have layers open."""
        return " and ".join(layer.name for layer in self._open)

    @property
    def are_lost(self) -> bool:
        """Whether the rows of the open layers are gone."""
        return bool(self._lost)

    @contextmanager
    def open(self, name: str) -> Iterator[Session]:
        """Put a layer on top, and give its session; at the end its rows are undone.

        Raises:
            IsolationError: a test runs, or the layers below have lost their rows, or a narrower one is open already.
        """
        self._refuse_bad_order(name)
        self._guard.begin_level()
        layer = Layer(name, self._engine_for(name))
        self._open.append(layer)
        self.between = True
        try:
            yield layer.session
        finally:
            self._close(layer)

    def _refuse_bad_order(self, name: str) -> None:
        if self._guard.is_test_running:
            raise IsolationError(
                f"{name} was asked for while a test ran: what it would hold would be undone with that test. Name it, or the "
                "fixture that uses it, as an argument of the test (or in pytest.mark.usefixtures), so that pytest sets it up "
                "before the test begins."
            )
        narrower = [layer.name for layer in self._open if (layer.name, name) == ("pg_class_session", "pg_module_session")]
        if narrower and not self._lost:
            raise IsolationError(
                f"{name} was asked for while {narrower[0]} had its rows already, which end before: its own would end with them. "
                f"Let the first test of the class ask for {name} too, or the fixture that uses {narrower[0]}."
            )

    def _close(self, layer: Layer) -> None:
        layer.reset()
        self._open.remove(layer)
        try:
            if not self._lost:
                self._guard.end_level()
        finally:
            layer.session.close()
            self._before = None
            if not self._open:
                self._lost = ""
            self.resume()

    def resume(self) -> None:
        """Give the kept connection to the sessions of the layers that are left, where their rows are."""
        self.between = bool(self._open) and not self._lost
        self._guard.go_on(self.between)

    def _engine_for(self, name: str) -> Engine:
        # not the tests' own: they may put listeners on that
        found = self._engines.get(name)
        if found is None or traits.of_engine(found[0]) != found[1]:
            engine = self._guard.make_engine(wide=True)
            event.listen(engine, "after_cursor_execute", partial(self._refuse_buried, name))
            found = self._engines[name] = (engine, traits.of_engine(engine))
        return found[0]

    def _refuse_buried(self, name: str, connection: Any, cursor: Any, *statement: Any) -> None:
        if self.between and name != self._open[-1].name and (cursor.statusmessage or "").split(" ")[0] in CHANGES | DEFINES:
            raise IsolationError(
                f"{name} was written to while {self._open[-1].name} holds rows above it: these would be undone when that ends. "
                f"Let the first test of the class ask for the fixture that uses {name}, too."
            )

    # --- a test on them

    def settle(self) -> None:
        """Commit to the layers what their sessions have open.

        Raises:
            IsolationError: their rows are gone, or cannot be committed.
        """
        self.refuse_lost()
        if not self.between:
            return
        for layer in self._open:
            try:
                layer.commit()
            except Exception as error:
                reason = f"{layer.name} could not commit what its fixtures left open ({type(error).__name__}: {error})"
                layer.reset()
                if not isinstance(error, IsolationError):
                    self.lose(reason)
                self._guard.give_up_level(error)
                self.refuse_lost(error)
            layer.remember()
        self._guard.check_level()
        self.refuse_lost()
        self._note_sequences()

    def touch(self) -> None:
        """Note what the sequences are before something is done to a layer: tests may have used them since it was made."""
        if self.follows_sequences and self.between and self._before is None:
            self._before = self._guard.read_sequences()

    def _note_sequences(self) -> None:
        if self._before is not None:
            before, self._before = self._before, None
            now = self._guard.read_sequences()
            self._open[-1].sequences.update({name: value for name, value in now.items() if before.get(name) != value})

    def sequences(self) -> dict[tuple[str, str], int]:
        """Return what those sequences that the layers used give next on top of them."""
        return {name: value for layer in self._open for name, value in layer.sequences.items()}

    def refuse_lost(self, cause: Exception | None = None) -> None:
        """Refuse what would lie on layers whose rows are gone.

        Raises:
            IsolationError: they are.
        """
        if self._lost:
            raise IsolationError(
                f"the rows that were set up with {self.names} are gone: {self._lost}. The other tests that lie on them fail, "
                "too, rather than run without them."
            ) from cause

    def lose(self, reason: str) -> None:
        """Say that the layers' transaction has ended; the first reason is the one that is told."""
        self._engines.clear()  # their pools have the connection that is gone
        if self._open and not self._lost:
            self._lost = reason + (f" (in {self.test})" if self.test else "")
            if self.between:
                self.between = False
                self._guard.go_on(False)

    def note_of_loss(self) -> str:
        """Return what is to be said of lost rows, "" where there were none."""
        return f", without the rows of {self.names}, so the tests that lie on them fail" if self._open else ""

    def refuse_keeping(self) -> None:
        """Refuse to commit for real what a failed test has, where others still need the rows below it.

        Raises:
            IsolationError: they do.
        """
        if self._open and self.is_needed_later():
            raise IsolationError(
                f"it lies on the rows of {self.names}, which the tests that follow still need. Run this test alone to keep its "
                "database."
            )

    def reset(self) -> None:
        """Let the sessions forget what they have open, as the test has ended."""
        for layer in reversed(self._open):
            layer.reset()

    def restore(self) -> None:
        """Let the sessions be as before the test, which has been undone by now."""
        for layer in self._open:
            if self._lost:
                layer.session.close()
            else:
                layer.restore()
        self.test = ""
        self.resume()

    def refuse_database(self) -> None:
        """Refuse a test in database isolation, which commits and makes the database anew.

        Raises:
            IsolationError: a layer is open.
        """
        if self._open:
            raise IsolationError(
                f"a test in database isolation cannot run while {self.names} holds rows: they are in a transaction, so it would "
                "not see them, and would lose them for the tests that follow. Move it out of that module or class, or let it "
                "do without the mark."
            )

    def refuse_async(self) -> None:
        """Refuse an async engine, which has a transaction of its own.

        Raises:
            IsolationError: a layer is open.
        """
        if self._open:
            raise IsolationError(
                f"a test with pg_async_engine does not see the rows of {self.names}: they are in a transaction on another "
                "connection. Set them up in database isolation, where the session of a module or class really commits: "
                "pytestmark = pytest.mark.pg(isolation='database')."
            )

    # --- fixtures of wider scopes

    @contextmanager
    def setting_up(self, fixture: str) -> Iterator[None]:
        """Follow the setup of a fixture of a wider scope: a failed one leaves nothing uncommitted behind.

        Args:
            fixture: its name.
        """
        before, self._setting_up = self._setting_up, fixture
        try:
            yield
        except BaseException:
            if self.between:
                self.reset()
            raise
        finally:
            self._setting_up = before

    def check_use(self) -> None:
        """Refuse the use of a wide session by a fixture that outlives the running test.

        Raises:
            IsolationError: it would be undone with the test, and the fixture not; or the rows of the layers are gone.
        """
        self.refuse_lost()
        if self._setting_up and self._guard.is_test_running:
            raise IsolationError(
                f"the fixture {self._setting_up!r} uses {self.names} and was asked for while a test ran: what it does would be "
                "undone with that test, and the tests that follow would have the fixture without its rows. Name it as an "
                "argument of the test (or in pytest.mark.usefixtures), so that pytest sets it up before the test begins."
            )
