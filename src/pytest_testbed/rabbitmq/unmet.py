"""The words for a message that did not come: what was wanted, what came instead, what lies elsewhere."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from ..jsonpart import differences
from .message import Matching, Message

__all__ = ["Unmet"]

SHOWN = 10


class Unmet:
    """A wait for a message that was in vain.

    Args:
        queue: where it was to come.
        matching: what was looked for.
        within: seconds that were waited.
        seen: what was there instead.
        elsewhere: other queues that hold messages, with their counts.
        what: what was waited for.
    """

    def __init__(
        self,
        queue: str,
        matching: Matching,
        within: float,
        seen: Sequence[Message],
        elsewhere: Sequence[tuple[str, int]],
        what: str = "message",
    ) -> None:
        self._queue, self._matching, self._within, self._what = queue, matching, within, what
        self._seen, self._elsewhere = seen, elsewhere

    def __str__(self) -> str:
        """Return all of it, for an AssertionError."""
        return "\n".join(self._lines())

    def _lines(self) -> Iterator[str]:
        wanted = "" if self._matching is None else f" that matches {described(self._matching)}"
        yield f"no {self._what}{wanted} came to {self._queue!r} within {self._within:g} s."
        if self._seen:
            yield f"  what is there ({len(self._seen)}):"
            for message in self._seen[:SHOWN]:
                yield f"    {message}"
                yield from (f"      {line}" for line in self._unlike(message))
            if len(self._seen) > SHOWN:
                yield f"    … and {len(self._seen) - SHOWN} more"
        else:
            yield "  nothing is there."
        if self._elsewhere:
            others = ", ".join(f"{name} ({count})" for name, count in self._elsewhere)
            yield f"  other queues that hold messages: {others}"

    def _unlike(self, message: Message) -> Iterator[str]:
        if not isinstance(self._matching, Mapping):
            return
        try:
            whole = message.json
        except ValueError:
            yield "its body is no JSON"
            return
        yield from list(differences(whole, self._matching))[:3]


def described(matching: Matching) -> str:
    """Return what is looked for, in words."""
    return getattr(matching, "__name__", "a predicate") if callable(matching) else repr(matching)
