"""Mock services from test to test: pytest's side of `mock_service`."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from .captured_http import journal_of
from .errors import StubError
from .http.exchange import Exchange
from .http.services import MockServices, TestServices
from .outcomes import proves_nothing, watch_outcome
from .plugin import plain_errors, run_of
from .plugins.http import HttpSettings
from .settings import SETTINGS

if TYPE_CHECKING:
    from .http.book import Book, Served, Stub

__all__ = ["MockAddress", "all_services", "exported", "services_of"]

SERVICES: pytest.StashKey[MockServices] = pytest.StashKey()
CURRENT: pytest.StashKey[TestServices] = pytest.StashKey()
"""On a test: its services, while it runs, where their addresses are in the environment."""
NAME = "pytest_testbed.mocks"
LATE = "pytest_testbed.mocks.late"


def all_services(config: pytest.Config) -> MockServices:
    """Return the mock services of this process."""
    if SERVICES not in config.stash:
        config.stash[SERVICES] = services = MockServices(stubs(config))
        config.add_cleanup(services.close)
        config.pluginmanager.register(TellLate(), LATE)
    return config.stash[SERVICES]


def stubs(config: pytest.Config) -> dict[str, list[Stub]]:
    """Return, by service, the stubs that the option's files describe.

    Raises:
        ConfigurationError: a file is wrong.
    """
    named = config.stash[SETTINGS][HttpSettings].stubs
    if not named:
        return {}
    from .http.mappings import read_folders

    source = config.stash[SETTINGS].source(HttpSettings, "stubs")
    return read_folders([config.rootpath / Path(name) for name in named], f"testbed_stubs (from {source})")


@contextmanager
def services_of(item: pytest.Item) -> Iterator[TestServices]:
    """Give a test its mock services.

    Raises:
        StubError: at its end, for requests that no stub has answered.
    """
    if CURRENT in item.stash:
        yield item.stash[CURRENT]
        return
    services = begun(item)
    try:
        yield services
    finally:
        end(item, services)


def begun(item: pytest.Item) -> TestServices:
    """Begin a test's services."""
    watch_outcome(item)
    journal = journal_of(item)

    def told(served: Served, book: Book) -> None:
        asked, answer = served.request, served.answer
        note = served.why.partition("\n")[0].partition(". The ")[0] or (f"fault {answer.fault}" if answer.fault else "")
        journal.add(
            Exchange(
                f"mock_service {book.name}",
                asked.method,
                asked.target,
                None if answer.fault else answer.status,
                None,
                asked.headers.raw,
                asked.body,
                answer.pairs,
                answer.content,
                note,
            )
        )

    return all_services(item.config).begin(item.nodeid, told)


def end(item: pytest.Item, services: TestServices) -> None:
    """End a test's services.

    Raises:
        StubError: no stub has answered a request, or the code of one failed.
    """
    faults = services.end()
    if faults and not proves_nothing(item):
        raise StubError("\n".join(faults))


class TellLate:
    """A plugin of runs with mock services."""

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Let the run's summary tell what came too late."""
        if lines := all_services(session.config).late():
            run_of(session.config).notices += lines


# --- addresses in the environment


class MockAddress:
    """Where applications reach the mock services whose names the configuration says."""

    kind = ""

    def __init__(self, services: MockServices) -> None:
        self._services = services

    def form(self, name: str) -> str:
        """Return "inventory.url", "inventory.host" or "inventory.port" of the service inventory, which listens from now on."""
        service, _, form = name.partition(".")
        site = self._services.keep(service)
        return {"url": f"http://{site.host}:{site.port}", "host": site.host, "port": str(site.port)}[form]

    def settle(self) -> None:
        """Do nothing: the address is one of this process from its beginning on."""


def exported(config: pytest.Config) -> MockAddress:
    """Return the address of the mock services, and look after each test from now on."""
    address = MockAddress(all_services(config))
    if not config.pluginmanager.hasplugin(NAME):
        config.pluginmanager.register(ExportedMocks(), NAME)
    return address


class ExportedMocks:
    """A plugin of runs in which applications have addresses of mock services: any test may use them."""

    def pytest_report_header(self, config: pytest.Config) -> list[str]:
        """Say what is exported."""
        from .exports import EXPORTS

        names = [name for name, text in config.stash[EXPORTS].templates if "{mock." in text]
        return [f"testbed: {', '.join(names)} from mock services"]

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_setup(self, item: pytest.Item) -> None:
        """Begin a test."""
        item.stash[CURRENT] = begun(item)

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_teardown(self, item: pytest.Item) -> Generator[None, object, object]:
        """End it once all fixtures have ended; where one of them failed, its error is shown with ours."""
        try:
            result = yield
        except BaseException as error:
            try:
                self._end(item)
            except pytest.fail.Exception as ours:
                error.add_note(str(ours))
            raise
        self._end(item)
        return result

    def _end(self, item: pytest.Item) -> None:
        services = item.stash.get(CURRENT, None)
        if services is not None:  # none where it was skipped before its setup came to us
            del item.stash[CURRENT]
            with plain_errors(item.config):
                end(item, services)
