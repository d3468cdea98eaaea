"""Database isolation as applications meet it: whatever a test does to the database, the next one finds it as it was."""

from __future__ import annotations

import re
from collections.abc import Callable
from contextlib import closing
from textwrap import dedent

import psycopg2
import pytest

from pytest_testbed import Testbed
from pytest_testbed.__main__ import main
from pytest_testbed.postgres.service import connection_parameters, drop_database
from tests.conftest import QUIET, Servers, options_for

SCHEMA = """
CREATE TYPE mood AS ENUM ('good', 'bad');
CREATE TABLE users (id serial PRIMARY KEY, name text NOT NULL, mood mood NOT NULL DEFAULT 'good');
CREATE TABLE orders (id serial PRIMARY KEY, user_id int REFERENCES users);
"""
APP = """
import os
from contextlib import closing

import psycopg2
from sqlalchemy import create_engine, text
from sqlalchemy.orm import sessionmaker

URL = os.environ["DATABASE_URL"]
engine = create_engine(URL.replace("postgresql://", "postgresql+psycopg2://"))
Session = sessionmaker(engine)


def do(sql):
    with engine.begin() as connection:
        connection.execute(text(sql))


def ask(sql):
    with engine.connect() as connection:
        return connection.execute(text(sql)).all()


def add(name):
    do(f"INSERT INTO users (name) VALUES ('{name}')")


def names():
    return [name for (name,) in ask("SELECT name FROM users ORDER BY id")]


def warm():
    '''Let the pool have a connection that is older than the next test.'''
    assert ask("SELECT 1") == [(1,)]
"""
HEAD = """
import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.exc import DBAPIError
import app
from app import Session, add, ask, do, engine, names, warm
"""

Run = Callable[..., pytest.RunResult]


@pytest.fixture
def project(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
    """An application that knows its database by its address alone, and keeps a pool."""
    monkeypatch.delenv("DATABASE_URL", raising=False)
    pytester.makepyfile(app=APP)
    pytester.path.joinpath("schema.sql").write_text(SCHEMA)
    write_ini(pytester)
    return pytester


def write_ini(project: pytest.Pytester, *more: str) -> None:
    lines = ["[pytest]", "pythonpath = .", "testbed_pg_schema = schema.sql", "testbed_env = DATABASE_URL={pg.url}", *more]
    project.path.joinpath("pytest.ini").write_text("\n".join(lines) + "\n")


@pytest.fixture
def run(project: pytest.Pytester, servers: Servers) -> Run:
    """Run pytest on tests whose lines follow `HEAD`."""
    options = options_for(servers.any_local())

    def run(tests: str, *arguments: str) -> pytest.RunResult:
        project.path.joinpath("test_it.py").write_text(HEAD + dedent(tests))
        return project.runpytest_inprocess(*QUIET, *options, "-W", "default", "--tb=short", *arguments)

    return run


# --- what a test leaves open


def test_an_open_transaction_is_ended_and_named(run: Run) -> None:
    """On a connection that is made in the test, and on one that is older; whoever keeps the session may use it again."""
    result = run(
        """
        kept = []

        def test_leaves_one_open():
            kept.append(Session())
            kept[0].execute(text("INSERT INTO users (name) VALUES ('of a new connection')"))

        def test_next():
            assert names() == []
            kept[0].execute(text("INSERT INTO users (name) VALUES ('of an old connection')"))

        def test_last():
            assert names() == []
            kept[0].execute(text("INSERT INTO users (name) VALUES ('used again')"))
            kept[0].commit()
            assert names() == ["used again"]
        """
    )
    result.assert_outcomes(passed=3, warnings=2)
    result.stdout.fnmatch_lines(
        [
            "test_it.py::test_leaves_one_open",
            "*TestbedWarning: a connection (pid *) had a transaction open with changes * INSERT * ('of a new connection')*",
            "test_it.py::test_next",
            "*TestbedWarning: a connection (pid *) had a transaction open with changes * INSERT * ('of an old connection')*",
        ]
    )


@pytest.mark.parametrize("held", ["LOCK TABLE users", "SELECT pg_advisory_xact_lock(7)", "SELECT pg_advisory_lock(7)"])
def test_a_lock_is_given_up_and_named(run: Run, held: str) -> None:
    """Also where nothing was written, and on a connection that is older than the test."""
    result = run(
        f"""
        kept = []

        def test_before():
            warm()

        def test_holds():
            kept.append(engine.connect())
            kept[0].execute(text("{held}"))

        def test_next():
            do("SET LOCAL lock_timeout TO '2s'; LOCK TABLE users; SELECT pg_advisory_xact_lock(7)")
            kept[0].rollback()
        """
    )
    result.assert_outcomes(passed=3, warnings=1)
    result.stdout.fnmatch_lines(["test_it.py::test_holds", f"*TestbedWarning: a connection (pid *lock*{held}*"])


def test_a_transaction_that_has_only_read_holds_up_nobody(run: Run) -> None:
    """Of that nothing is told: almost every application leaves one now and then."""
    result = run(
        """
        kept = []

        def test_before():
            warm()

        def test_reads():
            kept.append(engine.connect())
            kept[0].execute(text("SELECT * FROM users"))

        def test_next():
            do("SET LOCAL lock_timeout TO '2s'; TRUNCATE users CASCADE")
            assert kept[0].execute(text("SELECT count(*) FROM users")).scalar() == 0
        """
    )
    result.assert_outcomes(passed=3, warnings=0)


def test_sessions_that_end_out_of_order(run: Run) -> None:
    run(
        """
        @pytest.mark.parametrize("turn", [1, 2])
        @pytest.mark.parametrize("first", [0, 1])
        def test_two(turn, first):
            sessions = [Session(), Session()]
            for number, session in enumerate(sessions):
                session.execute(text(f"INSERT INTO users (name) VALUES ('{number}')"))
            sessions[first].commit()
            assert names() == [str(first)]
            sessions[1 - first].rollback()
            assert names() == [str(first)]

        @pytest.mark.pg(isolation="database")
        @pytest.mark.parametrize("turn", [1, 2])
        def test_of_our_own_engine(pg_sessionmaker, pg_session, turn):
            other = pg_sessionmaker()
            pg_session.execute(text("INSERT INTO users (name) VALUES ('ours')"))
            other.execute(text("INSERT INTO users (name) VALUES ('other')"))
            pg_session.commit()
            other.rollback()
            assert names() == ["ours"]
            other.execute(text("INSERT INTO users (name) VALUES ('left open')"))
            other.flush()
            other.close()
        """
    ).assert_outcomes(passed=6, warnings=0)


# --- definitions


@pytest.mark.parametrize(
    "change",
    [
        "DROP TABLE users CASCADE",
        "ALTER TYPE mood ADD VALUE 'ugly'",
        "ALTER TABLE users ALTER COLUMN name TYPE varchar(3)",
        "ALTER TABLE users ADD COLUMN age int",
        "CREATE TABLE more (id int)",
        "CREATE EXTENSION hstore",
    ],
)
def test_a_changed_schema_is_brought_back_under_a_pool_that_stays(run: Run, change: str) -> None:
    run(
        f"""
        DEFINED = '''SELECT table_name, column_name, data_type FROM information_schema.columns
            WHERE table_schema = 'public' ORDER BY 1, 2'''
        before, kept = [], []

        def the_connection():
            with engine.connect() as connection:
                return connection.connection.dbapi_connection

        def test_before():
            before.append((ask(DEFINED), ask("SELECT enum_range(NULL::mood)::text")))
            kept.append(the_connection())

        @pytest.mark.parametrize("turn", [1, 2])
        def test_changes(turn):
            add("ann")
            do("{change}")
            assert (ask(DEFINED), ask("SELECT enum_range(NULL::mood)::text")) != before[0] or "EXTENSION" in "{change}"

        def test_next():
            assert the_connection() is kept[0]
            assert (ask(DEFINED), ask("SELECT enum_range(NULL::mood)::text")) == before[0]
            assert ask("SELECT FROM pg_extension WHERE extname = 'hstore'") == []
            assert names() == []
            add("a longer name")
            assert ask("SELECT id FROM users") == [(1,)]
        """
    ).assert_outcomes(passed=4, warnings=0)


def test_statements_that_were_prepared_before_a_changed_schema(run: Run) -> None:
    """psycopg prepares after five executions, asyncpg at once: their plans and types must hold in the next test."""
    run(
        """
        import asyncio, asyncpg, psycopg

        SQL = "SELECT * FROM users"
        loop = asyncio.new_event_loop()
        kept = {}

        def read():
            rows = [kept["psycopg"].execute(SQL).fetchall() for _ in range(7)]
            assert kept["psycopg"]._prepared._names, "psycopg has prepared it"
            rows.append([tuple(row) for row in loop.run_until_complete(kept["asyncpg"].fetch(SQL))])
            return rows

        def test_before():
            kept["psycopg"] = psycopg.connect(app.URL, autocommit=True)
            kept["asyncpg"] = loop.run_until_complete(asyncpg.connect(app.URL))
            assert read() == [[]] * 8
            add("ann")
            assert read() == [[(1, "ann", "good")]] * 8

        @pytest.mark.parametrize("change", [
            "ALTER TABLE users ADD COLUMN age int", "ALTER TABLE users ALTER COLUMN name TYPE varchar(9)",
            "DROP TABLE users CASCADE", "ALTER TYPE mood ADD VALUE 'ugly'",
        ])
        def test_changes(change):
            add("ann")
            assert read() == [[(1, "ann", "good")]] * 8
            do(change)

        def test_next():
            assert read() == [[]] * 8
            add("bob")
            assert read() == [[(1, "bob", "good")]] * 8
            kept["psycopg"].close()
            loop.run_until_complete(kept["asyncpg"].close())
            loop.close()
        """
    ).assert_outcomes(passed=6, warnings=0)


def test_statements_that_were_prepared_on_a_changed_schema(run: Run) -> None:
    """asyncpg keeps what they give: in the next test it is told that this has changed, as PostgreSQL would tell it."""
    run(
        """
        import asyncio, asyncpg, psycopg

        loop = asyncio.new_event_loop()
        kept = {}

        def users(turn): return f"SELECT * FROM users /* {turn} */"
        def more(turn): return f"SELECT * FROM more /* {turn} */"

        def both(sql):
            with_psycopg = [kept["psycopg"].execute(sql).fetchall() for _ in range(7)][-1]
            assert [tuple(row) for row in loop.run_until_complete(kept["asyncpg"].fetch(sql))] == with_psycopg
            return with_psycopg

        async def in_a_transaction(sql):
            async with kept["asyncpg"].transaction():
                return [tuple(row) for row in await kept["asyncpg"].fetch(sql)]

        def test_before():
            kept["psycopg"] = psycopg.connect(app.URL, autocommit=True)
            kept["asyncpg"] = loop.run_until_complete(asyncpg.connect(app.URL))
            assert both(users(0)) == []

        @pytest.mark.parametrize("turn", [1, 2])
        def test_changes(turn):
            do("ALTER TABLE users ADD COLUMN age int; CREATE TABLE more (id int)")
            add("ann")
            do("INSERT INTO more VALUES (7)")
            assert (both(users(turn)), both(more(turn))) == ([(1, "ann", "good", None)], [(7,)])

        def test_next():
            add("bob")
            assert both(users(0)) == both(users(1)) == both(users(2)) == [(1, "bob", "good")]
            do("CREATE TABLE more (name text)")
            do("INSERT INTO more VALUES ('x')")
            assert both(more(1)) == both(more(2)) == [("x",)]

        def test_changes_again():
            do("ALTER TABLE users ADD COLUMN age int")
            assert both(users(3)) == []

        def test_in_a_transaction():
            with pytest.raises(asyncpg.InvalidCachedStatementError, match="cached statement plan is invalid"):
                loop.run_until_complete(in_a_transaction(users(3)))
            assert loop.run_until_complete(in_a_transaction(users(3))) == []
            assert both(users(3)) == []

        def test_last():
            kept["psycopg"].close()
            loop.run_until_complete(kept["asyncpg"].close())
            loop.close()
        """
    ).assert_outcomes(passed=7, warnings=0)


# --- fixtures of wider scopes


@pytest.mark.parametrize("change", ["add('{scope}')", "do('CREATE TABLE of_{scope} (id int)'); add('{scope}')"])
def test_what_wider_fixtures_have_made_lives_as_long_as_they(project: pytest.Pytester, run: Run, change: str) -> None:
    wide = "\n".join(
        f"@pytest.fixture(scope={scope!r})\ndef of_{scope}({below}): {change.format(scope=scope)}\n"
        for scope, below in (("session", ""), ("module", "of_session"), ("class", "of_module"))
    )
    project.makeconftest("import pytest\nfrom app import add, do\n" + wide)
    checks = """
    def look(*scopes):
        tables = [name for (name,) in ask("SELECT relname FROM pg_class WHERE relname ~ '^of_' ORDER BY oid")]
        assert tables in ([], [f"of_{scope}" for scope in scopes])
        assert names() == list(scopes)
        add("of the test")
        do("DELETE FROM users WHERE id = 1")
        for table in tables:
            do(f"DROP TABLE {table}")
    """
    project.makepyfile(test_other=HEAD + "from test_it import look\ndef test_another_module(of_session): look('session')\n")
    run(
        checks
        + """
    def test_before():
        look()

    class TestInClass:
        @pytest.mark.parametrize("turn", [1, 2])
        def test_in_class(self, of_class, turn):
            look("session", "module", "class")

        def test_who_does_not_ask(self):
            look("session", "module", "class")

    def test_after_class():
        look("session", "module")
    """
    ).assert_outcomes(passed=6, warnings=0)


def test_a_wider_fixture_that_fails_half_way(run: Run) -> None:
    """What it has written goes with its scope, too."""
    run(
        """
        @pytest.fixture(scope="class")
        def broken():
            add("half")
            raise ValueError("in the fixture")

        class TestIt:
            def test_error(self, broken): pass
            def test_same_scope(self): assert names() == ["half"]

        def test_after(): assert names() == []
        """
    ).assert_outcomes(passed=2, errors=1)


def test_a_transaction_that_a_wider_fixture_has_open(run: Run) -> None:
    """It stays with what the fixture has written, and a test that writes in such a one ends it."""
    result = run(
        """
        def opened(sql):
            with Session() as session:
                session.execute(text(sql))
                yield session

        @pytest.fixture(scope="module")
        def reads():
            yield from opened("SELECT * FROM users")

        @pytest.fixture(scope="module")
        def writes():
            yield from opened("INSERT INTO users (name) VALUES ('of the module')")

        FOUND = text("SELECT name FROM users")

        @pytest.mark.parametrize("turn", [1, 2])
        def test_it(reads, writes, turn):
            assert reads.scalars(FOUND).all() == names() == []
            assert writes.scalars(FOUND).all() == ["of the module"]
            reads.execute(text("INSERT INTO users (name) VALUES ('of the test')"))

        def test_last(reads, writes):
            assert reads.scalars(FOUND).all() == names() == []
            assert writes.scalars(FOUND).all() == ["of the module"]
        """
    )
    result.assert_outcomes(passed=3, warnings=2)
    result.stdout.fnmatch_lines(["test_it.py::test_it[[]1[]]", "*had a transaction open with changes * ('of the test')*"])


# --- connections past the test's transaction


def test_an_escape_from_a_transaction_fails_the_test_that_did_it(project: pytest.Pytester, run: Run) -> None:
    write_ini(project, "testbed_pg_isolation = transaction", "testbed_pg_bind = app:engine")
    result = run(
        """
        other = create_engine(engine.url)

        def past(sql):
            with other.begin() as connection:
                connection.execute(text(sql))

        def test_bound():
            add("bound")
            assert names() == ["bound"]

        def test_writes_past_it():
            past("INSERT INTO users (name) VALUES ('escaped')")

        def test_reads_past_it():
            assert names() == []
            with other.connect() as connection:
                assert connection.execute(text("SELECT * FROM users")).all() == []

        def test_defines_past_it():
            past("CREATE TABLE more (id int)")

        def test_next(pg_session):
            assert names() == []
            assert ask("SELECT to_regclass('more')") == [(None,)]
        """
    )
    result.assert_outcomes(passed=5, errors=2)
    result.stdout.fnmatch_lines(
        [
            "*ERROR at teardown of test_writes_past_it*",
            "IsolationError: *past its transaction and wrote to public.users.*testbed_pg_bind = *isolation='database'*",
            "*ERROR at teardown of test_defines_past_it*",
            "IsolationError: *past its transaction and changed definitions*",
        ]
    )


# --- what costs nothing


def test_a_test_that_does_not_connect_sends_nothing(run: Run) -> None:
    """The connection that puts the database back tells when it was last asked something."""
    run(
        """
        from contextlib import closing
        import psycopg2
        from pytest_testbed.postgres.service import connection_parameters
        from pytest_testbed.postgres.strays import CLEANER

        seen = []

        def last_asked(endpoint):
            with closing(psycopg2.connect(**connection_parameters(endpoint))) as connection, connection.cursor() as cursor:
                cursor.execute(
                    "SELECT a.query_start, a.state_change FROM pg_stat_activity a "
                    "WHERE application_name = %s AND datname ~ 'testbed_'", (CLEANER,)
                )
                return cursor.fetchall()

        def test_before(pg_service):
            seen.append(last_asked(pg_service))
            assert len(seen[0]) == 1

        @pytest.mark.parametrize("turn", [1, 2, 3])
        def test_does_not_connect(turn):
            pass

        def test_after(pg_service):
            assert last_asked(pg_service) == seen[0]
            warm()

        def test_after_one_that_did(pg_service):
            assert last_asked(pg_service) > seen[0]
        """
    ).assert_outcomes(passed=6)


def test_a_pool_of_several_connections_goes_on(run: Run) -> None:
    run(
        """
        pids = []

        @pytest.mark.parametrize("turn", [1, 2, 3])
        def test_it(turn):
            connections = [engine.connect() for _ in range(4)]
            pids.append({c.execute(text("SELECT pg_backend_pid()")).scalar() for c in connections})
            assert len(pids[-1]) == 4
            assert pids[-1] == pids[0]
            for number, connection in enumerate(connections):
                assert connection.execute(text("SHOW work_mem")).scalar() == "4MB"
                connection.execute(text("INSERT INTO users (name) VALUES (:name)"), {"name": str(number)})
                connection.commit()
                connection.close()
            assert names() == ["0", "1", "2", "3"]
        """
    ).assert_outcomes(passed=3, warnings=0)


# --- what goes on after a test


def test_a_thread_that_writes_after_its_test(run: Run) -> None:
    """Between two tests, on a connection that is older than its test: that is undone, and told."""
    result = run(
        """
        from threading import Event, Thread
        go, done = Event(), Event()

        def test_before():
            warm()

        def test_leaves_a_thread():
            def work():
                go.wait()
                add("late")
                done.set()
            add("of the test")
            Thread(target=work, name="the worker", daemon=True).start()

        def test_next():
            assert names() == []
        """,
        "-p",
        "between",
    )
    result.assert_outcomes(passed=3, warnings=1)
    result.stdout.fnmatch_lines(
        ["test_it.py::test_next", "*TestbedWarning: something wrote to public.users after the end of its test*(the worker*"]
    )


@pytest.fixture(autouse=True)
def between(project: pytest.Pytester) -> None:
    """A plugin that lets a thread of the tests go on between two of them."""
    project.makepyfile(
        between="""
        import sys

        def pytest_runtest_logfinish(nodeid):
            module = sys.modules["test_it"]
            if nodeid.endswith("test_leaves_a_thread"):
                module.go.set()
                assert module.done.wait(10)
        """
    )


@pytest.mark.parametrize("is_new", [True, False], ids=["a connection of the test", "an older connection"])
def test_a_thread_in_the_middle_of_a_transaction(run: Run, is_new: bool) -> None:
    """What it has written by then is gone, and told."""
    result = run(
        f"""
        from threading import Event, Thread
        written, go, done = Event(), Event(), Event()

        def test_before():
            if not {is_new}:
                warm()

        def test_leaves_a_thread():
            def work():
                with Session() as session:
                    session.execute(text("INSERT INTO users (name) VALUES ('late')"))
                    written.set()
                    go.wait()
                    session.commit()
                done.set()
            Thread(target=work, daemon=True).start()
            assert written.wait(10)

        def test_next():
            assert names() == []
        """,
        "-p",
        "between",
    )
    result.assert_outcomes(passed=3, warnings=1)
    result.stdout.fnmatch_lines(["test_it.py::test_leaves_a_thread", "*had a transaction open with changes*('late')*"])


def test_a_thread_that_writes_without_end(run: Run) -> None:
    """While the database is put back it must wait; its connection came with the test, so it is ended."""
    result = run(
        """
        from threading import Event, Thread
        begun = Event()
        own = create_engine(engine.url)
        faults = []

        def test_leaves_a_thread():
            def work():
                with own.connect() as connection:
                    while True:
                        connection.execute(text("INSERT INTO users (name) VALUES ('late')"))
                        connection.commit()
                        begun.set()
            def guarded():
                try:
                    work()
                except DBAPIError as error:
                    faults.append(error)
            thread = Thread(target=guarded, daemon=True)
            faults.append(thread)
            thread.start()
            assert begun.wait(10)

        def test_next():
            faults[0].join(10)
            assert isinstance(faults[1], DBAPIError)
            assert names() == []
        """
    )
    # what is told depends on where in its transaction it was met
    result.assert_outcomes(passed=2, warnings=result.parseoutcomes().get("warnings", 0))
    result.stdout.fnmatch_lines(["test_it.py::test_leaves_a_thread", "*TestbedWarning: *"])


def test_a_hook_that_writes_between_tests(project: pytest.Pytester, run: Run) -> None:
    """It is for the tests to find, as it is no thread that somebody forgot."""
    project.makeconftest("from app import add\ndef pytest_runtest_logfinish(nodeid): add(nodeid[-3:])")
    run(
        """
        def test_one(): assert names() == []
        def test_two(): assert names() == ["one"]
        def test_three(): assert names() == ["one", "two"]
        """
    ).assert_outcomes(passed=3, warnings=0)


# --- what only real connections can do


@pytest.mark.parametrize("driver", ["psycopg2", "asyncpg"])
def test_notifications_do_not_reach_the_next_test(run: Run, driver: str) -> None:
    """Who has listened since before the test goes on, also when the schema was changed and he has a new backend."""
    result = run(
        f"""
        import asyncio, asyncpg, psycopg2, select

        class Psycopg2:
            def __init__(self, channel):
                self.connection = psycopg2.connect(app.URL)
                self.connection.autocommit = True
                self.listen(channel)

            def listen(self, channel):
                self.connection.cursor().execute(f"LISTEN {{channel}}")

            def heard(self, count):
                while len(self.connection.notifies) < count and select.select([self.connection], [], [], 10)[0]:
                    self.connection.poll()
                self.connection.cursor().execute("SELECT 1")  # what is on its way comes with the answer
                found = [each.payload for each in self.connection.notifies]
                self.connection.notifies.clear()
                return found

            def close(self):
                self.connection.close()

        class Asyncpg:
            def __init__(self, channel):
                self.loop = asyncio.new_event_loop()
                self.connection = self.loop.run_until_complete(asyncpg.connect(app.URL))
                self.found = []
                self.listen(channel)

            def listen(self, channel):
                put = lambda connection, pid, channel, payload: self.found.append(payload)
                self.loop.run_until_complete(self.connection.add_listener(channel, put))

            def heard(self, count):
                async def wait():
                    async with asyncio.timeout(10):
                        while len(self.found) < count:
                            await asyncio.sleep(0)
                self.loop.run_until_complete(wait())
                self.loop.run_until_complete(self.connection.execute("SELECT 1"))
                found, self.found = self.found, []
                return found

            def close(self):
                self.loop.run_until_complete(self.connection.close())
                self.loop.close()

        @pytest.fixture(scope="session")
        def wide():
            listener = {driver.title()}("always")
            yield listener
            listener.close()

        @pytest.fixture(scope="session")
        def other():
            listener = {driver.title()}("nothing")
            yield listener
            listener.close()

        def test_listens(wide, other):
            for listener in (wide, other):
                listener.listen("news")
                do("NOTIFY news, 'hello'")
                assert listener.heard(1) == ["hello"]
            do("NOTIFY always, 'you'")
            assert wide.heard(1)[-1:] == ["you"]
            wide.heard(0)

        def test_next(wide, other):
            do("NOTIFY news, 'of the next test'")
            do("NOTIFY always, 'you'")
            assert wide.heard(1) == ["you"]
            assert other.heard(0) == []

        def test_changes_the_schema():
            do("CREATE TABLE more (id int)")

        def test_after_that(wide, other):
            do("NOTIFY news, 'of the last test'")
            do("NOTIFY always, 'you'")
            assert wide.heard(1) == ["you"]
            assert other.heard(0) == []
        """
    )
    result.assert_outcomes(passed=4, warnings=1)
    result.stdout.fnmatch_lines(["test_it.py::test_listens", "*TestbedWarning: *(pid *, pid *)*listening for notifications*"])


def test_serializable_transactions_conflict_and_are_tried_again(run: Run) -> None:
    run(
        """
        from threading import Barrier, Thread

        @pytest.mark.parametrize("turn", [1, 2])
        def test_two_threads(turn):
            barrier, codes = Barrier(2), []
            strict = engine.execution_options(isolation_level="SERIALIZABLE")

            def once(wait):
                with strict.begin() as connection:
                    count = connection.execute(text("SELECT count(*) FROM users")).scalar()
                    wait()
                    connection.execute(text("INSERT INTO users (name) VALUES (:name)"), {"name": f"found {count}"})
                    wait()

            def work():
                try:
                    once(lambda: barrier.wait(10))
                except DBAPIError as error:
                    codes.append(error.orig.pgcode)
                    once(lambda: None)

            threads = [Thread(target=work) for _ in range(2)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join(20)
            assert codes == ["40001"]
            assert sorted(names()) == ["found 0", "found 1"]
        """
    ).assert_outcomes(passed=2, warnings=0)


# --- two-phase commit


TWO_PHASE = """
import psycopg2

def prepare(name, sql="INSERT INTO users (name) VALUES ('of two phases')"):
    connection = psycopg2.connect(app.URL)
    connection.tpc_begin(name)
    connection.cursor().execute(sql)
    connection.tpc_prepare()
    connection.close()

def prepared():
    return [gid for (gid,) in ask("SELECT gid FROM pg_prepared_xacts WHERE database = current_database()")]
"""


def test_a_transaction_that_was_prepared_is_rolled_back_and_named(run: Run) -> None:
    """Also where the schema was changed, as no database can be renamed or dropped that has one."""
    result = run(
        TWO_PHASE
        + """
def test_in_two_phases():
    with engine.connect() as connection:
        transaction = connection.begin_twophase("whole")
        connection.execute(text("INSERT INTO users (name) VALUES ('ann')"))
        transaction.prepare()
        assert prepared() == ["whole"]
        transaction.commit()
    assert names() == ["ann"]

def test_leaves_it_open():
    prepare("it's \\"left\\"")

@pytest.mark.parametrize("turn", [1, 2])
def test_next(turn):
    assert prepared() == names() == []
    add("bob")
    assert ask("SELECT id FROM users") == [(1,)]
    prepare("definitions", "CREATE TABLE more (id int)")
    do("CREATE TABLE others (id int)")

def test_last():
    assert prepared() == names() == []
    assert ask("SELECT to_regclass('others'), to_regclass('more')") == [(None, None)]
"""
    )
    result.assert_outcomes(passed=5, warnings=3)
    told = "*TestbedWarning: transactions were prepared and never ended: {}. They were rolled back, so that the next*"
    result.stdout.fnmatch_lines(
        [
            "test_it.py::test_leaves_it_open",
            told.format('it\'s "left"'),
            *("test_it.py::test_next[[]2[]]", told.format("definitions")),
        ]
    )


def test_a_two_phase_commit_in_transaction_isolation(project: pytest.Pytester, run: Run) -> None:
    """On the test's engine it is refused; past it, it is rolled back and named, and fails nobody else."""
    write_ini(project, "testbed_pg_isolation = transaction")
    result = run(
        TWO_PHASE
        + """
from pytest_testbed.errors import IsolationError

def test_by_sqlalchemy(pg_connection):
    with pytest.raises(IsolationError, match="two-phase transaction cannot .*isolation='database'"):
        pg_connection.begin_twophase()

def test_as_text(pg_session):
    pg_session.execute(text("INSERT INTO users (name) VALUES ('ann')"))
    with pytest.raises(IsolationError, match="two-phase transaction cannot .*isolation='database'"):
        pg_session.execute(text(" PREPARE TRANSACTION 'text'"))
    assert pg_session.scalars(text("SELECT name FROM users")).all() == ["ann"]

def test_past_sqlalchemy(pg_connection):
    cursor = pg_connection.connection.cursor()
    cursor.execute("INSERT INTO users (name) VALUES ('ann')")
    cursor.execute("PREPARE TRANSACTION 'raw'")

def test_past_the_transaction():
    prepare("past")

def test_next(pg_session):
    assert prepared() == names() == []
    pg_session.execute(text("LOCK TABLE users"))
"""
    )
    result.assert_outcomes(passed=5, errors=1, warnings=1)
    result.stdout.fnmatch_lines(
        [
            "*ERROR at teardown of test_past_sqlalchemy*",
            "*went past SQLAlchemy*ended the test's transaction*",
            "test_it.py::test_past_the_transaction",
            "*TestbedWarning: transactions were prepared and never ended: past.*",
        ]
    )


def test_a_lock_that_a_prepared_transaction_holds_is_explained(run: Run) -> None:
    result = run(
        TWO_PHASE
        + """
@pytest.mark.pg(isolation="database")
def test_it(pg_session):
    prepare("the holder", "LOCK TABLE users")
    pg_session.execute(text("INSERT INTO users (name) VALUES ('ann')"))
""",
        "-o",
        "testbed_pg_lock_timeout=0.2",
    )
    result.assert_outcomes(failed=1, warnings=1)
    result.stdout.fnmatch_lines(["*other transactions open in this test's database*", "*prepared * not ended: 'the holder'*"])


@pytest.mark.parametrize("provider", ["local", "external"])
def test_a_database_is_dropped_though_a_transaction_is_left_prepared(somewhere: Testbed, provider: str) -> None:
    """As after a run that was killed: no force ends such a transaction."""
    endpoint = somewhere.endpoint("postgres").with_(provider=provider)
    name = "testbed_0123456789ab_main"
    with closing(psycopg2.connect(**connection_parameters(endpoint))) as admin:
        admin.autocommit = True
        cursor = admin.cursor()
        cursor.execute(f"CREATE DATABASE {name}")
        with closing(psycopg2.connect(**connection_parameters(endpoint, name))) as connection:
            connection.tpc_begin("it's left")
            connection.cursor().execute("CREATE TABLE t (id int)")
            connection.tpc_prepare()
        drop_database(endpoint, name)
        drop_database(endpoint, name)  # and nothing happens where it is gone
        cursor.execute("SELECT FROM pg_database WHERE datname = %s", (name,))
        assert cursor.fetchone() is None


# --- the rest of a run


def test_the_database_of_a_failed_test_is_kept(project: pytest.Pytester, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """With what the application has committed, though no fixture of ours was asked for; its pool goes on in a new one."""
    monkeypatch.setenv("XDG_STATE_HOME", str(project.mkdir("state")))
    try:
        result = run(
            TWO_PHASE
            + """
kept = []

def test_before():
    warm()

def test_fails():
    add("committed")
    kept.append(Session())
    kept[0].execute(text("INSERT INTO users (name) VALUES ('open')"))
    prepare("open, too")
    assert 0

def test_next():
    assert names() == prepared() == []
    add("of the next")
""",
            "--testbed-keep-failed",
        )
        result.assert_outcomes(passed=2, failed=1)
        (url,) = {line for line in result.outlines if re.fullmatch(r"postgresql://\S+/testbed_kept_test_fails_\w+", line)}
        with closing(psycopg2.connect(url)) as connection, connection.cursor() as cursor:
            cursor.execute("SELECT name FROM users")
            assert cursor.fetchall() == [("committed",)]
    finally:
        assert main(["stop"]) == 0


def test_a_server_without_room_is_told_and_the_next_test_has_room(project: pytest.Pytester, run: Run) -> None:
    """All connections of the server are in use, ours among them, while the schema has changed: nothing waits for ever."""
    write_ini(project, "testbed_pg_args = -c max_connections=9 -c superuser_reserved_connections=0")
    result = run(
        """
        from sqlalchemy.pool import NullPool
        many = create_engine(engine.url, poolclass=NullPool)
        kept = []

        def test_takes_all():
            do("CREATE TABLE more (id int)")
            with pytest.raises(DBAPIError, match=r"(too many clients|remaining connection slots).*max_connections=300"):
                for _ in range(20):
                    kept.append(many.connect())
                    kept[-1].execute(text("INSERT INTO users (name) VALUES ('x')"))

        def test_next():
            assert names() == []
            assert ask("SELECT to_regclass('more')") == [(None,)]
            for connection in kept:
                connection.invalidate()
        """,
        "--durations=1",
    )
    result.assert_outcomes(passed=2, warnings=result.parseoutcomes().get("warnings", 0))
    result.stdout.fnmatch_lines(["*TestbedWarning: a connection (pid *) had a transaction open with changes *"])


ODD = """
CREATE SCHEMA "Größe & so"; CREATE SCHEMA other;
CREATE TABLE chicken (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, egg int);
CREATE TABLE egg (id int GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY, chicken int NOT NULL REFERENCES chicken,
  twice int GENERATED ALWAYS AS (chicken * 2) STORED);
ALTER TABLE chicken ADD FOREIGN KEY (egg) REFERENCES egg DEFERRABLE;
CREATE TABLE log (id bigserial, day date NOT NULL, PRIMARY KEY (id, day)) PARTITION BY RANGE (day);
CREATE TABLE other.log_old PARTITION OF log FOR VALUES FROM ('2020-01-01') TO ('2021-01-01');
CREATE TABLE log_rest PARTITION OF log DEFAULT;
CREATE UNLOGGED TABLE "Größe & so"."select" ("Wert" text, "from" serial, big bytea);
CREATE TABLE audit (what text);
CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS
  $$ BEGIN INSERT INTO audit VALUES (TG_TABLE_NAME || TG_OP); RETURN coalesce(NEW, OLD); END $$;
CREATE TRIGGER note BEFORE INSERT OR UPDATE OR DELETE ON chicken FOR EACH ROW EXECUTE FUNCTION note();
CREATE VIEW hens AS SELECT * FROM chicken;
CREATE MATERIALIZED VIEW other.counted AS SELECT count(*) AS n FROM chicken;
CREATE TABLE parent (id int); CREATE TABLE child (more int) INHERITS (parent);
"""
ODD_ROWS = """
INSERT INTO hens (egg) VALUES (NULL), (NULL);
INSERT INTO egg (chicken) VALUES (1);
UPDATE chicken SET egg = 1 WHERE id = 1;
INSERT INTO log (day) VALUES ('2020-05-05'), ('2022-02-02');
INSERT INTO "Größe & so"."select" VALUES ('schön', DEFAULT, decode(repeat('00ff', 5000), 'hex'));
INSERT INTO child VALUES (1, 2);
REFRESH MATERIALIZED VIEW other.counted;
"""


@pytest.mark.parametrize("seeds", ["", ODD_ROWS], ids=["empty", "with seeds"])
def test_tables_of_every_kind(project: pytest.Pytester, run: Run, seeds: str) -> None:
    """What is in them, and what their sequences give next, is the same in each test."""
    project.path.joinpath("schema.sql").write_text(SCHEMA + ODD + seeds)
    project.makepyfile(odd=f"ROWS = {ODD_ROWS!r}")
    run(
        """
        from odd import ROWS
        TABLES = ["chicken", "egg", "log", "other.log_old", "log_rest", 'users', '"Größe & so"."select"', "audit", "parent",
            "other.counted"]
        SEQUENCES = ["chicken_id_seq", "egg_id_seq", "log_id_seq", '"Größe & so"."select_from_seq"']
        found = []

        def all_rows():
            asked = [f"SELECT t::text FROM {table} t ORDER BY 1" for table in TABLES]
            return [ask(sql) for sql in (*asked, *(f"SELECT last_value, is_called FROM {name}" for name in SEQUENCES))]

        @pytest.mark.parametrize("change", ["ROWS", "DELETE", "TRUNCATE", "UPDATE", "CREATE TABLE more (id int)", "look"])
        def test_it(change):
            found.append(all_rows())
            assert found[-1] == found[0]
            if change == "ROWS":
                do(ROWS)
            elif change == "DELETE":
                do("UPDATE hens SET egg = NULL; DELETE FROM egg; DELETE FROM hens; DELETE FROM log; DELETE FROM parent;"
                    'DELETE FROM "Größe & so"."select"; REFRESH MATERIALIZED VIEW other.counted')
            elif change == "TRUNCATE":
                do('TRUNCATE chicken, egg, log, parent, audit, "Größe & so"."select" RESTART IDENTITY')
            elif change == "UPDATE":
                do("UPDATE log SET day = day + 500; UPDATE parent SET id = 9; UPDATE audit SET what = 'x';" + ROWS)
            elif change != "look":
                do(ROWS + change)
        """
    ).assert_outcomes(passed=6, warnings=0)


def test_a_seed_that_violates_the_schema(project: pytest.Pytester, run: Run) -> None:
    """Each test is told, and so is the application that connects."""
    project.path.joinpath("users.csv").write_text("id,name\n1,ann\n1,bob\n")
    write_ini(project, "testbed_pg_seed = users.csv")
    result = run(
        """
        def test_one(): pass
        def test_two(): add("never")
        @pytest.mark.unit
        def test_the_application():
            with pytest.raises(DBAPIError, match="(?s)pytest-testbed: Seed 1 .*users.csv:3: a seed that violates the schema"):
                names()
        """
    )
    result.assert_outcomes(passed=1, errors=2)
    result.stdout.fnmatch_lines(
        ["*at setup of test_one*", "SchemaError: Seed 1 (users.csv) could not*", "*users.csv:3: a seed that *"]
    )


# --- fixtures of wider scopes in the middle of a test, and their ends


def test_a_wider_fixture_in_the_middle_of_a_test(run: Run) -> None:
    """One that writes nothing changes nothing: what the test has written is undone."""
    result = run(
        """
        @pytest.fixture
        def row(): add("of the test")

        @pytest.fixture(scope="session")
        def plain(): return 1

        @pytest.fixture(scope="session")
        def reads(request): return request.getfixturevalue("plain"), names()

        @pytest.fixture
        def client(request, row): return request.getfixturevalue("plain")

        def test_in_a_fixture(client): pass
        def test_next(): assert names() == []

        def test_in_the_body(request):
            add("of the body")
            request.getfixturevalue("reads")
            request.getfixturevalue("tmp_path")

        def test_last(): assert names() == []
        """
    )
    result.assert_outcomes(passed=4)


def test_a_wider_fixture_that_writes_in_the_middle_of_a_test(run: Run) -> None:
    """It is refused by name; asked for before the test it is set up anew. After a test that has not written it may come late."""
    result = run(
        """
        done = []

        @pytest.fixture(scope="module")
        def rows():
            add("of the module")
            yield
            done.append("rows")

        @pytest.fixture(scope="module")
        def over_rows(request):
            request.getfixturevalue("rows")

        @pytest.fixture(scope="module")
        def early(): add("early")

        @pytest.mark.parametrize("wide", ["rows", "over_rows"])
        def test_late(request, wide):
            add("of the test")
            request.getfixturevalue(wide)

        def test_next():
            assert names() == [] and done == ["rows"] * 2

        def test_as_an_argument(rows): assert names() == ["of the module"]
        def test_after(request):
            request.getfixturevalue("early")
            assert names() == ["of the module", "early"]
        def test_last(): assert names() == ["of the module", "early"]
        """
    )
    result.assert_outcomes(passed=4, failed=2)
    result.stdout.fnmatch_lines(["*IsolationError: the fixture 'rows' wrote to the database and was asked for while a test*"] * 2)


def test_a_lock_that_keeps_the_database_from_being_put_back(project: pytest.Pytester, run: Run) -> None:
    """It is told with who holds it, and what the test has written is nobody's: neither tests nor wider fixtures find it."""
    write_ini(project, "testbed_pg_seed = seed.sql")
    project.path.joinpath("seed.sql").write_text("INSERT INTO users (name) VALUES ('seed')")
    result = run(
        """
        @pytest.fixture(scope="session")
        def held():
            with engine.connect() as connection:
                connection.execute(text("SELECT * FROM users WHERE name = 'seed' FOR UPDATE"))
                yield
                connection.invalidate()

        @pytest.fixture(scope="class")
        def rows():
            assert names() == ["seed"]
            add("of the class")

        def test_leaves_a_row(held): add("left")

        class Test:
            def test_next(self, rows): assert names() == ["seed", "of the class"]

        def test_last(): assert names() == ["seed"]
        """
    )
    result.assert_outcomes(passed=3, errors=1)
    result.stdout.fnmatch_lines(
        [
            "*ERROR at teardown of test_leaves_a_row*",
            "*IsolationError: the database could not be put back, as somebody holds a lock*",
            "*pid *idle in transaction*SELECT [*] FROM users WHERE name = 'seed' FOR UPDATE*",
        ]
    )


def test_a_timeout_while_the_database_is_put_back(run: Run) -> None:
    result = run(
        """
        from pytest_testbed.postgres.emptying import Emptier

        @pytest.fixture(scope="module")
        def rows(): add("of the module")

        def test_first(rows): pass

        def test_is_interrupted():
            add("left")
            restore = Emptier.restore

            def once(self):
                Emptier.restore = restore
                pytest.fail("it took too long")

            Emptier.restore = once

        def test_next(): assert names() == ["of the module"]
        """
    )
    result.assert_outcomes(passed=3, errors=1)
    result.stdout.fnmatch_lines(["E   Failed: it took too long"])


@pytest.mark.parametrize("clean", ["TRUNCATE users CASCADE", "DELETE FROM users", "DROP TABLE users CASCADE"])
def test_wider_fixtures_that_clean_up(project: pytest.Pytester, run: Run, clean: str) -> None:
    """What they do at their end is undone, whether they have written before or not."""
    write_ini(project, "testbed_pg_seed = seed.sql")
    project.path.joinpath("seed.sql").write_text("INSERT INTO users (name) VALUES ('seed')")
    result = run(
        f"""
        @pytest.fixture(scope="module")
        def rows():
            add("of the module")

        @pytest.fixture(scope="class")
        def writes(rows):
            add("of the class")
            yield
            do("{clean}")

        @pytest.fixture(scope="class", params=[1, 2])
        def only_cleans(request):
            yield
            do("{clean}")

        class TestOne:
            def test_it(self, only_cleans): assert names() == ["seed"]

        class TestTwo:
            def test_it(self, writes): assert names() == ["seed", "of the module", "of the class"]

        class TestThree:
            def test_it(self, only_cleans): assert names() == ["seed", "of the module"]

        def test_last(): assert names() == ["seed", "of the module"]
        """
    )
    result.assert_outcomes(passed=6)


def test_a_wider_session_whose_fixture_cleans_up(run: Run) -> None:
    """It may leave that uncommitted, and the session of a scope wider still may have something open."""
    result = run(
        """
        pytestmark = pytest.mark.pg(isolation="database")

        @pytest.fixture(scope="module", autouse=True)
        def of_module(pg_module_session):
            pg_module_session.execute(text("INSERT INTO users (name) VALUES ('of the module')"))

        @pytest.fixture(scope="class")
        def of_class(pg_module_session):
            pg_module_session.execute(text("INSERT INTO users (name) VALUES ('of the class')"))
            yield
            pg_module_session.execute(text("DELETE FROM users"))

        class Test:
            def test_it(self, of_class): assert names() == ["of the module", "of the class"]

        def test_after(pg_module_session):
            assert names() == ["of the module"]
            assert pg_module_session.execute(text("SELECT name FROM users")).all() == [("of the module",)]
        """
    )
    result.assert_outcomes(passed=2)


def test_a_wider_fixture_that_ends_in_the_middle_of_a_test(project: pytest.Pytester, run: Run) -> None:
    """As pytest ends one whose parameter changes. What it has made goes with the test, and the test keeps its own until then."""
    project.makeconftest("fixtures = {}\ndef pytest_fixture_setup(fixturedef): fixtures[fixturedef.argname] = fixturedef")
    result = run(
        """
        from conftest import fixtures

        @pytest.fixture(scope="module")
        def rows(): add("first")

        @pytest.fixture
        def ends_rows(request):
            add("of the test")
            fixtures["rows"].finish(request)
            assert names() == ["first", "of the test"]

        def test_one(rows): assert names() == ["first"]
        def test_two(ends_rows): assert names() == ["first", "of the test"]
        def test_three(): assert names() == []
        """
    )
    result.assert_outcomes(passed=3)


def test_a_wider_session_when_definitions_have_changed(run: Run) -> None:
    """By a test, and by a fixture: neither its connections nor those of tests keep what that has made from being copied."""
    result = run(
        """
        pytestmark = pytest.mark.pg(isolation="database")
        count = text("SELECT count(*) FROM users")

        @pytest.fixture(scope="module", autouse=True)
        def of_module(pg_module_session):
            pg_module_session.execute(text("INSERT INTO users (name) VALUES ('of the module')"))

        @pytest.fixture(scope="class")
        def table(of_module):
            do("CREATE TABLE of_class (id int)")

        def test_changes(pg_module_session, pg_session):
            assert pg_module_session.scalar(count) == pg_session.scalar(count) == 1
            do("CREATE TABLE of_test (id int)")

        def test_connects(pg_module_session, pg_session):
            assert pg_module_session.scalar(count) == pg_session.scalar(count) == 1

        class Test:
            def test_changes_what_a_fixture_has_made(self, pg_module_session, pg_session, table):
                assert pg_module_session.scalar(count) == pg_session.scalar(count) == 1
                do("DROP TABLE of_class")

            def test_has_it_back(self, pg_module_session, table):
                assert pg_module_session.scalar(count) == 1
                assert ask("SELECT * FROM of_class") == []

        def test_last(pg_module_session):
            assert pg_module_session.scalar(count) == 1
            assert ask("SELECT to_regclass('of_class')") == [(None,)]
        """
    )
    result.assert_outcomes(passed=5)
    result.stdout.no_fnmatch_line("*no copy of it could be made*")


# --- warnings that are errors


def test_warnings_that_are_errors_hide_nothing(run: Run) -> None:
    """An escape comes first, with what else there is to tell; so does the first of several warnings."""
    result = run(
        """
        pytestmark = pytest.mark.filterwarnings("error::pytest_testbed.errors.TestbedWarning")
        kept = []

        def leave(*texts):
            for each in texts:
                kept.append(Session())
                kept[-1].execute(text(f"INSERT INTO users (name) VALUES ('{each}')"))

        @pytest.mark.pg(isolation="transaction")
        def test_escapes():
            add("escaped")
            leave("open with it")

        def test_several():
            leave("one", "two")

        def test_last(): assert names() == []
        """
    )
    result.assert_outcomes(passed=3, errors=2)
    result.stdout.fnmatch_lines(
        [
            "*ERROR at teardown of test_escapes*",
            "IsolationError: something connected *",
            "a connection * VALUES ('open with it')*",
            "*ERROR at teardown of test_several*",
            "E * had a transaction open * VALUES ('one')*",
            "E * had a transaction open * VALUES ('two')*",
        ]
    )


def test_a_late_warning_that_is_an_error(project: pytest.Pytester, run: Run) -> None:
    """The test before which it is told fails, and has an end all the same: what a hook writes after it is for all to find."""
    project.makeconftest(
        """
        import sys

        def pytest_runtest_logfinish(nodeid):
            if nodeid.endswith("test_is_told"):
                sys.modules["test_it"].add("of a hook")
        """
    )
    result = run(
        """
        from threading import Event, Thread
        go, done = Event(), Event()

        def test_leaves_a_thread():
            def work():
                go.wait()
                add("late")
                done.set()
            warm()
            Thread(target=work, daemon=True).start()

        @pytest.mark.filterwarnings("error::pytest_testbed.errors.TestbedWarning")
        def test_is_told(): pass

        def test_next(): assert names() == ["of a hook"]
        def test_last(): assert names() == ["of a hook"]
        """,
        "-p",
        "between",
    )
    result.assert_outcomes(passed=3, errors=1)
    result.stdout.fnmatch_lines(["*ERROR at setup of test_is_told*", "E *TestbedWarning: something wrote to public.users after*"])


def test_what_goes_wrong_after_a_wider_fixture(run: Run) -> None:
    """It hides no error of the fixture's own, no later test is given an old value, and the database is made anew."""
    result = run(
        """
        from pytest_testbed.errors import IsolationError
        from pytest_testbed.postgres.emptying import Emptier

        def fail_once():
            restore = Emptier.restore

            def once(self):
                Emptier.restore = restore
                raise IsolationError("the restore failed")

            Emptier.restore = once

        @pytest.fixture(scope="class", params=["first", "second", "third"])
        def rows(request):
            add(request.param)
            yield request.param
            fail_once()
            if request.param == "first":
                raise ValueError("of the user's own")

        class Test:
            def test_it(self, rows): assert names() == [rows]

        def test_last(): assert names() == []
        """
    )
    result.assert_outcomes(passed=3, errors=2)
    result.stdout.fnmatch_lines(
        [
            "*ERROR at setup of Test.test_it?second?*",
            "E   ValueError: of the user's own",
            "E   IsolationError: the restore failed",
            "*ERROR at teardown of Test.test_it?third?*",
            "IsolationError: the restore failed",
        ]
    )


@pytest.mark.parametrize("hook", ["logfinish", "teardown"])
def test_what_hooks_write_before_a_wider_fixture_ends(project: pytest.Pytester, run: Run, hook: str) -> None:
    """It stays, as between any two tests: only what the fixture does at its end is undone."""
    project.makeconftest(
        f"""
        import sys, pytest

        def write(nodeid):
            if nodeid.endswith("[1]"):
                sys.modules["test_it"].add("of a hook")

        if {hook!r} == "logfinish":
            def pytest_runtest_logfinish(nodeid): write(nodeid)
        else:
            @pytest.hookimpl(wrapper=True, tryfirst=True)
            def pytest_runtest_teardown(item):
                yield
                write(item.nodeid)
        """
    )
    result = run(
        """
        @pytest.fixture(scope="class", params=[1, 2])
        def cleans(request):
            yield request.param
            do("DELETE FROM users")

        class Test:
            def test_it(self, cleans): assert names() == ["of a hook"] * (cleans - 1)

        def test_last(): assert names() == ["of a hook"]
        """
    )
    result.assert_outcomes(passed=3)
