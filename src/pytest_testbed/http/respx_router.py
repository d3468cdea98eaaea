"""respx's side of a mock: requests of httpcore as those of requests, and answers the other way round."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import httpx
import requests
import respx
from requests import exceptions
from requests.hooks import default_hooks
from requests.structures import CaseInsensitiveDict
from respx.mocks import HTTPCoreMocker, Mocker

if TYPE_CHECKING:
    from .mock import HttpMock

__all__ = ["router"]

ERRORS: tuple[tuple[type[BaseException], str], ...] = (
    (exceptions.ConnectTimeout, "ConnectTimeout"),
    (exceptions.Timeout, "ReadTimeout"),
    (exceptions.ProxyError, "ProxyError"),
    (exceptions.ChunkedEncodingError, "RemoteProtocolError"),
    (TimeoutError, "ReadTimeout"),
    (OSError, "ConnectError"),
)
"""Errors of requests, and of sockets, with what httpcore has in their place; the first that fits. All of requests' own are
OSErrors."""
TARGETS = (
    "_sync.connection.HTTPConnection",
    "_sync.connection_pool.ConnectionPool",
    "_sync.http_proxy.HTTPProxy",
    "_async.connection.AsyncHTTPConnection",
    "_async.connection_pool.AsyncConnectionPool",
    "_async.http_proxy.AsyncHTTPProxy",
)


SECOND = "testbed-httpcore2"


def mocker_of(core: str) -> type[Mocker]:
    """Return respx's stand-in for the connections of "httpcore", or the one that we add for those of "httpcore2"."""
    if core == "httpcore":
        return HTTPCoreMocker
    # it stays where this module is loaded once more, as in tests of pytest plugins
    return Mocker.registry.get(SECOND) or type(
        "HttpCore2Mocker",
        (HTTPCoreMocker,),
        {
            "name": SECOND,
            "targets": [f"httpcore2.{target}" for target in TARGETS],
            "from_sync_httpx_response": classmethod(as_httpcore2),
        },
    )


def as_httpcore2(mocker: type[Mocker], answer: httpx.Response, target: Any, **kwargs: Any) -> Any:
    """Return an answer as one of httpcore2."""
    return sys.modules["httpcore2"].Response(
        status=answer.status_code, headers=answer.headers.raw, content=answer.stream, extensions=answer.extensions
    )


def router(core: str, mock: HttpMock) -> respx.MockRouter:
    """Return a router of respx with one route, on which a mock answers.

    Args:
        core: "httpcore" or "httpcore2".
        mock: answers, or lets through.
    """
    errors = sys.modules[core]
    mocker = mocker_of(core)
    made = respx.MockRouter(assert_all_called=False, using=mocker.name)

    def answer(request: httpx.Request) -> httpx.Response | httpx.Request | None:
        asked = as_requests(request)
        if mock.goes_through(asked):
            return None if has_others() else request
        if has_others() and not mock.matches(asked):
            return None  # whoever else uses respx in this test may know it, and says so if not
        try:
            return as_httpx(mock.answer(asked))
        except OSError as error:
            raise in_core(error, errors) from error

    def has_others() -> bool:
        return any(each is not made for each in mocker.routers)

    made.route().mock(side_effect=answer)
    return made


def as_requests(request: httpx.Request) -> requests.PreparedRequest:
    """Return a request of httpx, whose body has been read, as one of requests."""
    made = requests.PreparedRequest()
    made.prepare_method(request.method)
    made.prepare_url(str(request.url), None)
    made.headers = CaseInsensitiveDict()
    for raw_name, raw_value in request.headers.raw:  # as they were written: matchers of responses look at that
        name, value = raw_name.decode("latin-1"), raw_value.decode("latin-1")
        made.headers[name] = f"{made.headers[name]}, {value}" if name in made.headers else value
    is_form = made.headers.get("Content-Type", "").startswith("application/x-www-form-urlencoded")
    # requests has a form as text, and matchers rely on it
    made.body = (request.content.decode("latin-1") if is_form else request.content) or None
    made.hooks = default_hooks()
    return made


def as_httpx(response: requests.Response) -> httpx.Response:
    """Return an answer of requests as one of httpx."""
    body = response.content
    headers = list(response.raw.headers.items())
    if "Content-Encoding" in response.headers:  # the body is in clear by now
        headers = [(name, value) for name, value in headers if name.lower() not in ("content-encoding", "content-length")]
    return httpx.Response(response.status_code, headers=headers, stream=httpx.ByteStream(body))


def in_core(error: OSError, core: Any) -> Exception:
    """Return an error of requests or of a socket as httpcore would raise it."""
    name = next(name for kind, name in ERRORS if isinstance(error, kind))
    made: Exception = getattr(core, name)(str(error))
    return made
