"""Which modules go first, and whose fixture counts."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from pytest_testbed.scheduling import modules_of, quiet_modules_first, wanted_kinds
from pytest_testbed.testing import fake_spec


class Item:
    """As much of a test as scheduling looks at."""

    def __init__(self, name: str) -> None:
        self.name = name

    def getparent(self, kind: type) -> None:
        return None

    @property
    def path(self) -> str:
        return self.name[0]

    def __repr__(self) -> str:
        return self.name


def items(names: str) -> list[Any]:
    return [Item(name) for name in names.split()]


def sort(names: str, loud: str) -> str:
    """Sort tests whose module is the first letter of their name."""
    return " ".join(map(str, quiet_modules_first(items(names), lambda item: str(item) in loud.split())))


@pytest.mark.parametrize(
    ("names", "loud", "wanted"),
    [
        ("", "", ""),
        ("a1 a2 b1", "", "a1 a2 b1"),
        ("a1 a2 b1", "a1 a2 b1", "a1 a2 b1"),
        ("a1 a2 b1 b2 c1", "a2", "b1 b2 c1 a1 a2"),  # one test makes its module loud
        ("a1 b1 c1 d1", "a1 c1", "b1 d1 a1 c1"),
        ("b1 a1 c1", "b1", "a1 c1 b1"),  # as they came, not by name
        ("a1 b1 a2 b2", "a1", "a1 b1 a2 b2"),  # a session's parameters run across modules
    ],
)
def test_quiet_modules_go_first_and_nothing_else_moves(names: str, loud: str, wanted: str) -> None:
    assert sort(names, loud) == wanted


def test_modules_of_are_the_stretches() -> None:
    assert modules_of(items("a1 a2 b1 a3")) == ["a", "b", "a"]


def definition(module: str, *arguments: str) -> Any:
    return SimpleNamespace(func=SimpleNamespace(__module__=module), argnames=arguments)


def kinds(**definitions: list[Any]) -> set[str] | None:
    item: Any = SimpleNamespace(_fixtureinfo=SimpleNamespace(name2fixturedefs=definitions))
    item = type("Hashable", (SimpleNamespace,), {"__hash__": object.__hash__})(**vars(item))
    specs = [fake_spec("alpha", fixtures=["plugin_a:alpha", "plugin_a:alpha_url"]), fake_spec("beta", fixtures=["plugin_b:beta"])]
    return wanted_kinds([item], specs).get(item)


OURS = definition("plugin_a")
TESTBED = definition("pytest_testbed.plugin")


def test_the_fixtures_in_use_say_which_kinds_are_wanted() -> None:
    assert kinds(other=[definition("conftest")]) is None
    assert kinds(testbed=[TESTBED]) == set()
    assert kinds(testbed=[TESTBED], alpha=[OURS]) == {"alpha"}
    assert kinds(testbed=[TESTBED], alpha_url=[OURS], beta=[definition("plugin_b")]) == {"alpha", "beta"}


def test_the_nearest_definition_counts() -> None:
    assert kinds(alpha=[OURS, definition("conftest")]) is None
    assert kinds(alpha=[OURS, definition("conftest", "alpha")]) == {"alpha"}
    assert kinds(alpha=[OURS, definition("conftest"), definition("test_it", "alpha")]) is None
    assert kinds(alpha=[OURS, definition("conftest", "alpha"), definition("test_it", "request", "alpha")]) == {"alpha"}
    assert kinds(testbed=[TESTBED, definition("conftest")]) is None


def test_an_item_that_knows_no_fixtures_wants_nothing() -> None:
    item: Any = Item("yaml")
    assert wanted_kinds([item], []) == {}
