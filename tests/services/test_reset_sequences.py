"""`pg(reset_sequences=True)`: ids begin as in a new database, in transaction isolation too."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine, text

from pytest_testbed import Testbed
from pytest_testbed.postgres.database import Database
from pytest_testbed.postgres.guard import Guard
from pytest_testbed.postgres.service import spare_of
from tests.conftest import QUIET, Servers, options_for

SCHEMA = """
CREATE TABLE users (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, name text);
CREATE TABLE seeded (id serial PRIMARY KEY);
CREATE SCHEMA "Other one";
CREATE TABLE "Other one"."Käse's" ("Id" serial PRIMARY KEY, n int);
CREATE SEQUENCE own START 100 INCREMENT -5 MINVALUE -1000 MAXVALUE 1000 CACHE 10;
CREATE SEQUENCE "set to" START 1;
SELECT setval('"set to"', 77, false);
CREATE SEQUENCE used_up MAXVALUE 2; SELECT setval('used_up', 2);
CREATE SEQUENCE unused;
INSERT INTO seeded SELECT FROM generate_series(1, 3);
"""
FIRST = {"users": 1, "seeded": 4, "other": 1, "own": 100, "set to": 77}
ALL_SEQUENCES = {
    "users": "INSERT INTO users DEFAULT VALUES RETURNING id",
    "seeded": "INSERT INTO seeded DEFAULT VALUES RETURNING id",
    "other": """INSERT INTO "Other one"."Käse's" DEFAULT VALUES RETURNING "Id" """,
    "own": "SELECT nextval('own')",
    "set to": "SELECT nextval('\"set to\"')",
}
FILES = "SELECT relname, relfilenode FROM pg_class WHERE relkind = 'S' ORDER BY 1"


def take(engine: Engine) -> dict[str, int]:
    with engine.begin() as connection:
        return {name: connection.execute(text(sql)).scalar_one() for name, sql in ALL_SEQUENCES.items()}


def files(engine: Engine) -> dict[str, int]:
    with engine.connect() as connection:
        return {row.relname: row.relfilenode for row in connection.execute(text(FILES))}


@pytest.fixture(params=["psycopg2", "psycopg"])
def guard(somewhere: Testbed, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Guard]:
    (tmp_path / "schema.sql").write_text(SCHEMA)
    database = Database(
        somewhere, worker=f"seq_{request.param}", schema=["schema.sql"], root=tmp_path, driver=request.param, lock_timeout=2
    )
    database.ensure()
    with database.guard() as guard:
        yield guard
    admin = database._admin
    left = admin.rows("SELECT datname FROM pg_database WHERE datname LIKE '%%sequences%%'")
    for name in (database.name, database.template, spare_of(database.template)):
        admin.execute(f'DROP DATABASE IF EXISTS "{name}"')
    database.close()
    assert left == []


def test_values_begin_as_in_a_new_database_each_time(guard: Guard) -> None:
    with guard.test() as engine:
        assert take(engine) == FIRST
    with guard.test() as engine:
        assert take(engine)["users"] == 2
    guard.resets_sequences = True
    for _ in range(3):
        with guard.test() as engine:
            assert take(engine) == FIRST
            assert take(engine)["seeded"] == 5
    guard.resets_sequences = False
    with guard.test() as engine:
        later = take(engine)
    assert (later["users"], later["seeded"], later["other"], later["set to"]) == (3, 6, 3, 79)


def test_it_holds_across_rollbacks_in_the_test(guard: Guard) -> None:
    with guard.test() as engine:
        take(engine)
    guard.resets_sequences = True
    with guard.test() as engine:
        with engine.connect() as connection:
            connection.execute(text("SELECT 1"))
            connection.rollback()
            connection.execute(text("INSERT INTO users DEFAULT VALUES"))
            connection.rollback()
            assert connection.scalar(text("INSERT INTO users DEFAULT VALUES RETURNING id")) == 2
            connection.commit()
        with engine.connect() as connection:
            assert connection.scalar(text("SELECT count(*) FROM users")) == 1


def test_only_sequences_that_were_used_get_a_new_file(guard: Guard) -> None:
    with guard.test() as engine:
        before = files(engine)
        with engine.connect() as connection:
            connection.execute(text("INSERT INTO users DEFAULT VALUES"))
    guard.resets_sequences = True
    with guard.test() as engine:
        now = files(engine)
        guard.resets_sequences = False
    assert [name for name, file in before.items() if now[name] != file] == ["users_id_seq"]
    with guard.test() as engine:
        assert files(engine) == before


def test_it_is_no_change_of_the_schema(guard: Guard) -> None:
    with guard.test() as engine, engine.begin() as connection:
        connection.execute(text("INSERT INTO users DEFAULT VALUES"))
    assert guard._shared.kept.has_deferred is False
    guard.resets_sequences = True
    with guard.test() as engine:
        take(engine)
    assert guard._shared.kept.has_deferred is False
    assert not guard._shared.schema_changed


def test_a_test_without_the_mark_sends_no_more_than_before(guard: Guard, monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[str] = []
    with guard.test():
        pass
    monkeypatch.setattr(guard._shared.kept, "execute", lambda sql, send=guard._shared.kept.execute: (sent.append(sql), send(sql)))
    with guard.test():
        pass
    assert len(sent) == 2
    guard.resets_sequences = True
    with guard.test():
        pass
    assert len(sent) == 5


def test_sequences_that_a_test_made_or_dropped_are_no_trouble(guard: Guard) -> None:
    guard.resets_sequences = True
    for _ in range(2):
        with guard.test() as engine, engine.begin() as connection:
            connection.execute(text("CREATE SEQUENCE made"))
            connection.execute(text("DROP TABLE users"))
            assert connection.scalar(text("SELECT nextval('made')")) == 1


# --- on layers


def test_on_a_layer_ids_go_on_behind_its_rows(guard: Guard) -> None:
    guard.layers.follows_sequences = True
    insert = text("INSERT INTO users DEFAULT VALUES RETURNING id")
    with guard.test() as engine:
        take(engine)
    with guard.layer("pg_module_session") as session:
        top = [session.scalar(insert) for _ in range(3)][-1]
        session.execute(text("CREATE SEQUENCE of_the_layer START 5"))
        session.scalar(text("SELECT nextval('of_the_layer')"))
        session.commit()
        for _ in range(2):
            with guard.test() as engine:
                take(engine)
            guard.resets_sequences = True
            with guard.test() as engine:
                assert take(engine) == {**FIRST, "users": top + 1}
                with engine.begin() as connection:
                    assert connection.scalar(text("SELECT nextval('of_the_layer')")) == 6
            guard.resets_sequences = False
            with guard.test() as engine:
                take(engine)
        # read only between tests, which have used the sequences by now
        session.execute(text("SELECT count(*) FROM users"))
        with guard.layer("pg_class_session") as narrow:
            higher = narrow.scalar(insert)
            guard.resets_sequences = True
            with guard.test() as engine:
                assert take(engine) == {**FIRST, "users": higher + 1}
        with guard.test() as engine:
            assert take(engine) == {**FIRST, "users": top + 1}
    with guard.test() as engine:
        assert take(engine) == FIRST


# --- the mark


def test_the_mark(pytester: pytest.Pytester, servers: Servers, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DATABASE_URL", raising=False)
    (pytester.path / "schema.sql").write_text("CREATE TABLE users (id serial PRIMARY KEY, name text)")
    (pytester.path / "users.csv").write_text("id,name\n1,ann\n2,bob\n")
    pytester.makeini("[pytest]\ntestbed_pg_schema = schema.sql\ntestbed_pg_seed = users.csv\n")
    head = """
import pytest
from sqlalchemy import text

def add(session):
    number = session.scalar(text("INSERT INTO users (name) VALUES ('x') RETURNING id"))
    session.commit()
    return number

fresh = pytest.mark.pg(reset_sequences=True)
"""
    pytester.makepyfile(
        test_a=head
        + """
@pytest.mark.parametrize("turn", [1, 2])
def test_goes_on(pg_session, turn): assert add(pg_session) == 2 + turn

@fresh
@pytest.mark.parametrize("turn", [1, 2])
def test_begins_anew(pg_session, turn): assert add(pg_session) == 3

def test_goes_on_again(pg_session): assert add(pg_session) == 5

@fresh
class TestMarks:
    @pytest.mark.pg(isolation="transaction")
    def test_another_argument(self, pg_session): assert add(pg_session) == 3

    @pytest.mark.pg(reset_sequences=False)
    def test_not_here(self, pg_session): assert add(pg_session) == 6

    @pytest.mark.pg(isolation="database")
    def test_in_database_isolation(self, pg_engine): assert pg_engine.pool.size() > 1
""",
        test_b=head
        + """
@pytest.fixture(scope="module")
def row(pg_module_session): return add(pg_module_session)

def test_on_it(row, pg_session): assert add(pg_session) == row + 1
@fresh
def test_begins_anew(row, pg_session): assert add(pg_session) == row + 1
@fresh
def test_with_the_wide_session_alone(row, pg_module_session): assert add(pg_module_session) == row + 1
def test_goes_on(row, pg_session): assert add(pg_session) == row + 2
""",
    )
    result = pytester.runpytest_subprocess(*QUIET, *options_for(servers.any_local()))
    result.assert_outcomes(passed=12)
