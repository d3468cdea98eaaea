"""Listening to libraries as long as somebody wants it: to those that are loaded, and to others from their import on."""

from __future__ import annotations

import sys
import threading
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

from ..errors import TestbedWarning
from ..later import WhenImported

__all__ = ["Ear", "Taps", "swap"]

Listen = Callable[[ExitStack], None]


class Ear:
    """What tells one stand-in whether it still is to listen: others may call it, or put it back, when all is over."""

    is_open = True


class Taps:
    """A place where what libraries do is taken down, in as many lists as there are listeners.

    Args:
        listen: by a module's name, what begins to listen to it, until the stack that it is given is closed.
    """

    def __init__(self, listen: Mapping[str, Listen]) -> None:
        self._listen = listen
        self._lists: tuple[list[Any], ...] = ()
        self._lock = threading.RLock()
        self._stack = ExitStack()
        self.root = ""
        """The directory that is left out where a file is named."""

    def add(self, entry: Any) -> None:
        """Take something down; may be called from any thread."""
        for each in self._lists:
            each.append(entry)

    @contextmanager
    def recorded(self, root: str = "") -> Iterator[list[Any]]:
        """Give a list that grows as long as the block lasts."""
        found: list[Any] = []
        with self._lock:
            self.root = root
            self._lists = (*self._lists, found)
            if len(self._lists) == 1:
                self._install()
        try:
            yield found
        finally:
            with self._lock:
                self._lists = tuple(each for each in self._lists if each is not found)
                if not self._lists:
                    self._stack.close()

    def _install(self) -> None:
        later = WhenImported()
        for name, listen in self._listen.items():
            if sys.modules.get(name) is not None:
                listen(self._stack)
            elif name not in sys.modules:  # one that is None there is forbidden
                later.actions[name] = partial(self._if_still_on, listen)
        if later.actions:
            sys.meta_path.insert(0, later)
            self._stack.callback(_forget, later)

    def _if_still_on(self, listen: Listen) -> None:
        with self._lock:
            if self._lists:
                listen(self._stack)


def _forget(later: WhenImported) -> None:
    if later in sys.meta_path:  # who replaces the list may have lost it
        sys.meta_path.remove(later)


def swap(stack: ExitStack, owner: Any, name: str, wrap: Callable[[Any, Ear], Any]) -> None:
    """Replace an attribute until the stack is closed; who has replaced it once more by then keeps his own.

    Args:
        stack: what is closed in the end.
        owner: a class.
        name: of an attribute that it has itself. Many are private: where a new version has none of that name, that is told,
            as a budget of 0 would hold then whatever a test does.
        wrap: makes what stands in from what is there, and as long as its ear is open.
    """
    before = vars(owner).get(name)
    if before is None:
        where = f"{getattr(owner, '__module__', '')}.{owner.__name__}".lstrip(".")
        library = where.partition(".")[0]
        text = f"budgets do not see all that {library} does: {where} has no {name!r} in the version that is installed"
        warnings.warn(TestbedWarning(text), stacklevel=2)
        return
    ear = Ear()
    new = wrap(before, ear)

    def put_back() -> None:
        ear.is_open = False  # who stands before it, and goes on, would have it count what the next one counts, too
        if vars(owner).get(name) is new:
            setattr(owner, name, before)

    setattr(owner, name, new)
    stack.callback(put_back)
