"""Database isolation for engines: a plain one for tests, and one for the sessions of each wider scope."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from . import traits
from .layers import Layer

__all__ = ["PlainEngines"]


class PlainEngines:
    """Engines on the worker's database without any transaction of ours, whose use is noticed.

    Args:
        make: makes one.
        noted: called when one of them is used.
    """

    def __init__(self, make: Callable[[], Any], noted: Callable[[], None]) -> None:
        self._make = make
        self._noted = noted
        self._engine: Any = None
        self._as_made: list[Any] = []
        self.wide: list[Layer] = []
        """The sessions of wider scopes that are open."""

    def _noticed(self) -> Any:
        from sqlalchemy import event

        engine = self._make()
        event.listen(engine, "checkout", lambda *_: self._noted())
        return engine

    # --- for tests

    @contextmanager
    def test(self) -> Iterator[Any]:
        """Give one test an engine; it is the last test's, where that has left it as it was made."""
        if self._engine is None or traits.of_engine(self._engine) != self._as_made:
            self.dispose()
            self._engine = self._noticed()
            self._as_made = traits.of_engine(self._engine)
        yield self._engine

    def clean(self) -> None:
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
            self.dispose()

    def dispose(self) -> None:
        """Let the tests' engine not be connected any more; the next test gets a new one."""
        engine, self._engine = self._engine, None
        if engine is not None:
            with suppress(Exception):
                engine.dispose()

    def dispose_all(self) -> None:
        """Let nothing of ours be connected, sessions of wider scopes included: they connect again."""
        self.dispose()
        for layer in self.wide:
            layer.engine.dispose()

    # --- for fixtures of wider scopes

    @contextmanager
    def layer(self, name: str) -> Iterator[Any]:
        """Give a session for fixtures of a wider scope: what they commit, all tests find until that scope ends."""
        engine = self._noticed()
        layer = Layer(name, engine)
        self.wide.append(layer)
        try:
            yield layer.session
        finally:
            self.wide.remove(layer)
            layer.session.close()
            engine.dispose()


def discard(connection: Any) -> None:
    """Bring a driver's connection back to the state in which it was opened."""
    connection.rollback()
    connection.autocommit = True
    with connection.cursor() as cursor:
        cursor.execute("DISCARD ALL")
    connection.autocommit = False
