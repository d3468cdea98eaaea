"""The broker's management API, as far as tests need it: virtual hosts, definitions, a look into queues.

AMQP alone can neither list nor create virtual hosts. The host process talks to the API, so that nothing in a
test's process (patches of sockets, frozen clocks) gets in the way.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import quote, urlsplit

from ..errors import BrokerError
from ..services.model import Endpoint

TYPE_CHECKING = False
if TYPE_CHECKING:
    from http.client import HTTPConnection
    from typing import Any

__all__ = ["ApiError", "ManagementApi", "management_url"]

TIMEOUT = 20.0
INTERNAL_ERROR = 500
LOOKS = 5
"""How often virtual hosts are listed before an error of the server's own is one."""


class ApiError(BrokerError):
    """The management API refused something, or did not answer.

    `status` is that of HTTP, `answer` what stood in the answer; 0 and b"" where nobody answered.
    """

    status = 0
    answer = b""


def management_url(endpoint: Endpoint) -> str:
    """Return where the management API of a broker is."""
    host = f"[{endpoint.host}]" if ":" in endpoint.host else endpoint.host
    return endpoint.extra.get("management") or f"http://{host}:{endpoint.ports.get('management', 15672)}"


class ManagementApi:
    """A connection to the management API that is kept open; for one thread at a time.

    Args:
        endpoint: the broker, with user and password.
        timeout: seconds for each answer.
    """

    def __init__(self, endpoint: Endpoint, timeout: float = TIMEOUT) -> None:
        import base64

        self._parts = urlsplit(management_url(endpoint))
        # errors show it; who logs in is said elsewhere
        self.url = self._parts._replace(netloc=self._parts.netloc.rpartition("@")[2]).geturl()
        self._timeout = timeout
        token = base64.b64encode(f"{endpoint.user}:{endpoint.password}".encode()).decode()
        self._headers = {"Authorization": f"Basic {token}", "Content-Type": "application/json"}
        self._connection: HTTPConnection | None = None

    def get(self, *path: str) -> Any:
        """Return what the API says of something."""
        return self._ask("GET", path)

    def put(self, *path: str, body: object = None) -> None:
        """Make something."""
        self._ask("PUT", path, {} if body is None else body)

    def post(self, *path: str, body: object) -> Any:
        """Hand something in, and return the answer."""
        return self._ask("POST", path, body)

    def delete(self, *path: str) -> bool:
        """Delete something; tell whether it was there."""
        try:
            self._ask("DELETE", path)
        except ApiError as error:
            if error.status != 404:
                raise
            return False
        return True

    def close(self) -> None:
        """Hang up."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    # --- virtual hosts

    def make_vhost(self, name: str) -> None:
        """Create a virtual host; whose login this is may do everything there, as whoever makes one."""
        self.put("vhosts", name, body={"description": "made by pytest-testbed"})

    def drop_vhost(self, name: str) -> bool:
        """Delete a virtual host with all that is in it; its connections are closed by the broker."""
        return self.delete("vhosts", name)

    def vhosts(self) -> list[str]:
        """Return the names of all virtual hosts.

        4.0 has now and then an error of its own to say where one of them goes at that moment, as it does in other runs.
        """
        for left in reversed(range(LOOKS)):
            try:
                return [each["name"] for each in self.get("vhosts")]
            except ApiError as error:
                if error.status != INTERNAL_ERROR or not left:
                    raise
        raise AssertionError

    # --- the way there

    def _ask(self, method: str, path: tuple[str, ...], body: object = None) -> Any:
        target = "/".join([self._parts.path.rstrip("/").removesuffix("/api"), "api", *(quote(part, safe="") for part in path)])
        data = None if body is None else json.dumps(body).encode()
        with self._failing(f"{method} {target}"):
            status, reason, text = self._exchange(method, target, data)
            if status >= 300:
                error = ApiError(f"the management API at {self.url} refused {method} {target}: {status} {said(text) or reason}")
                error.status, error.answer = status, text
                raise error
            return self._read(text) if text else None

    def _read(self, text: bytes) -> Any:
        try:
            return json.loads(text)
        except ValueError:
            raise ApiError(f"what answers at {self.url} is no management API: {said(text)}") from None

    @contextmanager
    def _failing(self, what: str) -> Iterator[None]:
        from http.client import HTTPException

        try:
            yield
        except (OSError, HTTPException, ValueError) as error:
            self.close()
            words = " ".join(str(error).split()) or type(error).__name__
            raise ApiError(f"the management API at {self.url} does not answer to {what}: {words}") from error

    def _exchange(self, method: str, target: str, data: bytes | None) -> tuple[int, str, bytes]:
        from http.client import HTTPException

        for last in (False, True):
            fresh = self._connection is None
            connection = self._connection = self._connection or self._connect()
            try:
                connection.request(method, target, data, self._headers)
                answer = connection.getresponse()
                return answer.status, answer.reason, answer.read()
            except (ConnectionError, HTTPException):
                self.close()
                if fresh or last:  # one that was kept may have been closed by the broker meanwhile
                    raise
        raise AssertionError

    def _connect(self) -> HTTPConnection:
        from http.client import HTTPConnection, HTTPSConnection

        kind = HTTPSConnection if self._parts.scheme == "https" else HTTPConnection
        connection = kind(self._parts.hostname or "localhost", self._parts.port, timeout=self._timeout)
        connection.connect()
        import socket

        connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return connection


def said(text: bytes) -> str:
    """Return the broker's own words from an answer's body."""
    try:
        body = json.loads(text)
    except ValueError:
        return " ".join(text.decode(errors="replace").split())[:200]
    if not isinstance(body, dict):
        return str(body)
    return str(body.get("reason") or body.get("error") or "")
