"""PostgreSQL for tests: options, the `pg` mark and the fixtures."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import pytest

from ..plugin import CoreSettings, plain_errors, run_of
from ..settings import SETTINGS, Section, named_values, option, positive, size, version_number

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine
    from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession
    from sqlalchemy.orm import Session, sessionmaker

    from ..bound import BoundApplication
    from ..postgres.address import DatabaseAddress
    from ..postgres.database import Database
    from ..postgres.given import GivenUrl
    from ..postgres.guard import Guard
    from ..postgres.guard_async import AsyncGuard
    from ..postgres.owned import RealDatabase
    from ..postgres.queries import Queries
    from ..postgres.real import RealCommits
    from ..services.client import Testbed
    from ..services.model import Endpoint, ServiceSpec
    from ..session import Run


def quoted_well(lines: Sequence[str]) -> None:
    """Check arguments that are split as a shell does it."""
    from ..postgres.arguments import words

    words(lines)


def server_arguments(lines: Sequence[str]) -> None:
    """Check arguments for the server: those that say where it listens are not the user's."""
    from ..postgres.arguments import check_arguments

    check_arguments(lines)


def address(url: str) -> None:
    """Check that a URL is one of PostgreSQL."""
    if url.partition("://")[0].partition("+")[0] not in ("postgresql", "postgres"):
        raise ValueError("does not begin with postgresql://")


def references(lines: Sequence[str]) -> None:
    """Check `module:name` references; `[key]` after it names a bind key of Flask-SQLAlchemy."""
    from ..postgres.targets import check_references

    check_references(lines)


def isolation_lines(lines: Sequence[str]) -> None:
    """Check the lines of `testbed_pg_isolation`; that its folders exist is seen later."""
    from .. import isolation

    isolation.isolation_lines(lines)


class PostgresSettings(Section, prefix="pg"):
    """Options of PostgreSQL."""

    image: str = option("postgres:18", help="Docker image of the server.")
    version: str | None = option(
        None, check=version_number, help="Version that the server must have, such as 17 or 17.2; without it: any."
    )
    url: str | None = option(None, secret=True, check=address, help="URL of a PostgreSQL server to use; none is started then.")
    bindir: Path | None = option(
        None, help="Directory with the server's programs, such as initdb and postgres, for the provider local."
    )
    schema: tuple[str, ...] = option(
        (), help="What every test finds in its database: module:Base, module:metadata, file.sql, alembic.ini, module:callable."
    )
    seed: tuple[str, ...] = option(
        (),
        help="Rows that every test finds, put in after the schema: table.csv, a folder of CSV files, file.sql, module:callable.",
    )
    bind: tuple[str, ...] = option(
        (),
        check=references,
        help="Engines and session factories of the application that lead to each test's engine, such as shop.db:SessionLocal.",
    )
    driver: Literal["psycopg2", "psycopg"] = option("psycopg2", help="Driver of the engines and sessions.")
    async_driver: Literal["asyncpg", "psycopg"] = option("asyncpg", help="Driver of the async engines and sessions.")
    args: tuple[str, ...] = option(
        (), check=server_arguments, help="More arguments of the server's program, such as -c work_mem=64MB."
    )
    environment: tuple[str, ...] = option(
        (), check=named_values, help="More environment variables of the container, as NAME=value."
    )
    initdb_args: tuple[str, ...] = option(
        (), check=quoted_well, help="More arguments of initdb, which makes the server's data directory."
    )
    tmpfs: str = option(
        "1g",
        check=size,
        help="Size limit of the memory that holds the container's data, such as 512m or 1g; empty: they are on its disk.",
    )
    timeout: float = option(60.0, check=positive, help="Seconds that the start of the server may take.")
    isolation: tuple[str, ...] = option(
        (),
        check=isolation_lines,
        help="How tests are kept apart: transaction or database; for some folders another way, as 'database: tests/api'. "
        "Without it: transaction, and database where testbed_env exports an address.",
    )
    lock_timeout: float = option(
        10.0, check=positive, help="Seconds that a statement of a test waits for a lock before it fails."
    )


SECTION = PostgresSettings
KIND = "postgres"
MARKS = (
    """\
pg(isolation='transaction', reset_sequences=False): how this test is kept apart from the others on PostgreSQL.
    isolation='transaction': it runs in a transaction that is rolled back; the default, unless testbed_env exports an address.
    isolation='database': it commits for real, on the tests' database; what it wrote is put back afterwards.
    reset_sequences=False: in transaction isolation, ids go on behind those of earlier tests.
    reset_sequences=True: ids begin as in a database just made, behind the rows that the test finds; in database isolation they
        always do. See docs/how-to/wider-scopes.md#numbers.
""",
)
MODES = ("transaction", "database")
"""How tests are kept apart."""
ARGUMENTS: dict[str, tuple[object, ...] | type] = {"isolation": MODES, "reset_sequences": bool}
DJANGO = "pytest_testbed.django:migrate"
"""An entry of the schema that leaves pytest-django nothing to set up."""
EXPORTS = {"pg": ("url", "dsn", "host", "port", "user", "password", "database")}
"""What `testbed_env` can say of a service of this part."""
GIVEN: pytest.StashKey[GivenUrl] = pytest.StashKey()
FOUND = pytest.StashKey[bool]()
"""Whether it was looked for already: our own export must not be taken for a server."""
BOUND: pytest.StashKey[BoundApplication] = pytest.StashKey()
ADDRESS: pytest.StashKey[DatabaseAddress] = pytest.StashKey()
"""On the configuration: where applications reach this process's database, once that has been given away."""


@pytest.hookimpl(trylast=True)
def pytest_configure(config: pytest.Config) -> None:
    """Find out which server is given, before anything of ours or of a test can change the environment."""
    settings = config.stash.get(SETTINGS, None)
    if settings is None:  # somebody asks for help
        return
    mine = settings[PostgresSettings]
    find_given(config)
    if mine.isolation:
        from ..isolation import check_folders

        check_folders(config)
    if mine.bind or DJANGO in mine.schema or settings[CoreSettings].keep_failed:
        from ..databases import register_helpers

        register_helpers(config)


def find_given(config: pytest.Config) -> None:
    """Find out, once, which server is given."""
    settings = config.stash[SETTINGS]
    if FOUND in config.stash:
        return
    config.stash[FOUND] = True
    if (url := settings[PostgresSettings].url) or os.environ.get("DATABASE_URL"):
        from ..postgres.given import given_url

        config.stash[GIVEN] = given_url(url, settings.source(PostgresSettings, "url"), os.environ)


def export_address(config: pytest.Config, run: Run, prefix: str) -> DatabaseAddress:
    """Choose where applications will reach this process's database, and let the host hold the port."""
    from ..addresses import exported

    return exported(config, run)


def pytest_testbed_services(config: pytest.Config) -> Iterable[ServiceSpec]:
    """Offer PostgreSQL."""
    from ..databases import offered

    return [offered(config)]


@pytest.hookimpl(wrapper=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> Iterator[None]:
    """Refuse a `pg` mark with an argument that it does not have."""
    result = yield
    if any(item.get_closest_marker("pg") for item in items):
        from ..marks import refuse_bad_marks

        refuse_bad_marks(config, items, "pg", ARGUMENTS)
    if any("pg_admin_engine" in getattr(item, "fixturenames", ()) for item in items):
        from ..admins import look_after

        look_after(config, items)
    return result


# --- fixtures for users: those that are used most come first, as `pytest --fixtures` shows them in this order


@pytest.fixture
def pg_session(pg_sessionmaker: sessionmaker[Session], request: pytest.FixtureRequest) -> Iterator[Session]:
    """A SQLAlchemy ORM session of this test; whatever it commits is undone when the test ends.

    It is made by `pg_sessionmaker` on `pg_engine`, and closed after the test. If the test leaves work in it that breaks a
    deferred constraint, that is reported as an error of this test.

    See docs/tutorial/first-test.md.
    """
    from ..isolation import isolation

    with isolation(request).closing(pg_sessionmaker()) as session:
        yield session


@pytest.fixture
def pg_sessionmaker(pg_engine: Engine, request: pytest.FixtureRequest) -> sessionmaker[Session]:
    """A factory of ORM sessions on `pg_engine`, for code that opens sessions by itself.

    Use it for further sessions in a test, too. Override it to have other session options: `pg_session` is made by it.
    """
    from ..isolation import isolation

    factory: sessionmaker[Session] = isolation(request).sessionmaker(pg_engine)
    return factory


@pytest.fixture
def pg_connection(pg_engine: Engine, request: pytest.FixtureRequest) -> Iterator[Connection]:
    """A SQLAlchemy connection on `pg_engine`; it is closed when the test ends."""
    from ..isolation import isolation

    with isolation(request).closing(pg_engine.connect()) as connection:
        yield connection


@pytest.fixture
def pg_engine(
    request: pytest.FixtureRequest,
    pg_schema: Sequence[object],
    pg_seed: Sequence[object],
    _pg_database: Database,
    _pg_guard: Guard,
    _pg_test: ExitStack,
) -> Engine:
    """A SQLAlchemy engine for test and application; what is committed on it is undone after the test.

    Whatever connects through it belongs to the test: with transaction isolation it is undone afterwards, with database
    isolation the database is put back. Give it to the application under test. It must not be used after the test has ended.

    Its `url` is that of `pg_url`. It is a `sqlalchemy.URL` with the driver of `testbed_pg_driver`, the password and the name,
    and `create_engine` takes it as it is. An engine made from it is outside of the test's transaction: use it in a test with
    database isolation. A test in a transaction that writes by it fails: see docs/explanation/isolation.md#past-the-engine.
    """
    from ..isolation import engine_of

    with plain_errors(request.config):
        _pg_database.check_schema(pg_schema, pg_seed)
        return engine_of(request, _pg_guard, _pg_test)


@pytest.fixture
def pg_database(_pg_owned: RealDatabase) -> RealDatabase:
    """A database in which this test commits for real; it is put back when the test ends.

    Asking for it means database isolation, as for `pg_url` and `pg_dsn`. A test that is marked
    `pg(isolation="transaction")`, or has begun in a transaction before it asks for one of the three while it runs, gets an
    `IsolationError`.

    These are addresses of a test. A fixture of a wider scope takes the address from a variable that `testbed_env` sets: see
    docs/how-to/existing-suite.md.
    """
    return _pg_owned


@pytest.fixture
def pg_url(_pg_owned: RealDatabase) -> str:
    """The tests' database as a SQLAlchemy URL, for an application that connects by itself.

    It names the driver of `testbed_pg_driver` (`postgresql+psycopg2://…`), and may be used from any thread or process. It leads
    through a port of 127.0.0.1 that stays the same for the whole run. A test that asks for it commits for real, as with
    `pg_database`.
    """
    return _pg_owned.url


@pytest.fixture
def pg_dsn(_pg_owned: RealDatabase) -> str:
    """The tests' database as a libpq string (`host=… port=… dbname=…`), for drivers without SQLAlchemy.

    The whole is `host=127.0.0.1 port=… user=… password=… dbname=…`. A test that asks for it commits for real, as with
    `pg_database`.
    """
    return _pg_owned.dsn


@pytest.fixture
def pg_queries(request: pytest.FixtureRequest) -> Iterator[Queries]:
    """The SQL statements that the test has sent since it asked for this fixture, with assertions.

    It is a sequence of `Query`: `statement`, `parameters`, `rows`, `milliseconds` and the application's line. It has
    `assert_max`, `assert_count`, `assert_no_repeats` and more.

    See docs/how-to/queries.md.
    """
    from ..captured import queries_of

    with queries_of(request.node) as queries:
        yield queries


@pytest.fixture(scope="module")
def pg_module_session(
    request: pytest.FixtureRequest, pg_schema: Sequence[object], pg_seed: Sequence[object], _pg_database: Database
) -> Iterator[Session]:
    """An ORM session for rows that all tests of a module find; each test is rolled back onto them.

    It is meant for fixtures of that scope: what such a fixture stores, every test of the module finds unchanged.

    See docs/how-to/wider-scopes.md.
    """
    from ..wide import layer_for

    _pg_database.check_schema(pg_schema, pg_seed)
    with plain_errors(request.config), layer_for(request, "pg_module_session") as session:
        yield session


@pytest.fixture(scope="class")
def pg_class_session(
    request: pytest.FixtureRequest, pg_schema: Sequence[object], pg_seed: Sequence[object], _pg_database: Database
) -> Iterator[Session]:
    """An ORM session for rows that all tests of a class find; each test is rolled back onto them.

    It is meant for fixtures of that scope: what such a fixture stores, every test of the class finds unchanged.

    See docs/how-to/wider-scopes.md.
    """
    from ..wide import layer_for

    _pg_database.check_schema(pg_schema, pg_seed)
    with plain_errors(request.config), layer_for(request, "pg_class_session") as session:
        yield session


@pytest.fixture
def pg_async_session(pg_async_engine: AsyncEngine, request: pytest.FixtureRequest) -> Iterator[AsyncSession]:
    """A SQLAlchemy `AsyncSession` of this test; whatever it commits is undone when the test ends.

    It is made on `pg_async_engine`, and closed after the test. It needs the extra `async`.

    See docs/how-to/async.md.
    """
    from sqlalchemy.ext.asyncio import AsyncSession

    from ..isolation import async_isolation

    with async_isolation(request).closing(AsyncSession(pg_async_engine)) as session:
        yield session


@pytest.fixture
def pg_async_engine(
    request: pytest.FixtureRequest,
    pg_schema: Sequence[object],
    pg_seed: Sequence[object],
    _pg_database: Database,
    _pg_test: ExitStack,
) -> Iterator[AsyncEngine]:
    """A SQLAlchemy `AsyncEngine` for test and application; what is committed on it is undone.

    It has the promises of `pg_engine`. In transaction isolation it is another connection than that of `pg_engine`, and a test
    cannot have both. It needs the extra `async`.

    See docs/how-to/async.md.
    """
    from ..isolation import async_isolation

    with plain_errors(request.config):
        _pg_database.check_schema(pg_schema, pg_seed)
        with async_isolation(request, anew=True).test() as engine:
            yield engine


@pytest.fixture(scope="session")
def pg_schema(pytestconfig: pytest.Config) -> Sequence[object]:
    """The schema that every test finds, from `testbed_pg_schema`; override it to give Python objects.

    An override has the scope session, stands in a `conftest.py`, and returns a list of what the option takes, or of objects
    such as `Base` themselves.

    See docs/how-to/schema.md.
    """
    return pytestconfig.stash[SETTINGS][PostgresSettings].schema


@pytest.fixture(scope="session")
def pg_seed(pytestconfig: pytest.Config) -> Sequence[object]:
    """The rows that every test finds, from `testbed_pg_seed`; override it to give Python objects.

    They are put into the tables after the schema is there. It is overridden as `pg_schema` is.

    See docs/how-to/seeds.md.
    """
    return pytestconfig.stash[SETTINGS][PostgresSettings].seed


@pytest.fixture(scope="session")
def pg_admin_engine(_pg_database: Database) -> Engine:
    """A SQLAlchemy engine on the tests' database that is outside all isolation.

    What it commits in a fixture of a wider scope stays as long as that fixture; what it commits in a test with database
    isolation goes with that test. It does not see what a test in transaction isolation has stored.
    """
    engine: Engine = _pg_database.admin_engine()
    return engine


@pytest.fixture(scope="session")
def pg_service(testbed: Testbed) -> Endpoint:
    """The PostgreSQL server of this run: its address, its version, and where it came from.

    For the tests' own database take `pg_engine` or `pg_url`: `database` is a maintenance database, and the tests' databases
    have other names. `user` may do everything on a server of ours; on an external one it is the role of the URL.

    `url()` begins with `postgresql://`, without a driver. SQLAlchemy 2.1 takes that for psycopg 3, SQLAlchemy 2.0 for psycopg2.
    Say the driver where it matters: `pg_service.url("postgres", scheme="postgresql+psycopg2")`. What comes by the server's own
    address is not looked after: see docs/explanation/isolation.md#past-the-engine.
    """
    __tracebackhide__ = True
    return testbed.endpoint("postgres")


# --- what they stand on


@pytest.fixture(scope="session")
def _pg_database(
    testbed: Testbed, pg_service: Endpoint, pg_schema: Sequence[object], pg_seed: Sequence[object], pytestconfig: pytest.Config
) -> Iterator[Database]:
    """The database that is this worker's own."""
    from ..databases import own_database

    with own_database(testbed, pytestconfig, pg_schema, pg_seed) as database:
        yield database


@pytest.fixture(scope="session")
def _pg_guard(_pg_database: Database) -> Iterator[Guard]:
    """The kept connection of the transaction isolation."""
    with _pg_database.guard() as guard:
        yield guard


@pytest.fixture(scope="session")
def _pg_real(_pg_database: Database, pytestconfig: pytest.Config) -> Iterator[RealCommits]:
    """The database isolation: the worker's database, which is put back in place after each test."""
    from ..databases import own_real_commits

    with own_real_commits(pytestconfig, _pg_database) as real:
        yield real


@pytest.fixture
def _pg_test(request: pytest.FixtureRequest) -> Iterator[ExitStack]:
    """What ends with the test on PostgreSQL, after the application (`testbed_pg_bind`) has been given back."""
    from ..databases import bound_application

    with plain_errors(request.config), ExitStack() as stack, bound_application(request):
        yield stack


@pytest.fixture
def _pg_apart(
    request: pytest.FixtureRequest,
    pg_schema: Sequence[object],
    pg_seed: Sequence[object],
    _pg_database: Database,
    _pg_test: ExitStack,
) -> None:
    """What puts the database back after a test that may have committed for real."""
    from ..isolation import apart, real_commits

    everywhere = request.config.pluginmanager.getplugin("pytest_testbed.everywhere")
    if everywhere is None or not everywhere.is_apart:
        with plain_errors(request.config):
            _pg_database.check_schema(pg_schema, pg_seed)
            _pg_test.enter_context(apart(request.node, real_commits(request)))


@pytest.fixture
def _pg_apart_if_real(request: pytest.FixtureRequest) -> None:
    """The same for a test that has none of our engines but `pg_admin_engine`."""
    from ..isolation import mode_of

    if mode_of(request.node) == "database":
        request.getfixturevalue("_pg_apart")


@pytest.fixture(scope="session")
def _pg_address(pytestconfig: pytest.Config, _pg_real: RealCommits) -> DatabaseAddress:
    """Where applications reach this worker's database, which is there by now."""
    from ..addresses import database_address

    with plain_errors(pytestconfig):  # where it could not be opened before
        return database_address(pytestconfig, run_of(pytestconfig))


@pytest.fixture
def _pg_commits(request: pytest.FixtureRequest, _pg_apart: None) -> None:
    """What lets a test commit for real that asks for an address, be it while it runs."""
    from ..isolation import commit_for_real

    commit_for_real(request)


@pytest.fixture
def _pg_may_commit(request: pytest.FixtureRequest) -> None:
    """What refuses an address to a test that is in a transaction, before anything is done for it."""
    from ..isolation import refuse_commits

    with plain_errors(request.config):
        refuse_commits(request)


@pytest.fixture
def _pg_owned(
    _pg_may_commit: None,
    _pg_address: DatabaseAddress,
    _pg_real: RealCommits,
    _pg_commits: None,
    _pg_test: ExitStack,
    pytestconfig: pytest.Config,
) -> RealDatabase:
    """The database of a test that commits for real."""
    from ..postgres.owned import RealDatabase

    return RealDatabase(_pg_address, _pg_real, pytestconfig.stash[SETTINGS][PostgresSettings].driver, _pg_test)


@pytest.fixture(scope="session")
def _pg_async_guard(_pg_database: Database, pytestconfig: pytest.Config) -> Iterator[AsyncGuard]:
    """The kept connections of the transaction isolation for async engines."""
    with _pg_database.async_guard(pytestconfig.stash[SETTINGS][PostgresSettings].async_driver) as guard:
        yield guard
