"""What a backend is asked behind its client's back: the answer is kept from the client, and all else goes on to it.

For the host process: the standard library only.
"""

from __future__ import annotations

import select
import time

from ..services.visit import PIECE, poll
from .messages import messages

TYPE_CHECKING = False
if TYPE_CHECKING:
    import _socket
    import threading
    from collections.abc import Callable

__all__ = ["Unseen"]

PATIENCE = 5.0
"""Seconds in which a client must have read what it has asked for, and in which a backend must have answered us."""
NOTIFICATION = b"A"


class Unseen:
    """Asks the backend of one client, who waits for nothing at the time.

    Args:
        hearing: held by who reads what the backend says.
    """

    # it must not know the visit that it works for: a socket is closed with the last reference to it

    def __init__(self, hearing: threading.Lock) -> None:
        self._hearing = hearing
        self.owed: bytes | None = None
        """What has come of an answer that the client must not see; None where none is to come."""

    def ask(self, upstream: _socket.socket, text: bytes, hear: Callable[[bytes], None]) -> bytes | None:
        """Send something; return the answer.

        Args:
            upstream: the end at the backend.
            text: one or more messages, answered together.
            hear: passes on what the backend says to the client.

        Returns:
            b"" where none came in time; None where nothing was sent.
        """
        if not self._hearing.acquire(timeout=PATIENCE):  # the client does not read what it has asked for
            return None
        try:
            return self._answered(upstream, text, hear) if self.owed is None else None  # not even the last one was answered
        except OSError:
            return b""  # the backend has just gone
        finally:
            self._hearing.release()

    def _answered(self, upstream: _socket.socket, text: bytes, hear: Callable[[bytes], None]) -> bytes:
        deadline = time.monotonic() + PATIENCE
        self.owed = b""
        upstream.sendall(text)
        while (left := deadline - time.monotonic()) > 0 and poll(upstream, select.POLLIN, left):
            if not (piece := upstream.recv(PIECE)):
                break
            answer, piece = self.sift(piece)
            if piece:
                hear(piece)
            if answer:
                return answer
        return b""  # when it comes, the client will not see it

    def sift(self, piece: bytes) -> tuple[bytes, bytes]:
        """Return the answer that is owed, b"" while it is not whole, and what is for the client."""
        assert self.owed is not None
        self.owed += piece
        if not (at := _end_of_answer(self.owed)):
            return b"", b""
        answer, rest, self.owed = self.owed[:at], self.owed[at:], None
        return answer, b"".join(whole for kind, _, whole in messages(answer) if kind == NOTIFICATION) + rest


def _end_of_answer(piece: bytes) -> int:
    """Return how far an answer goes at the beginning of what was received; 0 where its end has not come yet."""
    at = 0
    for kind, _, whole in messages(piece):
        at += len(whole)
        if kind == b"Z":
            return at
    return 0
