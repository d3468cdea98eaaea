"""The worker's own database: a clone of a template that has the project's schema."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager, nullcontext, suppress
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from ..errors import ConfigurationError, SchemaError, ServiceDied, ServiceUnavailable
from ..services.doorway import Doorway
from ..services.logs import of_database
from ..services.model import Endpoint
from .admin import CONNECT_TIMEOUT, LOCK_NOT_AVAILABLE, Admin, Services, sqlstate
from .connect import APPLICATION, connect, engine_url
from .connect_async import async_url, connect_async, need_driver
from .escapes import Escapes
from .exported import Exported
from .guard import Guard
from .sequences import read
from .strays import CLEANER, NEXT, end_prepared, prepare
from .templates import NO_SUCH_DATABASE, Templates, create, disown, own

if TYPE_CHECKING:
    from .address import DatabaseAddress
    from .guard_async import AsyncGuard
    from .plain_async import PlainAsync

__all__ = ["Database", "Options", "worker_database"]

CLONE_TRIES = 3
THE_TEST = f"{APPLICATION} (the test)"
TWICE_BEGUN = "WARNING:  there is already a transaction in progress"
"""What the server says when psycopg2 and the guard both begin their first transaction."""
IN_USE = "55006"
LEAVING = 0.2
"""Seconds in which the backends of connections that were closed may find that out."""
# a worker of autovacuum has no user, and does not count
STAYING = "SELECT FROM pg_stat_activity WHERE datname = %s AND application_name <> %s AND usesysid IS NOT NULL"
CONNECTED = "SELECT pid, application_name, usename FROM pg_stat_activity WHERE datname = %s"

BYSTANDERS = """
SELECT pid, application_name, state, coalesce(extract(epoch FROM now() - xact_start), 0), left(query, 200)
FROM pg_stat_activity WHERE datname = %s AND pid <> pg_backend_pid() AND xact_start IS NOT NULL ORDER BY xact_start
"""
PREPARED = "SELECT gid, extract(epoch FROM now() - prepared) FROM pg_prepared_xacts WHERE database = %s ORDER BY prepared"


class Options(Protocol):
    """What is used of the options."""

    @property
    def driver(self) -> str:
        """The driver, "psycopg2" or "psycopg"."""

    @property
    def lock_timeout(self) -> float:
        """Seconds that a statement waits for a lock."""

    @property
    def args(self) -> Sequence[str]:
        """More arguments for the server."""

    @property
    def initdb_args(self) -> Sequence[str]:
        """More arguments for initdb."""

    @property
    def environment(self) -> Sequence[str]:
        """More variables of the container."""


@contextmanager
def worker_database(
    services: Services,
    schema: Sequence[object],
    root: Path,
    options: Options,
    worker: str,
    seeds: Sequence[object] = (),
    doorway: Doorway | None = None,
    exported: Exported | None = None,
) -> Iterator[Database]:
    """Make this worker's database and give it for the length of the run.

    Args:
        services: the engine's face.
        schema: entries for `apply_schema`.
        root: where relative paths of the schema begin.
        options: driver and lock time-out.
        worker: xdist's name of this worker, or "main".
        seeds: rows of the schema's tables, for `apply_schema`.
        doorway: where applications wait for it, if they have its address.
        exported: that address, for the making of the template.
    """
    for name, given in (("pg_schema", schema), ("pg_seed", seeds)):
        if isinstance(given, str) or not isinstance(given, Sequence):
            raise ConfigurationError(f"{name} must give a list, not {given!r}; write [{given!r}].")
    if find_spec(options.driver) is None:
        raise ConfigurationError(
            f"testbed_pg_driver = {options.driver!r}, which is not installed: pip install 'pytest-testbed[{options.driver}]'."
        )
    database = Database(
        services,
        worker=worker,
        schema=schema,
        root=root,
        driver=options.driver,
        lock_timeout=options.lock_timeout,
        server=(*options.args, "", *options.initdb_args, "", *options.environment),
        seeds=seeds,
        exported=exported,
    )
    try:
        with waited_for(doorway) as there:
            try:
                database.ensure(there=there)
            except ServiceDied as error:
                # that of another test; an error here would be that of all tests which follow
                services.notes.append(str(error).partition("\n")[0])
                database.ensure()
        yield database
    finally:
        database.close()


@contextmanager
def waited_for(doorway: Doorway | None) -> Iterator[bool]:
    """Tell applications that wait for the database when it is made, or why it is not; give whether it was there before."""
    if doorway is None:
        yield False
        return
    fault = "its database could not be made."
    try:  # whatever happens from here on: who waits at the door must be told
        there = doorway.begin_to_make()
        if there:
            doorway.visits("park")
        yield there
        fault = ""
    except Exception as error:
        fault = str(error)
        raise
    finally:
        doorway.made(fault)


class Database:
    """One worker's database on the server, and the template that it is cloned from.

    Args:
        services: the engine's face.
        worker: xdist's name of this worker, or "main".
        schema: entries for `apply_schema`; with none the database is empty.
        root: where relative paths of the schema begin.
        driver: "psycopg2" or "psycopg".
        lock_timeout: seconds after which a statement of the kept connection gives up a lock.
        server: what the user said of the server, on which its databases may depend.
        seeds: rows of the schema's tables, for `apply_schema`.
        exported: the address by which applications reach it; None where they have none.
    """

    def __init__(
        self,
        services: Services,
        *,
        worker: str,
        schema: Sequence[object],
        root: Path,
        driver: str,
        lock_timeout: float,
        server: Sequence[str] = (),
        seeds: Sequence[object] = (),
        exported: Exported | None = None,
    ) -> None:
        self._services = services
        self._schema = schema
        self._seeds = seeds
        self._driver = driver
        self._lock_timeout = lock_timeout
        self._admin = Admin(services)
        self._templates: Templates | None = None
        if schema or seeds:
            self._templates = Templates(self._admin, services, schema, root, driver, worker, server, seeds, exported)
        self.name: str = f"testbed_{services.run}_{worker}"
        self._keep_as = ""
        self._bases = 0
        self._base = ""
        self._old = 0
        self.noted: Callable[[], None] = lambda: None
        """Called when something outside all isolation connects."""
        self.is_put_back: Callable[[], bool] = lambda: False
        """Tells whether what the running test does past its transaction is undone, and told, by somebody else."""
        self.has_moved: bool = False
        """Whether a test in a transaction may have taken numbers from sequences, which no rollback gives back."""
        self._address: DatabaseAddress | None = None
        self._escapes: Escapes | None = None
        self.around: Callable[[Callable[[], None]], None] = lambda replace: replace()
        """Called with what replaces the database: it sees to those who are connected, and to what they have put in."""
        self._cleaners: list[Callable[[], None]] = []
        self._sequences: dict[tuple[str, str], int] | None = None

    @property
    def endpoint(self) -> Endpoint:
        """The server."""
        return self._admin.endpoint

    @property
    def template(self) -> str:
        """The database that it is a clone of; "" where the schema is empty, or before `ensure`."""
        return self._templates.name if self._templates is not None else ""

    @property
    def url(self) -> Any:
        """The database's `sqlalchemy.URL`, over TCP."""
        return engine_url(self.endpoint, self.name, self._driver)

    @property
    def shown_url(self) -> Any:
        """The URL that engines show: whoever connects by it comes by the address that is looked after, where there is one."""
        return self._by_address(self.url)

    def _by_address(self, url: Any) -> Any:
        if (address := self._address) is None:
            return url
        query = {name: value for name, value in url.query.items() if name not in ("host", "port", "hostaddr")}
        place = {"host": address.doorway.host, "port": address.doorway.port}
        return url.set(username=address.user, password=address.password or None, query=query, **place)

    def reached_by(self, address: DatabaseAddress) -> None:
        """Say by which address others reach it; by then it is there."""
        self._address = address
        self._escapes = Escapes(address.doorway, self._next_number, self._cursor)

    def _next_number(self) -> int:
        number: int = self._admin.rows(f"SELECT {NEXT}")[0][0]
        return number

    @contextmanager
    def _cursor(self) -> Iterator[Any]:
        with closing(self.connect_plainly(CLEANER)) as connection:
            connection.autocommit = True
            yield connection.cursor()

    @property
    def is_watched(self) -> bool:
        """Whether a test runs that has its own transaction, past which nobody may write: what is found now may be its doing."""
        return self._escapes is not None and self._escapes.is_watching

    def note_change(self) -> None:
        """Note that something may be written that is no escape from a test's transaction."""
        if self._escapes is not None:
            self._escapes.stale()

    # --- making it

    def ensure(self, *, there: bool = False) -> None:
        """Make the template and the worker's database where they are missing.

        Args:
            there: whether it was made already, for an application that came before the tests.
        """
        if there:
            if self._templates is not None:
                self._replace()
            return
        # a run's names are its own: only a server that came back may have them already
        if not self._admin.lost or not self.is_there():
            began = time.perf_counter()
            self._clone()
            self._services.details.append(f"postgres: database {self.name} was made in {time.perf_counter() - began:.3f} s")
        self._admin.lost = False

    def check_schema(self, schema: Sequence[object], seeds: Sequence[object] = ()) -> None:
        """Refuse a test that wants another schema, or other seeds, than this database has.

        Raises:
            ConfigurationError: `pg_schema` or `pg_seed` is overridden in more places than one.
        """
        for name, wanted, made in (("pg_schema", schema, self._schema), ("pg_seed", seeds, self._seeds)):
            if wanted is not made and list(wanted) != list(made):
                raise ConfigurationError(
                    f"{name} gives this test {list(wanted)!r}, and the run's database was made with {list(made)!r}: a run has "
                    f"one {name.removeprefix('pg_')}. Override {name} in one place, such as the conftest.py of the root "
                    "directory, or run these folders apart."
                )

    def renew(self) -> None:
        """Throw the worker's database away, with whoever is connected to it, and clone it again."""
        self.around(self._replace)

    def _replace(self) -> None:
        """Put a new database in the place of the worker's, which the host drops when there is time."""
        if not self.is_there():
            self._make_again()
            return
        self._old += 1
        old = f"{self.name}_old{self._old}"
        own(self._services, self.endpoint, old)
        self._move_to(old)
        self._services.drop_later("postgres", f"{self.endpoint.host}:{self.endpoint.port}/{old}")
        self._clone()

    @property
    def base(self) -> str:
        """The database that renewals copy; "" where that is the template."""
        return self._base

    def is_occupied(self) -> bool:
        """Whether somebody stays connected on a server that is not ours: CREATE DATABASE would wait for him in vain, for 5 s.

        On one of our own the front door has brought its clients out, and the others are waited for.
        """
        if self.endpoint.is_ours:
            return False
        for clean in self._cleaners:
            clean()
        deadline = time.monotonic() + LEAVING
        while self._admin.rows(STAYING, (self.name, CLEANER)):
            if time.monotonic() > deadline:
                return True
            time.sleep(0.01)
        return False

    def keep_base(self) -> bool:
        """Let later renewals begin with the database as it is now, its definitions included; tell whether that can be.

        Fixtures of a wider scope may make tables, which no template has. Nobody may be connected to it.
        """
        for clean in self._cleaners:
            clean()
        self._bases += 1
        name = f"{self.name}_base{self._bases}"
        try:
            create(self._admin, self._services, name, self.name)
        except Exception as error:
            disown(self._services, self.endpoint, name)
            if sqlstate(error) != IN_USE:
                raise
            return False
        self._base = name
        return True

    def begin_with(self, base: str) -> None:
        """Let later renewals begin with what an earlier `base` was; the present one is needed no more."""
        before, self._base = self._base, base
        if before != base:
            self.forget(before)

    def forget(self, base: str) -> None:
        """Let the host drop what was a `base`."""
        if base:
            self._services.drop_later("postgres", f"{self.endpoint.host}:{self.endpoint.port}/{base}")

    def keep_as(self, name: str) -> None:
        """Say which name the database gets when it is set aside.

        Args:
            name: what it will be called; it is nobody's on the ledger, so it stays.
        """
        self._keep_as = name

    def set_aside(self) -> None:
        """Give the worker's database the name of `keep_as`, and make it anew."""
        self.around(self._replace_and_keep)

    def _replace_and_keep(self) -> None:
        if not self.is_there():  # there is nothing to keep
            self._make_again()
            return
        self._move_to(self._keep_as)
        self._admin.execute(f'ALTER DATABASE "{self._keep_as}" WITH ALLOW_CONNECTIONS true')
        disown(self._services, self.endpoint, self.name)
        self._clone()

    def _move_to(self, name: str) -> None:
        """Give the worker's database another name; whoever is connected to it is thrown out."""
        for clean in self._cleaners:
            clean()
        self._throw_out()
        while self._admin.rows(PREPARED, (self.name,)):
            # they belong to nobody who could be thrown out
            self._admin.execute(f'ALTER DATABASE "{self.name}" WITH ALLOW_CONNECTIONS true')
            with closing(connect(self.endpoint, self.name, connect_timeout=CONNECT_TIMEOUT)) as connection:
                connection.autocommit = True
                end_prepared(prepare(connection).cursor())
            self._throw_out()
        self._admin.execute(f'ALTER DATABASE "{self.name}" RENAME TO "{name}"')

    def _throw_out(self) -> None:
        self._admin.execute(f'ALTER DATABASE "{self.name}" WITH ALLOW_CONNECTIONS false')
        self._admin.rows("SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = %s", (self.name,))

    def is_there(self) -> bool:
        """Whether the worker's database exists: whoever has its address can drop it."""
        return bool(self._admin.rows("SELECT FROM pg_database WHERE datname = %s", (self.name,)))

    def _make_again(self) -> None:
        """Make the database where a test or a fixture has dropped it."""
        for clean in self._cleaners:
            clean()
        self._clone()

    def sequences(self) -> dict[tuple[str, str], int]:
        """Return what the sequences of a database just made give next, by schema and name; asked of one that is, once."""
        if self._sequences is None:
            name = f"{self.name}_sequences"
            self._clone(name)
            try:
                connection = connect(self.endpoint, name, "psycopg2", connect_timeout=CONNECT_TIMEOUT)
                with closing(connection), connection.cursor() as cursor:
                    self._sequences = read(lambda sql: (cursor.execute(sql), cursor.fetchall())[1])
            finally:
                self._admin.execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')
                disown(self._services, self.endpoint, name)
        return self._sequences

    def _clone(self, name: str = "") -> None:
        if self._base and not self._admin.lost:
            create(self._admin, self._services, name or self.name, self._base)
            return
        self._base = ""
        if self._templates is None:
            create(self._admin, self._services, name or self.name)
            return
        anew = self._admin.lost or not self._templates.name
        with self._templates.turn() if anew else nullcontext():
            self._clone_template(self._templates, name or self.name)

    def _clone_template(self, templates: Templates, name: str) -> None:
        for attempt in range(CLONE_TRIES):
            template = templates.ensure(anew=attempt > 0 or self._admin.lost)
            try:
                create(self._admin, self._services, name, template)
                return
            except Exception as error:
                if sqlstate(error) == IN_USE:
                    raise SchemaError(self._in_use(template)) from error
                if sqlstate(error) != NO_SUCH_DATABASE:
                    raise
                # another run took it for superfluous, between our look and our copy
        raise ServiceUnavailable(f"the template of the schema was dropped {CLONE_TRIES} times before it could be copied.")

    def _in_use(self, template: str) -> str:
        rows = self._admin.rows(CONNECTED, (template,))
        who = ", ".join(f"pid {pid} ({application or 'no application name'}, {user})" for pid, application, user in rows)
        return (
            f"the template database {template} cannot be copied while somebody is connected to it: {who or 'gone by now'}. "
            "End that connection; to look at the schema, connect to a copy (CREATE DATABASE … TEMPLATE …)."
        )

    # --- connections

    def open(self) -> None:
        """See to it that the database is there: the server may have come back without it."""
        if self._admin.lost:
            self.ensure()

    def connect_plainly(self, application_name: str) -> Any:
        """Open a connection of psycopg2 to the worker's database.

        Raises:
            ServiceDied: the server ended; by now it has been started again.
        """
        return self._reach(
            lambda: connect(self.endpoint, self.name, application_name=application_name, connect_timeout=CONNECT_TIMEOUT)
        )

    def _reach(self, attempt: Callable[[], Any]) -> Any:
        """Connect to the worker's database; make it anew where somebody has dropped it.

        Raises:
            ServiceDied: the server ended; by now it has been started again.
        """
        self.open()

        def tried() -> Any:
            try:
                return attempt()
            except Exception:
                if self.is_there():  # libpq's error has no SQLSTATE, and its text may be in any language
                    raise
                self._make_again()
                return attempt()

        return self._admin.reach(tried)

    def connect(self) -> Any:
        """Open a connection to the worker's database for the guard.

        Raises:
            ServiceDied: the server ended; by now it has been started again.
        """
        more: dict[str, Any] = {
            "options": self._kept_settings(),
            "application_name": THE_TEST,
            "connect_timeout": CONNECT_TIMEOUT,
        }
        return self._reach(lambda: connect(self.endpoint, self.name, self._driver, **more))

    def _kept_settings(self) -> dict[str, str]:
        # a server of somebody else's may end whoever thinks for long in a transaction: a debugged test does
        return {**self._settings(), "idle_in_transaction_session_timeout": "0"}

    def _settings(self) -> dict[str, str]:
        # a test that waits for a lock of its own fixtures would wait for ever
        return {"lock_timeout": f"{self._lock_timeout * 1000:.0f}"}

    @contextmanager
    def guard(self) -> Iterator[Guard]:
        """Give the transaction isolation on this database."""
        guard = Guard(
            self.connect,
            self.shown_url,
            escapes=self._escapes_unless_put_back,
            begun=self._note_transaction,
            renew=self.renew,
            set_aside=self.set_aside,
            bystanders=self.bystanders,
            sequences=self.sequences,
        )
        try:
            yield guard
        finally:
            guard.close()

    def admin_engine(self) -> Any:
        """Return a plain engine on the worker's database, outside all isolation."""
        from sqlalchemy import event

        engine = self.plain_engine()
        self._cleaners.append(engine.dispose)
        event.listen(engine, "checkout", lambda *_: self._note())
        return engine

    def _note(self) -> None:
        self.note_change()
        self.noted()

    def _note_transaction(self) -> None:
        self.has_moved = True

    def _escapes_unless_put_back(self) -> Escapes | None:
        return None if self.is_put_back() else self._escapes

    def plain_engine(self) -> Any:
        """Return an engine on the worker's database, whose connections give up a lock in time."""
        from sqlalchemy import create_engine, event

        engine = create_engine(self.shown_url)
        options = self._settings()

        @event.listens_for(engine, "do_connect")
        def shielded(dialect: Any, record: Any, arguments: Any, parameters: dict[str, Any]) -> Any:
            # what SQLAlchemy tells the driver of its types must reach it
            types = {name: parameters[name] for name in ("context",) if name in parameters}
            return connect(self.endpoint, self.name, self._driver, options=options, **types)

        event.listen(engine, "handle_error", self._explain)
        return engine

    def _explain(self, context: Any) -> None:
        error = context.original_exception
        if sqlstate(error) == LOCK_NOT_AVAILABLE and (text := self.bystanders(but="")):
            (context.sqlalchemy_exception or error).add_note(text)

    # --- async

    async def connect_async(self, driver: str, **more: Any) -> Any:
        """Open a connection of an async driver to the worker's database, for the guard.

        Raises:
            ServiceDied: the server ended; by now it has been started again.
        """
        self._admin.rows("SELECT 1")  # sees to a server that has died
        self.open()
        if not self.is_there():
            self._make_again()
        options = self._kept_settings()
        return await connect_async(self.endpoint, self.name, driver, options=options, application_name=THE_TEST, **more)

    @contextmanager
    def async_guard(self, driver: str) -> Iterator[AsyncGuard]:
        """Give the transaction isolation for async engines on this database.

        Raises:
            ConfigurationError: the driver, or greenlet, is not installed.
        """
        need_driver(driver)
        from .guard_async import AsyncGuard

        guard = AsyncGuard(
            partial(self.connect_async, driver),
            self._by_address(async_url(self.endpoint, self.name, driver)),
            driver=driver,
            end=self._end_backend,
            escapes=self._escapes_unless_put_back,
            begun=self._note_transaction,
            renew=self.renew,
            set_aside=self.set_aside,
            bystanders=self.bystanders,
            sequences=self.sequences,
        )
        try:
            yield guard
        finally:
            guard.close()

    def plain_async(self, driver: str) -> PlainAsync:
        """Return what gives a test in database isolation its async engine; `test` puts the database back.

        Raises:
            ConfigurationError: the driver, or greenlet, is not installed.
        """
        need_driver(driver)
        from .plain_async import PlainAsync

        return PlainAsync(
            partial(connect_async, self.endpoint, self.name, driver, options=self._settings()),
            self._by_address(async_url(self.endpoint, self.name, driver)),
            end=partial(self._end_backend, whole=True),
            explain=self._explain,
            noted=self._note,
        )

    def _end_backend(self, pid: int, whole: bool) -> None:
        self._admin.rows("SELECT pg_terminate_backend(%s, 5000)" if whole else "SELECT pg_cancel_backend(%s)", (pid,))

    def bystanders(self, but: str = THE_TEST) -> str:
        """Describe who has a transaction open in the worker's database, besides connections of the application `but`."""
        with suppress(Exception):
            rows = self._admin.rows(BYSTANDERS, (self.name,))
            lines = [
                f"  pid {pid} ({application or 'no application name'}), {state}, for {age:.1f} s: {' '.join(query.split())}"
                for pid, application, state, age, query in rows
                if application != but
            ]
            prepared = self._admin.rows(PREPARED, (self.name,))
            lines += [f"  prepared (PREPARE TRANSACTION) for {age:.1f} s, and not ended: {name!r}" for name, age in prepared]
            if lines:
                return "\n".join(["other transactions open in this test's database, one of which holds the lock:", *lines])
        return ""

    def own_lines(self, log: str) -> str:
        """Return a server's log without what it wrote for other workers' databases."""
        own = of_database(log, self.name)
        return "\n".join(line for line in own.split("\n") if not line.endswith(TWICE_BEGUN))

    def close(self) -> None:
        """Close our connections; the databases go with their server, or are dropped by the host."""
        for clean in self._cleaners:
            clean()
        self._admin.close()
