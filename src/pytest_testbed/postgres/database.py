"""The worker's own database: a clone of a template that has the project's schema."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol

from ..errors import ConfigurationError, ServiceDied, ServiceUnavailable
from ..services.model import Endpoint
from .connect import APPLICATION, connect, engine_url
from .guard import Guard, sqlstate
from .service import SPARE

__all__ = ["Database", "Options", "Services", "worker_database"]

NO_SUCH_DATABASE = "3D000"
LOCK_NOT_AVAILABLE = "55P03"
STARTING = "57P03"  # cannot_connect_now: recovering after a crash of a backend
STARTING_TIMEOUT = 10.0

BYSTANDERS = """
SELECT pid, application_name, state, coalesce(extract(epoch FROM now() - xact_start), 0), left(query, 200)
FROM pg_stat_activity WHERE datname = %s AND pid <> pg_backend_pid() AND xact_start IS NOT NULL ORDER BY xact_start
"""


class Services(Protocol):
    """What is used of `Testbed`."""

    run: str

    def endpoint(self, kind: str) -> Endpoint:
        """Return the running service."""

    def check(self, kind: str) -> tuple[str, str]:
        """Look after a service that could not be reached."""

    def own(self, what: str, name: str) -> None:
        """Write to the ledger."""


class Options(Protocol):
    """What is used of the options."""

    @property
    def driver(self) -> str:
        """The driver, "psycopg2" or "psycopg"."""

    @property
    def lock_timeout(self) -> float:
        """Seconds that a statement waits for a lock."""


@contextmanager
def worker_database(services: Services, schema: Sequence[object], root: Path, options: Options) -> Iterator[Database]:
    """Make this worker's database and give it for the length of the run.

    Args:
        services: the engine's face.
        schema: entries for `apply_schema`.
        root: where relative paths of the schema begin.
        options: driver and lock time-out.
    """
    if isinstance(schema, str) or not isinstance(schema, Sequence):
        raise ConfigurationError(f"pg_schema must give a list, not {schema!r}; write [{schema!r}].")
    if find_spec(options.driver) is None:
        raise ConfigurationError(
            f"testbed_pg_driver = {options.driver!r}, which is not installed: pip install 'pytest-testbed[{options.driver}]'."
        )
    worker = os.environ.get("PYTEST_XDIST_WORKER", "main")
    database = Database(
        services, worker=worker, schema=schema, root=root, driver=options.driver, lock_timeout=options.lock_timeout
    )
    try:
        database.ensure()
        yield database
    finally:
        database.close()


class Database:
    """One worker's database on the server, and the template that it is cloned from.

    Args:
        services: the engine's face.
        worker: xdist's name of this worker, or "main".
        schema: entries for `apply_schema`; with none the database is empty.
        root: where relative paths of the schema begin.
        driver: "psycopg2" or "psycopg".
        lock_timeout: seconds after which a statement of the kept connection gives up a lock.
    """

    def __init__(
        self, services: Services, *, worker: str, schema: Sequence[object], root: Path, driver: str, lock_timeout: float
    ) -> None:
        self._services = services
        self._schema = schema
        self._root = root
        self._driver = driver
        self._lock_timeout = lock_timeout
        self._admin: Any = None
        self._lost = False  # the server came back, perhaps without its data
        self.endpoint = services.endpoint("postgres")
        self.name = f"testbed_{services.run}_{worker}"
        self.template = f"testbed_{services.run}_{worker}_template" if schema else None
        self._cleaners: list[Callable[[], None]] = []

    @property
    def url(self) -> Any:
        """The database's `sqlalchemy.URL`, over TCP."""
        return engine_url(self.endpoint, self.name, self._driver)

    # --- making it

    def ensure(self) -> None:
        """Make the template and the worker's database where they are missing."""
        # a run's names are its own: only a server that came back may have them already
        existing = self._databases() if self._lost else set()
        if self.template is not None and self.template not in existing:
            self._build_template()
        if self.name not in existing:
            self._clone()

    def check_schema(self, schema: Sequence[object]) -> None:
        """Refuse a test that wants another schema than this database has.

        Raises:
            ConfigurationError: `pg_schema` is overridden in more places than one.
        """
        if schema is not self._schema and list(schema) != list(self._schema):
            raise ConfigurationError(
                f"pg_schema gives this test {list(schema)!r}, and the run's database was made with {list(self._schema)!r}: a run "
                "has one schema. Override pg_schema in one place, such as the conftest.py of the root directory, or run these "
                "folders apart."
            )

    def renew(self) -> None:
        """Throw the worker's database away, with whoever is connected to it, and clone it again."""
        for clean in self._cleaners:
            clean()
        self._execute(f'DROP DATABASE IF EXISTS "{self.name}" WITH (FORCE)')
        self._clone()

    def _databases(self) -> set[str]:
        pattern = f"testbed\\_{self._services.run}\\_%"
        return {row[0] for row in self._rows("SELECT datname FROM pg_database WHERE datname LIKE %s", (pattern,))}

    def _build_template(self) -> None:
        from .schema import apply_schema

        assert self.template is not None
        self._create(self.template)
        apply_schema(self._schema, engine_url(self.endpoint, self.template, self._driver), self._root)
        self._execute(f'ALTER DATABASE "{self.template}" WITH ALLOW_CONNECTIONS false')

    def _clone(self) -> None:
        self._create(self.name, self.template)

    def _create(self, name: str, template: str | None = None) -> None:
        self._own(name)
        if template is None and self._take_spare(name):
            return
        parts = [f'CREATE DATABASE "{name}"']
        if template is not None:
            parts.append(f'TEMPLATE "{template}"')
        if self.endpoint.is_ours and int(self.endpoint.version.partition(".")[0]) >= 15:
            # quicker for small databases; on a server with other users its checkpoint would be felt
            parts.append("STRATEGY FILE_COPY")
        self._execute(" ".join(parts))

    def _take_spare(self, name: str) -> bool:
        """Take the empty database that a server of our own has ready; tell whether nobody else was first."""
        if not self.endpoint.is_ours:
            return False
        try:
            self._execute(f'ALTER DATABASE "{SPARE}" RENAME TO "{name}"')
        except Exception as error:
            if sqlstate(error) == NO_SUCH_DATABASE:
                return False
            raise
        return True

    def _own(self, name: str) -> None:
        if not self.endpoint.is_ours:  # ours end with the run, databases and all
            self._services.own("on postgres", f"{self.endpoint.host}:{self.endpoint.port}/{name}")

    # --- connections

    def connect(self) -> Any:
        """Open a connection to the worker's database for the guard.

        Raises:
            ServiceDied: the server ended; by now it has been started again.
        """
        if self._lost:
            self.ensure()
            self._lost = False
        options = {
            "lock_timeout": f"{self._lock_timeout * 1000:.0f}",
            # a server of somebody else's may end whoever thinks for long in a transaction: a debugged test does
            "idle_in_transaction_session_timeout": "0",
        }
        name = f"{APPLICATION} (the test)"
        return self._reach(lambda: connect(self.endpoint, self.name, self._driver, options=options, application_name=name))

    @contextmanager
    def guard(self) -> Iterator[Guard]:
        """Give the transaction isolation on this database."""
        guard = Guard(self.connect, self.url, renew=self.renew, bystanders=self.bystanders)
        try:
            yield guard
        finally:
            guard.close()

    @contextmanager
    def test(self) -> Iterator[Any]:
        """Give one test a plain engine on the worker's database; the next test gets the database anew."""
        engine = self._plain_engine()
        try:
            yield engine
        finally:
            engine.dispose()
            self.renew()

    @contextmanager
    def closing(self, thing: Any) -> Iterator[Any]:
        """Close a session or connection at the end of its fixture."""
        try:
            yield thing
        finally:
            thing.close()

    def sessionmaker(self, engine: Any) -> Any:
        """Return a factory of sessions for one test."""
        from sqlalchemy.orm import sessionmaker

        return sessionmaker(engine)

    def admin_engine(self) -> Any:
        """Return a plain engine on the worker's database, outside all isolation."""
        engine = self._plain_engine()
        self._cleaners.append(engine.dispose)
        return engine

    def _plain_engine(self) -> Any:
        from sqlalchemy import create_engine, event

        engine = create_engine(self.url)
        # a test that waits for a lock of its own fixtures would wait for ever
        options = {"lock_timeout": f"{self._lock_timeout * 1000:.0f}"}

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

    def bystanders(self, but: str = f"{APPLICATION} (the test)") -> str:
        """Describe who has a transaction open in the worker's database, besides connections of the application `but`."""
        with suppress(Exception):
            rows = self._rows(BYSTANDERS, (self.name,))
            lines = [
                f"  pid {pid} ({application or 'no application name'}), {state}, for {age:.1f} s: {' '.join(query.split())}"
                for pid, application, state, age, query in rows
                if application != but
            ]
            if lines:
                return "\n".join(["other transactions open in this test's database, one of which holds the lock:", *lines])
        return ""

    def close(self) -> None:
        """Close our connections; the databases go with their server, or are dropped by the host."""
        for clean in self._cleaners:
            clean()
        if self._admin is not None:
            self._admin.close()

    def _execute(self, sql: str) -> None:
        with self._reach(self._admin_connection).cursor() as cursor:
            cursor.execute(sql)

    def _rows(self, sql: str, parameters: tuple[object, ...]) -> list[tuple[Any, ...]]:
        with self._reach(self._admin_connection).cursor() as cursor:
            cursor.execute(sql, parameters)
            rows: list[tuple[Any, ...]] = cursor.fetchall()
            return rows

    def _admin_connection(self) -> Any:
        if self._admin is None or self._admin.closed:
            self._admin = connect(self.endpoint, self.endpoint.database, "psycopg2")
            self._admin.autocommit = True
        return self._admin

    def _reach(self, attempt: Callable[[], Any]) -> Any:
        """Connect; wait out a recovery, and see to a server that has died."""
        deadline = time.monotonic() + STARTING_TIMEOUT
        while True:
            try:
                return attempt()
            except Exception as error:
                if not _is_connection_error(error):
                    raise
                if _is_starting(error) and time.monotonic() < deadline:
                    time.sleep(0.01)
                else:
                    self._after_failure(error)

    def _after_failure(self, error: Exception) -> None:
        end, log = self._services.check("postgres")
        if not end:
            where = f"{self.endpoint.host}:{self.endpoint.port} ({self.endpoint.provider}, {self.endpoint.source})"
            raise ServiceUnavailable(f"postgres at {where} cannot be reached: {error}") from error
        self._lost = True
        if self._admin is not None:
            self._admin.close()
        indented = "\n".join(f"    {line}" for line in log.splitlines())
        raise ServiceDied(
            f"postgres ended during this run ({end}); it has been started again for the tests that follow.\n"
            f"  the last lines that it wrote:\n{indented}"
        ) from error


def _is_starting(error: Exception) -> bool:
    # libpq gives no SQLSTATE for a connection that was refused
    return sqlstate(error) == STARTING or "recovery mode" in str(error) or "starting up" in str(error)


def _is_connection_error(error: Exception) -> bool:
    return type(error).__name__ in ("OperationalError", "InterfaceError", "ConnectionTimeout")
