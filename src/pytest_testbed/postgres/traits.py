"""What a test may change of SQLAlchemy's objects that outlive it: listeners, options, attributes.

Rows are undone by a rollback; an object that was changed in this way serves no other test.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import Engine
from sqlalchemy.engine.events import ConnectionEvents, DialectEvents
from sqlalchemy.orm import Session, SessionEvents
from sqlalchemy.pool.events import PoolEvents

__all__ = ["of_engine", "of_session"]


UNHEARD = "testbed_only_listens"
"""What a listener has that makes nobody change his ways."""


def _names(events: type) -> tuple[str, ...]:
    return tuple(name for name, value in vars(events).items() if callable(value) and not name.startswith("_"))


CONNECTION, POOL, DIALECT, SESSION = map(_names, (ConnectionEvents, PoolEvents, DialectEvents, SessionEvents))


def _heard(thing: Any, names: tuple[str, ...]) -> list[tuple[Any, ...]]:
    # a listener of `pg_queries` is on every engine as long as a test lasts, and changes nothing
    return [tuple(each for each in getattr(thing.dispatch, name, ()) if not hasattr(each, UNHEARD)) for name in names]


def of_engine(engine: Engine) -> list[Any]:
    """Return an engine's listeners, with those of its pool and dialect, and its options."""
    listeners = [*_heard(engine, CONNECTION), *_heard(engine.pool, POOL), *_heard(engine.dialect, DIALECT)]
    return [*listeners, engine.get_execution_options(), engine.echo]


def of_session(session: Session) -> list[Any]:
    """Return a session's listeners, those of its class included, and the attributes of its class."""
    return [*_heard(session, SESSION), dict(vars(type(session)))]
