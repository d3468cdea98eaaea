"""How a client of the front door is logged in to PostgreSQL: by us, so that it can be done again when it gets another backend.

A server that is full, or that recovers, is waited for. For the host process: the standard library only.
"""

from __future__ import annotations

import time
from contextlib import suppress

from ..services.visit import connected
from .greeting import NOT_LET_IN, WRONG_PASSWORD
from .messages import CANCEL, LONG, Reader, answer_to, code_of, error, message, startup, text_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    import _socket
    from collections.abc import Callable

    from ..services.frontdoor import FrontDoor
    from ..services.model import Endpoint
    from .greeting import Greeting

__all__ = ["Login", "cancel"]

FULL = "53300"
RECOVERING = "57P03"
NO_DATABASE = "3D000"
PATIENCE = 5.0
"""Seconds in which a full server, or one that recovers, may come to let somebody in."""


class Login:
    """Logs one client in to the server, for each backend that it gets.

    Args:
        door: where it came in.
        greeting: what it has said there.
    """

    def __init__(self, door: FrontDoor, greeting: Greeting) -> None:
        self._door, self._greeting = door, greeting
        self.backend = 0
        """The server's process that has let it in last."""
        self.key = b""
        """What that process wants to be shown by who cancels its statement; b"" before there was one."""

    def as_who_it_is(self, endpoint: Endpoint) -> Endpoint:
        """Return how the client is logged in: as another role over TCP, as the private socket trusts everybody."""
        greeting = self._greeting
        if greeting.password is None:
            return endpoint
        return endpoint.with_(user=greeting.said["user"], password=greeting.password, socket="")

    def log_in(
        self, endpoint: Endpoint, database: str, make_room: Callable[[], None], *, is_again: bool
    ) -> tuple[_socket.socket | None, bytes]:
        """Return a connection to the server and all that it said after letting us in; or None and its refusal.

        Args:
            endpoint: the server, as `as_who_it_is` has given it.
            database: another one than the client has named, or "".
            make_room: called where the server is full; lets others give up their backends.
            is_again: whether the client was let in before.
        """
        said = {**self._with_patience(), "user": endpoint.user, **({"database": database} if database else {})}
        deadline = time.monotonic() + PATIENCE
        while True:
            server = reach(endpoint)
            refusal, words = self._introduce(server, endpoint, said)
            if not refusal:
                return server, words
            server.close()
            code = code_of(refusal)
            if code == NO_DATABASE and database and database == self._door.stand_in and time.monotonic() < deadline:
                self._make_stand_in(database)
                continue
            if code not in (FULL, RECOVERING) or time.monotonic() > deadline:
                return None, error(code, f"{text_of(refusal, 'M')}{self._advice(code, is_again=is_again)}")
            if code == FULL:
                make_room()
            time.sleep(0.02)

    def _with_patience(self) -> dict[str, str]:
        """Return what the client has said, and how long it waits for a lock, where it has not said that.

        The test that holds the lock may be the one that waits for the client. What a client says in its own `options`, or
        as a parameter, comes after ours and wins: nobody has to look into it.
        """
        said, patience = self._greeting.said, f"-c lock_timeout={self._door.facts['lock_timeout']}"
        return {**said, "options": " ".join(filter(None, (patience, said.get("options"))))}

    def _introduce(self, server: _socket.socket, endpoint: Endpoint, said: dict[str, str]) -> tuple[bytes, bytes]:
        """Log in; return the body of the server's error, or b"" and what it said when it let us in."""
        server.sendall(startup(said))
        reader, memory, words = Reader(server), list[bytes](), b""
        while True:
            kind, body = reader.next()
            if kind == b"E":
                return body, b""
            if kind == b"R" and body[:4] != b"\0\0\0\0":
                server.sendall(answer_to(body, endpoint.user, endpoint.password, memory))
            elif kind != b"R":
                words += message(kind, body)
            if kind == b"K":
                self.backend, self.key = LONG.unpack_from(body)[0], body
            if kind == b"Z":
                return b"", words

    def _make_stand_in(self, name: str) -> None:
        """Make what stands in for the run's database: nobody has needed it so far."""
        from .making import create

        with suppress(Exception):  # another client was quicker; if not, the next log-in says why
            create(self._door, name)

    def _advice(self, code: str, *, is_again: bool) -> str:
        if is_again and code in (WRONG_PASSWORD, NOT_LET_IN):
            return (
                " (pytest-testbed: this connection has been given another backend, and had to log in as "
                f'"{self._greeting.said["user"]}" again; the role is gone, or its password or rights have changed since it '
                "connected. Connect anew)"
            )
        if code != FULL:
            return ""
        count = len(self._door.visits)
        return (
            f" (pytest-testbed: {count} connections of this process are open at the exported address; close those that are "
            "no longer needed, or raise the limit: testbed_pg_args = -c max_connections=300)"
        )


def reach(endpoint: Endpoint) -> _socket.socket:
    """Return a socket that is connected to the server: to its private one, where it has one."""
    path = f"{endpoint.socket}/.s.PGSQL.{endpoint.port}" if endpoint.socket else ""
    return connected(endpoint, path)


def cancel(endpoint: Endpoint, key: bytes) -> None:
    """Have a server cancel what one of its processes does.

    Args:
        endpoint: the server.
        key: what that process has said that it wants to be shown.

    Raises:
        OSError: the server cannot be reached.
    """
    server = reach(endpoint)
    server.sendall(LONG.pack(16) + LONG.pack(CANCEL) + key)
    server.recv(1)  # it hangs up when it has done so
    server.close()
