"""A session factory that serves one test after another, as long as none of them changed it."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Engine
from sqlalchemy.orm import Session, sessionmaker

__all__ = ["SessionFactory"]


class SessionFactory(sessionmaker[Session]):
    """A `sessionmaker` that knows whether anybody has configured it or put listeners on its sessions.

    SQLAlchemy makes a class of its own for the sessions of each factory, so that listeners can be put on
    it; that class and its first session cost a tenth of a short test.
    """

    def __init__(self, bind: Engine) -> None:
        """Make a factory of sessions on `bind`."""
        self._looked_at = False
        super().__init__(bind)
        self._given = dict(self.kw)

    @property
    def class_(self) -> type[Session]:
        """The class of the sessions; whoever asks for it, as `event.listen` does, may change it."""
        self._looked_at = True
        return self._class

    @class_.setter
    def class_(self, value: type[Session]) -> None:
        """Take the class; `sessionmaker` makes one."""
        self._class = value

    def __call__(self, **local_kw: Any) -> Session:
        """Make a session."""
        looked_at = self._looked_at
        session = super().__call__(**local_kw)
        self._looked_at = looked_at
        return session

    def may_serve(self, bind: Engine) -> bool:
        """Tell whether it is as new, and for this engine."""
        return not self._looked_at and self.kw == self._given and self.kw["bind"] is bind
