"""Hooks that other plugins and a project's root conftest may implement."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from .services.model import ServiceSpec


@pytest.hookspec
def pytest_testbed_services(config: pytest.Config) -> Iterable[ServiceSpec]:  # type: ignore[empty-body]
    """Return a list of `ServiceSpec`: the kinds of service that this plugin or conftest offers.

    PostgreSQL and RabbitMQ are registered through the same hook. It is called once, when tests that need a service were
    collected. Of `conftest.py` files those count that pytest loads at its start: in the root directory, and in the directories
    named on the command line. If two describe the same kind, a `conftest.py` wins over a plugin.

    A spec is plain data because it crosses to the host process: see docs/explanation/host-process.md.
    """


@pytest.hookspec(firstresult=True)
def pytest_testbed_provider(name: str) -> str | None:
    """Return where a provider of this name lives, as `package.module:Class`, or None.

    It is asked for names that are not built in. The first answer counts. The class has the methods of `Provider`; an instance
    lives in the host process and serves one run.

    A server from such a provider is treated as one that may go on after the run: databases that the fixtures make on it are
    dropped at the end, as on an external server.
    """
