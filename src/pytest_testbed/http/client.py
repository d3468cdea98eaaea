"""A client of the application under test."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any
from urllib.parse import urlsplit

from ..errors import AppError, ConfigurationError
from .apiresponse import ApiResponse
from .exchange import Exchange, masked_url
from .live import LiveApp
from .login import Login, Tokens
from .sending import failures, fresh_connections, native_client, rewinder

__all__ = ["ApiClient"]

WHO = "api_client"
PATIENCE = 0.2
"""Seconds between a connection that breaks off and the end of its process."""


class ApiClient:
    """An HTTP client of the application, for one test: a base URL, a time-out, a login.

    Args:
        app: the application.
        prefix: what stands before each path, such as "/api"; not once more where the application's URL ends with it.
        library: "requests" or "httpx".
        timeout: seconds to wait for an answer where a call does not say another `timeout`.
        login: how one logs in.
        tokens: those of the run.
        note: called with each exchange.
        is_near: whether the application is on this machine.
    """

    def __init__(
        self,
        app: LiveApp,
        *,
        prefix: str = "",
        library: str = "requests",
        timeout: float = 10.0,
        login: Login | None = None,
        tokens: Tokens | None = None,
        note: Callable[[Exchange], None] | None = None,
        is_near: bool = True,
    ) -> None:
        prefix = f"/{prefix.strip('/')}" if prefix.strip("/") else ""
        url = app.url.rstrip("/")
        self.base_url: str = url if urlsplit(url).path.endswith(prefix) else url + prefix
        """What each path comes behind: the application's address and the prefix."""
        self._origin = _origin(self.base_url)
        self._app = app
        self._again = {"prefix": prefix, "library": library, "timeout": timeout, "is_near": is_near}
        self._timeout = None if app.is_in_process else timeout
        self._how = login or Login()
        self._tokens = tokens if tokens is not None else Tokens()
        self._note = note or (lambda exchange: None)
        self._user: dict[str, Any] | None = None
        self._renewal = threading.Lock()
        self._others: list[ApiClient] = []
        self._left: list[Any] = []
        self.native: Any = native_client(app, library, is_near)
        """The library's own client: a `requests.Session`, an `httpx.Client`, or Starlette's `TestClient`."""
        self._failures = failures(self.native)

    # --- requests

    def get(self, path: str, **options: Any) -> ApiResponse:
        """Send a GET; the options are those of the library: params, headers, …."""
        __tracebackhide__ = True
        return self.request("GET", path, **options)

    def post(self, path: str, **options: Any) -> ApiResponse:
        """Send a POST; the options are those of the library: json, data, files, …."""
        __tracebackhide__ = True
        return self.request("POST", path, **options)

    def put(self, path: str, **options: Any) -> ApiResponse:
        """Send a PUT."""
        __tracebackhide__ = True
        return self.request("PUT", path, **options)

    def patch(self, path: str, **options: Any) -> ApiResponse:
        """Send a PATCH."""
        __tracebackhide__ = True
        return self.request("PATCH", path, **options)

    def delete(self, path: str, **options: Any) -> ApiResponse:
        """Send a DELETE."""
        __tracebackhide__ = True
        return self.request("DELETE", path, **options)

    def head(self, path: str, **options: Any) -> ApiResponse:
        """Send a HEAD."""
        __tracebackhide__ = True
        return self.request("HEAD", path, **options)

    def options(self, path: str, **options: Any) -> ApiResponse:
        """Send an OPTIONS."""
        __tracebackhide__ = True
        return self.request("OPTIONS", path, **options)

    def request(self, method: str, path: str, **options: Any) -> ApiResponse:
        """Send a request and return the answer, whatever its status.

        A token that is refused is taken anew, once, and the request sent again.

        Raises:
            AppError: there was no answer and the application has ended; or the path leads elsewhere; or the request cannot
                be sent again.
            Exception: the library's own, where there was no answer for another reason.
        """
        __tracebackhide__ = True
        headers = dict(options.get("headers") or ())
        is_own = options.get("auth") is not None or any(str(name).lower() == "authorization" for name in headers)
        with self._renewal:  # while another thread takes a new token there is none
            used = None if is_own else self.authorization
        rewind = rewinder(options) if self._user is not None and used else None
        answer = self._send(method, path, options)
        if answer.native.status_code != 401 or self._user is None or not used:
            return answer
        if not self._renewed(used):
            return answer
        if rewind is None:
            raise AppError(
                f"{method} {path} was answered with 401, and a new token was taken; but the request cannot be sent again, as its "
                f"body is a stream that was read. Send bytes, or log in anew before it: login_anew().\n{answer._told()}"
            )
        rewind()
        answer.native.close()  # where it is a stream, its connection is not free before
        return self._send(method, path, options)

    def url(self, path: str) -> str:
        """Return the whole URL of a path.

        Raises:
            AppError: it leads to another server: nobody shall be sent the token by mistake.
        """
        if path.startswith("/") or "://" not in path.partition("?")[0]:
            return f"{self.base_url}/{path.lstrip('/')}" if path and path[0] != "?" else self.base_url + path
        if _origin(path) != self._origin:
            raise AppError(
                f"{masked_url(path)} is not at {masked_url(self._origin)}, and api_client is a client of that alone. For other "
                "servers take requests or httpx itself."
            )
        return path

    def _send(self, method: str, path: str, options: Mapping[str, Any]) -> ApiResponse:
        __tracebackhide__ = True
        url = self.url(path)
        if self._timeout is not None and "timeout" not in options:
            options = {**options, "timeout": self._timeout}
        at, began, failed = time.monotonic(), time.perf_counter(), None
        try:
            native = self.native.request(method, url, **options)
        except self._failures as error:
            took = time.perf_counter() - began
            self._note(Exchange(WHO, method, url, seconds=took, note=f"{type(error).__name__}: {error}", at=at))
            failed = error
        if failed is not None:
            self._app.check(PATIENCE)
            raise failed
        took = time.perf_counter() - began
        for each in (*native.history, native):
            self._note(exchange := _exchange(each, took, at, is_read=not options.get("stream")))
        if native.status_code >= 500 and (old := fresh_connections(self.native)) is not None:
            self._left.append(old)
        return ApiResponse(native, exchange)

    # --- who is logged in

    @property
    def authorization(self) -> str | None:
        """The Authorization header that each request has, if there is one."""
        header: str | None = self.native.headers.get("Authorization")
        return header

    def login(self, credentials: Mapping[str, Any] | None = None, /, **fields: Any) -> ApiClient:
        """Log in for this test, with a token that an earlier test has got for the same user, if there is one; returns the client.

        Args:
            credentials: the fields of the login, such as {"email": …}.
            fields: the same by name; without any, `testbed_api_credentials`.

        Raises:
            AppError: the login was refused, or its answer has no token.
        """
        __tracebackhide__ = True
        user = self._fields(credentials, fields)
        known = self._tokens.get(self._key(user))
        return self._become(user, known) if known else self.login_anew(user)

    def login_anew(self, credentials: Mapping[str, Any] | None = None, /, **fields: Any) -> ApiClient:
        """Log in for this test, whether or not there is a token already; the arguments are those of `login`."""
        __tracebackhide__ = True
        user = self._fields(credentials, fields)
        self.native.headers.pop("Authorization", None)
        header = self._header_for(user)
        if header:
            self._tokens.put(self._key(user), header)
        return self._become(user, header)

    def logout(self) -> None:
        """Send no token any more, and no cookies; the application is not told."""
        self._user = None
        self.native.headers.pop("Authorization", None)
        self.native.cookies.clear()

    def as_user(self, credentials: Mapping[str, Any] | None = None, /, **fields: Any) -> ApiClient:
        """Return another client of the same application, logged in as somebody; the arguments are those of `login`."""
        __tracebackhide__ = True
        other = ApiClient(self._app, login=self._how, tokens=self._tokens, note=self._note, **self._again)  # type: ignore[arg-type]
        self._others.append(other)
        return other.login(credentials, **fields)

    def auth_headers(self, credentials: Mapping[str, Any] | None = None, /, **fields: Any) -> dict[str, str]:
        """Log in and return the headers of that user, for requests that are sent by others; this client stays who it is."""
        __tracebackhide__ = True
        other = ApiClient(self._app, login=self._how, tokens=self._tokens, note=self._note, **self._again)  # type: ignore[arg-type]
        with other:
            other.login_anew(credentials, **fields)
            return {"Authorization": other.authorization} if other.authorization else {}

    def _fields(self, credentials: Mapping[str, Any] | None, fields: Mapping[str, Any]) -> dict[str, Any]:
        user = {**(credentials or {}), **fields} or dict(self._how.credentials)
        if not user:
            raise ConfigurationError(
                "nobody says as whom to log in: say it in testbed_api_credentials, a line name=value for each field, such as "
                "email=admin@example.com and password=admin123, or give login() the fields."
            )
        return user

    def _key(self, user: Mapping[str, Any]) -> str:
        return self._tokens.key(f"{self.base_url} {self._how.path}", user)

    def _become(self, user: dict[str, Any], header: str) -> ApiClient:
        self._user = user
        if header:
            self.native.headers["Authorization"] = header
        return self

    def _header_for(self, user: Mapping[str, Any]) -> str:
        """Log in and return the header."""
        __tracebackhide__ = True
        answer = self._send("POST", self._how.path, self._how.arguments(user))
        return self._how.header_of(answer)

    def _renewed(self, used: str) -> bool:
        """Get a new token in place of one that was refused, or find that another thread has; tell whether there is one.

        A login that is refused now is the application's matter: its 401 is what the test gets, and the report shows the rest.
        """
        with self._renewal:
            user = self._user
            if user is None or self.authorization != used:
                return True
            self._tokens.drop(self._key(user))
            del self.native.headers["Authorization"]  # some applications refuse a login that comes with a bad token
            header = used
            try:
                header = self._header_for(user)
                self._tokens.put(self._key(user), header)
            except AppError:
                return False
            finally:
                self._become(user, header)
            return True

    # --- its end

    def close(self) -> None:
        """Close its connections."""
        for each in (*self._others, *self._left, self.native):
            each.close()

    def __enter__(self) -> ApiClient:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<ApiClient {masked_url(self.base_url)}>"


def _origin(url: str) -> str:
    parts = urlsplit(url)
    port = f":{parts.port}" if parts.port and (parts.scheme, parts.port) not in (("http", 80), ("https", 443)) else ""
    return f"{parts.scheme.lower()}://{(parts.hostname or '').lower()}{port}"


def _exchange(native: Any, took: float, at: float, *, is_read: bool) -> Exchange:
    """Return what was said; bodies that are streams are left alone."""
    request = native.request
    sent = _sent(request)
    headers: Iterable[tuple[str, str]] = request.headers.items()
    body: bytes = native.content if is_read else b""
    return Exchange(
        WHO, request.method, str(request.url), native.status_code, took, headers, sent, native.headers.items(), body, at=at
    )


def _sent(request: Any) -> bytes:
    body = getattr(request, "body", None) if hasattr(request, "body") else getattr(request, "_content", None)
    if isinstance(body, str):
        return body.encode()
    return body if isinstance(body, bytes) else b""
