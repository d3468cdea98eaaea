"""The guarded async engine: the promises of the sync one, on asyncpg and psycopg, and those about tasks and loops."""

from __future__ import annotations

import asyncio
import gc
import threading
import warnings
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, func, insert, select, text
from sqlalchemy.exc import DBAPIError, IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, AsyncSession, create_async_engine
from sqlalchemy.util import greenlet_spawn

from pytest_testbed import Testbed
from pytest_testbed.errors import ConfigurationError, IsolationError, TestbedWarning
from pytest_testbed.postgres.connect import engine_url
from pytest_testbed.postgres.guard import Guard
from pytest_testbed.postgres.guard_async import AsyncGuard
from pytest_testbed.postgres.kept_async import AsyncKept
from tests.services import test_guard as sync
from tests.services.test_guard import CLEAN, Order, User, World, look


class SyncFace(AsyncGuard):
    """The async guard as SQLAlchemy's synchronous code sees it, in a greenlet: so the sync scenarios can be played on it."""

    @contextmanager
    def test(self) -> Iterator[Engine]:  # type: ignore[override]
        with super().test() as engine:
            yield engine.sync_engine

    closing = Guard.closing  # type: ignore[assignment]


class AsyncWorld(World):
    """The guard for async engines on one database, and a plain async engine on another one like it."""

    guard: SyncFace

    def __init__(self, testbed: Testbed, driver: str, root: Path) -> None:
        super().__init__(testbed, "psycopg2", root)
        self.driver = driver
        self.loop = asyncio.new_event_loop()

    @contextmanager
    def open(self) -> Iterator[Guard]:
        with super().open():
            with self.guarded.async_guard(self.driver) as guard:
                guard.__class__ = SyncFace
                self.guard = guard
                yield guard
            self.loop.run_until_complete(self.loop.shutdown_asyncgens())
            self.loop.close()

    @contextmanager
    def plain_engine(self) -> Iterator[Engine]:
        engine = create_async_engine(engine_url(self.plain.endpoint, self.plain.name, self.driver)).sync_engine
        try:
            yield engine
        finally:
            engine.dispose()
            self.plain.renew()

    def play(self, call: Callable[..., Any], *args: Any, **more: Any) -> Any:
        """Call something in a greenlet on the world's loop."""
        return self.loop.run_until_complete(greenlet_spawn(call, *args, **more))


def swept() -> None:
    """Collect what earlier tests left: SQLAlchemy warns of each connection of an async engine that nobody closed."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        gc.collect()


@pytest.fixture(scope="module", params=["asyncpg", "psycopg"])
def world(request: pytest.FixtureRequest, somewhere: Testbed, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    pytest.importorskip(request.param)
    created = AsyncWorld(somewhere, request.param, tmp_path_factory.mktemp("guard"))
    created.guarded._admin.execute("DROP ROLE IF EXISTS guard_nobody")
    (created.root / "more.sql").write_text(sync.SCHEMA_TWICE)
    with created.open():
        PLAYED_ON[:] = [created]
        yield created
        swept()


@pytest.fixture
def guard(world: AsyncWorld) -> AsyncGuard:
    return world.guard


PLAYED_ON: list[AsyncWorld] = []
"""The world of the tests that run."""
OURS = {**CLEAN, "prepared": "SELECT count(*) FROM pg_prepared_statements WHERE name !~ '^__asyncpg'"}


@pytest.fixture(autouse=True)
def clean(world: AsyncWorld, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """After each case: the next test sees nothing of it."""
    monkeypatch.setattr(sync, "CLEAN", OURS)

    def seen() -> dict[str, Any]:
        with world.guard.test() as engine:
            return look(engine)

    before = world.play(seen)
    yield
    assert world.play(seen) == before
    assert (before["users"], before["orders"], before["audit"], before["settings"]) == (0, 0, 0, None)


# what a plain async engine says of a connection that nobody closed
pytestmark = pytest.mark.filterwarnings(
    "ignore:The garbage collector is trying",
    "ignore:Exception ignored in. <(finalize|function (Base|ServerCursorMixin)):pytest.PytestUnraisableExceptionWarning",
)


def in_greenlets(*without: str) -> Callable[[type], type]:
    """Let the tests of a class run in greenlets on the world's loop; without those that cannot be, named with a reason."""

    def played(test: Callable[..., None]) -> Callable[..., None]:
        @wraps(test)
        def run(self: Any, **fixtures: Any) -> None:
            PLAYED_ON[0].play(test, self, **fixtures)

        return run

    def changed(cls: type) -> type:
        for base in cls.__mro__[1:-1]:
            for name, test in vars(base).items():
                if name in without:
                    setattr(cls, name, None)
                elif name.startswith("test_") and name not in vars(cls):
                    setattr(cls, name, played(test))
        return cls

    return changed


@in_greenlets()
class TestCommitAndRollback(sync.TestCommitAndRollback):
    pass


@in_greenlets()
class TestErrors(sync.TestErrors):
    pass


@in_greenlets()
class TestSeveral(sync.TestSeveral):
    pass


@in_greenlets()
class TestAnyOrder(sync.TestAnyOrder):
    @pytest.mark.parametrize("seed", range(100, 110))
    def test_interleaved(self, guard: Guard, seed: int) -> None:
        swept()  # what it is warned of shall be its own
        PLAYED_ON[0].play(sync.TestAnyOrder.test_interleaved, self, guard, seed)


@in_greenlets()
class TestDeferred(sync.TestDeferred):
    pass


@in_greenlets(
    "test_on_the_drivers_connection", "test_on_a_raw_connection", "test_by_a_with_block_of_the_driver"
)  # they have no such methods
class TestRealCommits(sync.TestRealCommits):
    pass


@in_greenlets("test_psycopg_transaction_blocks", "test_bulk_ways_of_the_driver")  # below, on the drivers' own connections
class TestRaw(sync.TestRaw):
    pass


@in_greenlets("test_statements_that_were_prepared_past_sqlalchemy")
class TestLeftBehind(sync.TestLeftBehind):
    pass


@in_greenlets(
    "test_in_a_thread_after_its_test",  # below, with tasks
    "test_a_thread_in_the_middle_of_a_statement_does_not_hold_up_the_end",
    "test_threads_at_once",
    "test_threads_some_of_which_roll_back",
    "test_a_statement_broken_off_by_a_signal",
    "test_failure_to_connect_at_first",
)
class TestConnections(sync.TestConnections):
    pass


@in_greenlets("test_the_driver_sends_no_begin_of_its_own")
class TestEverythingElse(sync.TestEverythingElse):
    pass


# --- async code as users write it

Play = Callable[[AsyncEngine], Awaitable[Any]]


class Isolation:
    """The guard as fixtures use it."""

    def __init__(self, world: AsyncWorld) -> None:
        self.world = world
        self.guard: AsyncGuard = world.guard
        self.driver = world.driver

    def test(self) -> Any:
        return AsyncGuard.test(self.guard)

    def closing(self, session: AsyncSession) -> Any:
        return AsyncGuard.closing(self.guard, session)

    def run(self, awaitable: Any, loop: asyncio.AbstractEventLoop | None = None) -> Any:
        return (loop or self.world.loop).run_until_complete(awaitable)

    def play(self, scenario: Play) -> Any:
        """Play a scenario in a test of its own."""
        with self.test() as engine:
            return self.run(scenario(engine))

    def same(self, scenario: Play) -> Any:
        """Play a scenario on the guarded and on a plain engine; what it returns must be the same."""
        plain = create_async_engine(engine_url(self.world.plain.endpoint, self.world.plain.name, self.driver))
        try:
            expected = self.run(scenario(plain))
        finally:
            self.run(plain.dispose())
            self.world.plain.renew()
        got = self.play(scenario)
        assert got == expected
        return got

    def others(self) -> list[tuple[Any, ...]]:
        """Return who has a transaction or a lock in the guarded database, besides whoever asks."""
        return self.world.guarded._admin.rows(
            "SELECT a.pid, state, query FROM pg_stat_activity a WHERE datname = %s AND (xact_start IS NOT NULL OR EXISTS "
            "(SELECT FROM pg_locks l WHERE l.pid = a.pid AND locktype <> 'virtualxid'))",
            (self.world.guarded.name,),
        )


@pytest.fixture
def isolation(world: AsyncWorld) -> Isolation:
    return Isolation(world)


ADD = text("INSERT INTO users (email) VALUES (:email)")
PID = text("SELECT pg_backend_pid()")


async def add(thing: AsyncSession | AsyncConnection, *names: str) -> None:
    for name in names:
        await thing.execute(ADD, {"email": name})


async def emails(thing: AsyncEngine | AsyncSession | AsyncConnection) -> list[str]:
    query = select(User.email).order_by(User.email)
    if isinstance(thing, AsyncEngine):
        async with thing.connect() as connection:
            return list((await connection.scalars(query)).all())
    return list((await thing.scalars(query)).all())


class TestAsyncFace:
    def test_sessions_connections_and_blocks(self, isolation: Isolation) -> None:
        async def scenario(engine: AsyncEngine) -> Any:
            seen = []
            async with AsyncSession(engine) as one, AsyncSession(engine) as two:
                one.add(User(email="a"))
                await one.commit()
                await add(one, "lost")
                await one.rollback()
                await add(two, "b")
                await one.rollback()
                await two.commit()
                async with one.begin_nested() as nested:
                    await add(one, "lost too")
                    await nested.rollback()
                with pytest.raises(IntegrityError):
                    await add(one, "a")
                await one.rollback()
                seen.append(await emails(one))
            async with engine.begin() as connection:
                await add(connection, "c")
            with pytest.raises(ZeroDivisionError):
                async with engine.begin() as connection:
                    await add(connection, "lost")
                    raise ZeroDivisionError
            async with engine.connect() as connection:
                await add(connection, "lost")
            await engine.dispose()
            return [*seen, await emails(engine)]

        assert isolation.same(scenario) == [["a", "b"], ["a", "b", "c"]]

    def test_an_object_is_expired_by_a_commit_as_elsewhere(self, isolation: Isolation) -> None:
        with isolation.test() as engine, isolation.closing(AsyncSession(engine)) as session:
            assert session.sync_session.expire_on_commit

    def test_run_sync(self, isolation: Isolation) -> None:
        async def scenario(engine: AsyncEngine) -> Any:
            async with engine.begin() as connection:
                await connection.run_sync(sync.Base.metadata.create_all)  # which looks what is there
                await connection.run_sync(lambda c: c.execute(insert(User).values(email="a")))
            async with AsyncSession(engine) as session:
                return await session.run_sync(lambda s: s.scalars(select(User.email)).all())

        assert isolation.same(scenario) == ["a"]

    def test_a_stream_beside_commits(self, isolation: Isolation) -> None:
        async def scenario(engine: AsyncEngine) -> Any:
            async with AsyncSession(engine) as session:
                session.add_all(User(email=f"{number:03}") for number in range(100))
                await session.commit()
                seen = 0
                async for user in await session.stream_scalars(select(User).execution_options(yield_per=10)):
                    async with engine.begin() as connection:
                        await connection.execute(insert(Order).values(user_id=user.id))
                    seen += 1
                return seen, await session.scalar(select(func.count()).select_from(Order))

        assert isolation.same(scenario) == (100, 100)

    @pytest.mark.filterwarnings("ignore:the server-side cursor")  # of psycopg before 3.3: it is right
    def test_a_stream_half_read_is_left(self, isolation: Isolation) -> None:
        with isolation.test() as engine, isolation.closing(AsyncSession(engine)) as session:

            async def read() -> Any:
                await session.execute(insert(User), [{"email": f"{number}"} for number in range(100)])
                stream = await session.stream(select(User.id).execution_options(yield_per=10))
                return stream, await anext(stream)

            left = isolation.run(read())
        assert left[1][0]


class TestDriversConnection:
    def test_its_own_ways(self, isolation: Isolation) -> None:
        async def scenario(engine: AsyncEngine) -> Any:
            async with engine.begin() as connection:
                await add(connection, "a")
                raw = (await connection.get_raw_connection()).driver_connection
                if isolation.driver == "asyncpg":
                    await raw.copy_records_to_table("users", records=[("b",), ("c",)], columns=["email"])
                else:
                    async with raw.cursor() as cursor, cursor.copy("COPY users (email) FROM STDIN") as copy:
                        await copy.write_row(["b"])
                        await copy.write_row(["c"])
                async with raw.transaction():
                    await raw.execute("INSERT INTO users (email) VALUES ('d')")
                with pytest.raises(ZeroDivisionError):
                    async with raw.transaction():
                        await raw.execute("INSERT INTO users (email) VALUES ('lost')")
                        raise ZeroDivisionError
            async with engine.connect() as connection:
                raw = (await connection.get_raw_connection()).driver_connection
                await raw.execute("INSERT INTO users (email) VALUES ('lost')")
            return await emails(engine)

        assert isolation.play(scenario) == ["a", "b", "c", "d"]

    def test_a_failure_on_it_leaves_other_sessions_alone(self, isolation: Isolation) -> None:
        async def scenario(engine: AsyncEngine) -> Any:
            async with AsyncSession(engine) as one:
                await add(one, "one")
                await one.commit()
                async with engine.connect() as connection:
                    raw = (await connection.get_raw_connection()).driver_connection
                    with pytest.raises(Exception, match="null value"):
                        await raw.execute("INSERT INTO users (email) VALUES (NULL)")
                    await add(one, "two")
                    await one.commit()
            return await emails(engine)

        assert isolation.play(scenario) == ["one", "two"]

    @pytest.mark.parametrize("statement", ["COMMIT", "ROLLBACK", "COMMIT; BEGIN"])
    @pytest.mark.parametrize("and_then", ["stop", "write", "commit"])
    def test_a_real_end_fails_the_test_that_did_it(self, isolation: Isolation, statement: str, and_then: str) -> None:
        async def scenario(engine: AsyncEngine) -> None:
            async with AsyncSession(engine) as session:
                await add(session, "a")
                raw = (await (await session.connection()).get_raw_connection()).driver_connection
                await raw.execute(statement)
                if and_then != "stop":
                    await add(session, "b")
                if and_then == "commit":
                    await session.commit()

        with pytest.raises(IsolationError, match=r"driver's own connection|ended the test's transaction"):
            isolation.play(scenario)
        assert isolation.play(emails) == []

    def test_its_statements_beside_anothers_work_are_warned_of(self, isolation: Isolation) -> None:
        async def scenario(engine: AsyncEngine) -> None:
            async with AsyncSession(engine) as one, engine.connect() as two:
                await add(one, "one")
                with pytest.warns(TestbedWarning, match="driver's own connection"):
                    (await two.get_raw_connection()).driver_connection  # noqa: B018

        isolation.play(scenario)

    def test_statements_prepared_on_it_are_gone_and_sqlalchemys_go_on(self, isolation: Isolation) -> None:
        async def scenario(engine: AsyncEngine) -> None:
            async with engine.connect() as connection:
                assert await connection.scalar(text("SELECT 41 + 1")) == 42
                raw = (await connection.get_raw_connection()).driver_connection
                await raw.execute("PREPARE mine AS SELECT 1")

        for _ in range(3):
            isolation.play(scenario)

    def test_a_schema_that_was_rolled_back_breaks_no_later_statement(self, isolation: Isolation) -> None:
        query = text("SELECT * FROM users")

        async def scenario(engine: AsyncEngine) -> Any:
            async with engine.connect() as connection:
                before = list((await connection.execute(query)).keys())
                await connection.execute(text("ALTER TABLE users ADD more int"))
                after = (await connection.execute(text("SELECT * FROM users WHERE true"))).keys()
                await connection.rollback()
                return before, list(after)

        for _ in range(3):
            assert isolation.play(scenario) == (["id", "email"], ["id", "email", "more"])

    def test_a_type_that_each_test_makes_anew(self, isolation: Isolation) -> None:
        async def scenario(engine: AsyncEngine) -> Any:
            async with engine.begin() as connection:
                await connection.execute(text("CREATE TYPE mood AS ENUM ('good')"))
                await connection.execute(text("CREATE TABLE feeling (mood mood)"))
                await connection.execute(text("INSERT INTO feeling VALUES ('good')"))
            async with engine.connect() as connection:
                return await connection.scalar(text("SELECT mood FROM feeling"))

        for _ in range(3):
            assert isolation.play(scenario) == "good"


class TestTasks:
    def test_many_at_once(self, isolation: Isolation) -> None:
        async def work(engine: AsyncEngine, number: int) -> None:
            for count in range(10):
                async with AsyncSession(engine) as session:
                    user = User(email=f"{number}-{count}")
                    session.add(user)
                    await session.flush()
                    session.add(Order(user_id=user.id))
                    await session.commit()
                    await session.refresh(user)
                    assert user.email == f"{number}-{count}"

        async def scenario(engine: AsyncEngine) -> Any:
            await asyncio.gather(*(work(engine, number) for number in range(8)))
            return await emails(engine)

        assert len(isolation.same(scenario)) == 80

    @pytest.mark.filterwarnings("ignore::pytest_testbed.TestbedWarning")
    def test_some_of_which_fail(self, isolation: Isolation) -> None:
        committed: set[str] = set()

        async def work(engine: AsyncEngine, number: int) -> None:
            for count in range(10):
                async with AsyncSession(engine) as session:
                    await add(session, f"{number}-{count}")
                    if count % 3:
                        await session.commit()
                        committed.add(f"{number}-{count}")
                    elif count % 2:
                        with pytest.raises(IntegrityError):
                            await session.execute(insert(User).values(id=None))

        async def scenario(engine: AsyncEngine) -> Any:
            await asyncio.gather(*(work(engine, number) for number in range(4)))
            return set(await emails(engine))

        assert committed <= isolation.play(scenario)
        assert len(committed) == 24

    def test_streams_and_statements_at_once(self, isolation: Isolation) -> None:
        async def read(engine: AsyncEngine) -> int:
            async with engine.connect() as connection:
                numbers = await connection.stream(text("SELECT generate_series(1, 500)"))
                return len([number async for number in numbers])

        async def write(engine: AsyncEngine, number: int) -> int:
            async with engine.begin() as connection:
                await add(connection, f"{number}")
            return number

        async def scenario(engine: AsyncEngine) -> Any:
            return await asyncio.gather(*(read(engine) for _ in range(4)), *(write(engine, number) for number in range(20)))

        assert isolation.same(scenario) == [500] * 4 + list(range(20))

    def test_cancelled_in_the_middle_of_a_statement(self, isolation: Isolation) -> None:
        async def scenario(engine: AsyncEngine) -> Any:
            async with AsyncSession(engine) as kept:
                await add(kept, "kept")
                await kept.commit()
                async with engine.connect() as connection:
                    with pytest.raises(TimeoutError):
                        await asyncio.wait_for(connection.execute(text("SELECT pg_sleep(60)")), 0.1)
                await add(kept, "and more")
                await kept.commit()
                return await emails(kept)

        assert isolation.play(scenario) == ["and more", "kept"]

    def test_cancelled_while_it_waits_for_its_turn(self, isolation: Isolation) -> None:
        async def scenario(engine: AsyncEngine) -> Any:
            async with engine.connect() as slow, engine.connect() as waiting:
                running = asyncio.create_task(slow.execute(text("SELECT pg_sleep(0.3)")))
                await asyncio.sleep(0)
                with pytest.raises(TimeoutError):
                    await asyncio.wait_for(waiting.execute(text("SELECT 1")), 0.1)
                await running
            async with engine.begin() as connection:
                await add(connection, "a")
            return await emails(engine)

        assert isolation.play(scenario) == ["a"]

    def test_what_is_left_to_the_garbage_collector_is_undone(self, isolation: Isolation) -> None:
        async def scenario(engine: AsyncEngine) -> Any:
            connection = await engine.connect()
            await add(connection, "lost")
            del connection
            swept()
            async with engine.begin() as other:
                await add(other, "kept")
            return await emails(engine)

        assert isolation.play(scenario) == ["kept"]

    def test_left_over_from_an_earlier_test(self, isolation: Isolation) -> None:
        errors: list[BaseException] = []
        go_on = asyncio.Event()

        async def work(engine: AsyncEngine, begun: asyncio.Event) -> None:
            async with AsyncSession(engine) as session:
                await add(session, "task")
                begun.set()
                await go_on.wait()
                try:
                    await add(session, "too late")
                except IsolationError as error:
                    errors.append(error)

        async def first(engine: AsyncEngine) -> Any:
            begun = asyncio.Event()
            task = asyncio.create_task(work(engine, begun))
            await begun.wait()
            return task

        async def second(engine: AsyncEngine) -> Any:
            async with engine.begin() as connection:
                await add(connection, "next")
                go_on.set()
                await task
                return await emails(connection)

        task = isolation.play(first)
        assert isolation.play(second) == ["next"]
        assert [str(error) for error in errors] == [
            "a session or connection of pg_async_engine was used after its test had ended."
        ]

    def test_left_over_and_nobody_has_the_engine(self, isolation: Isolation) -> None:
        async def connect(engine: AsyncEngine) -> None:
            async with engine.connect():
                pass

        with isolation.test() as engine:
            isolation.run(connect(engine))
        with pytest.raises(IsolationError, match="pg_async_engine was used while no test that asked for it ran"):
            isolation.run(connect(engine))

    @pytest.mark.parametrize("raw", [False, True])
    def test_in_the_middle_of_a_statement_when_its_test_ends(
        self, isolation: Isolation, monkeypatch: pytest.MonkeyPatch, raw: bool
    ) -> None:
        monkeypatch.setattr("pytest_testbed.postgres.guard.PATIENCE", 0.1)
        killed: list[int] = []
        kill = AsyncKept.kill
        monkeypatch.setattr(AsyncKept, "kill", lambda kept: (killed.append(kept._pid), kill(kept)))

        async def work(engine: AsyncEngine, begun: asyncio.Event) -> None:
            async with engine.connect() as connection:
                sleeper: Any = connection
                await connection.execute(text("SELECT 1"))
                if raw:
                    sleeper = (await connection.get_raw_connection()).driver_connection
                begun.set()
                await sleeper.execute("SELECT pg_sleep(60)" if raw else text("SELECT pg_sleep(60)"))

        async def scenario(engine: AsyncEngine) -> Any:
            begun = asyncio.Event()
            pid = await _scalar(engine, PID)
            task = asyncio.create_task(work(engine, begun))
            await begun.wait()
            await asyncio.sleep(0)
            return task, pid

        task, pid = isolation.play(scenario)
        assert isolation.others() == []
        if raw:
            rows = isolation.world.guarded._admin.rows("SELECT FROM pg_stat_activity WHERE pid = %s", (pid,))
            assert rows == []
            assert killed == [pid]  # nothing less is sure to have ended it by now
        isolation.run(asyncio.wait([task], timeout=10))
        assert task.done()
        assert raw or isinstance(task.exception(), Exception)  # asyncpg lets its own end without one
        assert isolation.play(emails) == []


class TestLoops:
    def test_a_loop_keeps_its_connection(self, isolation: Isolation) -> None:
        async def pid(engine: AsyncEngine) -> Any:
            async with engine.begin() as connection:
                await add(connection, "a")
                return await connection.scalar(PID)

        first = isolation.play(pid)
        assert isolation.play(pid) == first
        other = asyncio.Runner()
        pids = set()
        for _ in range(3):
            with isolation.test() as engine:
                pids.add(other.run(pid(engine)))
            assert isolation.others() == []
        assert len(pids) == 1
        assert (pids == {first}) is (isolation.driver == "psycopg")
        other.close()
        assert isolation.play(pid) == first

    def test_a_loop_for_each_test(self, isolation: Isolation) -> None:
        async def scenario(engine: AsyncEngine) -> Any:
            async with AsyncSession(engine) as session:
                await add(session, "a")
                await session.commit()
                await add(session, "b")
                return await emails(session)

        for _ in range(3):
            with isolation.test() as engine:
                assert asyncio.run(scenario(engine)) == ["a", "b"]
            assert isolation.others() == []

    def test_a_connection_that_outlives_its_loop_is_tied_to_none(self, isolation: Isolation) -> None:
        async def scenario(engine: AsyncEngine) -> Any:
            async with engine.connect() as connection:
                raw = (await connection.get_raw_connection()).driver_connection
                if isolation.driver == "psycopg":  # which lets them wait for each other; asyncpg does not
                    await asyncio.gather(*(raw.execute("SELECT 1") for _ in range(3)))

        for _ in range(3):
            with isolation.test() as engine:
                asyncio.run(scenario(engine))
            isolation.play(scenario)

    @pytest.mark.parametrize("in_a_thread", [False, True])
    def test_two_loops_in_one_test(self, isolation: Isolation, in_a_thread: bool) -> None:
        errors: list[BaseException] = []

        async def one(engine: AsyncEngine) -> Any:
            async with engine.begin() as connection:
                await add(connection, "a")

        def other(engine: AsyncEngine) -> None:
            try:
                asyncio.run(one(engine))
            except BaseException as error:
                errors.append(error)

        with isolation.test() as engine:
            isolation.run(one(engine))
            if in_a_thread:
                thread = threading.Thread(target=other, args=(engine,))
                thread.start()
                thread.join()
            else:
                other(engine)
            assert isolation.run(emails(engine)) == ["a"]
        assert [type(error) for error in errors] == [IsolationError]
        assert "two event loops" in str(errors[0])
        assert "loop_scope" in str(errors[0])

    def test_a_session_used_on_another_loop(self, isolation: Isolation) -> None:
        async def late(session: AsyncSession) -> None:
            with pytest.raises(IsolationError, match="two event loops"):
                await add(session, "b")
            await session.close()

        with isolation.test() as engine, isolation.closing(AsyncSession(engine)) as session:
            isolation.run(add(session, "a"))
            asyncio.run(late(session))
            assert isolation.run(emails(engine)) == []

    def test_a_loop_that_was_closed_in_the_test(self, isolation: Isolation) -> None:
        with isolation.test() as engine:
            asyncio.run(emails(engine))
            with pytest.raises(IsolationError):
                asyncio.run(emails(engine))

    def test_a_loop_that_was_closed_without_leave(self, isolation: Isolation) -> None:
        async def scenario(engine: AsyncEngine) -> Any:
            async with engine.begin() as connection:
                await connection.execute(text("LOCK TABLE users"))
                await add(connection, "a")

        with isolation.test() as engine:
            loop = asyncio.new_event_loop()
            loop.run_until_complete(scenario(engine))
            loop.close()
        assert isolation.others() == []
        assert isolation.play(emails) == []
        swept()  # nobody can close asyncpg's socket then

    @pytest.mark.parametrize("closed", [False, True])
    def test_left_to_a_closed_loop_a_broken_constraint_still_fails_the_test(self, isolation: Isolation, closed: bool) -> None:
        loop = asyncio.Runner()
        with pytest.raises(IntegrityError, match="fk_user"):
            with isolation.test() as engine, isolation.closing(AsyncSession(engine)) as session:
                loop.run(session.execute(insert(Order).values(user_id=7)))
                if closed:
                    loop.close()
        loop.close()
        assert isolation.others() == []

    def test_a_real_commit_on_a_loop_that_is_closed(self, isolation: Isolation) -> None:
        async def scenario(engine: AsyncEngine) -> None:
            async with AsyncSession(engine) as session:
                await add(session, "a")
                await session.execute(text("COMMIT"))

        with pytest.raises(IsolationError, match="the statement 'COMMIT' ended"):
            with isolation.test() as engine:
                asyncio.run(scenario(engine))
        assert isolation.play(emails) == []

    def test_a_loop_that_runs_in_another_thread(self, isolation: Isolation) -> None:
        loop = asyncio.new_event_loop()
        thread = threading.Thread(target=loop.run_forever)
        thread.start()
        try:
            with isolation.test() as engine:
                with isolation.closing(AsyncSession(engine)) as session:
                    asyncio.run_coroutine_threadsafe(add(session, "a"), loop).result(10)
            assert isolation.others() == []
        finally:
            asyncio.run_coroutine_threadsafe(loop.shutdown_asyncgens(), loop).result(10)
            loop.call_soon_threadsafe(loop.stop)
            thread.join()
            loop.close()

    def test_an_end_inside_of_a_running_loop(self, isolation: Isolation) -> None:
        async def whole() -> None:
            with isolation.test() as engine:
                async with engine.begin() as connection:
                    await connection.execute(text("LOCK TABLE users"))
            assert isolation.others() == []

        asyncio.run(whole())

    def test_no_loop_of_asyncio(self, isolation: Isolation) -> None:
        with isolation.test() as engine, pytest.raises(ConfigurationError, match="anyio_backend"):
            coroutine = engine.connect().start()
            coroutine.send(None)

    def test_a_backend_that_ended_between_tests(self, isolation: Isolation) -> None:
        pid = isolation.play(lambda engine: _scalar(engine, PID))
        isolation.world.guarded._admin.rows("SELECT pg_terminate_backend(%s, 5000)", (pid,))
        assert isolation.play(emails) == []
        assert isolation.play(lambda engine: _scalar(engine, PID)) != pid

    def test_a_test_that_never_connects(self, isolation: Isolation) -> None:
        with isolation.test() as engine, isolation.closing(AsyncSession(engine)) as session:
            assert not session.in_transaction()
        assert isolation.others() == []


async def _scalar(engine: AsyncEngine, query: Any) -> Any:
    async with engine.connect() as connection:
        return await connection.scalar(query)


def test_a_connection_that_is_lost_says_so(isolation: Isolation) -> None:
    async def scenario(engine: AsyncEngine) -> None:
        async with engine.connect() as connection:
            with pytest.raises(DBAPIError):
                await connection.execute(text("SELECT pg_terminate_backend(pg_backend_pid())"))
        with pytest.raises(IsolationError, match="connection of this test's transaction is gone"):
            async with engine.connect():
                pass

    isolation.play(scenario)
