"""`pg_queries` of a test: recorded as long as the fixture lives, shown in the report where the test fails."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import contextmanager

import pytest

from .postgres.queries import Queries
from .postgres.recording import recorded

__all__ = ["ShowQueries", "queries_of"]

QUERIES: pytest.StashKey[Queries] = pytest.StashKey()
"""On a test: what it has sent, until its report has been made."""
SHOWN: pytest.StashKey[bool] = pytest.StashKey()
"""On a test: whether a report has it already: of the test, or of a subtest, each of which is one of its own."""
NAME = "pytest_testbed.captured"


@contextmanager
def queries_of(item: pytest.Item) -> Iterator[Queries]:
    """Record what a test sends to PostgreSQL."""
    plugins = item.config.pluginmanager
    if not plugins.has_plugin(NAME):  # a run in which nobody asks has none of it
        plugins.register(ShowQueries(), NAME)
    with recorded(str(item.config.rootpath)) as queries:
        item.stash[QUERIES], item.stash[SHOWN] = queries, False
        yield queries


class ShowQueries:
    """A plugin of runs in which a test has asked for its statements."""

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_makereport(self, item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        """Show with a failure what the test has sent; once, where its teardown fails as well."""
        report = yield
        queries = item.stash.get(QUERIES, None)
        if queries is None:
            return report
        is_last = report.when == "teardown"
        if report.failed and not (is_last and item.stash.get(SHOWN, False)):
            item.stash[SHOWN] = True
            report.sections.append(("Captured SQL", str(queries)))
        if is_last:
            del item.stash[QUERIES]  # the test itself lives as long as the run
        return report
