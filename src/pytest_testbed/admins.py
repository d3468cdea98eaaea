"""Tests in database isolation that reach the database by `pg_admin_engine` alone, which is of no test: they are apart, too."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from typing import Any

import pytest

from .isolation import mode_of

__all__ = ["Admins", "look_after"]

DATABASE = "_pg_database"
"""Whoever has a fixture of ours that leads to the database has this one as well."""
APART, ENSURED = "_pg_apart", "_pg_apart_if_real"
FIRST = "_pg_test"
"""What APART asks for itself."""


def look_after(config: pytest.Config, items: Sequence[pytest.Item]) -> None:
    """See to it that such tests begin and end as the others in database isolation do."""
    found = [item for item in items if _is_one(item)]
    for item in found:
        names = item.fixturenames  # type: ignore[attr-defined]
        if ENSURED not in names:  # all cases of a parametrized test have one list
            names.append(ENSURED)
    if found:
        config.pluginmanager.register(Admins(found), "pytest_testbed.admins")


def _is_one(item: pytest.Item) -> bool:
    names = getattr(item, "fixturenames", ())
    return DATABASE in names and APART not in names and mode_of(item) == "database"


class Admins:
    """A plugin of runs that have such tests: each is apart before its first fixture, which may write.

    Args:
        items: the tests.
    """

    def __init__(self, items: Sequence[pytest.Item]) -> None:
        self._items = frozenset(items)
        self._is_due = False

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_setup(self, item: pytest.Item) -> None:
        """Note that one is set up."""
        self._is_due = item in self._items

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_fixture_setup(
        self, fixturedef: pytest.FixtureDef[Any], request: pytest.FixtureRequest
    ) -> Generator[None, object, object]:
        """Begin before its first fixture."""
        is_due = self._is_due and fixturedef.scope == "function"
        if not is_due:
            return (yield)
        self._is_due = False
        if fixturedef.argname == FIRST:  # which cannot ask for one that asks for it
            result = yield
            self._is_due = True
            return result
        request.getfixturevalue(APART)
        return (yield)
