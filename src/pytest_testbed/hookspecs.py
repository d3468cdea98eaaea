"""Hooks that other plugins and a project's root conftest may implement."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from .services.model import ServiceSpec


@pytest.hookspec
def pytest_testbed_services(config: pytest.Config) -> Iterable[ServiceSpec]:  # type: ignore[empty-body]
    """Return the kinds of service that this plugin or conftest offers.

    Called once, when the first test that needs a service was collected; of conftest.py files those count
    that pytest loads when it starts (in the root directory, and in the directories named on the command
    line). Where two describe the same kind, a conftest.py wins over a plugin.
    """


@pytest.hookspec(firstresult=True)
def pytest_testbed_provider(name: str) -> str | None:
    """Return where a provider that is not built in lives, as `package.module:Class`.

    The class is made and used in the host process; it must have the methods of
    `pytest_testbed.services.model.Provider`.
    """
