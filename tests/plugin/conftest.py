"""A project for pytester with pretended services, and a record of what happened to them."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pytest_testbed.services import client

PLUGIN = "pytest_testbed.plugin"

CONFTEST = '''
import time
from pathlib import Path

import pytest

from pytest_testbed.testing import fake_spec

JOURNAL = Path({journal!r})
KINDS = {kinds!r}


def pytest_testbed_services(config):
    return [
        fake_spec(
            kind,
            fixtures=["pytest_testbed.plugins.postgres:pg_service" if kind == "postgres" else f"{{__name__}}:{{kind}}"],
            journal=str(JOURNAL),
            **behaviour,
        )
        for kind, behaviour in KINDS.items()
    ]


def pytest_testbed_provider(name):
    return "pytest_testbed.testing:FakeProvider" if name == "fake" else None


class Journal:
    """What happened so far, in the order in which it did."""

    def write(self, event):
        with JOURNAL.open("a") as file:
            file.write(event + "\\n")

    def read(self):
        return JOURNAL.read_text().splitlines() if JOURNAL.exists() else []

    def wait_for(self, event):
        deadline = time.monotonic() + 30
        while event not in self.read():
            assert time.monotonic() < deadline, f"{{event}} did not happen: {{self.read()}}"
            time.sleep(0.002)


@pytest.fixture(scope="session")
def journal():
    return Journal()
'''

FIXTURE = """
@pytest.fixture(scope="session")
def {kind}(testbed):
    return testbed.endpoint({kind!r})
"""


class Project:
    """A directory with a conftest that offers pretended kinds of service."""

    def __init__(self, pytester: pytest.Pytester, hosts: list[client.HostClient]) -> None:
        self.pytester = pytester
        self.path = pytester.path
        self.hosts = hosts
        """The host processes that runs in this process started."""
        self._journal = pytester.path / "journal"

    def kinds(self, *more: str, **behaviour: dict[str, Any]) -> None:
        """Offer kinds, each with a fixture of its own name (postgres has `pg_service`); `more` is added to the conftest."""
        fixtures = "".join(FIXTURE.format(kind=kind) for kind in behaviour if kind != "postgres")
        text = CONFTEST.format(journal=str(self._journal), kinds=behaviour) + fixtures + "\n".join(more)
        self.write(conftest=text)

    def write(self, **files: str) -> None:
        """Write modules."""
        self.pytester.makepyfile(**files)

    def run(self, *args: object) -> pytest.RunResult:
        """Run pytest in this process."""
        return self.pytester.runpytest_inprocess(*args)

    def run_apart(self, *args: object) -> pytest.RunResult:
        """Run pytest in a process of its own."""
        return self.pytester.runpytest_subprocess(*args, timeout=60)

    @property
    def events(self) -> list[str]:
        """What happened to the services, and what tests wrote."""
        return self._journal.read_text().splitlines() if self._journal.exists() else []

    @property
    def started(self) -> list[str]:
        """The kinds that were started, sorted."""
        return sorted(event.removeprefix("start ") for event in self.events if event.startswith("start "))

    def gate(self, name: str = "gate") -> str:
        """Return the path of a file for which a service can be made to wait."""
        return str(self.path / name)


@pytest.fixture(autouse=True)
def plain_environment(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    """Load our plugin alone into the runs of these tests: others cost most of their time."""
    general = ("PYTEST_ADDOPTS", "CI", "BUILD_NUMBER", "DATABASE_URL")
    for name in list(os.environ):
        if name.startswith(("TESTBED_", "PYTEST_XDIST")) or name in general:
            monkeypatch.delenv(name)
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    monkeypatch.setenv("PYTEST_PLUGINS", PLUGIN)
    # the user's cache again: pytester has set another HOME, and a cluster need not be made anew for each test
    monkeypatch.setenv("XDG_CACHE_HOME", os.environ.get("XDG_CACHE_HOME") or str(REAL_CACHE))


REAL_CACHE = Path.home() / ".cache"


@pytest.fixture
def hosts(monkeypatch: pytest.MonkeyPatch) -> list[client.HostClient]:
    """The host processes that are started from this process."""
    seen: list[client.HostClient] = []

    class Seen(client.HostClient):
        def __init__(self, *args: Any, **more: Any) -> None:
            super().__init__(*args, **more)
            seen.append(self)

    monkeypatch.setattr(client, "HostClient", Seen)
    return seen


@pytest.fixture
def project(pytester: pytest.Pytester, hosts: list[client.HostClient]) -> Project:
    """A project with pretended services."""
    return Project(pytester, hosts)


@pytest.fixture
def alive() -> Callable[[int], bool]:
    """Tell whether a process lives."""
    from pytest_testbed.services.ledger import start_time

    return lambda pid: bool(start_time(pid))
