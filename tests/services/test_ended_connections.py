"""A test that ends all connections of its database ends the one that puts the database back, too."""

from __future__ import annotations

import pytest

from tests.conftest import QUIET, Servers, options_for

CONFTEST = """
import os
from contextlib import closing

import psycopg2
import pytest


def run(sql):
    with closing(psycopg2.connect(os.environ["DSN"])) as connection:
        connection.autocommit = True
        cursor = connection.cursor()
        cursor.execute(sql)
        return cursor.fetchall() if cursor.description else []


def names():
    return [name for (name,) in run("SELECT name FROM users ORDER BY id")]


def end_the_others(more="0"):
    run(
        f"SELECT pg_terminate_backend(pid, {more}) FROM pg_stat_activity "
        "WHERE datname = current_database() AND pid <> pg_backend_pid()"
    )
"""
TESTS = """
import pytest
from conftest import end_the_others, names, run


def test_ends_them():
    run("INSERT INTO users (name) VALUES ('x')")
    end_the_others()


@pytest.mark.parametrize("turn", [1, 2])
def test_finds_the_seeds(turn):
    assert names() == ["seed"]
    run("DELETE FROM users")


@pytest.mark.parametrize("turn", [1, 2])
def test_in_a_transaction(pg_connection, turn):
    assert names() == ["seed"]
"""
OF_A_MODULE = """
import pytest
from conftest import end_the_others, names, run


@pytest.fixture(scope="module")
def row():
    run("INSERT INTO users (name) VALUES ('of the module')")


def test_ends_them(row):
    assert names() == ["seed", "of the module"]
    end_the_others("5000")


def test_does_not_need_the_row():
    assert names() == ["seed"]
"""


@pytest.fixture
def project(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
    """A suite with a connection for each statement."""
    monkeypatch.delenv("DATABASE_URL", raising=False)
    pytester.makeini("[pytest]\ntestbed_pg_schema = schema.sql\ntestbed_env = DSN={pg.dsn}\n")
    pytester.makeconftest(CONFTEST)
    pytester.path.joinpath("schema.sql").write_text(
        "CREATE TABLE users (id serial PRIMARY KEY, name text); INSERT INTO users (name) VALUES ('seed');"
    )
    return pytester


def test_later_tests_find_the_database_as_it_was(project: pytest.Pytester, servers: Servers) -> None:
    project.makepyfile(test_it=TESTS)
    result = project.runpytest_subprocess(*QUIET, *options_for(servers.any_local()))
    result.assert_outcomes(passed=5, warnings=1)
    result.stdout.fnmatch_lines(["*the connection by which the database is put back was ended*the database was made anew."])


def test_rows_of_a_module_are_told_to_be_missing(project: pytest.Pytester, servers: Servers) -> None:
    project.makepyfile(test_a=OF_A_MODULE, test_b=TESTS)
    result = project.runpytest_subprocess(*QUIET, *options_for(servers.any_local()))
    result.assert_outcomes(passed=7, warnings=2)
    result.stdout.fnmatch_lines(["*Rows that fixtures of a wider scope had written may be missing*"])


POOLED = """
import os

import pytest
from sqlalchemy import create_engine, text

engine = create_engine(os.environ["DSN"].replace("postgresql:", "postgresql+psycopg2:"), pool_pre_ping=True)


def names():
    with engine.connect() as connection:
        return list(connection.scalars(text("SELECT name FROM users")))


def test_changes_definitions():
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE other (id int)"))


def test_leaves_a_transaction_open():
    assert names() == ["seed"]
    pytest.left = engine.connect()
    pytest.left.execute(text("DELETE FROM users"))


def test_goes_on():
    pytest.left.invalidate()
    pytest.left.close()
    assert names() == ["seed"]
"""


def test_a_pool_that_looks_first_goes_on_with_an_existing_server(project: pytest.Pytester, servers: Servers) -> None:
    """There the front door leads through: what has to be ended is ended with its connection."""
    project.makeini("[pytest]\ntestbed_pg_schema = schema.sql\ntestbed_env = DSN={pg.url}\n")
    project.makepyfile(test_it=POOLED)
    result = project.runpytest_subprocess(*QUIET, *options_for(servers.get("external")))
    result.assert_outcomes(passed=3, warnings=1)
    project.makepyfile(test_it=POOLED.replace(", pool_pre_ping=True", ""))
    result = project.runpytest_subprocess(*QUIET, *options_for(servers.get("external")))
    assert result.parseoutcomes()["failed"], "the page has no need to name a remedy"
