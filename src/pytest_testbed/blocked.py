"""`testbed_http_block`: around each test, no connection leaves this machine."""

from __future__ import annotations

from collections.abc import Generator

import pytest

from .captured_http import journal_of
from .http.block import Guard
from .near_hosts import places_of
from .plugins.http import HttpSettings
from .settings import SETTINGS

__all__ = ["BlocksHosts"]


class BlocksHosts:
    """A plugin of runs with `testbed_http_block`.

    Args:
        config: pytest's; its settings are read.
    """

    def __init__(self, config: pytest.Config) -> None:
        source = config.stash[SETTINGS].source(HttpSettings, "http_block")
        self._guard = Guard(places_of(config), f"testbed_http_block, from {source}")

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Generator[None, object, object]:
        """Guard a test's set-up, the test, and its end."""
        with self._guard.on(lambda exchange: journal_of(item).add(exchange)):
            return (yield)
