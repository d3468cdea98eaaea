"""The objects of an application that lead to a database, pointed at the engine of the test that runs.

An engine is changed itself (see bound_engine.py). Of a session factory the engines are that it is bound
to, or that its sessions' own `get_bind` finds; one that is bound to nothing gets an engine for the time
of the test. Everything is given back as it was.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from functools import lru_cache
from typing import Any
from weakref import WeakKeyDictionary, WeakSet

from sqlalchemy import Engine, create_engine, event
from sqlalchemy.orm import Session, sessionmaker

from ..errors import TestbedWarning
from .bound_engine import Lane, Route, is_bound, swapped
from .pool import GuardedPool
from .targets import Target, bind_of, is_flask_extension

__all__ = ["Binder"]


class Binder:
    """Binds an application's objects for one test after another.

    Args:
        targets: the objects.
        driver: "psycopg2" or "psycopg", for factories that are bound to nothing.
    """

    def __init__(self, targets: Sequence[Target], driver: str) -> None:
        self._targets = targets
        self._driver = driver
        self._lanes: WeakKeyDictionary[Engine, Lane] = WeakKeyDictionary()
        self._stand_ins: dict[bool, Any] = {}
        self._sessions: WeakSet[Session] = WeakSet()
        event.listen(Session, "after_begin", self._begun)

    def close(self) -> None:
        """Take our listener off SQLAlchemy's sessions."""
        event.remove(Session, "after_begin", self._begun)

    @contextmanager
    def bound(self, provide: Callable[[], Engine]) -> Iterator[None]:
        """Let all objects lead to one test's engine.

        Args:
            provide: returns that engine; called when somebody first connects, from whichever thread.
        """
        with ExitStack() as stack:
            test = OneTest(self, Route(provide), stack)
            for target in self._targets:
                test.bind(target)
            try:
                yield
            finally:
                self._close_sessions()

    def _begun(self, session: Session, transaction: object, connection: Any) -> None:
        if is_bound(connection.engine):
            self._sessions.add(session)

    def _close_sessions(self) -> None:
        """Close what the application has left open, so that it begins anew in the next test."""
        if not self._sessions:
            return
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", TestbedWarning)
            for session in list(self._sessions):
                with suppress(Exception):
                    session.close()
        self._sessions.clear()

    def lane(self, engine: Engine) -> Lane:
        """Return what an engine shows while it is bound."""
        return self._lanes.setdefault(engine, Lane())

    def stand_in(self, is_async: bool) -> Any:
        """Return an engine for a factory that has none."""
        if is_async not in self._stand_ins:
            engine = create_engine(f"postgresql+{self._driver}://", creator=_nowhere)
            if is_async:
                from sqlalchemy.ext.asyncio import AsyncEngine

                engine.dialect.is_async = True
                self._stand_ins[True] = AsyncEngine(engine)
            else:
                self._stand_ins[False] = engine
        return self._stand_ins[is_async]


def _nowhere() -> Any:
    raise AssertionError("an engine that stands in for none was used outside of a test")


class OneTest:
    """What is bound for one test.

    Args:
        binder: what outlives it.
        route: the way to the test's engine.
        stack: gets what is to be undone.
    """

    def __init__(self, binder: Binder, route: Route, stack: ExitStack) -> None:
        self._binder = binder
        self._route = route
        self._stack = stack

    def bind(self, target: Target) -> None:
        """Bind one object."""
        thing = target.thing
        if is_flask_extension(thing):
            self._flask_extension(thing, target.key)
        elif hasattr(thing, "session_factory"):
            self._scoped(thing, target.found_bind)
        elif hasattr(thing, "kw"):
            self._factory(thing, target.found_bind)
        else:
            self.engine(thing)

    def engine(self, thing: Any) -> None:
        """Let an engine lead to the test's; nothing happens where it does so, or is the test's."""
        engine: Engine = getattr(thing, "sync_engine", thing)
        if not is_bound(engine) and not isinstance(engine.pool, GuardedPool):
            self._stack.enter_context(swapped(engine, self._binder.lane(engine), self._route))

    # --- session factories

    def _factory(self, factory: Any, found: object) -> None:
        """Bind what a factory's sessions connect to; who has bound it to something else since it was found, has his way."""
        saved = dict(factory.kw)
        self._stack.callback(_restore, factory.kw, saved)
        if bind_of(factory) is not found:
            return
        self._custom_get_bind(factory)
        if _is_engine(found):
            self.engine(found)
        else:
            factory.configure(bind=self._stand_in(factory))
        for each in (saved.get("binds") or {}).values():
            if _is_engine(each):
                self.engine(each)

    def _stand_in(self, factory: Any) -> Any:
        asyncio = sys.modules.get("sqlalchemy.ext.asyncio")
        engine = self._binder.stand_in(asyncio is not None and isinstance(factory, asyncio.async_sessionmaker))
        self.engine(engine)
        return engine

    def _custom_get_bind(self, factory: Any) -> None:
        """Bind also the engines that a `get_bind` of the application's own finds."""
        key = "sync_session_class"
        asynchronous = not issubclass(factory.class_, Session)
        own = factory.kw.get(key, factory.class_.sync_session_class) if asynchronous else factory.class_
        if own.get_bind is Session.get_bind:
            return
        bound = type(own.__name__, (own,), {"get_bind": self._finding(own.get_bind), "__module__": own.__module__})
        if asynchronous:
            factory.configure(**{key: bound})
        else:
            self._stack.callback(setattr, factory, "class_", own)
            factory.class_ = bound

    def _finding(self, get_bind: Callable[..., Any]) -> Callable[..., Any]:
        def found(session: Session, *args: Any, **more: Any) -> Any:
            engine = get_bind(session, *args, **more)
            # what a session was given by hand is somebody's own choice
            if isinstance(engine, Engine) and engine is not session.bind:
                self._under_way(engine)
            return engine

        return found

    def _scoped(self, scoped: Any, found: object) -> None:
        """Bind the factory of a registry, which begins and ends the test without a session in this scope."""
        _remove(scoped)
        if isinstance(scoped.session_factory, sessionmaker) or hasattr(scoped.session_factory, "kw"):
            self._factory(scoped.session_factory, found)
        self._stack.callback(_remove, scoped)

    # --- Flask-SQLAlchemy

    def _flask_extension(self, db: Any, key: str | None) -> None:
        """Bind the engines with this bind key of whatever application is the current one."""
        _remove(db.session)
        self._stack.callback(_remove, db.session)
        if KEYS not in vars(db):
            own: Any = type(db)
            self._stack.callback(_release, db, own)
            vars(db)[KEYS] = {}
            db.__class__ = extension_class(own)
        vars(db)[KEYS][key] = self._under_way

    def _under_way(self, engine: Engine) -> None:
        with self._route.lock:
            self.engine(engine)


KEYS = "_testbed_keys"
"""The attribute that a Flask extension has while it is bound: for each bind key, what binds an engine."""


@lru_cache(maxsize=32)
def extension_class(own: Any) -> Any:
    """Return the class for Flask extensions of a class: it knows when an engine is asked for, of whichever application."""

    class Bound(own):  # type: ignore[misc]
        @property
        def engines(self) -> Any:
            engines = super().engines
            for key, bind in vars(self)[KEYS].items():
                if key in engines:
                    bind(engines[key])
            return engines

    Bound.__name__, Bound.__qualname__, Bound.__module__ = own.__name__, own.__qualname__, own.__module__
    return Bound


def _release(db: Any, own: type) -> None:
    db.__class__ = own
    vars(db).pop(KEYS, None)


def _is_engine(thing: object) -> bool:
    asyncio = sys.modules.get("sqlalchemy.ext.asyncio")
    return isinstance(thing, Engine) or (asyncio is not None and isinstance(thing, asyncio.AsyncEngine))


def _restore(kw: dict[str, Any], saved: dict[str, Any]) -> None:
    kw.clear()
    kw.update(saved)


def _remove(scoped: Any) -> None:
    """Take the session of the current scope out of a registry."""
    with suppress(Exception):  # no scope: no application context, no running loop
        if scoped.registry.has():
            session = scoped.registry()
            getattr(session, "sync_session", session).close()
            scoped.registry.clear()
