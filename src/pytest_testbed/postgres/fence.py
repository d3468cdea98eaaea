"""The fence round a schema's building: no database but the template is reached, the process is put back."""

from __future__ import annotations

import logging
import os
import socket
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from typing import Any

from sqlalchemy import URL, Engine, event
from sqlalchemy.exc import DisconnectionError
from sqlalchemy.pool import Pool

from ..errors import SchemaError
from ..later import WhenImported

_OPENED_INSIDE = "pytest_testbed.opened_inside"
_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
_DRIVERS = frozenset({"psycopg2", "psycopg", "psycopg_async", "asyncpg"})
"""Those whose connections can be led to another place."""
# libpq would follow these even for a connection that names its host, our own included.
_REROUTING = ("PGSERVICE", "PGHOSTADDR")


@dataclass(frozen=True)
class Detour:
    """What becomes of connections to the address by which applications know the database that is to be.

    Args:
        dsn: the address.
        passes: it leads to the allowed database by itself, so nothing has to be done.
        prepare: called before a connection is led to the allowed database, which may not be there yet.
    """

    dsn: str
    passes: bool = False
    prepare: Callable[[], None] = lambda: None


@contextmanager
def guarded_process(allowed: URL, exported: Detour | None = None) -> Iterator[Callable[[], None]]:
    """Refuse connections that lead elsewhere than to `allowed`; afterwards restore the process.

    Restored are the working directory, the environment, `sys.path` and logging. The fence holds
    for all threads of the process, not for its children. It gives a function: what environment and
    `sys.path` are when that is called is what they will be again.

    Args:
        allowed: The only database that may be reached. In-memory SQLite is harmless and passes.
        exported: How applications know the database that is to be; who connects to it comes to `allowed`.

    Raises:
        SchemaError: From the connecting call, when it leads elsewhere.
    """
    with ExitStack() as stack:
        keep = stack.enter_context(_process_restored())
        stack.enter_context(_logging_restored())
        rerouting = {name: os.environ.pop(name) for name in _REROUTING if name in os.environ}
        _Fence(allowed, exported).put_up(stack)
        yield lambda: keep(rerouting)


@dataclass(frozen=True, kw_only=True)
class _Place:
    """Where a connection leads, as far as that can be known without connecting."""

    host: str
    hostaddr: str
    port: str
    database: str
    user: str
    service: str

    @classmethod
    def from_libpq(cls, dsn: str | None, params: Mapping[str, Any]) -> _Place:
        """Read a DSN and keywords as libpq would, then its variables."""
        from psycopg2.extensions import parse_dsn

        given = {key: str(value) for key, value in params.items() if value is not None}
        given = {**parse_dsn(dsn or given.pop("dsn", "")), **given}

        def value(*keys: str, variable: str) -> str:
            found = next((given[key] for key in keys if given.get(key)), None)
            return found or os.environ.get(variable, "")

        user = value("user", variable="PGUSER")
        return cls(
            host=value("host", "unix_sock", variable="PGHOST"),
            hostaddr=value("hostaddr", variable="PGHOSTADDR"),
            port=value("port", variable="PGPORT") or "5432",
            database=value("dbname", "database", variable="PGDATABASE") or user,
            user=user,
            service=value("service", variable="PGSERVICE"),
        )

    def leads_to(self, other: _Place) -> bool:
        """Whether it is the same database for certain; a service file may say anything."""
        same = (self.port, self.database) == (other.port, other.database)
        return same and not self.service and self._same_host(other)

    def _same_host(self, other: _Place) -> bool:
        if self.hostaddr:
            return _plain(self.hostaddr) in {_plain(address) for address in other.addresses()}
        return bool(self.host) and _plain(self.host) == _plain(other.host)

    def addresses(self) -> set[str]:
        """The host and its addresses: asynchronous drivers resolve the name themselves."""
        found = {self.host, self.hostaddr} - {""}
        with suppress(OSError):
            if self.host and not self.host.startswith(("/", "@")):
                found |= {str(entry[4][0]) for entry in socket.getaddrinfo(self.host, None)}
        return found

    def __str__(self) -> str:
        via = f" (service {self.service!r})" if self.service else ""
        host = self.hostaddr or self.host or "(default)"
        return f"postgresql://{self.user or '(default)'}:***@{host}:{self.port}/{self.database}{via}"


def _plain(host: str) -> str:
    """A host in the one spelling in which it is compared."""
    lowered = host.lower()
    return "localhost" if lowered in _LOOPBACK else host.rstrip("/") if host.startswith("/") else lowered


class _Fence:
    """Stands in every way by which a process can come to a database connection."""

    def __init__(self, allowed: URL, exported: Detour | None = None) -> None:
        args, params = allowed.get_dialect()().create_connect_args(allowed)
        self._allowed = _Place.from_libpq(args[0] if args else None, params)
        self._params = {key: str(value) for key, value in params.items() if value is not None}
        self._detour = exported
        self._exported = _Place.from_libpq(exported.dsn, {}) if exported else None
        self._records: list[Any] = []

    def put_up(self, stack: ExitStack) -> None:
        stack.callback(self._forget_connections)
        listeners = (
            (Engine, "do_connect", self._connecting),
            (Pool, "connect", self._connected),
            (Pool, "checkout", self._lent),
        )
        for target, name, listener in listeners:
            event.listen(target, name, listener)
            stack.callback(event.remove, target, name, listener)
        drivers = {
            "psycopg2": self._put_up_psycopg2,
            "psycopg": self._put_up_psycopg,
            "asyncpg.connect_utils": self._put_up_asyncpg,
        }
        later = WhenImported()
        for name, put_up in drivers.items():
            if name in sys.modules:
                put_up(stack)
            else:  # two that nobody uses would cost more than all the rest
                later.actions[name] = partial(put_up, stack)
        sys.meta_path.insert(0, later)
        stack.callback(sys.meta_path.remove, later)

    def check(self, place: _Place) -> bool:
        """Refuse a place that is neither the template nor exported; tell whether it is to be led to the template."""
        if self._detour is not None and self._exported is not None and place.leads_to(self._exported):
            self._detour.prepare()
            return not self._detour.passes
        if not place.leads_to(self._allowed):
            self._refuse(str(place))
        return False

    def _led(self, dsn: str) -> str:
        """Return where a driver of libpq may connect to."""
        if not self.check(_Place.from_libpq(dsn, {})):
            return dsn
        from psycopg2.extensions import make_dsn, parse_dsn

        params = {key: value for key, value in parse_dsn(dsn).items() if key not in ("hostaddr", "database")}
        return str(make_dsn(**{**params, **self._params}))

    def _forget_connections(self) -> None:
        """Let an application's engine connect anew afterwards: what it has opened here leads to the template."""
        for record in self._records:
            record.invalidate(soft=True)

    def _refuse(self, wanted: str) -> None:
        raise SchemaError(
            f"A connection to {wanted} was refused before it was made. While the schema is built, migrations may only "
            f"touch the template database ({self._allowed}). In Alembic's env.py use "
            '`config.attributes.get("connection")`, or make the engine from `config.get_main_option("sqlalchemy.url")`; '
            "in a function take `engine`, `connection` or `session` as an argument. Or let `testbed_env` set the variable "
            "from which it has its URL: that leads to the template then."
        )

    # SQLAlchemy, whatever the driver

    def _connecting(self, dialect: Any, _record: Any, args: Sequence[Any], params: Mapping[str, Any]) -> None:
        if dialect.name == "postgresql":
            place = _Place.from_libpq(args[0] if args else None, params)
            if self.check(place) and dialect.driver not in _DRIVERS:
                self._refuse(f"{place} with the driver {dialect.driver}")
        elif dialect.name != "sqlite":
            self._refuse(f"{dialect.name}://{params.get('host', '')}/{params.get('database', params.get('db', ''))}")
        else:
            file = str(args[0] if args else params.get("database", ""))
            if file not in ("", ":memory:") and not ("mode=memory" in file or "file::memory:" in file):
                self._refuse(f"the SQLite file {file!r}")

    def _connected(self, _connection: Any, record: Any) -> None:
        record.info[_OPENED_INSIDE] = self
        self._records.append(record)

    def _lent(self, _connection: Any, record: Any, _proxy: Any) -> None:
        """A pool may hold connections from before the fence: an application's engine, already used."""
        if record.info.get(_OPENED_INSIDE) is self:
            return
        driver = record.driver_connection
        info = getattr(driver, "info", None)
        if info is None or not hasattr(info, "dbname"):
            if type(driver).__module__ == "sqlite3" and not driver.execute("PRAGMA database_list").fetchone()[2]:
                return
            self._refuse(f"an unknown database, over a pooled {type(driver).__module__} connection opened earlier,")
        params = {key: getattr(info, key) for key in ("host", "port", "dbname", "user")}
        if self.check(_Place.from_libpq("", params)):
            raise DisconnectionError("it leads to the database that was there before")  # the pool makes another

    # The drivers themselves: the innermost function, since the outer names are often imported already

    def _put_up_psycopg2(self, stack: ExitStack) -> None:
        import psycopg2

        inner = psycopg2._connect

        def fenced(dsn: str, *args: Any, **kwargs: Any) -> Any:
            return inner(self._led(dsn), *args, **kwargs)

        _swap(stack, psycopg2, "_connect", fenced)

    def _put_up_psycopg(self, stack: ExitStack) -> None:
        import psycopg

        def fenced(inner: Callable[..., Any]) -> classmethod[Any, Any, Any]:
            def connect(cls: type, conninfo: str = "", *args: Any, **kwargs: Any) -> Any:
                return inner(cls, self._led(conninfo), *args, **kwargs)

            return classmethod(connect)

        mro = (*psycopg.Connection.__mro__, *psycopg.AsyncConnection.__mro__)
        owners = {owner for owner in mro if "_connect_gen" in vars(owner)}
        if not owners:
            # without it a direct connection of psycopg would pass the fence unseen
            raise SchemaError(f"psycopg {psycopg.__version__} cannot be fenced: it has another way to connect than known here.")
        for owner in owners:
            _swap(stack, owner, "_connect_gen", fenced(vars(owner)["_connect_gen"].__func__))

    def _put_up_asyncpg(self, stack: ExitStack) -> None:
        from asyncpg import connect_utils

        inner = connect_utils._connect_addr

        async def fenced(*, addr: Any, params: Any, **kwargs: Any) -> Any:
            host, port = addr if not isinstance(addr, str) else addr.rsplit("/.s.PGSQL.", 1)
            place = _Place.from_libpq("", {"host": host, "port": port, "dbname": params.database, "user": params.user})
            if self.check(place):
                addr, params = self._led_asyncpg(params)
            return await inner(addr=addr, params=params, **kwargs)

        _swap(stack, connect_utils, "_connect_addr", fenced)

    def _led_asyncpg(self, params: Any) -> tuple[Any, Any]:
        host, port = self._allowed.host, self._allowed.port
        changed = {"database": self._allowed.database, "user": self._allowed.user, "password": self._params.get("password")}
        if host.startswith("/"):
            return f"{host}/.s.PGSQL.{port}", params._replace(**changed, ssl=None)
        return (host, int(port)), params._replace(**changed)


def _swap(stack: ExitStack, owner: Any, name: str, new: object) -> None:
    stack.callback(setattr, owner, name, vars(owner)[name])
    setattr(owner, name, new)


@contextmanager
def _process_restored() -> Iterator[Callable[[Mapping[str, str]], None]]:
    folder, environment, path = os.getcwd(), dict(os.environ), list(sys.path)

    def keep(removed: Mapping[str, str]) -> None:
        environment.clear()
        environment.update(os.environ, **removed)
        path[:] = sys.path

    try:
        yield keep
    finally:
        os.chdir(folder)
        sys.path[:] = path
        for name in set(os.environ) - set(environment):  # never empty in between: other threads read it
            del os.environ[name]
        os.environ.update(environment)


@contextmanager
def _logging_restored() -> Iterator[None]:
    named = logging.root.manager.loggerDict.values()
    loggers = [logging.root, *(entry for entry in named if isinstance(entry, logging.Logger))]
    saved = [(logger, logger.level, list(logger.handlers), logger.disabled, logger.propagate) for logger in loggers]
    # `fileConfig` and `dictConfig` close every handler on these lists, pytest's log file among them.
    by_name, in_order = vars(logging)["_handlers"], vars(logging)["_handlerList"]
    kept_by_name, kept_in_order = dict(by_name), list(in_order)
    in_order.clear()
    try:
        yield
    finally:
        in_order[:0] = kept_in_order
        by_name.update(kept_by_name)
        for logger, level, handlers, disabled, propagate in saved:
            logger.setLevel(level)
            logger.handlers[:] = handlers
            logger.disabled, logger.propagate = disabled, propagate
