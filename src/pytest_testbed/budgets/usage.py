"""What a test uses, phase by phase: seconds, and what is counted."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple, Protocol

__all__ = ["CALL", "SETUP", "Usage", "Used"]

SETUP, CALL, NEITHER = "setup", "call", ""
CLOCK = (time.perf_counter,)
"""In a tuple: what stands by itself in a module, freezegun replaces."""


class Used(Protocol):
    """Something that counts: a statement, an HTTP call, a message."""

    @property
    def shape(self) -> str:
        """What it has in common with others of its kind, on one line."""

    @property
    def where(self) -> str:
        """The line of the application that it comes from; "" where there is none."""

    @property
    def milliseconds(self) -> float:
        """How long the sender waited for it."""


class Mark(NamedTuple):
    """Where a stretch of a phase begins."""

    phase: str
    at: float
    waited: float
    counts: tuple[int, ...]


class Usage:
    """What one run of a test uses.

    Args:
        kept: what is counted, by name, each growing while the test runs.
        waited: returns for how many seconds this process has waited for services so far.
    """

    def __init__(self, kept: Mapping[str, Sequence[Used]], waited: Callable[[], float]) -> None:
        self._kept = kept
        self._waited = waited
        self._marks: list[Mark] = []
        self.switch(SETUP)

    @property
    def phase(self) -> str:
        """The phase that it is in."""
        return self._marks[-1].phase

    def switch(self, phase: str) -> None:
        """Begin a phase, or go on with one: fixtures that a test asks for while it runs are a piece of its setup."""
        self._marks.append(Mark(phase, CLOCK[0](), self._waited(), tuple(map(len, self._kept.values()))))

    def end(self) -> None:
        """End the phase that it is in."""
        self.switch(NEITHER)

    def seconds(self, phase: str) -> float:
        """Return how long a phase took, without its waiting for services."""
        return sum(end.at - begin.at - (end.waited - begin.waited) for begin, end in self._of(phase))

    @property
    def waited(self) -> float:
        """Seconds of both phases in which a service was awaited."""
        return sum(end.waited - begin.waited for phase in (SETUP, CALL) for begin, end in self._of(phase))

    def used(self, name: str, phase: str) -> list[Used]:
        """Return what was counted in a phase; nothing where it was not listened to."""
        if name not in self._kept:
            return []
        kept, at = self._kept[name], list(self._kept).index(name)
        return [each for begin, end in self._of(phase) for each in kept[begin.counts[at] : end.counts[at]]]

    def count(self, name: str, phase: str) -> int:
        """Return how many were counted in a phase."""
        if name not in self._kept:
            return 0
        at = list(self._kept).index(name)
        return sum(end.counts[at] - begin.counts[at] for begin, end in self._of(phase))

    @property
    def names(self) -> list[str]:
        """What is listened to."""
        return list(self._kept)

    def _of(self, phase: str) -> list[tuple[Mark, Mark]]:
        return [(begin, end) for begin, end in zip(self._marks, self._marks[1:], strict=False) if begin.phase == phase]
