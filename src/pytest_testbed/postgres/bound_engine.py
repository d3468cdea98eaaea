"""An engine of an application that leads to another engine for the time of one test.

The object itself is changed, as others may have imported it by name: it gets a class whose properties
stand before what the instance has, and its own class back afterwards. Its listeners, options and open
connections are not touched.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import lru_cache, partial
from threading import RLock
from typing import Any, NamedTuple

from sqlalchemy import Connection, Engine, event
from sqlalchemy.pool import QueuePool
from sqlalchemy.util.concurrency import in_greenlet

from ..errors import IsolationError
from .listeners import adapter, carried_dialect, carry_pool_listeners, copy_pool_listeners, heard, let_await
from .pool import GuardedPool

__all__ = ["BoundEngine", "Lane", "Route", "is_bound", "swapped"]

LANE = "_testbed_lane"
"""The attribute that an engine has while it is bound."""
DEFAULT_LEVEL = "default_isolation_level"
LEVELS = (None, "READ COMMITTED", "READ UNCOMMITTED")
"""Isolation levels that the transaction of a test can offer."""


class Route:
    """The way to the engine of the running test, which is asked for when somebody first connects.

    Args:
        provide: returns it; called once, from whichever thread.
    """

    def __init__(self, provide: Callable[[], Engine]) -> None:
        self._provide = provide
        self._engine: Engine | None = None
        self.lock = RLock()

    def engine(self) -> Engine:
        """Return the test's engine.

        Raises:
            IsolationError: it is an engine of the application itself.
        """
        with self.lock:
            if self._engine is None:
                engine = self._provide()
                if is_bound(engine):
                    raise IsolationError(
                        "pg_engine is overridden and gives an engine that testbed_pg_bind points at pg_engine. "
                        "Drop one of the two."
                    )
                self._engine = engine
            return self._engine


class Side(NamedTuple):
    """What a bound engine shows in place of its own."""

    engine: Engine
    pool: Any
    dialect: Any
    carried: list[Any]
    as_made: list[Any]


class Lane:
    """What one engine of the application shows while it is bound; kept from test to test, as making it costs.

    `begun` tells whether the running test has used it.
    """

    def __init__(self) -> None:
        self._route: Route | None = None
        self._own: Any = None
        self._side: Side | None = None
        self._lent: Any = None
        self.begun = False

    def open(self, route: Route, engine: Engine) -> None:
        """Lead to the engine of a new test.

        Args:
            route: the way there.
            engine: the application's, not bound yet.
        """
        self._route, self._own = route, (engine.pool, engine.dialect, engine.get_execution_options().get("isolation_level"))
        self.begun = False

    def close(self) -> None:
        """End with the test; connections of a pool that was its own are closed."""
        side = self._side
        if side is not None and not isinstance(side.pool, GuardedPool):
            if side.pool is not side.engine.pool:
                side.pool.dispose()
            self._side = None
        if self._lent is not None:
            del vars(self._lent)[DEFAULT_LEVEL]
        self._route = self._own = self._lent = None
        self.begun = False

    def side(self) -> Side:
        """Return what leads to the test's engine.

        Raises:
            IsolationError: the application's engine wants what the isolation cannot offer.
        """
        side, route = self._side, self._route
        if side is not None and self.begun:
            return side
        if route is None:
            raise IsolationError("an engine of the application was used by a thread that its test had left behind.")
        engine = route.engine()
        with route.lock:
            if not self.begun:
                self._refuse(engine)
                if self._side is None or not self._may_serve(self._side, engine):
                    self._side = self._made(engine)
                self.begun = True
        assert self._side is not None
        return self._side

    def _refuse(self, engine: Engine) -> None:
        _, own, chosen = self._own
        level = chosen or getattr(own, "_on_connect_isolation_level", None)
        if engine.dialect.is_async and not own.is_async and not in_greenlet():
            raise IsolationError(
                "a synchronous engine of the application connected in a test with pg_async_engine, which in transaction "
                "isolation has the only connection, and that one needs to be awaited. Call this part of the application by "
                "`await pg_async_session.run_sync(…)`, or use database isolation: @pytest.mark.pg(isolation='database')."
            )
        if isinstance(engine.pool, GuardedPool):
            if chosen is not None or level not in LEVELS:
                raise IsolationError(
                    f"the application's engine has the isolation level {level}, which cannot be had inside the test's "
                    "transaction. Use database isolation for such a test: @pytest.mark.pg(isolation='database')."
                )
        elif chosen is not None and own.driver != engine.driver:
            raise IsolationError(
                f"the application's engine has execution_options(isolation_level={level!r}) in terms of its driver {own.driver}, "
                f"and the test's engine has {engine.driver} (testbed_pg_driver). Say it in create_engine(isolation_level=...)."
            )

    def _may_serve(self, side: Side, engine: Engine) -> bool:
        pool, dialect, _ = self._own
        return side.engine is engine and side.carried == heard(pool, dialect) and side.as_made == heard(side.pool, side.dialect)

    def _made(self, engine: Engine) -> Side:
        own_pool, own_dialect, _ = self._own
        with engine.connect():
            pass  # its dialect knows the server now, and so will its copy
        if self._own[2] is not None and DEFAULT_LEVEL not in vars(own_dialect):
            # which it learns when it first connects, and needs to end with the level that its engine wants
            vars(own_dialect)[DEFAULT_LEVEL], self._lent = vars(engine.dialect)[DEFAULT_LEVEL], own_dialect
        dialect = carried_dialect(engine.dialect, own_dialect)
        prepare = let_await if own_dialect.is_async and not engine.dialect.is_async else None
        pool = self._made_pool(engine.pool, own_pool, prepare, adapter(engine.dialect, own_dialect))
        if (level := getattr(own_dialect, "_on_connect_isolation_level", None)) and not isinstance(pool, GuardedPool):
            event.listen(pool, "connect", lambda connection, record: dialect.set_isolation_level(connection, level))
        return Side(engine, pool, dialect, heard(own_pool, own_dialect), heard(pool, dialect))

    def _made_pool(self, pool: Any, own: Any, prepare: Callable[[Any], None] | None, adapt: Callable[[Any], None] | None) -> Any:
        if isinstance(pool, GuardedPool):
            sibling = pool.sibling(prepare, adapt)
            copy_pool_listeners(pool, sibling)
            sibling.own_listeners = len(sibling.dispatch.connect)
            carry_pool_listeners(own, sibling, shielded=True)
            return sibling
        if isinstance(pool, QueuePool):  # any other one may be somebody's own way to keep tests apart
            pool = pool.recreate()
            for each in filter(None, (prepare, adapt)):
                event.listen(pool, "connect", partial(_prepared, each))
            carry_pool_listeners(own, pool, shielded=False)
        return pool

    def replace_pool(self, pool: Any) -> None:
        """Take another pool, as `Engine.dispose` makes one."""
        with self._route.lock if self._route is not None else RLock():
            if self._side is not None:
                self._side = self._side._replace(pool=pool)


def _prepared(prepare: Callable[[Any], None], connection: Any, record: Any) -> None:
    prepare(connection)


class BoundEngine(Engine):
    """What stands before an engine's own class while it is bound.

    Its instance keeps what it had; only what leads to a server is another's.
    """

    @property
    def pool(self) -> Any:
        """The pool on the test's engine."""
        return vars(self)[LANE].side().pool

    @pool.setter
    def pool(self, pool: Any) -> None:
        """Take another one for the rest of the test, as `Engine.dispose` makes it."""
        vars(self)[LANE].replace_pool(pool)

    @property
    def dialect(self) -> Any:  # type: ignore[override]
        """The dialect of the test's engine."""
        return vars(self)[LANE].side().dialect

    @property
    def url(self) -> Any:  # type: ignore[override]
        """The test's database."""
        return vars(self)[LANE].side().engine.url

    @property
    def _connection_cls(self) -> type[Connection]:  # type: ignore[override]
        return BoundConnection

    def dispose(self, close: bool = True) -> None:
        """Dispose of the pool on the test's engine, if it is in use; the application's own one is left alone."""
        lane = vars(self).get(LANE)
        if lane is None or lane.begun:
            Engine.dispose(self, close)
        else:
            self.dispatch.engine_disposed(self)

    def __repr__(self) -> str:
        lane = vars(self).get(LANE)
        url = lane.side().engine.url if lane is not None and lane.begun else vars(self)["url"]
        return f"Engine({url!r})"


class BoundConnection(Connection):
    """A connection of a bound engine: who listens on the test's engine hears of it as well."""

    def __init__(self, engine: Engine, *args: Any, **more: Any) -> None:
        super().__init__(engine, *args, **more)
        lane = vars(engine).get(LANE)
        if lane is not None and lane.side().engine._has_events:
            dispatch: Any = self.dispatch
            with suppress(NotImplementedError):  # it hears of another engine itself
                self.dispatch = dispatch.local._join(lane.side().engine.dispatch._join(engine.dispatch))
                self._has_events = True


@lru_cache(maxsize=32)
def bound_class(own: Any) -> Any:
    """Return the class for engines of a class."""
    # a second base would be another layout to Python, and no object can change to that
    names = {name: value for name, value in vars(BoundEngine).items() if name not in ("__dict__", "__weakref__", "dispatch")}
    return type(f"Bound{own.__name__}", (own,), names)


def is_bound(engine: object) -> bool:
    """Tell whether an engine, or the one that it was made from by `execution_options`, leads elsewhere now."""
    while engine is not None and LANE not in vars(engine):
        engine = getattr(engine, "_proxied", None)
    return engine is not None


@contextmanager
def swapped(engine: Engine, lane: Lane, route: Route) -> Iterator[None]:
    """Let an engine lead to the test's, and give it back as it was."""
    own: Any = engine.__class__
    engine.dispatch  # noqa: B018 - made for its own class
    lane.open(route, engine)
    vars(engine)[LANE] = lane
    engine.__class__ = bound_class(own)
    try:
        yield
    finally:
        engine.__class__ = own
        vars(engine).pop(LANE, None)
        lane.close()
