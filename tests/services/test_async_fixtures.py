"""`pg_async_engine` and `pg_async_session` in runs of pytest-asyncio and of anyio's plugin."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

import psycopg2
import pytest

from pytest_testbed.__main__ import main
from tests.conftest import Servers, options_for

Run = Callable[..., pytest.RunResult]

HEAD = """
import asyncio
import pytest
from sqlalchemy import text

ADD = text("INSERT INTO t VALUES ('a')")
COUNT = text("SELECT count(*) FROM t")
PID = text("SELECT pg_backend_pid()")

async def use(session):
    assert await session.scalar(COUNT) == 0
    await session.execute(ADD)
    await session.commit()
    await session.execute(text("INSERT INTO t VALUES ('b')"))
    await session.rollback()
    assert await session.scalar(COUNT) == 1
    await session.execute(text("INSERT INTO t VALUES ('left')"))
    return await session.scalar(PID)
"""
ASYNCIO = ["-p", "pytest_asyncio.plugin", "-o", "asyncio_default_fixture_loop_scope=function"]


@pytest.fixture(autouse=True)
def own_state(tmp_path_factory: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Keep the hosts that outlive their runs apart from all others, and end them after the test."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path_factory.mktemp("state")))
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    monkeypatch.delenv("DATABASE_URL", raising=False)
    yield
    assert main(["stop"]) == 0


@pytest.fixture(params=["asyncpg", "psycopg"])
def driver(request: pytest.FixtureRequest) -> str:
    driver: str = request.param
    return driver


one_driver = pytest.mark.parametrize("driver", ["asyncpg"], indirect=True)
"""Of tests to which it does not matter."""


@pytest.fixture
def run(pytester: pytest.Pytester, servers: Servers, driver: str) -> Run:
    """Run pytest in a process of its own on a local server, with a table to write to; every warning is an error."""
    (pytester.path / "t.sql").write_text("CREATE TABLE t (name text UNIQUE DEFERRABLE INITIALLY DEFERRED)")
    pytester.makeini(f"[pytest]\ntestbed_pg_schema = t.sql\ntestbed_pg_async_driver = {driver}\n")
    local = ["-p", "pytest_testbed.plugin", *options_for(servers.any_local())]

    def run(*arguments: str) -> pytest.RunResult:
        return pytester.runpytest_subprocess("-p", "no:cacheprovider", "-W", "error", *local, *arguments, timeout=120)

    return run


# --- pytest-asyncio


@pytest.mark.parametrize("mode", ["strict", "auto"])
def test_pytest_asyncio_with_every_loop_scope(pytester: pytest.Pytester, run: Run, driver: str, mode: str) -> None:
    mark = "@pytest.mark.asyncio(loop_scope={scope!r})\n"
    tests = [
        f"{mark.format(scope=scope)}@pytest.mark.parametrize('n', range(3))\n"
        f"async def test_{scope}(pg_async_session, n):\n    PIDS[{scope!r}].append(await use(pg_async_session))\n"
        for scope in ("function", "module", "package", "session")
    ]
    own = "" if mode == "auto" else "@pytest.mark.asyncio\n"
    pytester.makepyfile(
        __init__="",
        test_it=HEAD
        + "from collections import defaultdict\nPIDS = defaultdict(list)\n"
        + "\n".join(tests)
        + f"""
@pytest.mark.asyncio(loop_scope="class")
class TestClass:
    async def test_one(self, pg_async_session): PIDS["class"].append(await use(pg_async_session))
    async def test_two(self, pg_async_session): PIDS["class"].append(await use(pg_async_session))

{own}async def test_plain(pg_async_session):
    await use(pg_async_session)

@pytest.mark.asyncio(loop_scope="session")
async def test_session_once_more(pg_async_session):
    PIDS["session"].append(await use(pg_async_session))

def test_connections():
    assert {{scope: len(set(pids)) for scope, pids in PIDS.items()}} == {{
        "function": {3 if driver == "asyncpg" else 1}, "module": 1, "package": 1, "session": 1, "class": 1
    }}
""",
    )
    run(*ASYNCIO, f"--asyncio-mode={mode}").assert_outcomes(passed=17)


def test_async_fixtures_of_the_project(pytester: pytest.Pytester, run: Run) -> None:
    pytester.makepyfile(
        test_it=HEAD
        + """
import pytest_asyncio

@pytest_asyncio.fixture
async def row(pg_async_session):
    await pg_async_session.execute(ADD)
    await pg_async_session.commit()
    yield "a"
    assert await pg_async_session.scalar(COUNT) == 2
    await pg_async_session.execute(text("INSERT INTO t VALUES ('at the end')"))

@pytest.mark.asyncio
@pytest.mark.parametrize("n", range(2))
async def test_it(pg_async_engine, row, n):
    async with pg_async_engine.begin() as connection:
        await connection.execute(text("INSERT INTO t VALUES ('b')"))

@pytest_asyncio.fixture(loop_scope="session")
async def elsewhere(pg_async_session):
    await pg_async_session.execute(ADD)

@pytest.mark.asyncio
async def test_two_loops(elsewhere, pg_async_session):
    await pg_async_session.execute(ADD)

@pytest.mark.asyncio
async def test_after_that(pg_async_session):
    await use(pg_async_session)
"""
    )
    result = run(*ASYNCIO)
    result.assert_outcomes(passed=3, failed=1)
    result.stdout.fnmatch_lines(["E *IsolationError: pg_async_engine was used on two event loops*same loop_scope*"])


def test_what_a_test_breaks_fails_it_and_the_next_is_clean(pytester: pytest.Pytester, run: Run) -> None:
    pytester.makepyfile(
        test_it=HEAD
        + """
pytestmark = pytest.mark.asyncio(loop_scope="SCOPE")

async def test_commits(pg_async_session):
    await pg_async_session.execute(ADD)
    await pg_async_session.execute(text("COMMIT"))

async def test_after_that(pg_async_session):
    await use(pg_async_session)

async def test_breaks_a_constraint(pg_async_session):
    await pg_async_session.execute(ADD)
    await pg_async_session.execute(ADD)

async def test_after_that_too(pg_async_session):
    await use(pg_async_session)
"""
    )
    path = pytester.path / "test_it.py"
    source = path.read_text()
    for scope in ("function", "session"):
        path.write_text(source.replace("SCOPE", scope))
        result = run(*ASYNCIO)
        result.assert_outcomes(passed=4, errors=2)
        result.stdout.fnmatch_lines(["IsolationError: the statement 'COMMIT' ended*", "*IntegrityError*duplicate key*"])


@one_driver
def test_a_rerun(pytester: pytest.Pytester, run: Run) -> None:
    pytester.makepyfile(
        test_it=HEAD
        + """
runs = []

@pytest.mark.asyncio
@pytest.mark.flaky(reruns=2)
async def test_it(pg_async_session):
    await use(pg_async_session)
    runs.append(1)
    assert len(runs) == 3
"""
    )
    result = run(*ASYNCIO, "-p", "pytest_rerunfailures")
    result.stdout.fnmatch_lines(["*1 passed, 2 rerun*"])


# --- anyio


def test_anyio(pytester: pytest.Pytester, run: Run) -> None:
    pytester.makepyfile(
        test_it=HEAD
        + """
@pytest.fixture
def anyio_backend(): return "asyncio"

@pytest.fixture
async def row(pg_async_session):
    await pg_async_session.execute(ADD)
    yield
    await pg_async_session.execute(text("INSERT INTO t VALUES ('b')"))

@pytest.mark.anyio
@pytest.mark.parametrize("n", range(3))
async def test_it(pg_async_session, n):
    await use(pg_async_session)

@pytest.mark.anyio
async def test_with_a_fixture(pg_async_session, row):
    assert await pg_async_session.scalar(COUNT) == 1

@pytest.mark.anyio
async def test_commits(pg_async_session):
    await pg_async_session.execute(ADD)
    await pg_async_session.execute(text("COMMIT"))

@pytest.mark.anyio
async def test_breaks_a_constraint(pg_async_session):
    await pg_async_session.execute(ADD)
    await pg_async_session.execute(ADD)

@pytest.mark.anyio
async def test_after_that(pg_async_session):
    await use(pg_async_session)
"""
    )
    result = run("-p", "anyio.pytest_plugin")
    result.assert_outcomes(passed=7, errors=2)
    result.stdout.fnmatch_lines(["IsolationError: the statement 'COMMIT' ended*", "*IntegrityError*duplicate key*"])


@one_driver
def test_trio_is_told_what_to_do(pytester: pytest.Pytester, run: Run) -> None:
    pytest.importorskip("trio")
    pytester.makepyfile(
        test_it=HEAD
        + """
@pytest.fixture
def anyio_backend(): return "trio"

@pytest.mark.anyio
async def test_it(pg_async_session):
    await use(pg_async_session)
"""
    )
    result = run("-p", "anyio.pytest_plugin")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*ConfigurationError: pg_async_engine needs a running event loop of asyncio*anyio_backend*"])


# --- with the sync fixtures, and in database isolation


@one_driver
def test_sync_and_async_in_one_transaction_are_refused(pytester: pytest.Pytester, run: Run) -> None:
    pytester.makepyfile(
        test_it=HEAD
        + """
@pytest.mark.asyncio
async def test_both(pg_session, pg_async_session): pass

@pytest.mark.asyncio
async def test_late(pg_async_session, request): request.getfixturevalue("pg_session")

@pytest.mark.asyncio
async def test_late_too(pg_session, request): request.getfixturevalue("pg_async_engine")

def test_sync(pg_session):
    assert pg_session.scalar(COUNT) == 0

@pytest.mark.asyncio
async def test_async(pg_async_session):
    await use(pg_async_session)
"""
    )
    result = run(*ASYNCIO)
    result.assert_outcomes(passed=2, failed=2, errors=1)
    assert (
        len(re.findall(r"^(?:E  .*)?IsolationError: this test has pg_engine and pg_async_engine", result.stdout.str(), re.M)) == 3
    )


APP = """
from sqlalchemy import create_engine, text
from sqlalchemy.ext.asyncio import create_async_engine, async_sessionmaker

engine = create_async_engine("postgresql+asyncpg://nobody@nowhere.invalid/shop")
Session = async_sessionmaker(engine)
sync_engine = create_engine("postgresql://nobody@nowhere.invalid/shop")

async def add(name):
    async with Session.begin() as session:
        await session.execute(text("INSERT INTO t VALUES (:name)"), {"name": name})

async def names():
    async with engine.connect() as connection:
        return list(await connection.scalars(text("SELECT name FROM t ORDER BY name")))

def count():
    with sync_engine.connect() as connection:
        return connection.scalar(text("SELECT count(*) FROM t"))
"""


@pytest.mark.parametrize("isolation", ["transaction", "database"])
def test_a_bound_application_and_a_session(pytester: pytest.Pytester, run: Run, isolation: str) -> None:
    """Each sees what the other commits, whether the test is async or not."""
    pytester.makepyfile(app=APP)
    pytester.makepyfile(
        test_it=HEAD
        + """
import app
pytestmark = pytest.mark.pg(isolation="ISOLATION")

@pytest.mark.asyncio
@pytest.mark.parametrize("n", range(3))
async def test_both(pg_async_session, n):
    await app.add("a")
    assert await pg_async_session.scalar(COUNT) == 1
    pg_async_session.add_all([])
    await pg_async_session.execute(text("INSERT INTO t VALUES ('b')"))
    await pg_async_session.commit()
    assert await app.names() == ["a", "b"]
    assert await asyncio.gather(app.names(), app.names()) == [["a", "b"]] * 2
    assert await pg_async_session.run_sync(lambda _: app.count()) == 2

@pytest.mark.asyncio
async def test_alone():
    await app.add("a")
    assert await app.names() == ["a"]
    assert app.count() == 1

@pytest.mark.asyncio
async def test_refused(pg_async_session):
    await pg_async_session.scalar(COUNT)
    if "ISOLATION" == "transaction":
        with pytest.raises(Exception, match="a synchronous engine of the application connected in a test with pg_async_engine"):
            app.count()
    else:
        assert app.count() == 0
""".replace("ISOLATION", isolation)
    )
    bind = ["-o", "testbed_pg_bind=app:Session app:engine app:sync_engine"]
    run(*ASYNCIO, *bind).assert_outcomes(passed=5)


@pytest.mark.parametrize("isolation", ["transaction", "database"])
def test_sequences_and_statements(pytester: pytest.Pytester, run: Run, isolation: str) -> None:
    """Marks and fixtures of the sync part count for the async one."""
    (pytester.path / "t.sql").write_text("CREATE TABLE t (id serial PRIMARY KEY, name text)")
    pytester.makepyfile(
        test_it=HEAD
        + """
pytestmark = [pytest.mark.asyncio, pytest.mark.pg(isolation="ISOLATION", reset_sequences=True)]

@pytest.mark.parametrize("n", range(3))
async def test_numbers(pg_async_session, n, pg_queries):
    for number in (1, 2, 3):
        assert await pg_async_session.scalar(text("INSERT INTO t (name) VALUES ('a') RETURNING id")) == number
    assert [query.rows for query in pg_queries if query.statement.startswith("INSERT")] == [1, 1, 1]
    await pg_async_session.commit()
""".replace("ISOLATION", isolation)
    )
    run(*ASYNCIO).assert_outcomes(passed=3)


@one_driver
def test_rows_of_a_module(pytester: pytest.Pytester, run: Run) -> None:
    """On another connection they are not to be seen, unless they are really committed."""
    pytester.makepyfile(
        test_it=HEAD
        + """
@pytest.fixture(scope="module")
def rows(pg_module_session):
    pg_module_session.execute(ADD)

@pytest.mark.asyncio
async def test_it(rows, pg_async_session):
    assert await pg_async_session.scalar(COUNT) == 1
    await pg_async_session.execute(text("DELETE FROM t"))
    await pg_async_session.commit()

@pytest.mark.asyncio
async def test_again(rows, pg_async_session):
    assert await pg_async_session.scalar(COUNT) == 1
"""
    )
    run(*ASYNCIO, "-o", "testbed_pg_isolation=database").assert_outcomes(passed=2)
    result = run(*ASYNCIO)
    result.assert_outcomes(errors=2)
    result.stdout.fnmatch_lines(["IsolationError: a test with pg_async_engine does not see the rows of pg_module_session*"])


def test_database_isolation(pytester: pytest.Pytester, run: Run) -> None:
    pytester.makepyfile(
        test_it=HEAD
        + """
pytestmark = [pytest.mark.asyncio(loop_scope="SCOPE"), pytest.mark.pg(isolation="database")]

@pytest.mark.parametrize("n", range(2))
async def test_alone(pg_async_session, n):
    await use(pg_async_session)

async def test_with_a_sync_session(pg_async_session, pg_async_engine, pg_session):
    await use(pg_async_session)
    await pg_async_session.rollback()
    assert pg_session.scalar(COUNT) == 1
    pg_session.commit()
    async with pg_async_engine.connect() as connection:
        await connection.execution_options(isolation_level="AUTOCOMMIT")
        await connection.execute(text("VACUUM t"))
    one, two = pg_async_engine.connect(), pg_async_engine.connect()
    async with one, two:
        assert await one.scalar(PID) != await two.scalar(PID)
    await pg_async_engine.dispose()

async def test_left_open(pg_async_engine):
    connection = await pg_async_engine.connect()
    await connection.execute(text("LOCK TABLE t"))

def test_two_loops(pg_async_engine):
    async def pid():
        async with pg_async_engine.begin() as connection:
            await connection.execute(ADD)
            return await connection.scalar(PID)
    async def clear():
        async with pg_async_engine.begin() as connection:
            await connection.execute(text("DELETE FROM t"))
    asyncio.run(pid())
    asyncio.run(clear())
    asyncio.run(pid())

@pytest.mark.pg(isolation="transaction")
async def test_after_that(pg_async_session):
    await use(pg_async_session)
"""
    )
    path = pytester.path / "test_it.py"
    source = path.read_text()
    for scope in ("function", "session"):
        path.write_text(source.replace("SCOPE", scope))
        run(
            *ASYNCIO, "-W", "ignore:The garbage collector", "-W", "ignore::pytest.PytestUnraisableExceptionWarning",
            "-W", "ignore:is asynchronous", "-W", "ignore:The test <Function test_two_loops",
        ).assert_outcomes(passed=6)  # fmt: skip


# --- what is missing


@pytest.mark.parametrize("missing", ["driver", "greenlet"])
def test_a_missing_package_is_named_with_the_command(pytester: pytest.Pytester, run: Run, driver: str, missing: str) -> None:
    name = driver if missing == "driver" else missing
    pytester.makepyfile(
        test_it=HEAD
        + f"""
import sys

@pytest.fixture(autouse=True)
def uninstalled(monkeypatch): monkeypatch.setitem(sys.modules, {name!r}, None)

@pytest.mark.asyncio
async def test_it(pg_async_session): pass

@pytest.mark.asyncio
@pytest.mark.pg(isolation="database")
async def test_really(pg_async_session): pass
"""
    )
    result = run(*ASYNCIO)
    result.assert_outcomes(errors=2)
    extras = "async" if driver == "asyncpg" else "async,psycopg"
    text = f"ConfigurationError: testbed_pg_async_driver = '{driver}' needs {name}, which is not installed: "
    assert result.stdout.str().count(f"{text}pip install 'pytest-testbed[{extras}]'.") >= 2


@one_driver
def test_who_is_synchronous_loads_nothing_of_it(pytester: pytest.Pytester, run: Run) -> None:
    pytester.makepyfile(
        test_it="""
        import subprocess, sys

        PLAIN = "import sqlalchemy.orm, sqlalchemy.dialects.postgresql.psycopg2, sys; print(*sys.modules)"

        def test_it(pg_session):
            pg_session.commit()
            names = {"asyncpg", "greenlet", "sqlalchemy.ext.asyncio", "pytest_testbed.postgres.guard_async"}
            # some versions of SQLAlchemy load a part of it by themselves
            plain = subprocess.run([sys.executable, "-c", PLAIN], capture_output=True, text=True, check=True).stdout.split()
            assert not names.difference(plain) & {*sys.modules}
        """
    )
    run().assert_outcomes(passed=1)


# --- a failed test's database


def kept(result: pytest.RunResult) -> dict[str, str]:
    found = re.findall(r"^(postgresql://\S+/testbed_kept_(\w+)_[0-9a-f]{6}_\d+)$", result.stdout.str(), re.MULTILINE)
    return {test: url for url, test in found}


def rows(url: str) -> list[str]:
    connection = psycopg2.connect(url)
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT name FROM t ORDER BY name")
            return [row[0] for row in cursor.fetchall()]
    finally:
        connection.close()


FAILING = (
    HEAD
    + """
pytestmark = MARK

@pytest.fixture
def anyio_backend(): return "asyncio"

async def test_fails(pg_async_session):
    await pg_async_session.execute(ADD)
    await pg_async_session.commit()
    await pg_async_session.execute(text("INSERT INTO t VALUES ('flushed')"))
    assert 0

async def test_after_a_failed_statement(pg_async_session):
    await pg_async_session.execute(ADD)
    await pg_async_session.commit()
    await pg_async_session.execute(text("SELECT 1 / 0"))

async def test_next_is_clean(pg_async_session):
    await use(pg_async_session)

@pytest.mark.pg(isolation="database")
async def test_really(pg_async_session):
    await pg_async_session.execute(ADD)
    await pg_async_session.commit()
    assert 0

async def test_never_connects(pg_async_session):
    assert 0

async def test_after_all(pg_async_session):
    await use(pg_async_session)
"""
)


@pytest.mark.parametrize("scope", ["function", "session"])
def test_a_failed_test_s_database_is_kept(pytester: pytest.Pytester, run: Run, scope: str) -> None:
    pytester.makepyfile(test_it=FAILING.replace("MARK", f"pytest.mark.asyncio(loop_scope={scope!r})"))
    result = run(*ASYNCIO, "--testbed-keep-failed")
    result.assert_outcomes(passed=2, failed=4)
    found = {test: rows(url) for test, url in kept(result).items()}
    assert found == {"test_fails": ["a", "flushed"], "test_after_a_failed_statement": ["a"], "test_really": ["a"]}
    result.stdout.fnmatch_lines(["Not kept: the test had no connection of pg_async_engine."])


def test_with_anyio_it_is_kept_where_the_connection_outlives_the_loop(pytester: pytest.Pytester, run: Run, driver: str) -> None:
    pytester.makepyfile(test_it=FAILING.replace("MARK", "pytest.mark.anyio"))
    result = run("-p", "anyio.pytest_plugin", "--testbed-keep-failed")
    result.assert_outcomes(passed=2, failed=4)
    found = {test: rows(url) for test, url in kept(result).items()}
    if driver == "psycopg":
        assert found == {"test_fails": ["a", "flushed"], "test_after_a_failed_statement": ["a"], "test_really": ["a"]}
    else:
        assert found == {"test_really": ["a"]}
        result.stdout.fnmatch_lines(["Not kept: the test's event loop is closed, and asyncpg's connection with it.*"])
