"""Real HTTP servers on real ports, which answer from books of stubs.

The server is the standard library's; one thread accepts for all of them, one thread serves each connection.
"""

from __future__ import annotations

import os
import selectors
import socket
import struct
import threading
from collections.abc import Callable
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socketserver import TCPServer
from typing import Any

from .answer import Answer
from .book import Book, Served
from .request import Request

__all__ = ["Serving", "Site"]

LONGEST_LINE = 65536
BODILESS = (204, 304)
BACKLOG = 1024
RST_ON_CLOSE = struct.pack("ii", 1, 0)

Told = Callable[[Served, Book], None]


class Site(ThreadingHTTPServer):
    """One listening socket with a book behind it; the book may be another one with each test.

    Args:
        book: what answers.
        told: called with each request that was answered, in the thread of its connection.
        address: where it listens; port 0 for any.
    """

    daemon_threads = True
    block_on_close = False
    allow_reuse_address = False
    request_queue_size = BACKLOG
    timeout = 0

    def __init__(self, book: Book, told: Told, address: tuple[str, int] = ("127.0.0.1", 0)) -> None:
        super().__init__(address, Handler)
        self.book = book
        self.told = told
        self.reached_as = address[0]
        self.closing = threading.Event()
        self._connections: set[socket.socket] = set()
        self.busy: set[socket.socket] = set()
        """Connections in the middle of a request."""
        self._lock = threading.Lock()

    def server_bind(self) -> None:
        """Bind, without the base's look-up of the host's name, which may ask a name server."""
        TCPServer.server_bind(self)
        self.server_name, self.server_port = str(self.server_address[0]), int(self.server_address[1])

    def process_request(self, request: Any, client_address: Any) -> None:
        """Serve a connection in a thread of its own, and know it."""
        with self._lock:
            self._connections.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        """Forget a connection that has ended."""
        with self._lock:
            self._connections.discard(request)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing: a client that goes away is no fault of the test, and what stubs do wrong is told by their book."""

    def cut(self, connections: set[socket.socket]) -> None:
        """End some of the open connections: their clients see it at once."""
        with self._lock:
            for connection in self._connections & connections:
                with suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Listen no more, and end all connections."""
        self.closing.set()
        self.server_close()
        self.cut(self._connections)


class Handler(BaseHTTPRequestHandler):
    """One connection."""

    server: Site
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1  # one send for head and body: two would have the client's acknowledgement in between

    def handle_one_request(self) -> None:
        """Read one request and answer it."""
        self.close_connection = True
        with suppress(OSError, ValueError):  # the client has gone; a file that a fault has closed
            self.raw_requestline = self.rfile.readline(LONGEST_LINE + 1)
            if not self.raw_requestline or self.server.closing.is_set():
                return
            book = self.server.book  # whose test it is counts from its first line
            self.server.busy.add(self.connection)
            if len(self.raw_requestline) > LONGEST_LINE:
                self.send_error(414)
                return
            if not self.parse_request():
                self.wfile.flush()
                return
            body = self._body()
            if body is None:
                self.send_error(400, "the body ended too early or is no chunked one")
                self.close_connection = True
            else:
                self._serve(book, body)
            self.wfile.flush()
        self.server.busy.discard(self.connection)

    def log_message(self, format: str, *args: Any) -> None:
        """Print nothing: what was said is shown with a test's failure."""

    def _body(self) -> bytes | None:
        """Return the body, None where it is not whole."""
        if "chunked" in self.headers.get("Transfer-Encoding", "").lower():
            return self._chunks()
        try:
            length = int(self.headers.get("Content-Length") or 0)
        except ValueError:
            return None
        body = self.rfile.read(length) if length > 0 else b""
        return body if len(body) == length else None

    def _chunks(self) -> bytes | None:
        parts: list[bytes] = []
        while True:
            line = self.rfile.readline(LONGEST_LINE)
            try:
                size = int(line.partition(b";")[0], 16)
            except ValueError:
                return None
            if size == 0:
                while self.rfile.readline(LONGEST_LINE).strip():
                    pass  # trailers
                return b"".join(parts)
            part = self.rfile.read(size)
            if len(part) < size or self.rfile.readline(3).strip():
                return None
            parts.append(part)

    def _serve(self, book: Book, body: bytes) -> None:
        client = (str(self.client_address[0]), int(self.client_address[1]))
        request = Request(self.command, self.path, self.headers.items(), body, client)
        served = book.serve(request)
        self.server.told(served, book)
        answer = served.answer
        if answer.delay and book.over.wait(answer.delay):
            self.close_connection = True
            return
        if answer.fault:
            self._go_wrong(answer)
        else:
            self._send(answer)

    def _send(self, answer: Answer) -> None:
        self.send_response_only(answer.status, answer.reason or None)
        names = set()
        for name, value in answer.pairs:
            self.send_header(name, value)
            names.add(name.lower())
        has_body = answer.status not in BODILESS
        if has_body and not names & {"content-length", "transfer-encoding"}:
            self.send_header("Content-Length", str(len(answer.content)))
        self.end_headers()
        if has_body and self.command != "HEAD":
            self.wfile.write(answer.content)

    def _go_wrong(self, answer: Answer) -> None:
        """Do on the socket what a fault asks for, and end the connection."""
        self.close_connection = True
        if answer.fault == "garbage":
            self.wfile.write(b"\x00\xff" + os.urandom(62))
        elif answer.fault == "half-chunk":
            self.send_response_only(answer.status)
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            self.wfile.write(b"1000\r\n" + answer.content[:64])
        self.wfile.flush()
        if answer.fault == "reset":
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RST_ON_CLOSE)
            for file in (self.rfile, self.wfile, self.connection):  # the last one to go takes the socket along
                file.close()


class Serving:
    """The thread that accepts connections for all sites."""

    def __init__(self) -> None:
        self._selector = selectors.DefaultSelector()
        self._reader, self._writer = socket.socketpair()
        self._reader.setblocking(False)
        self._selector.register(self._reader, selectors.EVENT_READ)
        self._lock = threading.Lock()
        self._is_over = False
        self._thread = threading.Thread(target=self._run, name="testbed mock services", daemon=True)
        self._thread.start()

    def add(self, site: Site) -> Site:
        """Accept connections for a site."""
        with self._lock:
            self._selector.register(site, selectors.EVENT_READ)
        self._wake()
        return site

    def remove(self, site: Site) -> None:
        """Accept no more for a site, and close it."""
        with self._lock:
            self._selector.unregister(site)
            site.close()

    def close(self) -> None:
        """End the thread and close all sites."""
        self._is_over = True
        self._wake()
        self._thread.join(5)
        for key in list(self._selector.get_map().values()):
            if isinstance(key.fileobj, Site):
                key.fileobj.close()
        self._selector.close()
        self._reader.close()
        self._writer.close()

    def _wake(self) -> None:
        self._writer.send(b"x")

    def _run(self) -> None:
        while not self._is_over:
            for key, _ in self._selector.select():
                if key.fileobj is self._reader:
                    self._reader.recv(4096)
                    continue
                with self._lock:  # it may have been removed meanwhile
                    site = key.fileobj
                    if isinstance(site, Site) and not site.closing.is_set():
                        site.handle_request()
