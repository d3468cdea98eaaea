"""The entry that pytest loads: the tuple of parts, the core's options and marks, the session's hooks."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import pytest

from .errors import ConfigurationError
from .session import Run
from .settings import Section, Settings, check_unknown, option, register
from .stash import RUN, SETTINGS

if TYPE_CHECKING:
    from .services.client import Testbed

pytest_plugins = ("pytest_testbed.plugins.postgres",)

MARKS = (
    "unit: (level) tests one thing alone",
    "integration: (level) tests how parts work together, on real services",
    "e2e: (level) tests the whole application from outside",
    "database: (area) talks to a database",
    "messaging: (area) talks to a message broker",
    "api: (area) talks to an HTTP API",
    "external: (area) talks to, or stands in for, a third party's service",
    "workflows: (area) follows a business workflow through several parts",
    "contract: (area) checks a contract between services",
    "performance: (area) has a budget of time or statements",
)
"""Registered here, so that `--strict-markers` holds with a part switched off."""


@dataclass(frozen=True, kw_only=True)
class CoreSettings(Section, prefix=""):
    """Options that are not one kind's."""

    provider: str = option("auto", flag=True, help="How services are got: auto, external, docker, local, or a plugin's own.")
    start: Literal["prefetch", "lazy", "eager"] = option(
        "prefetch",
        flag=True,
        help="When services start: together once collection has ended, when a test first asks, or with pytest itself.",
    )
    missing: Literal["fail", "skip"] = option(
        "fail", flag=True, help="What a test does whose service cannot be had. Under CI, skip counts on the command line only."
    )
    cache_dir: Path | None = option(None, help="Directory for what later runs may use again.")
    data_dir: Path | None = option(None, help="Directory for the data of servers from local binaries.")


SECTION = CoreSettings


def pytest_addhooks(pluginmanager: pytest.PytestPluginManager) -> None:
    """Make our hooks known."""
    from . import hookspecs

    pluginmanager.add_hookspecs(hookspecs)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Declare the core's options; each part declares its own."""
    register(parser, [CoreSettings])


def sections(config: pytest.Config) -> list[type[Section]]:
    """Return the option sections of the core and of the parts that are switched on."""
    parts = (config.pluginmanager.getplugin(name) for name in pytest_plugins)
    return [CoreSettings, *(part.SECTION for part in parts if part is not None)]


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    """Read the options once and register the marks."""
    for line in MARKS:
        config.addinivalue_line("markers", line)
    check_unknown(config, sections(config))
    settings = Settings.from_config(config, sections(config))
    config.stash[SETTINGS] = settings
    config.stash[RUN] = Run(config, settings, settings[CoreSettings])


def pytest_report_header(config: pytest.Config) -> list[str]:
    """Show what differs from the defaults, and where it was said."""
    changed = config.stash[SETTINGS].changed()
    return ["testbed: " + ", ".join(f"{key}={value} (from {source})" for key, value, source in changed)] if changed else []


def runs_tests(config: pytest.Config) -> bool:
    """Tell whether this call of pytest will run tests."""
    return not any(config.getoption(name, False) for name in ("collectonly", "setupplan", "showfixtures", "show_fixtures_per_test", "markers"))


def pytest_sessionstart(session: pytest.Session) -> None:
    """Start everything where that is asked for."""
    if runs_tests(session.config) and not is_controller(session.config):
        session.config.stash[RUN].start_all()


def is_controller(config: pytest.Config) -> bool:
    """Tell whether this process only hands tests to xdist's workers."""
    return not hasattr(config, "workerinput") and config.getoption("dist", "no") != "no"


@pytest.hookimpl(wrapper=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> Iterator[None]:
    """Let modules without services run first, after every other plugin has chosen and ordered."""
    result = yield
    config.stash[RUN].order(items)
    return result


def pytest_collection_finish(session: pytest.Session) -> None:
    """Start what the selected tests want, while pytest goes on."""
    config = session.config
    broken = session.testsfailed and not config.getoption("continue_on_collection_errors", False)
    if session.items and runs_tests(config) and not broken:
        config.stash[RUN].prepare(session.items)


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """End the services before the summary is written, so that it can tell what went wrong."""
    session.config.stash[RUN].close()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Say which services were used, and what could not be removed."""
    run = config.stash[RUN]
    if config.get_verbosity() >= 0:
        for line in run.lines:
            terminalreporter.write_line(f"testbed: {line}")
    for fault in run.faults:
        terminalreporter.write_line(f"testbed: could not clean up: {fault}", red=True)


def pytest_unconfigure(config: pytest.Config) -> None:
    """End the services where the session never came to its finish."""
    if RUN in config.stash:
        config.stash[RUN].close()


@pytest.fixture(scope="session")
def testbed(pytestconfig: pytest.Config) -> Testbed:
    """The services of this run: `.endpoint(kind)`, `.logs(kind)`, `.kinds`."""
    return pytestconfig.stash[RUN].testbed


__all__ = ["ConfigurationError", "CoreSettings", "SECTION", "testbed"]
