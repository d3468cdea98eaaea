"""Database isolation: tests commit for real in the worker's own database, which is put back in place after each."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, NamedTuple

from ..services.doorway import Doorway
from . import traits
from .database import Database, waited_for
from .emptying import CatalogChanged, Emptier
from .layers import Layer
from .strays import CLEANER, Stray, end_prepared, find, prepare

__all__ = ["Aftermath", "RealCommits"]


class Aftermath(NamedTuple):
    """What was found after a test: tables that were not as they were, what was open, whether there is a new database."""

    tables: list[str]
    left: list[str]
    is_renewed: bool = False


NOTHING = Aftermath([], [])


class RealCommits:
    """The worker's database as tests use it that commit for real.

    Args:
        database: the worker's.
        doorway: by which applications reach it; None where no address was given away yet.
    """

    def __init__(self, database: Database, doorway: Doorway | None = None) -> None:
        self._database = database
        self.doorway = doorway
        self._emptier = Emptier(lambda: prepare(database.connect_plainly(CLEANER)))
        self._known: dict[str, str] = {}
        self._layers: list[object] = []
        self._over: list[object] = []
        self._is_lost = False
        self._engine: Any = None
        self._as_made: list[Any] = []
        self._factory: Any = None
        self._is_used = False
        self._keeps = False
        self._wide: list[Layer] = []
        self._seen = 0
        self._ahead = 0.0
        self._began = 0.0
        self._came = 0
        database.noted = self.use
        database.around = self._carry_over

    def open_to(self, doorway: Doorway) -> None:
        """Look after those, too, who come by an address that is given away only now: what it leads to is there already.

        Args:
            doorway: by which they come.
        """
        with waited_for(doorway):
            self.doorway = doorway

    # --- the spans of time

    def use(self) -> None:
        """Note that something of ours has connected."""
        self._is_used = True

    @property
    def was_used(self) -> bool:
        """Whether anybody may have written since the database was put back."""
        return self._is_used or (self.doorway is not None and self.doorway.board.messages != self._seen)

    def begin(self) -> None:
        """Take note that a test begins."""
        if self.was_used or not self._emptier.is_ready:
            self.settle()
        for layer in self._wide:
            layer.remember()
        self._began = time.time() + self._ahead
        self._came = self._seen

    def settle(self, layer: object = None) -> None:
        """Take what was done since the last test for the state that tests begin with: something that outlives them did it.

        Args:
            layer: who has done it, where that will end (`leave`).
        """
        for wide in self._wide:
            wide.commit()
        is_added = self.was_used
        if layer is not None and self._emptier.is_ready:
            self._emptier.push(is_added=is_added)
            self._layers.append(layer)
        else:
            self._emptier.capture(is_added=is_added)
        definitions = self._emptier.definitions()
        if not self._known and not is_added:
            self._known = definitions
        elif is_added and definitions != self._known:
            self._known = definitions
            with self._hushed(), self._moved_out():
                self._emptier.carry_over(self._keep_base)
        self._ahead = self._emptier.clock() - time.time()
        self._note_seen()

    def _keep_base(self) -> None:
        """Keep a copy of the database with the definitions that fixtures have made, to begin with where a test changes them."""
        self._is_lost = not self._database.keep_base()

    def leave(self, layer: object) -> None:
        """Undo what somebody has done who outlived tests and has ended, and take what his end did for what is to be."""
        if layer not in self._layers or not self._emptier.is_ready:
            return
        self._over.append(layer)
        while self._layers and self._layers[-1] in self._over:
            self._over.remove(self._layers.pop())
            self._emptier.pop()
        with self._hushed():
            try:
                self._emptier.restore()
            except CatalogChanged:  # he has left tables behind, or taken his own with him
                self.settle()
            self._note_seen()

    def _note_seen(self) -> None:
        self._is_used = False
        if self.doorway is not None:
            self._seen = self.doorway.board.messages

    def end(self) -> Aftermath:
        """Put the database back, if anybody has used it since `begin`."""
        if self._keeps:
            self._keeps = False
            with self._hushed():
                self._end_strays()
                self._database.set_aside()
            return NOTHING
        if not self.was_used:
            return NOTHING
        late = self.doorway.board.late if self.doorway is not None else 0
        for layer in self._wide:
            layer.reset()
        with self._hushed():
            left = self._end_strays()
            renewed = False
            self._clean_engine()
            try:
                written = self._emptier.restore()
            except CatalogChanged:
                written, renewed = [], True
                self._renew_definitions(left)
            if self.doorway is not None and self.doorway.board.late != late and (ended := self.doorway.end_late(self._came)):
                left.append(
                    f"something of the test went on sending statements after its end (a thread, a task, a process): {len(ended)} "
                    "of its connections were ended"
                )
            self._note_seen()
        for layer in self._wide:
            layer.restore()
        self._is_used = False  # what the sessions of wider scopes have just read
        return Aftermath(self._emptier.tables_among(written), left, renewed)

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
        cursor = self._emptier.cursor()
        strays = find(cursor, self._began)
        told = [stray.describe() for stray in strays if stray.has_written or stray.is_running or stray.holds_locks]
        if strays:
            self._end_all(cursor, strays)
        if names := end_prepared(cursor):
            told.append(f"transactions were prepared and never ended: {', '.join(names)}")
        return told

    def _end_all(self, cursor: Any, strays: list[Stray]) -> None:
        """Undo what is open: behind the back of its connection where that can be done, else with the connection."""
        ended: set[int] = set()
        if self.doorway is not None:
            ended |= set(self.doorway.visits("reset", [stray.pid for stray in strays if not stray.is_running]))
            ended |= set(self.doorway.visits("unlock", [stray.pid for stray in strays if stray.holds_locks]))
        for stray in strays:
            if stray.pid not in ended:
                # waits until it is gone, with its locks
                cursor.execute("SELECT pg_terminate_backend(%s, 5000)", (stray.pid,))

    # --- a new database

    def _renew_definitions(self, left: list[str]) -> None:
        if not self._is_lost:
            self._database.renew()
            return
        self._emptier.recognise()
        left.append(
            "the schema was changed, and no copy of it could be made before, as a connection was open that a fixture has "
            "made: it stays as it is now. Name what makes the schema in testbed_pg_schema, so that it can be brought back"
        )

    def _carry_over(self, replace: Callable[[], None]) -> None:
        """Let a new database take the place of the old one, with all that fixtures of wider scopes have put into it."""
        self._dispose()
        with self._moved_out():
            self._emptier.carry_over(replace)
        self._note_seen()

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

    @contextmanager
    def closing(self, thing: Any) -> Iterator[Any]:
        """Close a session or connection at the end of its fixture."""
        try:
            yield thing
        finally:
            thing.close()

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
