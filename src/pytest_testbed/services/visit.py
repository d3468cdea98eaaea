"""One client's connection at the front door, passed on to the service as it is."""

from __future__ import annotations

import _socket  # the class below `socket.socket`, as everywhere in the host
import select
import threading
import time
from contextlib import suppress

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .frontdoor import FrontDoor
    from .model import Endpoint

__all__ = ["PIECE", "Visit", "connected", "poll", "shut"]

PIECE = 1 << 16
"""Bytes that are passed on at once."""
GLANCE = 0.001
"""Seconds between two looks at whether a client may go on."""
CONNECT_TIMEOUT = 10.0
EVENTS = getattr(select, "epoll", select.poll)
"""How a visit waits for both its ends; on Linux epoll was measured to cost 0.75 of what poll does."""


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
        self.alarm: tuple[_socket.socket, _socket.socket] | None = None
        """By which `flow` is told of another end at the service, where others than its thread may have got it."""
        self._minds_alarm = False
        self.hearing = threading.Lock()
        """Held by who reads what the service says."""
        self.since = door.board.messages
        self.is_late = False
        self.is_led = False
        """Whether it has come to what stands in for that which it wants."""
        self.is_over = False
        self.needs: set[tuple[str, ...]] = set()
        """What must be on the service for as long as the client is there, in the kind's own words."""
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
        return True

    def make(self) -> None:
        """Make what the run has of its own on the service: where it has nothing, nothing."""

    def flow(self) -> None:
        """Pass on what either side says until the client leaves: one thread for both, as each further one is a wake-up more."""
        events, watched, at = EVENTS(), None, self.client.fileno()
        events.register(at, select.POLLIN)
        while True:
            if watched is not self.upstream:
                watched = self._watch(events, watched)
            for file, _ in events.poll():
                if file == at:
                    if not self.heed():
                        return
                elif watched is not None and file == watched.fileno():
                    if not self.answer(watched):
                        events.unregister(file)
                        self._mind_alarm(events)
                elif self.alarm is not None:
                    self.alarm[0].recv(PIECE)  # there is another end at the service

    def _watch(self, events: select.poll, watched: _socket.socket | None) -> _socket.socket | None:
        """Look at the end at the service that is there now, and no more at the last one."""
        with suppress(KeyError, OSError):  # of poll and epoll: it is not looked at any more
            if watched is not None:
                events.unregister(watched.fileno())
        self._mind_alarm(events)
        if (upstream := self.upstream) is not None:
            events.register(upstream.fileno(), select.POLLIN)
        return upstream

    def _mind_alarm(self, events: select.poll) -> None:
        if self.alarm is not None and not self._minds_alarm:
            events.register(self.alarm[0].fileno(), select.POLLIN)
            self._minds_alarm = True

    def heed(self) -> bool:
        """Pass on what the client has sent; tell whether it is still there."""
        board = self.door.board
        board.set_out()
        try:
            if not (piece := self.client.recv(PIECE)):
                return False
            board.count_message()
            while board.hushed and not self.door.stand_in and not self.is_farewell(piece):
                board.passed_on()
                try:
                    self._hold()
                finally:
                    board.set_out()
            self.say(piece)
        finally:
            board.passed_on()
        return True

    def say(self, piece: bytes) -> None:
        """Pass on what the client has sent."""
        self.push(piece)

    def push(self, piece: bytes) -> None:
        """Send something to the service. Who does not take it as long as it is not heard itself is heard meanwhile."""
        upstream, sent = self.upstream, 0
        assert upstream is not None
        try:
            while True:
                with suppress(BlockingIOError):
                    sent += upstream.send(piece[sent:] if sent else piece, _socket.MSG_DONTWAIT)
                    if sent == len(piece):
                        return
                self._listen(upstream, select.POLLIN | select.POLLOUT)
        except OSError:
            while self._listen(upstream, select.POLLIN, 0):  # its last words
                continue
            raise

    def _listen(self, upstream: _socket.socket, events: int, timeout: float | None = None) -> bool:
        """Wait for the service, and pass on what it says, if it says something; tell whether it did.

        Args:
            upstream: the end at the service.
            events: what is waited for.
            timeout: seconds; None: for as long as it takes.

        Raises:
            EOFError: it is gone.
        """
        happened = poll(upstream, events, timeout) & ~select.POLLOUT
        if happened and not self.answer(upstream):
            raise EOFError
        return bool(happened)

    def is_farewell(self, piece: bytes) -> bool:
        """Tell whether the client only says that it leaves: nobody waits for an answer to that."""
        return False

    def _hold(self) -> None:
        """Wait until the next test begins; what the service says goes on to the client.

        Raises:
            EOFError: somebody has hung up on the client: what it said must not reach a backend that it would get now.
        """
        self.is_late = True
        self.door.board.count_late()
        silent = None
        while self.door.board.hushed and not (self.is_over or self.door.stand_in):
            if (upstream := self.upstream) is None or upstream is silent:
                time.sleep(GLANCE)
            elif poll(upstream, select.POLLIN, GLANCE) and not self.answer(upstream):
                silent = upstream
        if self.is_over:
            raise EOFError
        self.is_late = False

    def answer(self, upstream: _socket.socket) -> bool:
        """Pass on what the service says; tell whether it is still there."""
        with self.hearing:
            try:
                piece = upstream.recv(PIECE, _socket.MSG_DONTWAIT)
            except BlockingIOError:
                return True  # it was for somebody else
            except OSError:
                piece = b""
            if piece:
                self.hear(piece)
        if not piece:
            self.ended(upstream)
        return bool(piece)

    def hear(self, piece: bytes) -> None:
        """Pass on what the service has said."""
        self.client.sendall(piece)

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

    def dismiss(self) -> bool:
        """Hang up on the client, and tell it why where the protocol is known."""
        return self.cut()

    def inquire(self) -> None:
        """Ask the service whether all is done that the client has said, unseen by it: not where the protocol is unknown."""

    def await_answer(self) -> None:
        """Wait for the answer to that."""

    def await_end(self) -> None:
        """Wait until the service has let go of a client that was dismissed: not where the protocol is unknown."""

    def cut(self) -> bool:
        """Hang up on both sides."""
        self.is_over = True
        shut(self.client)
        if self.upstream is not None:
            shut(self.upstream)
        return True


def poll(connection: _socket.socket, events: int, timeout: float | None) -> int:
    """Wait until something happens on a socket, so many seconds at most; return what has, 0 where nothing has."""
    waiting = select.poll()
    waiting.register(connection.fileno(), events)
    found = waiting.poll(None if timeout is None else timeout * 1000)
    return found[0][1] if found else 0


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
