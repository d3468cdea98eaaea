"""What keeps tests apart that use the database for real, whoever connects: watched from fixture to fixture."""

from __future__ import annotations

from collections.abc import Generator
from typing import TYPE_CHECKING, Any

import pytest

from .exports import EXPORTS
from .plugins.postgres import is_quiet, read_folders, real_commits

if TYPE_CHECKING:
    from .postgres.real import RealCommits

__all__ = ["Apart", "Everywhere"]


class Apart:
    """A plugin of runs in which tests commit for real: what fixtures of wider scopes write is not a test's."""

    def __init__(self, real: RealCommits) -> None:
        self._real = real

    @pytest.hookimpl(wrapper=True)
    def pytest_fixture_setup(
        self, fixturedef: pytest.FixtureDef[Any], request: pytest.FixtureRequest
    ) -> Generator[None, object, object]:
        """Take what a fixture has written that outlives the test for what tests begin with."""
        result = yield
        if fixturedef.scope != "function" and self._real.was_used:
            self._real.settle(layer=id(fixturedef))
        return result

    @pytest.hookimpl(tryfirst=True)
    def pytest_fixture_post_finalizer(self, fixturedef: pytest.FixtureDef[Any]) -> None:
        """Undo that when the fixture has ended."""
        if fixturedef.scope != "function":
            self._real.leave(id(fixturedef))


class Everywhere:
    """A plugin of runs whose tests may reach the database by an exported address: each of them is looked after."""

    def __init__(self) -> None:
        self._is_ready = False

    def pytest_report_header(self, config: pytest.Config) -> list[str]:
        """Say what follows from an exported address."""
        names = [name for name, text in config.stash[EXPORTS].templates if "{pg." in text]
        mode = read_folders(config)[0]
        what = "commit for real" if mode == "database" else "commit nothing"
        return [f"testbed: {', '.join(names)} from PostgreSQL; tests {what} (isolation: {mode})"]

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_fixture_setup(
        self, fixturedef: pytest.FixtureDef[Any], request: pytest.FixtureRequest
    ) -> Generator[None, object, object]:
        """Make the database before the first fixture of the first test that may use it."""
        item = request.session.config.stash.get(CURRENT, None)
        if not self._is_ready and item is not None and not is_quiet(item):
            self._is_ready = True
            try:
                real_commits(request)
            except BaseException as error:
                self._is_ready = False  # each later test is told the same
                # pytest has begun this fixture, and would find it half begun in the next test
                fixturedef.cached_result = (None, fixturedef.cache_key(request), (error, None))  # type: ignore[arg-type]
                fixturedef.finish(request)  # type: ignore[arg-type]
                raise
        return (yield)

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


CURRENT: pytest.StashKey[pytest.Item] = pytest.StashKey()
