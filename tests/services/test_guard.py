"""The guarded engine on a real server: what one test does, the next one does not see, whoever commits."""

from __future__ import annotations

import gc
import os
import random
import signal
import threading
import uuid
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import (
    ARRAY,
    JSON,
    Column,
    Connection,
    Engine,
    Enum,
    ForeignKey,
    Integer,
    MetaData,
    String,
    Table,
    Uuid,
    create_engine,
    event,
    func,
    insert,
    inspect,
    select,
    text,
)
from sqlalchemy.dialects.postgresql import HSTORE, INET, JSONB
from sqlalchemy.exc import DBAPIError, IntegrityError, InvalidRequestError, OperationalError, PendingRollbackError
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column, relationship, scoped_session, sessionmaker

from pytest_testbed import Testbed
from pytest_testbed.errors import IsolationError, TestbedWarning
from pytest_testbed.postgres.connect import connect
from pytest_testbed.postgres.database import Database
from pytest_testbed.postgres.guard import Guard
from pytest_testbed.postgres.service import spare_of
from pytest_testbed.postgres.statements import may_write

SCHEMA = """
CREATE TABLE audit (note text);
CREATE FUNCTION note_user() RETURNS trigger LANGUAGE plpgsql AS
$$ BEGIN INSERT INTO audit VALUES ('user ' || NEW.email); RETURN NULL; END $$;
CREATE CONSTRAINT TRIGGER late AFTER INSERT ON users DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW WHEN (NEW.email LIKE 'late%') EXECUTE FUNCTION note_user();
CREATE FUNCTION add_user(email text) RETURNS int LANGUAGE sql AS
$$ INSERT INTO users (email) VALUES ($1) RETURNING id $$;
CREATE EXTENSION hstore;
CREATE ROLE guard_nobody;
"""
# the role belongs to the server: the second database finds it there
SCHEMA_TWICE = SCHEMA.replace(
    "CREATE ROLE guard_nobody;",
    "DO $$ BEGIN IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'guard_nobody') "
    "THEN CREATE ROLE guard_nobody; END IF; END $$;",
)


class Base(DeclarativeBase):
    pass


class User(Base):
    __tablename__ = "users"
    id: Mapped[int] = mapped_column(primary_key=True)
    email: Mapped[str] = mapped_column(String(100), unique=True)
    orders: Mapped[list[Order]] = relationship(back_populates="user")


class Order(Base):
    __tablename__ = "orders"
    id: Mapped[int] = mapped_column(primary_key=True)
    user_id: Mapped[int | None] = mapped_column(ForeignKey("users.id", name="fk_user", deferrable=True, initially="DEFERRED"))
    # deferrable, but not deferred until somebody says so
    next_id: Mapped[int | None] = mapped_column(ForeignKey("orders.id", name="fk_next", deferrable=True, initially="IMMEDIATE"))
    user: Mapped[User | None] = relationship(back_populates="orders")


class World:
    """The guard on one database, and a plain engine on another one like it."""

    def __init__(self, testbed: Testbed, driver: str, root: Path) -> None:
        (root / "more.sql").write_text(SCHEMA)
        self.driver = driver
        self.root = root
        self.guarded, self.plain = (
            Database(testbed, worker=f"{name}_{driver}", schema=[Base, "more.sql"], root=root, driver=driver, lock_timeout=0.5)
            for name in ("guarded", "plain")
        )

    @contextmanager
    def open(self) -> Iterator[Guard]:
        for database in (self.guarded, self.plain):
            database.ensure()
        with self.guarded.guard() as guard:
            self.guard = guard
            yield guard
        for database in (self.guarded, self.plain):
            database.renew()
            database.close()
        admin = self.guarded._admin
        for name in (self.guarded.name, self.plain.name, self.guarded.template):  # one template serves both
            admin.execute(f'DROP DATABASE "{name}"')
        admin.execute(f'DROP DATABASE IF EXISTS "{spare_of(self.guarded.template)}"')
        admin.execute("DROP ROLE guard_nobody")
        admin.close()

    def same(self, scenario: Callable[[Engine], Any]) -> Any:
        """Play a scenario on the guarded and on a plain engine; what it returns must be the same."""
        with self.plain_engine() as engine:
            expected = scenario(engine)
        with self.guard.test() as engine:
            got = scenario(engine)
        assert got == expected
        return got

    @contextmanager
    def plain_engine(self) -> Iterator[Engine]:
        """Give an engine as anybody makes it, on a database that is made anew afterwards."""
        engine = create_engine(self.plain.url)
        try:
            yield engine
        finally:
            engine.dispose()
            self.plain.renew()

    @contextmanager
    def other_connection(self) -> Iterator[Any]:
        """Connect to the guarded database from outside."""
        connection = connect(self.guarded.endpoint, self.guarded.name, "psycopg2")
        try:
            yield connection
        finally:
            connection.close()


@pytest.fixture(scope="module", params=["psycopg2", "psycopg"])
def world(request: pytest.FixtureRequest, somewhere: Testbed, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    pytest.importorskip(request.param)
    created = World(somewhere, request.param, tmp_path_factory.mktemp("guard"))
    created.guarded._admin.execute("DROP ROLE IF EXISTS guard_nobody")
    (created.root / "more.sql").write_text(SCHEMA_TWICE)
    with created.open():
        yield created


CLEAN = {
    "users": "SELECT count(*) FROM users",
    "orders": "SELECT count(*) FROM orders",
    "audit": "SELECT count(*) FROM audit",
    "tables": "SELECT count(*) FROM pg_class WHERE relkind IN ('r', 'S', 'v')",
    "temporary": "SELECT count(*) FROM pg_class WHERE pg_my_temp_schema() = relnamespace",
    "schemas": "SELECT string_agg(nspname, ',' ORDER BY 1) FROM pg_namespace WHERE nspname !~ '^pg_'",
    "types": "SELECT count(*) FROM pg_type WHERE typtype IN ('e', 'd')",
    "extensions": "SELECT string_agg(extname, ',' ORDER BY 1) FROM pg_extension",
    "advisory": "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid()",
    "listening": "SELECT count(*) FROM pg_listening_channels()",
    "prepared": "SELECT count(*) FROM pg_prepared_statements",
    "cursors": "SELECT count(*) FROM pg_cursors WHERE name !~ '^c_'",
    "role": "SELECT current_user = session_user",
    "settings": "SELECT string_agg(name || '=' || setting, ',' ORDER BY name) FROM pg_settings WHERE source = 'session'",
    "search_path": "SHOW search_path",
    "custom": "SELECT coalesce(current_setting('app.tenant', true), '')",
}


def look(engine: Engine) -> dict[str, Any]:
    with engine.connect() as connection:
        return {name: connection.exec_driver_sql(sql).scalar() for name, sql in CLEAN.items()}


@pytest.fixture(autouse=True)
def clean(request: pytest.FixtureRequest) -> Iterator[None]:
    """After each case: the next test sees nothing of it."""
    if "world" not in request.fixturenames:
        yield
        return
    guard = request.getfixturevalue("world").guard
    with guard.test() as engine:
        before = look(engine)
    yield
    with guard.test() as engine:
        assert look(engine) == before
    assert (before["users"], before["orders"], before["audit"], before["settings"]) == (0, 0, 0, None)


@pytest.fixture
def guard(world: World) -> Guard:
    return world.guard


def emails(engine: Engine | Session | Connection) -> list[str]:
    query = select(User.email).order_by(User.email)
    if isinstance(engine, Engine):
        with engine.connect() as connection:
            return list(connection.scalars(query))
    return list(engine.scalars(query))


def add(thing: Session | Connection, *names: str) -> None:
    for name in names:
        thing.execute(insert(User).values(email=name))


class TestCommitAndRollback:
    """Each scenario runs on a plain engine, too, and must look the same from within."""

    def test_commit_rollback_close_reopen(self, world: World) -> None:
        def scenario(engine: Engine) -> Any:
            seen = []
            session = Session(engine)
            session.add(User(email="a"))
            session.commit()
            session.add(User(email="b"))
            session.flush()
            seen.append(emails(session))
            session.rollback()
            seen.append(emails(session))
            session.add(User(email="c"))
            session.flush()
            session.close()
            seen.append(emails(engine))
            with Session(engine) as other:
                add(other, "d")
                other.commit()
                add(other, "e")
            seen.append(emails(engine))
            return seen

        assert world.same(scenario) == [["a", "b"], ["a"], ["a"], ["a", "d"]]

    def test_nested(self, world: World) -> None:
        def scenario(engine: Engine) -> Any:
            with Session(engine) as session:
                add(session, "a")
                outer = session.begin_nested()
                add(session, "b")
                inner = session.begin_nested()
                add(session, "c")
                inner.rollback()
                with session.begin_nested():
                    add(session, "d")
                outer.commit()
                with pytest.raises(IntegrityError), session.begin_nested():
                    add(session, "e", "a")
                session.commit()
                outer = session.begin_nested()
                add(session, "f")
                with session.begin_nested():
                    add(session, "g")
                outer.rollback()
                add(session, "h")
                session.commit()
            return emails(engine)

        assert world.same(scenario) == ["a", "b", "d", "h"]

    @pytest.mark.parametrize("is_alone", [True, False])
    def test_a_nested_transaction_that_failed_cannot_be_committed(self, world: World, is_alone: bool) -> None:
        def scenario(engine: Engine) -> Any:
            with engine.connect() as connection:
                nested = connection.begin_nested()
                with pytest.raises(DBAPIError):
                    connection.execute(text("SELECT 1 / 0"))
                if not is_alone:
                    with Session(engine) as another:  # whose statement makes the test's transaction usable again
                        add(another, "meanwhile")
                        another.commit()
                with pytest.raises(DBAPIError, match="current transaction is aborted"):
                    nested.commit()
                connection.rollback()
            return emails(engine)

        assert world.same(scenario) == ([] if is_alone else ["meanwhile"])

    def test_blocks(self, world: World) -> None:
        def scenario(engine: Engine) -> Any:
            with Session(engine) as session, session.begin():
                add(session, "session.begin")
            with sessionmaker(engine).begin() as session:
                add(session, "sessionmaker.begin")
            with engine.begin() as connection:
                add(connection, "engine.begin")
            with engine.connect() as connection:
                with connection.begin():
                    add(connection, "connection.begin")
                add(connection, "autobegin")
                connection.commit()
                add(connection, "lost")
            with pytest.raises(ZeroDivisionError), engine.begin() as connection:
                add(connection, "lost too")
                raise ZeroDivisionError
            with engine.connect() as connection:
                transaction = connection.begin()
                add(connection, "rolled back")
                transaction.rollback()
                with connection.begin(), connection.begin_nested() as nested:
                    add(connection, "nested")
                    nested.rollback()
            return emails(engine)

        expected = ["autobegin", "connection.begin", "engine.begin", "session.begin", "sessionmaker.begin"]
        assert world.same(scenario) == expected

    def test_autobegin_off(self, world: World) -> None:
        def scenario(engine: Engine) -> Any:
            session = Session(engine, autobegin=False)
            with pytest.raises(InvalidRequestError):
                session.execute(text("SELECT 1"))
            with session.begin():
                add(session, "a")
            session.close()
            return emails(engine)

        assert world.same(scenario) == ["a"]

    def test_sessionmaker_options_and_events(self, world: World) -> None:
        def scenario(engine: Engine) -> Any:
            seen: list[str] = []
            make = sessionmaker(engine, expire_on_commit=False, autoflush=False)
            for name in (
                "after_begin",
                "before_commit",
                "after_commit",
                "after_rollback",
                "after_flush",
                "after_transaction_end",
            ):
                event.listen(make, name, lambda *args, name=name: seen.append(name))
            for name in ("begin", "commit", "rollback", "savepoint", "release_savepoint"):
                event.listen(engine, name, lambda *args, name=name: seen.append(name))
            scoped = scoped_session(make)
            scoped.add(User(email="a"))
            assert emails(scoped()) == []
            scoped.commit()
            with scoped.begin_nested():
                scoped.add(User(email="b"))
            scoped.rollback()
            scoped.remove()
            return seen, emails(engine)

        assert world.same(scenario)[1] == ["a"]

    def test_session_on_a_connection(self, world: World) -> None:
        """The old recipe of the suites that come to us must go on working."""

        def scenario(engine: Engine) -> Any:
            with engine.connect() as connection:
                transaction = connection.begin()
                with Session(connection, join_transaction_mode="create_savepoint") as session:
                    add(session, "a")
                    session.commit()
                    add(session, "b")
                    session.rollback()
                    inside = emails(session)
                transaction.rollback()
            return inside, emails(engine)

        assert world.same(scenario) == (["a"], [])

    def test_engine_with_options_shares_the_transaction(self, world: World) -> None:
        def scenario(engine: Engine) -> Any:
            with engine.execution_options(logging_token="x").begin() as connection:
                add(connection, "a")
            with engine.execution_options(schema_translate_map={None: "public"}).begin() as connection:
                add(connection, "b")
            return emails(engine)

        assert world.same(scenario) == ["a", "b"]


class TestErrors:
    def test_integrity_error_leaves_the_session_usable(self, world: World) -> None:
        def scenario(engine: Engine) -> Any:
            with Session(engine) as session:
                session.add(User(email="a"))
                session.commit()
                session.add(User(email="a"))
                with pytest.raises(IntegrityError):
                    session.commit()
                with pytest.raises(PendingRollbackError):
                    session.execute(text("SELECT 1"))
                session.rollback()
                session.add(User(email="b"))
                session.commit()
                return emails(session)

        assert world.same(scenario) == ["a", "b"]

    def test_on_a_connection(self, world: World) -> None:
        def scenario(engine: Engine) -> Any:
            with engine.connect() as connection:
                add(connection, "a")
                with pytest.raises(IntegrityError):
                    add(connection, "a")
                with pytest.raises(DBAPIError, match="current transaction is aborted"):
                    connection.execute(text("SELECT 1"))
                connection.rollback()
                add(connection, "b")
                connection.commit()
                add(connection, "c")
                with pytest.raises(IntegrityError):
                    add(connection, "b")
                connection.commit()  # the server makes a rollback of it
                return emails(connection)

        assert world.same(scenario) == ["b"]

    @pytest.mark.parametrize("ending", ["rollback", "commit", "close"])
    def test_one_of_two_fails_and_the_other_goes_on(self, world: World, ending: str) -> None:
        def scenario(engine: Engine) -> Any:
            with engine.connect() as one, engine.connect() as two:
                add(one, "one")
                add(two, "two")
                with pytest.raises(IntegrityError):
                    two.execute(insert(User).values(id=None))
                add(one, "one more")  # the other one does not notice
                with pytest.raises(DBAPIError, match="current transaction is aborted"):
                    two.execute(text("SELECT 1"))
                getattr(two, ending)()
                one.commit()
            return emails(engine)

        assert world.same(scenario) == ["one", "one more"]

    def test_commit_while_another_one_has_failed(self, world: World) -> None:
        def scenario(engine: Engine) -> Any:
            with engine.connect() as one, engine.connect() as two:
                add(one, "one")
                with pytest.raises(IntegrityError):
                    two.execute(insert(User).values(id=None))
                one.commit()
                with engine.connect() as three:
                    seen = emails(three)
                two.rollback()
                add(two, "two")
                two.commit()
            return seen, emails(engine)

        assert world.same(scenario) == (["one"], ["one", "two"])

    def test_failure_in_a_nested_transaction_beside_another_session(self, world: World) -> None:
        def scenario(engine: Engine) -> Any:
            with Session(engine) as one, Session(engine) as two:
                add(one, "one")
                nested = one.begin_nested()
                with pytest.raises(IntegrityError):
                    one.execute(insert(User).values(id=None))
                add(two, "two")
                two.commit()
                nested.rollback()
                add(one, "one more")
                one.commit()
            return emails(engine)

        assert world.same(scenario) == ["one", "one more", "two"]

    def test_a_new_session_is_opened_while_another_one_has_failed(self, world: World) -> None:
        def scenario(engine: Engine) -> Any:
            with ExitStack() as stack:
                one = stack.enter_context(engine.connect())
                with pytest.raises(IntegrityError):
                    one.execute(insert(User).values(id=None))
                others = [stack.enter_context(engine.connect()) for _ in range(12)]  # more than were ever open
                for number, other in enumerate(others):
                    add(other, f"{number:02}")
                    other.commit()
            return emails(engine)

        assert len(world.same(scenario)) == 12

    def test_an_aborted_transaction_is_left(self, guard: Guard) -> None:
        with guard.test() as engine, guard.closing(engine.connect()) as connection:
            add(connection, "a")
            with pytest.raises(IntegrityError):
                add(connection, "a")

    def test_a_session_that_waits_for_its_rollback_is_left(self, guard: Guard) -> None:
        with guard.test() as engine, guard.closing(Session(engine)) as session:
            session.add(User(id=1, email="a"))
            session.commit()
            session.add(User(email="a"))
            with pytest.raises(IntegrityError):
                session.flush()


class TestSeveral:
    def test_commit_and_rollback_out_of_order(self, world: World) -> None:
        def scenario(engine: Engine) -> Any:
            seen = []
            with Session(engine) as one, Session(engine) as two:
                add(one, "one")
                add(two, "two")
                one.commit()
                two.rollback()
                seen.append(emails(engine))
                add(one, "three")
                add(two, "four")
                two.commit()
                one.commit()
                add(one, "five")
                one.rollback()
                seen.append(emails(engine))
            return seen

        assert world.same(scenario) == [["one"], ["four", "one", "three"]]

    @pytest.mark.parametrize("order", ["ABab", "ABba", "BAab", "BAba"])
    @pytest.mark.parametrize("ends", ["cc", "cr", "rc", "rr"])
    def test_every_order(self, world: World, order: str, ends: str) -> None:
        """A, B write; a, b end, each with a commit or rollback: only a rollback below another's commit is inexact."""

        def scenario(engine: Engine) -> list[str]:
            with engine.connect() as one, engine.connect() as two:
                for step in order:
                    connection = one if step in "Aa" else two
                    if step.isupper():
                        add(connection, step)
                    elif ends["ab".index(step)] == "c":
                        connection.commit()
                    else:
                        connection.rollback()
            return emails(engine)

        with self.plain_or_warned() as warned:
            with world.plain_engine() as engine:
                expected = scenario(engine)
            assert not warned
            with world.guard.test() as engine:
                got = scenario(engine)
        assert set(expected) <= set(got)
        if not warned:
            assert got == expected
        if ends in ("cc", "rr"):
            assert got == expected

    @contextmanager
    def plain_or_warned(self) -> Iterator[list[warnings.WarningMessage]]:
        with warnings.catch_warnings(record=True) as warned:
            warnings.simplefilter("always")
            yield warned

    def test_a_rollback_below_a_commit_stays_and_is_said(self, guard: Guard) -> None:
        with guard.test() as engine:
            with Session(engine) as one, Session(engine) as two:
                add(one, "one")
                add(two, "two")
                two.commit()
                with pytest.warns(TestbedWarning, match=r"stays.*isolation='database'"):
                    one.rollback()
            assert emails(engine) == ["one", "two"]

    def test_both_roll_back_out_of_order(self, guard: Guard) -> None:
        with guard.test() as engine:
            with Session(engine) as one, Session(engine) as two:
                add(one, "one")
                add(two, "two")
                with pytest.warns(TestbedWarning, match="stays"):
                    one.rollback()
                two.rollback()
                assert emails(one) == []

    def test_a_reader_is_no_obstacle(self, world: World) -> None:
        def scenario(engine: Engine) -> Any:
            with Session(engine) as one, Session(engine) as two:
                add(one, "one")
                two.scalar(select(func.count()).select_from(Order))
                one.rollback()
                one.scalars(select(Order)).all()
                add(two, "two")
                two.commit()
                one.rollback()
                return emails(two)

        assert world.same(scenario) == ["two"]

    def test_a_function_that_writes_is_no_reader(self, guard: Guard) -> None:
        with guard.test() as engine:
            with Session(engine) as one, Session(engine) as two:
                add(one, "one")
                two.scalar(select(func.add_user("two")))
                with pytest.warns(TestbedWarning, match="stays"):
                    one.rollback()
                two.commit()
            assert emails(engine) == ["one", "two"]

    def test_rollback_to_a_savepoint_below_anothers_commit(self, guard: Guard) -> None:
        with guard.test() as engine:
            with Session(engine) as one, Session(engine) as two:
                nested = one.begin_nested()
                add(one, "one")
                add(two, "two")
                two.commit()
                add(one, "on top")
                with pytest.warns(TestbedWarning, match="nested transaction.*stays"):
                    nested.rollback()
                one.commit()
            assert emails(engine) == ["one", "two"]

    def test_release_of_a_savepoint_below_anothers_work(self, world: World) -> None:
        def scenario(engine: Engine) -> Any:
            with Session(engine) as one, Session(engine) as two:
                nested = one.begin_nested()
                add(one, "one")
                add(two, "two")
                nested.commit()
                two.rollback()
                one.commit()
                return emails(two)

        assert world.same(scenario) == ["one"]

    def test_an_uncommitted_remainder_is_nothing_to_warn_of_at_the_end(self, guard: Guard) -> None:
        with guard.test() as engine, guard.closing(Session(engine)) as session:
            add(session, "one")
            with engine.begin() as connection:
                add(connection, "two")

    def test_a_warning_that_is_an_error_leaves_all_in_order(self, guard: Guard) -> None:
        with guard.test() as engine, Session(engine) as one, Session(engine) as two:
            add(one, "one")
            add(two, "two")
            two.commit()
            with warnings.catch_warnings():
                warnings.simplefilter("error")
                with pytest.raises(TestbedWarning):
                    one.rollback()
            one.rollback()
            add(one, "three")
            one.rollback()
            assert emails(two) == ["one", "two"]

    def test_savepoints_do_not_pile_up(self, guard: Guard) -> None:
        with guard.test() as engine, engine.connect() as one, engine.connect() as two:
            add(one, "one")
            for number in range(300):
                add(two, f"{number}")
                two.commit() if number % 2 else two.rollback()
            assert len(guard._shared.stack.runs) <= 2
            one.commit()
            assert len(emails(two)) == 151

    @pytest.mark.filterwarnings("ignore::pytest_testbed.TestbedWarning")  # given or not, as the collector pleases
    def test_a_session_left_to_the_garbage_collector(self, world: World) -> None:
        def scenario(engine: Engine) -> Any:
            session = Session(engine)
            add(session, "lost")
            with engine.begin() as connection:
                add(connection, "kept")
            del session
            with engine.begin() as connection:
                add(connection, "kept too")
            return None

        world.same(scenario)
        with world.guard.test() as engine:
            connection = engine.connect()
            add(connection, "lost")
            connection.detach()  # type: ignore[no-untyped-call,unused-ignore]
            del connection
            assert emails(engine) in ([], ["lost"])


class Model:
    """What a server would have committed, followed in Python; and a seeded player of random operations."""

    def __init__(self, seed: int, sessions: int) -> None:
        self.random = random.Random(seed)
        self.names = range(sessions)
        self.count = 0
        self.committed: set[str] = set()
        self.given_up: set[str] = set()
        self.stacks: list[list[set[str]]] = [[set()] for _ in self.names]
        self.nested: list[list[Any]] = [[] for _ in self.names]

    def play(self, sessions: list[Session], steps: int, *, serial: bool) -> None:
        who = 0
        for _ in range(steps):
            if not serial or (not self.stacks[who][0] and len(self.stacks[who]) == 1):
                who = self.random.choice(self.names)
            kinds = ["add", "add", "read", "nest", "commit", "rollback", "fail", "close"]
            if self.nested[who]:
                kinds += ["nested_commit", "nested_rollback", "nested_fail"]
            getattr(self, "do_" + self.random.choice(kinds))(who, sessions[who])
        for who in self.names:
            self.do_rollback(who, sessions[who])

    def do_add(self, who: int, session: Session) -> None:
        self.count += 1
        name = f"{who}-{self.count}"
        add(session, name)
        self.stacks[who][-1].add(name)

    def do_read(self, who: int, session: Session) -> None:
        seen = set(emails(session))
        # `seen` may have more: what others have not committed, what had to stay
        assert self.committed | set().union(*self.stacks[who]) <= seen

    def do_nest(self, who: int, session: Session) -> None:
        self.nested[who].append(session.begin_nested())
        self.stacks[who].append(set())

    def do_nested_commit(self, who: int, session: Session) -> None:
        self.nested[who].pop().commit()
        done = self.stacks[who].pop()
        self.stacks[who][-1] |= done

    def do_nested_rollback(self, who: int, session: Session) -> None:
        self.nested[who].pop().rollback()
        self.given_up |= self.stacks[who].pop()

    def do_nested_fail(self, who: int, session: Session) -> None:
        with pytest.raises(IntegrityError):
            session.execute(insert(User).values(id=None))
        self.do_nested_rollback(who, session)

    def do_commit(self, who: int, session: Session) -> None:
        session.commit()
        self.committed |= set().union(*self.stacks[who])
        self.stacks[who], self.nested[who] = [set()], []

    def do_rollback(self, who: int, session: Session) -> None:
        session.rollback()
        self.given_up |= set().union(*self.stacks[who])
        self.stacks[who], self.nested[who] = [set()], []

    def do_fail(self, who: int, session: Session) -> None:
        with pytest.raises(IntegrityError):
            session.execute(insert(User).values(id=None))
        self.do_rollback(who, session)

    def do_close(self, who: int, session: Session) -> None:
        session.close()
        self.do_rollback(who, session)


class TestAnyOrder:
    """Random operations of two or three sessions against a model of what a server does."""

    @pytest.mark.parametrize("seed", range(12))
    def test_one_after_the_other_is_exact(self, world: World, seed: int) -> None:
        def scenario(engine: Engine) -> Any:
            model = Model(seed, 2 + seed % 2)
            with ExitStack() as stack:
                model.play([stack.enter_context(Session(engine)) for _ in model.names], 150, serial=True)
            assert set(emails(engine)) == model.committed
            return emails(engine)

        world.same(scenario)

    @pytest.mark.parametrize("seed", range(60))
    def test_interleaved(self, guard: Guard, seed: int) -> None:
        model = Model(1000 + seed, 2 + seed % 2)
        with warnings.catch_warnings(record=True) as warned:
            warnings.simplefilter("always")
            with guard.test() as engine, ExitStack() as stack:
                model.play([stack.enter_context(Session(engine)) for _ in model.names], 120, serial=False)
                seen = set(emails(engine))
        assert model.committed <= seen, "a committed row was lost"
        assert seen <= model.committed | model.given_up
        if seen != model.committed:
            assert any(issubclass(warning.category, TestbedWarning) for warning in warned), "something stayed in silence"
        assert all("isolation='database'" in str(warning.message) for warning in warned)


class TestDeferred:
    def test_violation_at_commit_and_a_second_transaction_defers_again(self, world: World) -> None:
        def scenario(engine: Engine) -> Any:
            for thing in (Session(engine), engine.connect()):
                for _ in range(2):
                    thing.execute(insert(Order).values(user_id=7))
                    with pytest.raises(IntegrityError, match="fk_user"):
                        thing.commit()
                    thing.rollback()
                    assert thing.scalar(select(func.count()).select_from(Order)) == 0
                thing.execute(insert(Order).values(id=1, user_id=7))  # before its user
                thing.execute(insert(User).values(id=7, email="a"))
                thing.commit()
                thing.execute(text("DELETE FROM orders"))
                thing.execute(text("DELETE FROM users"))
                thing.commit()
                thing.close()
            return True

        world.same(scenario)

    def test_others_see_nothing_of_a_commit_that_failed(self, world: World) -> None:
        """The server's transaction is over at once, before SQLAlchemy asks for the rollback."""

        def scenario(engine: Engine) -> Any:
            with engine.connect() as connection:
                connection.execute(insert(Order).values(user_id=7))
                with pytest.raises(IntegrityError):
                    connection.commit()
                with engine.connect() as other:
                    seen = other.scalar(select(func.count()).select_from(Order))
                    add(other, "other")
                    other.commit()
                with pytest.raises(PendingRollbackError):
                    add(connection, "a")
                connection.rollback()
                add(connection, "a")
                connection.commit()
                return seen, emails(connection)

        assert world.same(scenario) == (0, ["a", "other"])

    def test_initially_immediate_is_deferred_when_asked_and_only_then(self, world: World) -> None:
        def scenario(engine: Engine) -> Any:
            with engine.connect() as connection:
                for _ in range(2):
                    with pytest.raises(IntegrityError, match="fk_next"):
                        connection.execute(insert(Order).values(next_id=-1))
                    connection.rollback()
                    connection.execute(text("SET CONSTRAINTS fk_next DEFERRED"))
                    connection.execute(insert(Order).values(next_id=-1))
                    with pytest.raises(IntegrityError, match="fk_next"):
                        connection.commit()
                    connection.rollback()
            return True

        world.same(scenario)

    def test_a_trigger_that_writes_does_so_at_commit_and_once(self, world: World) -> None:
        def scenario(engine: Engine) -> Any:
            seen = []
            notes = text("SELECT note FROM audit ORDER BY note")
            with Session(engine) as session:
                for name in ("late 1", "late 2"):
                    add(session, name)
                    seen.append(list(session.scalars(notes)))
                    session.commit()
                    session.commit()
                    seen.append(list(session.scalars(notes)))
                add(session, "late 3")
                session.rollback()
                session.commit()
                seen.append(list(session.scalars(notes)))
            return seen

        assert world.same(scenario)[-1] == ["user late 1", "user late 2"]

    def test_constraints_that_the_test_makes_itself(self, world: World) -> None:
        def scenario(engine: Engine) -> Any:
            metadata = MetaData()
            table = Table("own", metadata, Column("id", Integer, primary_key=True))
            own = ForeignKey("own.id", name="fk_own", deferrable=True, initially="DEFERRED")
            Table("more", metadata, Column("own_id", Integer, own))
            metadata.create_all(engine)
            with engine.connect() as connection:
                for _ in range(2):
                    connection.execute(text("INSERT INTO more VALUES (1)"))
                    with pytest.raises(IntegrityError, match="fk_own"):
                        connection.commit()
                    connection.rollback()
                connection.execute(text("INSERT INTO more VALUES (1)"))
                connection.execute(insert(table).values(id=1))
                connection.commit()
            metadata.drop_all(engine)
            with engine.begin() as connection:
                add(connection, "a")
            return emails(engine)

        assert world.same(scenario) == ["a"]

    def test_constraints_of_a_rolled_back_table(self, world: World) -> None:
        def scenario(engine: Engine) -> Any:
            with engine.connect() as connection:
                connection.execute(text("CREATE TABLE own (user_id int REFERENCES users DEFERRABLE INITIALLY DEFERRED)"))
                with engine.connect() as other:
                    other.execute(text("SELECT 1"))
                    other.commit()
                connection.rollback()
                add(connection, "a")
                connection.commit()
                with connection.begin(), connection.begin_nested() as nested:
                    connection.execute(text("CREATE TABLE own (user_id int REFERENCES users DEFERRABLE INITIALLY DEFERRED)"))
                    nested.rollback()
            return emails(engine)

        assert world.same(scenario) == ["a"]

    def test_a_rolled_back_drop_leaves_them_deferred(self, guard: Guard) -> None:
        with guard.test() as engine, engine.connect() as one, engine.connect() as two:
            one.execute(text("DROP TABLE users, orders CASCADE"))
            two.execute(text("SELECT 1"))
            two.commit()
            one.rollback()
            for _ in range(2):
                one.execute(insert(Order).values(user_id=-1))
                one.rollback()
                one.execute(text("SELECT 1"))
                one.commit()

    def test_constraints_made_past_sqlalchemy(self, guard: Guard, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(guard._shared.kept, "has_deferred", False)
        with guard.test() as engine, engine.connect() as connection:
            connection.connection.cursor().execute("CREATE TABLE own (user_id int REFERENCES users INITIALLY DEFERRED)")
            connection.execute(text("SELECT 1"))
            connection.commit()
            connection.execute(text("INSERT INTO own VALUES (-1)"))
            with pytest.raises(IntegrityError, match="own_user_id"):
                connection.commit()

    def test_left_at_the_end_it_fails_the_test_that_left_it(self, guard: Guard) -> None:
        for statement in (insert(Order).values(user_id=7), insert(Order).values(next_id=-1)):
            for open_ in (Session, Engine.connect):
                with guard.test() as engine, pytest.raises(IntegrityError, match="fk_"), guard.closing(open_(engine)) as thing:
                    thing.execute(text("SET CONSTRAINTS ALL DEFERRED"))
                    thing.execute(statement)
                with guard.test() as engine, guard.closing(Session(engine)) as session:
                    session.execute(insert(Order).values())

    def test_who_only_read_is_not_looked_at(self, guard: Guard) -> None:
        with guard.test() as engine:
            statements: list[str] = []
            event.listen(engine, "before_cursor_execute", lambda *args: statements.append(args[2]))
            with guard.closing(Session(engine)) as session:
                add(session, "a")
                session.commit()
                assert emails(session) == ["a"]
            assert len(statements) == 2
            with pytest.raises(IntegrityError), guard.closing(Session(engine)) as session:
                session.connection().connection.cursor().execute("INSERT INTO orders (user_id) VALUES (-1)")

    def test_an_invalidated_connection_is_not_looked_at(self, guard: Guard) -> None:
        for invalidate in (Connection.invalidate, lambda session: session.connection().invalidate()):
            with guard.test() as engine:
                with guard.closing(engine.connect() if invalidate is Connection.invalidate else Session(engine)) as thing:
                    thing.execute(insert(Order).values(user_id=-1))
                    invalidate(thing)

    def test_a_commit_that_meets_the_violation_of_another_session_says_so(self, guard: Guard) -> None:
        with guard.test() as engine, Session(engine) as one, Session(engine) as two:
            one.execute(insert(Order).values(user_id=-1))
            add(two, "two")
            with pytest.raises(IntegrityError) as caught:
                two.commit()
            assert "Another session has uncommitted work" in "".join(caught.value.orig.__notes__)  # type: ignore[union-attr]
            two.rollback()
            one.execute(text("DELETE FROM orders"))
            add(two, "again")
            two.commit()
            one.commit()
            assert emails(engine) == ["again"]

    def test_rolled_back_it_fails_nobody(self, guard: Guard) -> None:
        with guard.test() as engine, guard.closing(Session(engine)) as session:
            session.execute(insert(Order).values(user_id=7))
            session.rollback()


def takes(engine: Engine, statement: str) -> bool:
    """Tell whether the driver takes it: asyncpg takes no two statements at once."""
    return engine.dialect.driver != "asyncpg" or "; " not in statement


def dbapi(thing: Session | Connection) -> Any:
    connection = thing.connection() if isinstance(thing, Session) else thing
    return connection.connection.dbapi_connection


class TestRealCommits:
    @pytest.mark.parametrize(
        "statement",
        ["COMMIT", "ROLLBACK", "END", "ABORT", "COMMIT; BEGIN", "COMMIT AND CHAIN", "ROLLBACK AND CHAIN", "end work;"],
    )
    @pytest.mark.parametrize("and_then", ["stop", "write", "commit"])
    def test_as_text(self, guard: Guard, statement: str, and_then: str) -> None:
        if not takes(guard.engine, statement):
            return
        with pytest.raises(IsolationError) as caught, guard.test() as engine, guard.closing(Session(engine)) as session:
            add(session, "a")
            session.execute(text(statement))
            if and_then != "stop":
                add(session, "b")
            if and_then == "commit":
                session.commit()
        assert f"the statement {statement!r} ended the test's transaction" in str(caught.value)
        assert "@pytest.mark.pg(isolation='database')" in str(caught.value)

    @pytest.mark.parametrize("end", ["commit", "rollback"])
    @pytest.mark.parametrize("and_then", ["stop", "write", "commit", "raw"])
    def test_on_the_drivers_connection(self, world: World, guard: Guard, end: str, and_then: str) -> None:
        errors: list[Exception] = []
        with pytest.raises(IsolationError, match="driver's own connection"), guard.test() as engine:
            with Session(engine) as session:
                add(session, "a")
                getattr(dbapi(session), end)()
                if and_then == "write":
                    add(session, "b")
                elif and_then == "commit":
                    session.commit()
                elif and_then == "raw":
                    dbapi(session).cursor().execute("INSERT INTO users (email) VALUES ('c')")
                    try:
                        session.commit()
                    except Exception as error:
                        errors.append(error)
        if (world.driver, and_then) == ("psycopg2", "raw"):  # it has begun by itself, so that only the savepoint is missed
            assert [type(error) for error in errors] == [IsolationError]

    def test_on_a_raw_connection(self, guard: Guard) -> None:
        with pytest.raises(IsolationError, match="driver's own connection"), guard.test() as engine:
            raw = engine.raw_connection()
            raw.cursor().execute("INSERT INTO users (email) VALUES ('a')")
            raw.commit()
            raw.close()

    def test_by_a_with_block_of_the_driver(self, guard: Guard) -> None:
        with pytest.raises(IsolationError), guard.test() as engine:  # psycopg 3 closes it, too
            with Session(engine) as session:
                add(session, "a")
                with dbapi(session):
                    pass
                add(session, "b")

    def test_a_textual_begin_is_only_a_notice(self, world: World) -> None:
        def scenario(engine: Engine) -> Any:
            with Session(engine) as session:
                session.execute(text("BEGIN"))
                add(session, "a")
                session.commit()
                session.execute(text("START TRANSACTION"))
                add(session, "b")
                session.rollback()
            return emails(engine)

        assert world.same(scenario) == ["a"]

    def test_textual_savepoints(self, world: World) -> None:
        def scenario(engine: Engine) -> Any:
            with Session(engine) as session, engine.connect() as other:
                add(session, "a")
                session.execute(text("SAVEPOINT one"))
                add(session, "b")
                with pytest.raises(IntegrityError):
                    add(session, "a")
                add(other, "other")  # the failure is not its own
                other.commit()
                session.execute(text("ROLLBACK TO SAVEPOINT one"))
                add(session, "c")
                session.execute(text("RELEASE one"))
                session.commit()
            return emails(engine)

        with world.plain_engine() as engine:
            assert scenario(engine) == ["a", "c", "other"]
        with world.guard.test() as engine:
            with Session(engine) as session:
                add(session, "a")
                session.execute(text("SAVEPOINT one"))
                with pytest.raises(IntegrityError):
                    add(session, "a")
                session.execute(text("ROLLBACK TO one"))
                add(session, "c")
                session.execute(text("RELEASE SAVEPOINT one"))
                session.commit()
            assert emails(engine) == ["a", "c"]


class TestRaw:
    @pytest.mark.parametrize("end", ["commit", "rollback", "close"])
    def test_cursor_of_a_session(self, world: World, end: str) -> None:
        def scenario(engine: Engine) -> Any:
            seen = []
            with Session(engine) as session:
                cursor = session.connection().connection.cursor()
                cursor.execute("INSERT INTO users (email) VALUES ('a')")
                seen.append(emails(session))
                getattr(session, end)()
            with Session(engine) as session:
                session.connection().connection.cursor().execute("INSERT INTO users (email) VALUES ('b')")
                getattr(session, end)()
            return seen, emails(engine)

        assert world.same(scenario) == ([["a"]], ["a", "b"] if end == "commit" else [])

    def test_cursor_of_a_session_beside_another_session(self, world: World) -> None:
        def scenario(engine: Engine) -> Any:
            with Session(engine) as one, Session(engine) as two:
                add(one, "one")
                two.connection().connection.cursor().execute("INSERT INTO users (email) VALUES ('two')")
                two.rollback()
                one.commit()
                add(one, "lost")
                two.connection().connection.cursor().execute("INSERT INTO users (email) VALUES ('kept')")
                one.connection().connection.cursor().execute("INSERT INTO users (email) VALUES ('lost too')")
                two.commit()
                one.rollback()
            return emails(engine)

        with world.plain_engine() as engine:
            assert scenario(engine) == ["kept", "one"]
        with world.guard.test() as engine, pytest.warns(TestbedWarning, match="stays"):
            assert scenario(engine) == ["kept", "lost", "one"]

    def test_a_raw_connection_that_is_closed_is_undone(self, world: World) -> None:
        def scenario(engine: Engine) -> Any:
            with engine.begin() as connection:
                add(connection, "a")
            raw = engine.raw_connection()
            cursor = raw.cursor()
            cursor.execute("INSERT INTO users (email) VALUES ('b')")
            raw.close()
            with Session(engine) as session:
                add(session, "open")
                raw = engine.raw_connection()
                raw.cursor().execute("INSERT INTO users (email) VALUES ('c')")
                raw.close()
                session.commit()
            return emails(engine)

        assert world.same(scenario) == ["a", "open"]

    def test_a_raw_cursor_that_goes_on_after_the_commit(self, world: World) -> None:
        def scenario(engine: Engine) -> Any:
            with Session(engine) as session:
                cursor = session.connection().connection.cursor()
                cursor.execute("INSERT INTO users (email) VALUES ('a')")
                session.commit()
                connection = session.connection()
                cursor.execute("INSERT INTO users (email) VALUES ('b')")
                connection.rollback()
            return emails(engine)

        assert world.same(scenario) == ["a"]

    def test_a_raw_cursor_that_goes_on_until_the_connection_is_closed(self, world: World) -> None:
        def scenario(engine: Engine) -> Any:
            connection = engine.connect()
            cursor = connection.connection.cursor()
            cursor.execute("INSERT INTO users (email) VALUES ('a')")
            connection.execute(text("SELECT 1"))
            connection.commit()
            cursor.execute("INSERT INTO users (email) VALUES ('b')")
            connection.close()
            return emails(engine)

        assert world.same(scenario) == ["a"]

    def test_raw_work_below_a_commit_does_not_stay_in_silence(self, guard: Guard) -> None:
        with guard.test() as engine, engine.connect() as one, engine.connect() as two:
            one.connection.cursor().execute("INSERT INTO users (email) VALUES ('one')")
            one.execute(text("SELECT 1"))
            add(two, "two")
            two.commit()
            with pytest.warns(TestbedWarning, match="stays"):
                one.rollback()

    def test_a_raw_failure(self, world: World) -> None:
        def scenario(engine: Engine) -> Any:
            with Session(engine) as one, Session(engine) as two:
                add(one, "one")
                with pytest.raises(Exception, match="null value"):
                    two.connection().connection.cursor().execute("INSERT INTO users (email) VALUES (NULL)")
                one.commit()
                two.rollback()
            return emails(engine)

        assert world.same(scenario) == ["one"]

    def test_psycopg_transaction_blocks(self, world: World) -> None:
        if world.driver != "psycopg":
            return

        def scenario(engine: Engine) -> Any:
            with Session(engine) as session:
                add(session, "a")
                connection = dbapi(session)
                with connection.transaction():
                    connection.execute("INSERT INTO users (email) VALUES ('b')")
                with pytest.raises(ZeroDivisionError), connection.transaction():
                    connection.execute("INSERT INTO users (email) VALUES ('c')")
                    raise ZeroDivisionError
                add(session, "d")
                session.commit()
                with session.connection().connection.transaction(force_rollback=True):
                    add(session, "e")
                session.commit()
            return emails(engine)

        assert world.same(scenario) == ["a", "b", "d"]

    def test_bulk_ways_of_the_driver(self, world: World) -> None:
        def scenario(engine: Engine) -> Any:
            rows = [(f"{number:03}",) for number in range(250)]
            with engine.begin() as connection:
                with connection.connection.cursor() as cursor:
                    if world.driver == "psycopg2":
                        import io

                        from psycopg2.extras import execute_values

                        execute_values(cursor, "INSERT INTO users (email) VALUES %s", rows)
                        cursor.copy_expert("COPY users (email) FROM STDIN", io.StringIO("copied\n"))
                    else:
                        cursor.executemany("INSERT INTO users (email) VALUES (%s)", rows)
                        with cursor.copy("COPY users (email) FROM STDIN") as copy:
                            copy.write_row(["copied"])
            return emails(engine)

        assert len(world.same(scenario)) == 251

    def test_executemany_and_returning(self, world: World) -> None:
        def scenario(engine: Engine) -> Any:
            with Session(engine) as session:
                session.add_all(User(email=f"{number:04}") for number in range(1500))
                session.commit()
                session.execute(insert(User), [{"email": f"x{number}"} for number in range(1500)])
                returned = session.scalars(insert(User).returning(User.email), [{"email": f"y{n}"} for n in range(1500)]).all()
                session.connection().execute(
                    text("UPDATE users SET email = :new WHERE email = :old"), [{"new": "n", "old": "0001"}]
                )
                session.rollback()
                return len(emails(session)), sorted(returned)

        assert world.same(scenario)[0] == 1500


class TestLeftBehind:
    @pytest.mark.parametrize("end", ["commit", "leave"])
    @pytest.mark.parametrize(
        "statements",
        [
            ["SET work_mem = '77MB'", "SET statement_timeout = '100s'"],
            ["SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY"],
            ["SELECT set_config('app.tenant', '1', false)", "SELECT set_config('app.tenant', '2', true)"],
            ["SET LOCAL work_mem = '77MB'"],
            ["SET ROLE guard_nobody"],
            ["SET SESSION AUTHORIZATION guard_nobody"],
            ["SET search_path = pg_temp, nowhere"],
            ["CREATE TEMP TABLE users (id int)", "CREATE TEMP SEQUENCE s"],
            ["SELECT pg_advisory_lock(1), pg_advisory_lock_shared(2)", "SELECT pg_advisory_lock(1)"],
            ["SELECT pg_advisory_xact_lock(1)"],
            ["LISTEN something", "NOTIFY something", "UNLISTEN *", "LISTEN other"],
            ["PREPARE p AS SELECT 1", "EXECUTE p"],
            ["DECLARE held CURSOR WITH HOLD FOR SELECT * FROM generate_series(1, 9)", "FETCH 3 FROM held"],
            ["DECLARE c CURSOR FOR SELECT * FROM generate_series(1, 9)", "FETCH 3 FROM c"],
            ["CREATE SCHEMA mine", "CREATE TYPE mine.mood AS ENUM ('good')", "CREATE TABLE mine.t (m mine.mood)"],
            ["DROP EXTENSION hstore", "CREATE EXTENSION hstore SCHEMA pg_catalog", "CREATE DOMAIN d AS int"],
            ["DROP EXTENSION hstore", "DROP TABLE orders, users, audit CASCADE"],
            ["ALTER TABLE users ADD x int", "ALTER TABLE users DROP email CASCADE"],
            ["TRUNCATE users CASCADE", "LOCK TABLE users", "INSERT INTO audit VALUES (1)"],
            ["DO $$ BEGIN CREATE TABLE done (id int); END $$"],
            ["CREATE ROLE guard_somebody", "GRANT ALL ON users TO guard_somebody"],
        ],
        ids=lambda statements: statements[0][:24],
    )
    def test_is_gone(self, guard: Guard, statements: list[str], end: str) -> None:
        with guard.test() as engine, engine.connect() as connection:
            pid = connection.scalar(text("SELECT pg_backend_pid()"))
            for statement in statements:
                connection.execute(text(statement))
                if end == "commit":
                    connection.commit()
        with guard.test() as engine, engine.connect() as connection:
            assert connection.scalar(text("SELECT pg_backend_pid()")) == pid

    def test_statements_that_were_prepared_past_sqlalchemy(self, world: World) -> None:
        for _ in range(2):
            with world.guard.test() as engine, engine.connect() as connection:
                connection.connection.cursor().execute("PREPARE raw AS SELECT 1")
                if world.driver == "psycopg":
                    for _ in range(3):
                        dbapi(connection).execute("SELECT 1", prepare=True)

    def test_sequences_are_not_reset(self, guard: Guard) -> None:
        """As in any rollback; who needs fixed numbers takes database isolation."""
        ids = []
        for _ in range(2):
            with guard.test() as engine, Session(engine) as session:
                user = User(email="a")
                session.add(user)
                session.commit()
                ids.append(user.id)
        assert ids[1] == ids[0] + 1

    def test_settings_of_one_transaction(self, world: World) -> None:
        def scenario(engine: Engine) -> Any:
            seen = []
            look = text("SELECT current_setting('app.tenant', true), current_setting('work_mem'), current_setting('timezone')")
            changes = [
                "SET LOCAL app.tenant = '1'",
                "SELECT set_config('app.tenant', '2', true)",
                "SET LOCAL work_mem TO '77MB'",
                "SET LOCAL TIME ZONE 'Asia/Tokyo'",
                "SET app.tenant = '3'",
                "SET LOCAL app.tenant = '4'",
            ]
            with Session(engine) as session:
                session.execute(text("SET LOCAL app.tenant = 'first'"))
                session.execute(text("SET LOCAL app.tenant = 'second'"))
                session.commit()
                seen.append(session.execute(look).one()[0] or "")
                with pytest.raises(DBAPIError, match="nothing_of_the_kind"):
                    session.execute(text("SET LOCAL nothing_of_the_kind = 1"))
                session.rollback()
                for change in changes:
                    session.execute(text(change))
                    seen.append(tuple(session.execute(look).one()))
                    session.commit()
                    seen.append((session.execute(look).one()[0] or "", *session.execute(look).one()[1:]))
                    session.rollback()
            return seen

        world.same(scenario)

    @pytest.mark.parametrize(
        "statements",
        [
            ["SET LOCAL SCHEMA 'pg_catalog'"],
            ["SET LOCAL SESSION AUTHORIZATION DEFAULT"],
            ["SET LOCAL NAMES 'UTF8'"],
            ["SET LOCAL XML OPTION DOCUMENT"],
            ["SET LOCAL SEED TO 0.5"],
            ["SET LOCAL work_mem = '3MB'; SET LOCAL search_path TO foo"],
            ["SELECT set_config('app.tenant', 'a,b', true), set_config('search_path', 'foo', false)"],
            ["SET search_path TO bar", "SET LOCAL search_path TO foo"],
        ],
        ids=lambda statements: statements[-1],
    )
    @pytest.mark.parametrize("first", ["commit", "rollback"])
    def test_what_ends_with_a_transaction(self, world: World, statements: list[str], first: str) -> None:
        names = "current_setting('search_path'), current_setting('work_mem'), current_setting('xmloption')"
        look = text(f"SELECT {names}, current_setting('client_encoding'), current_user")

        def scenario(engine: Engine) -> Any:
            with Session(engine) as session:
                for statement in statements:
                    if not takes(engine, statement):
                        return None
                    session.execute(text(statement))
                    getattr(session, first if statement is not statements[-1] else "commit")()
                return tuple(session.execute(look).one())

        world.same(scenario)

    def test_a_tenant_that_is_set_by_a_function_ends_with_its_transaction(self, world: World) -> None:
        look = func.coalesce(func.current_setting("app.tenant", True), "")

        def scenario(engine: Engine) -> Any:
            with Session(engine) as session:
                session.execute(select(func.set_config("app.tenant", "acme", True)))
                during = session.scalar(select(look))
                session.commit()
                return during, session.scalar(select(look))

        world.same(scenario)

    @pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # psycopg sees that we leave them open
    @pytest.mark.parametrize("end", ["rollback", "commit", "close", "leave"])
    def test_streams_half_read(self, guard: Guard, end: str) -> None:
        with guard.test() as engine:
            with engine.begin() as connection:
                connection.execute(insert(User), [{"email": f"{number}"} for number in range(100)])
            session = Session(engine)
            stream = session.scalars(select(User).execution_options(yield_per=10))
            assert next(stream)
            connection = engine.connect()
            result = connection.execution_options(stream_results=True).execute(select(User.id))
            assert result.fetchone()
            if end != "leave":
                getattr(session, end)()
                getattr(connection, end)()
        with guard.test() as engine:
            assert emails(engine) == []
        del session, stream, connection, result
        gc.collect()

    def test_a_stream_beside_commits(self, world: World) -> None:
        def scenario(engine: Engine) -> Any:
            with Session(engine) as session:
                session.add_all(User(email=f"{number:03}") for number in range(100))
                session.commit()
                seen = []
                for user in session.scalars(select(User).order_by(User.id).execution_options(yield_per=10)):
                    with engine.begin() as connection:
                        connection.execute(insert(Order).values(user_id=user.id))
                    with engine.connect() as connection:
                        connection.execute(insert(Order).values(user_id=user.id))
                    seen.append(user.email)
                session.rollback()
                return len(seen), session.scalar(select(func.count()).select_from(Order))

        assert world.same(scenario) == (100, 100)

    def test_temporary_tables_until_commit(self, world: World) -> None:
        def scenario(engine: Engine) -> Any:
            counts = []
            with engine.connect() as connection:
                for number in range(2):
                    connection.execute(text("CREATE TEMP TABLE batch ON COMMIT DROP AS SELECT 'x' AS email"))
                    connection.execute(text("INSERT INTO users (email) SELECT email || :n FROM batch"), {"n": str(number)})
                    connection.commit()
                connection.execute(text("CREATE TEMPORARY TABLE IF NOT EXISTS kept (id int) ON COMMIT DELETE ROWS"))
                connection.execute(text("INSERT INTO kept VALUES (1)"))
                counts.append(connection.scalar(text("SELECT count(*) FROM kept")))
                connection.commit()
                counts.append(connection.scalar(text("SELECT count(*) FROM kept")))
                connection.execute(text("CREATE TEMP TABLE batch (id int) ON COMMIT DROP"))
                connection.rollback()
                connection.commit()
                counts.append(connection.scalar(text("SELECT to_regclass('batch') IS NULL")))
                connection.commit()
                connection.execute(text("DROP TABLE kept"))
                connection.commit()
            return counts, emails(engine)

        assert world.same(scenario) == ([1, 0, True], ["x0", "x1"])


class TestConnections:
    @pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # the plain engine leaves one to the collector
    def test_dispose_in_the_middle(self, world: World) -> None:
        def scenario(engine: Engine) -> Any:
            with Session(engine) as session:
                add(session, "a")
                engine.dispose()
                add(session, "b")
                session.commit()
            with engine.begin() as connection:
                add(connection, "c")
            engine.dispose()
            return emails(engine)

        assert world.same(scenario) == ["a", "b", "c"]
        with world.guard.test() as engine, engine.begin() as connection:
            add(connection, "a")
            engine.dispose(close=False)
            add(connection, "b")
            assert emails(connection) == ["a", "b"]
        gc.collect()

    def test_invalidate(self, world: World) -> None:
        def scenario(engine: Engine) -> Any:
            with engine.connect() as connection:
                add(connection, "a")
                connection.commit()
                add(connection, "lost")
                connection.invalidate()
                connection.rollback()
                add(connection, "b")
                connection.commit()
            session = Session(engine)
            add(session, "lost too")
            session.invalidate()
            with Session(engine) as session:
                add(session, "c")
                session.commit()
            return emails(engine)

        assert world.same(scenario) == ["a", "b", "c"]

    def test_soft_invalidation(self, world: World) -> None:
        def scenario(engine: Engine) -> Any:
            with engine.connect() as connection:
                add(connection, "a")
                connection.connection.invalidate(soft=True)
                connection.commit()
            with engine.connect() as connection:
                add(connection, "b")
            with engine.begin() as connection:
                add(connection, "c")
            return emails(engine)

        assert world.same(scenario) == ["a", "c"]

    @pytest.mark.parametrize("late", [False, True])
    def test_detach(self, world: World, late: bool) -> None:
        def scenario(engine: Engine) -> Any:
            connection = engine.connect()
            if late:
                add(connection, "a")
            connection.detach()  # type: ignore[no-untyped-call,unused-ignore]
            add(connection, "b")
            connection.commit()
            add(connection, "lost")
            connection.rollback()
            connection.close()
            return emails(engine)

        assert world.same(scenario) == (["a", "b"] if late else ["b"])

    def test_backend_killed_in_the_test(self, guard: Guard) -> None:
        with guard.test() as engine:
            session = Session(engine)
            add(session, "a")
            with pytest.raises(DBAPIError):
                session.execute(text("SELECT pg_terminate_backend(pg_backend_pid())"))
            session.rollback()
            with pytest.raises(IsolationError, match=r"connection of this test's transaction is gone.*isolation='database'"):
                session.execute(text("SELECT 1"))
            with pytest.raises(IsolationError, match="is gone"):
                engine.connect()
            with pytest.raises(IsolationError, match="is gone"):
                engine.raw_connection()
            session.close()

    def test_backend_killed_by_somebody_else(self, world: World) -> None:
        with world.guard.test() as engine, world.guard.closing(Session(engine)) as session:
            add(session, "a")
            session.commit()
            self.kill(world)
            with pytest.raises(DBAPIError):
                session.execute(text("SELECT 1"))
        with world.guard.test() as engine, world.guard.closing(Session(engine)) as session:
            add(session, "a")
            self.kill(world)
            with pytest.raises(DBAPIError):
                session.commit()
        with pytest.raises(DBAPIError), world.guard.test() as engine, world.guard.closing(Session(engine)) as session:
            session.execute(insert(Order).values())
            self.kill(world)

    def test_backend_killed_between_tests(self, world: World) -> None:
        with world.guard.test() as engine, Session(engine) as session:
            add(session, "a")
            session.commit()
        self.kill(world)
        with world.guard.test() as engine, Session(engine) as session:
            add(session, "a")
            session.commit()
            assert emails(session) == ["a"]

    def kill(self, world: World) -> None:
        with world.other_connection() as connection, connection.cursor() as cursor:
            cursor.execute(
                "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity"
                " WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
            assert cursor.fetchall() == [(True,)]

    def test_after_its_test(self, guard: Guard) -> None:
        with guard.test() as engine:
            session, raw = Session(engine), engine.raw_connection()
            add(session, "a")
        self.refused(lambda: session.execute(text("SELECT 1")))
        self.refused(engine.connect)
        self.refused(engine.raw_connection)
        self.refused(raw.cursor)
        with guard.test() as engine:
            with engine.begin() as connection:
                add(connection, "b")
            self.refused(lambda: session.execute(text("SELECT 1")))
            self.refused(session.commit)
            self.refused(raw.cursor)
            session.rollback()
            session.close()
            raw.close()
            assert emails(engine) == ["b"]

    def refused(self, call: Callable[[], Any]) -> None:
        with pytest.raises(IsolationError, match=r"after its test had ended|while no test that asked for it ran"):
            call()

    def test_in_a_thread_after_its_test(self, guard: Guard) -> None:
        errors: list[BaseException] = []
        begun, ended = threading.Event(), threading.Event()

        def work(engine: Engine) -> None:
            session = Session(engine)
            add(session, "thread")
            begun.set()
            ended.wait(10)
            try:
                add(session, "too late")
                session.commit()
            except IsolationError as error:
                errors.append(error)
            session.close()

        with guard.test() as engine:
            thread = threading.Thread(target=work, args=(engine,))
            thread.start()
            begun.wait(10)
        with guard.test() as engine, engine.begin() as connection:
            add(connection, "next")
            ended.set()
            thread.join()
            assert emails(connection) == ["next"]
        assert len(errors) == 1

    def test_a_thread_in_the_middle_of_a_statement_does_not_hold_up_the_end(
        self, guard: Guard, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("pytest_testbed.postgres.guard.PATIENCE", 0.1)
        errors: list[BaseException] = []
        begun = threading.Event()

        def work(engine: Engine) -> None:
            with engine.connect() as connection:
                begun.set()
                try:
                    connection.execute(text("SELECT pg_sleep(60)"))
                except OperationalError as error:
                    errors.append(error)

        with guard.test() as engine:
            thread = threading.Thread(target=work, args=(engine,))
            thread.start()
            begun.wait(10)
            while not guard._shared.stack.runs:
                pass
        thread.join(10)
        assert "cancel" in str(errors)

    def test_a_statement_broken_off_by_a_signal(self, guard: Guard) -> None:
        """As pytest-timeout does; psycopg 3 leaves the statement running."""

        def ring(*args: object) -> None:
            raise ZeroDivisionError

        old = signal.signal(signal.SIGALRM, ring)
        try:
            # psycopg 3 cannot even roll back then, as on a plain engine
            with pytest.raises((ZeroDivisionError, OperationalError)), guard.test() as engine, engine.connect() as connection:
                add(connection, "a")
                signal.setitimer(signal.ITIMER_REAL, 0.1)
                connection.execute(text("SELECT pg_sleep(1)"))  # psycopg2 hears of it at its end
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, old)

    def test_in_a_forked_child(self, guard: Guard) -> None:
        with guard.test() as engine, engine.connect() as connection:
            add(connection, "a")
            reader, writer = os.pipe()
            if (pid := os.fork()) == 0:
                try:
                    connection.execute(text("SELECT 1"))
                except IsolationError as error:
                    os.write(writer, str(error).encode())
                finally:
                    os._exit(0)
            os.close(writer)
            with open(reader) as file:
                assert "forked child" in file.read()
            os.waitpid(pid, 0)
            connection.commit()
            assert emails(connection) == ["a"]

    def test_threads_at_once(self, guard: Guard) -> None:
        faults: list[BaseException] = []

        def work(engine: Engine, number: int) -> None:
            try:
                for count in range(20):
                    with Session(engine) as session:
                        user = User(email=f"{number}-{count}")
                        session.add(user)
                        session.flush()
                        session.add(Order(user_id=user.id))
                        session.commit()
                        assert session.get_one(User, user.id).email == f"{number}-{count}"
            except BaseException as fault:
                faults.append(fault)

        with guard.test() as engine:
            threads = [threading.Thread(target=work, args=(engine, number)) for number in range(6)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            assert faults == []
            assert len(emails(engine)) == 120

    def test_threads_some_of_which_roll_back(self, guard: Guard) -> None:
        committed: set[str] = set()

        def work(engine: Engine, number: int) -> None:
            for count in range(20):
                name = f"{number}-{count}"
                with Session(engine) as session:
                    add(session, name)
                    if count % 3:
                        session.commit()
                        committed.add(name)
                    elif count % 2:
                        with pytest.raises(IntegrityError):
                            session.execute(insert(User).values(id=None))

        with warnings.catch_warnings():
            warnings.simplefilter("ignore", TestbedWarning)
            with guard.test() as engine:
                threads = [threading.Thread(target=work, args=(engine, number)) for number in range(4)]
                for thread in threads:
                    thread.start()
                for thread in threads:
                    thread.join()
                assert committed <= set(emails(engine))
        assert len(committed) == 4 * 13

    def test_a_lock_that_somebody_holds_names_him(self, world: World) -> None:
        with world.other_connection() as other:
            with other.cursor() as cursor:
                cursor.execute("SET application_name = 'the culprit'")
                cursor.execute("LOCK TABLE users")
                pid = other.info.backend_pid
                with world.guard.test() as engine, Session(engine) as session:
                    with pytest.raises(DBAPIError, match="lock timeout") as caught:
                        add(session, "a")
        notes = "\n".join(caught.value.__notes__)
        assert f"pid {pid} (the culprit), idle in transaction, for " in notes
        assert "LOCK TABLE users" in notes

    def test_what_a_transaction_cannot_be(self, guard: Guard) -> None:
        with guard.test() as engine:
            levels = {"isolation_level": ["AUTOCOMMIT", "SERIALIZABLE", "REPEATABLE READ"], "postgresql_readonly": [True]}
            levels["postgresql_deferrable"] = [True]
            for option, values in levels.items():
                for value in values:
                    with pytest.raises(IsolationError, match=r"isolation='database'"):
                        engine.execution_options(**{option: value}).connect()
                    with engine.connect() as connection, pytest.raises(IsolationError, match=r"isolation='database'"):
                        connection.execution_options(**{option: value})
                    with Session(engine) as session, pytest.raises(IsolationError, match=r"isolation='database'"):
                        session.connection(execution_options={option: value})
            with engine.connect().execution_options(isolation_level="READ COMMITTED") as connection:
                assert connection.get_isolation_level() == "READ COMMITTED"
                assert connection.default_isolation_level == "READ COMMITTED"
            as_it_is = {"postgresql_readonly": False, "postgresql_deferrable": False}
            with engine.connect().execution_options(**as_it_is) as connection:
                assert connection.scalar(text("SHOW transaction_read_only")) == "off"
            with pytest.raises(IsolationError, match="two-phase"), Session(engine, twophase=True) as session:
                add(session, "a")
            with pytest.raises(IsolationError, match="two-phase"), engine.connect() as connection:
                connection.begin_twophase()
            with engine.begin() as connection:
                add(connection, "still")
            assert emails(engine) == ["still"]

    def test_setting_the_level_as_text_says_what_to_do(self, guard: Guard) -> None:
        with guard.test() as engine, engine.connect() as connection:
            with pytest.raises(DBAPIError) as caught:
                connection.execute(text("SET TRANSACTION ISOLATION LEVEL SERIALIZABLE"))
        assert "isolation='database'" in "".join(caught.value.__notes__)

    def test_failure_to_connect_at_first(self, world: World) -> None:
        attempts = iter([OSError("no"), None])

        def once_refused() -> Any:
            if (error := next(attempts, None)) is not None:
                raise error
            return world.guarded.connect()

        own = Guard(once_refused, world.guarded.url)
        with pytest.raises(OSError, match="no"), own.test():
            pass
        with own.test() as engine:
            assert emails(engine) == []
        own.close()


class TestEverythingElse:
    def test_reflection_and_metadata(self, world: World) -> None:
        def scenario(engine: Engine) -> Any:
            metadata = MetaData()
            Table("thing", metadata, Column("id", Integer, primary_key=True), Column("mood", Enum("good", "bad", name="mood")))
            metadata.create_all(engine)
            metadata.create_all(engine)
            inspector = inspect(engine)
            seen = [sorted(inspector.get_table_names()), inspector.get_enums(), inspector.has_table("thing")]
            reflected = MetaData()
            reflected.reflect(engine)
            metadata.drop_all(engine)
            return seen, sorted(reflected.tables), inspect(engine).has_table("thing")

        assert world.same(scenario)[1:] == (["audit", "orders", "thing", "users"], False)

    def test_types(self, world: World) -> None:
        metadata = MetaData()
        table = Table(
            "typed",
            metadata,
            Column("id", Integer, primary_key=True),
            Column("h", HSTORE),
            Column("j", JSON),
            Column("b", JSONB),
            Column("u", Uuid),
            Column("a", ARRAY(Integer)),
            Column("t", ARRAY(String)),
            Column("e", Enum("x", "y", name="e")),
            Column("n", INET),
        )
        row = {
            "h": {"a": "1", "b": None},
            "j": {"a": [1, None, "ü"]},
            "b": [{"x": 1.5}],
            "u": uuid.UUID(int=5),
            "a": [1, None, 3],
            "t": ["a", '"b,'],
            "e": "y",
            "n": "10.0.0.1",
        }

        def scenario(engine: Engine) -> Any:
            metadata.create_all(engine)
            for _ in range(2):
                with engine.begin() as connection:
                    connection.execute(insert(table), [row, row])
            with engine.connect() as one, engine.connect() as two:
                got = [tuple(connection.execute(select(table)).first() or ())[1:] for connection in (one, two)]
                hstores = two.exec_driver_sql("SELECT 'a=>1'::hstore").scalar()
            return got, hstores

        def check() -> None:
            got, hstore = world.same(scenario)
            assert got[0][:8] == tuple(row.values())[:8] or got[0][:7] == tuple(row.values())[:7]
            assert hstore == ('"a"=>"1"' if world.driver == "asyncpg" else {"a": "1"})

        check()
        with pytest.raises(IsolationError), world.guard.test() as engine, Session(engine) as session:
            session.execute(text("COMMIT"))
        check()  # on another kept connection

    def test_common_path_keeps_its_round_trips(self, guard: Guard, monkeypatch: pytest.MonkeyPatch) -> None:
        def case() -> None:
            with guard.test() as engine, guard.closing(Session(engine)) as session:
                session.execute(insert(User).values(email="a"))
                session.commit()
                assert emails(session) == ["a"]

        statements: list[str] = []
        listener = (Engine, "before_cursor_execute", lambda *args: statements.append(args[2]))
        event.listen(*listener)
        try:
            case()
            self.check_round_trips(guard, monkeypatch, case, statements)
        finally:
            event.remove(*listener)

    def check_round_trips(
        self, guard: Guard, monkeypatch: pytest.MonkeyPatch, case: Callable[[], None], statements: list[str]
    ) -> None:
        statements.clear()
        sent: list[str] = []
        monkeypatch.setattr(guard._shared.kept, "has_deferred", False)  # with constraints that are deferred: a last look at them
        send = guard._shared.send
        monkeypatch.setattr(guard._shared, "send", lambda sql: (sent.append(sql), send(sql)))
        case()
        assert len(statements) == 2
        assert [sql.split(";")[0] for sql in sent] == [
            "BEGIN",
            "SET CONSTRAINTS ALL IMMEDIATE",
            "ROLLBACK TO SAVEPOINT testbed_0",  # the session's: its locks must go before other fixtures end
            "ROLLBACK TO SAVEPOINT testbed_0",
        ]

    def test_a_factory_serves_the_next_test_unless_somebody_changed_it(self, guard: Guard) -> None:
        def made(use: Callable[[Any], object]) -> object:
            with guard.test() as engine:
                factory = guard.sessionmaker(engine)
                use(factory)
                return factory

        first = made(lambda factory: factory().close())
        assert made(lambda factory: None) is first
        for change in (
            lambda factory: factory.configure(expire_on_commit=False),
            lambda factory: event.listen(factory, "after_commit", print),
            lambda factory: event.listen(type(factory()), "after_commit", print),
            lambda factory: setattr(type(factory()), "flavour", "sweet"),
            lambda factory: setattr(factory, "tenant", "acme"),
        ):
            changed = made(change)
            assert made(lambda factory: None) is not changed
        with guard.test() as engine:
            other = engine.execution_options(stream_results=True)
            assert guard.sessionmaker(other).kw["bind"] is other

    @pytest.mark.parametrize(
        "change",
        [
            lambda engine: event.listen(engine, "before_cursor_execute", print),
            lambda engine: event.listen(engine, "checkout", print),
            lambda engine: event.listen(engine.dialect, "handle_error", print),
            lambda engine: engine.update_execution_options(stream_results=True),
            lambda engine: setattr(engine, "echo", True),
        ],
    )
    def test_a_changed_engine_serves_no_other_test(self, guard: Guard, change: Callable[[Any], object]) -> None:
        with guard.test() as first:
            assert emails(Session(first)) == []
        with guard.test() as second:
            assert second is first
            change(second)
        with guard.test() as third:
            assert third is not first
            with Session(third) as session:
                session.execute(insert(User).values(email="a"))
                session.commit()
        with guard.test() as fourth:
            assert fourth is third
            assert emails(Session(fourth)) == []

    def test_who_listens_for_connections_hears_of_one_in_each_test(self, guard: Guard) -> None:
        for _ in range(3):
            with guard.test() as engine:
                heard: list[object] = []
                event.listen(engine, "connect", lambda connection, record, heard=heard: heard.append(connection))
                with engine.connect():
                    pass
                assert len(heard) == 1

    def test_the_pool_tells_what_metrics_ask_for(self, guard: Guard) -> None:
        with guard.test() as engine:
            pool = engine.pool
            with engine.connect():
                assert (pool.size(), pool.checkedout(), pool.overflow()) == (1, 1, 0)
            # earlier tests may have had several at once
            assert pool.checkedin() >= 1
            assert pool.checkedout() == 0

    def test_listeners_on_a_factory_hear_of_sessions_made_before(self, guard: Guard) -> None:
        heard: list[object] = []
        with guard.test() as engine:
            factory = guard.sessionmaker(engine)
            session = factory()
            event.listen(factory, "after_commit", heard.append)
            session.execute(insert(User).values(email="a"))
            session.commit()
        assert heard == [session]

    def test_a_closed_fixture_lets_its_locks_go_while_others_still_run(self, world: World) -> None:
        plain = world.guarded.admin_engine()
        with world.guard.test() as engine:
            with world.guard.closing(Session(engine)) as session:
                session.execute(insert(User).values(email="left"))
            with plain.begin() as connection:
                connection.exec_driver_sql("TRUNCATE users CASCADE")  # waits for nobody
            with engine.connect() as connection:
                raw = connection.connection.cursor()
                with world.guard.closing(Session(engine)) as session:
                    session.execute(insert(User).values(email="left again"))
                raw.execute("SELECT count(*) FROM users")
                assert raw.fetchone() == (0,)

    def test_a_test_that_waits_for_itself_is_told_of_it(self, world: World) -> None:
        plain = world.guarded.admin_engine()
        with world.guard.test() as engine, Session(engine) as session:
            session.execute(insert(User).values(email="held"))
            session.commit()
            with pytest.raises(OperationalError) as caught, plain.begin() as connection:
                connection.exec_driver_sql("TRUNCATE users CASCADE")
        assert "(pytest-testbed (the test)), idle in transaction" in "".join(caught.value.__notes__)

    def test_what_a_closed_fixture_left_is_undone_before_anybody_looks(self, guard: Guard) -> None:
        with guard.test() as engine, Session(engine) as other:
            with guard.closing(Session(engine)) as session:
                session.execute(insert(User).values(email="kept"))
                session.commit()
                session.execute(insert(User).values(email="left"))
            with engine.connect() as new:
                assert new.execute(select(User.email)).scalars().all() == ["kept"]
            with guard.closing(Session(engine)) as session:
                session.execute(insert(User).values(email="left again"))
            assert emails(other) == ["kept"]

    def test_the_driver_sends_no_begin_of_its_own(self, world: World) -> None:
        notices: list[str] = []
        with world.guard.test() as engine, engine.connect() as connection:
            if world.driver == "psycopg":
                dbapi(connection).add_notice_handler(lambda notice: notices.append(notice.message_primary))
            else:
                dbapi(connection).notices.clear()
        with world.guard.test() as engine, engine.connect() as connection:
            add(connection, "a")
            if world.driver == "psycopg2":
                notices += dbapi(connection).notices
        assert notices == []  # such as "there is already a transaction in progress"

    def test_pool_face(self, guard: Guard) -> None:
        with guard.test() as engine:
            assert "one kept connection" in engine.pool.status()
            assert engine.url.database
            assert engine.dialect.name == "postgresql"

    def test_a_plain_engine_beside_it_sees_nothing(self, world: World) -> None:
        outside = create_engine(world.guarded.url)
        with world.guard.test() as engine:
            with engine.begin() as connection:
                add(connection, "a")
            assert emails(outside) == []
        outside.dispose()


@pytest.mark.parametrize(
    ("statement", "writes"),
    [
        ("SELECT users.id, users.email FROM users WHERE users.id IN (1, 2) AND (a OR b)", False),
        ("SELECT count(*) AS count_1 FROM (SELECT 1) AS anon_1", False),
        ("SELECT CAST(x AS VARCHAR(10)), coalesce(max(y), 0), EXISTS (SELECT 1) FROM t FOR UPDATE", False),
        ("SELECT x FROM t FOR NO KEY UPDATE OF t", False),
        ("select pg_catalog.version()", False),
        ("SELECT pg_backend_pid()", False),
        ("WITH x AS (INSERT INTO t VALUES (1) RETURNING id) SELECT * FROM x", True),
        ("/* c */ WITH x AS (DELETE FROM t RETURNING id) SELECT * FROM x", True),
        ("WITH x AS (SELECT 1) SELECT * FROM x", False),
        ("SELECT add_user('a')", True),
        ('SELECT * FROM "Schema"."addUser"(1)', True),
        ("SELECT * INTO TEMP x FROM t", True),
        ("DELETE FROM t; SELECT 1", True),
    ],
)
def test_which_selects_may_write(statement: str, writes: bool) -> None:
    assert may_write(statement) is writes
