"""Which virtual host a test has; and what keeps tests apart that share one: watched from fixture to fixture."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest

from .errors import TestbedError
from .exports import EXPORTS
from .isolation import is_quiet
from .plugin import plain_errors, run_of, runs_tests
from .plugins.rabbitmq import SHARED, vhost_address
from .rabbitmq.shared import SharedVhost
from .setups import begun_or_not_at_all

if TYPE_CHECKING:
    from .rabbitmq.place import Place
    from .services.client import Testbed

__all__ = ["SharedVhosts", "place_of"]

PLACE: pytest.StashKey[Callable[[], Place | None]] = pytest.StashKey()
"""On a test: gives its virtual host, None where there is nothing to be seen in it; until the test's report has been made."""
SHOWN: pytest.StashKey[bool] = pytest.StashKey()
NAME = "pytest_testbed.show_messages"
MAY_NOT_RUN = ("skip", "skipif")
"""Marks of tests for which nothing is started ahead."""


@contextmanager
def place_of(request: pytest.FixtureRequest, testbed: Testbed) -> Iterator[Place]:
    """Give the virtual host of a test."""
    shared: SharedVhosts | None = request.config.pluginmanager.getplugin(SHARED)
    show = shown(request.config)
    if shared is not None and shared.is_shared(request.node):
        place = shared.place(request)
        show.begin(request.node, place.name, lambda: place)
        yield place
        return
    from .rabbitmq.place import Place

    name = taken(testbed)
    try:
        place = Place(testbed, testbed.endpoint("rabbitmq"), name)
        show.begin(request.node, name, lambda: place)
        yield place
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
        from .rabbitmq.connect import died

        if (why := died(testbed)) is not None:
            raise why from error
        raise


def shown(config: pytest.Config) -> ShowMessages:
    """Return the plugin that shows what lies in virtual hosts; a run in which nobody has one has none of it."""
    show: ShowMessages | None = config.pluginmanager.getplugin(NAME)
    if show is None:
        show = ShowMessages()
        config.pluginmanager.register(show, NAME)
        run_of(config).begin_log("rabbitmq", show.own_lines)
    return show


class ShowMessages:
    """A plugin of runs in which a test has a virtual host: a failure shows what lies there."""

    def __init__(self) -> None:
        self._vhost = ""

    def begin(self, item: pytest.Item, vhost: str, place: Callable[[], Place | None]) -> None:
        """Note which virtual host a test has, and what gives it, None where there is nothing to show."""
        item.stash[PLACE], item.stash[SHOWN] = place, False
        self._vhost = vhost

    def own_lines(self, text: str) -> str:
        """Return a broker's log without the lines of other tests."""
        from .rabbitmq.logs import of_vhost

        return of_vhost(text, self._vhost)

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_makereport(self, item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        """Show with a failure what the test has published, and what lies where; once, where its teardown fails as well."""
        result = yield
        give = item.stash.get(PLACE, None)
        if give is None:
            return result
        is_last = result.when == "teardown"
        if result.failed and not is_last and not item.stash[SHOWN] and (place := give()) is not None:
            from .rabbitmq.messages import report

            item.stash[SHOWN] = True
            result.sections.append(("Captured messages", report(place)))
        if is_last:
            del item.stash[PLACE]
        return result


def started(config: pytest.Config) -> SharedVhost:
    """Return the shared virtual host of this process, before the first test.

    Not by our own fixtures: what is set up may be one that PostgreSQL's are made of, and those come before any other.
    """
    __tracebackhide__ = True
    testbed = run_of(config).testbed
    testbed.endpoint("rabbitmq")
    vhost = SharedVhost(testbed, vhost_address(config, run_of(config)))
    vhost.begin_run()
    return vhost


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

    def pytest_report_header(self, config: pytest.Config) -> list[str]:
        """Say what follows from an exported address."""
        if not self._is_exported:
            return []
        names = [name for name, text in config.stash[EXPORTS].templates if "{rabbitmq." in text]
        return [f"testbed: {', '.join(names)} from RabbitMQ; tests share a virtual host, emptied after each"]

    def is_shared(self, item: pytest.Item) -> bool:
        """Tell whether a test has the shared virtual host: by its mark, or as applications have its address."""
        marks = item.iter_markers("rabbitmq")
        said = next((mark.kwargs["vhost"] for mark in marks if "vhost" in mark.kwargs), None)
        return said == "worker" or (said is None and self._is_exported)

    def place(self, request: pytest.FixtureRequest) -> Place:
        """Return it for a test's fixtures."""
        if self._vhost is None:  # a test of a unit, for one
            self._start()
        if not self._is_begun:
            self._begin(request.node)
        assert self._vhost is not None
        return self._vhost.place()

    # --- from fixture to fixture

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_setup(self, item: pytest.Item) -> None:
        """Remember whose fixtures are set up; begin anew with each run of a test.

        What is there before the first test is looked at before hooks of the project prepare that test. Where it may
        be skipped, its first fixture is waited for.
        """
        __tracebackhide__ = True
        self._item, self._is_begun = item, False
        if self._vhost is None and not any(item.get_closest_marker(name) for name in MAY_NOT_RUN):
            self._prepare(item)

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_fixture_setup(
        self, fixturedef: pytest.FixtureDef[Any], request: pytest.FixtureRequest
    ) -> Generator[None, object, object]:
        """Begin a test before its own first fixture; take what fixtures of wider scopes declare for what tests begin with."""
        __tracebackhide__ = True
        if (self._is_begun and fixturedef.scope == "function") or self._item is None:
            return (yield)
        with begun_or_not_at_all(fixturedef, request):
            self._prepare(self._item)
            if fixturedef.scope == "function":
                self._begin(self._item)
        if fixturedef.scope == "function" or self._vhost is None:
            return (yield)
        return (yield from self._wider(self._vhost, fixturedef, request))

    def _wider(
        self, vhost: SharedVhost, fixturedef: pytest.FixtureDef[Any], request: pytest.FixtureRequest
    ) -> Generator[None, object, object]:
        """Let what a fixture of a wider scope declares outlive the test; where that cannot be known, it is not set up at all."""
        with begun_or_not_at_all(fixturedef, request), plain_errors(self._config):
            since = vhost.moment()
        try:
            result = yield
        except BaseException as error:  # what it has declared before it failed is its own, too
            try:
                vhost.outlives(id(fixturedef), since)
            except TestbedError as fault:
                error.add_note(f"{type(fault).__name__}: {fault}")
            raise
        with begun_or_not_at_all(fixturedef, request), plain_errors(self._config):
            vhost.outlives(id(fixturedef), since)
        return result

    @pytest.hookimpl(tryfirst=True)
    def pytest_fixture_post_finalizer(self, fixturedef: pytest.FixtureDef[Any]) -> None:
        """Note that what a fixture of a wider scope has declared is to be undone; here an error would be lost."""
        if fixturedef.scope != "function" and self._vhost is not None:
            self._vhost.after(id(fixturedef))

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_teardown(self, nextitem: pytest.Item | None) -> Generator[None, object, object]:
        """Undo what fixtures have declared that have ended with this test; where it failed, the next one's setup does."""
        result = yield
        if nextitem is not None and self._vhost is not None and self._vhost.is_left:
            with plain_errors(self._config):
                self._vhost.bring_back()
        return result

    def _prepare(self, item: pytest.Item) -> None:
        """See what is there before the first test that is looked after."""
        __tracebackhide__ = True
        # who is of a unit starts nothing; what it does where all is there is undone all the same
        if self._vhost is None and self._looks_after(item) and not is_quiet(item):
            self._start()

    def _looks_after(self, item: pytest.Item) -> bool:
        return self._is_exported or self.is_shared(item)

    def _start(self) -> None:
        __tracebackhide__ = True
        if runs_tests(self._config):  # with --setup-plan fixtures give nothing
            with plain_errors(self._config):
                self._vhost = started(self._config)

    def _begin(self, item: pytest.Item) -> None:
        """Begin a test, where it is looked after."""
        if self._vhost is None or not self._looks_after(item):
            return
        with plain_errors(self._config):
            self._vhost.begin()
        self._is_begun = True
        item.addfinalizer(self._end)  # the first of all, so it comes after those of all fixtures
        if self._is_exported:
            shown(item.config).begin(item, self._vhost.vhost, self._look)

    def _look(self) -> Place | None:
        assert self._vhost is not None
        return self._vhost.look() if self._vhost.was_used else None

    def _end(self) -> None:
        assert self._vhost is not None
        with plain_errors(self._config):
            self._vhost.end()

    @pytest.fixture(autouse=True)
    def _rabbitmq_everywhere(self) -> None:
        """Be there, for tests without any other fixture: the first one of a test begins it."""
