"""The messages of PostgreSQL's protocol that the front door and the start of a server need.

Source: PostgreSQL documentation, "Frontend/Backend Protocol"; SCRAM: RFC 5802 and RFC 7677.
"""

from __future__ import annotations

import struct

__all__ = [
    "AuthenticationError",
    "Frames",
    "Reader",
    "Sent",
    "answer_to",
    "error",
    "message",
    "messages",
    "rows",
    "startup",
    "text_of",
]

VERSION_3 = 3 << 16
CANCEL, TLS, GSS = (1234 << 16) + 5678, (1234 << 16) + 5679, (1234 << 16) + 5680
"""What a client may say in place of a version."""
HEAD = struct.Struct("!cI")
BARE_HEAD = struct.Struct("!BI")
"""The same, for who reads many: a number costs less than bytes."""
LONG = struct.Struct("!I")
SIGNED = struct.Struct("!i")
SYNC = 83
ANSWERED = frozenset(b"QSF")
"""What a client says that is answered with ReadyForQuery: Query, Sync, FunctionCall."""
COPIED = frozenset(b"cf")
"""How a client ends what it copies: CopyDone, CopyFail."""
LOOKED_INTO = frozenset(b"QPBC")
"""Query, Parse, Bind, Close."""
LONGEST = 1 << 20
"""Bytes of a message that are kept until it is whole."""
READY = 90
"""A server's word that it waits for the next statement, "Z"; the state of the transaction follows."""
IDLE, IN_TRANSACTION, FAILED = b"I", b"T", b"E"
"""These states: there is none, it is open, it is open and takes no more statements."""

TYPE_CHECKING = False
if TYPE_CHECKING:
    import _socket
    from collections.abc import Iterator, Mapping


class AuthenticationError(Exception):
    """The server wants to be logged in to in a way that is not known here."""


def message(kind: bytes, body: bytes = b"") -> bytes:
    """Return a message."""
    return HEAD.pack(kind, len(body) + 4) + body


def startup(parameters: Mapping[str, str]) -> bytes:
    """Return a client's first message."""
    words = b"".join(part.encode() + b"\0" for pair in parameters.items() for part in pair)
    return LONG.pack(len(words) + 9) + LONG.pack(VERSION_3) + words + b"\0"


def error(code: str, text: str) -> bytes:
    """Return a server's last message."""
    fields = (("S", "FATAL"), ("V", "FATAL"), ("C", code), ("M", text))
    return message(b"E", b"".join(f"{name}{value}".encode() + b"\0" for name, value in fields) + b"\0")


def text_of(body: bytes, fields: str = "VCM") -> str:
    """Return what an ErrorResponse says."""
    parts = body.decode(errors="replace").split("\0")
    return " ".join(part[1:] for part in parts if part and part[0] in fields)


def code_of(body: bytes) -> str:
    """Return an ErrorResponse's SQLSTATE."""
    return next((part[1:].decode() for part in body.split(b"\0") if part[:1] == b"C"), "")


def messages(piece: bytes) -> Iterator[tuple[bytes, bytes, bytes]]:
    """Give the kind, the body and the whole of each message, as far as they are whole."""
    at = 0
    while at + HEAD.size <= len(piece):
        kind, length = HEAD.unpack_from(piece, at)
        end = at + 1 + length
        if end > len(piece):
            return
        yield kind, piece[at + HEAD.size : end], piece[at:end]
        at = end


def rows(answer: bytes) -> list[tuple[bytes | None, ...]]:
    """Return the rows of an answer as the server has written them; None is null."""
    found: list[tuple[bytes | None, ...]] = []
    for kind, body, _ in messages(answer):
        if kind == b"D":
            at, values = 2, list[bytes | None]()
            while at < len(body):
                (size,) = SIGNED.unpack_from(body, at)
                values.append(None if size < 0 else body[at + 4 : at + 4 + size])
                at += 4 + max(size, 0)
            found.append(tuple(values))
    return found


class Frames:
    """Finds the bounds of a server's messages in pieces that end anywhere."""

    def __init__(self) -> None:
        self._left = 0  # bytes of the last message that are still to come
        self._cut = b""  # the beginning of one of which not even the length has come, or which is a short last word
        self.ready = 0
        """How many times the server has said that it waits for the next statement."""

    def follow(self, piece: bytes) -> bytes:
        """Take note of the next piece; return the state that it tells last of all, b"" where it tells none.

        Whole results are passed over by their lengths: only a ReadyForQuery is looked into.
        """
        if self._cut:
            piece, self._cut = self._cut + piece, b""
        at, end, state, head_at = self._left, len(piece), b"", BARE_HEAD.unpack_from
        whole = end - 6
        while at <= whole:
            kind, length = head_at(piece, at)
            if kind == READY:
                state = piece[at + 5 : at + 6]
                self.ready += 1
            at += length + 1
        if at < end:
            self._cut, at = piece[at:], end
        self._left = at - end
        return state


class Sent:
    """Finds a client's messages in pieces that end anywhere, and counts for how many the server will say that it is ready."""

    def __init__(self) -> None:
        self._left = 0  # bytes that are still to come of a message which nobody looks into any more
        self._rest = b""  # the beginning of one that is not whole
        self._last = 0
        self.pending = 0
        """How many answers are still to come."""

    @property
    def is_between(self) -> bool:
        """Whether the next piece begins with a message."""
        return not self._left and not self._rest

    def follow(self, piece: bytes) -> list[bytes]:
        """Take note of the next piece; return those messages that are whole by now, and the beginnings of very long ones."""
        if self._left:
            gone = min(self._left, len(piece))
            self._left -= gone
            piece = piece[gone:]
        data = self._rest + piece if self._rest else piece
        found, at, end, head_at = list[bytes](), 0, len(data), BARE_HEAD.unpack_from
        while at + BARE_HEAD.size <= end:
            kind, length = head_at(data, at)
            after = at + length + 1
            if after > end and length <= LONGEST and kind in LOOKED_INTO:
                break
            self._count(kind)
            if kind in LOOKED_INTO:
                found.append(data[at : min(after, end)])
            at = min(after, end)
            self._left = after - at
        self._rest = data[at:]
        return found

    def _count(self, kind: int) -> None:
        if kind in ANSWERED:
            self.pending += 1
            self._last = kind
        elif kind in COPIED and self._last == SYNC:
            self.pending = max(0, self.pending - 1)  # the server passes over a Sync that comes before the data

    def answered(self, count: int) -> None:
        """Note that the server, or who stands for it, has said so many times that it is ready."""
        self.pending = max(0, self.pending - count)


class Reader:
    """Reads whole messages from a socket."""

    def __init__(self, connection: _socket.socket) -> None:
        self._connection = connection

    def exactly(self, size: int) -> bytes:
        """Return so many bytes.

        Raises:
            EOFError: the other end hung up.
        """
        data = b""
        while len(data) < size:
            piece = self._connection.recv(size - len(data))
            if not piece:
                raise EOFError
            data += piece
        return data

    def next(self) -> tuple[bytes, bytes]:
        """Return the kind and the body of the next message.

        Raises:
            EOFError: the other end hung up.
        """
        kind, length = HEAD.unpack(self.exactly(HEAD.size))
        return kind, self.exactly(length - 4)

    def first(self) -> tuple[int, bytes]:
        """Return the version, or what stands for it, and the rest of a client's first message.

        Raises:
            EOFError: the client hung up, or speaks another protocol.
        """
        length, version = struct.unpack("!II", self.exactly(8))
        if not 8 <= length <= 10000:
            raise EOFError
        return version, self.exactly(length - 8)


def answer_to(body: bytes, user: str, password: str, memory: list[bytes]) -> bytes:
    """Return what a client says to an Authentication message other than "ok"; b"" where there is nothing to say.

    Args:
        body: of the server's message.
        user: role to log in as.
        password: its password.
        memory: what the steps of SCRAM must remember; empty at first.

    Raises:
        AuthenticationError: it wants something else.
    """
    (method,) = LONG.unpack_from(body)
    if method == 3:
        return message(b"p", password.encode() + b"\0")
    if method == 5:
        from hashlib import md5

        inner = md5(password.encode() + user.encode(), usedforsecurity=False).hexdigest().encode()
        return message(b"p", b"md5" + md5(inner + body[4:8], usedforsecurity=False).hexdigest().encode() + b"\0")
    if method == 10 and b"SCRAM-SHA-256" in body[4:].split(b"\0"):
        return _scram_first(memory)
    if method == 11:
        return _scram_last(body[4:], password, memory)
    if method == 12:
        return b""
    raise AuthenticationError(f"the server wants the authentication method {method}")


def _scram_first(memory: list[bytes]) -> bytes:
    import os
    from base64 import b64encode

    memory[:] = [b"n=,r=" + b64encode(os.urandom(18))]
    said = b"n,," + memory[0]
    return message(b"p", b"SCRAM-SHA-256\0" + LONG.pack(len(said)) + said)


def _scram_last(challenge: bytes, password: str, memory: list[bytes]) -> bytes:
    import hmac
    from base64 import b64decode, b64encode
    from hashlib import pbkdf2_hmac, sha256

    said = dict(part.split(b"=", 1) for part in challenge.split(b","))
    salted = pbkdf2_hmac("sha256", password.encode(), b64decode(said[b"s"]), int(said[b"i"]))
    key = hmac.digest(salted, b"Client Key", "sha256")
    without_proof = b"c=biws,r=" + said[b"r"]
    whole = b",".join((memory[0], challenge, without_proof))
    signature = hmac.digest(sha256(key).digest(), whole, "sha256")
    proof = bytes(left ^ right for left, right in zip(key, signature, strict=True))
    return message(b"p", without_proof + b",p=" + b64encode(proof))
