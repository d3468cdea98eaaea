"""Real HTTP servers on real ports, which answer from books of stubs; on the standard library's `socketserver`."""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Callable
from contextlib import suppress
from http import HTTPStatus
from socketserver import StreamRequestHandler, TCPServer
from typing import Any

from .answer import Answer
from .book import Book, Served
from .incoming import Broken, Head, read_body, read_head, read_line
from .request import Request

__all__ = ["Site"]

BODILESS = (204, 304)
FRAMING = ("content-length", "transfer-encoding")
REASONS = {status.value: status.phrase for status in HTTPStatus}
RST_ON_CLOSE = struct.pack("ii", 1, 0)
AT_ONCE = 65536
"""Bytes of a body up to which it is sent together with its head."""
GARBAGE = b"\x00\xff\xfe this is no HTTP \x00\x01\x02\r\n"
PATIENCE = 0.2
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
        self.reached_as = address[0]
        self.host, self.port = str(self.server_address[0]), int(self.server_address[1])
        self.is_closing = False
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
        """End the connections that are in the middle of a request; one whose client takes its answer may go on."""
        with self._changed:
            self._end([each for each, is_sending in self._busy.items() if not is_sending])
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


class Handler(StreamRequestHandler):
    """One connection."""

    server: Site
    disable_nagle_algorithm = True

    def handle(self) -> None:
        """Answer one request after the other."""
        self.keeps = True
        while self.keeps:
            self.keeps = False
            self._next()

    def _next(self) -> None:
        line = read_line(self.rfile)
        site = self.server
        if not line or site.is_closing:
            return
        self.book = site.book  # whose test it is counts from its first line
        site.mark(self.connection, False)
        try:
            head = read_head(self.rfile, line)
            if head.waits:
                self.connection.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
            body = read_body(self.rfile, head)
        except Broken as broken:
            self._refuse(broken)
            return
        self.keeps = head.keeps
        self._answer(head, body)
        site.mark(self.connection, None)

    def _refuse(self, broken: Broken) -> None:
        """Tell a client that this is no request; it is shown with a test's failure, and not counted."""
        why = f"no request: {broken}"
        answer = Answer(broken.status, body=why + "\n")
        method, _, rest = broken.first.partition(" ")
        request = Request(method or "?", rest.partition(" ")[0] or "/", (), b"", self.client)
        self.server.told(Served(request, None, answer, why), self.book)
        self.server.mark(self.connection, True)
        self._send(answer, Head(method, "/", (1, 1), [], {}))
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

    def _answer(self, head: Head, body: bytes) -> None:
        request = Request(head.method, head.target, head.headers, body, self.client)
        served = self.book.serve(request)
        self.server.told(served, self.book)
        answer = served.answer
        if answer.delay and self.book.over.wait(answer.delay):
            self.keeps = False
        elif answer.fault:
            self._go_wrong(answer)
        else:
            self.server.mark(self.connection, True)
            self._send(answer, head)

    def _send(self, answer: Answer, asked: Head) -> None:
        content = answer.content
        lines = [f"HTTP/1.1 {answer.status} {answer.reason or REASONS.get(answer.status, '')}"]
        said = {}
        for name, value in answer.pairs:
            lines.append(f"{name}: {value}")
            said[name.lower()] = value.strip().lower()
        if answer.status in BODILESS:
            content = b""
        elif said.get("transfer-encoding") == "chunked":  # as recorded answers have it
            content = b"%x\r\n%b\r\n0\r\n\r\n" % (len(content), content) if content else b"0\r\n\r\n"
        elif "content-length" not in said:
            lines.append(f"Content-Length: {len(content)}")
        elif said["content-length"] != str(len(content)) and asked.method != "HEAD":
            self.keeps = False  # it lies, and the client would wait
        if said.get("connection") == "close":
            self.keeps = False
        elif "connection" not in said and not self.keeps:
            lines.append("Connection: close")
        elif asked.version < (1, 1):
            lines.append("Connection: keep-alive")
        head = "\r\n".join([*lines, "\r\n"]).encode("latin-1")
        if asked.method == "HEAD":
            content = b""
        if len(content) <= AT_ONCE:
            self.connection.sendall(head + content)  # at once: between two, the client's acknowledgement would be waited for
        else:
            self.connection.sendall(head)
            self.connection.sendall(content)

    def _go_wrong(self, answer: Answer) -> None:
        """Do on the socket what a fault asks for, and end the connection."""
        self.keeps = False
        if answer.fault == "garbage":
            self.connection.sendall(GARBAGE)
        elif answer.fault == "half-chunk":
            head = f"HTTP/1.1 {answer.status} {REASONS.get(answer.status, '')}\r\nTransfer-Encoding: chunked\r\n"
            more = "".join(f"{name}: {value}\r\n" for name, value in answer.pairs if name.lower() not in FRAMING)
            self.connection.sendall(f"{head}{more}\r\n1000\r\n".encode("latin-1") + answer.content[:64])
        elif answer.fault == "reset":
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RST_ON_CLOSE)
            self.server.mark(self.connection, None)
            for file in (self.rfile, self.wfile, self.connection):  # the last one to go takes the socket along
                file.close()
