"""Which virtual host a test has; and what keeps tests apart that share one: watched from fixture to fixture."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

import pytest

from .errors import BrokerError, TestbedError
from .exports import EXPORTS
from .plugin import plain_errors, run_of
from .plugins.rabbitmq import SHARED, vhost_address
from .rabbitmq.connect import died
from .rabbitmq.logs import of_vhost
from .rabbitmq.messages import report
from .rabbitmq.place import Place
from .rabbitmq.shared import SharedVhost

if TYPE_CHECKING:
    from .services.client import Testbed

__all__ = ["SharedVhosts", "place_of"]

PLACE: pytest.StashKey[Place] = pytest.StashKey()
"""On a test: its virtual host, until its report has been made."""
SHOWN: pytest.StashKey[bool] = pytest.StashKey()
NAME = "pytest_testbed.show_messages"
NEEDED = frozenset(("request", "pytestconfig", "testbed", "rabbitmq_service"))
"""Fixtures that ours are made of: when one of them is set up first, ours has to wait for the next."""


@contextmanager
def place_of(request: pytest.FixtureRequest, testbed: Testbed) -> Iterator[Place]:
    """Give the virtual host of a test."""
    shared: SharedVhosts | None = request.config.pluginmanager.getplugin(SHARED)
    show: ShowMessages | None = request.config.pluginmanager.getplugin(NAME)
    if show is None:  # a run in which nobody asks has none of it
        show = ShowMessages()
        request.config.pluginmanager.register(show, NAME)
        run_of(request.config).begin_log("rabbitmq", show.own_lines)
    if shared is not None and shared.is_shared(request.node):
        show.begin(request.node, shared.place(request))
        yield request.node.stash[PLACE]
        return
    name = taken(testbed)
    try:
        show.begin(request.node, Place(testbed, testbed.endpoint("rabbitmq"), name))
        yield request.node.stash[PLACE]
    finally:
        testbed.give_back("rabbitmq", name)


def taken(testbed: Testbed) -> str:
    """Return the name of a virtual host of the test's own.

    Raises:
        ServiceDied: the broker has ended.
    """
    try:
        return testbed.take("rabbitmq")
    except TestbedError as error:
        if (why := died(testbed)) is not None:
            raise why from error
        raise


class ShowMessages:
    """A plugin of runs in which a test has a virtual host: a failure shows what lies there."""

    def __init__(self) -> None:
        self._vhost = ""

    def begin(self, item: pytest.Item, place: Place) -> None:
        """Note which virtual host a test has."""
        item.stash[PLACE], item.stash[SHOWN] = place, False
        self._vhost = place.name

    def own_lines(self, text: str) -> str:
        """Return a broker's log without the lines of other tests."""
        return of_vhost(text, self._vhost)

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_makereport(self, item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        """Show with a failure what the test has published, and what lies where; once, where its teardown fails as well."""
        result = yield
        place = item.stash.get(PLACE, None)
        if place is None:
            return result
        is_last = result.when == "teardown"
        if result.failed and not is_last and not item.stash.get(SHOWN, False):
            item.stash[SHOWN] = True
            result.sections.append(("Captured messages", report(place)))
        if is_last:
            del item.stash[PLACE]
        return result


class SharedVhosts:
    """A plugin of runs in which tests share a virtual host, one after the other.

    Args:
        config: pytest's.
        is_exported: whether applications have its address, so that any test may use it.
    """

    def __init__(self, config: pytest.Config, *, is_exported: bool = False) -> None:
        self._config, self._is_exported = config, is_exported
        self._vhost: SharedVhost | None = None
        self._item: pytest.Item | None = None
        self._is_begun = False
        self._depth = 0

    def pytest_report_header(self, config: pytest.Config) -> list[str]:
        """Say what follows from an exported address."""
        if not self._is_exported:
            return []
        names = [name for name, text in config.stash[EXPORTS].templates if "{rabbitmq." in text]
        return [f"testbed: {', '.join(names)} from RabbitMQ; tests share a virtual host, emptied after each"]

    def is_shared(self, item: pytest.Item) -> bool:
        """Tell whether a test has the shared virtual host: by its mark, or as applications have its address."""
        mark = item.get_closest_marker("rabbitmq")
        said = mark.kwargs.get("vhost") if mark is not None else None
        return said == "worker" or (said is None and self._is_exported)

    def place(self, request: pytest.FixtureRequest) -> Place:
        """Return it for a test's fixtures."""
        if not self._is_begun:
            self._begin(request.node, request)
        assert self._vhost is not None
        return self._vhost.place()

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_setup(self, item: pytest.Item) -> None:
        """Remember whose fixtures are set up; begin anew with each run of a test."""
        self._item, self._is_begun = item, False

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_fixture_setup(
        self, fixturedef: pytest.FixtureDef[Any], request: pytest.FixtureRequest
    ) -> Generator[None, object, object]:
        """Begin a test before its own first fixture; take what fixtures of wider scopes declare for what tests begin with."""
        if fixturedef.scope == "function":
            if not self._is_begun and self._looks_after(fixturedef):
                assert self._item is not None
                self._begin(self._item, request)
            return (yield)
        if self._vhost is None or self._depth:
            return (yield)
        self._depth += 1
        try:
            with plain_errors(self._config), self._vhost.wider(id(fixturedef), is_late=self._is_begun):
                return (yield)
        finally:
            self._depth -= 1

    @pytest.hookimpl(tryfirst=True)
    def pytest_fixture_post_finalizer(self, fixturedef: pytest.FixtureDef[Any]) -> None:
        """Undo what a fixture of a wider scope has declared, when it has ended."""
        if fixturedef.scope != "function" and self._vhost is not None:
            with suppress(BrokerError):  # the broker has ended: what follows will tell
                self._vhost.after(id(fixturedef))

    def _looks_after(self, fixturedef: pytest.FixtureDef[Any]) -> bool:
        item = self._item
        if item is None or fixturedef.argname in NEEDED:
            return False
        if item.get_closest_marker("unit") is not None and self._vhost is None:
            return False  # who is of a unit starts nothing; what it does where all is there is undone all the same
        return self._is_exported or self.is_shared(item)

    def _begin(self, item: pytest.Item, request: pytest.FixtureRequest) -> None:
        with plain_errors(item.config):
            if self._vhost is None:
                endpoint = request.getfixturevalue("rabbitmq_service")
                if endpoint is None:
                    return  # --setup-plan: fixtures give nothing
                testbed = request.getfixturevalue("testbed")
                self._vhost = SharedVhost(testbed, vhost_address(item.config, run_of(item.config)))
            self._is_begun = True
            self._vhost.begin()
        item.addfinalizer(self._end)  # the first of all, so it comes after those of all fixtures

    def _end(self) -> None:
        assert self._vhost is not None
        with plain_errors(self._config):
            self._vhost.end()

    @pytest.fixture(autouse=True)
    def _rabbitmq_everywhere(self) -> None:
        """Be there, for tests without any other fixture: the first one of a test begins it."""
