"""How a test went, for its fixtures at their end: what one did that was skipped half-way proves nothing."""

from __future__ import annotations

from collections.abc import Generator

import pytest

__all__ = ["proves_nothing", "watch_outcome"]

ENDED: pytest.StashKey[bool] = pytest.StashKey()
"""On a test: that it was skipped, or failed as it was expected to."""
NAME = "pytest_testbed.outcomes"


def watch_outcome(item: pytest.Item) -> None:
    """Note from now on how a test goes; to be called before it runs."""
    plugins = item.config.pluginmanager
    if not plugins.has_plugin(NAME):  # a run in which nobody asks has none of it
        plugins.register(SeesOutcomes(), NAME)
    item.stash[ENDED] = False


def proves_nothing(item: pytest.Item) -> bool:
    """Tell whether a test was skipped after it had begun, or failed as its mark xfail says."""
    return item.stash.get(ENDED, False)


class SeesOutcomes:
    """A plugin of runs in which somebody wants to know."""

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_makereport(self, item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        """Note, before fixtures end, that a test was skipped half-way, or failed as expected."""
        report = yield
        if report.when == "call":
            item.stash[ENDED] = report.skipped
        return report
