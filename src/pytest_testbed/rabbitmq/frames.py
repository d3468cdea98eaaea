"""As much of AMQP 0-9-1 as a login takes: the frames, and the few methods by which a connection is opened.

Source: the AMQP 0-9-1 specification (amq-protocol), and RabbitMQ's authentication_failure_close extension.
The standard library only, as the host process has no client of AMQP.
"""

from __future__ import annotations

import struct
from collections.abc import Callable

__all__ = [
    "CLOSE",
    "HEADER",
    "OPEN",
    "START",
    "START_OK",
    "TUNE",
    "Refused",
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
_METHOD, _END = 1, 0xCE
TLS_ALERT = 0x15
"""The first byte of what a server that expects TLS has against any other client."""
OVERHEAD = 8
"""Bytes of a frame besides its payload."""


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
    if kind not in (1, 2, 3, 8) or size > 1 << 24:
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
    if len(data) > 255:
        raise ValueError(f"{text[:40]!r}… is longer than the 255 bytes that AMQP has for it")
    return bytes([len(data)]) + data


def _long(data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + data


def plain_login(user: str, password: str) -> bytes:
    """Return what a client says who logs in by SASL's PLAIN."""
    return b"\0" + user.encode() + b"\0" + password.encode()


def with_login(start_ok: bytes, was: bytes, then: bytes) -> bytes:
    """Return a client's start-ok with another login, where it has logged in by PLAIN with what it was to say."""
    at = 11 + 4 + struct.unpack_from(">I", start_ok, 11)[0]  # behind the table of its properties
    mechanism = start_ok[at + 1 : at + 1 + start_ok[at]]
    at += 1 + start_ok[at]
    size = struct.unpack_from(">I", start_ok, at)[0]
    if mechanism != b"PLAIN" or start_ok[at + 4 : at + 4 + size] != was:
        return start_ok
    return _method(START_OK, start_ok[11:at] + _long(then) + start_ok[at + 4 + size : -1])


def with_vhost(opening: bytes, names: tuple[str, ...], vhost: str) -> bytes:
    """Return a client's connection.open with another virtual host, where it names one of those given."""
    size = opening[11]
    if opening[12 : 12 + size].decode(errors="replace") not in names:
        return opening
    return _method(OPEN, _short(vhost) + opening[12 + size : -1])


def closing(code: int, text: str) -> bytes:
    """Return a connection.close."""
    return _method(CLOSE, struct.pack(">H", code) + _short(text[:250]) + struct.pack(">HH", 0, 0))


def opened(frame: bytes) -> bool:
    """Tell whether a frame says that the connection is open."""
    return method_of(frame) == OPEN_OK


def server_version(start: bytes) -> str:
    """Return the broker's version from its connection.start; "" where it says none."""
    at = start.find(b"\x07versionS")
    if at < 0:
        return ""
    size = struct.unpack_from(">I", start, at + 9)[0]
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
        code, size = struct.unpack_from(">HB", frame, 11)
        raise Refused(code, frame[14 : 14 + size].decode(errors="replace"))
    if got != method:
        raise Refused(0, f"the broker answered with {got}, not with {method}")
    return frame
