"""Suites whose fixtures, or tests, drop the database that `DATABASE_URL` names, and make it themselves."""

from __future__ import annotations

from collections.abc import Callable
from textwrap import dedent

import pytest

from tests.conftest import QUIET, Servers, options_for

APP = """
import os

from sqlalchemy import NullPool, create_engine, make_url, text

URL = make_url(os.environ["DATABASE_URL"]).set(drivername="postgresql+psycopg2")
NAME = URL.database
OTHERS = "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = :name AND pid <> pg_backend_pid()"
engine = create_engine(URL, poolclass=NullPool)


def on_the_server(sql, **values):
    server = create_engine(URL.set(database="postgres"), isolation_level="AUTOCOMMIT")
    with server.connect() as connection:
        result = connection.execute(text(sql), values)
        rows = result.all() if result.returns_rows else []
    server.dispose()
    return rows


def is_there():
    return bool(on_the_server("SELECT FROM pg_database WHERE datname = :name", name=NAME))


def drop_database():
    on_the_server(OTHERS, name=NAME)
    on_the_server(f'DROP DATABASE "{NAME}"')


def create_database():
    on_the_server(f'CREATE DATABASE "{NAME}"')


def create_all():
    do("CREATE TABLE notes (name text)")


def do(sql):
    with engine.begin() as connection:
        connection.execute(text(sql))


def add(name, table="notes"):
    do(f"INSERT INTO {table} (name) VALUES ('{name}')")


def names(table="notes"):
    with engine.connect() as connection:
        return connection.execute(text(f"SELECT name FROM {table}")).scalars().all()
"""
HEAD = """
import pytest
from app import *
"""
SCHEMA = "CREATE TABLE users (id serial PRIMARY KEY, name text); INSERT INTO users (name) VALUES ('seed');"
OF_THE_SUITE = """
@pytest.fixture(scope="{scope}", autouse=True)
def database():
    if is_there():
        drop_database()
    create_database()
    create_all()
    add("of the suite")
    yield
    drop_database()
"""
TESTS = """
@pytest.mark.parametrize("turn", [1, 2])
def test_it(turn):
    assert names() == ["of the suite"]
    add("of the test")

def test_changes_definitions():
    do("DROP TABLE notes")

def test_next():
    assert names() == ["of the suite"]
"""

Run = Callable[..., pytest.RunResult]


@pytest.fixture
def run(pytester: pytest.Pytester, servers: Servers, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run pytest on modules of tests, with a conftest."""
    monkeypatch.delenv("DATABASE_URL", raising=False)

    def run(conftest: str, *modules: str, options: tuple[str, ...] = (), schema: bool = False, on: str = "") -> pytest.RunResult:
        lines = ["[pytest]", "pythonpath = .", "testbed_env = DATABASE_URL={pg.url}"]
        if schema:
            pytester.path.joinpath("schema.sql").write_text(SCHEMA)
            lines.append("testbed_pg_schema = schema.sql")
        pytester.makeini("\n".join(lines))
        pytester.path.joinpath("app.py").write_text(APP)
        pytester.path.joinpath("conftest.py").write_text(HEAD + dedent(conftest))
        for number, text in enumerate(modules):
            pytester.path.joinpath(f"test_{number}.py").write_text(HEAD + dedent(text))
        server = servers.get(on) if on else servers.any_local()
        return pytester.runpytest_subprocess(*QUIET, *options_for(server), "-W", "default", "--tb=short", *options)

    return run


@pytest.mark.parametrize("on", ["", "external"])
@pytest.mark.parametrize("scope", ["session", "package", "module"])
def test_a_suite_that_makes_and_drops_its_database(run: Run, scope: str, on: str) -> None:
    """At the end of each module, or of all: nothing is missing to anybody, and nothing is lost but what is the fixture's."""
    result = run(OF_THE_SUITE.format(scope=scope), TESTS, TESTS, on=on)
    result.assert_outcomes(passed=8, warnings=0)
    assert result.ret == 0


def test_a_fixture_of_each_test_that_makes_and_drops_it(run: Run) -> None:
    tests = """
        @pytest.mark.parametrize("turn", [1, 2])
        def test_it(turn):
            assert names() == ["of the suite"]
            add("of the test")
    """
    run(OF_THE_SUITE.format(scope="function"), tests, tests).assert_outcomes(passed=4, warnings=0)


def test_one_fixture_drops_and_another_makes(run: Run) -> None:
    """Nobody makes the database meanwhile: the second would find it there."""
    conftest = """
        @pytest.fixture(scope="module")
        def dropped():
            drop_database()

        @pytest.fixture(scope="module", autouse=True)
        def made(dropped):
            create_database()
            create_all()
            add("of the suite")
            yield
            drop_database()
    """
    run(conftest, TESTS, TESTS).assert_outcomes(passed=8, warnings=0)


def test_a_fixture_that_only_drops(run: Run) -> None:
    tests = """
        @pytest.fixture(scope="module")
        def dropped(): drop_database()

        def test_it(dropped):
            assert names("users") == ["seed"]
            add("left", "users")

        def test_next(): assert names("users") == ["seed"]
    """
    run("", tests, tests, schema=True).assert_outcomes(passed=4, warnings=0)


@pytest.mark.parametrize("isolation", ["database", "transaction"])
def test_a_test_that_drops_it(run: Run, isolation: str) -> None:
    """Later ones find it as it was. Who promised to commit nothing is told."""
    tests = f"""
        @pytest.mark.pg(isolation="{isolation}")
        def test_drops():
            add("left", "users")
            on_the_server(f'DROP DATABASE "{{NAME}}" WITH (FORCE)')

        @pytest.mark.pg(isolation="{isolation}")
        def test_makes_another():
            assert names("users") == ["seed"]
            drop_database()
            create_database()
            create_all()
            add("of the test")

        @pytest.mark.parametrize("turn", [1, 2])
        def test_next(turn):
            assert names("users") == ["seed"]
            add("left", "users")

        def test_under_a_session(pg_session):
            assert pg_session.execute(text("SELECT name FROM users")).scalars().all() == ["seed"]
            on_the_server(f'DROP DATABASE "{{NAME}}" WITH (FORCE)')

        @pytest.mark.parametrize("turn", [1, 2])
        def test_last(pg_session, turn):
            assert pg_session.execute(text("SELECT name FROM users")).scalars().all() == ["seed"]
    """
    result = run("", tests, schema=True)
    result.assert_outcomes(passed=7, warnings=0, errors=2 if isolation == "transaction" else 0)
    if isolation == "transaction":
        result.stdout.fnmatch_lines(["*IsolationError: something connected to the test's database past its transaction and*"] * 2)


def test_rows_of_other_fixtures_that_are_lost_with_it(run: Run) -> None:
    """They are told of once, when they are missed."""
    conftest = """
        @pytest.fixture(scope="session", autouse=True)
        def early(): add("of the session", "users")
    """
    tests = """
        def test_before(): assert names("users") == ["seed", "of the session"]
    """
    drops = """
        @pytest.fixture(scope="module", autouse=True)
        def own(early):
            drop_database()
            create_database()
            create_all()
            yield
            drop_database()

        def test_it(): assert names() == []
        def test_next(): assert names() == []
    """
    after = """
        def test_after(): assert names("users") == ["seed"]
    """
    result = run(conftest, tests, drops, after, schema=True)
    result.assert_outcomes(passed=4, warnings=1)
    result.stdout.fnmatch_lines(
        ["test_1.py::test_it", "*TestbedWarning: the database was dropped (DROP DATABASE) *may be missing*"]
    )


def test_a_dropped_database_that_was_to_be_kept(run: Run) -> None:
    tests = """
        def test_fails():
            drop_database()
            assert 0

        def test_next(): assert names("users") == ["seed"]
    """
    result = run("", tests, schema=True, options=("--testbed-keep-failed",))
    result.assert_outcomes(passed=1, failed=1)
