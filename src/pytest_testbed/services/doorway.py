"""A pytest process's side of a front door: the port and the board, made before there is a host."""

from __future__ import annotations

import _socket  # the class below `socket.socket`: what blockers of tests replace is the Python one
import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from .board import Board

if TYPE_CHECKING:
    from .client import Testbed

__all__ = ["Doorway"]

LOOPBACK = "127.0.0.1"
BACKLOG = 128


class Doorway:
    """A port of this machine's loopback address that listens from now on, and what is to be seen of its use.

    Who connects before the host has taken it over waits in the queue of the operating system.
    """

    host = LOOPBACK

    def __init__(self) -> None:
        self._listener = _socket.socket(_socket.AF_INET, _socket.SOCK_STREAM)
        try:
            self._listener.bind((LOOPBACK, 0))
            self._listener.listen(BACKLOG)
            self.port: int = self._listener.getsockname()[1]
            self._file = Board.allocate()
        except OSError:
            self._listener.close()
            raise
        self.board = Board(self._file)

    def hand_over(self, testbed: Testbed, kind: str, facts: Mapping[str, Any]) -> None:
        """Let the host of a run take the port over, without waiting for it.

        Args:
            testbed: the engine's face.
            kind: the service behind the door.
            facts: what the kind's `Visit` needs to know.
        """
        self._testbed, self._kind = testbed, kind
        testbed.client.tell(
            {"do": "door", "spec": testbed.spec(kind).to_json(), "facts": dict(facts)}, [self._listener.fileno(), self._file]
        )
        # with the host's end the port ends too, and no forked child keeps it
        self._listener.close()
        os.close(self._file)

    def _ask(self, message: dict[str, Any]) -> dict[str, Any]:
        return self._testbed.client.ask({**message, "kind": self._kind})

    def begin_to_make(self) -> bool:
        """Let new clients wait until `made`; tell whether what they want was there already."""
        return bool(self._ask({"do": "make at door"})["there"])

    def made(self, fault: str = "") -> None:
        """Let clients go on: what they wait for is there, or will not be for the reason given."""
        self._ask({"do": "door is made", "fault": fault})

    def visits(self, what: str, backends: Sequence[int] = ()) -> list[int]:
        """Do something to the connections of some backends, or all; return those for which it could be done.

        Args:
            what: "park", "reset", "unlock", "silence" or "cut": see `services.frontdoor.Visit`.
            backends: process ids on the server.
        """
        return list(self._ask({"do": "visits", "what": what, "backends": list(backends)})["backends"])

    def end_late(self, since: int) -> list[int]:
        """Hang up on who was held up between two tests and came after that count of messages; return their backends."""
        return list(self._ask({"do": "late", "since": since})["backends"])
