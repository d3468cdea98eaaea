"""Test data that repeat: before each test the generators of factory_boy and Faker begin with the run's seed and the test's id."""

from __future__ import annotations

import sys
from collections.abc import Generator, Iterator
from typing import Any

import pytest

from .factories.seeding import are_drawn, number, seeded_aside, seeded_by_others, set_generators
from .plugin import is_worker
from .plugins.factories import BEFORE, TOLD, FactorySettings, running, seed_of
from .settings import SETTINGS

__all__ = ["SeededTests", "all_factories", "seed_tests"]

NAME = "pytest_testbed.factory_seeds"
RANDOMLY = ("randomly", "pytest_randomly")


def seed_tests(config: pytest.Config) -> None:
    """Let test data repeat from now on, unless pytest-randomly is there, which does it itself."""
    plugins = config.pluginmanager
    seeded = plugins.getplugin(NAME)
    if isinstance(seeded, SeededTests):
        seeded.begin()
    elif seeded is None and not any(map(plugins.hasplugin, RANDOMLY)):
        plugins.register(SeededTests(config), NAME)
    elif seeded is None and config.stash[SETTINGS][FactorySettings].seed is not None:
        plugins.register(LeftToRandomly(), NAME)


class LeftToRandomly:
    """A plugin of runs with pytest-randomly in which somebody has named a seed of ours."""

    def pytest_report_header(self) -> str:
        """Say that it does not count."""
        return "testbed: testbed_seed does not count, as pytest-randomly seeds the test data: see --randomly-seed"


class SeededTests:
    """A plugin of runs in which factory_boy or Faker is loaded.

    Args:
        config: pytest's; the seed is read from it.
    """

    def __init__(self, config: pytest.Config) -> None:
        self._config, self._base = config, seed_of(config)
        self._is_said = config.stash[SETTINGS][FactorySettings].seed is not None
        self._is_told = self._is_said  # among the options in the header
        self._is_ours: bool | None = True if self._is_said else None
        """Whether nobody else seeds; not known before the first test."""
        self._start: int | None = None
        self._wide_drawn = False
        self.begin()

    def begin(self) -> None:
        """Begin with the numbers of the test that runs, which may only now have imported Faker."""
        if test := running(self._config):
            self._seed(test.rpartition(" ")[0])

    def _seed(self, name: str) -> None:
        if self._is_ours is None:
            self._is_ours = not seeded_by_others()
        if not self._is_ours:
            return
        self._start = number(self._base, name)
        set_generators(self._start)

    # --- what a user reads

    def pytest_report_header(self) -> list[str]:
        """Tell the seed, where factories are loaded by now."""
        return self._line() if has_users(self._config) and not seeded_by_others() else []

    def pytest_report_collectionfinish(self) -> list[str]:
        """Tell it where they came with the tests."""
        return self._line() if has_users(self._config) and not seeded_by_others() and self._config.get_verbosity() >= 0 else []

    def _line(self) -> list[str]:
        if self._is_told:
            return []
        self._is_told = True
        return [f"testbed: test data from --testbed-seed={self._base}"]

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(self) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        """Note, with a failure, that what the test had was made by chance; a worker's report goes to the controller."""
        report = yield
        if report.failed and self._start is not None and (self._wide_drawn or are_drawn(self._start)):
            report.testbed_seed = self._base  # type: ignore[attr-defined]
        return report

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Tell xdist's controller that it has something to say."""
        if is_worker(session.config) and has_users(session.config):
            session.config.workeroutput[TOLD] = True  # type: ignore[attr-defined]

    # --- from test to test

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_setup(self, item: pytest.Item) -> None:
        """Begin a test, and each repetition of it, with its own numbers."""
        grouped = self._config.getoption("loadgroup", False) and item.get_closest_marker("xdist_group") is not None
        self._seed(without_group(item.nodeid) if grouped else item.nodeid)

    @pytest.hookimpl(wrapper=True)
    def pytest_fixture_setup(
        self, fixturedef: pytest.FixtureDef[Any], request: pytest.FixtureRequest
    ) -> Generator[None, object, object]:
        """Give what tests share numbers of its own: whichever test is the first finds the same, and loses none of its own."""
        __tracebackhide__ = True
        if fixturedef.scope == "function" or not self._is_ours:
            return (yield)
        name = f"{request.node.nodeid}::{fixturedef.argname}[{getattr(request, 'param_index', 0)}]"
        start, before = number(self._base, name), seeded_by_others()
        with seeded_aside(start):
            try:
                return (yield)
            finally:
                self._wide_drawn = self._wide_drawn or are_drawn(start)
                if not self._is_said and seeded_by_others() != before:
                    self._is_ours, self._start = False, None  # a project that seeds for all tests means it


def without_group(name: str) -> str:
    """Return a test's id without the group that xdist has put to its end, as far as this one does."""
    stem, _, group = name.rpartition("@")
    return stem if stem and "]" not in group and "::" not in group else name


def has_users(config: pytest.Config) -> bool:
    """Tell whether the run has factories; Faker says nothing, as its own plugin for pytest loads it into each run."""
    before = config.stash.get(BEFORE, ())
    return any(each not in before and each.__module__.partition(".")[0] != "factory" for each in all_factories())


def all_factories() -> Iterator[Any]:
    """Yield all factories of factory_boy that are loaded, some more than once."""
    waiting = [sys.modules["factory.base"].Factory] if "factory.base" in sys.modules else []
    while waiting:
        factory = waiting.pop()
        waiting.extend(factory.__subclasses__())
        yield factory
