"""A client of PostgreSQL at the front door: let in by the run's own password, then passed on.

The host logs in to the server by itself. So the address can be known before there is a server, and a
client that keeps its connection for longer than the database behind it may be given another backend
without noticing. Who comes as another role than the run's own is logged in with the password that it has
said: the server decides. For the host process: the standard library only.
"""

from __future__ import annotations

import _socket  # the class below `socket.socket`, as everywhere in the host
import select
import threading
import time
from contextlib import suppress

from ..errors import TestbedError
from ..services.visit import PIECE, Visit, connected, poll, shut
from .channels import Channels
from .messages import (
    CANCEL,
    GSS,
    LONG,
    TLS,
    VERSION_3,
    AuthenticationError,
    Frames,
    Reader,
    Sent,
    answer_to,
    code_of,
    error,
    message,
    messages,
    startup,
    text_of,
)
from .prepared import CHANGED, FAIL, Prepared
from .sessionstate import SessionState

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..services.frontdoor import FrontDoor
    from ..services.model import Endpoint

__all__ = ["PostgresVisit"]

READY = b"Z\x00\x00\x00\x05"
"""A server's word that it waits for the next statement, without the state of the transaction that follows."""
IDLE, IN_TRANSACTION, FAILED = b"I", b"T", b"E"
FULL = "53300"
RECOVERING = "57P03"
NO_DATABASE = "3D000"
WRONG_PASSWORD, NOT_LET_IN = "28P01", "28000"
PATIENCE = 5.0
"""Seconds in which a full server, or one that recovers, may come to let somebody in."""
UNDO = message(b"Q", b"ROLLBACK;BEGIN\0")
UNLOCK = message(b"Q", b"SELECT pg_advisory_unlock_all()\0")
BEGIN = message(b"Q", b"BEGIN\0")
FAREWELL = message(b"X")
BIND, CLOSE, TEXTS = 66, 67, frozenset(b"QP")
NOTIFICATION = b"A"
OVER = error("57P01", "pytest-testbed: the test of this connection is over: what it sends now would be the next one's")
"""For who is ended because he went on."""


class PostgresVisit(Visit):
    """One client's connection to PostgreSQL."""

    def __init__(self, door: FrontDoor, client: _socket.socket) -> None:
        super().__init__(door, client)
        self._said: dict[str, str] = {}
        self._state = b""  # what the server has told last, or b"" since the client has sent something
        self.is_parked = False
        self._is_makers = False
        self._password: str | None = None
        """That of another role than the run's own: only the server knows whether it is right."""
        self._in_transaction = False
        self._prepared = Prepared()
        self._session = SessionState()
        self._channels = Channels()
        self._lock = threading.Lock()
        self._returning = threading.Lock()  # may be held for long: until the database is made
        self._through: bool = door.facts["through"]
        self._frames, self._sent = Frames(), Sent()
        self._owed: bytes | None = None  # what has come of an answer that the client must not see
        self._key = (0, b"")
        self._first_key = (0, b"")

    # --- coming in

    def enter(self) -> bool:
        """Let the client in, and log in to the server for it."""
        if not self._through and not self._greet():
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
        self._first_key = self._key
        self.client.sendall(message(b"R", LONG.pack(0)) + words)
        return True

    def _come_in(self) -> bytes:
        """Connect to the database that the client wants, or to what stands in for it; return the server's words.

        There is no `upstream` then where it has refused.

        Raises:
            TestbedError: the database could not be made, or there is no server.
        """
        is_ours = self._said.get("database", self._said["user"]) == self.door.facts["database"]
        while True:
            endpoint = self._as_who_it_is(self.door.endpoint())
            stand_in = self.door.await_made(self.make, is_makers=self._is_makers) if is_ours else ""
            upstream, words = self._log_in(endpoint, stand_in)
            if upstream is not None:
                self._tell_again(upstream, endpoint.user)
            with self._lock:
                if stand_in == self.door.stand_in or not stand_in:
                    self.upstream, self.is_led = upstream, bool(stand_in)
                    self._frames, self._owed = Frames(), None
                    self._state = self._state if self.is_parked else words[-1:]  # who returns is about to send something
                    self.is_parked = self.is_parked and upstream is None
                    return words
            if upstream is not None:  # it is about to be closed to everybody, or is gone by now
                upstream.close()

    def make(self) -> None:
        """Make the run's database: the pytest process has not come to it."""
        from .making import make

        make(self.door)

    def _make_stand_in(self, name: str) -> None:
        """Make what stands in for the run's database: nobody has needed it so far."""
        from .making import create

        with suppress(Exception):  # another client was quicker; if not, the next log-in says why
            create(self.door, name)

    def _greet(self) -> bool:
        """Hear what the client wants and who it is; tell whether it may stay."""
        reader = Reader(self.client)
        version, rest = self._hear_first(reader)
        if version == CANCEL:
            self._cancel(rest)
            return False
        if version >> 16 != VERSION_3 >> 16:
            return self._refuse("0A000", "pytest-testbed: only version 3 of the protocol is spoken here")
        words = rest.split(b"\0")
        said = {name.decode(): value.decode() for name, value in zip(words[::2], words[1::2], strict=False) if name}
        self._said = {name: value for name, value in said.items() if not name.startswith("_pq_.")}
        if version != VERSION_3 or self._said != said:
            unknown = [name.encode() + b"\0" for name in said if name not in self._said]
            self.client.sendall(message(b"v", LONG.pack(VERSION_3) + LONG.pack(len(unknown)) + b"".join(unknown)))
        self.client.sendall(message(b"R", LONG.pack(3)))
        kind, secret = reader.next()
        return self._is_known(secret) if kind == b"p" else self._refuse(WRONG_PASSWORD, f"{self._failed()}: it has sent none")

    def _is_known(self, secret: bytes) -> bool:
        """Tell whether a client may go on with a password; where the server has to decide, it may."""
        user, own = self._said.get("user", ""), self.door.facts["user"]
        known = [secret == each.encode() + b"\0" for each in (self.door.facts["password"], self.door.maker) if each]
        self._is_makers = known[1:] == [True]
        if user == own:
            return any(known) or self._refuse(WRONG_PASSWORD, self._failed())
        if any(known):  # the server would take it where it asks for none
            return self._refuse(WRONG_PASSWORD, f'{self._failed()}: it is that of "{own}"; connect with the role\'s own password')
        self._password = secret[:-1].decode(errors="replace")
        return bool(user) or self._refuse(NOT_LET_IN, "pytest-testbed: the client has not said as which user it comes")

    def _failed(self) -> str:
        return f'pytest-testbed: password authentication failed for user "{self._said.get("user", "")}"'

    def _hear_first(self, reader: Reader) -> tuple[int, bytes]:
        """Return the client's first message; who asks for an encrypted connection before it does not get one."""
        version, rest = reader.first()
        while version in (TLS, GSS):
            self.client.sendall(b"N")
            version, rest = reader.first()
        return version, rest

    def _turn_away(self, code: str, text: str) -> bool:
        """Tell the client why it cannot be let in; who would have been passed through has not been heard so far."""
        if self._through and self._hear_first(Reader(self.client))[0] == CANCEL:
            return False  # nobody listens
        return self._refuse(code, text)

    def _refuse(self, code: str, text: str) -> bool:
        with suppress(OSError):
            self.client.sendall(error(code, text))
        return False

    def _cancel(self, key: bytes) -> None:
        """Pass a request to cancel on to the backend that its client has by now."""
        for visit in list(self.door.visits):
            if isinstance(visit, PostgresVisit) and visit._first_key[1] == key and visit._key[1]:
                with suppress(OSError):
                    server = self._reach(self.door.endpoint())
                    server.sendall(LONG.pack(16) + LONG.pack(CANCEL) + visit._key[1])
                    server.recv(1)  # it hangs up when it has done so
                    server.close()

    # --- the server's side

    def _as_who_it_is(self, endpoint: Endpoint) -> Endpoint:
        """Return how the client is logged in: as another role over TCP, as the private socket trusts everybody."""
        if self._password is None:
            return endpoint
        return endpoint.with_(user=self._said["user"], password=self._password, socket="")

    def _reach(self, endpoint: Endpoint) -> _socket.socket:
        path = f"{endpoint.socket}/.s.PGSQL.{endpoint.port}" if endpoint.socket else ""
        return connected(endpoint, path)

    def _log_in(self, endpoint: Endpoint, database: str = "") -> tuple[_socket.socket | None, bytes]:
        """Return a connection to the server and all that it said after letting us in; or None and its refusal.

        Args:
            endpoint: the server.
            database: another one than the client has named.
        """
        said = {**self._with_patience(), "user": endpoint.user, **({"database": database} if database else {})}
        deadline = time.monotonic() + PATIENCE
        while True:
            server = self._reach(endpoint)
            refusal, words = self._introduce(server, endpoint, said)
            if not refusal:
                return server, words
            server.close()
            code = code_of(refusal)
            if code == NO_DATABASE and database and database == self.door.stand_in and time.monotonic() < deadline:
                self._make_stand_in(database)
                continue
            if code not in (FULL, RECOVERING) or time.monotonic() > deadline:
                return None, error(code, f"{text_of(refusal, 'M')}{self._advice(code)}")
            if code == FULL:
                self._make_room()
            time.sleep(0.02)

    def _with_patience(self) -> dict[str, str]:
        """Return what the client has said, and how long it waits for a lock, where it has not said that.

        The test that holds the lock may be the one that waits for the client. What a client says in its own `options`, or
        as a parameter, comes after ours and wins: nobody has to look into it.
        """
        patience = f"-c lock_timeout={self.door.facts['lock_timeout']}"
        return {**self._said, "options": " ".join(filter(None, (patience, self._said.get("options"))))}

    def _advice(self, code: str) -> str:
        if self.is_parked and code in (WRONG_PASSWORD, NOT_LET_IN):
            return (
                f' (pytest-testbed: this connection has been given another backend, and had to log in as "{self._said["user"]}" '
                "again; the role is gone, or its password or rights have changed since it connected. Connect anew)"
            )
        if code != FULL:
            return ""
        count = len(self.door.visits)
        return (
            f" (pytest-testbed: {count} connections of this process are open at the exported address; close those that are "
            "no longer needed, or raise the limit: testbed_pg_args = -c max_connections=300)"
        )

    def _make_room(self) -> None:
        """Let connections that wait for nothing give up their backends until they need one again."""
        others = [visit for visit in list(self.door.visits) if visit is not self and isinstance(visit, PostgresVisit)]
        idle = [visit for visit in others if visit.state() == IDLE and not visit.is_parked and not visit._channels.names]
        wanted = max(1, len(idle) // 2)
        for visit in idle:
            wanted -= visit.park()
            if not wanted:
                break

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
                self._key = (LONG.unpack_from(body)[0], body)
                self.backend = self._key[0]
            if kind == b"Z":
                return b"", words

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
            self._take_note(whole)
        if not begins_with_bind or self._is_bound(piece, state):
            self.push(piece)

    def _take_note(self, whole: bytes) -> None:
        """Remember what another backend would have to know, of a message that has text or the name of a statement."""
        kind = whole[0]
        if kind != BIND:
            self._prepared.hear(whole)
        if kind != CLOSE:
            self._session.hear(whole)
        if kind in TEXTS and self._channels.hear(whole, self.door.board.messages):
            self.door.board.count_listen()

    def is_farewell(self, piece: bytes) -> bool:
        """Tell whether the client only says that it leaves."""
        return piece == FAREWELL

    def _is_bound(self, piece: bytes, state: bytes) -> bool:
        """Tell whether the server can be asked for a prepared statement; if not, the client was told so."""
        if self._prepared.is_refused(piece) and state in (IDLE, IN_TRANSACTION):
            if state == IN_TRANSACTION:
                self._behind(FAIL)
                state = FAILED
            self._state = state
            self._sent.answered(1)
            self.client.sendall(CHANGED + READY + state)
            return False
        if missing := self._prepared.missing(piece):
            self._behind(missing)
            self._state = b""
        return True

    def hear(self, piece: bytes) -> None:
        """Pass on what the server has said, but for the answer to what the client did not ask."""
        if self._owed is not None:
            piece = self._without_answer(piece)[1]
        if piece and not self._through:
            before = self._frames.ready
            state = self._frames.follow(piece)
            self._sent.answered(self._frames.ready - before)
            if state and not self._sent.pending:
                self._state = state
        self.client.sendall(piece)

    def _without_answer(self, piece: bytes) -> tuple[bytes, bytes]:
        """Return the answer to what the client did not ask, b"" while it is not whole, and what is for the client."""
        assert self._owed is not None
        self._owed += piece
        if not (at := _end_of_answer(self._owed)):
            return b"", b""
        answer, rest, self._owed = self._owed[:at], self._owed[at:], None
        return answer, b"".join(whole for kind, _, whole in messages(answer) if kind == NOTIFICATION) + rest

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

    def _tell_again(self, upstream: _socket.socket, user: str) -> None:
        """Tell a new backend what the last one knew; the first one is told nothing."""
        reader = Reader(upstream)
        begin = [BEGIN, *self._session.again_in_transaction()] if self._in_transaction else []
        for text in (*self._session.again(user), *self._channels.again()):
            _ask(upstream, reader, text)
        self._prepared.bring(lambda text: _ask(upstream, reader, text))
        for text in begin:
            _ask(upstream, reader, text)

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
            if self.upstream is None or self.is_parked or not self._state or self.door.facts["through"]:
                return False
            state = self._state
            with suppress(OSError):
                self._question(state)
            if self._session.bound and not self.is_led:
                self.bound = f"{self._who()} had {', '.join(self._session.bound)}"
                return False
            self._in_transaction = state != IDLE
            self._state = IN_TRANSACTION if self._in_transaction else IDLE
            self.is_parked = True
            self.backend = 0
            if self._channels.names and self.alarm is None:  # it may be woken
                self.alarm = _socket.socketpair()  # type: ignore[attr-defined,unused-ignore]
            shut(self.upstream)
            return True

    def _question(self, state: bytes) -> None:
        """Let the backend tell what another one has to be told, and what that one could not have."""
        session = self._session
        session.forget_transaction()
        if state == FAILED:  # there nothing can be asked
            self._behind(UNDO)
            self._state = IN_TRANSACTION
            session.learn(self._behind(session.question()) or b"")
            return
        session.learn(self._behind(session.question()) or b"", of_transaction=state == IN_TRANSACTION)
        if session.bound and not self.is_led:
            return
        self._prepared.describe(lambda text: self._behind(text) or b"")
        if state == IN_TRANSACTION:
            session.learn(self._behind(session.question("ROLLBACK;")) or b"")

    def _who(self) -> str:
        name = self._said.get("application_name", "")
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
        text = self._channels.without_those_since(self.door.board.began)
        return bool(text) and self._slip_in(text, (IDLE,))

    def wake(self) -> None:
        """Get a new backend at once where the client listens to a channel: it would send nothing, and wait in vain."""
        if self.is_parked and self._channels.names and self._returning.acquire(blocking=False):
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
        """Send something behind the client's back, who waits for nothing; return the answer.

        Returns:
            b"" where none came in time; None where nothing was sent.
        """
        if not self.hearing.acquire(timeout=PATIENCE):  # the client does not read what it has asked for
            return None
        try:
            return self._answered(text) if self._owed is None else None  # not even the last one was answered
        except OSError:
            return b""  # the backend has just gone
        finally:
            self.hearing.release()

    def _answered(self, text: bytes) -> bytes:
        upstream, deadline = self.upstream, time.monotonic() + PATIENCE
        assert upstream is not None
        self._owed = b""
        upstream.sendall(text)
        while (left := deadline - time.monotonic()) > 0 and poll(upstream, select.POLLIN, left):
            if not (piece := upstream.recv(PIECE)):
                break
            answer, piece = self._without_answer(piece)
            if piece:
                self.hear(piece)
            if answer:
                return answer
        return b""  # when it comes, the client will not see it


def _ask(server: _socket.socket, reader: Reader, text: bytes) -> bytes:
    """Send something; return all that it is answered."""
    server.sendall(text)
    answer, kind = b"", b""
    while kind != b"Z":
        kind, body = reader.next()
        answer += message(kind, body)
    return answer


def _end_of_answer(piece: bytes) -> int:
    """Return how far an answer goes at the beginning of what was received; 0 where its end has not come yet."""
    at = 0
    for kind, _, whole in messages(piece):
        at += len(whole)
        if kind == b"Z":
            return at
    return 0
