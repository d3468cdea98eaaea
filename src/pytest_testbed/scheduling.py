"""Which services the selected tests want, and in which order modules run while these are starting."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import groupby
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from .services.model import ServiceSpec

__all__ = ["may_reorder", "quiet_modules_first", "wanted_kinds"]


def wanted_kinds(item: pytest.Item, specs: Iterable[ServiceSpec]) -> set[str]:
    """Return the kinds that a test will ask for.

    A kind is wanted where one of its fixtures stands in the test's closure *and is the kind's own*: a
    fixture that the project defines under the same name is the project's.
    """
    if "testbed" not in getattr(item, "fixturenames", ()):
        return set()  # every fixture of a kind asks for `testbed`
    # there is no public way to ask which definition of a fixture a test gets
    definitions = getattr(getattr(item, "_fixtureinfo", None), "name2fixturedefs", {})
    kinds = set()
    for spec in specs:
        for reference in spec.fixtures:
            module, _, name = reference.partition(":")
            if name in definitions and definitions[name][-1].func.__module__ == module:
                kinds.add(spec.kind)
    return kinds


def _module_of(item: pytest.Item) -> Any:
    return item.getparent(pytest.Module) or item.path


def quiet_modules_first(items: Sequence[pytest.Item], needs: Callable[[pytest.Item], bool]) -> list[pytest.Item]:
    """Return the items with the modules that need no service before the others; else in their order."""
    groups = [list(group) for _, group in groupby(items, key=_module_of)]
    loud = {_module_of(group[0]) for group in groups if any(needs(item) for item in group)}
    return [item for first in (True, False) for group in groups if (_module_of(group[0]) not in loud) is first for item in group]


def may_reorder(config: pytest.Config) -> bool:
    """Tell whether nobody else has a say in the order of the tests."""
    if any(config.getoption(name, False) for name in ("failedfirst", "newfirst", "stepwise", "lf")):
        return False
    if hasattr(config, "workerinput"):
        return False  # the workers' orders must be alike, and their scheduler sorts again
    return not any(config.pluginmanager.hasplugin(name) for name in ("randomly", "random-order", "pytest_order", "ordering"))
