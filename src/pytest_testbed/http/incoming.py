"""One request read from a connection: its head and its body, as HTTP/1.1 has them.

Source: RFC 9112. The standard library's `http.server` reads heads as mails, which takes four times as long and loads TLS.
"""

from __future__ import annotations

import re
from io import BufferedIOBase
from typing import NamedTuple
from urllib.parse import quote

__all__ = ["Broken", "Head", "read_body", "read_head", "read_line"]

LONGEST_LINE = 65536
MOST_HEADERS = 256
LONGEST_BODY = 1 << 31
"""Bytes; more than that is a mistake, or meant to be one."""
VERSIONS = {"HTTP/1.1": (1, 1), "HTTP/1.0": (1, 0)}
TLS = b"\x16\x03"
"""The first bytes of a client that begins to speak TLS."""
PRINTABLE = "".join(map(chr, range(33, 127)))


class Broken(Exception):
    """What came is no request; with the status that says so."""

    def __init__(self, text: str, status: int = 400, first: str = "") -> None:
        super().__init__(text)
        self.status = status
        self.first = first
        """What is known of its first line."""


class Head(NamedTuple):
    """The head of a request: as it was sent, and the values that the server goes by, in small letters."""

    method: str
    target: str
    version: tuple[int, int]
    headers: list[tuple[str, str]]
    known: dict[str, str]

    @property
    def keeps(self) -> bool:
        """Whether the client wants to go on with this connection."""
        said = self.known.get("connection", "").lower()
        return "close" not in said if self.version >= (1, 1) else "keep-alive" in said

    @property
    def waits(self) -> bool:
        """Whether the client waits for a word before it sends its body."""
        return self.version >= (1, 1) and self.known.get("expect", "").lower() == "100-continue"


def read_line(file: BufferedIOBase) -> bytes:
    """Return the first line of the next request; b"" where there is none."""
    line = file.readline(LONGEST_LINE + 1)
    while line in (b"\r\n", b"\n"):  # some clients send one too many behind a body
        line = file.readline(LONGEST_LINE + 1)
    return line


def read_head(file: BufferedIOBase, line: bytes) -> Head:
    """Read a request's head, the first line of which is known.

    Raises:
        Broken: it is none.
    """
    if line.startswith(TLS):
        raise Broken("the client speaks TLS: the address of a mock service begins with http://")
    if len(line) > LONGEST_LINE:
        raise Broken("the request line is longer than 64 KiB", 414)
    first = line.decode("latin-1").strip()
    words = first.split()
    if len(words) != 3:
        raise Broken(f"{first[:80]!r} is not of the form METHOD TARGET HTTP/1.1", 400, first)
    method, target, version = words
    if version not in VERSIONS:
        raise Broken(f"{version!r} is not HTTP/1.1", 505 if re.fullmatch(r"HTTP/\d+(\.\d+)?", version) else 400, first)
    if not target.isascii():
        target = quote(target.encode("latin-1"), safe=PRINTABLE)
    headers = _headers(file, first)
    return Head(method, target, VERSIONS[version], headers, {name.lower(): value for name, value in headers})


def _headers(file: BufferedIOBase, first: str) -> list[tuple[str, str]]:
    headers: list[tuple[str, str]] = []
    while (line := file.readline(LONGEST_LINE + 1)) not in (b"\r\n", b"\n"):
        if not line.endswith(b"\n"):
            if len(line) > LONGEST_LINE:
                raise Broken("a header is longer than 64 KiB", 431, first)
            raise Broken("the client went away in the middle of its headers", 400, first)
        text = line.decode("latin-1")
        if text[0] in " \t" and headers:  # a line that goes on, as long ago
            name, value = headers[-1]
            headers[-1] = name, f"{value} {text.strip()}"
            continue
        name, colon, value = text.partition(":")
        if not colon or not name or name != name.strip():
            raise Broken(f"{text.strip()[:80]!r} is no header", 400, first)
        headers.append((name, value.strip()))
        if len(headers) > MOST_HEADERS:
            raise Broken(f"there are more than {MOST_HEADERS} headers", 431, first)
    return headers


def read_body(file: BufferedIOBase, head: Head) -> bytes:
    """Read a request's body.

    Raises:
        Broken: it is not whole, or nobody understands it.
    """
    first = f"{head.method} {head.target}"
    encoding = head.known.get("transfer-encoding", "").lower()
    if encoding == "chunked":
        return _chunks(file, first)
    if encoding:
        raise Broken(f"Transfer-Encoding {encoding!r} is not understood", 501, first)
    text = head.known.get("content-length", "0")
    if not (text.isascii() and text.isdigit()):
        raise Broken(f"Content-Length {text!r} is no number", 400, first)
    length = int(text[:20])  # of thousands of digits it makes no number
    if length > LONGEST_BODY:
        raise Broken("the body is longer than 2 GiB", 413, first)
    body = file.read(length) if length else b""
    if len(body) < length:
        raise Broken(f"the client went away after {len(body)} of {length} bytes of the body", 400, first)
    return body


def _chunks(file: BufferedIOBase, first: str) -> bytes:
    parts: list[bytes] = []
    while True:
        line = file.readline(LONGEST_LINE)
        text = line.partition(b";")[0].strip()
        if re.fullmatch(rb"[0-9A-Fa-f]{1,16}", text) is None:
            fault = f"{line[:40]!r} is no size of a chunk" if line else "the client went away between two chunks"
            raise Broken(fault, 400, first)
        size = int(text, 16)
        if size > LONGEST_BODY:
            raise Broken("a chunk is longer than 2 GiB", 413, first)
        if size == 0:
            while file.readline(LONGEST_LINE).strip():
                pass  # trailers
            return b"".join(parts)
        part = file.read(size)
        if len(part) < size or file.readline(3).strip():
            raise Broken("a chunk is not as long as it says", 400, first)
        parts.append(part)
