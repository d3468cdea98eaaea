"""Which services the selected tests want, and in which order modules run while these are starting."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import groupby
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from .services.model import ServiceSpec

__all__ = ["in_use", "modules_of", "nobody_else_orders", "quiet_modules_first", "shares_fixtures_of_packages", "wanted_kinds"]

OWN = "pytest_testbed.plugin:testbed"
ORDERING_OPTIONS = ("lf", "failedfirst", "newfirst", "stepwise", "stepwise_skip")
ORDERING_PLUGINS = (
    *("randomly", "random_order", "pytest_order", "pytest_ordering", "pytest_reverse", "pytest-sort"),
    # with these one test may need another one before it
    *("dependency", "pytest_dependency", "pytest-dependency", "depends", "pytest_depends", "incremental", "pytest_incremental"),
)


def wanted_kinds(items: Iterable[pytest.Item], specs: Sequence[ServiceSpec]) -> dict[pytest.Item, set[str]]:
    """Return the tests that will talk to the engine, each with the kinds that it is known to ask for.

    A kind is wanted where one of its fixtures is in use *and is the kind's own*: a fixture that the
    project defines under the same name is the project's. A test that asks for `testbed` itself is in
    the result with no kind: which one it wants is seen only when it runs.
    """
    wanted: dict[pytest.Item, set[str]] = {}
    known: dict[int, set[str] | None] = {}  # parametrised tests share one object
    for item in items:
        # there is no public way to ask which definition of a fixture a test gets
        information = getattr(item, "_fixtureinfo", None)
        if id(information) not in known:
            known[id(information)] = _kinds(getattr(information, "name2fixturedefs", {}), specs)
        kinds = known[id(information)]
        if added := _added(item, information, specs):
            kinds = (kinds or set()) | added
        if kinds is not None:
            wanted[item] = kinds
    return wanted


def _added(item: pytest.Item, information: Any, specs: Sequence[ServiceSpec]) -> set[str]:
    """Return the kinds whose fixtures a plugin has added to a collected test: a name with no definition yet."""
    names = getattr(item, "fixturenames", None)
    if names is None or names is getattr(information, "names_closure", None):
        return set()
    definitions = getattr(information, "name2fixturedefs", {})
    added = [name for name in names if name not in definitions]
    return {spec.kind for spec in specs if any(reference.partition(":")[2] in added for reference in spec.fixtures)}


def _kinds(definitions: Mapping[str, Sequence[pytest.FixtureDef[Any]]], specs: Sequence[ServiceSpec]) -> set[str] | None:
    kinds = {spec.kind for spec in specs if any(in_use(reference, definitions) for reference in spec.fixtures)}
    return kinds if kinds or in_use(OWN, definitions) else None


def in_use(reference: str, definitions: Mapping[str, Sequence[pytest.FixtureDef[Any]]]) -> bool:
    """Tell whether a fixture of this name is in use, and is the one of that module."""
    module, _, name = reference.partition(":")
    for definition in reversed(definitions.get(name, ())):
        if definition.func.__module__ == module:
            return True
        if name not in definition.argnames:
            return False  # it stands in for ours
    return False  # what extends ours asks for it, and the next one further out is meant


# --- the order of modules


def modules_of(items: Iterable[pytest.Item]) -> list[object]:
    """Return the items' modules, one entry for each stretch of tests of the same one."""
    return [module for module, _ in groupby(items, key=_module)]


def _module(item: pytest.Item) -> object:
    return item.getparent(pytest.Module) or item.path


def shares_fixtures_of_packages(items: Iterable[pytest.Item]) -> bool:
    """Tell whether a fixture of a package is in use: it would be made again for each stretch of its modules."""
    seen: set[int] = set()
    for item in items:
        information = getattr(item, "_fixtureinfo", None)
        if id(information) not in seen:
            seen.add(id(information))
            definitions = getattr(information, "name2fixturedefs", {}).values()
            if any(each[-1].scope == "package" for each in definitions):
                return True
    return False


def quiet_modules_first(items: Sequence[pytest.Item], needs: Callable[[pytest.Item], bool]) -> list[pytest.Item]:
    """Return the items with the modules that need no service before the others; else in their order.

    Where tests of one module stand apart there was a reason (a fixture of the session with parameters,
    for one), and nothing is moved.
    """
    groups = [(module, list(group)) for module, group in groupby(items, key=_module)]
    if len({module for module, _ in groups}) < len(groups):
        return list(items)
    quiet: list[pytest.Item] = []
    loud: list[pytest.Item] = []
    for _, group in groups:
        (loud if any(map(needs, group)) else quiet).extend(group)
    return quiet + loud


def nobody_else_orders(config: pytest.Config) -> bool:
    """Tell whether no option and no plugin is there that has a say in the order of the tests."""
    if any(config.getoption(name, False) for name in ORDERING_OPTIONS):
        return False
    return not any(config.pluginmanager.hasplugin(name) for name in ORDERING_PLUGINS)
