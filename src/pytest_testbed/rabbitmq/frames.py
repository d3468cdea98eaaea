"""As much of AMQP 0-9-1 as a login takes: the frames, and the few methods by which a connection is opened.

Source: the AMQP 0-9-1 specification (amq-protocol), and RabbitMQ's authentication_failure_close extension.
The standard library only, as the host process has no client of AMQP.
"""

from __future__ import annotations

import struct
from collections.abc import Callable

__all__ = [
    "CLOSE",
    "CLOSE_OK",
    "HEADER",
    "OPEN",
    "SECURE",
    "START",
    "START_OK",
    "TUNE",
    "TUNE_OK",
    "Refused",
    "Track",
    "closing",
    "frame_size",
    "login",
    "method_of",
    "opened",
    "plain_login",
    "server_version",
    "with_login",
    "with_vhost",
]

HEADER = b"AMQP\x00\x00\x09\x01"
START, START_OK, TUNE, TUNE_OK, OPEN, OPEN_OK, CLOSE, CLOSE_OK = ((10, number) for number in (10, 11, 30, 31, 40, 41, 50, 51))
SECURE = (10, 20)
_METHOD, _END = 1, 0xCE
KINDS = (_METHOD, 2, 3, 8)
HEAD = struct.Struct(">BHI")
LONGEST = 255
"""Bytes of a short text."""
LOOKED_AT = 19
"""Bytes of a frame that tell what it is: of a message's header also the size of its body."""
TLS_ALERT = 0x15
"""The first byte of what a server that expects TLS has against any other client."""
OVERHEAD = 8
"""Bytes of a frame besides its payload."""
Login = tuple[str, str]
"""A name and a password."""


class Refused(Exception):
    """The broker closed the connection with a reason.

    Args:
        code: AMQP's reply code, such as 403; 0 where it is no broker of this AMQP that answers.
        text: its words.
    """

    def __init__(self, code: int, text: str) -> None:
        super().__init__(f"{code} {text}" if code else text)
        self.code, self.text = code, text


def frame_size(head: bytes) -> int:
    """Return how long the frame is, in bytes, whose first seven are given.

    Raises:
        Refused: these are not the first bytes of a frame.
    """
    kind, _, size = struct.unpack_from(">BHI", head)
    if kind == TLS_ALERT:
        raise Refused(0, "what answers speaks TLS")
    if head.startswith(HEADER[:4]):
        raise Refused(0, f"the broker speaks another version of AMQP (it sent {head[:7]!r})")
    if kind not in KINDS or size > 1 << 24:
        raise Refused(0, f"what answers does not speak AMQP 0-9-1 (it sent {head[:7]!r})")
    return int(size) + OVERHEAD


def method_of(frame: bytes) -> tuple[int, int] | None:
    """Return the class and the number of a frame's method; None where it is of another sort."""
    return struct.unpack_from(">HH", frame, 7) if frame[0] == _METHOD and len(frame) >= 12 else None


def _method(which: tuple[int, int], arguments: bytes) -> bytes:
    payload = struct.pack(">HH", *which) + arguments
    return struct.pack(">BHI", _METHOD, 0, len(payload)) + payload + bytes([_END])


def _short(text: str) -> bytes:
    data = text.encode()
    if len(data) > LONGEST:
        raise ValueError(f"{text[:40]!r}… is longer than the {LONGEST} bytes that AMQP has for it")
    return bytes([len(data)]) + data


def _long(data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + data


def plain_login(user: str, password: str) -> bytes:
    """Return what a client says who logs in by SASL's PLAIN."""
    return b"\0" + user.encode() + b"\0" + password.encode()


def with_login(start_ok: bytes, was: Login, then: Login) -> bytes:
    """Return a client's start-ok with another login by PLAIN, where it has logged in by name and password with the first."""
    try:
        at = 11 + 4 + struct.unpack_from(">I", start_ok, 11)[0]  # behind the table of its properties
        mechanism = start_ok[at + 1 : at + 1 + start_ok[at]]
        response = at + 1 + start_ok[at]
        after = response + 4 + struct.unpack_from(">I", start_ok, response)[0]
    except (struct.error, IndexError):
        return start_ok
    if after >= len(start_ok) or said_login(mechanism, start_ok[response + 4 : after]) != was:
        return start_ok
    return _method(START_OK, start_ok[11:at] + _short("PLAIN") + _long(plain_login(*then)) + start_ok[after:-1])


def said_login(mechanism: bytes, response: bytes) -> Login | None:
    """Return the name and the password with which a client logs in; None where it does so in another way."""
    if mechanism == b"PLAIN":
        _, *login = response.split(b"\0", 2)
    elif mechanism == b"AMQPLAIN":
        entries = texts(response)
        login = [entries[name] for name in (b"LOGIN", b"PASSWORD") if name in entries]
    else:
        return None
    try:
        user, password = (part.decode() for part in login)
    except ValueError:  # not two, or no UTF-8
        return None
    return user, password


def texts(table: bytes) -> dict[bytes, bytes]:
    """Return the texts at the beginning of a field table, up to what is none."""
    found: dict[bytes, bytes] = {}
    at = 0
    while at < len(table):
        name, at = table[at + 1 : at + 1 + table[at]], at + 1 + table[at]
        if table[at : at + 1] != b"S" or at + 5 > len(table):
            break
        size = struct.unpack_from(">I", table, at + 1)[0]
        found[name], at = table[at + 5 : at + 5 + size], at + 5 + size
    return found


def with_vhost(opening: bytes, names: tuple[str, ...], vhost: str) -> bytes:
    """Return a client's connection.open with another virtual host, where it names one of those given."""
    end = 12 + opening[11]
    if end >= len(opening) or opening[12:end].decode(errors="replace") not in names:
        return opening
    return _method(OPEN, _short(vhost) + opening[end:-1])


class Track:
    """Follows what one side says: whether it is in the midst of a frame, and what it has said of the connection itself.

    Args:
        note: gets each frame's kind, channel and size, and its first bytes, `LOOKED_AT` of them, which in a short one may be
            more than its own.
    """

    def __init__(self, note: Callable[[int, int, int, bytes], object] | None = None) -> None:
        self._note = note
        self._head = b""
        self._left = 0
        self.is_lost = False
        """Whether it is not frames that are said."""
        self.last: tuple[int, int] | None = None
        """The last method on channel 0."""

    def follow(self, piece: bytes) -> None:
        """Follow what is said."""
        at, end = 0, len(piece)
        while at < end and not self.is_lost:
            if self._left:
                step = min(self._left, end - at)
                self._left -= step
            elif not self._head and end - at >= LOOKED_AT:  # most need no more than this
                self._begin(piece[at : at + LOOKED_AT])
                step = min(LOOKED_AT + self._left, end - at)
                self._left -= step - LOOKED_AT
            else:
                step = min(self._wanted - len(self._head), end - at)
                self._head += piece[at : at + step]
                if len(self._head) == self._wanted:
                    self._begin(self._head)
                    self._head = b""
            at += step

    @property
    def _wanted(self) -> int:
        """How many bytes tell what the frame is."""
        head = self._head
        return 7 if len(head) < 7 or head[0] not in KINDS else min(LOOKED_AT, int.from_bytes(head[3:7]) + OVERHEAD)

    def _begin(self, head: bytes) -> None:
        kind, channel, size = HEAD.unpack_from(head)
        self._left = size + OVERHEAD - len(head)
        if kind not in KINDS or (kind == _METHOD and size < 4):
            self.is_lost = True
        elif kind == _METHOD and not channel:
            self.last = struct.unpack_from(">HH", head, 7)
        if self._note is not None:
            self._note(kind, channel, size, head)

    @property
    def missing(self) -> int:
        """How many bytes the frame lacks, as far as that is known; 0 between two frames."""
        return self._left or (self._wanted - len(self._head) if self._head else 0)


def closing(code: int, text: str) -> bytes:
    """Return a connection.close."""
    cut = text.encode()[:LONGEST].decode(errors="ignore")
    return _method(CLOSE, struct.pack(">H", code) + _short(cut) + struct.pack(">HH", 0, 0))


def opened(frame: bytes) -> bool:
    """Tell whether a frame says that the connection is open."""
    return method_of(frame) == OPEN_OK


def server_version(start: bytes) -> str:
    """Return the broker's version from its connection.start; "" where it says none."""
    at = start.find(b"\x07versionS")
    if at < 0:
        return ""
    size = int.from_bytes(start[at + 9 : at + 13])
    return start[at + 13 : at + 13 + size].decode(errors="replace")


_PROPERTIES = b"\x0ccapabilitiesF" + _long(b"\x1cauthentication_failure_closet\x01") + b"\x07productS" + _long(b"pytest-testbed")


def login(read: Callable[[], bytes], write: Callable[[bytes], object], user: str, password: str, vhost: str) -> str:
    """Open a connection and close it again; return the broker's version.

    Args:
        read: returns the next frame.
        write: sends bytes.
        user: who logs in.
        password: that user's.
        vhost: the virtual host that is opened.

    Raises:
        Refused: the broker does not let in.
    """
    write(HEADER)
    start = _expected(read(), START)
    write(_method(START_OK, _long(_PROPERTIES) + _short("PLAIN") + _long(plain_login(user, password)) + _short("en_US")))
    tune = _expected(read(), TUNE)
    write(_method(TUNE_OK, tune[11:17] + b"\0\0") + _method(OPEN, _short(vhost) + b"\0\0"))
    _expected(read(), OPEN_OK)
    write(_method(CLOSE, struct.pack(">H", 200) + _short("done") + struct.pack(">HH", 0, 0)))
    return server_version(start)


def _expected(frame: bytes, method: tuple[int, int]) -> bytes:
    got = method_of(frame)
    if got == CLOSE:
        size = int.from_bytes(frame[13:14])
        raise Refused(int.from_bytes(frame[11:13]), frame[14 : 14 + size].decode(errors="replace"))
    if got != method:
        raise Refused(0, f"the broker answered with {got}, not with {method}")
    return frame
