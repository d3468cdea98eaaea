"""The application under test, started as the configuration says, or reached where it is."""

from __future__ import annotations

import http.client
import socket
import threading
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from ..errors import AppError
from .appserver import bound
from .exchange import masked_url
from .live import LiveApp
from .loading import interface_of, load
from .process import ProcessServer
from .stacks import alarm
from .threads import ThreadServer

__all__ = ["Wanted", "outside", "start"]

PLACE = "http://testserver"
PAUSE = 0.05
"""Seconds between two looks at the path that tells readiness."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is to be started.

    Args:
        path: module:name or module:name().
        said: where that stands, such as "testbed_app (from pytest.ini)".
        server: "thread", "process" or "none".
        interface: "wsgi" or "asgi"; "" for what the signature says.
        ready: a path to ask until the answer is less than 500; "" for none.
        timeout: seconds that the start may take, and the stop.
        listener: makes the socket that it answers on, or has it already.
        block: the hosts that a process of its own may reach, as `Guard.from_told` has them; None for all.
    """

    path: str
    said: str
    server: str = "thread"
    interface: str = ""
    ready: str = ""
    timeout: float = 30.0
    listener: Callable[[], socket.socket] = field(default=bound)
    block: Mapping[str, Any] | None = None


def start(wanted: Wanted) -> LiveApp:
    """Start an application; returns when it answers.

    Raises:
        AppError: it did not start.
        ConfigurationError: there is no such application, or what it is cannot be told.
    """
    if wanted.server == "process":
        return _in_process(wanted)
    with alarm(wanted.timeout, f"the import of {wanted.path}"):
        app = load(wanted.path, wanted.said)
    interface = wanted.interface or interface_of(app, wanted.path)
    if wanted.server == "none":
        return _called(app, interface, wanted)
    listener = wanted.listener()
    url = _url(listener)
    try:
        server = ThreadServer(app, interface, listener, wanted.timeout)
        server.start()
    except BaseException:
        listener.close()
        raise
    return _ready(LiveApp(url, app, interface, server), wanted)


def _in_process(wanted: Wanted) -> LiveApp:
    listener = wanted.listener()
    url = _url(listener)
    server = ProcessServer(wanted.path, wanted.said, wanted.interface, listener, wanted.timeout, wanted.block)
    try:
        server.start()
    finally:
        listener.close()
    return _ready(LiveApp(url, None, server.interface, server), wanted)


def _called(app: Any, interface: str, wanted: Wanted) -> LiveApp:
    if interface == "wsgi":
        return LiveApp(PLACE, app, interface)
    from .called import asgi_portal

    stack = ExitStack()
    with alarm(wanted.timeout, f"the start of {wanted.path}"):
        portal = stack.enter_context(asgi_portal(app))

    def close() -> None:
        with alarm(wanted.timeout, f"the end of {wanted.path}"):
            stack.close()

    return LiveApp(PLACE, app, interface, portal=portal, close=close)


def _url(listener: socket.socket) -> str:
    host, port = listener.getsockname()
    return f"http://{host}:{port}"


def _ready(app: LiveApp, wanted: Wanted) -> LiveApp:
    if wanted.ready:
        try:
            _await(app.url, wanted.ready, wanted.timeout, app.check)
        except BaseException:
            app.stop()
            raise
    return app


def outside(url: str, said: str, ready: str, timeout: float) -> LiveApp:
    """Return an application that runs already.

    Args:
        url: where; a path in it belongs to it.
        said: who says so, such as "environment BASE_URL".
        ready: a path to ask until the answer is less than 500; "" to see only whether somebody is there.
        timeout: seconds for that.

    Raises:
        AppError: it cannot be reached.
    """
    app = LiveApp(url.rstrip("/"))
    scheme = urlsplit(url).scheme
    if scheme in getproxies() and not proxy_bypass(app.host):
        return app  # whether it can be reached directly says nothing
    try:
        if ready:
            _await(app.url, ready, timeout, lambda: None)
        else:
            socket.create_connection((app.host, app.port), timeout).close()
    except OSError as error:
        raise AppError(
            f"nobody answers at {masked_url(url)} ({said}): {error}. Start the application there, or name another address; "
            "testbed_app has it started by the tests, where the address is left out."
        ) from error
    return app


def _await(url: str, path: str, seconds: float, check: Callable[[], None]) -> None:
    """Ask a path until the answer is less than 500.

    Raises:
        AppError: none was.
    """
    over = threading.Event()  # a clock that no test has stopped
    timer = threading.Timer(seconds, over.set)
    timer.daemon = True
    timer.start()
    try:
        while (last := _asked(url, path, seconds)) != "":
            check()
            if over.wait(PAUSE):
                raise AppError(
                    f"GET {path} (testbed_app_ready) at {masked_url(url)} was not answered with less than 500 within "
                    f"{seconds:g} s (testbed_app_timeout). The last time: {last}."
                )
    finally:
        timer.cancel()


def _asked(url: str, path: str, seconds: float) -> str:
    """Return what came of a GET, "" where that is a readiness."""
    parts = urlsplit(url)
    kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    connection = kind(parts.hostname or "", parts.port, timeout=seconds)
    try:
        connection.request("GET", f"{parts.path.rstrip('/')}/{path.lstrip('/')}")
        status = connection.getresponse().status
        return "" if status < 500 else f"the status was {status}"
    except (OSError, http.client.HTTPException) as error:
        return f"{type(error).__name__}: {error}"
    finally:
        connection.close()
