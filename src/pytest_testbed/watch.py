"""What happens around each test that wants services: it waits for them before its own time begins."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest

from .errors import TestbedError

if TYPE_CHECKING:
    from .session import Run

__all__ = ["Watch"]

MAY_NOT_RUN = ("skip", "skipif")
"""Marks of tests for which nobody waits ahead."""


class Watch:
    """A plugin of a run that uses services; a run without them has none of it.

    Args:
        run: the run.
        wanted: the tests that talk to the engine, with the kinds that they are known to ask for.
    """

    def __init__(self, run: Run, wanted: Mapping[pytest.Item, set[str]]) -> None:
        self._run = run
        self._wanted = wanted

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Iterator[None]:
        """Wait for the services of a test, outside all that pytest bills it for and that a time-out watches."""
        kinds = self._wanted.get(item)
        if kinds and self._run.starts_ahead and not any(item.get_closest_marker(name) for name in MAY_NOT_RUN):
            for kind in kinds:
                with suppress(TestbedError):  # its fixture will meet it again
                    self._run.testbed.acquire(kind)
        return (yield)
