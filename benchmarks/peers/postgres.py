"""Projects that test a PostgreSQL database: one schema, one body for each question, and each contender's own conftest."""

from __future__ import annotations

SCHEMA = """
from sqlalchemy import Column, ForeignKey, Integer, MetaData, Table, Text
metadata = MetaData()
thing = Table("thing", metadata, Column("id", Integer, primary_key=True), Column("name", Text))
for n in range(1, 20):
    Table(f"thing{n}", metadata, Column("id", Integer, primary_key=True), Column("name", Text),
          Column("other", Integer, ForeignKey("thing.id")))
"""

# --- test files

HEAD = """
import os, pytest
from sqlalchemy import insert, select
from schema import thing
{mark}
@pytest.mark.parametrize("n", range(int(os.environ["BENCH_TESTS"])))
"""
ROLLBACK = (
    HEAD
    + """
def test_it({fixture}, n):
    {fixture}.execute(insert(thing).values(name=f"n{{n}}"))
    {fixture}.commit()
    assert {fixture}.scalars(select(thing.c.name)).all() == [f"n{{n}}"]
"""
)
COMMIT = (
    HEAD
    + """
def test_it({fixture}, n):
    with {fixture}.connect() as here, {fixture}.connect() as elsewhere:
        here.execute(insert(thing).values(name=f"n{{n}}"))
        here.commit()
        assert elsewhere.scalars(select(thing.c.name)).all() == [f"n{{n}}"]
"""
)
DATABASE = 'pytestmark = pytest.mark.pg(isolation="database")'


def rollback(fixture: str) -> str:
    """Return tests whose session commits: what they wrote is gone in the next one."""
    return ROLLBACK.format(fixture=fixture, mark="")


def commit(fixture: str, mark: str = "") -> str:
    """Return tests that commit for real: another connection sees it."""
    return COMMIT.format(fixture=fixture, mark=mark)


# --- this project

OURS_INI = """
[pytest]
testbed_pg_schema = schema:metadata
testbed_pg_driver = psycopg
"""

# --- by hand

BY_HAND_HEAD = """
import os, pytest
from sqlalchemy import create_engine, text
from sqlalchemy.orm import Session
from schema import metadata
"""
GIVEN_URL = """
@pytest.fixture(scope="session")
def url():
    return os.environ["BENCH_URL"]
"""
WORKER_URL = """
@pytest.fixture(scope="session")
def url(request):
    name = "by_hand_" + getattr(request.config, "workerinput", {"workerid": "main"})["workerid"]
    engine = create_engine(os.environ["BENCH_URL"], isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(text(f"DROP DATABASE IF EXISTS {name}"))
        connection.execute(text(f"CREATE DATABASE {name}"))
    yield engine.url.set(database=name)
    with engine.connect() as connection:
        connection.execute(text(f"DROP DATABASE {name} WITH (FORCE)"))
    engine.dispose()
"""
STARTED_URL = """
import socket, subprocess

@pytest.fixture(scope="session")
def url(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pg")
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    def run(tool, *arguments):
        subprocess.run([os.environ["BENCH_BINDIR"] + "/" + tool, "-D", folder / "data", *arguments],
                       check=True, stdout=subprocess.DEVNULL)
    run("initdb", "-U", "postgres", "-A", "trust", "--no-sync")
    run("pg_ctl", "-w", "-l", folder / "log", "-o", f"-p {port} -k '' -c fsync=off", "start")
    yield f"postgresql+psycopg://postgres@127.0.0.1:{port}/postgres"
    run("pg_ctl", "-m", "immediate", "stop")
"""
CONTAINER_URL = """
@pytest.fixture(scope="session")
def url():
    from testcontainers.postgres import PostgresContainer
    with PostgresContainer(os.environ["BENCH_IMAGE"], driver="psycopg").with_name(os.environ["BENCH_NAME"]) as postgres:
        yield postgres.get_connection_url()
"""
SAVEPOINT = """
@pytest.fixture(scope="session")
def connection(url):
    engine = create_engine(url)
    metadata.create_all(engine)
    with engine.connect() as connection:
        yield connection
    engine.dispose()

@pytest.fixture
def session(connection):
    transaction = connection.begin()
    with Session(connection, join_transaction_mode="create_savepoint") as session:
        yield session
    transaction.rollback()
"""
CLEANED = """
@pytest.fixture(scope="session")
def kept(url):
    engine = create_engine(url)
    metadata.create_all(engine)
    yield engine
    engine.dispose()

@pytest.fixture
def engine(kept):
    yield kept
    with kept.begin() as connection:
        connection.exec_driver_sql({statement})
"""
DELETE = CLEANED.format(statement='";".join(f"DELETE FROM {t.name}" for t in reversed(metadata.sorted_tables))')
TRUNCATE = CLEANED.format(statement='"TRUNCATE " + ", ".join(metadata.tables) + " RESTART IDENTITY CASCADE"')
CLONE = """
from sqlalchemy.pool import NullPool

@pytest.fixture(scope="session")
def admin(url):
    engine = create_engine(url, poolclass=NullPool)
    metadata.create_all(engine)
    with create_engine(engine.url.set(database="postgres"), isolation_level="AUTOCOMMIT").connect() as connection:
        yield connection, engine.url

@pytest.fixture
def engine(admin):
    connection, mould = admin
    connection.execute(text(f"CREATE DATABASE {mould.database}_clone TEMPLATE {mould.database}"))
    engine = create_engine(mould.set(database=f"{mould.database}_clone"))
    yield engine
    engine.dispose()
    connection.execute(text(f"DROP DATABASE {mould.database}_clone WITH (FORCE)"))
"""


def by_hand(url: str, rest: str) -> str:
    """Return a conftest: where the server comes from, and how tests are kept apart."""
    return BY_HAND_HEAD + url + rest


# --- pytest-postgresql: a template that is filled once, and a clone of it for each test

POSTGRESQL_HEAD = """
import os, pytest
from sqlalchemy import create_engine
from sqlalchemy.orm import Session
from sqlalchemy.pool import NullPool
from pytest_postgresql import factories
from schema import metadata

def address(user, host, port, dbname, password):
    return f"postgresql+psycopg://{user}:{password or ''}@{host}:{port}/{dbname}"

def load(host, port, user, dbname, password, **more):
    engine = create_engine(address(user, host, port, dbname, password), poolclass=NullPool)
    metadata.create_all(engine)
"""
POSTGRESQL_PROC = """
from pathlib import Path
server = factories.postgresql_proc(executable=os.environ["BENCH_BINDIR"] + "/pg_ctl", load=[load])
postgresql = factories.postgresql("server")
"""
POSTGRESQL_NOPROC = """
server = factories.postgresql_noproc(host=os.environ["BENCH_HOST"], port=int(os.environ["BENCH_PORT"]),
    user=os.environ["BENCH_USER"], password=os.environ["BENCH_PASSWORD"], load=[load])
postgresql = factories.postgresql("server")
"""
POSTGRESQL_ENGINE = """
@pytest.fixture
def engine(postgresql):
    found = postgresql.info
    engine = create_engine(address(found.user, found.host, found.port, found.dbname, found.password), poolclass=NullPool)
    yield engine
    engine.dispose()

@pytest.fixture
def session(engine):
    with Session(engine) as session:
        yield session
"""

# --- pytest-mock-resources: the same, with its own container or the server that answers at the port

MOCK_RESOURCES_HEAD = """
import os, pytest
from pytest_mock_resources import PostgresConfig, create_postgres_fixture
from schema import metadata

@pytest.fixture(scope="session")
def pmr_postgres_config():
    return PostgresConfig({config}, drivername="postgresql+psycopg")

session = create_postgres_fixture(metadata, session=True)
engine = create_postgres_fixture(metadata)
"""
MOCK_RESOURCES_GIVEN = MOCK_RESOURCES_HEAD.format(
    config='host=os.environ["BENCH_HOST"], port=int(os.environ["BENCH_PORT"]), ci_port=int(os.environ["BENCH_PORT"]), '
    'username=os.environ["BENCH_USER"], password=os.environ["BENCH_PASSWORD"], root_database=os.environ["BENCH_DATABASE"]'
)
MOCK_RESOURCES_DOCKER = MOCK_RESOURCES_HEAD.format(
    config='image=os.environ["BENCH_IMAGE"], host="127.0.0.1", port=int(os.environ["BENCH_FREE"]), '
    'ci_port=int(os.environ["BENCH_FREE"])'
)

# --- pytest-sqla: sessions on a server that is there

SQLA_INI = """
[pytest]
sqla_metadata = schema:metadata
"""
SQLA = """
import os, pytest

@pytest.fixture(scope="session")
def sqla_url():
    return os.environ["BENCH_URL"]
"""
SQLA_POOLED = (
    SQLA
    + """
@pytest.fixture(scope="session")
def sqla_engine_options():
    from sqlalchemy.pool import QueuePool
    return {"poolclass": QueuePool}
"""
)

# --- pytest-testcontainers: a container for a worker, a database for a test, whose tables the project makes

TESTCONTAINERS = """
import os, pytest
from sqlalchemy import create_engine
from sqlalchemy.orm import Session
from pytest_testcontainers import make_postgres
from schema import metadata

@pytest.fixture(scope="session")
def tc_psql():
    with make_postgres(image=os.environ["BENCH_IMAGE"]) as postgres:
        yield postgres

@pytest.fixture
def engine(tc_psql_db):
    engine = create_engine(tc_psql_db.url().replace("postgresql://", "postgresql+psycopg://"))
    metadata.create_all(engine)
    yield engine
    engine.dispose()

@pytest.fixture
def session(engine):
    with Session(engine) as session:
        yield session
"""
