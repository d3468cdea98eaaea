"""Names of fixtures, numbers of tests, and which factories are named."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from random import Random
from types import SimpleNamespace
from typing import Any

import factory
import factory.random
import faker.generator
import pytest
from factory.alchemy import SQLAlchemyModelFactory
from sqlalchemy import create_engine
from sqlalchemy.exc import MissingGreenlet
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

from pytest_testbed.errors import FactoryError
from pytest_testbed.factories.binding import RANKS, TEST, Binder, Bound, Counter
from pytest_testbed.factories.naming import Rebind, fixture_name, loaded, name_of
from pytest_testbed.factories.patch import Asked, Patch
from pytest_testbed.factories.seeding import are_drawn, number, seeded_aside, set_generators
from pytest_testbed.factories.unbound import path_of


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("UserFactory", "user"),
        ("OrderItemFactory", "order_item"),
        ("HTTPCallFactory", "http_call"),
        ("Users", "users"),
        ("Factory", "factory"),
        ("_PrivateFactory", "private"),
        ("user_factory", "user_factory"),
        ("B2BOrderFactory", "b2_b_order"),
    ],
)
def test_names_of_fixtures(name: str, expected: str) -> None:
    assert fixture_name(type(name, (), {})) == expected


def test_a_number_is_the_same_in_each_process_and_version() -> None:
    assert number(5, "tests/test_a.py::test_b[ü]") == number(5, "tests/test_a.py::test_b[ü]")
    assert [number(0, ""), number(1, "a")] == [4624554156401727479, 10746897607693076979]
    assert number(12, "3") != number(1, "23")
    assert number(1, "\udc80")  # an id of a file whose name is no text


def test_what_was_drawn_is_seen_and_what_is_aside_is_not() -> None:
    before = faker.generator.random.getstate(), factory.random.randgen.getstate()
    try:
        set_generators(7)
        assert not are_drawn(7)
        with seeded_aside(8):
            assert faker.generator.random.random() == factory.random.randgen.random() == Random(8).random()
        assert not are_drawn(7)
        factory.random.randgen.random()
        assert are_drawn(7)
    finally:
        faker.generator.random.setstate(before[0])
        factory.random.randgen.setstate(before[1])


def test_faker_is_seeded_where_it_is_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    faker_s, boy_s = faker.generator.random, factory.random.randgen
    before = faker_s.getstate(), boy_s.getstate()
    monkeypatch.delitem(sys.modules, "faker.generator")
    try:
        set_generators(7)
        assert faker_s.getstate() == before[0]
        assert boy_s.getstate() == Random(7).getstate()
        assert not are_drawn(7)
    finally:
        boy_s.setstate(before[1])


class Base(SQLAlchemyModelFactory):
    class Meta:
        abstract = True
        sqlalchemy_session = "one"


class Child(Base):
    pass


class Apart(Base):
    class Meta:
        sqlalchemy_session = "two"


HERE = __name__


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        ([], []),
        ([f"{HERE}:Base"], [Base, Child]),
        ([f"{HERE}:Child"], [Child]),
        ([HERE], [Base, Child, Apart]),
        ([HERE[:-1]], []),
    ],
)
def test_those_that_are_named(names: list[str], expected: list[type]) -> None:
    rebind = Rebind(names)
    assert [each for each in (Base, Child, Apart) if rebind.names(each)] == expected
    assert name_of(Child) == f"{HERE}:Child"


def test_the_session_of_what_runs() -> None:
    binder = Binder("flush", 0, Rebind())

    def bound(name: str, *, is_async: bool = False) -> Bound:
        return Bound(name, f"face of {name}" if is_async else name, "fixture", "flush")

    def now() -> object:
        found = binder.current()
        return None if found is None else found.session

    end_of_module = binder.bind(RANKS["module"], bound("module"))
    assert now() == "module"
    binder.begin()
    assert now() == "module"
    end_of_async = binder.bind(TEST, bound("async", is_async=True))
    end_of_test = binder.bind(TEST, bound("test"))
    later = binder.bind(TEST, bound("async later", is_async=True))
    assert now() == "test"
    with binder.setting_up(RANKS["class"]):
        assert now() == "module"
        end_of_class = binder.bind(RANKS["class"], bound("class"))
        assert now() == "class"
        with binder.setting_up(RANKS["session"]):
            assert now() is None
    assert now() == "test"
    later()
    end_of_test()
    assert now() == "async"
    end_of_async()
    assert now() == "class"
    binder.end()
    end_of_class()
    assert now() == "module"
    end_of_module()
    assert now() is None


# --- on a session


class Models(DeclarativeBase):
    pass


class User(Models):
    __tablename__ = "users"
    id: Mapped[int] = mapped_column(primary_key=True)
    email: Mapped[str]


class UserFactory(SQLAlchemyModelFactory):
    class Meta:
        model = User
        sqlalchemy_get_or_create = ("email",)

    email = "ada@example.com"


class Left(UserFactory):
    pass


class Right(UserFactory):
    pass


class Both(Left, Right):
    pass


@pytest.fixture
def session() -> Iterator[Session]:
    engine = create_engine("sqlite://")
    Models.metadata.create_all(engine)
    with Session(engine) as session:
        yield session
    engine.dispose()


@pytest.fixture
def binder() -> Iterator[Binder]:
    """What factories ask in a test."""
    binder = Binder(None, 0, Rebind())
    patch = Patch(binder)
    patch.put_on()
    binder.begin()
    yield binder
    patch.take_off()


def test_a_factory_with_two_bases_is_there_once() -> None:
    assert list(loaded()).count(Both) == 1


def test_sequences_go_on_from_where_they_were_before_the_run() -> None:
    binder, meta = Binder("flush", 100, Rebind()), Both._meta
    before = vars(meta)["_counter"]
    vars(meta)["_counter"] = Counter(5)
    try:
        binder.adopt(meta)
        binder.begin()
        binder.begin_counting(meta)
        assert binder.counter(meta).next() == 5
    finally:
        vars(meta)["_counter"] = before


def test_without_a_persistence_what_is_made_is_not_flushed(binder: Binder, session: Session) -> None:
    binder.bind(TEST, Bound(session, session, "pg_session", None))
    made = UserFactory()
    assert made in session.new
    assert UserFactory() is made, "it is got and not created, as the session flushes what is asked for"
    binder.bind(TEST, Bound(session, session, "pg_session", "flush"))
    assert UserFactory(email="bob@example.com") not in session.new


@pytest.mark.parametrize(
    ("error", "is_async", "told"),
    [
        (RuntimeError("out of paper"), None, "^out of paper$"),
        (RuntimeError("No session provided."), False, "^No session provided.$"),
        (MissingGreenlet("too late"), None, "too late"),
        (MissingGreenlet("too late"), False, "too late"),
        (MissingGreenlet("too late"), True, "Own: it is on async_session, an asynchronous session, and Own.. cannot await"),
    ],
)
def test_errors_of_a_factory_s_own(binder: Binder, session: Session, error: Exception, is_async: bool | None, told: str) -> None:
    class Own(UserFactory):
        @classmethod
        def _create(cls, model_class: Any, *args: Any, **values: Any) -> Any:
            raise error

    if is_async is not None:
        binder.bind(TEST, Bound(session, object() if is_async else session, "async_session", "flush"))
    with pytest.raises(FactoryError if is_async else type(error), match=told):
        Own()


def test_an_option_of_no_factory_is_the_option() -> None:
    option = Asked("sqlalchemy_session", lambda meta, said: said)
    options = type("Options", (), {"sqlalchemy_session": option})
    assert options.sqlalchemy_session is option  # type: ignore[attr-defined]
    assert not hasattr(options(), "sqlalchemy_session")


def test_the_way_to_what_is_made_after_an_object() -> None:
    class Shop(UserFactory):
        name = factory.LazyAttribute(lambda shop: "shop")
        owner = factory.RelatedFactory(UserFactory)

    def way(inner: Any) -> str:
        outer = SimpleNamespace(parent_step=None, builder=SimpleNamespace(factory_meta=Shop._meta), stub=None)
        return path_of(SimpleNamespace(parent_step=outer, builder=SimpleNamespace(factory_meta=inner._meta), stub=None))

    assert way(UserFactory) == "Shop.owner → UserFactory"
    assert way(Both) == "Shop → Both"
