"""`--testbed-check-levels`: the tests are collected and looked at; none runs."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from .levelled import LEVEL_NAMES, Signs
from .levels.report import Report, Views
from .plugin import ONLY_LOOKS
from .plugins.levels import SET_LEVEL, LevelSettings
from .settings import SETTINGS

__all__ = ["look_alone"]


def look_alone(config: pytest.Config) -> None:
    """Let this call of pytest run no tests and start nothing; in one process, so that one report is made."""
    config.stash[ONLY_LOOKS] = True
    if config.getoption("dist", "no") != "no":
        config.option.dist = "no"
    config.pluginmanager.register(ChecksLevels(), "pytest_testbed.level_check")


class ChecksLevels:
    """A plugin of calls with `--testbed-check-levels`."""

    def __init__(self) -> None:
        self._report = Report(())

    @pytest.hookimpl(tryfirst=True)
    def pytest_collection_finish(self, session: pytest.Session) -> None:
        """Look at the tests that are selected."""
        self._report = Report(views(session.config, session.items))

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> bool | None:
        """Run none; where some could not be collected, pytest says so."""
        broken = session.testsfailed and not session.config.getoption("continue_on_collection_errors", False)
        return None if broken else True

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Let the call fail where anything disagrees."""
        if self._report.disagreeing and session.exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter, exitstatus: int, config: pytest.Config) -> None:
        """Say what was seen, unless pytest could not find what it was to look at."""
        if exitstatus == pytest.ExitCode.USAGE_ERROR:
            return
        terminalreporter.section("levels")
        for line in self._report.lines(whole=config.get_verbosity() > 0):
            terminalreporter.write_line(line)
        for line in notes(config):
            terminalreporter.write_line(f"\n{line}")
        if not self._report.disagreeing:
            terminalreporter.write_line("\nnothing disagrees")


def views(config: pytest.Config, items: list[pytest.Item]) -> Iterator[Views]:
    """Yield what is said of the level of each test."""
    signs = Signs(config)
    for item in items:
        # who has one by hand was given none
        by_hand = () if SET_LEVEL in item.stash else [mark.name for mark in item.iter_markers() if mark.name in LEVEL_NAMES]
        folder = signs.by_folder(item.path)
        by = os.path.relpath(folder.by, config.rootpath).replace(os.sep, "/") if folder.by else ""
        yield Views(item.nodeid, tuple(dict.fromkeys(by_hand)), folder.level, by, outermost(item, signs.by_fixtures(item).names))


def outermost(item: pytest.Item, names: Sequence[str]) -> list[str]:
    """Return those of our fixtures that the test itself asks for, or a fixture of the project: not what ours are made of."""
    information: Any = getattr(item, "_fixtureinfo", None)
    definitions = getattr(information, "name2fixturedefs", {})
    theirs = [each for some in definitions.values() for each in some if not each.func.__module__.startswith("pytest_testbed.")]
    asked = {*getattr(information, "initialnames", ()), *(name for each in theirs for name in each.argnames)}
    return [name for name in names if name in asked or name not in definitions]


def notes(config: pytest.Config) -> Iterator[str]:
    """Yield what else users should know."""
    if config.stash[SETTINGS][LevelSettings].levels == "off":
        yield "testbed_levels = off: folders and fixtures mark no test"
    for plugin in config.pluginmanager.get_plugins():
        file = getattr(plugin, "__file__", None) or ""
        marks = getattr(plugin, "pytestmark", None)
        if marks and os.path.basename(file) == "conftest.py":
            marks = marks if isinstance(marks, list) else [marks]
            names = sorted({getattr(mark, "name", "?") for mark in marks})
            shown = os.path.relpath(file, config.rootpath).replace(os.sep, "/")
            yield f"{shown} has a pytestmark ({', '.join(names)}), which does nothing there"
