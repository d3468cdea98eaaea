"""The state of the database that tests begin with: what fixtures that outlive tests add to it, and how it comes back.

Rows come back in place (`emptying`). Definitions do not: where a test has changed them, a new database takes the place
of the old one, as a copy of one that has them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

from ..services.doorway import Doorway
from .database import Database
from .emptying import CatalogChanged, Emptier
from .leavings import UNMET
from .plain import PlainEngines
from .waiting import hushed, waited_for

__all__ = ["Foundation"]


class Below(NamedTuple):
    """What was known of the database before something that outlives tests has added to it."""

    layer: object
    definitions: dict[str, str]
    base: str
    is_lost: bool


class Foundation:
    """What is below each test, in layers: each belongs to somebody who will end, and goes with him.

    Args:
        database: the worker's.
        emptier: what keeps its rows.
        engines: ours on it, which must not be connected while it is copied or replaced.
        doorway: by which applications reach it; None where they do not.
    """

    def __init__(self, database: Database, emptier: Emptier, engines: PlainEngines, doorway: Doorway | None) -> None:
        self._database = database
        self._emptier = emptier
        self._engines = engines
        self._doorway = doorway
        self._known: dict[str, str] = {}
        """The definitions."""
        self._is_lost = False
        """Whether no copy could be made that has them: a new database would lack what fixtures have made."""
        self._layers: list[Below] = []
        self._over: list[object] = []
        """Who has ended, while somebody above him has not."""

    def is_dropped(self) -> bool:
        """Whether somebody has dropped the database: a suite may make its own at the beginning, and drop it at the end."""
        if not self._emptier.is_ready or not self._emptier.has_ended() or self._database.is_there():
            return False
        self._emptier.note_drop()
        return True

    # --- what is added to it

    def take(self, layer: object, *, is_added: bool) -> None:
        """Take the rows as they are now for those that tests begin with.

        Args:
            layer: whose they are, until he ends (`leave`); None where they stay.
            is_added: whether there may be something that a new database of the worker does not have.
        """
        if layer is not None and self._emptier.is_ready:
            self._emptier.push(is_added=is_added)
            self._layers.append(Below(layer, self._known, self._database.base, self._is_lost))
        else:
            self._emptier.capture(is_added=is_added)

    def take_definitions(self, *, is_added: bool) -> None:
        """Do the same with the definitions; where they are new, a copy of the database is kept that has them.

        Args:
            is_added: as for `take`.
        """
        definitions = self._emptier.definitions()
        if not self._known and not is_added:
            self._known = definitions
        elif is_added and definitions != self._known:
            self._known = definitions
            self._engines.dispose_all()  # a database that anybody is connected to cannot be copied
            with hushed(self._doorway), self._moved_out():
                self._keep_definitions()

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

    def leave(self, layer: object) -> bool:
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

    # --- how it comes back

    def restore(self, left: list[str]) -> list[str] | None:
        """Put the database back; return what was not as it was, None where there is a new database, or should be.

        Args:
            left: gets what there is to tell.
        """
        try:
            return self._emptier.restore()
        except CatalogChanged:
            self._restore_definitions(left)
            return None

    def _restore_definitions(self, left: list[str]) -> None:
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

    def mend(self) -> None:
        """Make the database anew, as an earlier attempt to put it back has failed."""
        if not self._emptier.is_ready:
            self._layers.clear()
        if self._is_lost and self._emptier.is_ready and not (self.is_dropped() or self._emptier.is_dropped):
            self.restore([])  # a new one would lack what fixtures have made
        else:
            self._renew()

    def _renew(self) -> None:
        """Make the database anew; what fixtures had made in one that was dropped is gone, so there is nothing to wait for."""
        if self._emptier.is_dropped:
            self._is_lost = False
            self._layers = [below._replace(is_lost=False) for below in self._layers]
        self._database.renew()

    def carry_over(self, replace: Callable[[], None]) -> None:
        """Let a new database take the place of the old one, with all that fixtures of wider scopes have put into it."""
        self._engines.dispose_all()
        with self._moved_out():
            self._emptier.carry_over(replace)

    def _bound(self) -> list[str]:
        """Return those who did not move out, each with what it would have lost."""
        return self._doorway.bound() if self._doorway is not None else []

    @contextmanager
    def _moved_out(self) -> Iterator[None]:
        """Let nobody be connected to the database, and bring applications back unseen to the one that takes its place."""
        if self._doorway is None:
            yield
            return
        with waited_for(self._doorway):
            yield
