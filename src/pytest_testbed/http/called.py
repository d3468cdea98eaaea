"""Applications that are called in this process, without a server: what requests and httpx send through."""

from __future__ import annotations

import io
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from email.message import Message
from importlib.util import find_spec
from types import SimpleNamespace
from typing import Any
from urllib.parse import unquote_to_bytes, urlsplit

from requests import PreparedRequest, Response
from requests.adapters import BaseAdapter, HTTPAdapter

from ..errors import AppError
from .loading import told

__all__ = ["WsgiAdapter", "asgi_portal"]

PLACE = "http://testserver"


class WsgiAdapter(BaseAdapter):
    """What a session of requests sends with: calls a WSGI application."""

    def __init__(self, app: Any) -> None:
        super().__init__()
        self._app = app
        self._http = HTTPAdapter(0, 0)

    def send(self, request: PreparedRequest, *args: Any, **more: Any) -> Response:
        """Call the application with a request; its error is an answer 500, as with a server."""
        told_status: list[Any] = []
        written = io.BytesIO()

        def start_response(status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Any:
            told_status[:] = [status, headers]
            return written.write

        try:
            parts = self._app(environ_of(request), start_response)
            try:
                for part in parts:
                    written.write(part)
            finally:
                if hasattr(parts, "close"):
                    parts.close()
        except Exception as error:
            _log(request.method, request.url, error)
            told_status[:] = ["500 Internal Server Error", [("Content-Type", "text/plain")]]
            written = io.BytesIO(b"Internal Server Error")
        return self._answer(request, told_status[0], told_status[1], written.getvalue())

    def _answer(self, request: PreparedRequest, status: str, headers: list[tuple[str, str]], body: bytes) -> Response:
        from urllib3 import HTTPHeaderDict, HTTPResponse

        message = Message()  # in which requests looks for cookies
        for name, value in headers:
            message[name] = value
        code, _, reason = status.partition(" ")
        raw = HTTPResponse(
            io.BytesIO(body),
            HTTPHeaderDict(headers),
            int(code),
            reason=reason,
            preload_content=False,
            original_response=SimpleNamespace(msg=message, isclosed=lambda: True, close=lambda: None),  # type: ignore[arg-type]
            request_method=request.method,
        )
        return self._http.build_response(request, raw)

    def close(self) -> None:
        """Do nothing: there is no connection."""


def environ_of(request: PreparedRequest) -> dict[str, Any]:
    """Return a request as WSGI applications are given it."""
    parts = urlsplit(str(request.url))
    body = _body_of(request.body)
    environ: dict[str, Any] = {
        "REQUEST_METHOD": request.method,
        "SCRIPT_NAME": "",
        "PATH_INFO": unquote_to_bytes(parts.path).decode("latin-1"),
        "QUERY_STRING": parts.query,
        "SERVER_NAME": parts.hostname,
        "SERVER_PORT": str(parts.port or 80),
        "SERVER_PROTOCOL": "HTTP/1.1",
        "REMOTE_ADDR": "127.0.0.1",
        "HTTP_HOST": parts.netloc,
        "CONTENT_LENGTH": str(len(body)),
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": parts.scheme,
        "wsgi.input": io.BytesIO(body),
        "wsgi.input_terminated": True,
        "wsgi.errors": sys.stderr,
        "wsgi.multithread": True,
        "wsgi.multiprocess": False,
        "wsgi.run_once": False,
    }
    for name, value in request.headers.items():
        key = name.upper().replace("-", "_")
        if key not in ("CONTENT_LENGTH", "TRANSFER_ENCODING"):
            environ[key if key == "CONTENT_TYPE" else f"HTTP_{key}"] = _text(value)
    return environ


def _body_of(body: Any) -> bytes:
    if body is None:
        return b""
    if isinstance(body, str):
        return body.encode()
    if isinstance(body, bytes | bytearray):
        return bytes(body)
    if hasattr(body, "read"):
        body = body.read()
        return body if isinstance(body, bytes) else str(body).encode()
    return b"".join(part if isinstance(part, bytes) else str(part).encode() for part in body)


def _text(value: str | bytes) -> str:
    return value.decode("latin-1") if isinstance(value, bytes) else value


def _log(method: Any, url: Any, error: BaseException) -> None:
    import logging

    logging.getLogger("pytest_testbed.app").error("%s %s failed\n%s", method, url, told(error))


# --- ASGI


@contextmanager
def asgi_portal(app: Any) -> Iterator[Any]:
    """Run an ASGI application's lifespan; gives the Starlette client that has it.

    Raises:
        AppError: Starlette is not installed, or the application could not be started.
    """
    with ExitStack() as stack:
        client = asgi_client(app)
        try:
            stack.enter_context(client)
        except Exception as error:
            raise AppError(f"the application could not be started:\n{told(error)}") from error
        yield client


async def _lifespan(app: Any, scope: Any, receive: Any, send: Any) -> None:
    """Run an application's lifespan; of one that has none, let nothing be seen."""
    is_begun = False

    async def receiving() -> Any:
        nonlocal is_begun
        is_begun = True
        return await receive()

    try:
        await app(scope, receiving, send)
    except Exception:
        if is_begun:
            raise
        for what in ("startup", "shutdown"):
            await receive()
            await send({"type": f"lifespan.{what}.complete"})


def asgi_client(app: Any, like: Any = None) -> Any:
    """Return a Starlette client of an ASGI application, in the event loop of another one, if given.

    Raises:
        AppError: Starlette is not installed.
    """
    if find_spec("starlette") is None or not (find_spec("httpx") or find_spec("httpx2")):
        raise AppError(
            "testbed_app_server = none calls an ASGI application through Starlette's TestClient: pip install starlette httpx. "
            "Or leave the option out: then the application runs on uvicorn."
        )
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # some versions of Starlette want another package than httpx, and warn
        from starlette.testclient import TestClient

    async def logged(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            return await _lifespan(app, scope, receive, send)
        try:
            await app(scope, receive, send)
        except Exception as error:
            if scope["type"] == "http":
                _log(scope["method"], scope["path"], error)
            raise

    client: Any = TestClient(logged, base_url=PLACE, raise_server_exceptions=False)
    if like is not None:
        client.portal = like.portal
        client.app_state.update(like.app_state)
    return client
