"""The few messages of PostgreSQL's protocol that a start needs, over a private socket that trusts us.

For the host process: loading a driver there costs more than the server's own start. Anything with a
password goes through libpq. Messages: PostgreSQL documentation, "Frontend/Backend Protocol".
"""

from __future__ import annotations

import _socket
import struct

__all__ = ["ServerError", "Trusted"]

_VERSION = 3 << 16
HOST = "pytest-testbed (the host)"
"""The application name of these sessions, which end with a snapshot as everybody's do."""
_HEAD = struct.Struct("!cI")


class ServerError(Exception):
    """What the server answered in place of what was asked for."""


class Trusted:
    """A session on a server that lets in who reaches its socket.

    Args:
        path: of the socket.
        user: role to log in as.
        database: database to log in to.
        timeout: seconds that each answer may take.
    """

    def __init__(self, path: str, user: str, database: str, timeout: float) -> None:
        self.parameters: dict[str, str] = {}
        self.path, self.user = path, user
        self._socket = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
        try:
            self._socket.settimeout(timeout)
            self._socket.connect(path)
            body = struct.pack("!I", _VERSION)
            for word in ("user", user, "database", database, "application_name", HOST, ""):
                body += word.encode() + b"\0"
            self._socket.sendall(struct.pack("!I", len(body) + 4) + body)
            self._until_ready()
        except BaseException:
            self._socket.close()
            raise

    def patience(self, seconds: float) -> None:
        """Change how long each answer may take."""
        self._socket.settimeout(seconds)

    def execute(self, sql: str) -> None:
        """Send statements whose rows nobody needs.

        Raises:
            ServerError: the server refused one.
        """
        self.column(sql)

    def column(self, sql: str) -> list[str]:
        """Send a query and return its first column, which must not be null.

        Raises:
            ServerError: the server refused it.
        """
        body = sql.encode() + b"\0"
        self._socket.sendall(_HEAD.pack(b"Q", len(body) + 4) + body)
        return self._until_ready()

    def close(self) -> None:
        """Say good-bye."""
        try:
            self._socket.sendall(_HEAD.pack(b"X", 4))
        finally:
            self._socket.close()

    def _until_ready(self) -> list[str]:
        error = ""
        values: list[str] = []
        while True:
            kind, length = _HEAD.unpack(self._exactly(_HEAD.size))
            body = self._exactly(length - 4)
            if kind == b"R" and body[:4] != b"\0\0\0\0":
                raise ServerError("the server wants a password on its private socket")
            if kind == b"S":
                name, value = body.decode().split("\0")[:2]
                self.parameters[name] = value
            elif kind == b"D":
                (size,) = struct.unpack_from("!i", body, 2)  # after the number of columns
                values.append(body[6 : 6 + size].decode())
            elif kind == b"E":
                error = " ".join(part[1:] for part in body.decode(errors="replace").split("\0") if part[:1] in ("V", "C", "M"))
                if error.startswith(("FATAL", "PANIC")):
                    raise ServerError(error)
            elif kind == b"Z":
                if error:
                    raise ServerError(error)
                return values

    def _exactly(self, size: int) -> bytes:
        data = b""
        while len(data) < size:
            part = self._socket.recv(size - len(data))
            if not part:
                raise ServerError("the server closed the connection")
            data += part
        return data
