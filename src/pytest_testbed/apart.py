"""What keeps tests apart that use the database for real, whoever connects: watched from fixture to fixture."""

from __future__ import annotations

from collections.abc import Generator
from typing import TYPE_CHECKING, Any

import pytest

from .exports import EXPORTS
from .isolation import is_quiet, read_folders, real_commits
from .plugins.postgres import ADDRESS

if TYPE_CHECKING:
    from .postgres.real import RealCommits

__all__ = ["Apart", "Everywhere"]


class Apart:
    """A plugin of runs in which tests commit for real: what fixtures of wider scopes write is not a test's."""

    def __init__(self, real: RealCommits) -> None:
        self._real = real
        self._depth = 0
        """How many fixtures of wider scopes are being set up, one asked for by the other."""

    @pytest.hookimpl(wrapper=True)
    def pytest_fixture_setup(
        self, fixturedef: pytest.FixtureDef[Any], request: pytest.FixtureRequest
    ) -> Generator[None, object, object]:
        """Take what a fixture has written that outlives the test for what tests begin with."""
        if fixturedef.scope == "function":
            return (yield)
        if not self._depth:
            self._real.settle_between()
        self._depth += 1
        try:
            return (yield)
        finally:  # it may have written before it failed
            self._depth -= 1
            if self._real.was_used:
                self._real.settle(layer=id(fixturedef))

    @pytest.hookimpl(tryfirst=True)
    def pytest_fixture_post_finalizer(self, fixturedef: pytest.FixtureDef[Any]) -> None:
        """Undo that when the fixture has ended."""
        if fixturedef.scope != "function":
            self._real.settle_after(id(fixturedef))


class Everywhere:
    """A plugin of runs whose tests may reach the database by an exported address: each of them is looked after."""

    def __init__(self) -> None:
        self._is_ready = False
        self._is_apart = False

    def pytest_report_header(self, config: pytest.Config) -> list[str]:
        """Say what follows from an exported address."""
        names = [name for name, text in config.stash[EXPORTS].templates if "{pg." in text]
        mode = read_folders(config)[0]
        what = "commit for real" if mode == "database" else "commit nothing"
        return [f"testbed: {', '.join(names)} from PostgreSQL; tests {what} (isolation: {mode})"]

    @pytest.hookimpl(trylast=True)
    def pytest_collection_finish(self, session: pytest.Session) -> None:
        """Note that all is imported: from now on the first test makes the database, before its first fixture."""
        session.config.stash[ADDRESS].settle()

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_fixture_setup(
        self, fixturedef: pytest.FixtureDef[Any], request: pytest.FixtureRequest
    ) -> Generator[None, object, object]:
        """Make the database before the first fixture of the first test; begin each test before its own first fixture.

        Other plugins' fixtures may come before ours, and what they do at their end must still be undone.
        """
        item = request.session.config.stash.get(CURRENT, None)
        if item is not None and not is_quiet(item) and fixturedef.argname not in NEEDED:
            try:
                self._begin(fixturedef, request)
            except BaseException as error:
                # pytest has begun this fixture, and would find it half begun in the next test
                fixturedef.cached_result = (None, fixturedef.cache_key(request), (error, None))  # type: ignore[arg-type]
                fixturedef.finish(request)  # type: ignore[arg-type]
                raise
        return (yield)

    def _begin(self, fixturedef: pytest.FixtureDef[Any], request: pytest.FixtureRequest) -> None:
        if not self._is_ready:
            self._is_ready = True
            try:
                real_commits(request)
            except BaseException:
                self._is_ready = False  # each later test is told the same
                raise
        if fixturedef.scope == "function" and not self._is_apart:
            self._is_apart = True
            request.getfixturevalue("_pg_apart")

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_setup(self) -> None:
        """Begin anew with each run of a test."""
        self._is_apart = False

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Generator[None, object, object]:
        """Remember whose fixtures are set up."""
        item.config.stash[CURRENT] = item
        return (yield)

    @pytest.fixture(autouse=True)
    def _pg_everywhere(self, request: pytest.FixtureRequest) -> None:
        """Keep a test apart that may use an exported address."""
        if not is_quiet(request.node):
            request.getfixturevalue("_pg_apart")


NEEDED = frozenset(
    ("request", "pytestconfig", "testbed", "pg_service", "pg_schema", "pg_seed")
    + ("_pg_database", "_pg_real", "_pg_test", "_pg_apart")
)
"""Fixtures that ours are made of: when one of them is set up first, ours has to wait for the next."""
CURRENT: pytest.StashKey[pytest.Item] = pytest.StashKey()
