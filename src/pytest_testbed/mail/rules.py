"""What the server is to do wrong on demand: refuse, delay, hang up."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from typing import Literal, Self

from .criteria import Criterion, address_fits

__all__ = ["STAGES", "Rule", "Rules", "Stage"]

Stage = Literal["connect", "auth", "mail", "rcpt", "data"]
"""When the server answers: to the connection, to a login, to the sender, to each recipient, to the mail itself."""
STAGES: tuple[Stage, ...] = ("connect", "auth", "mail", "rcpt", "data")
Kind = Literal["refuse", "delay", "drop"]


class Rule:
    """One thing that the server does wrong, until it is undone; in a `with` block, until the block ends.

    Args:
        kind: what it does.
        at: when.
        to: for which recipient alone.
        sender: for which sender alone.
        answer: what it says, with the code.
        seconds: how long it waits.
        times: how many times; None for always.
        undo: takes it back.
    """

    def __init__(
        self,
        kind: Kind,
        at: Stage,
        *,
        undo: Callable[[Rule], None],
        to: Criterion = None,
        sender: Criterion = None,
        answer: str = "",
        seconds: float = 0.0,
        times: int | None = None,
    ) -> None:
        self.kind = kind
        self.at = at
        self.answer = answer
        self.seconds = seconds
        self._to, self._sender, self._times, self._undo = to, sender, times, undo
        self.count: int = 0
        """How many times it was applied."""

    def fits(self, kind: Kind, at: Stage, sender: str, recipients: Iterable[str]) -> bool:
        """Tell whether it applies."""
        return (
            (self.kind, self.at) == (kind, at)
            and (self._times is None or self.count < self._times)
            and (self._sender is None or address_fits(sender, self._sender))
            and (self._to is None or any(address_fits(each, self._to) for each in recipients))
        )

    def undo(self) -> None:
        """Take it back."""
        self._undo(self)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.undo()


class Rules:
    """All that the server does wrong for a test."""

    def __init__(self) -> None:
        self._rules: list[Rule] = []
        self._lock = threading.Lock()

    def add(self, rule: Rule) -> Rule:
        """Let a rule apply from now on."""
        with self._lock:
            self._rules.append(rule)
        return rule

    def remove(self, rule: Rule) -> None:
        """Take a rule back, where it still applies."""
        with self._lock:
            self._rules = [each for each in self._rules if each is not rule]

    def clear(self) -> None:
        """Take all back."""
        with self._lock:
            self._rules = []

    def take(self, kind: Kind, at: Stage, sender: str = "", recipients: Iterable[str] = ()) -> Rule | None:
        """Return the rule that was added last of those that apply, and count it."""
        with self._lock:
            for rule in reversed(self._rules):
                if rule.fits(kind, at, sender, recipients):
                    rule.count += 1
                    return rule
        return None
