"""Connections that a test opens past its fixtures, by what its engine shows or by `pg_admin_engine`: none reaches the next."""

from __future__ import annotations

from collections.abc import Callable
from textwrap import dedent

import pytest

from tests.conftest import QUIET, Servers, options_for

HEAD = """
import pytest
from sqlalchemy import create_engine, text

database = pytest.mark.pg(isolation="database")
twice = pytest.mark.parametrize("turn", [1, 2])
INSERT = text("INSERT INTO users (name) VALUES ('ada') RETURNING id")

def count(connection):
    return connection.scalar(text("SELECT count(*) FROM users"))

def add(engine):
    with engine.begin() as connection:
        return connection.scalar(INSERT)

def past(engine, statement="INSERT INTO users (name) VALUES ('ada')"):
    other = create_engine(engine.url)
    with other.begin() as connection:
        before = count(connection)
        connection.execute(text(statement))
    other.dispose()
    return before
"""
Run = Callable[..., pytest.RunResult]


@pytest.fixture(params=["local-wheel", "docker", "external"])
def run(request: pytest.FixtureRequest, pytester: pytest.Pytester, servers: Servers) -> Run:
    return running(pytester, *options_for(servers.get(request.param)))


@pytest.fixture
def run_locally(pytester: pytest.Pytester, servers: Servers) -> Run:
    return running(pytester, *options_for(servers.any_local()))


def running(pytester: pytest.Pytester, *options: str) -> Run:
    pytester.path.joinpath("schema.sql").write_text(
        "CREATE TABLE users (id serial PRIMARY KEY, name text); INSERT INTO users (name) VALUES ('admin')"
    )

    def run(test: str, *lines: str, head: str = HEAD) -> pytest.RunResult:
        pytester.path.joinpath("pytest.ini").write_text("\n".join(["[pytest]", "testbed_pg_schema = schema.sql", *lines]))
        pytester.makepyfile(test_it=head + dedent(test))
        return pytester.runpytest_subprocess(*QUIET, *options)

    return run


def test_the_engines_url_in_database_isolation(run: Run) -> None:
    run(
        """
        @database
        @twice
        def test_it(pg_engine, turn):
            assert past(pg_engine) == 1
        """
    ).assert_outcomes(passed=2)


def test_the_engines_url_in_a_transaction(run: Run) -> None:
    """The one that has written fails, and only that one; whoever has deleted is undone without a word."""
    result = run(
        """
        def test_writes(pg_engine):
            past(pg_engine)

        def test_reads(pg_session):
            assert past(pg_session.get_bind(), "SELECT 1") == count(pg_session) == 1

        def test_deletes(pg_engine):
            past(pg_engine, "DELETE FROM users")

        @database
        def test_commits(pg_session):
            assert count(pg_session) == 1
            pg_session.execute(INSERT)
            pg_session.commit()

        def test_writes_again(pg_session):
            assert past(pg_session.get_bind()) == count(pg_session) - 1 == 1

        def test_defines(pg_engine):
            past(pg_engine, "CREATE TABLE more (id int)")

        def test_next(pg_session):
            assert count(pg_session) == 1
            assert pg_session.scalar(text("SELECT to_regclass('more')")) is None
        """
    )
    result.assert_outcomes(passed=7, errors=3)
    result.stdout.fnmatch_lines(
        [
            "*ERROR at teardown of test_writes *",
            "IsolationError: somebody connected by the URL of the test's engine*isolation='database'*",
            "*ERROR at teardown of test_writes_again *",
            "*ERROR at teardown of test_defines *",
        ]
    )


def test_rows_of_a_module_that_went_with_it_are_told_of(run_locally: Run) -> None:
    result = run_locally(
        """
        @pytest.fixture(scope="module", autouse=True)
        def rows(pg_module_session):
            pg_module_session.execute(INSERT)
            pg_module_session.commit()

        def test_reads(pg_engine):
            past(pg_engine, "SELECT 1")

        def test_still(pg_session):
            assert count(pg_session) == 2

        def test_writes(pg_engine):
            past(pg_engine)

        def test_next(pg_session):
            pass
        """
    )
    result.assert_outcomes(passed=3, errors=2)
    result.stdout.fnmatch_lines(["IsolationError: somebody connected by the URL of the test's engine*pg_module_session*"])


@pytest.mark.parametrize("driver", ["asyncpg", "psycopg"])
def test_an_async_engines_url(pytester: pytest.Pytester, servers: Servers, driver: str) -> None:
    pytest.importorskip(driver)
    run_with_anyio = running(pytester, *options_for(servers.any_local()), "-p", "anyio.pytest_plugin")
    head = f"{HEAD}\nfrom sqlalchemy.ext.asyncio import create_async_engine\n"
    result = run_with_anyio(
        """
        @pytest.fixture
        def anyio_backend():
            return "asyncio"

        async def past(engine):
            other = create_async_engine(engine.url)
            async with other.begin() as connection:
                before = await connection.scalar(text("SELECT count(*) FROM users"))
                await connection.execute(INSERT)
            await other.dispose()
            return before

        @database
        @twice
        @pytest.mark.anyio
        async def test_commits(pg_async_engine, turn):
            assert await past(pg_async_engine) == 1

        @pytest.mark.anyio
        async def test_escapes(pg_async_session):
            await pg_async_session.execute(INSERT)
            await past(pg_async_session.bind)

        @pytest.mark.anyio
        async def test_next(pg_async_session):
            assert await pg_async_session.scalar(text("SELECT count(*) FROM users")) == 1
        """,
        f"testbed_pg_async_driver = {driver}",
        head=head,
    )
    result.assert_outcomes(passed=4, errors=1)
    result.stdout.fnmatch_lines(["IsolationError: somebody connected by the URL of the test's engine*"])


def test_pg_admin_engine_beside_a_session_where_no_other_plugin_has_fixtures(
    pytester: pytest.Pytester, servers: Servers, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in a new environment: the first fixture of the test is then the one that the putting back asks for."""
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")

    running(pytester, "-p", "pytest_testbed.plugin", *options_for(servers.any_local()))(
        """
        @database
        @twice
        def test_it(pg_session, pg_admin_engine, turn):
            pg_session.execute(INSERT)
            pg_session.commit()
            with pg_admin_engine.connect() as connection:
                assert count(connection) == 2

        @database
        @twice
        def test_the_other_way_round(pg_admin_engine, pg_session, turn):
            add(pg_admin_engine)
            assert count(pg_session) == 2
        """
    ).assert_outcomes(passed=4)


@pytest.mark.parametrize("lines", [(), ("testbed_env = DATABASE_URL={pg.url}",)], ids=["", "exported"])
def test_pg_admin_engine_alone(run: Run, lines: tuple[str, ...]) -> None:
    """What it writes goes with a test in database isolation, also what a fixture of the test writes before."""
    run(
        """
        @pytest.fixture
        def row(pg_admin_engine):
            add(pg_admin_engine)

        @database
        @twice
        def test_it(pg_admin_engine, turn):
            with pg_admin_engine.connect() as connection:
                assert count(connection) == 1
            add(pg_admin_engine)

        @database
        @twice
        def test_with_a_fixture(row, pg_admin_engine, turn):
            with pg_admin_engine.connect() as connection:
                assert count(connection) == 2

        @database
        class TestOfAClass:
            @pytest.fixture(scope="class", autouse=True)
            def rows(self, pg_admin_engine):
                add(pg_admin_engine)

            @twice
            def test_it(self, pg_admin_engine, turn):
                with pg_admin_engine.connect() as connection:
                    assert count(connection) == 2
                add(pg_admin_engine)
        """,
        *lines,
    ).assert_outcomes(passed=6)


def test_ids_begin_anew_behind_tests_in_transactions(run: Run) -> None:
    run(
        """
        def test_goes_on(pg_session):
            assert pg_session.scalar(INSERT) == 2

        @database
        def test_begins_anew(pg_session):
            assert pg_session.scalar(INSERT) == 2

        def test_goes_on_again(pg_session):
            pg_session.scalar(INSERT)

        @pytest.mark.pg(isolation="database", reset_sequences=True)
        def test_begins_anew_again(pg_session):
            assert pg_session.scalar(INSERT) == 2
        """
    ).assert_outcomes(passed=4)


def test_ids_begin_anew_with_an_exported_address(run_locally: Run) -> None:
    run_locally(
        """
        @twice
        @pytest.mark.pg(isolation="transaction")
        def test_goes_on(pg_session, turn):
            assert pg_session.scalar(INSERT) == turn + 1

        @twice
        def test_begins_anew(pg_session, turn):
            assert pg_session.scalar(INSERT) == 2
        """,
        "testbed_env = DATABASE_URL={pg.url}",
    ).assert_outcomes(passed=4)


def test_a_unit_that_writes_all_the_same(run_locally: Run) -> None:
    """It starts nothing; where there is a database already, what it has written is undone as that of any other."""
    run_locally(
        """
        import os, psycopg2
        from contextlib import closing

        def write():
            with closing(psycopg2.connect(os.environ["DATABASE_URL"])) as connection, connection, connection.cursor() as cursor:
                cursor.execute("INSERT INTO users (name) VALUES ('ada')")

        def test_first(pg_session):
            pass

        @pytest.mark.unit
        def test_unit():
            write()

        def test_next(pg_session):
            assert count(pg_session) == 1
        """,
        "testbed_env = DATABASE_URL={pg.url}",
    ).assert_outcomes(passed=3)


def test_a_fixture_that_holds_a_lock_leaves_its_rows_to_nobody(run_locally: Run) -> None:
    """What tests are put back to stays, where a later state could not be taken note of."""
    result = run_locally(
        """
        import os, psycopg2
        from contextlib import closing

        class TestLocked:
            @pytest.fixture(scope="class", autouse=True)
            def locked(self):
                with closing(psycopg2.connect(os.environ["DATABASE_URL"])) as connection, connection.cursor() as cursor:
                    cursor.execute("INSERT INTO users (name) VALUES ('ada')")
                    connection.commit()
                    cursor.execute("LOCK TABLE users")
                    yield

            def test_it(self):
                pass

        class TestNext:
            def test_it(self, pg_session):
                assert count(pg_session) == 1
        """,
        "testbed_env = DATABASE_URL={pg.url}",
    )
    result.stdout.fnmatch_lines(["IsolationError: *could not be taken note of, as somebody holds a lock*"])
    assert "test_it.py::TestNext" not in result.stdout.str().partition("short test summary")[2]
