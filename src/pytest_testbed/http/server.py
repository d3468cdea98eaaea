"""Real HTTP servers on real ports, which answer from books of stubs; the standard library's."""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Callable
from contextlib import suppress
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from socketserver import TCPServer
from typing import Any
from urllib.parse import quote

from .answer import Answer
from .book import Book, Served
from .request import Request

__all__ = ["Site"]

LONGEST_LINE = 65536
BODILESS = (204, 304)
FRAMING = ("content-length", "transfer-encoding")
REASONS = {status.value: status.phrase for status in HTTPStatus}
RST_ON_CLOSE = struct.pack("ii", 1, 0)
AT_ONCE = 65536
"""Bytes of a body up to which it is sent together with its head."""
GARBAGE = b"\x00\xff\xfe this is no HTTP \x00\x01\x02\r\n"
PATIENCE = 0.2
"""Seconds in which a client is to take the answer that is being sent as the test ends."""
PRINTABLE = "".join(map(chr, range(33, 127)))
LINGER = 1.0
"""Seconds in which a client that was refused is to say the rest."""
MOST = 16 * 1024 * 1024
"""Bytes of it that are read."""
TLS = b"\x16\x03"
"""The first bytes of a client that begins to speak TLS."""

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
        self.server_close()
        with self._changed:
            self._end(self._connections)


class Handler(BaseHTTPRequestHandler):
    """One connection."""

    server: Site
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def handle_one_request(self) -> None:
        """Read one request and answer it."""
        self.close_connection = True
        self.raw_requestline = self.rfile.readline(LONGEST_LINE + 1)
        site = self.server
        if not self.raw_requestline or site.is_closing:
            return
        self.book = site.book  # whose test it is counts from its first line
        site.mark(self.connection, False)
        self.command, self.requestline, self.request_version = "", "", "HTTP/1.1"
        if len(self.raw_requestline) > LONGEST_LINE:
            self.send_error(414, "the request line is longer than 64 KiB")
        elif self.parse_request():
            try:
                body = self._body()
            except Broken as broken:
                self.send_error(broken.status, str(broken))
            else:
                self._answer(body)
        site.mark(self.connection, None)

    def parse_request(self) -> bool:
        """Read the head; a client that speaks TLS is told of in words."""
        if self.raw_requestline.startswith(TLS):
            self.send_error(400, "the client speaks TLS: the address of a mock service begins with http://")
            return False
        return super().parse_request()

    def handle_expect_100(self) -> bool:
        """Let the client send its body."""
        self.connection.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
        return True

    def log_message(self, format: str, *args: Any) -> None:
        """Print nothing: what was said is shown with a test's failure."""

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """Refuse what is no request; it is shown with a test's failure, and not counted."""
        self.close_connection = True
        why = f"no request: {message or REASONS.get(code, '')}"
        answer = Answer(code, body=why + "\n")
        target = self.requestline.split(" ")[1] if " " in self.requestline else "/"
        request = Request(self.command or "?", target, (), b"", self.client)
        self.server.told(Served(request, None, answer, why), self.book)
        self.request_version = "HTTP/1.1"
        self.server.mark(self.connection, True)
        self._send(answer)
        self._read_on()

    def _read_on(self) -> None:
        """Let the client read its answer: who ends a connection in which something is unread, ends it hard."""
        self.connection.shutdown(socket.SHUT_WR)
        self.connection.settimeout(LINGER)
        for _ in range(MOST // 65536):
            if not self.rfile.read1(65536):
                break

    @property
    def client(self) -> tuple[str, int]:
        """The client's address and port."""
        return str(self.client_address[0]), int(self.client_address[1])

    # --- the request's body

    def _body(self) -> bytes:
        encoding = self.headers.get("Transfer-Encoding", "").strip().lower()
        if encoding == "chunked":
            return self._chunks()
        if encoding:
            raise Broken(f"Transfer-Encoding {encoding!r} is not understood", 501)
        text = self.headers.get("Content-Length", "0").strip()
        if not (text.isascii() and text.isdigit()):
            raise Broken(f"Content-Length {text!r} is no number")
        length = int(text)
        body = self.rfile.read(length) if length else b""
        if len(body) < length:
            raise Broken(f"the client went away after {len(body)} of {length} bytes of the body")
        return body

    def _chunks(self) -> bytes:
        parts: list[bytes] = []
        while True:
            line = self.rfile.readline(LONGEST_LINE)
            text = line.partition(b";")[0].strip()
            try:
                size = int(text, 16) if text.isalnum() else -1
            except ValueError:
                size = -1
            if size < 0:
                raise Broken(f"{line[:40]!r} is no size of a chunk" if line else "the client went away between two chunks")
            if size == 0:
                while self.rfile.readline(LONGEST_LINE).strip():
                    pass  # trailers
                return b"".join(parts)
            part = self.rfile.read(size)
            if len(part) < size or self.rfile.readline(3).strip():
                raise Broken("a chunk is not as long as it says")
            parts.append(part)

    # --- the answer

    def _answer(self, body: bytes) -> None:
        target = self.requestline.split()[1]  # not self.path, in which // at its beginning has become /
        if not target.isascii():
            target = quote(target.encode("latin-1"), safe=PRINTABLE)
        request = Request(self.command, target, self.headers.items(), body, self.client)
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
        elif said["content-length"] != str(len(content)) and self.command != "HEAD":
            self.close_connection = True  # it lies, and the client would wait
        if said.get("connection") == "close":
            self.close_connection = True
        elif "connection" not in said and self.close_connection:
            lines.append("Connection: close")
        elif self.request_version == "HTTP/1.0":
            lines.append("Connection: keep-alive")
        head = "\r\n".join([*lines, "\r\n"]).encode("latin-1")
        if self.command == "HEAD":
            content = b""
        if len(content) <= AT_ONCE:
            self.connection.sendall(head + content)  # at once: between two, the client's acknowledgement would be waited for
        else:
            self.connection.sendall(head)
            self.connection.sendall(content)

    def _go_wrong(self, answer: Answer) -> None:
        """Do on the socket what a fault asks for, and end the connection."""
        self.close_connection = True
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


class Broken(Exception):
    """A body that is not whole, or that nobody understands."""

    def __init__(self, text: str, status: int = 400) -> None:
        super().__init__(text)
        self.status = status
