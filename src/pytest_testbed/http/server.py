"""Real HTTP servers on real ports, which answer from books of stubs; on the standard library's `http.server`."""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Callable
from contextlib import suppress
from http.server import BaseHTTPRequestHandler
from socketserver import TCPServer
from typing import Any
from urllib.parse import quote

from .answer import Answer
from .book import Book, Served
from .incoming import LONGEST_LINE, Broken, read_body
from .request import Request

__all__ = ["Site"]

BODILESS = (204, 304)
FRAMING = ("content-length", "transfer-encoding")
PRINTABLE = "".join(map(chr, range(33, 127)))
TLS = b"\x16\x03"
"""The first bytes of a client that begins to speak TLS."""
RST_ON_CLOSE = struct.pack("ii", 1, 0)
GARBAGE = b"\x00\xff\xfe this is no HTTP \x00\x01\x02\r\n"
PATIENCE = 0.5
"""Seconds in which a client is to take the answer that is being sent as the test ends."""
LINGER = 1.0
"""Seconds in which a client that was refused is to say the rest."""
MOST = 16 * 1024 * 1024
"""Bytes of it that are read."""

Told = Callable[[Served, Book], None]


class Site(TCPServer):
    """One listening socket with a book behind it; the book may be another one with each test.

    Args:
        book: what answers.
        told: called with each request that was answered, in the thread of its connection.
        address: where it listens; port 0 for any.
    """

    allow_reuse_address = False
    request_queue_size = 1024

    def __init__(self, book: Book, told: Told, address: tuple[str, int] = ("127.0.0.1", 0)) -> None:
        super().__init__(address, Handler)
        self.socket.setblocking(False)
        self.book = book
        self.told = told
        self.reached_as: str = address[0]
        self.host: str = str(self.server_address[0])
        self.port: int = int(self.server_address[1])
        self.is_closing: bool = False
        self._connections: set[socket.socket] = set()
        self._busy: dict[socket.socket, bool] = {}
        """Connections in the middle of a request, and whether its answer is on its way."""
        self._changed = threading.Condition(threading.Lock())

    # --- connections, each in a thread of the caller's

    def accept(self) -> tuple[Any, Any]:
        """Return a new connection and its client's address; OSError where there is none."""
        connection, client = self.get_request()
        connection.settimeout(None)  # whatever the test's own default is
        return connection, client

    def serve(self, connection: Any, client: Any) -> None:
        """Serve a connection to its end."""
        with self._changed:
            self._connections.add(connection)
        try:
            if not self.is_closing:
                self.finish_request(connection, client)
        except OSError:
            pass  # the client has gone
        except Exception:
            import traceback

            self.book.failed(f"mock service {self.book.name!r} failed itself:\n{traceback.format_exc()}")
        finally:
            with self._changed:
                self._connections.discard(connection)
                self._busy.pop(connection, None)
                self._changed.notify_all()
            self.shutdown_request(connection)

    def mark(self, connection: socket.socket, is_sending: bool | None) -> None:
        """Note that a connection is in a request, its answer is on its way, or, None, all is said."""
        with self._changed:
            if is_sending is None:
                self._busy.pop(connection, None)
                self._changed.notify_all()
            else:
                self._busy[connection] = is_sending

    # --- the end

    def cut(self) -> None:
        """End the connections that are in the middle of a request; one whose client takes its answer goes on."""
        with self._changed:
            # the client may have its answer before our thread knows that all is sent
            self._changed.wait_for(lambda: not any(self._busy.values()), PATIENCE)
            self._end(self._busy)

    def _end(self, connections: Any) -> None:
        for connection in connections:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Listen no more, and end all connections."""
        self.is_closing = True
        with suppress(OSError):  # a child that was forked has the socket as well, and clients would wait for it
            self.socket.shutdown(socket.SHUT_RDWR)
        self.server_close()
        with self._changed:
            self._end(self._connections)


class Handler(BaseHTTPRequestHandler):
    """One connection; heads are read and written by the base."""

    server: Site
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1  # head and body leave together: between two, the client's acknowledgement would be waited for

    def handle_one_request(self) -> None:
        """Read one request and answer it."""
        self.close_connection = True
        self.command, self.path, self.requestline, self.request_version = "", "/", "", self.protocol_version
        line = self.rfile.readline(LONGEST_LINE + 1)
        while line in (b"\r\n", b"\n"):  # some clients send one too many behind a body
            line = self.rfile.readline(LONGEST_LINE + 1)
        site = self.server
        if not line or site.is_closing:
            return
        self.book = site.book  # whose test it is counts from its first line
        site.mark(self.connection, False)
        try:
            self._read_head(line)
            body = read_body(self.rfile, self.headers)
        except Broken as broken:
            self.close_connection = True
            self._refuse(broken)
            return
        self._answer(body)
        site.mark(self.connection, None)

    def _read_head(self, line: bytes) -> None:
        """Read a request's head, the first line of which is known."""
        if line.startswith(TLS):
            raise Broken("the client speaks TLS: the address of a mock service begins with http://")
        if len(line) > LONGEST_LINE:
            raise Broken("the request line is longer than 64 KiB", 414)
        self.raw_requestline = line
        if not self.parse_request() or self.request_version == "HTTP/0.9":
            raise Broken(f"{self.requestline[:80]!r} is not of the form METHOD TARGET HTTP/1.1")
        if self.headers.defects:
            raise Broken("a line of its head is no header")

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """Refuse what the base cannot read.

        Raises:
            Broken: always.
        """
        raise Broken(": ".join(filter(None, (message, explain))) or "it cannot be read", code)

    def handle_expect_100(self) -> bool:
        """Tell a client that it may send its body."""
        super().handle_expect_100()
        self.wfile.flush()
        return True

    def log_message(self, format: str, *args: Any) -> None:
        """Print nothing: what was said is shown with a test's failure."""

    def _refuse(self, broken: Broken) -> None:
        """Tell a client that this is no request; it is shown with a test's failure, and not counted."""
        why = f"no request: {broken}"
        answer = Answer(broken.status, body=why + "\n")
        words = [*self.requestline.split(), "?", "/"]
        request = Request(words[0], words[1], (), b"", self.client)
        self.server.told(Served(request, None, answer, why), self.book)
        self.server.mark(self.connection, True)
        self.request_version = self.protocol_version  # of which a client of HTTP/0.9 would get no head
        self._send(answer)
        # who ends a connection in which something is unread, ends it hard, and the client cannot read its answer
        self.connection.shutdown(socket.SHUT_WR)
        self.connection.settimeout(LINGER)
        for _ in range(MOST // 65536):
            if not self.rfile.read1(65536):
                break

    @property
    def client(self) -> tuple[str, int]:
        """The client's address and port."""
        return str(self.client_address[0]), int(self.client_address[1])

    # --- the answer

    def _answer(self, body: bytes) -> None:
        target = self.requestline.split()[1]  # the base has only one of several slashes at its beginning
        if not target.isascii():
            target = quote(target.encode("latin-1"), safe=PRINTABLE)
        headers = [(name, " ".join(value.split()) if "\n" in value else value) for name, value in self.headers.items()]
        request = Request(self.command, target, headers, body, self.client)
        served = self.book.serve(request)
        self.server.told(served, self.book)
        answer = served.answer
        if answer.delay and self.book.over.wait(answer.delay):
            self.close_connection = True
        elif answer.fault:
            self._go_wrong(answer)
        else:
            self.server.mark(self.connection, True)
            self._send(answer)

    def _send(self, answer: Answer) -> None:
        content = b"" if answer.status in BODILESS else answer.content
        self.send_response_only(answer.status, answer.reason or None)
        said = {}
        for name, value in answer.pairs:
            self.send_header(name, value)  # heeds Connection
            said[name.lower()] = value.strip().lower()
        if said.get("transfer-encoding") == "chunked":  # as recorded answers have it
            content = b"%x\r\n%b\r\n0\r\n\r\n" % (len(content), content) if content else b"0\r\n\r\n"
        elif "content-length" in said:
            # it may lie, and the client would wait
            self.close_connection |= said["content-length"] != str(len(content)) and self.command != "HEAD"
        elif answer.status not in BODILESS:
            self.send_header("Content-Length", str(len(content)))
        if "connection" not in said and (self.close_connection or self.request_version < "HTTP/1.1"):
            self.send_header("Connection", "close" if self.close_connection else "keep-alive")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)
        self.wfile.flush()

    def _go_wrong(self, answer: Answer) -> None:
        """Do on the socket what a fault asks for, and end the connection."""
        self.close_connection = True
        if answer.fault == "garbage":
            self.wfile.write(GARBAGE)
        elif answer.fault == "half-chunk":
            self.send_response_only(answer.status)
            for name, value in (("Transfer-Encoding", "chunked"), *answer.pairs):
                if name.lower() not in FRAMING or value == "chunked":
                    self.send_header(name, value)
            self.end_headers()
            self.wfile.write(b"1000\r\n" + answer.content[:64])
        self.wfile.flush()
        if answer.fault == "reset":
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RST_ON_CLOSE)
            self.server.mark(self.connection, None)
            for file in (self.rfile, self.wfile, self.connection):  # the last one to go takes the socket along
                file.close()
