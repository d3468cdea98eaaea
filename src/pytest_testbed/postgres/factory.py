"""A session factory that serves one test after another, as long as none of them changed it."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Engine
from sqlalchemy.orm import Session, sessionmaker

from . import traits

__all__ = ["SessionFactory"]


class SessionFactory(sessionmaker[Session]):
    """A `sessionmaker` that knows whether it is as new.

    SQLAlchemy makes a class of its own for the sessions of each factory, so that listeners can be put on
    it; that class and its first session cost a tenth of a short test.
    """

    def __init__(self, bind: Engine) -> None:
        """Make a factory of sessions on `bind`."""
        super().__init__(bind)
        self._as_made: list[Any] = []
        self._probe = self()  # never used for more than the listeners of its class
        self._as_made = self._traits()

    def _traits(self) -> list[Any]:
        return [len(vars(self)), self.class_, dict(self.kw), *traits.of_session(self._probe)]

    def may_serve(self, bind: Engine) -> bool:
        """Tell whether nobody has configured it, or put listeners or attributes on it or its sessions; and it is for `bind`."""
        return self.kw["bind"] is bind and self._traits() == self._as_made
