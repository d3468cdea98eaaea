"""A pytest process's side of a front door: the port and the board, made before there is a host."""

from __future__ import annotations

import _socket  # the class below `socket.socket`: what blockers of tests replace is the Python one
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from .board import Board

if TYPE_CHECKING:
    from .client import Testbed
    from .witness import Witness

__all__ = ["Doorway", "Way"]

LOOPBACK = "127.0.0.1"
BACKLOG = 128


class Way:
    """A front door that is open, for whoever has a say about it.

    Args:
        testbed: the engine's face.
        kind: the service behind the door.
    """

    def __init__(self, testbed: Testbed, kind: str) -> None:
        self._is_open(testbed, kind)

    def _is_open(self, testbed: Testbed, kind: str) -> None:
        self._testbed, self._kind = testbed, kind

    def _ask(self, message: dict[str, Any]) -> dict[str, Any]:
        return self._testbed.client.ask({**message, "kind": self._kind})

    def begin_to_make(self) -> bool:
        """Let new clients wait until `made`; tell whether what they want was there already."""
        answer = self._ask({"do": "make at door"})
        self._testbed.details += answer["notes"]
        return bool(answer["there"])

    def made(self, fault: str = "") -> None:
        """Let clients go on: what they wait for is there, or will not be for the reason given."""
        self._ask({"do": "door is made", "fault": fault})

    @contextmanager
    def led_to(self, stand_in: str) -> Iterator[None]:
        """Let clients in to something else meanwhile, while what they want is being made; who makes it may be among them."""
        self._ask({"do": "lead", "to": stand_in})
        try:
            yield
        finally:
            self._ask({"do": "lead", "to": ""})

    def visits(self, what: str, backends: Sequence[int] = ()) -> list[int]:
        """Do something to the connections of some backends, or all; return those for which it could be done.

        Args:
            what: "park", "reset", "unlock", "silence" or "cut": see `services.visit.Visit`.
            backends: process ids on the server.
        """
        return list(self._ask({"do": "visits", "what": what, "backends": list(backends)})["backends"])

    def bound(self) -> list[str]:
        """Return the connections that `visits("park")` has left alone the last time, each with what it would have lost."""
        return list(self._ask({"do": "bound"})["bound"])

    def end_since(self, since: int, spared: Sequence[tuple[int, int]] = ()) -> list[list[str]]:
        """Hang up on all who came after that count of messages, but for those who came between two counts that are spared.

        Returns, when the service has let go of them and has done what the others have said, what must be on the service for
        those who are still there, in the kind's own words.
        """
        return list(self._ask({"do": "hang up", "since": since, "spared": list(spared)})["needs"])

    def catch_up(self) -> None:
        """Wait until all is passed on, and counted, that clients have sent so far; not for long."""
        self._ask({"do": "catch up"})

    def end_late(self, since: int) -> list[int]:
        """Hang up on who was held up between two tests and came after that count of messages; return their backends."""
        return list(self._ask({"do": "late", "since": since})["backends"])


class Doorway(Way):
    """A port of this machine's loopback address that listens from now on, and what is to be seen of its use.

    Who connects before the host has taken it over waits in the queue of the operating system.
    """

    host = LOOPBACK
    witness: Witness | None = None
    """Tells the host what this process is like when a client comes before the tests."""

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
        self.board: Board = Board(self._file)

    def hand_over(self, testbed: Testbed, kind: str, facts: Mapping[str, Any]) -> None:
        """Let the host of a run take the port over, without waiting for it.

        Args:
            testbed: the engine's face.
            kind: the service behind the door.
            facts: what the kind's `Visit` needs to know.
        """
        self._is_open(testbed, kind)
        files = [self._listener.fileno(), self._file]
        if self.witness is not None:
            files.append(self.witness.theirs)
        testbed.client.tell({"do": "door", "spec": testbed.spec(kind).to_json(), "facts": dict(facts)}, files)
        # with the host's end the port ends too, and no forked child keeps it
        self._listener.close()
        os.close(self._file)
        if self.witness is not None:
            self.witness.begin()
