"""The worker's own database: a clone of a template that has the project's schema."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from ..errors import ConfigurationError, ServiceDied
from ..services.doorway import Doorway
from ..services.logs import of_database
from ..services.model import Endpoint
from .access import Access
from .admin import Admin, Services
from .clone import Clone
from .company import THE_TEST, describe
from .connect_async import need_driver
from .escapes import Escapes
from .exported import Exported
from .guard import Guard
from .strays import NEXT
from .templates import Templates
from .waiting import waited_for

if TYPE_CHECKING:
    from .address import DatabaseAddress
    from .guard_async import AsyncGuard
    from .plain_async import PlainAsync

__all__ = ["Database", "Options", "waited_for", "worker_database"]

TWICE_BEGUN = "WARNING:  there is already a transaction in progress"
"""What the server says when psycopg2 and the guard both begin their first transaction."""


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


class Database:
    """One worker's database on the server: what makes it, what leads to it, and what keeps tests apart on it.

    `Clone` makes it, and `Access` is how it is reached; the isolations know this class alone.

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
        self._schema = schema
        self._seeds = seeds
        self._admin = Admin(services)
        templates: Templates | None = None
        if schema or seeds:
            templates = Templates(self._admin, services, schema, root, driver, worker, server, seeds, exported)
        self.name: str = f"testbed_{services.run}_{worker}"
        self._clone = Clone(self._admin, services, self.name, templates)
        self._access = Access(self._admin, self._clone, driver, lock_timeout)
        self._escapes: Escapes | None = None
        self._keep_as = ""
        self.noted: Callable[[], None] = lambda: None
        """Called when something outside all isolation connects."""
        self.is_put_back: Callable[[], bool] = lambda: False
        """Tells whether what the running test does past its transaction is undone, and told, by somebody else."""
        self.has_moved: bool = False
        """Whether a test in a transaction may have taken numbers from sequences, which no rollback gives back."""
        self.around: Callable[[Callable[[], None]], None] = lambda replace: replace()
        """Called with what replaces the database: it sees to those who are connected, and to what they have put in."""

    @property
    def endpoint(self) -> Endpoint:
        """The server."""
        return self._admin.endpoint

    @property
    def template(self) -> str:
        """The database that it is a clone of; "" where the schema is empty, or before `ensure`."""
        return self._clone.template

    @property
    def url(self) -> Any:
        """The database's `sqlalchemy.URL`, over TCP."""
        return self._access.url

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

    def own_lines(self, log: str) -> str:
        """Return a server's log without what it wrote for other workers' databases."""
        own = of_database(log, self.name)
        return "\n".join(line for line in own.split("\n") if not line.endswith(TWICE_BEGUN))

    def bystanders(self, but: str = THE_TEST) -> str:
        """Describe who has a transaction open in the worker's database, besides connections of the application `but`."""
        return describe(self._admin, self.name, but)

    def close(self) -> None:
        """Close our connections; the databases go with their server, or are dropped by the host."""
        self._clone.clean()
        self._admin.close()

    # --- making it

    def ensure(self, *, there: bool = False) -> None:
        """Make the template and the worker's database where they are missing.

        Args:
            there: whether it was made already, for an application that came before the tests.
        """
        self._clone.ensure(there=there)

    def is_there(self) -> bool:
        """Whether the worker's database exists: whoever has its address can drop it."""
        return self._clone.is_there()

    def renew(self) -> None:
        """Throw the worker's database away, with whoever is connected to it, and clone it again."""
        self.around(self._clone.replace)

    def keep_as(self, name: str) -> None:
        """Say which name the database gets when it is set aside.

        Args:
            name: what it will be called; it is nobody's on the ledger, so it stays.
        """
        self._keep_as = name

    def set_aside(self) -> None:
        """Give the worker's database the name of `keep_as`, and make it anew."""
        self.around(lambda: self._clone.set_aside(self._keep_as))

    @property
    def base(self) -> str:
        """The database that renewals copy; "" where that is the template."""
        return self._clone.base

    def is_occupied(self) -> bool:
        """Whether somebody stays connected who cannot be waited for."""
        return self._clone.is_occupied()

    def keep_base(self) -> bool:
        """Let later renewals begin with the database as it is now, its definitions included; tell whether that can be."""
        return self._clone.keep_base()

    def begin_with(self, base: str) -> None:
        """Let later renewals begin with what an earlier `base` was; the present one is needed no more."""
        self._clone.begin_with(base)

    def forget(self, base: str) -> None:
        """Let the host drop what was a `base`."""
        self._clone.forget(base)

    def sequences(self) -> dict[tuple[str, str], int]:
        """Return what the sequences of a database just made give next, by schema and name."""
        return self._clone.sequences()

    # --- reaching it

    def connect(self) -> Any:
        """Open a connection to the worker's database for the guard.

        Raises:
            ServiceDied: the server ended; by now it has been started again.
        """
        return self._access.connect()

    def connect_plainly(self, application_name: str) -> Any:
        """Open a connection of psycopg2 to the worker's database.

        Raises:
            ServiceDied: the server ended; by now it has been started again.
        """
        return self._access.connect_plainly(application_name)

    async def connect_async(self, driver: str, **more: Any) -> Any:
        """Open a connection of an async driver to the worker's database, for the guard.

        Raises:
            ServiceDied: the server ended; by now it has been started again.
        """
        return await self._access.connect_async(driver, **more)

    def plain_engine(self) -> Any:
        """Return an engine on the worker's database, whose connections give up a lock in time."""
        return self._access.plain_engine()

    def admin_engine(self) -> Any:
        """Return a plain engine on the worker's database, outside all isolation."""
        from sqlalchemy import event

        engine = self.plain_engine()
        self._clone.cleaners.append(engine.dispose)
        event.listen(engine, "checkout", lambda *_: self._note())
        return engine

    def plain_async(self, driver: str) -> PlainAsync:
        """Return what gives a test in database isolation its async engine; `test` puts the database back.

        Raises:
            ConfigurationError: the driver, or greenlet, is not installed.
        """
        return self._access.plain_async(driver, self._note)

    # --- tests in a transaction, and who comes past it

    @contextmanager
    def guard(self) -> Iterator[Guard]:
        """Give the transaction isolation on this database."""
        guard = Guard(
            self._access.connect,
            self._access.shown_url,
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

    @contextmanager
    def async_guard(self, driver: str) -> Iterator[AsyncGuard]:
        """Give the transaction isolation for async engines on this database.

        Raises:
            ConfigurationError: the driver, or greenlet, is not installed.
        """
        need_driver(driver)
        from .guard_async import AsyncGuard

        guard = AsyncGuard(
            partial(self._access.connect_async, driver),
            self._access.shown_async_url(driver),
            driver=driver,
            end=self._access.end_backend,
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

    def _escapes_unless_put_back(self) -> Escapes | None:
        return None if self.is_put_back() else self._escapes

    def _note_transaction(self) -> None:
        self.has_moved = True

    def reached_by(self, address: DatabaseAddress) -> None:
        """Say by which address others reach it; by then it is there."""
        self._access.address = address
        self._escapes = Escapes(address.doorway, self._next_number, self._access.cursor)

    def _next_number(self) -> int:
        number: int = self._admin.rows(f"SELECT {NEXT}")[0][0]
        return number

    @property
    def is_watched(self) -> bool:
        """Whether a test runs that has its own transaction, past which nobody may write: what is found now may be its doing."""
        return self._escapes is not None and self._escapes.is_watching

    def note_change(self) -> None:
        """Note that something may be written that is no escape from a test's transaction."""
        if self._escapes is not None:
            self._escapes.stale()

    def _note(self) -> None:
        self.note_change()
        self.noted()
