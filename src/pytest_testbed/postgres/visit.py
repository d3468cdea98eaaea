"""A client of PostgreSQL at the front door: let in by the run's own password, then passed on.

The host logs in to the server by itself. So the address can be known before there is a server, and a
client that keeps its connection for longer than the database behind it may be given another backend
without noticing. For the host process: the standard library only.
"""

from __future__ import annotations

import _socket  # the class below `socket.socket`, as everywhere in the host
import threading
from contextlib import suppress

from ..errors import TestbedError
from ..services.visit import Visit, shut
from .belongings import BIND, Belongings
from .greeting import Greeting
from .login import Login, cancel
from .messages import FAILED, IDLE, IN_TRANSACTION, LONG, AuthenticationError, Frames, Sent, error, message
from .prepared import CHANGED, FAIL
from .unseen import Unseen

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..services.frontdoor import FrontDoor

__all__ = ["PostgresVisit"]

READY = b"Z\x00\x00\x00\x05"
"""A server's word that it waits for the next statement, without the state of the transaction that follows."""
UNDO = message(b"Q", b"ROLLBACK;BEGIN\0")
UNLOCK = message(b"Q", b"SELECT pg_advisory_unlock_all()\0")
FAREWELL = message(b"X")
OVER = error("57P01", "pytest-testbed: the test of this connection is over: what it sends now would be the next one's")
"""For who is ended because he went on."""


class PostgresVisit(Visit):
    """One client's connection to PostgreSQL."""

    def __init__(self, door: FrontDoor, client: _socket.socket) -> None:
        super().__init__(door, client)
        self._through: bool = door.facts["through"]
        self._greeting = Greeting(door, client)
        self._login = Login(door, self._greeting)
        self._first_key = b""  # by which the client knows its backend, whichever it has by now
        self._belongings = Belongings(door.board)
        self._unseen = Unseen(self.hearing)
        self._state = b""  # what the server has told last, or b"" since the client has sent something
        self._frames, self._sent = Frames(), Sent()
        self.is_parked = False
        self._lock = threading.Lock()
        self._returning = threading.Lock()  # may be held for long: until the database is made

    # --- coming in

    def enter(self) -> bool:
        """Let the client in, and log in to the server for it."""
        if not self._through and not self._greeting.hear():
            if self._greeting.cancels is not None:
                self._cancel(self._greeting.cancels)
            return False
        try:
            if self._through:
                return super().enter()
            words = self._come_in()
        except TestbedError as fault:
            return self._turn_away("57P03", f"pytest-testbed: {fault}")
        except (AuthenticationError, OSError, EOFError) as fault:
            return self._turn_away("08001", f"pytest-testbed: the server cannot be reached: {fault}")
        if self.upstream is None:
            self.client.sendall(words)
            return False
        self._first_key = self._login.key
        self.client.sendall(message(b"R", LONG.pack(0)) + words)
        return True

    def _cancel(self, key: bytes) -> None:
        """Pass a request to cancel on to the backend that its client has by now."""
        for visit in list(self.door.visits):
            if isinstance(visit, PostgresVisit) and visit._first_key == key and visit._login.key:
                with suppress(OSError):
                    cancel(self.door.endpoint(), visit._login.key)

    def _turn_away(self, code: str, text: str) -> bool:
        return self._greeting.turn_away(code, text) if self._through else self._greeting.refuse(code, text)

    def _come_in(self) -> bytes:
        """Connect to the database that the client wants, or to what stands in for it; return the server's words.

        There is no `upstream` then where it has refused.

        Raises:
            TestbedError: the database could not be made, or there is no server.
        """
        said, login = self._greeting.said, self._login
        is_ours = said.get("database", said["user"]) == self.door.facts["database"]
        while True:
            endpoint = login.as_who_it_is(self.door.endpoint())
            stand_in = self.door.await_made(self.make, is_makers=self._greeting.is_makers) if is_ours else ""
            upstream, words = login.log_in(endpoint, stand_in, self._make_room, is_again=self.is_parked)
            if upstream is not None:
                self.backend = login.backend
                self._belongings.bring(upstream, endpoint.user)
            with self._lock:
                if stand_in == self.door.stand_in or not stand_in:
                    self.upstream, self.is_led = upstream, bool(stand_in)
                    self._frames, self._unseen.owed = Frames(), None
                    self._state = self._state if self.is_parked else words[-1:]  # who returns is about to send something
                    self.is_parked = self.is_parked and upstream is None
                    return words
            if upstream is not None:  # it is about to be closed to everybody, or is gone by now
                upstream.close()

    def make(self) -> None:
        """Make the run's database: the pytest process has not come to it."""
        from .making import make

        make(self.door)

    def _make_room(self) -> None:
        """Let connections that wait for nothing give up their backends until they need one again."""
        others = [visit for visit in list(self.door.visits) if visit is not self and isinstance(visit, PostgresVisit)]
        idle = [visit for visit in others if visit.state() == IDLE and not visit.is_parked and not visit._belongings.listens]
        wanted = max(1, len(idle) // 2)
        for visit in idle:
            wanted -= visit.park()
            if not wanted:
                break

    # --- while it is here

    def say(self, piece: bytes) -> None:
        """Pass on what the client has sent, to a new backend if it had to give up the last one."""
        if self._through:
            self.push(piece)
            return
        with self._lock:  # from now on nobody parks it, or slips something in
            state, self._state = self._state, b""
        if self.is_parked:
            if self.is_farewell(piece):
                raise EOFError  # nobody needs a backend to say good-bye to
            self._return()
        begins_with_bind = piece[0] == BIND and self._sent.is_between
        # only now: another backend must not know them before they are passed on
        for whole in self._sent.follow(piece):
            self._belongings.hear(whole)
        if not begins_with_bind or self._is_bound(piece, state):
            self.push(piece)

    def is_farewell(self, piece: bytes) -> bool:
        """Tell whether the client only says that it leaves."""
        return piece == FAREWELL

    def _is_bound(self, piece: bytes, state: bytes) -> bool:
        """Tell whether the server can be asked for a prepared statement; if not, the client was told so."""
        if self._belongings.prepared.is_refused(piece) and state in (IDLE, IN_TRANSACTION):
            if state == IN_TRANSACTION:
                self._behind(FAIL)
                state = FAILED
            self._state = state
            self._sent.answered(1)
            self.client.sendall(CHANGED + READY + state)
            return False
        if missing := self._belongings.prepared.missing(piece):
            self._behind(missing)
            self._state = b""
        return True

    def hear(self, piece: bytes) -> None:
        """Pass on what the server has said, but for the answer to what the client did not ask."""
        if self._unseen.owed is not None:
            piece = self._unseen.sift(piece)[1]
        if piece and not self._through:
            before = self._frames.ready
            state = self._frames.follow(piece)
            self._sent.answered(self._frames.ready - before)
            if state and not self._sent.pending:
                self._state = state
        self.client.sendall(piece)

    def ended(self, upstream: _socket.socket) -> None:
        """Hang up too, unless it was we who hung up on this backend."""
        if upstream is self.upstream and not self.is_parked:
            super().ended(upstream)

    def _return(self) -> None:
        """Get a new backend, and tell it what the last one knew."""
        with self._returning:
            if self.is_parked:  # else somebody was first
                self._come_back()

    def _come_back(self) -> None:
        try:
            words = self._come_in()
        except (TestbedError, AuthenticationError) as fault:
            words = error("57P01", f"pytest-testbed: {fault}")
        except (OSError, EOFError) as fault:
            words = error("08001", f"pytest-testbed: the server cannot be reached: {fault}")
        if self.is_parked or self.upstream is None:
            self.client.sendall(words + READY + IDLE)  # without it libpq tells only that the connection was closed
            raise OSError("the server did not let us in again")
        if self.alarm is not None:
            self.alarm[1].send(b"!")

    # --- what can be done to it

    def state(self) -> bytes:
        """Return the state of its transaction: one of the three constants, or b"" while a statement runs."""
        return self._state

    def park(self) -> bool:
        """Give up the backend; with the next statement the client gets another, in a fresh transaction.

        Not where a statement runs, nor where the client has something on the backend that another one would not have.
        """
        with self._lock:
            self.bound = ""
            if self.upstream is None or self.is_parked or not self._state or self._through:
                return False
            state = self._state
            with suppress(OSError):
                self._question(state)
            if (bound := self._belongings.bound) and not self.is_led:
                self.bound = f"{self._who()} had {', '.join(bound)}"
                return False
            self._belongings.take_along(state)
            self._state = IDLE if state == IDLE else IN_TRANSACTION
            self.is_parked = True
            self.backend = 0
            if self._belongings.listens and self.alarm is None:  # it may be woken
                self.alarm = _socket.socketpair()  # type: ignore[attr-defined,unused-ignore]
            shut(self.upstream)
            return True

    def _question(self, state: bytes) -> None:
        """Let the backend tell what another one has to be told, and what that one could not have."""
        if state == FAILED:  # there nothing can be asked
            self._behind(UNDO)
            self._state = IN_TRANSACTION
        self._belongings.learn(self._behind, state, is_led=self.is_led)

    def _who(self) -> str:
        name = self._greeting.said.get("application_name", "")
        return f"a connection ({name}, pid {self.backend})" if name else f"a connection (pid {self.backend})"

    def dismiss(self) -> bool:
        """Hang up on the client, and tell it why."""
        with suppress(OSError):
            self.client.send(OVER, _socket.MSG_DONTWAIT)
        return self.cut()

    def reset(self) -> bool:
        """Roll the open transaction back and begin one anew, unseen by the client."""
        return self._slip_in(UNDO, (IN_TRANSACTION, FAILED))

    def unlock(self) -> bool:
        """Give up the session's advisory locks, unseen by the client."""
        return self._slip_in(UNLOCK, (IDLE, IN_TRANSACTION))

    def silence(self) -> bool:
        """Listen no more to the channels of this test, unseen by the client, where it has no transaction open."""
        text = self._belongings.silenced()
        return bool(text) and self._slip_in(text, (IDLE,))

    def wake(self) -> None:
        """Get a new backend at once where the client listens to a channel: it would send nothing, and wait in vain."""
        if self.is_parked and self._belongings.listens and self._returning.acquire(blocking=False):
            try:
                with suppress(OSError, EOFError):
                    self._come_back()
            finally:
                self._returning.release()

    def _slip_in(self, text: bytes, states: tuple[bytes, ...]) -> bool:
        """Send something that the client knows nothing of; tell whether it could be done."""
        with self._lock:
            if self.upstream is None or self.is_parked or self._state not in states:
                return False
            answer = self._behind(text)
            if answer is not None:
                self._state = answer[-1:]
            return bool(answer)

    def _behind(self, text: bytes) -> bytes | None:
        """Send something behind the client's back; return what `Unseen.ask` does."""
        assert self.upstream is not None
        return self._unseen.ask(self.upstream, text, self.hear)
