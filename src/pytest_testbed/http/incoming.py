"""The body of one request, as HTTP/1.1 frames it: the standard library's server leaves that to others.

Source: RFC 9112, sections 6 and 7.
"""

from __future__ import annotations

import re
from email.message import Message
from io import BufferedIOBase

__all__ = ["Broken", "read_body"]

LONGEST_LINE = 65536
LONGEST_BODY = 1 << 31
"""Bytes; more than that is a mistake, or meant to be one."""


class Broken(Exception):
    """What came is no request; with the status that says so."""

    def __init__(self, text: str, status: int = 400) -> None:
        super().__init__(text)
        self.status = status


def read_body(file: BufferedIOBase, headers: Message) -> bytes:
    """Read a request's body.

    Raises:
        Broken: it is not whole, or nobody understands it.
    """
    encoding = headers.get("Transfer-Encoding", "").lower()
    if encoding == "chunked":
        return _chunks(file)
    if encoding:
        raise Broken(f"Transfer-Encoding {encoding!r} is not understood", 501)
    text = headers.get("Content-Length", "0")
    if not (text.isascii() and text.isdigit()):
        raise Broken(f"Content-Length {text!r} is no number")
    length = int(text[:20])  # of thousands of digits it makes no number
    if length > LONGEST_BODY:
        raise Broken("the body is longer than 2 GiB", 413)
    body = file.read(length) if length else b""
    if len(body) < length:
        raise Broken(f"the client went away after {len(body)} of {length} bytes of the body")
    return body


def _chunks(file: BufferedIOBase) -> bytes:
    parts: list[bytes] = []
    while True:
        line = file.readline(LONGEST_LINE)
        text = line.partition(b";")[0].strip()
        if re.fullmatch(rb"[0-9A-Fa-f]{1,16}", text) is None:
            raise Broken(f"{line[:40]!r} is no size of a chunk" if line else "the client went away between two chunks")
        size = int(text, 16)
        if size > LONGEST_BODY:
            raise Broken("a chunk is longer than 2 GiB", 413)
        if size == 0:
            while file.readline(LONGEST_LINE).strip():
                pass  # trailers
            return b"".join(parts)
        part = file.read(size)
        if len(part) < size or file.readline(3).strip():
            raise Broken("a chunk is not as long as it says")
        parts.append(part)
