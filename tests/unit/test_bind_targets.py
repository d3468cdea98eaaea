"""What an application may name to be bound, what it is told otherwise, and what is given back, without a server."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from sqlalchemy import Engine, create_engine, event
from sqlalchemy.ext.asyncio import async_scoped_session, async_sessionmaker, create_async_engine
from sqlalchemy.orm import Session, scoped_session, sessionmaker
from sqlalchemy.pool import QueuePool

from pytest_testbed.errors import ConfigurationError, IsolationError
from pytest_testbed.plugins.postgres import references
from pytest_testbed.postgres.bind import KEYS, Binder, extension_class
from pytest_testbed.postgres.bound_engine import is_bound
from pytest_testbed.postgres.listeners import Shown, adapter, carried_dialect, carry_pool_listeners
from pytest_testbed.postgres.targets import Target, Targets, bind_of
from pytest_testbed.scheduling import wanted_kinds
from pytest_testbed.testing import fake_spec

NOWHERE = "postgresql+psycopg2://nobody@nowhere.invalid/shop"


@pytest.fixture
def shop(monkeypatch: pytest.MonkeyPatch) -> Any:
    module: Any = ModuleType("shop_of_tests")
    module.engine = create_engine(NOWHERE)
    module.SessionLocal = sessionmaker(module.engine)
    monkeypatch.setitem(sys.modules, "shop_of_tests", module)
    return module


def sessions() -> Iterator[None]:
    yield


def resolve(name: str) -> list[Target]:
    return Targets([f"shop_of_tests:{name}"], "pytest.ini").resolved()


@pytest.mark.parametrize("lines", [["shop.db:engine"], ["shop:Base.engine", "shop.db:db[reports]"], ["a:b c:d", "e:f"], []])
def test_good_references(lines: list[str]) -> None:
    references(lines)


@pytest.mark.parametrize(
    "line", ["shop", "shop.db", ":engine", "shop:", "shop:1", "a b:c", "shop/db.py:engine", "shop:db[x", "shop:db]"]
)
def test_bad_references(line: str) -> None:
    with pytest.raises(ValueError, match="which is not of the form module:name"):
        references([line])


@pytest.mark.parametrize(
    "make",
    [
        lambda engine: engine,
        lambda engine: engine.execution_options(),
        lambda engine: sessionmaker(engine),
        lambda engine: scoped_session(sessionmaker(engine)),
        lambda engine: create_async_engine("postgresql+psycopg://nowhere.invalid/"),
        lambda engine: async_sessionmaker(),
        lambda engine: async_scoped_session(async_sessionmaker(), scopefunc=int),
    ],
)
def test_what_can_be_bound(shop: Any, make: Any) -> None:
    shop.thing = make(shop.engine)
    assert [target.thing for target in resolve("thing")] == [shop.thing]


@pytest.mark.parametrize(
    ("make", "kind"),
    [
        (lambda engine: None, "None: name an object that is there as soon as the module is imported"),
        (lambda engine: resolve, "a function: name the sessionmaker or engine that it uses"),
        (lambda engine: sessions, "a generator function"),
        (lambda engine: Session, "the class Session"),
        (lambda engine: Session(engine), "a Session"),
        (lambda engine: create_engine("sqlite://").connect(), "a Connection"),
        (lambda engine: sys, "a module"),
        (lambda engine: NOWHERE, "a str"),
    ],
)
def test_what_cannot_be_bound(shop: Any, make: Any, kind: str) -> None:
    shop.thing = make(shop.engine)
    with pytest.raises(ConfigurationError) as caught:
        resolve("thing")
    text = str(caught.value)
    assert f"testbed_pg_bind: 'shop_of_tests:thing' (from pytest.ini) is {kind}" in text
    assert "In shop_of_tests there are: engine, SessionLocal." in text


def test_the_nearest_name_is_told(shop: Any) -> None:
    with pytest.raises(ConfigurationError, match="has no attribute 'Sessionlocal'. Did you mean 'SessionLocal'"):
        resolve("Sessionlocal")


def test_a_name_that_cannot_be_bound_is_not_suggested(shop: Any) -> None:
    shop.create_engine = len
    with pytest.raises(ConfigurationError, match="no attribute 'get_engine'. In shop_of_tests there are: engine, SessionLocal"):
        resolve("get_engine")


def test_a_fault_is_kept_and_told_to_each_test(shop: Any) -> None:
    targets = Targets(["shop_of_tests:nothing"], "pytest.ini")
    targets.load()
    shop.nothing = shop.engine
    for _ in range(2):
        with pytest.raises(ConfigurationError, match="no attribute 'nothing'"):
            targets.resolved()


def test_a_look_imports_nothing(shop: Any, tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "quiet_shop.py").write_text("raise ZeroDivisionError")
    monkeypatch.syspath_prepend(tmp_path)
    targets = Targets(["quiet_shop:engine", "shop_of_tests:engine"], "pytest.ini")
    targets.look()
    assert "quiet_shop" not in sys.modules
    with pytest.raises(ConfigurationError, match="importing quiet_shop failed with ZeroDivisionError"):
        targets.resolved()
    with pytest.raises(ConfigurationError, match="There is no module 'quiet_shops' on sys.path.* 'quiet_shop'"):
        Targets(["quiet_shops.db:engine"], "pytest.ini").look()


def test_a_name_that_is_reached_twice_is_one_target(shop: Any) -> None:
    assert len(Targets(["shop_of_tests:engine", "shop_of_tests:engine"], "pytest.ini").resolved()) == 1


class TestBinder:
    @pytest.fixture
    def bind(self) -> Iterator[Any]:
        made = []

        def bind(*things: Any) -> Binder:
            made.append(Binder([Target("it", thing, None, bind_of(thing)) for thing in things], "psycopg2"))
            return made[-1]

        yield bind
        for binder in made:
            binder.close()

    def test_nothing_is_asked_for_before_somebody_connects(self, bind: Any) -> None:
        engine, factory = create_engine(NOWHERE), sessionmaker()

        def provide() -> Engine:
            raise ZeroDivisionError

        with bind(engine, factory).bound(provide):
            assert is_bound(engine)
            assert "nowhere.invalid" in repr(engine)
            engine.dispose()
            with pytest.raises(ZeroDivisionError):
                engine.connect()
            with pytest.raises(ZeroDivisionError), factory() as session:
                session.connection()
        assert type(engine) is Engine
        assert factory.kw["bind"] is None

    def test_what_is_bound_first_is_given_back_where_the_next_one_fails(self, bind: Any) -> None:
        engine = create_engine(NOWHERE)
        broken = SimpleNamespace(kw={"bind": None}, class_=Session)  # it cannot be configured
        with pytest.raises(AttributeError), bind(engine, broken).bound(lambda: engine):
            pass
        assert type(engine) is Engine
        assert not is_bound(engine)

    def test_a_disposal_that_a_patch_has_kept_is_the_engines_own(self, bind: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        engine = create_engine(NOWHERE)
        with bind(engine).bound(lambda: engine):
            monkeypatch.setattr(engine, "dispose", print)
            monkeypatch.undo()
        before = engine.pool
        engine.dispose()
        assert engine.pool is not before

    def test_an_engine_that_a_thread_still_holds_after_the_test_is_refused(self, bind: Any) -> None:
        engine = create_engine(NOWHERE)
        binder = bind(engine)
        with binder.bound(lambda: engine):
            lane = binder.lane(engine)
        with pytest.raises(IsolationError, match="left behind"):
            lane.side()

    def test_what_is_no_engine_among_the_binds_of_classes_is_left_alone(self, bind: Any) -> None:
        engine, other = create_engine(NOWHERE), create_engine(NOWHERE)
        connection: Any = SimpleNamespace()
        factory = sessionmaker(engine, binds={Engine: connection, Session: other})
        with bind(factory).bound(lambda: engine):
            assert (is_bound(engine), is_bound(other)) == (True, True)
            assert factory.kw["binds"][Engine] is connection
        assert (is_bound(engine), is_bound(other)) == (False, False)

    def test_a_get_bind_that_finds_what_a_session_was_given_by_hand(self, bind: Any) -> None:
        engine, mine, found = (create_engine(NOWHERE) for _ in range(3))

        class Own(Session):
            def get_bind(self, *args: Any, **more: Any) -> Any:
                return self.bind if self.info.get("by hand") else found

        factory = sessionmaker(engine, class_=Own)
        with bind(factory).bound(lambda: engine):
            assert factory(bind=mine, info={"by hand": True}).get_bind() is mine
            assert not is_bound(mine)
            assert factory().get_bind() is found
            assert is_bound(found)

    def test_a_registry_of_sessions_of_ones_own_making_only_ends_them(self, bind: Any) -> None:
        made: list[Session] = []

        def make() -> Session:
            made.append(Session())
            return made[-1]

        registry: Any = scoped_session(make)  # type: ignore[arg-type]
        before = registry()
        with bind(registry).bound(lambda: create_engine(NOWHERE)):
            assert registry() is not before
        registry()
        assert len(made) == 3

    def test_a_bind_key_that_an_application_lacks_is_passed_over(self) -> None:
        class Extension:
            engines = {None: "the engine"}

        db: Any = extension_class(Extension)()
        bound: list[str] = []
        vars(db)[KEYS] = {"reports": bound.append, None: bound.append}
        assert db.engines == Extension.engines
        assert bound == ["the engine"]


class TestListeners:
    @pytest.mark.parametrize("own", [{"_json_serializer": str}, {"_json_deserializer": str}])
    def test_json_functions_of_psycopg_are_taught_one_by_one(self, own: dict[str, Any]) -> None:
        psycopg = pytest.importorskip("psycopg")
        teach = adapter(SimpleNamespace(driver="psycopg"), SimpleNamespace(**own))
        assert teach is not None
        where = SimpleNamespace(adapters=psycopg.adapt.AdaptersMap(psycopg.adapters))
        theirs = where.adapters.get_dumper, psycopg.types.json.Json
        before = where.adapters.get_dumper(theirs[1], psycopg.adapt.PyFormat.TEXT), where.adapters.get_loader(114, 0)
        teach(where)
        after = where.adapters.get_dumper(theirs[1], psycopg.adapt.PyFormat.TEXT), where.adapters.get_loader(114, 0)
        assert [one is other for one, other in zip(before, after, strict=True)] == [
            "_json_serializer" not in own,
            "_json_deserializer" not in own,
        ]

    def test_without_json_functions_there_is_nothing_to_teach(self) -> None:
        for driver in ("psycopg", "psycopg2"):
            assert adapter(SimpleNamespace(driver=driver), SimpleNamespace()) is None

    def test_a_statement_is_sent_outside_of_a_greenlet_too(self) -> None:
        sent: list[Any] = []
        cursor: Any = SimpleNamespace(execute=lambda *args: sent.append(args))
        asynchronous = create_async_engine("postgresql+asyncpg://nobody@nowhere.invalid/shop")
        dialect = carried_dialect(create_engine(NOWHERE).dialect, asynchronous.dialect)
        assert dialect.is_async
        dialect.do_execute(cursor, "SELECT 1", ())
        assert sent == [("SELECT 1", ())]

    def test_those_of_sqlalchemy_itself_are_not_carried(self) -> None:
        heard: list[str] = []
        engine = create_engine(NOWHERE)
        event.listen(engine, "connect", lambda connection, record: heard.append(type(connection).__name__))
        event.listen(engine, "connect", lambda connection, record: heard.append("once"), once=True)
        pool = QueuePool(lambda: SimpleNamespace(rollback=int, close=int))
        carry_pool_listeners(engine.pool, pool, shielded=True)
        for _ in range(2):
            pool.connect().detach()
        assert heard == ["Shown", "once", "Shown"]

    def test_a_connection_as_listeners_see_it(self) -> None:
        calls: list[str] = []
        connection: Any = SimpleNamespace(commit=lambda: calls.append("commit"), autocommit=None, closed=0)
        shown = Shown(connection)
        shown.autocommit = True
        with shown as same:
            same.commit()
            same.rollback()
        assert (calls, connection.autocommit, shown.closed) == ([], None, 0)
        assert isinstance(shown, SimpleNamespace)


def test_a_fixture_that_was_added_to_a_test_counts_as_wanting_its_kind() -> None:
    spec = fake_spec("postgres", fixtures=["plugin:_pg_test"])
    information = SimpleNamespace(name2fixturedefs={}, names_closure=["request"])
    items: list[Any] = [
        SimpleNamespace(fixturenames=names, _fixtureinfo=information)
        for names in (information.names_closure, ["request", "_pg_test"], ["request", "other"])
    ]
    with_hash = [type("Item", (), {**vars(item)})() for item in items]
    assert wanted_kinds(with_hash, [spec]) == {with_hash[1]: {"postgres"}}
