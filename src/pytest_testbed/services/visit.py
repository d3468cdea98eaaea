"""One client's connection at the front door, passed on to the service as it is."""

from __future__ import annotations

import _socket  # the class below `socket.socket`, as everywhere in the host
import threading
import time
from contextlib import suppress

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .frontdoor import FrontDoor
    from .model import Endpoint

__all__ = ["PIECE", "Visit", "connected", "shut"]

PIECE = 1 << 16
"""Bytes that are passed on at once."""
GLANCE = 0.001
"""Seconds between two looks at whether a client may go on."""
CONNECT_TIMEOUT = 10.0


class Visit:
    """One client's connection, passed on to the service as it is.

    Args:
        door: where it came in.
        client: its socket.
    """

    def __init__(self, door: FrontDoor, client: _socket.socket) -> None:
        self.door, self.client = door, client
        self.upstream: _socket.socket | None = None
        self.backend = 0
        """The server's process for this client, where that is known."""
        self.since = door.board.messages
        self.is_late = False
        self.is_led = False
        """Whether it has come to what stands in for that which it wants."""
        self.is_over = False
        self.bound = ""
        """Who it is, and what it has on its backend that another one would not have, where that has kept it from being parked."""

    def run(self) -> None:
        """Serve the client until it leaves."""
        try:
            with suppress(OSError, EOFError):
                self.client.setsockopt(_socket.IPPROTO_TCP, _socket.TCP_NODELAY, 1)
                if self.enter():
                    self.flow()
        finally:
            self.door.leave(self)
            self.cut()

    def enter(self) -> bool:
        """Connect to the service; tell whether there is anything to pass on."""
        endpoint = self.door.endpoint()
        self.door.await_made(self.make)
        self.upstream = connected(endpoint)
        self.answer_with(self.upstream)
        return True

    def make(self) -> None:
        """Make what the run has of its own on the service: where it has nothing, nothing."""

    def flow(self) -> None:
        """Pass on what the client sends."""
        receive, board = self.client.recv, self.door.board
        while piece := receive(PIECE):
            board.count_message()
            try:
                while board.hushed and not self.door.stand_in and not self.is_farewell(piece):
                    board.passed_on()
                    try:
                        self._hold()
                    finally:
                        board.set_out_again()
                self.say(piece)
            finally:
                board.passed_on()

    def say(self, piece: bytes) -> None:
        """Pass on what the client has sent."""
        assert self.upstream is not None
        self.upstream.sendall(piece)

    def is_farewell(self, piece: bytes) -> bool:
        """Tell whether the client only says that it leaves: nobody waits for an answer to that."""
        return False

    def _hold(self) -> None:
        """Wait until the next test begins.

        Raises:
            EOFError: somebody has hung up on the client: what it said must not reach a backend that it would get now.
        """
        self.is_late = True
        self.door.board.count_late()
        while self.door.board.hushed and not (self.is_over or self.door.stand_in):
            time.sleep(GLANCE)
        if self.is_over:
            raise EOFError
        self.is_late = False

    def answer_with(self, upstream: _socket.socket) -> None:
        """Pass on what the service says, in a thread of its own: two waits cost less than a look at both."""
        threading.Thread(target=self._answer, args=(upstream,), name="answers", daemon=True).start()

    def _answer(self, upstream: _socket.socket) -> None:
        with suppress(OSError):
            self.hear(upstream)
        self.ended(upstream)

    def hear(self, upstream: _socket.socket) -> None:
        """Pass on what the service says until it hangs up."""
        receive, send = upstream.recv, self.client.sendall
        while piece := receive(PIECE):
            send(piece)

    def ended(self, upstream: _socket.socket) -> None:
        """Hang up too: the service has."""
        shut(self.client)

    # --- what can be done to it; each tells whether it did it

    def park(self) -> bool:
        """Give up the server's end, to have another one when the client goes on: not where the protocol is unknown.

        Where it may not, as the client would lose something, `bound` says what.
        """
        return False

    def reset(self) -> bool:
        """Undo the open transaction, unseen by the client: not where the protocol is unknown."""
        return False

    def unlock(self) -> bool:
        """Give up the session's locks, unseen by the client: not where the protocol is unknown."""
        return False

    def silence(self) -> bool:
        """Tell the client of nothing more that it has wanted to be told of in this test: not where the protocol is unknown."""
        return False

    def wake(self) -> None:
        """Get a new end at the server, where the client waits to be told of something: not where the protocol is unknown."""

    def cut(self) -> bool:
        """Hang up on both sides."""
        self.is_over = True
        shut(self.client)
        if self.upstream is not None:
            shut(self.upstream)
        return True


def shut(connection: _socket.socket) -> None:
    """Close a socket that other threads may be waiting on; their wait ends.

    The descriptor itself is closed with the last reference: a thread must not find another file under its number.
    """
    with suppress(OSError):
        connection.shutdown(_socket.SHUT_RDWR)


def connected(endpoint: Endpoint, path: str = "", timeout: float = CONNECT_TIMEOUT) -> _socket.socket:
    """Return a socket that is connected to a service: by a Unix socket at `path`, or TCP."""
    if path:
        connection = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
        connection.settimeout(timeout)
        connection.connect(path)
    else:
        connection = _by_tcp(endpoint.host, endpoint.port, timeout)
    connection.setblocking(True)
    return connection


def _by_tcp(host: str, port: int, timeout: float) -> _socket.socket:
    last: OSError | None = None
    for family, kind, protocol, _, address in _socket.getaddrinfo(host, port, 0, _socket.SOCK_STREAM):
        connection = _socket.socket(family, kind, protocol)
        try:
            connection.settimeout(timeout)
            connection.connect(address)
            connection.setsockopt(_socket.IPPROTO_TCP, _socket.TCP_NODELAY, 1)
            return connection
        except OSError as error:
            connection.close()
            last = error
    raise last or OSError(f"{host} has no address")
