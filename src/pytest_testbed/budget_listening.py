"""What is listened to for budgets: from the first test that has one to the next that has none."""

from __future__ import annotations

import sys
from collections.abc import Collection, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from importlib import import_module
from typing import Any

__all__ = ["Listening"]

WHERE = {
    "queries": ("postgres.recording", ("sqlalchemy", "psycopg", "psycopg2", "asyncpg")),
    "http_calls": ("budgets.calls", ("http.client", "httpx", "httpx2", "aiohttp")),
    "messages": ("budgets.messages", ("pika", "aiormq", "amqp")),
}
"""By counter: which file listens, and the libraries that it listens to."""


class Listening:
    """Keeps listening from test to test: to begin anew each time would cost a multiple of all the rest.

    Args:
        root: the directory that is left out where a file of the application is named.
    """

    def __init__(self, root: str) -> None:
        self._root = root
        self._stacks: dict[str, ExitStack] = {}
        self._kept: dict[str, Any] = {}

    def begin(self, names: Collection[str]) -> Mapping[str, Sequence[Any]]:
        """Listen to what budgets need, and forget what was heard before.

        Args:
            names: of the budgets. For one of seconds, what is loaded is listened to, to tell where they went.

        Returns:
            By counter, what is heard.
        """
        wanted = [
            name for name, (_, libraries) in WHERE.items() if name in names or ("seconds" in names and _is_any_loaded(libraries))
        ]
        for name in [name for name in self._stacks if name not in wanted]:
            self._stop(name)
        for name in wanted:
            if name not in self._stacks:
                self._stacks[name] = stack = ExitStack()
                self._kept[name] = stack.enter_context(self._recorded(name))
        self.forget()
        return self._kept

    def forget(self) -> None:
        """Forget what was heard so far."""
        for kept in self._kept.values():
            kept.clear()

    def close(self) -> None:
        """Listen no more."""
        for name in list(self._stacks):
            self._stop(name)

    def _stop(self, name: str) -> None:
        del self._kept[name]
        self._stacks.pop(name).close()

    def _recorded(self, name: str) -> AbstractContextManager[Any]:
        found: AbstractContextManager[Any] = import_module(f"{__package__}.{WHERE[name][0]}").recorded(self._root)
        return found


def _is_any_loaded(libraries: Sequence[str]) -> bool:
    return any(library in sys.modules for library in libraries)
