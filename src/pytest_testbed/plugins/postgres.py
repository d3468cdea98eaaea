"""PostgreSQL for tests: options, the `pg` mark and the fixtures."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import pytest

from ..plugin import CoreSettings, is_controller, run_of
from ..settings import SETTINGS, Section, option, positive

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine
    from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession
    from sqlalchemy.orm import Session, sessionmaker

    from ..postgres.database import Database
    from ..postgres.given import GivenUrl
    from ..postgres.guard import Guard
    from ..postgres.guard_async import AsyncGuard
    from ..postgres.plain_async import PlainAsync
    from ..services.client import Testbed
    from ..services.model import Endpoint, ServiceSpec


def quoted_well(lines: Sequence[str]) -> None:
    """Check arguments that are split as a shell does it."""
    words(lines)


OURS = ("port", "listen_addresses", "unix_socket_directories", "data_directory", "external_pid_file")
"""Settings of a local server that the run chooses."""


def server_arguments(lines: Sequence[str]) -> None:
    """Check arguments for the server: those that say where it listens are not the user's."""
    for word in words(lines):
        name = word.removeprefix("-c").lstrip("-").partition("=")[0].strip().replace("-", "_").lower()
        if ("=" in word and name in OURS) or word[:2] in ("-p", "-h", "-k", "-D", "-i"):
            raise ValueError(f"holds {word!r}, which is for the run to choose")


def version_number(text: str) -> None:
    """Check a version: 17, or 17.2."""
    if not all(part.isdigit() for part in text.split(".", 1)):
        raise ValueError("is not a version such as 17 or 17.2")


def size(text: str) -> None:
    """Check a size for a memory file system: digits, and b, k, m or g."""
    digits = text[:-1] if text[-1:].lower() in ("b", "k", "m", "g") else text
    if text and not digits.isdigit():
        raise ValueError("is not a size such as 512m or 1g")


def address(url: str) -> None:
    """Check that a URL is one of PostgreSQL."""
    if url.partition("://")[0].partition("+")[0] not in ("postgresql", "postgres"):
        raise ValueError("does not begin with postgresql://")


def named_values(lines: Sequence[str]) -> None:
    """Check `NAME=value` lines."""
    for line in lines:
        if not line.partition("=")[0].isidentifier() or "=" not in line:
            raise ValueError(f"holds {line!r}, which is not of the form NAME=value")


class PostgresSettings(Section, prefix="pg"):
    """Options of PostgreSQL."""

    image: str = option("postgres:18", help="Image that the docker provider runs.")
    version: str | None = option(None, check=version_number, help="Version that the server must have, such as 17 or 17.2.")
    url: str | None = option(None, secret=True, check=address, help="Use the server at this URL; start none.")
    bindir: Path | None = option(None, help="Directory of the server's binaries for the local provider.")
    schema: tuple[str, ...] = option(
        (), help="What every test finds in its database: module:Base, module:metadata, file.sql, alembic.ini, module:callable."
    )
    driver: Literal["psycopg2", "psycopg"] = option("psycopg2", help="Driver of the engines and sessions.")
    async_driver: Literal["asyncpg", "psycopg"] = option("asyncpg", help="Driver of the async engines and sessions.")
    args: tuple[str, ...] = option((), check=server_arguments, help="More arguments for the server, such as -c work_mem=64MB.")
    environment: tuple[str, ...] = option((), check=named_values, help="More variables of the container, as NAME=value.")
    initdb_args: tuple[str, ...] = option((), check=quoted_well, help="More arguments for initdb.")
    tmpfs: str = option("1g", check=size, help="Cap of the container's memory file system for data; empty for none.")
    timeout: float = option(60.0, check=positive, help="Seconds that the server's start may take.")
    lock_timeout: float = option(10.0, check=positive, help="Seconds that a statement of a test waits for a lock.")


SECTION = PostgresSettings
MARKS = (
    "pg(isolation='transaction'): how this test is kept apart from the others on PostgreSQL; with 'database' it "
    "commits for real, on a database that the next test gets anew",
)
ARGUMENTS = {"isolation": ("transaction", "database")}
ISOLATION: pytest.StashKey[Guard | Database] = pytest.StashKey()
"""On a test: what keeps it apart, once that has been found."""
DATABASE: pytest.StashKey[Database] = pytest.StashKey()
"""On the configuration: this process's database, while there is one."""
GIVEN: pytest.StashKey[GivenUrl] = pytest.StashKey()
ASYNC: pytest.StashKey[AsyncGuard | PlainAsync] = pytest.StashKey()
"""On a test: what gives it its async engine."""


def words(lines: Sequence[str]) -> list[str]:
    """Return arguments for a command line, quotes taken as a shell does."""
    from shlex import split

    return split(" ".join(lines))


@pytest.hookimpl(trylast=True)
def pytest_configure(config: pytest.Config) -> None:
    """Find out which server is given, before anything of ours or of a test can change the environment."""
    settings = config.stash.get(SETTINGS, None)
    if settings is not None and ((url := settings[PostgresSettings].url) or os.environ.get("DATABASE_URL")):
        from ..postgres.given import given_url

        config.stash[GIVEN] = given_url(url, settings.source(PostgresSettings, "url"), os.environ)
    if settings is not None and settings[CoreSettings].keep_failed:
        from ..keep import KeepFailed

        config.pluginmanager.register(KeepFailed(), "pytest_testbed.keep")


def pytest_testbed_services(config: pytest.Config) -> Iterable[ServiceSpec]:
    """Offer PostgreSQL."""
    from ..postgres.given import GivenUrl
    from ..postgres.service import postgres_spec

    mine, given = config.stash[SETTINGS][PostgresSettings], config.stash.get(GIVEN, GivenUrl())
    spec = postgres_spec(
        image=mine.image,
        version=mine.version,
        url=given.url,
        url_source=given.source,
        bindir=str(mine.bindir or ""),
        args=words(mine.args),
        environment=mine.environment,
        initdb_args=words(mine.initdb_args),
        tmpfs=mine.tmpfs,
        timeout=mine.timeout,
        driver=mine.driver,
        project=str(config.rootpath),
        environ={},  # looked at when pytest started
    )
    if mine.schema:
        spec = spec.with_(imports=(*spec.imports, "pytest_testbed.postgres.schema", "pytest_testbed.postgres.evidence"))
    if given.passed_over:
        spec = spec.with_(options={**spec.options, "url_remedy": given.passed_over})
    return [spec]


def pytest_report_header(config: pytest.Config) -> list[str]:
    """Say where a general variable was passed over; xdist's controller does not collect, so says it at once."""
    return passed_over(config) if is_controller(config) else []


def pytest_report_collectionfinish(config: pytest.Config, items: Sequence[pytest.Item]) -> list[str]:
    """Say where a general variable was passed over, if anybody wanted PostgreSQL."""
    lines = passed_over(config)
    return lines if lines and any("postgres" in kinds for kinds in run_of(config).wanted(items).values()) else []


def passed_over(config: pytest.Config) -> list[str]:
    """Return the line on a variable that was passed over, if one was and the user wants to read."""
    given = config.stash.get(GIVEN, None)
    return [f"testbed: {given.passed_over}"] if given and given.passed_over and config.get_verbosity() >= 0 else []


@pytest.hookimpl(wrapper=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> Iterator[None]:
    """Refuse a `pg` mark with an argument that it does not have."""
    result = yield
    if any(item.get_closest_marker("pg") for item in items):
        from ..marks import refuse_bad_marks

        refuse_bad_marks(config, items, "pg", ARGUMENTS)
    return result


@contextmanager
def plain_errors(config: pytest.Config) -> Iterator[None]:
    """Show errors whose text says all without a traceback through our files; `--full-trace` shows it."""
    try:
        yield
    except plain_classes() as error:
        if config.getoption("fulltrace", False):
            raise
        # not `pytest.fail`: what led to the error is in its text, and would be shown once more
        raise pytest.fail.Exception(f"{type(error).__name__}: {error}", pytrace=False) from None


def plain_classes() -> tuple[type[Exception], ...]:
    """Return those errors' classes; where none is raised, their file is not loaded."""
    from ..errors import ConfigurationError, IsolationError, SchemaError

    return (ConfigurationError, IsolationError, SchemaError)


# --- fixtures for users


@pytest.fixture(scope="session")
def pg_service(testbed: Testbed) -> Endpoint:
    """The PostgreSQL server: host, port, user, password, `url(database)`, version, provider."""
    __tracebackhide__ = True
    return testbed.endpoint("postgres")


@pytest.fixture(scope="session")
def pg_schema(pytestconfig: pytest.Config) -> Sequence[object]:
    """What every test's database has: the entries of `testbed_pg_schema`. Override it to give objects."""
    return pytestconfig.stash[SETTINGS][PostgresSettings].schema


@pytest.fixture(scope="session")
def _pg_database(
    testbed: Testbed, pg_service: Endpoint, pg_schema: Sequence[object], pytestconfig: pytest.Config
) -> Iterator[Database]:
    """The database that is this worker's own."""
    from ..postgres.database import worker_database

    options = pytestconfig.stash[SETTINGS][PostgresSettings]
    worker = getattr(pytestconfig, "workerinput", {}).get("workerid", "main")
    with plain_errors(pytestconfig), worker_database(testbed, pg_schema, pytestconfig.rootpath, options, worker) as database:
        pytestconfig.stash[DATABASE] = database
        run_of(pytestconfig).begin_log("postgres", database.own_lines)
        yield database


@pytest.fixture(scope="session")
def pg_admin_engine(_pg_database: Database) -> Engine:
    """A plain SQLAlchemy engine on the tests' database, outside all isolation: what it commits stays."""
    engine: Engine = _pg_database.admin_engine()
    return engine


@pytest.fixture(scope="session")
def _pg_guard(_pg_database: Database) -> Iterator[Guard]:
    """The kept connection of the transaction isolation."""
    with _pg_database.guard() as guard:
        yield guard


def isolation(request: pytest.FixtureRequest, *, anew: bool = False, guard: str = "_pg_guard") -> Guard | Database:
    """Return what keeps this test apart: the guarded engine, or the database itself; `anew` for each run of a test."""
    stash = request.node.stash
    if anew or ISOLATION not in stash:
        mark = request.node.get_closest_marker("pg")
        real = mark is not None and mark.kwargs.get("isolation") == "database"
        if not real:
            refuse_both(request)
        stash[ISOLATION] = request.getfixturevalue("_pg_database" if real else guard)
    found: Guard | Database = stash[ISOLATION]
    return found


@pytest.fixture
def pg_engine(
    request: pytest.FixtureRequest, pg_schema: Sequence[object], _pg_database: Database, _pg_guard: Guard
) -> Iterator[Engine]:
    """A SQLAlchemy engine on which nothing outlives the test, whoever commits; hand it to the application."""
    with plain_errors(request.config):
        _pg_database.check_schema(pg_schema)
        with isolation(request, anew=True).test() as engine:
            yield engine


@pytest.fixture
def pg_connection(pg_engine: Engine, request: pytest.FixtureRequest) -> Iterator[Connection]:
    """A SQLAlchemy connection of `pg_engine`."""
    with isolation(request).closing(pg_engine.connect()) as connection:
        yield connection


@pytest.fixture
def pg_sessionmaker(pg_engine: Engine, request: pytest.FixtureRequest) -> sessionmaker[Session]:
    """A factory of ORM sessions on `pg_engine`."""
    factory: sessionmaker[Session] = isolation(request).sessionmaker(pg_engine)
    return factory


@pytest.fixture
def pg_session(pg_sessionmaker: sessionmaker[Session], request: pytest.FixtureRequest) -> Iterator[Session]:
    """An ORM session whose commits are undone after the test."""
    with isolation(request).closing(pg_sessionmaker()) as session:
        yield session


# --- async


def refuse_both(request: pytest.FixtureRequest) -> None:
    """Refuse a test in transaction isolation that has a sync and an async engine: those are two transactions."""
    if {"pg_engine", "pg_async_engine"} <= {request.fixturename, *request.fixturenames}:
        from ..errors import IsolationError

        raise IsolationError(
            "this test has pg_engine and pg_async_engine (or fixtures on them), which in transaction isolation are two "
            "connections that never see each other's rows. Use one of them, such as pg_async_session.run_sync(…) for "
            "synchronous code, or database isolation: @pytest.mark.pg(isolation='database')."
        )


def async_isolation(request: pytest.FixtureRequest, *, anew: bool = False) -> AsyncGuard | PlainAsync:
    """Return what gives this test its async engine; `anew` for each run of a test."""
    stash = request.node.stash
    if anew or ASYNC not in stash:
        found: Any = isolation(request, anew=True, guard="_pg_async_guard")
        if found is request.config.stash[DATABASE]:
            request.getfixturevalue("pg_engine")  # whose end puts the database back
            found = found.plain_async(request.config.stash[SETTINGS][PostgresSettings].async_driver)
        stash[ASYNC] = found
    made: AsyncGuard | PlainAsync = stash[ASYNC]
    return made


@pytest.fixture(scope="session")
def _pg_async_guard(_pg_database: Database, pytestconfig: pytest.Config) -> Iterator[AsyncGuard]:
    """The kept connections of the transaction isolation for async engines."""
    with _pg_database.async_guard(pytestconfig.stash[SETTINGS][PostgresSettings].async_driver) as guard:
        yield guard


@pytest.fixture
def pg_async_engine(request: pytest.FixtureRequest, pg_schema: Sequence[object], _pg_database: Database) -> Iterator[AsyncEngine]:
    """A SQLAlchemy async engine on which nothing outlives the test, whoever commits; hand it to the application."""
    with plain_errors(request.config):
        _pg_database.check_schema(pg_schema)
        with async_isolation(request, anew=True).test() as engine:
            yield engine


@pytest.fixture
def pg_async_session(pg_async_engine: AsyncEngine, request: pytest.FixtureRequest) -> Iterator[AsyncSession]:
    """An async ORM session whose commits are undone after the test."""
    from sqlalchemy.ext.asyncio import AsyncSession

    with async_isolation(request).closing(AsyncSession(pg_async_engine)) as session:
        yield session
