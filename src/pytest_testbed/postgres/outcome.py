"""What becomes of a test after which its database was not as before: warnings, and the failure of an escape."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from ..errors import IsolationError, TestbedWarning
from .real import Aftermath, RealCommits

__all__ = ["watched"]

Error = TypeVar("Error", bound=Exception)
SHOWN = 5
"""Tables that are named."""


@contextmanager
def watched(real: RealCommits, *, commits: Callable[[], bool]) -> Iterator[None]:
    """Put the database back at the end of a test.

    Args:
        real: the database isolation.
        commits: tells whether the test may commit for real; if not at its end, what it has committed is an escape.

    Raises:
        IsolationError: something was committed past the test's transaction; its notes are what would else be warned of.
        TestbedWarning: the user has made errors of warnings.
    """
    told = real.begin(commits=commits())
    try:
        warn(told)
        yield
    finally:
        aftermath = real.end()
    if not commits() and (aftermath.tables or aftermath.is_renewed):
        raise with_notes(IsolationError(escape(aftermath)), aftermath.left)
    warn(aftermath.left)


def warn(texts: list[str]) -> None:
    """Give warnings, which pytest shows with the test.

    Raises:
        TestbedWarning: where warnings are errors; the others are its notes.
    """
    raised: list[TestbedWarning] = []
    for text in texts:
        try:
            warnings.warn(TestbedWarning(text), stacklevel=4)
        except TestbedWarning as error:
            raised.append(error)
    if raised:
        raise with_notes(raised[0], [str(error) for error in raised[1:]])


def with_notes(error: Error, texts: list[str]) -> Error:
    """Return an error with more to be told than itself."""
    for text in texts:
        error.add_note(text)
    return error


def escape(aftermath: Aftermath) -> str:
    """Return what is told of a connection that has committed while the test's own never does."""
    what = "changed definitions of tables" if aftermath.is_renewed else f"wrote to {named(aftermath.tables)}"
    return (
        f"something connected to the test's database past its transaction and {what}. It was really committed, and has been "
        "undone by now. Let the application use the test's engine: testbed_pg_bind = package.module:engine; or let such a test "
        "commit for real: @pytest.mark.pg(isolation='database'), or for a folder testbed_pg_isolation = database: tests/…"
    )


def named(tables: list[str]) -> str:
    """Return the names of tables for people."""
    more = f" and {len(tables) - SHOWN} more" if len(tables) > SHOWN else ""
    return ", ".join(tables[:SHOWN]) + more
