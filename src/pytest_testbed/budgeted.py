"""Budgets of tests: which one has what, what it uses meanwhile, and its failure where that is too much."""

from __future__ import annotations

import os
from collections.abc import Generator, Sequence
from pathlib import Path

import pytest

from .budget_listening import Listening
from .budgets.limits import NAMES, Limit, fault_of, read_lines
from .budgets.report import faults
from .budgets.usage import CALL, SETUP, Usage
from .folders import inside, refuse_absent
from .marks import refuse_bad_marks
from .plugin import ENVIRON, RUN
from .plugins.budgets import ARGUMENTS, BudgetSettings
from .settings import SETTINGS

__all__ = ["check_folders", "prepare"]

NAME = "pytest_testbed.budgeted"
TOLD = "pytest_testbed.budget_told"
TITLE = "Exceeded budget"
EXCEEDED: pytest.StashKey[str] = pytest.StashKey()
"""On a test: what it has used too much of, until its report has been made."""
Folder = tuple[Path, dict[str, float | None], str]
"""A folder or file, its budgets, and who says them."""


def prepare(config: pytest.Config, items: Sequence[pytest.Item]) -> None:
    """Look after the tests that have a budget.

    Raises:
        pytest.UsageError: a mark is bad.
    """
    refuse_bad_marks(config, items, "budget", ARGUMENTS, fault_of, is_empty_wrong=True)
    if not config.pluginmanager.has_plugin(NAME):
        plugin = Budgets(config)
        config.pluginmanager.register(plugin, NAME)
        config.add_cleanup(plugin.close)


# --- who has which budget


def folders_of(config: pytest.Config) -> list[Folder]:
    """Return the folders of `testbed_budget`, the innermost first."""
    settings = config.stash[SETTINGS]
    source = f"testbed_budget from {settings.source(BudgetSettings, 'budget')}"
    found = [
        (inside(config.rootpath, name), values, f"{source}: {name}")
        for name, values in read_lines(settings[BudgetSettings].budget).items()
        if name
    ]
    found.sort(key=lambda folder: -len(folder[0].parts))
    return found


def check_folders(config: pytest.Config) -> None:
    """Refuse a folder of `testbed_budget` that is not there.

    Raises:
        pytest.UsageError: names it, and the nearest that is there.
    """
    source = config.stash[SETTINGS].source(BudgetSettings, "budget")
    refuse_absent("testbed_budget", source, config.rootpath, (path for path, _, _ in folders_of(config)))


class Limits:
    """Which budgets tests have: by their marks, by their folders, by default.

    Args:
        config: pytest's; its settings are read.
    """

    def __init__(self, config: pytest.Config) -> None:
        settings = config.stash[SETTINGS]
        default = read_lines(settings[BudgetSettings].budget).get("", {})
        source = f"testbed_budget from {settings.source(BudgetSettings, 'budget')}"
        self._folders = folders_of(config)
        self._default = {name: Limit(value, source) for name, value in default.items()}
        self._by_path: dict[Path, dict[str, Limit]] = {}

    def of(self, item: pytest.Item) -> dict[str, Limit]:
        """Return the budgets of a test, by name; only such as hold."""
        found: dict[str, Limit] = {}
        for node, mark in item.iter_markers_with_node("budget"):
            for name, value in mark.kwargs.items():
                found.setdefault(name, Limit(value, f"mark on {node.name}"))
        for name, limit in self._of_path(item.path).items():
            found.setdefault(name, limit)
        return {name: found[name] for name in NAMES if name in found and found[name].most is not None}

    def _of_path(self, path: Path) -> dict[str, Limit]:
        if path not in self._by_path:
            found: dict[str, Limit] = {}
            for folder, values, source in self._folders:
                if folder == path or folder in path.parents:
                    for name, value in values.items():
                        found.setdefault(name, Limit(value, source))
            self._by_path[path] = {**self._default, **found}
        return self._by_path[path]


# --- from test to test


class Budgets:
    """A plugin of runs in which tests have budgets.

    Args:
        config: pytest's.
    """

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        self._limits = Limits(config)
        self._listening = Listening(str(config.rootpath))
        self._now: dict[str, Limit] = {}
        self._usage: Usage | None = None
        """Of a test that has a budget, from its setup on until it has run."""

    def close(self) -> None:
        """Listen no more."""
        self._usage = None
        self._listening.close()

    def waited(self) -> float:
        """Return for how many seconds this process has waited for services so far."""
        return self._config.stash[RUN].waited if RUN in self._config.stash else 0.0

    @property
    def _factor(self) -> float:
        environ = self._config.stash.get(ENVIRON, None) or os.environ
        return self._config.stash[SETTINGS][BudgetSettings].budget_ci if environ.get("CI") else 1.0

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_setup(self, item: pytest.Item) -> None:
        """Begin to count, anew where a test is run again; where a test has no budget, nothing is listened to."""
        self._now = self._limits.of(item)
        if self._now:
            self._usage = Usage(self._listening.begin(self._now), self.waited)
        else:
            self.close()

    @pytest.hookimpl(wrapper=True)
    def pytest_fixture_setup(self) -> Generator[None, object, object]:
        """Take a fixture that a test asks for while it runs for a piece of its setup."""
        __tracebackhide__ = True
        usage = self._usage
        if usage is None or usage.phase != CALL:
            return (yield)
        usage.switch(SETUP)
        try:
            return (yield)
        finally:
            usage.switch(CALL)

    @pytest.hookimpl(wrapper=True, trylast=True)
    def pytest_runtest_call(self, item: pytest.Item) -> Generator[None, object, object]:
        """Fail a test that has used too much, once it has run to its end."""
        usage = self._usage
        if usage is None:
            return (yield)
        usage.switch(CALL)
        try:
            result = yield
        finally:
            usage.end()
            text, self._usage = faults(usage, self._now, self._factor), None
            self._listening.forget()  # the statements' parameters shall not outlive the test
            if text:
                self._tell(item, text)
        if text:
            raise pytest.fail.Exception(text, pytrace=False)
        return result

    def pytest_enter_pdb(self) -> None:
        """Let a test take its time from now on: somebody looks at it."""
        self._now = {name: limit for name, limit in self._now.items() if name != "seconds"}

    def _tell(self, item: pytest.Item, text: str) -> None:
        """Let the report have it, too: the test may have failed already, which comes first."""
        item.stash[EXCEEDED] = text
        if not self._config.pluginmanager.has_plugin(TOLD):
            self._config.pluginmanager.register(TellsBeside(), TOLD)


class TellsBeside:
    """A plugin of runs in which a test has used too much."""

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_makereport(
        self, item: pytest.Item, call: pytest.CallInfo[None]
    ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        """Tell of an exceeded budget beside a test's own failure; one of unittest's classes is seen no earlier than here."""
        report = yield
        if call.when == "call" and EXCEEDED in item.stash:
            text = item.stash[EXCEEDED]
            del item.stash[EXCEEDED]
            if report.failed and call.excinfo is not None and str(call.excinfo.value) != text:
                report.sections.append((TITLE, text))
        return report
