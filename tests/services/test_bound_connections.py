"""Connections of wider fixtures that have something on their backend which no other backend can have."""

from __future__ import annotations

from collections.abc import Callable
from textwrap import dedent

import pytest

from tests.conftest import QUIET, Servers, options_for

HEAD = """
import os
import psycopg2
import pytest

def connect():
    connection = psycopg2.connect(os.environ["DATABASE_URL"], application_name="the pool")
    connection.autocommit = True
    return connection

def do(sql):
    connection = connect()
    connection.cursor().execute(sql)
    connection.close()

def ask(connection, sql):
    cursor = connection.cursor()
    cursor.execute(sql)
    return cursor.fetchone()[0]
"""
SCHEMA = "CREATE TABLE users (id serial PRIMARY KEY, name text); INSERT INTO users (name) VALUES ('seed')"

Run = Callable[[str], pytest.RunResult]


@pytest.fixture
def run(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch, servers: Servers) -> Run:
    """Run pytest on tests whose lines follow `HEAD`."""
    monkeypatch.delenv("DATABASE_URL", raising=False)
    pytester.path.joinpath("schema.sql").write_text(SCHEMA)
    pytester.makeini("[pytest]\ntestbed_pg_schema = schema.sql\ntestbed_env = DATABASE_URL={pg.url}")
    options = options_for(servers.any_local())

    def run(tests: str) -> pytest.RunResult:
        pytester.makepyfile(test_it=HEAD + dedent(tests))
        return pytester.runpytest_inprocess(*QUIET, *options, "-W", "default", "--tb=short")

    return run


def test_a_fixtures_transaction_outlives_another_fixtures_definitions(run: Run) -> None:
    """No copy of the definitions can be made then, which is told once a test has changed them."""
    result = run(
        """
        @pytest.fixture(scope="session")
        def outer():
            connection = connect()
            connection.cursor().execute("BEGIN; UPDATE users SET name = 'not committed'")
            yield connection
            connection.close()

        @pytest.fixture(scope="module")
        def tables():
            do("CREATE TABLE of_module (id int)")

        def test_one(outer, tables):
            assert ask(outer, "SELECT name FROM users") == "not committed"

        def test_two(outer):
            assert ask(outer, "SELECT name FROM users") == "not committed"

        def test_changes():
            do("CREATE TABLE of_test (id int)")

        def test_last(outer):
            assert ask(outer, "SELECT name FROM users") == "not committed"
        """
    )
    result.assert_outcomes(passed=4, warnings=1)
    result.stdout.fnmatch_lines(["test_it.py::test_changes", "*no copy of it could be made before*"])


@pytest.mark.parametrize(
    ("statement", "what"),
    [
        ("BEGIN; INSERT INTO users (name) VALUES ('not committed')", "changes that are not committed"),
        ("CREATE TEMP TABLE t (id int)", "temporary tables"),
        ("SELECT pg_advisory_lock(7)", "advisory locks"),
    ],
)
def test_it_ends_with_the_database_and_is_named(run: Run, statement: str, what: str) -> None:
    result = run(
        f"""
        @pytest.fixture(scope="session")
        def idle():
            connection = connect()
            connection.cursor().execute("SET work_mem = '5MB'")
            return connection

        @pytest.fixture(scope="session")
        def bound():
            connection = connect()
            connection.cursor().execute("{statement}")
            return connection

        def test_changes(bound, idle):
            do("CREATE TABLE more (id int)")

        def test_next(bound, idle):
            assert ask(idle, "SHOW work_mem") == "5MB"
            with pytest.raises(psycopg2.OperationalError):
                ask(bound, "SELECT 1")
        """
    )
    result.assert_outcomes(passed=2, warnings=1)
    result.stdout.fnmatch_lines(
        [
            "test_it.py::test_changes",
            f"*TestbedWarning: *a connection (the pool, pid *) had {what}, which no other backend can have. It was ended with*",
        ]
    )
