"""On a server that is not ours nobody moves out: a fixture makes tables, and keeps its pool open while tests run."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator
from contextlib import closing
from textwrap import dedent

import psycopg2
import pytest

from pytest_testbed.postgres import clone as module
from pytest_testbed.postgres.service import connection_parameters
from tests.conftest import QUIET, Servers, options_for

HEAD = """
import os

import pytest
from sqlalchemy import create_engine, make_url, text

engine = create_engine(make_url(os.environ["DATABASE_URL"]).set(drivername="postgresql+psycopg2"), pool_pre_ping=True)


def do(sql):
    with engine.begin() as connection:
        connection.execute(text(sql))


def names(table="users"):
    with engine.connect() as connection:
        return connection.execute(text(f"SELECT name FROM {table} ORDER BY name")).scalars().all()


@pytest.fixture(scope="module", autouse=True)
def tables():
    do("CREATE TABLE users (id serial PRIMARY KEY, name text); CREATE TABLE notes (name text)")
    do("INSERT INTO users (name) VALUES ('of the module')")
    CLOSE
    yield
    engine.dispose()


def test_first():
    assert names() == ["of the module"]
    do("INSERT INTO users (name) VALUES ('of the test')")
"""
LATER = """
@pytest.mark.parametrize("turn", [1, 2])
def test_later(turn):
    assert names() == ["of the module"]
    do("INSERT INTO users (name) VALUES ('of the test')")
"""
WARNING = "*TestbedWarning: the schema was changed, and no copy of it could be made before*engine.dispose()*"

Run = Callable[..., pytest.RunResult]


@pytest.fixture
def run(pytester: pytest.Pytester, servers: Servers, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run pytest on tests whose lines follow `HEAD`, on a server that somebody has named."""
    monkeypatch.delenv("DATABASE_URL", raising=False)
    named = options_for(servers.get("external"))

    def run(tests: str, *, close: str = "", files: int = 1, url: str = "") -> pytest.RunResult:
        options = ["--testbed-provider=external", "-o", f"testbed_pg_url={url}"] if url else named
        pytester.makeini("[pytest]\ntestbed_env = DATABASE_URL={pg.url}")
        for number in range(files):
            text = HEAD.replace("CLOSE", close) + dedent(tests)
            pytester.path.joinpath(f"test_{number}.py").write_text(text)
        return pytester.runpytest_inprocess(*QUIET, *options, "-W", "default", "--tb=short")

    return run


@pytest.fixture
def guest(servers: Servers) -> Iterator[str]:
    """The URL of a role that is no superuser, and may create databases."""
    endpoint = servers.any_local().endpoint("postgres")
    name = f"guest_{secrets.token_hex(4)}"
    with closing(psycopg2.connect(**connection_parameters(endpoint))) as connection, connection.cursor() as cursor:
        connection.autocommit = True
        cursor.execute(f"CREATE ROLE {name} LOGIN CREATEDB PASSWORD 'guest'")
        yield endpoint.with_(user=name, password="guest", socket="").url()
        cursor.execute(f"DROP OWNED BY {name}; DROP ROLE {name}")


def test_nobody_waits_for_those_who_stay(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """CREATE DATABASE would wait 5 s for the pool: it is not tried."""
    asked: list[str] = []
    create = module.create

    def noted(admin: object, services: object, name: str, template: str | None = None) -> None:
        asked.append(name)
        create(admin, services, name, template)  # type: ignore[arg-type]

    monkeypatch.setattr(module, "create", noted)
    run(LATER, files=2).assert_outcomes(passed=6, warnings=0)
    assert [name for name in asked if "_base" in name] == []


@pytest.mark.parametrize(
    "change",
    [
        "DROP TABLE notes",
        "ALTER TABLE users ADD COLUMN age int NOT NULL DEFAULT 1",
        "ALTER TABLE users RENAME TO people; CREATE VIEW users AS SELECT name FROM people",
        "CREATE TABLE more (name text); INSERT INTO more VALUES ('of the test')",
    ],
)
def test_a_schema_that_cannot_be_brought_back(run: Run, change: str) -> None:
    """It is told, and rows are put back all the same."""
    changes = f"""
        def test_changes():
            do("INSERT INTO users (name) VALUES ('of the test')")
            do("{change}")
    """
    result = run(dedent(changes) + LATER)
    result.assert_outcomes(passed=4, warnings=1)
    result.stdout.fnmatch_lines(["test_0.py::test_changes", WARNING])


def test_a_role_that_is_no_superuser(run: Run, guest: str) -> None:
    """It can put rows back only where the database is made anew, or by turning triggers off: that is done in place."""
    changes = """
        def test_changes():
            do("INSERT INTO users (name) VALUES ('of the test')")
            do("ALTER TABLE users ADD COLUMN age int")
    """
    result = run(LATER.replace("test_later", "test_before") + dedent(changes) + LATER, url=guest)
    result.assert_outcomes(passed=6, warnings=1)
    result.stdout.fnmatch_lines(["test_0.py::test_changes", WARNING])


def test_a_table_that_is_gone(run: Run) -> None:
    """Later tests meet their own errors alone."""
    result = run(
        """
        def test_drops():
            do("DROP TABLE users")

        @pytest.mark.parametrize("turn", [1, 2])
        def test_later(turn):
            assert names("notes") == []
            do("INSERT INTO notes VALUES ('of the test')")

        def test_makes_it_again():
            do("CREATE TABLE users (name text); INSERT INTO users VALUES ('of the test')")

        def test_last(): assert names() == []
        """
    )
    result.assert_outcomes(passed=6, warnings=2)
    result.stdout.fnmatch_lines(["test_0.py::test_drops", "test_0.py::test_makes_it_again", WARNING])


def test_rows_that_do_not_fit_any_more(run: Run) -> None:
    result = run(
        """
        def test_changes():
            do("DELETE FROM users")
            do("ALTER TABLE users ADD COLUMN age int NOT NULL")

        @pytest.mark.parametrize("turn", [1, 2])
        def test_later(turn):
            assert names() == []
            do("INSERT INTO users (name, age) VALUES ('of the test', 1)")
        """
    )
    result.assert_outcomes(passed=4, warnings=2)
    result.stdout.fnmatch_lines(
        ["*TestbedWarning: after a change of the schema the rows of before could not be put back: *stays in it*"]
    )


def test_a_fixture_that_closes_its_pool(run: Run) -> None:
    """Then a copy can be made, and all is brought back."""
    drops = """
        def test_drops(): do("DROP TABLE users")
    """
    run(dedent(drops) + LATER, close="engine.dispose()").assert_outcomes(passed=4, warnings=0)
