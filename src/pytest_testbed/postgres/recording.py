"""The recording of statements, for as long as somebody wants it."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial

from ..later import WhenImported
from . import alchemy, drivers, sent
from .queries import Queries

__all__ = ["recorded"]

_lock = threading.RLock()
_taps = ExitStack()

TAPS: dict[str, Callable[[ExitStack], None]] = {
    "sqlalchemy": alchemy.listen,
    "psycopg2": drivers.listen_to_psycopg2,
    "psycopg": drivers.listen_to_psycopg,
    "asyncpg": drivers.listen_to_asyncpg,
}
"""Whom to listen to, by the name of the module."""


@contextmanager
def recorded(root: str = "") -> Iterator[Queries]:
    """Record what this process sends to PostgreSQL, by SQLAlchemy, psycopg, psycopg2 and asyncpg.

    Args:
        root: the directory that is left out where a file of the application is named.
    """
    queries = Queries()
    with _lock:
        sent.start(queries, root)
        if sent.recorders() == 1:
            _install(_taps)
    try:
        yield queries
    finally:
        with _lock:
            sent.stop(queries)
            if not sent.recorders():
                _taps.close()


def _install(stack: ExitStack) -> None:
    """Listen to whoever is here already; to the others, as soon as they are imported."""
    later = WhenImported()
    for name, listen in TAPS.items():
        if name in sys.modules:
            listen(stack)
        else:  # three that nobody uses would cost more than all the rest
            later.actions[name] = partial(_if_still_on, listen, stack)
    if later.actions:
        sys.meta_path.insert(0, later)
        stack.callback(_forget, later)


def _if_still_on(listen: Callable[[ExitStack], None], stack: ExitStack) -> None:
    with _lock:
        if sent.recorders():
            listen(stack)


def _forget(later: WhenImported) -> None:
    if later in sys.meta_path:  # who replaces the list may have lost it
        sys.meta_path.remove(later)
