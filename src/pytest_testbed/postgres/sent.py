"""A statement that is being sent: taken down for all who record at the time."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from threading import get_ident
from typing import Any

from .queries import Queries, Query

__all__ = ["begin", "end", "fail", "is_on", "now", "recorders", "start", "stop", "taken_already"]

_active: tuple[Queries, ...] = ()
_root = ""
_main = threading.main_thread().ident
now = time.perf_counter


def start(queries: Queries, root: str) -> None:
    """Let it have what is sent from now on."""
    global _active, _root
    _active, _root = (*_active, queries), root


def stop(queries: Queries) -> None:
    """Let it have no more."""
    global _active
    _active = tuple(other for other in _active if other is not queries)


def recorders() -> int:
    """Return how many want to know."""
    return len(_active)


def is_on() -> bool:
    """Tell whether anybody wants to know, and what this thread sends is not known already."""
    return bool(_active) and not _thread.taken


class _Thread(threading.local):
    """What a thread does."""

    taken = False


_thread = _Thread()


@contextmanager
def taken_already() -> Iterator[None]:
    """Take down nothing that this thread sends meanwhile."""
    before, _thread.taken = _thread.taken, True
    try:
        yield
    finally:
        _thread.taken = before


def begin(statement: str, parameters: Any, place: Any, driver: str, engine: Any = None, sets: int | None = 1) -> Query:
    """Take down a statement that is about to be sent."""
    thread = "" if get_ident() == _main else threading.current_thread().name
    query = Query(statement, parameters, None, 0.0, sets, "", False, driver, engine, thread, place, _root)
    for queries in _active:
        queries.add(query)
    return query


def end(query: Query, began: float, rows: int | None) -> None:
    """Take down its answer; a number of rows below 0 is what drivers say where they do not know it."""
    query.milliseconds = (now() - began) * 1e3
    query.rows = rows if rows is None or rows >= 0 else None
    query.finished = True


def fail(query: Query, began: float, error: BaseException) -> None:
    """Take down the error that it ended with."""
    query.milliseconds = (now() - began) * 1e3
    query.error = f"{type(error).__name__}: {error}".strip()
    query.finished = True
