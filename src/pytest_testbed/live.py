"""The application under test and its client: started as the options say, looked after from test to test."""

from __future__ import annotations

import warnings
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest

from .captured_http import journal_of
from .errors import AppError, ConfigurationError, TestbedError, TestbedWarning
from .exports import EXPORTS
from .given import is_near
from .http.appserver import BACKLOG, bound
from .http.client import ApiClient
from .http.live import LiveApp
from .http.login import Login, Tokens
from .http.process import ProcessServer
from .http.starting import Wanted, outside, start
from .isolation import is_quiet
from .near_hosts import block_told
from .plugin import plain_errors, run_of
from .plugins.http import HttpSettings, find_given
from .services.logs import cut
from .settings import SETTINGS
from .watch import in_short, own_error

if TYPE_CHECKING:
    import socket

__all__ = ["AppAddress", "client_of", "exported", "running"]

HELD: pytest.StashKey[Held] = pytest.StashKey()
ADDRESS: pytest.StashKey[AppAddress] = pytest.StashKey()
"""On the configuration: where the application will be, once that has been given away."""
TOKENS: pytest.StashKey[Tokens] = pytest.StashKey()
WATCH = "pytest_testbed.app_watch"
FIXTURE = "_testbed_app"
SHOWN = 50
"""Lines of a log that a failure shows."""


class Held:
    """The application as it runs, and how many have it; or why it could not be started."""

    def __init__(self) -> None:
        self.app: LiveApp | None = None
        self.users = 0
        self.error: TestbedError | None = None


# --- the application


@contextmanager
def running(config: pytest.Config) -> Iterator[LiveApp]:
    """Give the application, started by the first who wants it and ended by the last.

    Raises:
        AppError: it cannot be started or reached.
        ConfigurationError: it is not said what it is.
    """
    held = config.stash.setdefault(HELD, Held())
    if held.error is not None:  # it would be the same once more, after as many seconds
        raise type(held.error)(str(held.error))
    if held.app is None:
        try:
            held.app = started(config)
        except TestbedError as error:
            held.error = error
            config.pluginmanager.register(ToldOnce(error))
            raise
    held.users += 1
    try:
        yield held.app
    finally:
        held.users -= 1
        if not held.users:
            app, held.app = held.app, None
            if fault := app.stop():
                warnings.warn(TestbedWarning(fault), stacklevel=2)


def started(config: pytest.Config) -> LiveApp:
    """Start the application, or see that it is where it is said to be."""
    settings = config.stash[SETTINGS]
    mine = settings[HttpSettings]
    given = find_given(config)
    if given is not None and given.url:
        return outside(given.url, given.source, mine.app_ready or "", mine.app_timeout)
    if not mine.app:
        raise ConfigurationError(
            "nobody says which application is under test. Say it in testbed_app, such as shop.web:app, and it will be started; "
            "or say in testbed_app_url where it runs already. The variable BASE_URL does the same as testbed_app_url"
            + (f": {given.passed_over}." if given is not None and given.passed_over else ", where it names a host that is near.")
        )
    if given is not None and given.passed_over:  # who said it must not take these tests for tests of that server
        run_of(config).tell(f"{given.passed_over}; testbed_app was started")
    address = config.stash.get(ADDRESS, None)
    wanted = Wanted(
        mine.app,
        f"testbed_app (from {settings.source(HttpSettings, 'app')})",
        mine.app_server,
        "" if mine.app_interface == "auto" else mine.app_interface,
        mine.app_ready or "",
        mine.app_timeout,
        **({"listener": address.take} if address is not None else {}),
        block=block_told(config),
    )
    app = start(wanted)
    if not config.pluginmanager.has_plugin(WATCH):
        config.pluginmanager.register(AppWatch(app), WATCH)
    return app


class ToldOnce:
    """A plugin of runs whose application could not be started: the first test tells all of it, the others that it did."""

    def __init__(self, error: TestbedError) -> None:
        self._text = str(error)
        self._first = ""

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_makereport(
        self, item: pytest.Item, call: pytest.CallInfo[None]
    ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        """Shorten what an earlier test has told in full."""
        report = yield
        if call.excinfo is None or call.when != "setup" or "\n" not in self._text:
            return report
        error = call.excinfo.value
        if str(own_error(error)) == self._text and not item.config.getoption("fulltrace", False):
            self._first = self._first or item.nodeid
            if self._first != item.nodeid:
                report.longrepr = in_short(item, error, self._first)
        return report


class AppWatch:
    """A plugin of runs that have started an application: a test does not meet one that has ended without being told."""

    def __init__(self, app: LiveApp) -> None:
        self._app = app
        self._since = 0

    @property
    def _process(self) -> ProcessServer | None:
        server = self._app.server
        return server if isinstance(server, ProcessServer) else None

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_setup(self, item: pytest.Item) -> None:
        """Note what the log has so far; fail a test whose application is gone."""
        __tracebackhide__ = True
        if self._process is not None:
            self._since = self._process.log_size()
        names = getattr(item, "fixturenames", ())
        if "live_app" in names or FIXTURE in names:
            with plain_errors(item.config):
                self._app.check()

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_makereport(self) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        """Show with a failure what the application wrote since the test began, or since it failed before."""
        report = yield
        if report.failed and self._process is not None:
            text = self._process.log(self._since).strip("\n")
            self._since = self._process.log_size()
            if text:
                report.sections.append(("Captured app log", cut(text, SHOWN)))
        return report


# --- its client


@contextmanager
def client_of(item: pytest.Item, live_app: Any) -> Iterator[ApiClient]:
    """Give a test its client.

    Args:
        item: the test.
        live_app: ours; or somebody else's: a URL, or what has one as `url`.

    Raises:
        AppError: the application has ended.
        ConfigurationError: `live_app` is something else.
    """
    config = item.config
    mine = config.stash[SETTINGS][HttpSettings]
    app = app_of(live_app)
    app.check()
    login = Login(
        path=mine.api_login,
        form=mine.api_login_as == "form",
        token=mine.api_token,
        scheme=mine.api_token_type,
        credentials=dict(each.split("=", 1) for each in mine.api_credentials),
    )
    client = ApiClient(
        app,
        prefix=mine.api_prefix,
        library="httpx" if mine.api_library == "httpx" else "requests",
        timeout=mine.api_timeout,
        login=login,
        tokens=config.stash.setdefault(TOKENS, Tokens()),
        note=journal_of(item).add,
        is_near=is_near(app.host),
    )
    with client:
        yield client


def app_of(live_app: Any) -> LiveApp:
    """Return what `live_app` gives, whoever has written it."""
    if isinstance(live_app, LiveApp):
        return live_app
    url = live_app if isinstance(live_app, str) else getattr(live_app, "url", None)
    if callable(url):
        url = url()
    if not isinstance(url, str) or "://" not in url:
        raise ConfigurationError(
            f"the fixture live_app gives {live_app!r}, which is neither a URL such as http://127.0.0.1:8000 nor has one as "
            "`url`; api_client and auth_headers need that."
        )
    return LiveApp(url.rstrip("/"))


# --- its address in the environment


class AppAddress:
    """Where the application will be: a port that is held from now on, or the address that somebody named.

    Args:
        url: that one; "" for none.
    """

    kind = ""

    def __init__(self, url: str = "") -> None:
        # it does not listen: who asks before the application is there must be refused, and not wait for an answer for ever
        self._listener: socket.socket | None = None if url else bound(is_listening=False)
        if self._listener is not None:
            url = "http://{}:{}".format(*self._listener.getsockname())
        self._app = LiveApp(url.rstrip("/"))

    def take(self) -> socket.socket:
        """Return the socket, which listens from now on; it is the taker's.

        Raises:
            AppError: somebody has had it already, and the application has ended since.
        """
        if self._listener is None:
            raise AppError(f"the application at {self._app.url} has ended, and its address cannot be given to another one.")
        listener, self._listener = self._listener, None
        listener.listen(BACKLOG)
        return listener

    def form(self, name: str) -> str:
        """Return one of the forms that the part exports.

        Raises:
            KeyError: there is no such form.
        """
        return {"url": self._app.url, "host": self._app.host, "port": str(self._app.port)}[name]

    def settle(self) -> None:
        """Give the port back where no application has taken it."""
        if self._listener is not None:
            self._listener.close()


def exported(config: pytest.Config) -> AppAddress:
    """Hold the application's address from now on; it is started before the first test that is not one of a unit."""
    settings = config.stash[SETTINGS]
    mine = settings[HttpSettings]
    given = find_given(config)
    if given is None or not given.url:
        if not mine.app:
            raise ConfigurationError(
                "testbed_env names {app.…}, the address of the application under test, and nobody says which that is: name it in "
                "testbed_app, such as shop.web:app, or say where it runs already, in testbed_app_url."
            )
        if mine.app_server == "none":
            source = settings.source(HttpSettings, "app_server")
            raise ConfigurationError(
                "testbed_env names {app.…}, the address of the application under test, and with testbed_app_server = none "
                f"(from {source}) it has none; say thread, or process."
            )
    config.stash[ADDRESS] = address = AppAddress(given.url or "" if given is not None else "")
    config.pluginmanager.register(ExportedApp(), "pytest_testbed.exported_app")
    return address


class ExportedApp:
    """A plugin of runs whose environment has the application's address."""

    def pytest_report_header(self, config: pytest.Config) -> list[str]:
        """Say what is exported."""
        names = [name for name, text in config.stash[EXPORTS].templates if "{app." in text]
        return [f"testbed: {', '.join(names)} from the application"]

    @pytest.hookimpl(wrapper=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> Iterator[None]:
        """Give all tests but those of units the fixture, before any other: those may ask the application something."""
        result = yield
        for item in items:
            if hasattr(item, "fixturenames") and not is_quiet(item):
                item.fixturenames = with_fixture(item.fixturenames)
        return result


def with_fixture(names: Sequence[str]) -> list[str]:
    """Return names of fixtures with ours at their beginning."""
    return [FIXTURE, *(name for name in names if name != FIXTURE)]
