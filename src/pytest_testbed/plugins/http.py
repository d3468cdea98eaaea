"""HTTP for tests: mocks in this process, stub services on real ports, the application live, and a client for it."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Literal

import pytest

from ..plugin import plain_errors, usage_errors
from ..settings import SETTINGS, Section, named_values, option, positive, web_address

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..given import GivenUrl
    from ..http.client import ApiClient
    from ..http.live import LiveApp
    from ..http.mock import HttpMock
    from ..http.service import MockService
    from ..live import AppAddress
    from ..mocks import MockAddress
    from ..session import Run


def application(text: str) -> None:
    """Check that a text names an application: module:name, or module:name() for a factory."""
    module, colon, name = text.partition(":")
    dotted = [*module.split("."), *name.removesuffix("()").split(".")]
    if not colon or not all(part.isidentifier() for part in dotted):
        raise ValueError("is not of the form module:name, such as shop.web:app or shop.web:create_app()")


def hosts(texts: Sequence[str]) -> None:
    """Check hosts: names, addresses, networks."""
    from ..http.places import Place

    for text in " ".join(texts).split():  # one line may name several
        Place.from_text(text)


class HttpSettings(Section, prefix=""):
    """Options of HTTP."""

    http_strict: bool = option(False, help="Fail a test that has stubs in http_mock which no request has used.")
    http_block: bool = option(False, help="Let no test reach a host other than this machine.")
    http_allow: tuple[str, ...] = option(
        (),
        check=hosts,
        help="Hosts that tests may reach without a stub, also under testbed_http_block: names such as *.example.com, "
        "addresses such as 10.0.0.0/8.",
    )
    stubs: tuple[str, ...] = option(
        (), help="Directories with one folder for each mock service, and in it mapping files in WireMock's JSON format."
    )
    app: str | None = option(
        None, check=application, help="The application under test: module:name, or module:name() where a function makes it."
    )
    app_server: Literal["thread", "process", "none"] = option(
        "thread",
        help="Where the application runs: in a thread of pytest's process, in a process of its own, or with none, without a "
        "port, called directly by api_client.",
    )
    app_interface: Literal["auto", "wsgi", "asgi"] = option(
        "auto", help="What the application speaks; auto tells it by its signature."
    )
    app_url: str | None = option(
        None,
        secret=True,
        check=web_address,
        help="URL of an application that runs already; none is started then. The variable BASE_URL does the same under CI, "
        "or where it names a host nearby.",
    )
    app_ready: str | None = option(
        None,
        help="Path that must answer with a status below 500 before tests go on; without it: the application must accept "
        "connections.",
    )
    app_timeout: float = option(30.0, check=positive, help="Seconds that the start of the application may take, and its end.")
    api_prefix: str = option("", help="Text before each path that api_client is given, such as /api.")
    api_library: Literal["auto", "requests", "httpx"] = option(
        "auto",
        help="Library that api_client sends its requests with; auto takes requests, and Starlette's own client for an ASGI "
        "application without a server.",
    )
    api_timeout: float = option(10.0, check=positive, help="Seconds that api_client waits for an answer.")
    api_login: str = option("/auth/login", help="Path where api_client logs in, behind testbed_api_prefix.")
    api_login_as: Literal["json", "form"] = option("json", help="How the fields of the login are sent.")
    api_token: str = option(
        "token",
        help="Where the token is in the answer to a login: keys with dots between, such as data.token; empty where the login "
        "sets a cookie.",
    )
    api_token_type: str = option("Bearer", help="Word before the token in the Authorization header.")
    api_credentials: tuple[str, ...] = option(
        (), secret=True, check=named_values, help="Fields with which auth_headers logs in, as name=value."
    )


SECTION = HttpSettings
MARKS = (
    """\
http_mock(strict=False, passthrough=()): what http_mock makes of this test.
    strict=True: stubs that no request has used fail the test; False: they do not. The default is testbed_http_strict.
    passthrough='https://api.example.com/': requests whose URL begins so are sent where no stub matches; also a list of such
        beginnings, or of compiled patterns. What the marks of a test, its class and its module let through adds up.
""",
)
ARGUMENTS: dict[str, Any] = {"strict": bool, "passthrough": None}
EXPORTS = {"mock": ("*.url", "*.host", "*.port"), "app": ("url", "host", "port")}
"""What `testbed_env` can say of this part; the star is the name of a mock service."""
GIVEN: pytest.StashKey[GivenUrl | None] = pytest.StashKey()
"""On the configuration: the application that runs already, if one is named."""


@pytest.hookimpl(trylast=True)
def pytest_configure(config: pytest.Config) -> None:
    """Look up what must be known before a test can change it: who is given, files of stubs; guard the tests if asked to."""
    settings = config.stash.get(SETTINGS, None)
    if settings is None:  # somebody asks for help
        return
    if "BASE_URL" in os.environ:
        find_given(config)
    if settings[HttpSettings].stubs:
        from ..mocks import all_services

        with usage_errors():
            all_services(config)
    if settings[HttpSettings].http_block:
        from ..blocked import BlocksHosts

        config.pluginmanager.register(BlocksHosts(config), "pytest_testbed.blocked")


def find_given(config: pytest.Config) -> GivenUrl | None:
    """Find out, once, whether an application that runs already is named: by our option, else by BASE_URL where that is safe."""
    if GIVEN not in config.stash:
        url = config.stash[SETTINGS][HttpSettings].app_url
        config.stash[GIVEN] = None
        if url or "BASE_URL" in os.environ:
            from ..exports import environment_before
            from ..http.given import given_url

            source = config.stash[SETTINGS].source(HttpSettings, "app_url")
            config.stash[GIVEN] = given_url(url, source, environment_before(config))
    return config.stash[GIVEN]


def export_address(config: pytest.Config, run: Run, prefix: str) -> MockAddress | AppAddress:
    """Give the mock services that the configuration names, or the application, their ports for the whole run."""
    if prefix == "app":
        from ..live import exported as app_exported

        return app_exported(config)
    from ..mocks import exported

    return exported(config)


@pytest.hookimpl(wrapper=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> Iterator[None]:
    """Refuse an `http_mock` mark with an argument that it does not have."""
    result = yield
    if any(item.get_closest_marker("http_mock") for item in items):
        from ..marks import refuse_bad_marks

        refuse_bad_marks(config, items, "http_mock", ARGUMENTS)
    return result


# --- fixtures for users


@pytest.fixture
def http_mock(request: pytest.FixtureRequest) -> Iterator[HttpMock]:
    """Stubs for the HTTP requests of code in this process; a request that matches none fails the test.

    It is a `responses.RequestsMock`: its stubs answer code that uses requests, and, where respx is installed, httpx or httpx2.
    What no stub matches fails the test at its end, also where the code has swallowed the error. Requests to this machine go
    through.

    See docs/how-to/http-mock.md.
    """
    from ..mocked import mocked

    with plain_errors(request.config), mocked(request.node) as mock:
        yield mock


@pytest.fixture
def mock_service(request: pytest.FixtureRequest) -> Iterator[Callable[[str], MockService]]:
    """Stub HTTP servers on real ports, by name: `mock_service("stock").stub("GET", "/items", json=[])`.

    Each is empty when the test begins. What no stub answers fails the test at its end.

    See docs/how-to/mock-service.md.
    """
    from ..mocks import services_of

    with plain_errors(request.config), services_of(request.node) as service:
        yield service


@pytest.fixture
def api_client(_api_client: ApiClient) -> ApiClient:
    """An HTTP client of `live_app` for this test, with logins and answers that can be asserted.

    It has `get`, `post`, `put`, `patch`, `delete`, `head`, `options` and `request`; `login`, `login_anew`, `logout`, `as_user`
    and `auth_headers`; `base_url`, `url(path)`, and `native`, the library's session. Its answers have `assert_status`,
    `assert_json` and all that the library's own have.

    See docs/how-to/api-client.md.
    """
    return _api_client


@pytest.fixture
def auth_headers(_api_client: ApiClient, request: pytest.FixtureRequest) -> dict[str, str]:
    """The headers of a logged-in user for this test: `{"Authorization": "Bearer …"}`.

    The user is that of `testbed_api_credentials`, logged in anew for the test.

    See docs/how-to/api-client.md.
    """
    with plain_errors(request.config):
        return _api_client.auth_headers()


@pytest.fixture(scope="session")
def live_app(pytestconfig: pytest.Config) -> Iterator[LiveApp]:
    """The application under test, running for the whole run: `url`, `host`, `port`.

    It is the application of `testbed_app`, started when it is first asked for, or the one at `testbed_app_url` or `BASE_URL`.
    `app` is the application itself where it runs in pytest's process.

    See docs/how-to/live-app.md.
    """
    from ..live import running

    with plain_errors(pytestconfig), running(pytestconfig) as app:
        yield app


# --- what they stand on


@pytest.fixture(scope="session")
def _testbed_app(pytestconfig: pytest.Config) -> Iterator[None]:
    """The application whose address is in the environment: tests have this without asking for it."""
    from ..live import running

    with plain_errors(pytestconfig), running(pytestconfig):
        yield


@pytest.fixture
def _api_client(live_app: Any, request: pytest.FixtureRequest) -> Iterator[ApiClient]:
    """The client of a test, also where `api_client` is somebody else's."""
    from ..live import client_of

    with plain_errors(request.config), client_of(request.node, live_app) as client:
        yield client
