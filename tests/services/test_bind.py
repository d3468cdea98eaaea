"""An application's own engines and session factories on a real server: pointed at the test's engine, and given back."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import JSON, Connection, Engine, create_engine, event, func, insert, select, text
from sqlalchemy.ext.asyncio import (
    AsyncEngine,
    AsyncSession,
    async_scoped_session,
    async_sessionmaker,
    create_async_engine,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column, scoped_session, sessionmaker
from sqlalchemy.pool import StaticPool

from pytest_testbed import Testbed
from pytest_testbed.errors import IsolationError
from pytest_testbed.postgres.bind import Binder
from pytest_testbed.postgres.database import Database
from pytest_testbed.postgres.guard import Guard
from pytest_testbed.postgres.outcome import watched
from pytest_testbed.postgres.real import RealCommits
from pytest_testbed.postgres.service import spare_of
from pytest_testbed.postgres.targets import Target, bind_of
from tests.conftest import QUIET, options_for

NOWHERE = "postgresql+psycopg2://nobody@nowhere.invalid/shop"
ASYNC_NOWHERE = "postgresql+asyncpg://nobody@nowhere.invalid/shop"


class Base(DeclarativeBase):
    pass


class User(Base):
    __tablename__ = "users"
    id: Mapped[int] = mapped_column(primary_key=True)
    email: Mapped[str | None]
    data: Mapped[Any] = mapped_column(JSON, nullable=True)


COUNT = select(func.count()).select_from(User)
ADD = insert(User).values(email="a")


class World:
    """One database with its guard, and applications that are bound to it for the time of a test."""

    def __init__(self, database: Database, guard: Guard, driver: str) -> None:
        self.database = database
        self.real = RealCommits(database)
        self.guard = guard
        self.driver = driver
        self.binders: list[Binder] = []

    def binder(self, *things: Any, key: str | None = None) -> Binder:
        targets = [Target("shop.db:it", thing, key, bind_of(thing)) for thing in things]
        self.binders.append(Binder(targets, self.driver))
        return self.binders[-1]

    @contextmanager
    def test(self, binder: Binder, *, real: bool = False) -> Iterator[Callable[[], Engine]]:
        """Play one test; gives what returns its engine, and begins it when it is first asked for."""
        found: list[Engine] = []
        with ExitStack() as stack:

            def engine() -> Engine:
                if not found:
                    if real:
                        stack.enter_context(watched(self.real, commits=lambda: True))
                    found.append(stack.enter_context((self.real if real else self.guard).test()))
                return found[0]

            with binder.bound(engine):
                engine.begun = lambda: bool(found)  # type: ignore[attr-defined]
                yield engine

    @contextmanager
    def bound(self, *things: Any, real: bool = False) -> Iterator[Callable[[], Engine]]:
        with self.test(self.binder(*things), real=real) as engine:
            yield engine


@pytest.fixture(scope="module", params=["psycopg2", "psycopg"])
def module_world(request: pytest.FixtureRequest, somewhere: Testbed, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    driver: str = request.param
    database = Database(
        somewhere, worker=f"bind_{driver}", schema=[Base], root=tmp_path_factory.mktemp("bind"), driver=driver, lock_timeout=0.5
    )
    database.ensure()
    with database.guard() as guard:
        world = World(database, guard, driver)
        yield world
    world.real.close()
    database.renew()
    database.close()
    admin = database._admin
    for name in (database.name, database.template):
        admin.execute(f'DROP DATABASE "{name}"')
    admin.execute(f'DROP DATABASE IF EXISTS "{spare_of(database.template)}"')
    admin.close()


@pytest.fixture
def world(module_world: World) -> Iterator[World]:
    yield module_world
    for binder in module_world.binders:
        binder.close()
    module_world.binders.clear()
    with module_world.guard.test() as engine, engine.connect() as connection:
        assert connection.scalar(COUNT) == 0, "a row has outlived its test"


@pytest.fixture
def engine() -> Engine:
    return create_engine(NOWHERE)


def counted(engine: Engine) -> int:
    with Session(engine) as session:
        return int(session.scalar(COUNT) or 0)


def state(engine: Engine) -> tuple[Any, ...]:
    """What must be as it was."""
    own = {name: value for name, value in vars(engine).items() if name != "dispatch"}
    return type(engine), own, engine.pool, engine.dialect, str(engine.url)


class TestEngines:
    def test_what_is_committed_is_seen_by_others_and_gone_after_the_test(self, world: World, engine: Engine) -> None:
        binder = world.binder(engine)
        for _ in range(2):
            with world.test(binder) as given:
                with engine.begin() as connection:
                    connection.execute(ADD)
                with Session(given()) as session:
                    assert session.scalar(COUNT) == 1
                    session.add(User(email="b"))
                    session.commit()
                assert counted(engine) == 2

    def test_it_is_given_back_as_it_was(self, world: World, engine: Engine) -> None:
        before = state(engine)
        binder = world.binder(engine)
        with suppress(ZeroDivisionError), world.test(binder):
            assert isinstance(engine, Engine)
            counted(engine)
            assert engine.url.database == world.database.name
            assert engine.driver == world.driver
            raise ZeroDivisionError
        assert state(engine) == before
        with world.test(binder):
            pass  # nobody connects
        assert state(engine) == before

    def test_nobody_who_connects_begins_nothing(self, world: World, engine: Engine) -> None:
        with world.bound(engine, sessionmaker(), sessionmaker(engine)) as given:
            engine.dispose()
            repr(engine)
            Session(engine).close()
            assert not given.begun()  # type: ignore[attr-defined]
            counted(engine)
            assert given.begun()  # type: ignore[attr-defined]

    def test_in_database_isolation_it_has_a_real_pool(self, world: World, engine: Engine) -> None:
        binder = world.binder(engine)
        for _ in range(2):
            with world.test(binder, real=True) as given:
                with engine.begin() as connection, engine.connect() as other:
                    connection.execute(ADD)
                    assert other.scalar(COUNT) == 0
                engine.dispose()
                assert counted(engine) == counted(given()) == 1

    def test_the_applications_listeners_hear(self, world: World, engine: Engine) -> None:
        heard: list[str] = []

        @event.listens_for(engine, "connect")
        def prepare(connection: Any, record: Any) -> None:
            connection.autocommit = True
            with connection.cursor() as cursor:
                cursor.execute("SET search_path = pg_temp, public")
            connection.commit()
            heard.append("connect")

        event.listen(engine, "checkout", lambda *some: heard.append("checkout"))
        event.listen(engine, "checkin", lambda *some: heard.append("checkin"))
        event.listen(engine, "before_cursor_execute", lambda *some: heard.append("execute"))
        event.listen(engine, "commit", lambda *some: heard.append("commit"))
        event.listen(engine, "do_connect", lambda *some: heard.append("never"))
        event.listen(engine, "handle_error", lambda context: heard.append("error"))
        binder = world.binder(engine)
        for _ in range(2):
            heard.clear()
            with world.test(binder):
                with engine.begin() as connection:
                    assert connection.scalar(text("SHOW search_path")) == "pg_temp, public"
                assert heard == ["connect", "checkout", "execute", "commit", "checkin"]
                with pytest.raises(Exception, match="nonsense"), engine.begin() as connection:
                    connection.execute(text("nonsense"))
                assert "error" in heard
            with world.test(world.binder()) as given:
                heard.clear()
                counted(given())
                assert heard == []
        with world.test(binder, real=True):
            counted(engine)
            assert {"connect", "checkout", "execute"} <= set(heard)
        assert "never" not in heard

    def test_who_listens_on_the_tests_engine_hears_of_the_application(self, world: World, engine: Engine) -> None:
        heard: list[str] = []
        with world.bound(engine) as given:
            event.listen(given(), "before_cursor_execute", lambda *some: heard.append(some[2]))
            counted(engine)
        assert len(heard) == 1

    def test_listeners_that_a_test_puts_on_the_pool_end_with_it(self, world: World, engine: Engine) -> None:
        heard: list[object] = []
        binder = world.binder(engine)
        with world.test(binder):
            event.listen(engine, "checkout", lambda *some: heard.append(some))
            counted(engine)
            assert len(heard) == 1
        with world.test(binder):
            counted(engine)
        assert len(heard) == 1

    @pytest.mark.parametrize("real", [False, True])
    def test_the_applications_way_to_write_json_is_used(self, world: World, real: bool) -> None:
        engine = create_engine(
            NOWHERE,
            json_serializer=lambda value: json.dumps(value, default=str),
            json_deserializer=lambda value: json.loads(value, parse_float=Decimal),
        )
        with world.bound(engine, real=real) as given:
            with Session(given()) as session:
                session.add(User(data={}))
                session.flush()  # so that its dialect knows how, before the other one is made
            with Session(engine) as session:
                session.add(User(data={"path": Path("a"), "price": 1.5}))
                session.commit()
            with Session(engine) as session:
                assert type(session.scalars(select(User.data)).one()["price"]) is Decimal
            with Session(given()) as session:
                assert type(session.scalars(select(User.data)).one()["price"]) is float

    def test_raw_connections_commit_and_roll_back(self, world: World, engine: Engine) -> None:
        with world.bound(engine):
            for email, end in (("a", "commit"), ("b", "rollback")):
                connection = engine.raw_connection()
                cursor = connection.cursor()
                cursor.execute(f"INSERT INTO users (email) VALUES ('{email}')")
                cursor.close()
                getattr(connection, end)()
                connection.close()
            with Session(engine) as session:
                assert session.scalars(select(User.email)).all() == ["a"]

    def test_engines_made_from_it_in_the_test_and_before(self, world: World) -> None:
        engine = create_engine(NOWHERE.replace("psycopg2", world.driver))
        before = engine.execution_options(schema_translate_map={"shop": None})
        with world.bound(engine):
            during = engine.execution_options(schema_translate_map={"shop": None})
            for each in (before, during):
                with each.begin() as connection:
                    connection.execute(ADD)
                with suppress(ZeroDivisionError), Session(each) as session:
                    session.add(User(email="b"))
                    session.flush()
                    raise ZeroDivisionError
            assert counted(engine) == counted(before) == counted(during) == 2
            with pytest.raises(IsolationError, match="isolation level AUTOCOMMIT"):
                engine.execution_options(isolation_level="AUTOCOMMIT").connect()
        with pytest.raises(Exception, match="nowhere.invalid|not known|IsolationError|not running|ended"):
            during.connect().execute(ADD)

    def test_an_engine_made_by_execution_options_can_be_named(self, world: World, engine: Engine) -> None:
        derived = engine.execution_options(schema_translate_map={"shop": None})
        before = state(derived)
        with world.bound(derived):
            with derived.begin() as connection:
                connection.execute(ADD)
            assert counted(derived) == 1
        assert state(derived) == before

    @pytest.mark.parametrize(
        "how", [{"isolation_level": "SERIALIZABLE"}, {"execution_options": {"isolation_level": "SERIALIZABLE"}}]
    )
    def test_an_engine_that_wants_another_isolation_level_is_told_so(self, world: World, how: Any) -> None:
        engine = create_engine(NOWHERE, **how)
        with world.bound(engine), pytest.raises(IsolationError, match=r"isolation level SERIALIZABLE.*database"):
            engine.connect()
        with world.bound(engine, real=True):
            if world.driver == "psycopg" and "execution_options" in how:
                with pytest.raises(IsolationError, match=r"driver psycopg2, .* has psycopg "):
                    engine.connect()
            else:
                with engine.connect() as connection:
                    assert connection.scalar(text("SHOW transaction_isolation")) == "serializable"

    def test_bound_twice_and_by_two_paths(self, world: World, engine: Engine) -> None:
        before = state(engine)
        with world.bound(engine, engine, sessionmaker(engine)), world.bound(engine):
            counted(engine)
        assert state(engine) == before

    def test_the_applications_open_connections_are_left_alone(self, world: World) -> None:
        lite = create_engine("sqlite://", poolclass=StaticPool)
        with lite.connect() as connection:
            connection.execute(text("CREATE TABLE mine (id int)"))
            with world.bound(lite):
                assert counted(lite) == 0
                lite.dispose()
                connection.execute(text("INSERT INTO mine VALUES (1)"))
            connection.commit()
        with lite.connect() as connection:
            assert connection.scalar(text("SELECT count(*) FROM mine")) == 1

    def test_threads_begin_one_transaction(self, world: World, engine: Engine) -> None:
        gate = threading.Barrier(4)
        faults: list[BaseException] = []

        def work() -> None:
            try:
                gate.wait()
                with engine.begin() as connection:
                    connection.execute(ADD)
            except BaseException as error:
                faults.append(error)

        with world.bound(engine):
            threads = [threading.Thread(target=work) for _ in range(4)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            assert faults == []
            assert counted(engine) == 4

    def test_a_database_made_anew_does_not_disturb_the_next_test(self, world: World, engine: Engine) -> None:
        binder = world.binder(engine)
        with pytest.raises(IsolationError, match="really committed"), world.test(binder):
            with engine.connect() as connection:
                connection.execute(text("COMMIT"))
        with world.test(binder):
            assert counted(engine) == 0

    def test_an_overridden_engine_must_not_be_the_applications(self, world: World, engine: Engine) -> None:
        with world.binder(engine).bound(lambda: engine), pytest.raises(IsolationError, match="pg_engine is overridden"):
            engine.connect()

    def test_an_own_way_to_keep_tests_apart_is_shared(self, world: World, engine: Engine) -> None:
        theirs = create_engine("sqlite://", poolclass=StaticPool)
        with theirs.begin() as connection:
            Base.metadata.create_all(connection)
        with world.binder(engine).bound(lambda: theirs):
            with engine.begin() as connection:
                connection.execute(ADD)
            assert counted(theirs) == 1


class TestFactories:
    @pytest.mark.parametrize("bound", [True, False])
    def test_a_sessionmaker(self, world: World, engine: Engine, bound: bool) -> None:
        factory = sessionmaker(engine, expire_on_commit=False) if bound else sessionmaker(expire_on_commit=False)
        before, class_ = dict(factory.kw), factory.class_
        binder = world.binder(factory)
        for _ in range(2):
            with world.test(binder) as given:
                with factory.begin() as session:
                    session.add(User(email="a"))
                assert counted(given()) == 1
            assert factory.kw == before
            assert factory.class_ is class_
            assert type(engine) is Engine

    def test_one_that_is_bound_to_a_connection(self, world: World) -> None:
        with create_engine("sqlite://").connect() as connection:
            factory = sessionmaker(connection, join_transaction_mode="create_savepoint")
            before = dict(factory.kw)
            with world.bound(factory), factory() as session:
                assert session.scalar(COUNT) == 0
            assert factory.kw == before
            assert factory.kw["bind"] is connection

    def test_binds_of_single_classes(self, world: World, engine: Engine) -> None:
        factory = sessionmaker(binds={User: engine})
        with world.bound(factory), factory() as session:
            assert session.scalar(COUNT) == 0
        assert factory.kw["binds"] == {User: engine}
        assert factory.kw["bind"] is None

    def test_a_session_class_with_a_get_bind_of_its_own(self, world: World, engine: Engine) -> None:
        reader = create_engine(NOWHERE)

        class Routing(Session):
            def get_bind(self, mapper: Any = None, *, clause: Any = None, **more: Any) -> Engine:
                return engine if self._flushing else reader

        factory = sessionmaker(class_=Routing)
        class_ = factory.class_
        binder = world.binder(factory)
        for _ in range(2):
            with world.test(binder), factory() as session:
                session.add(User(email="a"))
                session.flush()
                assert session.scalar(COUNT) == 1
                assert isinstance(session, Routing)
            assert factory.class_ is class_
            assert type(engine) is type(reader) is Engine

    def test_a_scoped_session(self, world: World, engine: Engine) -> None:
        scoped = scoped_session(sessionmaker(engine))
        before = scoped()
        binder = world.binder(scoped)
        for _ in range(2):
            with world.test(binder):
                scoped.add(User(email="a"))
                scoped.commit()
                assert scoped() is not before
                assert scoped.scalar(COUNT) == 1
            assert not scoped.registry.has()

    def test_who_has_bound_it_otherwise_has_his_way(self, world: World, engine: Engine) -> None:
        theirs = create_engine("sqlite://", poolclass=StaticPool)
        Base.metadata.create_all(theirs)
        factory = sessionmaker(engine)
        binder = world.binder(factory)
        factory.configure(bind=theirs)
        with world.test(binder) as given:
            with factory() as session:
                assert session.get_bind() is theirs
            assert not given.begun()  # type: ignore[attr-defined]
        assert factory.kw["bind"] is theirs
        factory.configure(bind=engine)
        with world.test(binder) as given:
            factory.configure(bind=given())
            with factory() as session:
                assert session.scalar(COUNT) == 0
        assert factory.kw["bind"] is engine

    def test_who_has_bound_one_that_was_bound_to_nothing_has_his_way(self, world: World) -> None:
        theirs = create_engine("sqlite://", poolclass=StaticPool)
        factory = sessionmaker()
        binder = world.binder(factory)
        factory.configure(bind=theirs)
        with world.test(binder), factory() as session:
            assert session.get_bind() is theirs
        assert factory.kw["bind"] is theirs

    def test_a_session_with_a_bind_of_its_own(self, world: World, engine: Engine) -> None:
        with world.bound(sessionmaker(engine)) as given, given().connect() as connection:
            with sessionmaker(engine)(bind=connection) as session:
                assert session.connection() is connection

    def test_a_session_that_is_left_open_begins_anew(self, world: World, engine: Engine) -> None:
        session = Session(engine)
        binder = world.binder(engine)
        for _ in range(3):
            with world.test(binder):
                assert session.scalar(COUNT) == 0
                user = User(email="a")
                session.add(user)
                session.commit()
                session.add(User(email="b"))
                session.flush()
        assert not session.in_transaction()

    def test_a_connection_that_is_left_open_is_told_so(self, world: World, engine: Engine) -> None:
        binder = world.binder(engine)
        with world.test(binder):
            connection = engine.connect()
            connection.execute(ADD)
        with world.test(binder):
            with pytest.raises(IsolationError, match="after its test had ended"):
                connection.execute(ADD)
            assert counted(engine) == 0


class TestAsync:
    @pytest.fixture
    def engine(self) -> AsyncEngine:
        pytest.importorskip("asyncpg", reason="asyncpg: not installed")
        return create_async_engine(ASYNC_NOWHERE)

    def test_an_engine(self, world: World, engine: AsyncEngine) -> None:
        async def work() -> int:
            async with engine.begin() as connection:
                await connection.execute(ADD)
                assert list(await connection.scalars(COUNT)) == [1]
            derived = engine.execution_options(schema_translate_map={"shop": None})
            async with derived.connect() as connection:
                await connection.execute(ADD)
            async with AsyncSession(engine) as session:
                result = await session.stream(select(User.email))
                assert [row async for row in result.scalars()] == ["a"]
                return int(await session.scalar(COUNT) or 0)

        before = state(engine.sync_engine)
        binder = world.binder(engine)
        for real in (False, False, True):
            with world.test(binder, real=real) as given:
                assert asyncio.run(work()) == 1
                assert counted(given()) == 1
            assert state(engine.sync_engine) == before

    @pytest.mark.parametrize("bound", [True, False])
    def test_a_factory(self, world: World, engine: AsyncEngine, bound: bool) -> None:
        factory = async_sessionmaker(engine if bound else None)
        scoped = async_scoped_session(factory, scopefunc=asyncio.current_task)
        before = dict(factory.kw)

        async def work() -> None:
            async with factory.begin() as session:
                session.add(User(email="a"))
            assert await scoped.scalar(COUNT) == 1
            gathered = await asyncio.gather(*(one() for _ in range(3)))
            assert gathered == [1, 1, 1]

        async def one() -> int:
            async with factory() as session:
                return int(await session.scalar(COUNT) or 0)

        binder = world.binder(factory, scoped)
        for _ in range(2):
            with world.test(binder):
                asyncio.run(work())
            assert factory.kw == before

    def test_a_session_class_with_a_get_bind_of_its_own(self, world: World, engine: AsyncEngine) -> None:
        class Routing(Session):
            def get_bind(self, *some: Any, **more: Any) -> Engine:
                return engine.sync_engine

        factory = async_sessionmaker(sync_session_class=Routing)
        before = dict(factory.kw)

        async def work() -> None:
            async with factory() as session:
                assert await session.scalar(COUNT) == 0

        with world.bound(factory):
            asyncio.run(work())
        assert factory.kw == before


def test_connections_are_connections(world: World, engine: Engine) -> None:
    with world.bound(engine), engine.connect() as connection:
        assert isinstance(connection, Connection)
        assert connection.engine is engine


class TestFlask:
    """Flask-SQLAlchemy: engines are made per application, which a fixture may do."""

    @pytest.fixture
    def db(self) -> Any:
        flask_sqlalchemy = pytest.importorskip("flask_sqlalchemy", reason="Flask-SQLAlchemy: not installed")

        class Own(DeclarativeBase):
            pass

        return flask_sqlalchemy.SQLAlchemy(model_class=Own)

    @pytest.fixture
    def app(self, db: Any) -> Any:
        from flask import Flask

        app = Flask("shop")
        app.config["SQLALCHEMY_DATABASE_URI"] = NOWHERE
        app.config["SQLALCHEMY_BINDS"] = {"reports": "sqlite://"}
        db.init_app(app)
        return app

    def test_an_application_that_was_there_before(self, world: World, db: Any, app: Any) -> None:
        with app.app_context():
            before = state(db.engine)
        class_ = type(db)
        binder = world.binder(db)
        for _ in range(2):
            with world.test(binder) as given, app.app_context():
                db.session.execute(ADD)
                db.session.commit()
                assert counted(given()) == counted(db.engine) == 1
                db.session.execute(ADD)
            assert type(db) is class_
            with app.app_context():
                assert state(db.engine) == before
                assert not db.session.registry.has()

    def test_an_application_that_is_made_in_the_test(self, world: World, db: Any) -> None:
        from flask import Flask

        with world.bound(db):
            app = Flask("other")
            app.config["SQLALCHEMY_DATABASE_URI"] = NOWHERE

            class Thing(db.Model):  # type: ignore[misc, name-defined]
                id = db.Column(db.Integer, primary_key=True)

            db.init_app(app)
            with app.app_context():
                db.create_all()
                db.session.add(Thing())
                db.session.commit()
                assert db.session.query(Thing).count() == 1
        with app.app_context():
            assert type(db.engine) is Engine

    def test_other_bind_keys_are_left_alone_until_they_are_named(self, world: World, db: Any, app: Any) -> None:
        with app.app_context():
            with world.test(world.binder(db)):
                assert str(db.engines["reports"].url) == "sqlite://"
            with world.test(world.binder(db, key="reports")):
                assert db.engines["reports"].url.database == world.database.name
                assert type(db.engine) is Engine

    def test_both_keys(self, world: World, db: Any, app: Any) -> None:
        binder = world.binder(db)
        binder._targets = [target._replace(key=key) for target in binder._targets for key in (None, "reports")]
        with app.app_context(), world.test(binder):
            assert db.engines["reports"].url.database == db.engine.url.database == world.database.name


def test_sqlmodel(world: World, engine: Engine) -> None:
    sqlmodel = pytest.importorskip("sqlmodel", reason="sqlmodel: not installed")
    with world.bound(engine):
        with sqlmodel.Session(engine) as session:
            session.add(User(email="a"))
            session.commit()
        with sqlmodel.Session(engine) as session:
            assert session.exec(sqlmodel.select(User.email)).all() == ["a"]


# --- pytest as users call it

SHOP = """
from sqlalchemy import create_engine
from sqlalchemy.orm import sessionmaker

engine = create_engine("postgresql+psycopg2://nobody@nowhere.invalid/shop")
SessionLocal = sessionmaker(engine)

def get_session():
    with SessionLocal() as session:
        yield session
"""
COMMON = """
import pytest
from sqlalchemy import text
from shop.db import SessionLocal, engine

def add():
    with SessionLocal.begin() as session:
        session.execute(text("INSERT INTO users VALUES ('a')"))

def count():
    with engine.connect() as connection:
        return connection.scalar(text("SELECT count(*) FROM users"))
"""


CACHE = Path.home() / ".cache"


class Shop:
    """A project with an application of its own."""

    def __init__(self, pytester: pytest.Pytester, options: list[str]) -> None:
        self.pytester = pytester
        self.options = options

    def write(self, *, bind: str = "shop.db:SessionLocal shop.db:engine", db: str = SHOP, **tests: str) -> None:
        path = self.pytester.path
        (path / "shop").mkdir()
        (path / "shop" / "__init__.py").touch()
        (path / "shop" / "db.py").write_text(db)
        (path / "schema.sql").write_text("CREATE TABLE users (email text);")
        (path / "common.py").write_text(COMMON)
        self.pytester.makeini(f"[pytest]\npythonpath = .\ntestbed_pg_schema = schema.sql\ntestbed_pg_bind = {bind}\n")
        self.pytester.makepyfile(**tests)

    def run(self, *arguments: str) -> pytest.RunResult:
        return self.pytester.runpytest_subprocess(*QUIET, *self.options, *arguments)


@pytest.fixture
def shop(pytester: pytest.Pytester, somewhere: Testbed, monkeypatch: pytest.MonkeyPatch) -> Shop:
    for name in ("DATABASE_URL", "CI"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(CACHE))  # pytester has set another HOME
    return Shop(pytester, options_for(somewhere))


def test_a_run(shop: Shop) -> None:
    shop.write(
        conftest="""
        import pytest

        @pytest.fixture
        def cleaned():
            yield
            from common import add, count
            assert count() == 1  # after the test's engine was last used in it, before it is ended
            add()
        """,
        test_it="""
        import threading
        import unittest
        from common import *

        @pytest.mark.parametrize("number", [1, 2])
        def test_without_any_fixture(number):
            add()
            assert count() == 1

        def test_with_ours(pg_session):
            add()
            assert pg_session.scalar(text("SELECT count(*) FROM users")) == 1

        def test_a_fixtures_end(cleaned):
            add()

        def test_in_a_thread():
            thread = threading.Thread(target=add)
            thread.start()
            thread.join()
            assert count() == 1

        @pytest.mark.pg(isolation="database")
        def test_really(pg_engine):
            add()
            with pg_engine.connect() as connection:
                assert connection.scalar(text("SELECT count(*) FROM users")) == 1

        def test_after_it():
            assert count() == 0

        class TestCase(unittest.TestCase):
            def setUp(self):
                add()

            def test_one(self):
                self.assertEqual(count(), 1)

        def test_fails():
            add()
            assert 0

        def test_after_one_that_failed():
            assert count() == 0

        @pytest.mark.unit
        def test_alone():
            assert type(engine).__name__ == "Engine"
            assert "nowhere" in str(engine.url)

        @pytest.mark.parametrize("how", ["bound", pytest.param("alone", marks=pytest.mark.unit)])
        def test_marks_of_parameters(how):
            assert ("nowhere" in str(engine.url)) == (how == "alone")

        def test_a_patch_of_its_own(monkeypatch):
            monkeypatch.setattr(engine, "connect", lambda: 42)
            assert engine.connect() == 42

        def test_after_a_patch():
            assert count() == 0
        """,
    )
    shop.run().assert_outcomes(passed=14, failed=1)
    shop.run("-n", "2", "-p", "randomly").assert_outcomes(passed=14, failed=1)


def test_nobody_who_connects_starts_nothing(shop: Shop) -> None:
    shop.write(test_it="from common import *\ndef test_one():\n    engine.dispose()\n")
    result = shop.run("-o", "testbed_start=lazy")
    result.assert_outcomes(passed=1)
    result.stdout.no_fnmatch_line("testbed: postgres * was ready *")
    shop.run("-o", "testbed_start=lazy", "-m", "unit").assert_outcomes(deselected=1)


def test_a_run_of_units_alone_has_no_services(shop: Shop) -> None:
    shop.write(
        test_it="""
        import pytest

        @pytest.mark.unit
        def test_one(request):
            assert not {"testbed", "_pg_test"} & {*request.fixturenames}
        """
    )
    result = shop.run()
    result.assert_outcomes(passed=1)
    result.stdout.no_fnmatch_line("testbed: postgres *")


def test_an_engine_of_the_projects_own(shop: Shop) -> None:
    shop.write(
        conftest="""
        import pytest
        from sqlalchemy import event
        heard = []

        @pytest.fixture
        def pg_engine(pg_engine):
            event.listen(pg_engine, "before_cursor_execute", lambda *some: heard.append(some[2]))
            return pg_engine

        @pytest.fixture
        def theirs(pg_engine):
            from shop.db import SessionLocal
            SessionLocal.configure(bind=pg_engine)
        """,
        test_it="""
        from common import *
        from conftest import heard

        def test_one():
            add()
            assert count() == 1
            assert len(heard) == 2

        def test_theirs(theirs, pg_engine):
            with SessionLocal() as session:
                assert session.get_bind() is pg_engine

        def test_restored():
            assert SessionLocal.kw["bind"] is engine
        """,
    )
    shop.run().assert_outcomes(passed=3)


def test_what_is_shared_by_tests_finds_the_application_as_it_is(shop: Shop) -> None:
    shop.write(
        test_it="""
        from common import *
        from sqlalchemy import create_engine

        @pytest.fixture(scope="module")
        def shared():
            before = str(engine.url)
            yield before
            assert str(engine.url) == before

        @pytest.fixture(scope="session")
        def configured():
            from shop.late import Unbound
            Unbound.configure(bind=create_engine("sqlite://"))
            return Unbound

        def test_theirs(configured):
            with configured() as session:
                assert session.get_bind().name == "sqlite"

        def test_one(shared):
            assert "nowhere" in shared
            assert "nowhere" not in str(engine.url)
        """,
        bind="shop.db:engine shop.late:Unbound",
    )
    (shop.pytester.path / "shop" / "late.py").write_text("from sqlalchemy.orm import sessionmaker\nUnbound = sessionmaker()\n")
    shop.run().assert_outcomes(passed=2)


WIDE = """
    from common import *
    from sqlalchemy import text

    @pytest.fixture(scope="module")
    def login():
        with SessionLocal() as session:
            return session.scalar(text("SELECT current_database()"))

    def test_one(login): {check}
    def test_two(login): pass
"""


def test_a_wider_fixture_on_the_applications_own_server_is_told_of(shop: Shop, somewhere: Testbed) -> None:
    own = somewhere.endpoint("postgres").url("postgres", scheme="postgresql+psycopg2")
    shop.write(test_it=WIDE.format(check="assert login == 'postgres'"))
    db = shop.pytester.path / "shop" / "db.py"
    assert NOWHERE in SHOP
    db.write_text(SHOP.replace(NOWHERE, own))
    result = shop.run()
    result.assert_outcomes(passed=2, warnings=1)
    result.stdout.fnmatch_lines(["*the module fixture 'login' let the application connect to its own database, postgresql*"])


def test_a_wider_fixture_on_an_exported_address_is_at_home(shop: Shop) -> None:
    shop.write(test_it=WIDE.format(check="assert login.startswith('testbed_')"))
    db = shop.pytester.path / "shop" / "db.py"
    db.write_text("import os\n" + SHOP.replace(f'"{NOWHERE}"', 'os.environ["SHOP_URL"]'))
    ini = shop.pytester.path / "tox.ini"
    ini.write_text(ini.read_text() + "\ntestbed_env = SHOP_URL={pg.url+psycopg2}\ntestbed_pg_isolation = transaction\n")
    shop.run().assert_outcomes(passed=2)


def test_a_fixture_that_first_connects_at_its_end_is_told_so(shop: Shop) -> None:
    shop.write(
        test_it="""
        from common import *

        @pytest.fixture
        def late():
            yield
            add()

        def test_one(late): pass
        def test_two(): assert count() == 0
        """
    )
    result = shop.run()
    result.assert_outcomes(passed=2, errors=1)
    result.stdout.fnmatch_lines(["*IsolationError: the application connected for the first time while the fixtures*"])


def test_reruns(shop: Shop) -> None:
    shop.write(
        test_it="""
        from common import *
        runs = []

        def test_one():
            runs.append(1)
            add()
            assert count() == 1
            assert len(runs) == 2
        """
    )
    result = shop.run("--reruns", "2", "-v")
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(["testbed: starting postgres"])  # such tests count as wanting it


@pytest.mark.parametrize(
    ("bind", "lines"),
    [
        ("shop.db", ["*testbed_pg_bind = *'shop.db'* (from tox.ini) holds 'shop.db', which is not of the form module:name*"]),
        (
            "shop.db:Session",
            ["*'shop.db:Session' (from tox.ini) is not there. The module 'shop.db' has no attribute 'Session'.*"],
        ),
        ("shop.dbs:engine", ["*'shop.dbs:engine' (from tox.ini) is not there. The package 'shop' has no module 'dbs'.* 'db'?*"]),
        ("shap.db:engine", ["*'shap.db:engine' (from tox.ini) is not there. There is no module 'shap' on sys.path.* 'shop'?*"]),
        (
            "shop.db:get_session",
            [
                "*'shop.db:get_session' (from tox.ini) is a generator function: name the sessionmaker or engine that it uses.*",
                "*In shop.db there are: engine, SessionLocal.*",
            ],
        ),
        ("shop.db:engine[reports]", ["*'shop.db:engine[[]reports]' (from tox.ini): only Flask-SQLAlchemy's db has bind keys*"]),
    ],
)
def test_what_is_wrong_is_told_once(shop: Shop, bind: str, lines: list[str]) -> None:
    shop.write(bind=bind, test_it="from common import *\ndef test_one(): pass\ndef test_two(): pass\n")
    result = shop.run()
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    text = " ".join([*result.errlines, *result.outlines])
    for line in lines:
        pytest.LineMatcher([text]).fnmatch_lines([line])


def test_what_is_wrong_with_a_module_that_nobody_has_imported_is_told_whole_once(shop: Shop) -> None:
    shop.write(db="raise KeyError('DATABASE_URL')", test_it="def test_one(): pass\ndef test_two(): pass\n")
    result = shop.run()
    result.assert_outcomes(errors=2)
    result.stdout.fnmatch_lines(
        [
            "*ConfigurationError: testbed_pg_bind: 'shop.db:SessionLocal' (from tox.ini) cannot be had: importing shop.db failed "
            "with KeyError: 'DATABASE_URL'*",
            "*(told in full by test_it.py::test_one)*",
        ]
    )
