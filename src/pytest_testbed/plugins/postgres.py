"""PostgreSQL for tests: options, the `pg` mark and the fixtures."""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import pytest

from ..errors import ConfigurationError
from ..settings import Section, Settings, check_mark, option, positive, register
from ..stash import SETTINGS

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine
    from sqlalchemy.orm import Session, sessionmaker

    from ..postgres.database import Database
    from ..postgres.guard import Guard
    from ..services.client import Testbed
    from ..services.model import Endpoint, ServiceSpec


@dataclass(frozen=True, kw_only=True)
class PostgresSettings(Section, prefix="pg"):
    """Options of PostgreSQL."""

    image: str = option("postgres:18", help="Image that the docker provider runs.")
    version: str | None = option(None, help="Version that the server must have, such as 17 or 17.2.")
    url: str | None = option(None, secret=True, help="Use the server at this URL; start none.")
    bindir: Path | None = option(None, help="Directory of the server's binaries for the local provider.")
    schema: tuple[str, ...] = option(
        (), help="What every test finds in its database: module:Base, module:metadata, file.sql, alembic.ini, module:callable."
    )
    driver: Literal["psycopg2", "psycopg"] = option("psycopg2", help="Driver of the engines and sessions.")
    args: tuple[str, ...] = option((), help="More arguments for the server, such as -c work_mem=64MB.")
    environment: tuple[str, ...] = option((), help="More variables of the container, as NAME=value.")
    initdb_args: tuple[str, ...] = option((), help="More arguments for initdb.")
    tmpfs: str = option("1g", help="Cap of the container's memory file system for data; empty for none.")
    timeout: float = option(60.0, check=positive, help="Seconds that the server's start may take.")
    lock_timeout: float = option(10.0, check=positive, help="Seconds that a statement of a test waits for a lock.")


SECTION = PostgresSettings

MARK = (
    "pg(isolation='transaction'): how this test is kept apart from the others on PostgreSQL; with 'database' it "
    "commits for real, on a database that the next test gets anew"
)
ARGUMENTS = {"isolation": ("transaction", "database")}


def pytest_addoption(parser: pytest.Parser) -> None:
    """Declare the options."""
    register(parser, [PostgresSettings])


def pytest_configure(config: pytest.Config) -> None:
    """Register the mark."""
    config.addinivalue_line("markers", MARK)


def pytest_testbed_services(config: pytest.Config) -> Iterable[ServiceSpec]:
    """Offer PostgreSQL."""
    from ..plugin import CoreSettings
    from ..postgres.service import postgres_spec

    settings = config.stash[SETTINGS]
    mine = settings[PostgresSettings]
    given = given_url(mine.url, settings.source(PostgresSettings, "url"), os.environ)
    return [
        postgres_spec(
            image=mine.image,
            version=mine.version,
            provider=settings[CoreSettings].provider,
            url=given.url,
            url_source=given.source,
            bindir=str(mine.bindir or ""),
            args=[part for line in mine.args for part in line.split()],
            environment=mine.environment,
            initdb_args=[part for line in mine.initdb_args for part in line.split()],
            tmpfs=mine.tmpfs,
            timeout=mine.timeout,
            driver=mine.driver,
        )
    ]


def pytest_report_header(config: pytest.Config) -> list[str]:
    """Say where a general variable was passed over, and how to allow it."""
    settings = config.stash[SETTINGS]
    mine = settings[PostgresSettings]
    passed_over = given_url(mine.url, settings.source(PostgresSettings, "url"), os.environ).passed_over
    return [f"testbed: {passed_over}"] if passed_over else []


@dataclass(frozen=True)
class GivenUrl:
    """A server that somebody named: its URL and who said so; or why a variable was passed over."""

    url: str | None = None
    source: str = ""
    passed_over: str = ""


def given_url(url: str | None, source: str, environ: Mapping[str, str]) -> GivenUrl:
    """Return the server that our own option names, else the one of `DATABASE_URL` where that is safe.

    A general variable may well name the production server: it counts under CI, or where its host is
    this machine or has a single-label name (a service container).
    """
    if url:
        return GivenUrl(url, source)
    general = environ.get("DATABASE_URL", "")
    if not general.startswith(("postgresql://", "postgres://", "postgresql+", "postgres+")):
        return GivenUrl()
    from urllib.parse import parse_qs, urlsplit

    parts = urlsplit(general)
    host = parse_qs(parts.query).get("host", [parts.hostname or ""])[0]
    if environ.get("CI") or is_near(host):
        return GivenUrl(general, "environment DATABASE_URL")
    return GivenUrl(
        passed_over=f"DATABASE_URL names the server {host}, which is not on this machine, and is passed over; "
        "set testbed_pg_url (or TESTBED_PG_URL) to use it"
    )


def is_near(host: str) -> bool:
    """Tell whether a host is this machine, a socket, or a single-label name of a private network."""
    if host == "" or host.startswith("/"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return "." not in host


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Refuse a `pg` mark with an argument that it does not have."""
    for item in items:
        for mark in item.iter_markers("pg"):
            try:
                check_mark("pg", mark.args, mark.kwargs, ARGUMENTS, item.nodeid)
            except ConfigurationError as error:
                raise pytest.UsageError(str(error)) from None


# --- fixtures for users


@pytest.fixture(scope="session")
def pg_service(testbed: Testbed) -> Endpoint:
    """The PostgreSQL server: host, port, user, password, `url(database)`, version, provider."""
    return testbed.endpoint("postgres")


@pytest.fixture(scope="session")
def pg_schema(pytestconfig: pytest.Config) -> Sequence[object]:
    """What every test's database has: the entries of `testbed_pg_schema`. Override it to give objects."""
    return pytestconfig.stash[SETTINGS][PostgresSettings].schema


@pytest.fixture(scope="session")
def _pg_database(
    testbed: Testbed, pg_service: Endpoint, pg_schema: Sequence[object], pytestconfig: pytest.Config
) -> Iterator[Database]:
    """This worker's own database."""
    from ..postgres.database import worker_database

    with worker_database(testbed, pg_schema, pytestconfig.rootpath, pytestconfig.stash[SETTINGS][PostgresSettings]) as database:
        yield database


@pytest.fixture(scope="session")
def pg_admin_engine(_pg_database: Database) -> Engine:
    """A plain SQLAlchemy engine on the tests' database, outside all isolation: what it commits stays."""
    return _pg_database.admin_engine()


@pytest.fixture(scope="session")
def _pg_guard(_pg_database: Database) -> Iterator[Guard]:
    """The kept connection of the transaction isolation."""
    with _pg_database.guard() as guard:
        yield guard


@pytest.fixture
def _pg_isolation(request: pytest.FixtureRequest, _pg_guard: Guard, _pg_database: Database) -> Guard | Database:
    """What keeps this test apart: the guarded engine, or the database itself."""
    mark = request.node.get_closest_marker("pg")
    return _pg_database if mark is not None and mark.kwargs.get("isolation") == "database" else _pg_guard


@pytest.fixture
def pg_engine(_pg_isolation: Guard | Database) -> Iterator[Engine]:
    """A SQLAlchemy engine on which nothing outlives the test, whoever commits; hand it to the application."""
    with _pg_isolation.test() as engine:
        yield engine


@pytest.fixture
def pg_connection(pg_engine: Engine, _pg_isolation: Guard | Database) -> Iterator[Connection]:
    """A SQLAlchemy connection of `pg_engine`."""
    with _pg_isolation.closing(pg_engine.connect()) as connection:
        yield connection


@pytest.fixture
def pg_sessionmaker(pg_engine: Engine) -> sessionmaker[Session]:
    """A factory of ORM sessions on `pg_engine`."""
    from sqlalchemy.orm import sessionmaker

    return sessionmaker(pg_engine)


@pytest.fixture
def pg_session(pg_sessionmaker: sessionmaker[Session], _pg_isolation: Guard | Database) -> Iterator[Session]:
    """An ORM session whose commits are undone after the test."""
    with _pg_isolation.closing(pg_sessionmaker()) as session:
        yield session
