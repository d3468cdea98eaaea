"""Connections that the engines of an application make while they lead to its own server."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from sqlalchemy import Engine, event

from .bound_engine import is_bound
from .targets import Target

__all__ = ["connections_told", "engines_of"]


def engines_of(target: Target) -> Iterator[Engine]:
    """Yield the engines that a target is, or is bound to, as far as they are known without a session; none that is bound now."""
    thing = getattr(target.thing, "session_factory", target.thing)
    options = getattr(thing, "kw", {})
    for each in (thing, options.get("bind"), *(options.get("binds") or {}).values()):
        engine = getattr(each, "sync_engine", each)
        if isinstance(engine, Engine) and not is_bound(engine):
            yield engine


@contextmanager
def connections_told(engines: Iterable[Engine], tell: Callable[[Engine], None]) -> Iterator[None]:
    """Tell of each connection that somebody gets, or wants to open, from one of the engines.

    Args:
        engines: those to listen to; they are as before at the end.
        tell: is called with the engine; what it raises, meets who wanted the connection.
    """
    with ExitStack() as stack:
        for engine in dict.fromkeys(engines):
            for name in ("engine_connect", "do_connect"):  # from the pool; and anew, which may fail

                def listener(*_: Any, engine: Engine = engine) -> None:
                    tell(engine)

                event.listen(engine, name, listener)
                stack.callback(event.remove, engine, name, listener)
        yield
