"""Turns: what only one of a host's clients may do at a time, such as the building of a template."""

from __future__ import annotations

import threading
from collections.abc import Callable

__all__ = ["Turns"]

LOOK = 0.05
"""Seconds after which somebody who waits is looked after."""


class Turns:
    """Locks by name that belong to clients, and end with them."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._holders: dict[str, object] = {}

    def take(self, name: str, who: object, gave_up: Callable[[], bool]) -> bool:
        """Wait for a turn and tell whether it came; False where `gave_up` says that nobody waits any more."""
        with self._changed:
            while self._holders.get(name, who) is not who:  # who asks again had been interrupted
                self._changed.wait(LOOK)
                if gave_up():
                    return False
            self._holders[name] = who
            return True

    def give_back(self, who: object, name: str | None = None) -> None:
        """End a client's turn; without a name all of them, as the client is gone."""
        with self._changed:
            for held in [held for held, holder in self._holders.items() if holder is who and name in (None, held)]:
                del self._holders[held]
            self._changed.notify_all()
