"""Names of fixtures, numbers of tests, and which factories are named."""

from __future__ import annotations

from random import Random

import factory
import factory.random
import faker.generator
import pytest
from factory.alchemy import SQLAlchemyModelFactory

from pytest_testbed.factories.binding import RANKS, TEST, Binder, Bound
from pytest_testbed.factories.naming import Rebind, fixture_name, name_of
from pytest_testbed.factories.seeding import are_drawn, number, seeded_aside, set_generators


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
