"""A fixture of a module that makes tables beside its rows, and drops the tables itself: the rows go as well."""

from __future__ import annotations

import pytest

from tests.conftest import QUIET, Servers, options_for

TESTS = """
import pytest
from sqlalchemy import text


@pytest.fixture(scope="module")
def notes(pg_admin_engine):
    with pg_admin_engine.begin() as connection:
        connection.execute(text("INSERT INTO users (name) VALUES ('of the module')"))
        connection.execute(text("CREATE TABLE notes (id int)"))
    yield
    with pg_admin_engine.begin() as connection:
        connection.execute(text("DROP TABLE notes"))


@pytest.mark.parametrize("turn", [1, 2])
def test_both_are_there(notes, pg_session, turn):
    assert pg_session.scalar(text("SELECT count(*) FROM users")) == 2
    pg_session.execute(text("INSERT INTO notes VALUES (1)"))
    pg_session.commit()
    assert pg_session.scalar(text("SELECT count(*) FROM notes")) == 1
"""
NEXT = """
from sqlalchemy import text


def test_seeds_alone(pg_session):
    assert pg_session.scalars(text("SELECT name FROM users")).all() == ["seed"]
"""


def test_rows_of_a_fixture_that_made_a_table(
    pytester: pytest.Pytester, servers: Servers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("DATABASE_URL", raising=False)
    pytester.makeini("[pytest]\ntestbed_pg_schema = schema.sql\ntestbed_env = DSN={pg.dsn}\n")
    pytester.path.joinpath("schema.sql").write_text(
        "CREATE TABLE users (id serial PRIMARY KEY, name text); INSERT INTO users (name) VALUES ('seed');"
    )
    pytester.makepyfile(test_a=TESTS, test_b=NEXT)
    pytester.runpytest_subprocess(*QUIET, *options_for(servers.any_local())).assert_outcomes(passed=3, warnings=0)
