"""What an application has put on its engine, carried over to another pool and dialect."""

from __future__ import annotations

import copy
from collections.abc import Callable
from functools import lru_cache
from importlib import import_module
from typing import Any

from sqlalchemy import event

from .traits import DIALECT, POOL

__all__ = ["Shown", "carried_dialect", "carry_pool_listeners", "heard"]

NOT_CARRIED = ("do_connect",)
"""Nobody connects to the application's own server."""
DUMPS, LOADS = SERIALIZERS = ("_json_serializer", "_json_deserializer")
OF_ONE = ("dispatch", "_type_memos")
"""What a copy of a dialect must not share: its listeners, and what it knows of types, their JSON functions included."""
EXECUTE = ("do_execute", "do_executemany", "do_execute_no_params")


def heard(pool: Any, dialect: Any) -> list[Any]:
    """Return the listeners on a pool and on a dialect."""
    return [tuple(getattr(thing.dispatch, name, ())) for thing, names in ((pool, POOL), (dialect, DIALECT)) for name in names]


def carry_pool_listeners(own: Any, to: Any, *, shielded: bool) -> None:
    """Put on a pool what the application has put on its own.

    Args:
        own: the application's pool.
        to: the one that it gets for a test.
        shielded: whether the connections of `to` are the one that a transaction is kept on.
    """
    for name in POOL:
        for listener in getattr(own.dispatch, name, ()):
            if not _is_of_sqlalchemy(listener):
                event.listen(to, name, _shielded(listener) if shielded else listener)


def copy_pool_listeners(first: Any, to: Any) -> None:
    """Put on a pool all that is on another one of its kind."""
    for name in POOL:
        for listener in getattr(first.dispatch, name, ()):
            event.listen(to, name, listener)


def carried_dialect(dialect: Any, own: Any) -> Any:
    """Return a dialect with what the application has said of its own; the same one where that is nothing.

    Args:
        dialect: that of the test's engine.
        own: the application's.
    """
    listeners = [(name, listener) for name in DIALECT if name not in NOT_CARRIED for listener in getattr(own.dispatch, name, ())]
    serializers = {name: value for name in SERIALIZERS if (value := getattr(own, name, None)) is not None}
    if not listeners and not serializers and (dialect.is_async or not own.is_async):
        return dialect
    carried = copy.copy(dialect)
    for name in OF_ONE:
        vars(carried).pop(name, None)
    for name in DIALECT:
        for listener in getattr(dialect.dispatch, name, ()):
            event.listen(carried, name, listener)
    for name, listener in listeners:
        event.listen(carried, name, listener)
    if own.is_async and not dialect.is_async:
        carried.is_async = True
        vars(carried).update({name: _awaited(getattr(dialect, name)) for name in EXECUTE})
    vars(carried).update(serializers)
    return carried


def _awaited(send: Callable[..., Any]) -> Callable[..., Any]:
    """Let SQLAlchemy see that something was awaited, as it insists on; the driver answers at once."""
    from sqlalchemy.util import await_only
    from sqlalchemy.util.concurrency import in_greenlet

    async def nothing() -> None:
        pass

    def run(*args: Any) -> Any:
        if in_greenlet():
            await_only(nothing())
        return send(*args)

    return run


def adapter(dialect: Any, own: Any) -> Callable[[Any], None] | None:
    """Return what teaches a driver's connection or cursor the application's JSON functions, where the driver has them."""
    loads, dumps = getattr(own, LOADS, None), getattr(own, DUMPS, None)
    if dialect.driver == "psycopg2" and loads is not None:
        from psycopg2.extras import register_default_json, register_default_jsonb

        def register(where: Any) -> None:
            register_default_json(where, loads=loads)
            register_default_jsonb(where, loads=loads)

        return register
    if dialect.driver == "psycopg" and (loads is not None or dumps is not None):
        from psycopg.types.json import set_json_dumps, set_json_loads

        def adapt(where: Any) -> None:
            if loads is not None:
                set_json_loads(loads, where)
            if dumps is not None:
                set_json_dumps(dumps, where)

        return adapt
    return None


def let_await(connection: Any) -> None:
    """Give the cursors of a synchronous driver's connection what SQLAlchemy awaits on those of an async engine."""
    for name in ("cursor_factory", "server_cursor_factory"):
        if hasattr(connection, name):
            own = getattr(connection, name) or import_module("psycopg2.extensions").cursor
            if not issubclass(own, _Awaited):
                setattr(connection, name, _awaited_class(own))


class _Awaited:
    __slots__ = ()

    async def _async_soft_close(self) -> None:
        """Do nothing: the driver has all rows already."""


@lru_cache
def _awaited_class(own: Any) -> Any:
    return type(own.__name__, (_Awaited, own), {"__module__": own.__module__})


def _is_of_sqlalchemy(listener: Any) -> bool:
    """Tell whether `create_engine` has put a listener there, by itself or in a wrapper that lets it be heard once."""
    closure: tuple[Any, ...] = getattr(listener, "__closure__", None) or ()
    inner = [getattr(cell, "cell_contents", None) for cell in closure]
    return any(str(getattr(each, "__module__", "")).startswith("sqlalchemy.engine.") for each in (listener, *inner))


def _shielded(listener: Callable[..., Any]) -> Callable[..., Any]:
    def shown(connection: Any, *rest: Any) -> Any:
        return listener(None if connection is None else Shown(connection), *rest)

    return shown


class Shown:
    """A driver's connection as the application's listeners see it: commits of theirs must not end the test's transaction.

    Such a listener makes a connection ready (a search path, a time zone), and commits so that it stays.
    """

    def __init__(self, connection: Any) -> None:
        vars(self).update(_connection=connection, autocommit=False)

    @property  # type: ignore[misc]
    def __class__(self) -> Any:  # for those who look which driver it is
        return type(self._connection)

    def commit(self) -> None:
        """Do nothing."""

    def rollback(self) -> None:
        """Do nothing."""

    def __enter__(self) -> Shown:
        return self

    def __exit__(self, *error: object) -> None:
        return None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._connection, name)
