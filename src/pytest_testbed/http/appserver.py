"""Servers for one application on a socket that listens already: uvicorn, werkzeug, or the standard library's."""

from __future__ import annotations

import asyncio
import logging
import selectors
import socket
import socketserver
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from importlib.util import find_spec
from typing import Any, Protocol

from ..errors import AppError

__all__ = ["BACKLOG", "Serving", "bound", "serving"]

KEPT = 300
"""Seconds for which a connection may be idle: one that is closed while a request is on its way looks like a crash."""
BACKLOG = 128
"""Clients that may wait to be accepted."""


class Serving(Protocol):
    """A server; `run` is called in its thread or process, the others from anywhere."""

    def run(self, ready: Callable[[], None]) -> None:
        """Serve until told to stop; calls `ready` once requests are answered. The application's errors at its start come out."""

    def stop(self) -> None:
        """Let `run` return, once requests that have begun are answered."""

    def unfinished(self) -> str:
        """Return what it still does, for people."""


def bound(*, is_listening: bool = True) -> socket.socket:
    """Return a socket that listens on a port of loopback that nobody else has, or only holds it: then clients are refused."""
    # asyncio sends small answers at once (TCP_NODELAY) only where the protocol is named: else each waits some 40 ms
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listener.bind(("127.0.0.1", 0))
        if is_listening:
            listener.listen(BACKLOG)
    except OSError:
        listener.close()
        raise
    return listener


def serving(app: Any, interface: str, listener: socket.socket) -> Serving:
    """Return the server for an application.

    Raises:
        AppError: there is none for ASGI.
    """
    if interface == "wsgi":
        return _Wsgi(app, listener)
    if find_spec("uvicorn") is None:
        raise AppError(
            "an ASGI application runs on uvicorn, which is not installed: pip install 'pytest-testbed[asgi]'. With "
            "testbed_app_server = none it needs no server, if Starlette is installed."
        )
    return _Asgi(app, listener)


# --- ASGI


class _Asgi:
    """uvicorn."""

    def __init__(self, app: Any, listener: socket.socket) -> None:
        import uvicorn

        self._app = app
        self._listener = listener
        self._failed: str | BaseException | None = None
        # its log goes where the application's goes; lifespan "auto": an application need not have it
        said = uvicorn.Config(self._watched, interface="asgi3", log_config=None, timeout_keep_alive=KEPT)
        if hasattr(said, "get_loop_factory"):  # pragma: no branch - before 0.36, which an application may bring, there is none
            make = said.get_loop_factory() or asyncio.new_event_loop
            said.get_loop_factory = lambda: lambda: _unfrozen(make())
        self._server = uvicorn.Server(said)

    def _watched(self, scope: Any, receive: Any, send: Any) -> Any:
        if scope["type"] == "lifespan":
            return self._lifespan(scope, receive, send)
        return self._app(scope, receive, send)

    async def _lifespan(self, scope: Any, receive: Any, send: Any) -> None:
        """Run the application's lifespan; note why it failed, which uvicorn takes for "has none"."""
        is_begun = False

        async def receiving() -> Any:
            nonlocal is_begun
            is_begun = True
            return await receive()

        async def sending(message: Any) -> None:
            if message["type"].endswith(".failed"):
                self._failed = message.get("message") or f"it says {message['type']}, without a message"
            await send(message)

        try:
            await self._app(scope, receiving, sending)
        except BaseException as error:
            if is_begun and not isinstance(error, asyncio.CancelledError):
                if self._failed is None and not self._server.started:
                    await send({"type": "lifespan.startup.failed", "message": ""})
                self._failed = error
            raise

    def run(self, ready: Callable[[], None]) -> None:
        """Serve until told to stop."""
        server, loop = self._server, self._server.main_loop

        async def main_loop() -> None:
            ready()  # not with its startup: who tells it to end before this point would have it leave out the lifespan's end
            await loop()

        server.main_loop = main_loop
        try:
            server.run(sockets=[self._listener])
        finally:
            self._listener.close()
            if isinstance(self._failed, BaseException):
                raise self._failed  # instead of the SystemExit that uvicorn makes of it
            if self._failed:
                raise AppError(self._failed)

    def stop(self) -> None:
        """Let it end."""
        self._server.should_exit = True

    def unfinished(self) -> str:
        """Return what it still does."""
        tasks = len(self._server.server_state.tasks)
        return f"{tasks} request(s) in the works" if tasks else "the end of its lifespan, or its event loop's"


def _unfrozen(loop: asyncio.AbstractEventLoop) -> asyncio.AbstractEventLoop:
    """Let a loop go on while a test has stopped the clock: freezegun would stop its timers, and never let it end."""
    if hasattr(time, "clock_gettime"):
        with suppress(AttributeError):  # uvloop has a clock of its own
            loop.time = lambda: time.clock_gettime(time.CLOCK_MONOTONIC)  # type: ignore[method-assign]
    return loop


# --- WSGI


class _Wsgi:
    """Werkzeug's server with threads, or that of the standard library."""

    def __init__(self, app: Any, listener: socket.socket) -> None:
        self._app = app
        self._running: dict[int, str] = {}
        self._idle = threading.Condition()
        self._wake, self._waker = socket.socketpair()
        self._server = (_werkzeug if find_spec("werkzeug") is not None else _wsgiref)(self._counted, listener)
        self._connections: set[socket.socket] = self._server.connections

    def _counted(self, environ: Any, start_response: Any) -> Any:
        """Call the application, noting which requests are in the works."""
        me = threading.get_ident()
        self._running[me] = f"{environ['REQUEST_METHOD']} {environ['PATH_INFO']}"
        try:
            return self._app(environ, start_response)
        except SystemExit as error:  # it would end the thread without a word and without an answer
            raise RuntimeError(f"the application called sys.exit({error.code!r}) instead of an answer") from error
        finally:
            with self._idle:
                self._running.pop(me, None)
                self._idle.notify_all()

    def run(self, ready: Callable[[], None]) -> None:
        """Serve until told to stop: woken by a socket, as `serve_forever` would look only twice a second."""
        with selectors.DefaultSelector() as selector, self._server, self._wake, self._waker:
            selector.register(self._server.socket, selectors.EVENT_READ)
            selector.register(self._wake, selectors.EVENT_READ)
            ready()
            while all(key.fileobj is not self._wake for key, _ in selector.select()):
                self._accept()
        with self._idle:
            self._idle.wait_for(lambda: not self._running)
        for connection in list(self._connections):  # those that clients keep for later; answers may still be on their way
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RD)

    def _accept(self) -> None:
        """Begin with a client. `handle_request` would do so, too, but look at a clock that a test may have stopped."""
        with suppress(OSError):  # who has gone already
            request, address = self._server.get_request()
            try:
                self._server.process_request(request, address)
            except Exception:  # no thread could be started
                self._server.shutdown_request(request)

    def stop(self) -> None:
        """Let it end."""
        with suppress(OSError):
            self._waker.send(b"x")

    def unfinished(self) -> str:
        """Return which requests are in the works."""
        return ", ".join(self._running.values()) or "nothing that is known of"


class _Threaded(socketserver.ThreadingMixIn):
    """A server with a thread for each connection; knows the connections."""

    daemon_threads = True
    connections: set[socket.socket]

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        self.connections.add(request)
        try:
            super().process_request_thread(request, client_address)
        finally:
            self.connections.discard(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Pass over clients that go; the application's own errors are in the log."""


def _werkzeug(app: Any, listener: socket.socket) -> Any:
    from werkzeug.serving import BaseWSGIServer, WSGIRequestHandler

    class Handler(WSGIRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
            self.log("info", '"%s" %s %s', self.requestline, code, size)  # the base colours it

        def log(self, type: str, message: str, *args: Any) -> None:
            _log(type, message, *args)

    class Server(_Threaded, BaseWSGIServer):
        multithread = True

        def log(self, type: str, message: str, *args: Any) -> None:
            _log(type, message, *args)

    host, port = listener.getsockname()
    server = Server(host, port, app, Handler, fd=listener.fileno())  # has a copy of the descriptor
    server.connections = set()
    listener.close()
    return server


def _log(type: str, message: str, *args: Any) -> None:
    """Log to werkzeug's logger, as it does; but it would give that a handler that writes to the terminal."""
    logging.getLogger("werkzeug").log(getattr(logging, type.upper(), logging.INFO), message, *args)


def _wsgiref(app: Any, listener: socket.socket) -> Any:
    from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

    class Handler(WSGIRequestHandler):
        def log_message(self, format: str, *args: Any) -> None:
            logging.getLogger("wsgiref").info(format, *args)

        def address_string(self) -> str:
            return str(self.client_address[0])

    class Server(_Threaded, WSGIServer):
        pass

    address = listener.getsockname()
    server = Server(address, Handler, bind_and_activate=False)
    server.socket.close()
    server.socket, server.server_address = listener, address
    # `server_bind` would ask the name service for this machine's name
    server.server_name, server.server_port = address
    server.setup_environ()
    server.set_app(app)
    server.connections = set()
    return server
