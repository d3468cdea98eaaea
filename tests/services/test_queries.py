"""`pg_queries` on a real server: what each driver sends is seen once, with its line; what nobody asked for is not."""

from __future__ import annotations

import asyncio
import io
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import (
    Column,
    Engine,
    ForeignKey,
    Integer,
    MetaData,
    Sequence,
    Table,
    Text,
    create_engine,
    event,
    insert,
    select,
    text,
)
from sqlalchemy.exc import IntegrityError, ProgrammingError
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column, relationship

from pytest_testbed import Testbed
from pytest_testbed.postgres import traits
from pytest_testbed.postgres.database import Database
from pytest_testbed.postgres.guard import Guard
from pytest_testbed.postgres.queries import Queries
from pytest_testbed.postgres.recording import recorded
from pytest_testbed.postgres.service import spare_of
from tests.conftest import QUIET, Servers, options_for


class Base(DeclarativeBase):
    pass


class User(Base):
    __tablename__ = "users"
    id: Mapped[int] = mapped_column(primary_key=True)
    email: Mapped[str]
    orders: Mapped[list[Order]] = relationship(order_by="Order.id")


class Order(Base):
    __tablename__ = "orders"
    id: Mapped[int] = mapped_column(primary_key=True)
    user_id: Mapped[int] = mapped_column(ForeignKey("users.id"))


numbers = Table("numbers", MetaData(), Column("n", Integer, Sequence("numbers_seq")), Column("t", Text))


class World:
    """A database with the guard on it."""

    def __init__(self, testbed: Testbed, driver: str, root: Path, name: str = "queries") -> None:
        (root / "numbers.sql").write_text("CREATE TABLE numbers (n int, t text); CREATE SEQUENCE numbers_seq;")
        self.driver = driver
        self.database = Database(
            testbed, worker=f"{name}_{driver}", schema=[Base, "numbers.sql"], root=root, driver=driver, lock_timeout=5.0
        )

    @contextmanager
    def open(self) -> Iterator[World]:
        self.database.ensure()
        with self.database.guard() as self.guard:
            yield self
        self.database.close()
        admin = self.database._admin
        for name in (self.database.name, self.database.template, spare_of(self.database.template)):
            admin.execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')
        admin.close()

    @property
    def dsn(self) -> str:
        return self.database.url.set(drivername="postgresql").render_as_string(hide_password=False)

    def url(self, driver: str) -> Any:
        return self.database.url.set(drivername=f"postgresql+{driver}")


@pytest.fixture(scope="module", params=["psycopg2", "psycopg"])
def world(request: pytest.FixtureRequest, somewhere: Testbed, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    pytest.importorskip(request.param)
    with World(somewhere, request.param, tmp_path_factory.mktemp("queries")).open() as created:
        yield created


@pytest.fixture(scope="module")
def dsn(somewhere: Testbed, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a database, for drivers that are used alone."""
    with World(somewhere, "psycopg", tmp_path_factory.mktemp("alone"), "alone").open() as created:
        yield created.dsn


@pytest.fixture
def guard(world: World) -> Guard:
    return world.guard


@pytest.fixture
def engine(guard: Guard) -> Iterator[Engine]:
    with guard.test() as engine:
        yield engine


@pytest.fixture
def queries() -> Iterator[Queries]:
    with recorded(str(Path(__file__).parent)) as queries:
        yield queries


def told(queries: Queries) -> list[tuple[str, int | None]]:
    """Return the beginnings of the statements, and how many rows they had; all have ended, and from a line of this file."""
    assert [query for query in queries if not query.finished] == []
    assert [query for query in queries if not query.where.startswith("test_queries.py:")] == []
    return [(query.statement[:20], query.rows) for query in queries]


def functions(queries: Queries) -> list[str]:
    return [query.where.rpartition(" in ")[2] for query in queries]


# --- SQLAlchemy


def place_order(session: Session, user: User) -> None:
    session.add(Order(user_id=user.id))
    session.flush()


def test_a_session_of_a_test(engine: Engine, world: World, queries: Queries) -> None:
    with Session(engine) as session:
        session.add(user := User(email="a@b.c"))
        session.commit()
        place_order(session, user)
        session.rollback()
        assert session.scalars(select(Order)).all() == []
    firsts = ["INSERT INTO users", "SELECT users.id", "INSERT INTO order", "SELECT orders.id"]
    assert [statement.startswith(first) for (statement, _), first in zip(told(queries), firsts, strict=True)] == [True] * 4
    assert [query.rows for query in queries] == [1, 1, 1, 0]
    assert functions(queries) == ["test_a_session_of_a_test", "place_order", "place_order", "test_a_session_of_a_test"]
    assert {query.driver for query in queries} == {world.driver}
    assert {query.engine for query in queries} == {engine}
    assert {query.thread for query in queries} == {""}
    assert all(0 < query.milliseconds < 10_000 for query in queries)
    assert queries[0].parameters == {"email": "a@b.c"}


def test_nothing_of_the_plugin_and_of_transactions_is_shown(engine: Engine, guard: Guard, queries: Queries) -> None:
    with Session(engine) as first, Session(engine) as second:
        for session in (first, second, first):  # a savepoint of ours before each
            session.execute(text("SELECT 1"))
        with first.begin_nested():
            first.execute(text("SELECT 2"))
        with pytest.raises(KeyError), first.begin_nested():
            first.execute(text("SELECT 3"))
            raise KeyError
        first.commit()
        guard._shared.kept.has_deferred = None  # so the end of a fixture looks at the constraints
        with guard.closing(second):
            second.execute(insert(User).values(email="x"))
    assert [query.statement[:8] for query in queries] == ["SELECT 1"] * 3 + ["SELECT 2", "SELECT 3", "INSERT I"]


def test_a_new_engine_asks_its_first_questions_unseen(world: World, queries: Queries) -> None:
    for driver in ("psycopg2", "psycopg"):
        engine = create_engine(world.url(driver), pool_pre_ping=True)
        for _ in range(2):
            with engine.begin() as connection:
                connection.execute(text("SELECT 1"))
                with connection.begin_nested():
                    connection.execute(text("SELECT 2"))
        engine.dispose()
    assert told(queries) == [("SELECT 1", 1), ("SELECT 2", 1)] * 4


def test_an_engine_and_a_connection_from_before(world: World) -> None:
    engine = create_engine(world.url(world.driver))
    with engine.connect() as connection:
        connection.execute(text("SELECT 1"))
        with recorded(str(Path(__file__).parent)) as queries:
            connection.execute(text("SELECT 2"))
        connection.execute(text("SELECT 3"))
    engine.dispose()
    assert told(queries) == [("SELECT 2", 1)]


def test_many_at_once(engine: Engine, queries: Queries) -> None:
    with engine.begin() as connection:
        rows = [{"n": n, "t": "x"} for n in range(5)]
        connection.execute(text("INSERT INTO numbers VALUES (:n, :t)"), rows)
        connection.execute(insert(User).returning(User.id), [{"email": f"{n}"} for n in range(2500)])
    one, *bulk = queries
    assert (one.sets, one.rows, len(one.parameters)) == (5, 5, 5)
    assert len(bulk) > 2
    assert sum(query.rows or 0 for query in bulk) == 2500
    queries.assert_no_repeats(at_least=2)


def test_a_sequence_and_its_insert_are_two(engine: Engine, queries: Queries) -> None:
    with engine.begin() as connection:
        connection.execute(insert(numbers).values(t="a"))
        connection.scalar(Sequence("numbers_seq"))
    assert [statement for statement, _ in told(queries)] == ["INSERT INTO numbers ", "select nextval('numb"]


def test_a_statement_that_fails(engine: Engine, queries: Queries) -> None:
    with Session(engine) as session:
        with pytest.raises(ProgrammingError):
            session.execute(text("SELECT * FROM no_such_table"))
        session.rollback()
        session.execute(text("SELECT 1"))
    bad, good = queries
    assert bad.error.startswith('UndefinedTable: relation "no_such_table" does not exist')
    assert (bad.rows, bad.finished, good.error) == (None, True, "")
    assert 'UndefinedTable: relation "no_such_table"' in str(queries)


def test_a_commit_as_text_and_a_server_s_cursor(world: World, queries: Queries) -> None:
    engine = create_engine(world.url(world.driver))
    with engine.connect() as connection:
        streamed = {"stream_results": True}
        with connection.execute(text("SELECT generate_series(1, 3)"), execution_options=streamed) as result:
            assert len(result.all()) == 3
        connection.exec_driver_sql("SELECT 1", execution_options={"no_parameters": True})
        connection.execute(text("COMMIT"))
    engine.dispose()
    assert [statement for statement, _ in told(queries)] == ["SELECT generate_seri", "SELECT 1", "COMMIT"]


def test_listeners_of_others_are_heard(engine: Engine, queries: Queries) -> None:
    engine.connect().close()  # a new engine asks its first questions
    sent_by_it: list[str] = []

    @event.listens_for(engine, "do_execute")
    def send(cursor: Any, statement: str, parameters: Any, context: Any) -> bool:
        sent_by_it.append(statement)
        cursor.execute(statement.replace("1", "41 + 1"), parameters)
        return True

    @event.listens_for(engine, "before_cursor_execute", retval=True)
    def comment(connection: Any, cursor: Any, statement: str, parameters: Any, *rest: Any) -> tuple[str, Any]:
        return f"{statement} -- mine", parameters

    with engine.connect() as connection:
        assert connection.execute(text("SELECT 1")).scalar() == 42
    assert sent_by_it == queries.statements == ["SELECT 1 -- mine"]


def test_listeners_that_send_many_at_once_or_without_parameters_are_heard(engine: Engine, queries: Queries) -> None:
    engine.connect().close()  # a new engine asks its first questions
    heard: list[str] = []

    @event.listens_for(engine, "do_executemany")
    def send_many(cursor: Any, statement: str, parameters: Any, context: Any) -> bool:
        heard.append("many")
        cursor.execute("INSERT INTO users (email) VALUES ('by the listener')")
        return True

    @event.listens_for(engine, "do_execute_no_params")
    def send_without(cursor: Any, statement: str, context: Any) -> bool:
        heard.append("without")
        cursor.execute("SELECT 42")
        return True

    with engine.begin() as connection:
        connection.execute(text("INSERT INTO users (email) VALUES (:email)"), [{"email": "a"}, {"email": "b"}])
        assert connection.exec_driver_sql("SELECT 1", execution_options={"no_parameters": True}).scalar() == 42
        assert connection.execute(text("SELECT email FROM users")).scalars().all() == ["by the listener"]
    assert heard == ["many", "without"]
    assert [(query.statement[:10], query.sets) for query in queries][:2] == [("INSERT INT", 2), ("SELECT 1", 1)]


def test_many_at_once_or_without_parameters_may_fail(engine: Engine, queries: Queries) -> None:
    with engine.connect() as connection:
        with pytest.raises(IntegrityError), connection.begin_nested():
            connection.execute(text("INSERT INTO users (email) VALUES (:email)"), [{"email": "a"}, {"email": None}])
        with pytest.raises(ProgrammingError), connection.begin_nested():
            connection.exec_driver_sql("SELECT nothing", execution_options={"no_parameters": True})
    assert [query.error.partition(":")[0] for query in queries] == ["NotNullViolation", "UndefinedColumn"]


def test_other_databases_are_none_of_it(queries: Queries) -> None:
    engine = create_engine("sqlite://")
    with engine.connect() as connection:
        connection.execute(text("CREATE TABLE t (id int)"))
        connection.execute(text("INSERT INTO t VALUES (:id)"), [{"id": 1}, {"id": 2}])
        found = connection.exec_driver_sql("SELECT count(*) FROM t", execution_options={"no_parameters": True})
        assert found.scalar() == 2
    engine.dispose()
    assert queries.count == 0


def test_lazy_loads_in_a_loop(engine: Engine, queries: Queries) -> None:
    def total(users: list[User]) -> int:
        return sum(len(user.orders) for user in users)

    with Session(engine) as session:
        session.add_all([User(email=f"{n}", orders=[Order()]) for n in range(4)])
        session.commit()
        with queries.only() as mine:
            assert total(list(session.scalars(select(User)))) == 4
    mine.assert_count(5)
    (repeat,) = mine.repeated()
    assert (repeat.count, repeat.different) == (4, 4)
    assert repeat.where.endswith("in <genexpr>")
    with pytest.raises(AssertionError, match=r"4 x SELECT orders\.id"):
        mine.assert_no_repeats()
    assert queries.count > mine.count


def test_threads(world: World, queries: Queries) -> None:
    engine = create_engine(world.url(world.driver))

    def work() -> None:
        with engine.connect() as connection:
            connection.execute(text("SELECT 1"))

    thread = threading.Thread(target=work, name="the worker")
    thread.start()
    thread.join()
    engine.dispose()
    assert [(query.statement, query.thread) for query in queries] == [("SELECT 1", "the worker")]
    assert functions(queries) == ["work"]


def test_the_guarded_engine_is_not_made_anew(guard: Guard) -> None:
    with guard.test() as first:
        pass
    with recorded(), guard.test() as second:
        with second.connect() as connection:
            connection.execute(text("SELECT 1"))
    with guard.test() as third:
        assert traits.of_engine(third) == guard._as_made
    assert first is second is third


@pytest.mark.parametrize("driver", ["psycopg", "asyncpg"])
def test_async_engines(dsn: str, queries: Queries, driver: str) -> None:
    pytest.importorskip(driver)
    pytest.importorskip("greenlet")
    from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine

    async def names(session: AsyncSession) -> Any:
        return await session.execute(text("SELECT :name, :secret"), {"name": "a", "secret": "hunter2"})

    def inside(session: Session) -> None:
        session.execute(text("SELECT 3"))

    async def run() -> None:
        engine = create_async_engine(dsn.replace("postgresql:", f"postgresql+{driver}:"))
        async with AsyncSession(engine) as session:
            await names(session)
            session.add(User(email="a"))
            await session.commit()
            await session.run_sync(inside)
            await asyncio.gather(*(asyncio.create_task(names(session)) for _ in range(1)))
        await engine.dispose()

    asyncio.run(run())
    assert [query.statement[:6] for query in queries] == ["SELECT", "INSERT", "SELECT", "SELECT"]
    assert functions(queries) == ["names", "run", "inside", "names"]
    assert {query.driver for query in queries} == {driver}
    assert "hunter2" not in str(queries) or driver == "asyncpg"  # its text has no names


# --- drivers that are used alone


def test_psycopg(dsn: str, queries: Queries) -> None:
    psycopg = pytest.importorskip("psycopg")
    with psycopg.connect(dsn) as connection:
        connection.execute("SELECT %s", [1])
        with connection.transaction(), connection.cursor() as cursor:
            cursor.execute(psycopg.sql.SQL("SELECT {}").format(psycopg.sql.Literal(5)))
            cursor.executemany("INSERT INTO numbers VALUES (%s, 'a')", [(n,) for n in range(3)])
            cursor.executemany("INSERT INTO numbers VALUES (%s, 'a')", ((n,) for n in range(3)))
            with cursor.copy("COPY numbers (n) FROM STDIN") as copy:
                copy.write_row([1])
            assert len(list(cursor.stream("SELECT generate_series(1, 4)"))) == 4
        with connection.cursor("named") as cursor:
            cursor.execute(b"SELECT 7")
            assert cursor.fetchall() == [(7,)]
        with pytest.raises(psycopg.Error):
            psycopg.ClientCursor(connection).execute("SELECT nothing")
        connection.rollback()
    assert [(s, r) for s, r in told(queries)] == [
        ("SELECT %s", 1),
        ("SELECT 5", 1),
        ("INSERT INTO numbers ", 3),
        ("INSERT INTO numbers ", 3),
        ("COPY numbers (n) FRO", 1),
        ("SELECT generate_seri", 4),
        ("SELECT 7", None),
        ("SELECT nothing", None),
    ]
    assert [query.sets for query in queries][2:4] == [3, None]
    assert queries[-1].error.startswith("UndefinedColumn")
    assert set(functions(queries)) == {"test_psycopg"}


def test_a_connection_of_psycopg_from_before(dsn: str) -> None:
    psycopg = pytest.importorskip("psycopg")
    with psycopg.connect(dsn) as connection, connection.cursor() as cursor:
        with recorded(str(Path(__file__).parent)) as queries:
            cursor.execute("SELECT 1")
        cursor.execute("SELECT 2")
    assert told(queries) == [("SELECT 1", 1)]


def test_psycopg_with_asyncio(dsn: str, queries: Queries) -> None:
    psycopg = pytest.importorskip("psycopg")

    async def work(cursor: Any) -> None:
        await cursor.execute("SELECT 2")

    async def run() -> None:
        async with await psycopg.AsyncConnection.connect(dsn) as connection:
            await connection.execute("SELECT 1")
            async with connection.transaction(), connection.cursor() as cursor:
                await work(cursor)
                await cursor.executemany("INSERT INTO numbers VALUES (%s, 'a')", [(n,) for n in range(3)])
                async with cursor.copy("COPY numbers (n) FROM STDIN") as copy:
                    await copy.write_row([1])
                assert len([row async for row in cursor.stream("SELECT generate_series(1, 4)")]) == 4
            async with connection.cursor("named") as cursor:
                await cursor.execute("SELECT 7")
            with pytest.raises(psycopg.Error):
                await connection.execute("SELECT nothing")

    asyncio.run(run())
    assert [rows for _, rows in told(queries)] == [1, 1, 3, 1, 4, None, None]
    assert functions(queries) == ["run", "work", "run", "run", "run", "run", "run"]
    assert queries[-1].error.startswith("UndefinedColumn")


def test_asyncpg(dsn: str, queries: Queries) -> None:
    asyncpg = pytest.importorskip("asyncpg")

    async def work(connection: Any) -> None:
        await connection.execute("INSERT INTO numbers SELECT 1, 'a' FROM generate_series(1, 2)")

    async def run() -> None:
        async with asyncpg.create_pool(dsn, min_size=1, max_size=1) as pool:
            await pool.fetch("SELECT $1::int", 1)
            async with pool.acquire() as connection, connection.transaction():
                await work(connection)
                await connection.executemany("INSERT INTO numbers VALUES ($1, 'a')", [(n,) for n in range(3)])
                assert await connection.fetchval("SELECT 5") == 5
                assert await connection.fetchrow("SELECT 1 WHERE false") is None
                prepared = await connection.prepare("SELECT $1::text")
                assert await prepared.fetchval("x") == "x"
                assert len([row async for row in connection.cursor("SELECT generate_series(1, 3)")]) == 3
                await connection.copy_records_to_table("numbers", records=[(1, "b")])
                await connection.copy_from_query("SELECT 1", output=io.BytesIO())
                await connection.copy_to_table("numbers", source=io.BytesIO(b"1\tc\n"))
            async with pool.acquire() as connection:
                with pytest.raises(asyncpg.PostgresError):
                    await connection.fetch("SELECT nothing")

    asyncio.run(run())
    assert told(queries) == [
        ("SELECT $1::int", 1),
        ("INSERT INTO numbers ", 2),
        ("INSERT INTO numbers ", None),
        ("SELECT 5", None),
        ("SELECT 1 WHERE false", 0),
        ("SELECT $1::text", None),
        ("SELECT generate_seri", None),
        ("COPY numbers FROM ST", 1),
        ("COPY (SELECT 1) TO S", 1),
        ('COPY "numbers" FROM ', 1),
        ("SELECT nothing", None),
    ]
    assert functions(queries) == ["run", "work", *["run"] * 9]
    assert (queries[0].parameters, queries[2].sets, queries[5].parameters) == ((1,), 3, ("x",))
    assert queries[-1].error.startswith("UndefinedColumnError")


def test_psycopg2(dsn: str, queries: Queries) -> None:
    import psycopg2
    import psycopg2.extras

    connection = psycopg2.connect(dsn)
    with connection, connection.cursor() as cursor:
        cursor.execute("SELECT %s", (1,))
        cursor.executemany("INSERT INTO numbers VALUES (%s, 'a')", [(n,) for n in range(3)])
        cursor.copy_expert("COPY numbers TO STDOUT", io.StringIO())
        cursor.copy_from(io.StringIO("1\tb\n"), "numbers")
        cursor.callproc("abs", [-1])
        psycopg2.extras.execute_values(cursor, "INSERT INTO numbers VALUES %s", [(n, "c") for n in range(4)])
    with connection.cursor(cursor_factory=psycopg2.extras.RealDictCursor) as cursor:
        cursor.execute("SELECT 1 AS one")
        assert [dict(row) for row in cursor.fetchall()] == [{"one": 1}]
    with connection.cursor("named", scrollable=True) as cursor:
        cursor.execute("SELECT 7")
        assert cursor.fetchall() == [(7,)]
    with connection.cursor() as cursor, pytest.raises(psycopg2.Error):
        cursor.execute("SELECT nothing")
    connection.close()
    logged = psycopg2.connect(dsn, connection_factory=psycopg2.extras.MinTimeLoggingConnection, cursor_factory=None)
    logged.initialize(log := io.StringIO(), -1)
    with logged.cursor() as cursor:
        cursor.execute("SELECT 8")
    logged.close()
    assert "SELECT 8" in log.getvalue()
    assert [statement for statement, _ in told(queries)] == [
        "SELECT %s",
        "INSERT INTO numbers ",
        "COPY numbers TO STDO",
        "COPY numbers FROM ST",
        "SELECT * FROM abs(%s",
        "INSERT INTO numbers ",
        "SELECT 1 AS one",
        "SELECT 7",
        "SELECT nothing",
        "SELECT 8",
    ]
    assert (queries[0].rows, queries[1].sets, queries[5].rows) == (1, 3, 4)
    assert queries[8].error.startswith("UndefinedColumn")
    assert set(functions(queries)) == {"test_psycopg2"}


def test_connections_of_psycopg2_outlive_the_recording(dsn: str) -> None:
    import psycopg2

    with recorded() as queries:
        connection = psycopg2.connect(dsn)
        cursor = connection.cursor()
    cursor.execute("SELECT 1")
    connection.cursor().execute("SELECT 2")
    with recorded() as later:
        connection.cursor().execute("SELECT 3")
    assert type(psycopg2.connect(dsn)) is psycopg2.extensions.connection
    connection.close()
    assert (queries.statements, later.statements) == ([], ["SELECT 3"])


# --- the fixture

Run = Callable[..., pytest.RunResult]


@pytest.fixture
def run(pytester: pytest.Pytester, servers: Servers) -> Run:
    pytester.makeini("[pytest]\n")
    local = options_for(servers.any_local())

    def run(*arguments: str, **files: str) -> pytest.RunResult:
        pytester.makepyfile(**files)
        return pytester.runpytest_inprocess(*QUIET, *local, *arguments)

    return run


LOOP = """
from sqlalchemy import text

def load(session, number):
    session.execute(text("SELECT :number, :token"), {"number": number, "token": "hunter2"})

def test_it(pg_session, pg_queries):
    for number in range(60):
        load(pg_session, number)
    @END@
"""


def section(result: pytest.RunResult) -> list[str]:
    lines = result.outlines
    begin = next(at for at, line in enumerate(lines) if line.strip("- ") == "Captured SQL")
    end = next(at for at in range(begin + 1, len(lines)) if lines[at].startswith(("---", "===", "___")))
    return lines[begin + 1 : end]


def test_a_failure_shows_what_was_sent(run: Run) -> None:
    result = run(test_it=LOOP.replace("@END@", "assert False"))
    result.assert_outcomes(failed=1)
    shown = section(result)
    assert shown[:2] == ["sent again and again:", "  60 x SELECT ?"]
    assert "60 different ones" in shown[2]
    assert shown[2].endswith("test_it.py:4 in load")
    assert "(10 statements before these not shown)" in shown
    assert "  60. SELECT %(number)s, %(token)s" in shown
    assert any("{'number': 59, 'token': '***'} · 1 row · " in line for line in shown)
    assert "hunter2" not in "\n".join(shown)


def test_the_text_of_a_failed_assertion(run: Run) -> None:
    result = run(test_it=LOOP.replace("@END@", "pg_queries.assert_max(3)"))
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        [
            "E*AssertionError: 60 statements were sent to PostgreSQL, at most 3 expected",
            "E*sent again and again:",
            "E*60 x SELECT*",
        ]
    )
    result.stdout.no_fnmatch_line("*queries.py:*raise AssertionError*")


def test_a_test_that_passes_shows_nothing_and_leaves_nothing(run: Run) -> None:
    result = run(
        "-rA",
        test_it="""
        import sys
        from sqlalchemy import text

        finders = list(sys.meta_path)

        def test_it(pg_session, pg_queries):
            pg_session.execute(text("SELECT 1"))
            pg_queries.assert_count(1)

        def test_after(pg_session):
            assert sys.meta_path == finders
            assert not list(pg_session.get_bind().dialect.dispatch.do_execute)
            pg_session.execute(text("SELECT 1"))
        """,
    )
    result.assert_outcomes(passed=2)
    assert "Captured SQL" not in result.stdout.str()


@pytest.mark.skipif(not hasattr(pytest, "Subtests"), reason="this pytest has no subtests of its own")
def test_each_subtest_that_fails_shows_them(run: Run) -> None:
    result = run(
        test_it="""
        from sqlalchemy import text

        def test_it(pg_session, pg_queries, subtests):
            for number in range(2):
                with subtests.test(number=number):
                    pg_session.execute(text(f"SELECT {number}"))
                    assert number == 5
            assert pg_queries.count == 5
        """,
    )
    assert result.stdout.str().count("- Captured SQL -") == 3


def test_a_setup_and_a_teardown_that_fail(run: Run) -> None:
    result = run(
        test_it="""
        import pytest
        from sqlalchemy import text

        @pytest.fixture
        def bad(pg_queries, pg_session):
            pg_session.execute(text("SELECT 'setup'"))
            raise KeyError

        @pytest.fixture
        def late(pg_queries, pg_session):
            yield
            pg_session.execute(text("SELECT 'teardown'"))
            raise KeyError

        def test_setup(bad): pass
        def test_teardown(late): pass
        """
    )
    result.assert_outcomes(passed=1, errors=2)
    assert result.stdout.str().count("Captured SQL") == 2
    result.stdout.fnmatch_lines(["   1. SELECT 'setup'", "   1. SELECT 'teardown'"])


def test_who_does_not_ask_pays_nothing(pytester: pytest.Pytester, servers: Servers) -> None:
    pytester.makepyfile(
        """
        import sys
        from sqlalchemy import text

        def test_it(pg_session):
            pg_session.execute(text("SELECT 1"))
            ours = {"callers", "shapes", "listing", "queries", "sent", "alchemy", "methods", "drivers", "recording"}
            assert not {f"pytest_testbed.postgres.{name}" for name in ours} & set(sys.modules)
            assert "pytest_testbed.captured" not in sys.modules
        """
    )
    result = pytester.runpytest_subprocess(*QUIET, *options_for(servers.any_local()))
    result.assert_outcomes(passed=1)


def test_the_driver_of_the_project(run: Run) -> None:
    pytest.importorskip("psycopg")
    result = run("-o", "testbed_pg_driver=psycopg", test_it=LOOP.replace("@END@", "pg_queries.assert_count(60)"))
    result.assert_outcomes(passed=1)


def test_in_database_isolation(run: Run) -> None:
    head = "import pytest\npytestmark = pytest.mark.pg(isolation='database')\n"
    result = run(test_it=head + LOOP.replace("@END@", "pg_session.commit(); pg_queries.assert_count(60)"))
    result.assert_outcomes(passed=1)
