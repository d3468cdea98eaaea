"""What happens around each test that wants services: waiting before its own time begins, their words on its failure."""

from __future__ import annotations

import time
from collections.abc import Generator, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest

from .errors import AppError, TestbedError
from .services.logs import cut
from .services.model import LogMark

if TYPE_CHECKING:
    from .session import Run

__all__ = ["Watch"]

MAY_NOT_RUN = ("skip", "skipif")
"""Marks of tests for which nobody waits ahead."""
READ = 5000
SHOWN = 50
"""Lines of a log that are looked at, and that a failure shows."""
LAG = 0.05
"""Seconds in which an engine has a container's last words."""


class Watch:
    """A plugin of a run that uses services; a run without them has none of it.

    Args:
        run: the run.
        wanted: the tests that talk to the engine, with the kinds that they are known to ask for.
    """

    def __init__(self, run: Run, wanted: Mapping[pytest.Item, set[str]]) -> None:
        self._run = run
        self._wanted = wanted
        self._began = 0.0
        self._marks: dict[str, LogMark | None] = {}
        self._told: dict[tuple[type[BaseException], str], str] = {}

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Generator[None, object, object]:
        """Wait for a test's services, outside all that pytest bills it for and that a time-out watches."""
        kinds = self._wanted.get(item)
        if kinds is None:
            return (yield)
        testbed = self._run.testbed
        if self._run.starts_ahead and not any(item.get_closest_marker(name) for name in MAY_NOT_RUN):
            for kind in kinds:
                with suppress(TestbedError):  # its fixture will meet it again
                    testbed.acquire(kind)
        self.mark()
        return (yield)

    def mark(self) -> None:
        """Let what services have written so far be nobody's."""
        testbed = self._run.testbed
        self._began = time.time()
        self._marks = {kind: testbed.mark(kind) for kind in testbed.started}

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_makereport(
        self, item: pytest.Item, call: pytest.CallInfo[None]
    ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        """Show with a failure what the services wrote since the test began, or since it failed before."""
        report = yield
        if report.failed and item in self._wanted:
            error = call.excinfo.value if call.excinfo is not None and call.when == "setup" else None
            if (first := self._first_to_meet(error, item)) != item.nodeid:
                report.longrepr = in_short(item, error, first)
                return report
            for kind in self._run.testbed.started:
                if text := self._written(kind):
                    report.sections.append((f"Captured {kind} log", text))
        return report

    def _first_to_meet(self, error: BaseException | None, item: pytest.Item) -> str:
        """Return which test met an error of a service or its schema first: all that need it will meet it."""
        own = own_error(error) if error is not None else None
        if not isinstance(own, TestbedError) or isinstance(own, AppError):  # the application's are told by who started it
            return item.nodeid
        if error is None or item.config.getoption("fulltrace", False):
            return item.nodeid
        return self._told.setdefault((type(error), str(error)), item.nodeid)

    def _written(self, kind: str) -> str:
        testbed = self._run.testbed
        since = self._marks.get(kind) or LogMark(self._began)
        try:
            text = testbed.logs(kind, READ, since)
            if not text and not testbed.started[kind].log:
                time.sleep(LAG)
                text = testbed.logs(kind, READ, since)
        except TestbedError as error:
            return f"(it cannot be read: {error})"
        self._marks[kind] = testbed.mark(kind)
        text = self._run.log_filters.get(kind, str)(text).strip("\n")
        return cut(text, SHOWN) if text else ""


def own_error(error: BaseException) -> BaseException | None:
    """Return the error that a fixture has shown to pytest without its traceback, or the error itself."""
    return error.__context__ if isinstance(error, pytest.fail.Exception) else error


def in_short(item: pytest.Item, error: BaseException | None, first: str) -> Any:
    """Return for a report the first line of an error, and the test whose report has all of it."""
    name = "" if isinstance(error, pytest.fail.Exception) else f"{type(error).__name__}: "
    with pytest.raises(pytest.fail.Exception) as failed:  # pytest shows no error that was not raised
        pytest.fail(f"{name}{str(error).partition(chr(10))[0]}\n(told in full by {first})", pytrace=False)
    return item.repr_failure(failed)
