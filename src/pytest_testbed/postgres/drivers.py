"""What is sent by a driver that is used alone: psycopg, psycopg2, asyncpg.

Methods of their classes are replaced as long as somebody records. What SQLAlchemy sends through them is known
from its events, and what this plugin sends is nobody's business; so it counts who calls. A driver's own calls
lead through methods of its own: the first frame that is not the driver's tells.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import ExitStack
from functools import lru_cache, partial
from typing import Any

from .methods import (
    Driver,
    Kind,
    Spoken,
    async_context,
    async_generator,
    context,
    coroutine,
    generator,
    plain,
    size_of,
    swap,
)

__all__ = ["listen_to_asyncpg", "listen_to_psycopg", "listen_to_psycopg2"]

# --- cursors, as PEP 249 has them


def _given(args: tuple[Any, ...], kwargs: dict[str, Any], at: int, *names: str) -> Any:
    return args[at] if len(args) > at else next((kwargs[name] for name in names if name in kwargs), None)


def _one(self: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Spoken:
    return _given(args, kwargs, 0, "query", "statement", "sql"), _given(args, kwargs, 1, "params", "vars"), 1


def _many(self: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Spoken:
    sets = _given(args, kwargs, 1, "params_seq", "vars_list")
    size = size_of(sets)
    return _given(args, kwargs, 0, "query"), None if size is None else sets, size


def _of_cursor(self: Any, result: object) -> int | None:
    rows: int = self.rowcount
    return rows


# --- psycopg


def listen_to_psycopg(stack: ExitStack) -> None:
    """Listen to all cursors of psycopg, also on connections that are open already."""
    import psycopg

    driver = Driver("psycopg", frozenset(["psycopg", "psycopg_pool"]))
    one, many = Kind(driver, _one, _of_cursor), Kind(driver, _many, _of_cursor)
    kinds = {"execute": one, "executemany": many, "stream": one, "copy": one}
    sync = {"execute": plain, "executemany": plain, "stream": generator, "copy": context}
    later = {"execute": coroutine, "executemany": coroutine, "stream": async_generator, "copy": async_context}
    cursors = {
        psycopg.Cursor: sync,
        psycopg.ServerCursor: sync,
        psycopg.AsyncCursor: later,
        psycopg.AsyncServerCursor: later,
    }
    for owner, wrappers in cursors.items():
        for name, wrap in wrappers.items():
            if name in vars(owner):
                swap(stack, owner, name, wrap(vars(owner)[name], kinds[name]))


# --- asyncpg


def _spread(self: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Spoken:
    return _given(args, kwargs, 0, "query"), args[1:], 1


def _command(self: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Spoken:
    sets = _given(args, kwargs, 1, "args")
    size = size_of(sets)
    return _given(args, kwargs, 0, "command", "query"), None if size is None else sets, size


def _copied(self: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Spoken:
    return args[0], None, 1


def _copied_records(self: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Spoken:
    columns = kwargs.get("columns")
    schema = f"{kwargs['schema_name']}." if kwargs.get("schema_name") else ""
    listed = f" ({', '.join(columns)})" if columns else ""
    return f"COPY {schema}{_given(args, kwargs, 0, 'table_name')}{listed} FROM STDIN (FORMAT binary)", None, 1


def _prepared(self: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Spoken:
    return self.get_query(), args, 1


def _prepared_many(self: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Spoken:
    return _command(self, (self.get_query(), *args), kwargs)


def _of_records(self: Any, records: Any) -> int | None:
    return len(records)


def _of_record(self: Any, record: Any) -> int | None:
    return int(record is not None)


def _of_status(self: Any, status: Any) -> int | None:
    """Read the last word of a command tag, such as INSERT 0 1."""
    last = status.rpartition(" ")[2] if isinstance(status, str) else ""
    return int(last) if last.isdigit() else None


def _unknown(self: Any, result: object) -> int | None:
    return None


def listen_to_asyncpg(stack: ExitStack) -> None:
    """Listen to all connections and prepared statements of asyncpg, also to those that are there already."""
    from asyncpg.connection import Connection
    from asyncpg.prepared_stmt import PreparedStatement

    packages = frozenset(["asyncpg"])
    # BEGIN and COMMIT, resets and looks at types come from its other files; a pool's calls are its user's
    driver = Driver("asyncpg", packages, passing=frozenset(["asyncpg.pool"]))
    of_connections = {
        "execute": Kind(driver, _spread, _of_status),
        "executemany": Kind(driver, _command, _unknown),
        "fetch": Kind(driver, _spread, _of_records),
        "fetchval": Kind(driver, _spread, _unknown),
        "fetchrow": Kind(driver, _spread, _of_record),
        "fetchmany": Kind(driver, _command, _of_records),
        "copy_records_to_table": Kind(driver, _copied_records, _of_status),
        # where the statements of the other ways to copy have been made
        "_copy_in": Kind(Driver("asyncpg", packages), _copied, _of_status),
        "_copy_out": Kind(Driver("asyncpg", packages), _copied, _of_status),
    }
    of_statements = {
        "fetch": Kind(driver, _prepared, _of_records),
        "fetchval": Kind(driver, _prepared, _unknown),
        "fetchrow": Kind(driver, _prepared, _of_record),
        "fetchmany": Kind(driver, _prepared_many, _of_records),
        "executemany": Kind(driver, _prepared_many, _unknown),
    }
    for owner, kinds in ((Connection, of_connections), (PreparedStatement, of_statements)):
        for name, kind in kinds.items():
            if name in vars(owner):
                swap(stack, owner, name, coroutine(vars(owner)[name], kind))
    swap(stack, Connection, "cursor", plain(vars(Connection)["cursor"], Kind(driver, _spread, _unknown)))
    swap(stack, PreparedStatement, "cursor", plain(vars(PreparedStatement)["cursor"], Kind(driver, _prepared, _unknown)))


# --- psycopg2, whose classes are compiled: while somebody records, connections are made of classes that listen

PSYCOPG2 = Driver("psycopg2", frozenset(["psycopg2"]))


def listen_to_psycopg2(stack: ExitStack) -> None:
    """Listen to connections of psycopg2 that are opened from now on; those that are open already stay as they are."""
    import psycopg2

    inner = psycopg2._connect

    def connect(dsn: Any, connection_factory: Any = None, **more: Any) -> Any:
        factory = connection_factory or psycopg2.extensions.connection
        if isinstance(factory, type) and not _is_plugin(sys._getframe(1)):
            connection_factory = _listening_connection(factory)
        return inner(dsn, connection_factory=connection_factory, **more)

    swap(stack, psycopg2, "_connect", connect)


def _is_plugin(frame: Any) -> bool:
    while frame is not None and frame.f_globals.get("__name__", "").partition(".")[0] in PSYCOPG2.packages:
        frame = frame.f_back
    return frame is not None and frame.f_globals.get("__name__", "").partition(".")[0] == "pytest_testbed"


@lru_cache(maxsize=50)
def _listening_connection(factory: Any) -> Any:
    """Return a class of connections like `factory`, whose cursors listen."""
    from psycopg2 import extensions

    def cursor(self: Any, *args: Any, **kwargs: Any) -> Any:
        wanted = _given(args, kwargs, 1, "cursor_factory") or self.cursor_factory or extensions.cursor
        if isinstance(wanted, type) and issubclass(wanted, extensions.cursor):
            args, kwargs = args[:1], {**dict(zip(("scrollable", "withhold"), args[2:], strict=False)), **kwargs}
            kwargs["cursor_factory"] = _listening_cursor(wanted)
        return extensions.connection.cursor(self, *args, **kwargs)

    # at the bottom, right above the compiled class: the factory's own methods come first, and may choose another cursor
    bottom = type("connection", (extensions.connection,), {"cursor": cursor, "__module__": "psycopg2.extensions"})
    return _above(bottom, factory, extensions.connection)


@lru_cache(maxsize=50)
def _listening_cursor(factory: Any) -> Any:
    from psycopg2 import extensions

    reads: dict[str, Callable[..., Spoken]] = {
        "execute": _one,
        "executemany": _many,
        "copy_expert": _copied_by_file,
        "copy_from": partial(_copied_table, "FROM STDIN"),
        "copy_to": partial(_copied_table, "TO STDOUT"),
        "callproc": _called,
    }
    methods = {name: plain(getattr(extensions.cursor, name), Kind(PSYCOPG2, read, _of_cursor)) for name, read in reads.items()}
    bottom = type("cursor", (extensions.cursor,), {**methods, "__module__": "psycopg2.extensions"})
    return _above(bottom, factory, extensions.cursor)


def _above(bottom: Any, factory: Any, base: Any) -> Any:
    if factory is base:
        return bottom
    return type(factory.__name__, (factory, bottom), {"__module__": factory.__module__, "__doc__": factory.__doc__})


def _copied_by_file(self: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Spoken:
    return _given(args, kwargs, 0, "sql"), None, 1


def _copied_table(direction: str, self: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Spoken:
    columns = kwargs.get("columns")
    listed = f" ({', '.join(columns)})" if columns else ""
    return f"COPY {_given(args, kwargs, 1, 'table')}{listed} {direction}", None, 1


def _called(self: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Spoken:
    parameters = _given(args, kwargs, 1, "parameters")
    places = ", ".join(["%s"] * len(parameters or ()))
    return f"SELECT * FROM {_given(args, kwargs, 0, 'procname')}({places})", parameters, 1
