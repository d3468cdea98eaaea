"""PostgreSQL for tests: options, the `pg` mark and the fixtures."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

import pytest

from ..session import RUN
from ..settings import SETTINGS, Section, option, positive

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine
    from sqlalchemy.orm import Session, sessionmaker

    from ..postgres.database import Database
    from ..postgres.guard import Guard
    from ..services.client import Testbed
    from ..services.model import Endpoint, ServiceSpec


def quoted_well(lines: Sequence[str]) -> None:
    """Check arguments that are split as a shell does it."""
    words(lines)


def named_values(lines: Sequence[str]) -> None:
    """Check `NAME=value` lines."""
    for line in lines:
        if not line.partition("=")[0].isidentifier() or "=" not in line:
            raise ValueError(f"holds {line!r}, which is not of the form NAME=value")


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
    args: tuple[str, ...] = option((), check=quoted_well, help="More arguments for the server, such as -c work_mem=64MB.")
    environment: tuple[str, ...] = option((), check=named_values, help="More variables of the container, as NAME=value.")
    initdb_args: tuple[str, ...] = option((), check=quoted_well, help="More arguments for initdb.")
    tmpfs: str = option("1g", help="Cap of the container's memory file system for data; empty for none.")
    timeout: float = option(60.0, check=positive, help="Seconds that the server's start may take.")
    lock_timeout: float = option(10.0, check=positive, help="Seconds that a statement of a test waits for a lock.")


SECTION = PostgresSettings
MARKS = (
    "pg(isolation='transaction'): how this test is kept apart from the others on PostgreSQL; with 'database' it "
    "commits for real, on a database that the next test gets anew",
)
ARGUMENTS = {"isolation": ("transaction", "database")}


def words(lines: Sequence[str]) -> list[str]:
    """Return arguments for a command line, quotes taken as a shell does."""
    from shlex import split

    return split(" ".join(lines))


@pytest.hookimpl(trylast=True)
def pytest_configure(config: pytest.Config) -> None:
    """Find out which server is given, before anything of ours or of a test can change the environment."""
    if SETTINGS in config.stash:  # not so for --help
        settings = config.stash[SETTINGS]
        config.stash[GIVEN] = given_url(settings[PostgresSettings].url, settings.source(PostgresSettings, "url"), os.environ)


def pytest_testbed_services(config: pytest.Config) -> Iterable[ServiceSpec]:
    """Offer PostgreSQL."""
    from ..postgres.service import postgres_spec

    mine, given = config.stash[SETTINGS][PostgresSettings], config.stash[GIVEN]
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
    )
    if given.passed_over:
        spec = spec.with_(options={**spec.options, "url_remedy": given.passed_over})
    return [spec]


def pytest_report_header(config: pytest.Config) -> list[str]:
    """Say where a general variable was passed over; xdist's controller does not collect, so says it at once."""
    from ..plugin import is_controller

    return passed_over(config) if is_controller(config) else []


def pytest_report_collectionfinish(config: pytest.Config, items: Sequence[pytest.Item]) -> list[str]:
    """Say where a general variable was passed over, if anybody wanted PostgreSQL."""
    lines = passed_over(config)
    return lines if lines and any("postgres" in kinds for kinds in config.stash[RUN].wanted(items).values()) else []


def passed_over(config: pytest.Config) -> list[str]:
    """Return the line on a variable that was passed over, if one was and the user wants to read."""
    text = config.stash[GIVEN].passed_over
    return [f"testbed: {text}"] if text and config.get_verbosity() >= 0 else []


class GivenUrl(NamedTuple):
    """A server that somebody named: its URL and who said so; or why a variable was passed over."""

    url: str | None = None
    source: str = ""
    passed_over: str = ""


GIVEN = pytest.StashKey[GivenUrl]()
ALLOW = "set testbed_pg_url (or TESTBED_PG_URL) to use it"


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
    try:
        far = [host for host in hosts_of(general) if not is_near(host)]
    except ValueError as error:
        return GivenUrl(passed_over=f"DATABASE_URL cannot be understood ({error}) and is passed over; {ALLOW}")
    if environ.get("CI") or not far:
        return GivenUrl(general, "environment DATABASE_URL")
    return GivenUrl(
        passed_over=f"DATABASE_URL names the server {far[0]}, which is not on this machine, and is passed over; {ALLOW}"
    )


def hosts_of(url: str) -> list[str]:
    """Return every host that libpq may go to for a URL: it knows lists, and parameters that win over the host."""
    from urllib.parse import parse_qsl, unquote, urlsplit

    parts = urlsplit(url)
    places = parts.netloc.rpartition("@")[2].split(",")
    hosts = [unquote(urlsplit(f"//{place}").hostname or "") for place in places]
    for name, value in parse_qsl(parts.query):
        if name in ("host", "hostaddr"):
            hosts += value.split(",")
        elif name == "service":
            hosts.append(f"of the service {value!r}")
    return hosts


def is_near(host: str) -> bool:
    """Tell whether a host is this machine, a socket, or a single-label name of a private network."""
    if host == "" or host.startswith(("/", "@")):
        return True
    from ipaddress import ip_address

    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host.isascii() and host.replace("-", "").replace("_", "").isalnum() and not host[0].isdigit()


@pytest.hookimpl(wrapper=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> Iterator[None]:
    """Refuse a `pg` mark with an argument that it does not have."""
    result = yield
    if any(item.get_closest_marker("pg") for item in items):
        from ..marks import refuse_bad_marks

        refuse_bad_marks(config, items, "pg", ARGUMENTS)
    return result


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

    with worker_database(testbed, pg_schema, pytestconfig.rootpath, pytestconfig.stash[SETTINGS][PostgresSettings]) as database:
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
