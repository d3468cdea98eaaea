"""A client's connection at the front door of a broker: led to the worker's virtual host, under the broker's own login.

An exported address has a login of its own, known before there is a broker; and what a client opens as the
default virtual host is this worker's, as most applications name none.
"""

from __future__ import annotations

import _socket
from collections.abc import Callable
from contextlib import suppress

from ..errors import TestbedError
from ..services.model import Endpoint
from ..services.visit import Visit, connected
from .declared import Declared
from .frames import HEADER, OPEN, START, START_OK, TUNE, closing, frame_size, method_of, plain_login, with_login, with_vhost

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..services.frontdoor import FrontDoor

__all__ = ["RabbitVisit"]

INTERNAL_ERROR = 541


class RabbitVisit(Visit):
    """One client of a broker.

    The door's facts: "user" and "password", what clients of the exported address log in with; "vhost", the
    worker's virtual host.
    """

    def __init__(self, door: FrontDoor, client: _socket.socket) -> None:
        super().__init__(door, client)
        self._declared: Declared | None = None
        """What it has declared, once it is in."""

    def say(self, piece: bytes) -> None:
        """Pass on what the client has sent; note what it declares."""
        if self._declared is not None:
            self._declared.follow(piece)
        self.push(piece)

    def enter(self) -> bool:
        """Pass the login on, with what is to be another in it; tell whether the client is in."""
        self.door.board.count_message()
        try:
            hello = exactly(self.client, len(HEADER))
            try:
                endpoint = self.door.endpoint()
                self.door.await_made(self.make)
                self.upstream = connected(endpoint)
            except (TestbedError, OSError) as error:
                self._refuse(str(error))
                return False
            self.upstream.sendall(hello)
            return hello != HEADER or self._log_in(endpoint, self.upstream)
        finally:
            self.door.board.passed_on()

    def make(self) -> None:
        """Make the worker's virtual host: the first client may come before the first test."""
        stock = self.door.host.stock(self.door.spec.kind, self.door.run)
        with stock.under_way():
            stock.open(self.door.facts["vhost"])  # type: ignore[attr-defined]

    def _refuse(self, why: str) -> None:
        """Say in AMQP's words why nobody is let in: a client shows them."""
        with suppress(OSError):
            self.client.sendall(closing(INTERNAL_ERROR, " ".join(why.split())))

    def _log_in(self, endpoint: Endpoint, upstream: _socket.socket) -> bool:
        facts = self.door.facts
        was = plain_login(facts["user"], facts["password"])
        then = plain_login(endpoint.user, endpoint.password)
        if not self._pass(upstream, self.client, START):
            return True  # whatever it is, both go on as they are
        self._pass(self.client, upstream, START_OK, lambda frame: with_login(frame, was, then))
        if self._pass(upstream, self.client, TUNE):
            self._pass_on(self.client, upstream)  # tune-ok
            if self._pass(self.client, upstream, OPEN, lambda frame: with_vhost(frame, ("/", ""), facts["vhost"])):
                self._declared = Declared(self.needs)
        return True

    def _pass(
        self,
        source: _socket.socket,
        target: _socket.socket,
        method: tuple[int, int],
        change: Callable[[bytes], bytes] = lambda frame: frame,
    ) -> bool:
        """Pass one frame on, changed where it is of a method; tell whether it is."""
        frame = one_frame(source)
        is_it = method_of(frame) == method
        target.sendall(change(frame) if is_it else frame)
        return is_it

    def _pass_on(self, source: _socket.socket, target: _socket.socket) -> None:
        target.sendall(one_frame(source))


def exactly(connection: _socket.socket, size: int) -> bytes:
    """Return so many bytes.

    Raises:
        EOFError: the other side hung up.
    """
    data = b""
    while len(data) < size:
        piece = connection.recv(size - len(data))
        if not piece:
            raise EOFError
        data += piece
    return data


def one_frame(connection: _socket.socket) -> bytes:
    """Return the next frame.

    Raises:
        EOFError: the other side hung up.
    """
    head = exactly(connection, 7)
    return head + exactly(connection, frame_size(head) - 7)
