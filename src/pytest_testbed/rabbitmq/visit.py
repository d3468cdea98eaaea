"""A client's connection at the front door of a broker: led to the worker's virtual host, under the broker's own login.

An exported address has a login of its own, known before there is a broker; and what a client opens as the
default virtual host is this worker's, as most applications name none.
"""

from __future__ import annotations

import _socket
import select
import threading
import time
from collections.abc import Callable
from contextlib import suppress

from ..errors import TestbedError
from ..services.model import Endpoint
from ..services.visit import PIECE, Visit, connected, poll, shut
from .channels import Channels, Questions
from .declared import Declared
from .frames import (
    CLOSE_OK,
    HEADER,
    OPEN,
    SECURE,
    START,
    START_OK,
    TUNE,
    TUNE_OK,
    Refused,
    Track,
    closing,
    frame_size,
    method_of,
    with_login,
    with_vhost,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..services.frontdoor import FrontDoor

__all__ = ["RabbitVisit"]

INTERNAL_ERROR, FORCED = 541, 320
OVER = "pytest-testbed: the test is over in which this connection was opened, and the next must not meet it"
LEAVING_SECONDS = 1.0
"""Seconds in which a broker must have let go of a client, and a client must have said the rest of a frame."""
ANSWER_SECONDS = 1.0
"""Seconds in which a broker must have done what a client has said that stays."""
DEAF_SECONDS = 0.1
"""Seconds after which a client that is dismissed counts as one that does not listen."""

Change = Callable[[bytes], bytes]


class NotFrames(Exception):
    """What was sent is no frame of AMQP 0-9-1; it has been passed on."""


class RabbitVisit(Visit):
    """One client of a broker.

    The door's facts: "user" and "password", what clients of the exported address log in with; "vhost", the
    worker's virtual host.
    """

    def __init__(self, door: FrontDoor, client: _socket.socket) -> None:
        super().__init__(door, client)
        self._channels = Channels()
        self._said, self._heard = Track(self._channels.note), Track()
        self._declared, self._questions = Declared(self.needs), Questions(self._heard)
        self._has_spoken = False
        """Whether it has said anything since it was last asked whether all is done."""
        self._speaking = threading.Lock()
        """Held by who says something to the broker."""
        self._is_open = self._has_ended = False
        self._gone = threading.Event()

    def run(self) -> None:
        """Serve the client until it leaves."""
        try:
            super().run()
        finally:
            self._gone.set()

    # --- coming in

    def enter(self) -> bool:
        """Pass the login on, with what is to be another in it; tell whether the client is in."""
        hello = exactly(self.client, len(HEADER))
        self.door.board.set_out()
        self.door.board.count_message()
        try:
            try:
                endpoint = self.door.endpoint()
                self._make()
                self.upstream = connected(endpoint)
            except (TestbedError, OSError) as error:
                self._refuse(str(error))
                return False
            self.upstream.sendall(hello)
            if hello == HEADER:
                with suppress(NotFrames):  # both go on as they are: the broker will have a word for that
                    self._is_open = self._log_in(endpoint, self.upstream)
            return True
        finally:
            self.door.board.passed_on()

    def _make(self) -> None:
        """Make the worker's virtual host: the first client may come before the first test, or after the broker's end."""
        stock = self.door.host.stock(self.door.spec.kind, self.door.run)
        with stock.under_way():
            stock.ensure(self.door.facts["vhost"])  # type: ignore[attr-defined]

    def _refuse(self, why: str) -> None:
        """Say in AMQP's words why nobody is let in: a client shows them."""
        with suppress(OSError):
            self.client.sendall(closing(INTERNAL_ERROR, " ".join(why.split())))

    def _log_in(self, endpoint: Endpoint, upstream: _socket.socket) -> bool:
        """Pass the login on; tell whether it has come to its end, the opening of a virtual host."""
        facts, client = self.door.facts, self.client
        was, then = (facts["user"], facts["password"]), (endpoint.user, endpoint.password)
        changes: dict[tuple[int, int] | None, Change] = {
            START_OK: lambda frame: with_login(frame, was, then),
            OPEN: lambda frame: with_vhost(frame, ("/", ""), facts["vhost"]),
        }
        if passed(upstream, client) != START:
            return False
        passed(client, upstream, changes)
        while (said := passed(upstream, client)) == SECURE:
            passed(client, upstream)
        if said != TUNE:
            return False
        while (said := passed(client, upstream, changes)) in (TUNE_OK, None):  # None: a heartbeat
            continue
        return said == OPEN

    # --- passing on

    def heed(self) -> bool:
        """Pass on what the client has sent; tell whether it is still there."""
        return not self.is_over and super().heed()

    def say(self, piece: bytes) -> None:
        """Pass on what the client has sent; note what it declares."""
        with self._speaking:
            self._said.follow(piece)
            if self._is_open:
                self._declared.follow(piece)
            self._has_spoken = True
            self.push(piece)

    def hear(self, piece: bytes) -> None:
        """Pass on what the broker has said, but for answers to questions of ours."""
        if self._questions:
            piece = self._questions.sift(piece)
        else:
            self._heard.follow(piece)
        self.client.sendall(piece)

    def ended(self, upstream: _socket.socket) -> None:
        """Hang up too: the broker has."""
        self._has_ended = True
        super().ended(upstream)

    def inquire(self) -> None:
        """Ask the broker on each channel whether all is done that the client has said, unless that is half said."""
        if not self._is_open or not self._has_spoken or not self._speaking.acquire(timeout=DEAF_SECONDS):
            return
        try:
            upstream = self.upstream
            if upstream is None or self._said.missing or self._said.is_lost or not poll(upstream, select.POLLOUT, 0):
                return
            self._has_spoken = False
            with suppress(OSError):
                upstream.sendall(self._questions.ask(self._channels.idle))
        finally:
            self._speaking.release()

    def await_answer(self) -> None:
        """Wait until the broker has done what the client has said."""
        self._questions.await_answers(ANSWER_SECONDS)

    # --- leaving

    def flow(self) -> None:
        """Pass on what either side says until the client leaves, and take its leave of the broker."""
        try:
            super().flow()
        finally:
            with suppress(OSError, EOFError):
                self._leave()

    def _leave(self) -> None:
        """Close the connection in AMQP's words, and wait for the broker's end of it.

        By then it has put back what the client held, and deleted what was the client's alone: the next test must not
        meet it. A broker that only sees its client hang up does so some time later.
        """
        if self._has_ended or self.upstream is None or CLOSE_OK in (self._said.last, self._heard.last):
            return
        deadline = time.monotonic() + LEAVING_SECONDS
        if self.is_over:
            self._tell()
            self._finish_frame(self.upstream, deadline)
        if self._is_open and not (self._said.missing or self._said.is_lost):
            self.upstream.sendall(closing(FORCED, OVER))
        else:
            self.upstream.shutdown(_socket.SHUT_WR)
        while self._heard.last != CLOSE_OK and poll(self.upstream, select.POLLIN, max(0.0, deadline - time.monotonic())):
            if not (piece := self.upstream.recv(PIECE)):
                return
            self._heard.follow(piece)

    def _tell(self) -> None:
        """Tell the client why."""
        if self._is_open and not (self._heard.missing or self._heard.is_lost):
            with suppress(OSError):
                self.client.send(closing(FORCED, OVER), _socket.MSG_DONTWAIT)

    def _finish_frame(self, upstream: _socket.socket, deadline: float) -> None:
        """Let the client say the rest of a frame that it is in the midst of: behind half a frame nothing is understood."""
        while (missing := self._said.missing) and not self._said.is_lost:
            if not poll(self.client, select.POLLIN, max(0.0, deadline - time.monotonic())):
                return
            if not (piece := self.client.recv(min(missing, PIECE))):
                return
            self._said.follow(piece)
            upstream.sendall(piece)

    def dismiss(self) -> bool:
        """Hang up on the client, and tell it why; its own thread does, see `await_end`."""
        self.is_over = True
        with suppress(OSError):
            self.client.shutdown(_socket.SHUT_RD)
        return True

    def await_end(self) -> None:
        """Wait until the broker has let go of a client that was dismissed; where that takes too long, cut it."""
        if self._gone.wait(DEAF_SECONDS):
            return
        shut(self.client)  # it may not read what it is sent, so that its thread waits for it
        if not self._gone.wait(LEAVING_SECONDS):
            self.cut()
            self._gone.wait(LEAVING_SECONDS)


def passed(
    source: _socket.socket, target: _socket.socket, changes: dict[tuple[int, int] | None, Change] | None = None
) -> tuple[int, int] | None:
    """Pass one frame on, changed where there is a change for its method; return the method, None for no method.

    Raises:
        EOFError: the other side hung up.
        NotFrames: it was no frame.
    """
    head = exactly(source, 7)
    try:
        size = frame_size(head)
    except Refused:
        target.sendall(head)
        raise NotFrames from None
    frame = head + exactly(source, size - len(head))
    method = method_of(frame)
    change = (changes or {}).get(method)
    target.sendall(change(frame) if change is not None else frame)
    return method


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
