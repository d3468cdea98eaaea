"""Letting applications wait at the front door: while their database is made, or put back."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from ..services.doorway import Doorway

__all__ = ["hushed", "waited_for"]


@contextmanager
def waited_for(doorway: Doorway | None) -> Iterator[bool]:
    """Tell applications that wait for the database when it is made, or why it is not; give whether it was there before."""
    if doorway is None:
        yield False
        return
    fault = "its database could not be made."
    try:  # whatever happens from here on: who waits at the door must be told
        there = doorway.begin_to_make()
        if there:
            doorway.visits("park")
        yield there
        fault = ""
    except Exception as error:
        fault = str(error)
        raise
    finally:
        doorway.made(fault)


@contextmanager
def hushed(doorway: Doorway | None) -> Iterator[None]:
    """Let applications wait while the database is put back."""
    if doorway is None:
        yield
        return
    doorway.board.hush(True)
    try:
        yield
    finally:
        doorway.board.hush(False)
