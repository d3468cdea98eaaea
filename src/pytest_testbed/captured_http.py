"""What was said over HTTP in a test, shown in the report where the test fails."""

from __future__ import annotations

from collections.abc import Generator
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

    from .http.exchange import Journal

__all__ = ["ShowHttp", "journal_of", "show_also"]

JOURNAL: pytest.StashKey[Journal] = pytest.StashKey()
"""On a test: what was said in it, until its report has been made."""
ALSO: pytest.StashKey[dict[str, Callable[[], str]]] = pytest.StashKey()
"""On a test: more sections for its report, by their titles; "" for none."""
SHOWN: pytest.StashKey[bool] = pytest.StashKey()
NAME = "pytest_testbed.captured_http"


def journal_of(item: pytest.Item) -> Journal:
    """Return where a test's exchanges are kept."""
    if JOURNAL not in item.stash:
        from .http.exchange import Journal  # others show sections, too, and have nothing to do with HTTP

        _begin(item)
        item.stash[JOURNAL] = Journal()
    return item.stash[JOURNAL]


def show_also(item: pytest.Item, title: str, text: Callable[[], str]) -> None:
    """Show one more section with a test's failure, such as the log of its application."""
    _begin(item)
    item.stash.setdefault(ALSO, {})[title] = text


def _begin(item: pytest.Item) -> None:
    plugins = item.config.pluginmanager
    if not plugins.has_plugin(NAME):  # a run in which nobody asks has none of it
        plugins.register(ShowHttp(), NAME)
    item.stash.setdefault(SHOWN, False)


class ShowHttp:
    """A plugin of runs in which a test has something to do with HTTP."""

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_makereport(self, item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        """Show with a failure what was said in the test; once, where its teardown fails as well."""
        report = yield
        if SHOWN not in item.stash:
            return report
        is_last = report.when == "teardown"
        if report.failed and not item.stash[SHOWN]:
            item.stash[SHOWN] = True
            journal = item.stash.get(JOURNAL, None)
            if journal:
                report.sections.append(("Captured HTTP", journal.report()))
            for title, text in item.stash.get(ALSO, {}).items():
                if found := text():
                    report.sections.append((title, found))
        if is_last:
            for key in (JOURNAL, ALSO, SHOWN):
                _forget(item, key)
        return report


def _forget(item: pytest.Item, key: pytest.StashKey[Any]) -> None:
    """Drop something from a test, which itself lives as long as the run."""
    if key in item.stash:
        del item.stash[key]
