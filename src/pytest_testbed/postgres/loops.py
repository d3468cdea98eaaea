"""Event loops that are somebody else's: how to do something on one, and before it is closed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from typing import Any
from weakref import WeakKeyDictionary

from sqlalchemy.util.concurrency import await_only, greenlet_spawn

from ..errors import ConfigurationError

__all__ = ["Leaves", "current_loop", "reach", "running_loop"]

SECONDS = 15.0
"""How long a loop that runs in another thread may take."""


def current_loop() -> asyncio.AbstractEventLoop | None:
    """Return the event loop that runs in this thread, if one does."""
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


def running_loop(name: str) -> asyncio.AbstractEventLoop:
    """Return the event loop that runs in this thread.

    Args:
        name: what needs it, for the error.

    Raises:
        ConfigurationError: there is none, as in a test that trio runs.
    """
    if (loop := current_loop()) is None:
        raise ConfigurationError(
            f"{name} needs a running event loop of asyncio, which SQLAlchemy's async engines are written for; none runs here. "
            'A fixture in conftest.py keeps tests that anyio runs from trio: def anyio_backend(): return "asyncio".'
        )
    return loop


def reach(loop: asyncio.AbstractEventLoop | None, call: Callable[[], Any]) -> Any:
    """Call something in a greenlet on a loop, from where that loop does not run; plainly where it cannot be run."""
    if loop is None or loop.is_closed():
        return call()
    if loop.is_running() and loop is not current_loop():
        return asyncio.run_coroutine_threadsafe(greenlet_spawn(call), loop).result(SECONDS)
    return call() if current_loop() is not None else loop.run_until_complete(greenlet_spawn(call))


class Leaves:
    """Tells of loops that are about to be closed, while they still run.

    Whoever closes a loop in the usual ways (`asyncio.run`, `asyncio.Runner`) first closes the async
    generators that were begun on it, so that they can clean up.

    Args:
        take: called in a greenlet on such a loop.
    """

    def __init__(self, take: Callable[[asyncio.AbstractEventLoop], None]) -> None:
        self._take = take
        self._begun: WeakKeyDictionary[asyncio.AbstractEventLoop, AsyncGenerator[None, None]] = WeakKeyDictionary()

    def watch(self, loop: asyncio.AbstractEventLoop) -> None:
        """Watch a loop; call it in a greenlet on that loop."""
        if loop not in self._begun:
            self._begun[loop] = generator = self._until_closed(loop)
            await_only(generator.__anext__())  # from now on the loop knows it

    async def _until_closed(self, loop: asyncio.AbstractEventLoop) -> AsyncGenerator[None, None]:
        try:
            yield
        finally:
            await greenlet_spawn(self._take, loop)
