"""HTTP calls that this process sends: by http.client (requests, urllib3, urllib), httpx, httpx2 and aiohttp.

A call counts when it is sent, whatever becomes of it. Where a mock answers in a library's place, the library's own entrance
is what sees it: `Session.send` of requests counts where nothing was sent below it.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from contextvars import ContextVar
from functools import wraps
from typing import Any
from urllib.parse import urlsplit

from ..callers import OURS, place_of, shown
from .taps import Ear, Taps, swap
from .usage import CLOCK

__all__ = ["Call", "recorded"]

IN_PROCESS = frozenset(["ASGITransport", "WSGITransport", "_TestClientTransport"])
"""Transports of httpx that call an application in this process: no HTTP."""
NAMED = re.compile(r"(?<=/)(?:\d+|(?=[\w-]*\d)[0-9a-fA-F-]{8,})(?=/|$)")
"""A part of a path that says which one: a number, a UUID."""


class Call:
    """One HTTP call.

    Args:
        method: of the request.
        url: whole.
        place: the line of the application that sent it.
    """

    __slots__ = ("began", "method", "milliseconds", "place", "url")

    def __init__(self, method: str, url: str, place: Any) -> None:
        self.method, self.url, self.place = method, url, place
        self.milliseconds = 0.0
        self.began = CLOCK[0]()

    def end(self) -> None:
        """Note that its answer is there."""
        self.milliseconds = (CLOCK[0]() - self.began) * 1e3

    @property
    def shape(self) -> str:
        """Method and URL, without what differs from one call to the next: the query, numbers in the path; without a login."""
        try:
            parts = urlsplit(self.url)
            host = parts.netloc.rpartition("@")[2]
        except ValueError:
            return f"{self.method} {self.url.partition('?')[0]}"
        return f"{self.method} {parts.scheme}://{host}{NAMED.sub('*', parts.path)}"

    @property
    def where(self) -> str:
        """The line of the application that sent it; "" where there is none."""
        return shown(self.place, calls.root)


class Outer:
    """A call as the outer library knows it, while it is under way."""

    __slots__ = ("count", "is_counted", "place")

    def __init__(self, place: Any, is_counted: bool) -> None:
        self.place, self.is_counted, self.count = place, is_counted, 0


_outer: ContextVar[Outer | None] = ContextVar("outer", default=None)


def _noted(method: object, url: object, place: Any) -> Call:
    call = Call(_text(method), _text(url), place)
    calls.add(call)
    return call


def _text(value: object) -> str:
    return value.decode("latin-1") if isinstance(value, bytes) else str(value)


# --- http.client: what requests, urllib3 and urllib send with


def _listen_to_http_client(stack: ExitStack) -> None:
    connection = sys.modules["http.client"].HTTPConnection
    under_way: dict[int, Call] = {}

    def putrequest(plain: Callable[..., Any], ear: Ear) -> Callable[..., Any]:
        @wraps(plain)
        def put(self: Any, method: Any, url: Any, *args: Any, **more: Any) -> Any:
            if ear.is_open and (call := _sent(self, method, url, sys._getframe(1))) is not None:
                under_way[id(self)] = call
            return plain(self, method, url, *args, **more)

        return put

    def getresponse(plain: Callable[..., Any], ear: Ear) -> Callable[..., Any]:
        @wraps(plain)
        def get(self: Any, *args: Any, **more: Any) -> Any:
            call = under_way.pop(id(self), None) if ear.is_open else None
            try:
                return plain(self, *args, **more)
            finally:
                if call is not None:
                    call.end()

        return get

    swap(stack, connection, "putrequest", putrequest)
    swap(stack, connection, "getresponse", getresponse)


def _sent(connection: Any, method: Any, url: Any, frame: Any) -> Call | None:
    outer = _outer.get()
    if outer is not None and outer.is_counted:
        outer.count += 1
        place = outer.place
    else:  # no library is above it, or our own client, which may call the application in this process
        place = place_of(frame)
    return None if place is OURS else _noted(method, _whole(connection, _text(url)), place)


def _whole(connection: Any, url: str) -> str:
    if "://" in url.partition("?")[0]:  # to a proxy
        return url
    host, port = getattr(connection, "_tunnel_host", None) or connection.host, connection.port
    if getattr(connection, "_tunnel_host", None):
        port = connection._tunnel_port
    scheme = "https" if connection.default_port == 443 else "http"
    shown_host = f"[{host}]" if ":" in str(host) else host
    return f"{scheme}://{shown_host}{'' if port in (None, {'https': 443, 'http': 80}[scheme]) else f':{port}'}{url}"


# --- requests


def _listen_to_requests(stack: ExitStack) -> None:
    def sending(plain: Callable[..., Any], ear: Ear) -> Callable[..., Any]:
        @wraps(plain)
        def send(self: Any, request: Any, *args: Any, **more: Any) -> Any:
            if not ear.is_open:
                return plain(self, request, *args, **more)
            place, before = place_of(sys._getframe(1)), _outer.get()
            if place is OURS and before is not None:  # a redirect that is followed, by way of this method
                place = before.place
            outer = Outer(place, place is not OURS and not str(request.url).startswith("http+docker:"))
            token, began = _outer.set(outer), CLOCK[0]()
            try:
                return plain(self, request, *args, **more)
            finally:
                _outer.reset(token)
                if outer.is_counted and not outer.count:  # a mock has answered, or there was no connection
                    call = _noted(request.method, request.url, place)
                    call.began = began
                    call.end()

        return send

    swap(stack, sys.modules["requests"].Session, "send", sending)


# --- httpx, httpx2


def _listen_to_httpx(name: str, stack: ExitStack) -> None:
    def sync(plain: Callable[..., Any], ear: Ear) -> Callable[..., Any]:
        @wraps(plain)
        def send(self: Any, request: Any, *args: Any, **more: Any) -> Any:
            call = _of_client(self, request, sys._getframe(1)) if ear.is_open else None
            try:
                return plain(self, request, *args, **more)
            finally:
                if call is not None:
                    call.end()

        return send

    def later(plain: Callable[..., Any], ear: Ear) -> Callable[..., Any]:
        @wraps(plain)
        async def send(self: Any, request: Any, *args: Any, **more: Any) -> Any:
            call = _of_client(self, request, sys._getframe(1)) if ear.is_open else None
            try:
                return await plain(self, request, *args, **more)
            finally:
                if call is not None:
                    call.end()

        return send

    library = sys.modules[name]
    swap(stack, library.Client, "_send_single_request", sync)
    swap(stack, library.AsyncClient, "_send_single_request", later)


def _of_client(client: Any, request: Any, frame: Any) -> Call | None:
    find = getattr(client, "_transport_for_url", None)
    if find is not None and any(each.__name__ in IN_PROCESS for each in type(find(request.url)).__mro__):
        return None
    place = place_of(frame)
    return None if place is OURS else _noted(request.method, request.url, place)


# --- aiohttp


def _listen_to_aiohttp(stack: ExitStack) -> None:
    def requesting(plain: Callable[..., Any], ear: Ear) -> Callable[..., Any]:
        @wraps(plain)
        async def request(self: Any, method: str, url: Any, *args: Any, **more: Any) -> Any:
            place = place_of(sys._getframe(1)) if ear.is_open else OURS
            if place is OURS:
                return await plain(self, method, url, *args, **more)
            base = getattr(self, "_base_url", None)
            call = _noted(method.upper(), url if base is None else f"{str(base).rstrip('/')}/{str(url).lstrip('/')}", place)
            try:
                answer = await plain(self, method, url, *args, **more)
            finally:
                call.end()
            for hop in getattr(answer, "history", ())[1:]:  # redirects that were followed
                _noted(hop.method, hop.url, place)
            if getattr(answer, "history", ()):
                _noted(answer.method, answer.url, place)
            return answer

        return request

    swap(stack, sys.modules["aiohttp"].ClientSession, "_request", requesting)


def _httpx_of(name: str) -> Callable[[ExitStack], None]:
    return lambda stack: _listen_to_httpx(name, stack)


calls = Taps(
    {
        "http.client": _listen_to_http_client,
        "requests": _listen_to_requests,
        "httpx": _httpx_of("httpx"),
        "httpx2": _httpx_of("httpx2"),
        "aiohttp": _listen_to_aiohttp,
    }
)
"""The HTTP calls of this process, for whoever records them."""


def recorded(root: str = "") -> AbstractContextManager[list[Call]]:
    """Give a list of HTTP calls that grows as long as the block lasts.

    Args:
        root: the directory that is left out where a file of the application is named.
    """
    return calls.recorded(root)
