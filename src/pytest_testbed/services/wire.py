"""One connection between a pytest process and the host: JSON messages, each after its length.

It is built on the C socket itself, so that a test which replaces `socket.socket` (a network blocker,
a mock) does not reach it.
"""

from __future__ import annotations

import _socket  # the class below `socket.socket`: what blockers replace is the Python one
import json
import select
import struct

from ..errors import HostError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

__all__ = ["SteadyWire", "Wire"]

_LENGTH = struct.Struct("!I")
LARGEST = 16 * 1024 * 1024
_FILE = struct.Struct("i")
_FILES = struct.Struct("4i")
"""As many descriptors as one message may bring."""


class Wire:
    """A connected stream socket that carries JSON objects, for one thread at a time."""

    def __init__(self, connection: _socket.socket) -> None:
        self._socket = connection
        self.files: list[int] = []
        """Descriptors that came with messages, for the reader to take."""

    def fileno(self) -> int:
        """Return the socket's file descriptor."""
        return self._socket.fileno()

    def send(self, message: dict[str, Any], files: Sequence[int] = ()) -> None:
        """Send one message, with open files whose descriptors the other end gets as its own.

        Raises:
            HostError: the other end is gone.
        """
        data = json.dumps(message).encode()
        data = _LENGTH.pack(len(data)) + data
        try:
            if files:
                packed = b"".join(map(_FILE.pack, files))
                sent = self._socket.sendmsg([data], [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, packed)])
                data = data[sent:]
            self._socket.sendall(data)
        except OSError as error:
            raise HostError(f"the connection to the host process broke: {error}") from error

    def receive(self) -> dict[str, Any]:
        """Wait for one message.

        Raises:
            EOFError: the other end closed the connection.
            HostError: it broke, or what came is no message.
        """
        (length,) = _LENGTH.unpack(self._head())
        if length > LARGEST:
            raise HostError(f"the host process sent a message of {length} bytes.")
        try:
            message = json.loads(self._exactly(length))
        except ValueError as error:
            raise HostError("the host process sent something that is no message.") from error
        if not isinstance(message, dict):
            raise HostError("the host process sent something that is no message.")
        return message

    def _head(self) -> bytes:
        """Return the length of the next message; descriptors come with the first byte of theirs."""
        try:
            head, more, _, _ = self._socket.recvmsg(_LENGTH.size, _socket.CMSG_SPACE(_FILES.size))
        except OSError as error:
            raise HostError(f"the connection to the host process broke: {error}") from error
        for level, kind, data in more:
            if level == _socket.SOL_SOCKET and kind == _socket.SCM_RIGHTS:
                whole = len(data) - len(data) % _FILE.size
                self.files += [file for (file,) in _FILE.iter_unpack(data[:whole])]
        if not head:
            raise EOFError("the other end closed the connection.")
        return head + self._exactly(_LENGTH.size - len(head))

    def _exactly(self, size: int) -> bytes:
        data = bytearray()
        while len(data) < size:
            try:
                part = self._socket.recv(size - len(data))
            except OSError as error:
                raise HostError(f"the connection to the host process broke: {error}") from error
            if not part:
                raise EOFError("the other end closed the connection.")
            data += part
        return bytes(data)

    def waiting(self, seconds: float = 0) -> bool:
        """Tell whether a message, or the other end's good-bye, is there, or comes within so many seconds."""
        return bool(select.select([self._socket], [], [], seconds)[0])

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()


class SteadyWire(Wire):
    """A wire on which a wait can be broken off by the exception of a signal's handler: Ctrl-C, pytest-timeout.

    No byte of a message gets lost thereby, else its rest would stand before the next answer.
    """

    def __init__(self, connection: _socket.socket) -> None:
        super().__init__(connection)
        self._parts: list[bytes] = []

    def receive(self) -> dict[str, Any]:
        """Wait for one message; what came of it before an interruption is kept."""
        while True:
            came = b"".join(self._parts)
            end = 4 + int.from_bytes(came[:4])
            if len(came) >= max(end, 4):
                self._parts[:] = [came[end:]]
                message: dict[str, Any] = json.loads(came[4:end])
                return message
            if self._parts and not self._parts[-1] and len(self._parts) > 1:
                raise EOFError("the other end closed the connection.")
            try:
                # One call in C, on purpose: between two there may be an exception.
                self._parts.extend(map(self._socket.recv, (1 << 16,)))
            except OSError as error:
                raise HostError(f"the connection to the host process broke: {error}") from error
