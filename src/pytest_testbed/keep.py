"""`--testbed-keep-failed`: the database of a failed test stays, for somebody to look at."""

from __future__ import annotations

from collections.abc import Generator
from typing import TYPE_CHECKING

import pytest

from .errors import TestbedError
from .isolation import DATABASE, ISOLATION
from .plugin import run_of

if TYPE_CHECKING:
    from .postgres.autopsy import Autopsy

__all__ = ["KeepFailed"]


class KeepFailed:
    """A plugin of runs that want it."""

    def __init__(self) -> None:
        self._autopsy: Autopsy | None = None

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_makereport(self, item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        """Keep what a test has in its database as soon as it has failed: its fixtures would clear it away."""
        report = yield
        if report.failed and report.when != "teardown" and ISOLATION in item.stash:
            try:
                text = self._keep(item)
            except TestbedError as error:  # the host is gone, for one
                text = f"Not kept: {error}"
            report.sections.append(("Kept postgres database", text))
        return report

    def _keep(self, item: pytest.Item) -> str:
        from .postgres.autopsy import Autopsy

        run, database = run_of(item.config), item.config.stash[DATABASE]
        if self._autopsy is None:
            self._autopsy = Autopsy(database, run.testbed.run)
        kept, text = self._autopsy.keep(item.stash[ISOLATION], item.nodeid)
        if kept:
            run.keep_services(database.endpoint)
        return text
