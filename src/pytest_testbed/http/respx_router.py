"""respx's side of a mock: requests of httpcore as those of requests, and answers the other way round."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from functools import lru_cache
from itertools import product
from pkgutil import resolve_name
from typing import TYPE_CHECKING, Any
from unittest import mock as patching

import httpx
import requests
import respx
from requests import exceptions
from requests.hooks import default_hooks
from requests.structures import CaseInsensitiveDict
from respx.mocks import HTTPCoreMocker, Mocker

if TYPE_CHECKING:
    from .httpx_side import Door
    from .mock import HttpMock

__all__ = ["Bridge", "bridge_of"]

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


def mocker_of(core: str) -> Any:
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


def as_httpcore2(mocker: type[Mocker], answer: httpx.Response, target: Any, /, **kwargs: Any) -> Any:
    """Return an answer as one of httpcore2."""
    return sys.modules["httpcore2"].Response(
        status=answer.status_code, headers=answer.headers.raw, content=answer.stream, extensions=answer.extensions
    )


class Bridge:
    """A router of respx with one route, on which mocks answer; one for each of `httpcore` and `httpcore2`.

    Args:
        core: one of the two.
    """

    def __init__(self, core: str) -> None:
        self.mocker = mocker_of(core)
        self._errors = sys.modules[core]
        self._mocks: list[HttpMock] = []
        self._router = respx.Router(assert_all_called=False)
        self._router.route().mock(side_effect=self._answer)

    def cover(self, doors: Sequence[Door]) -> None:
        """Have respx stand in, where it does not yet, and put it over doors, each in one step.

        Its own `start` would find the doors, and take them for what it stands in for. Without them a request of another thread
        would find nobody for a moment, and go out.
        """
        if self.mocker._patches:
            return
        behind = {door.stand_in: door for door in doors}
        for target, method in product(self.mocker.targets, self.mocker.target_methods):
            try:
                owner = resolve_name(target)
                found = getattr(owner, method)
            except AttributeError:  # not every version has every class, and not every class both methods
                continue
            door = behind.get(found)
            stand_in = self.mocker.mock(found if door is None else door.before)
            if door is not None:
                door.covered = stand_in
            patch = patching.patch.object(owner, method, stand_in)
            patch.start()
            self.mocker._patches.append(patch)

    def join(self, mock: HttpMock) -> None:
        """Be asked wherever respx stands in; `cover` has it stand in."""
        if not self._mocks:
            self.mocker.register(self._router)
        self._mocks.append(mock)

    def leave(self, mock: HttpMock) -> None:
        """Be asked no more; respx goes where nobody else wants it."""
        if mock in self._mocks:
            self._mocks.remove(mock)
        if not self._mocks:
            self.mocker.unregister(self._router)
            self.mocker.stop()
            if self._router.calls:
                self._router.reset()

    def _answer(self, request: httpx.Request) -> httpx.Response | httpx.Request | None:
        mock = self._mocks[-1] if self._mocks else None
        if mock is None:  # the test has ended meanwhile
            return request
        asked = as_requests(request)
        has_others = any(each is not self._router for each in self.mocker.routers)
        if has_others and not mock.matches(asked):
            return None  # whoever else uses respx in this test may know it, and says so if not
        if mock.goes_through(asked):
            return request
        try:
            return as_httpx(mock.answer(asked))
        except OSError as error:
            raise in_core(error, self._errors) from error


@lru_cache(maxsize=2)
def bridge_of(core: str) -> Bridge:
    """Return the bridge of "httpcore" or "httpcore2"."""
    return Bridge(core)


def as_requests(request: httpx.Request) -> requests.PreparedRequest:
    """Return a request of httpx, whose body has been read, as one of requests."""
    made = requests.PreparedRequest()
    made.prepare_method(request.method)
    made.prepare_url(str(request.url), None)
    headers: CaseInsensitiveDict[str] = CaseInsensitiveDict()
    for raw_name, raw_value in request.headers.raw:  # as they were written: matchers of responses look at that
        name, value = raw_name.decode("latin-1"), raw_value.decode("latin-1")
        headers[name] = f"{headers[name]}, {value}" if name in headers else value
    made.headers = headers  # type: ignore[assignment]
    is_form = headers.get("Content-Type", "").startswith("application/x-www-form-urlencoded")
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
