"""The statements that were sent to PostgreSQL: what `pg_queries` gives."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, overload

from .. import callers
from . import listing
from .shapes import shape_of

__all__ = ["Queries", "Query", "Repeat"]

Matching = str | re.Pattern[str]


@dataclass(slots=True, eq=False)
class Query:
    """One statement that was sent, with what came of it.

    Attributes:
        statement: its text as the driver got it.
        parameters: its parameters as the driver got them; those of `executemany` are a sequence of them.
        rows: how many rows it gave or changed; None where that is not known.
        milliseconds: how long the sender waited for it; 0.0 while it waits.
        sets: with how many sets of parameters it was sent (`executemany`); None while they are still being read.
        error: the text of the error that it ended with; "" where there was none.
        finished: whether there was an end: an answer or an error.
        driver: the driver that sent it: "psycopg2", "psycopg", "asyncpg".
        engine: the `sqlalchemy.Engine` on which it was sent; None where the driver was used alone.
        thread: the name of the thread that sent it; "" for the main thread.
    """

    statement: str
    parameters: Any = None
    rows: int | None = None
    milliseconds: float = 0.0
    sets: int | None = 1
    error: str = ""
    finished: bool = False
    driver: str = ""
    engine: Any = None
    thread: str = ""
    place: callers.Place | None = field(default=None, repr=False)
    root: str = field(default="", repr=False)
    names: Sequence[str] | None = field(default=None, repr=False)
    """Names of parameters that are given by position."""
    goes_on: bool = field(default=False, repr=False)
    """Whether it is a further batch of one bulk insert."""

    @property
    def where(self) -> str:
        """The line of the application that sent it, such as "shop/orders.py:41 in place_order"; "" where there is none."""
        return callers.shown(self.place, self.root)

    @property
    def shape(self) -> str:
        """The statement without its literals, parameters and comments: what the statements of a loop have in common."""
        return shape_of(self.statement)

    def __str__(self) -> str:
        return listing.described(self)


@dataclass(frozen=True, slots=True)
class Repeat:
    """Statements of one shape that were sent from one line of the application: what a loop sends (N+1).

    Attributes:
        shape: what they have in common.
        where: the line that sent them.
        queries: the statements.
    """

    shape: str
    where: str
    queries: Sequence[Query]

    @property
    def count(self) -> int:
        """How many there are."""
        return len(self.queries)

    @property
    def different(self) -> int:
        """How many of them differ from each other: 1 where the very same question was asked again and again."""
        return len({(query.statement, repr(query.parameters)) for query in self.queries})

    def __str__(self) -> str:
        return listing.repeated(self)


class Queries(Sequence[Query]):
    """The statements that were sent to PostgreSQL, in the order in which they were sent.

    It grows as long as it is recorded. `print(pg_queries)` shows it.
    """

    def __init__(self) -> None:
        self._items: list[Query] = []
        self._inner: tuple[Queries, ...] = ()

    def add(self, query: Query) -> None:
        """Take a further statement."""
        self._items.append(query)
        for inner in self._inner:
            inner.add(query)

    @overload
    def __getitem__(self, index: int) -> Query: ...
    @overload
    def __getitem__(self, index: slice) -> list[Query]: ...
    def __getitem__(self, index: int | slice) -> Query | list[Query]:
        return self._items[index]

    def __len__(self) -> int:
        return len(self._items)

    def __iter__(self) -> Iterator[Query]:
        return iter(self._items[:])  # others may be added meanwhile, by threads

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: {listing.counted(len(self), 'statement')}, {self.total_ms:.1f} ms>"

    def __str__(self) -> str:
        return listing.listed(list(self), self.repeated())

    @property
    def count(self) -> int:  # type: ignore[override]  # that of a sequence would have nothing to look for
        """How many there are; an `executemany` is one."""
        return len(self._items)

    @property
    def statements(self) -> list[str]:
        """Their texts."""
        return [query.statement for query in self]

    @property
    def total_ms(self) -> float:
        """Milliseconds that their senders waited for them, all together."""
        return sum(query.milliseconds for query in self)

    # --- a part of a test

    def clear(self) -> None:
        """Forget what was sent so far: what a test has done to prepare itself, for one."""
        self._items.clear()

    @contextmanager
    def only(self) -> Iterator[Queries]:
        """Give what is sent inside a `with` block alone; the whole goes on with it."""
        inner = Queries()
        self._inner = (*self._inner, inner)
        try:
            yield inner
        finally:
            self._inner = tuple(other for other in self._inner if other is not inner)

    def matching(self, text: Matching) -> list[Query]:
        """Return those that have a text in them.

        Args:
            text: a part of the statement, in upper or lower case and with any white space; or a compiled pattern.
        """
        if isinstance(text, re.Pattern):
            return [query for query in self if text.search(query.statement)]
        wanted = _plain(text)
        return [query for query in self if wanted in _plain(query.statement)]

    # --- what a test expects

    def assert_max(self, most: int, matching: Matching | None = None) -> None:
        """Fail where more statements were sent.

        Args:
            most: how many there may be.
            matching: count only those that have this text in them (see `matching`).

        Raises:
            AssertionError: there were more; its text lists them, repeated ones first.
        """
        __tracebackhide__ = True
        found = self._counted(matching)
        if len(found) > most:
            raise AssertionError(listing.failed(found, f"at most {most}", matching, repeats(found)))

    def assert_count(self, expected: int, matching: Matching | None = None) -> None:
        """Fail where more or fewer statements were sent.

        Args:
            expected: how many there must be.
            matching: count only those that have this text in them (see `matching`).

        Raises:
            AssertionError: there were more or fewer; its text lists them, repeated ones first.
        """
        __tracebackhide__ = True
        found = self._counted(matching)
        if len(found) != expected:
            raise AssertionError(listing.failed(found, f"{expected}", matching, repeats(found)))

    def assert_no_repeats(self, at_least: int = 3, matching: Matching | None = None) -> None:
        """Fail where statements of one shape were sent from one line again and again (N+1).

        Args:
            at_least: how many make a repetition.
            matching: look only at those that have this text in them (see `matching`).

        Raises:
            AssertionError: there were such statements; its text has each shape, its line and how often it was sent.
        """
        __tracebackhide__ = True
        if found := self.repeated(at_least, matching):
            raise AssertionError(listing.failed_repeats(found, at_least))

    def repeated(self, at_least: int = 3, matching: Matching | None = None) -> list[Repeat]:
        """Return statements of one shape that were sent from one line, the most frequent first.

        Args:
            at_least: how many make a repetition.
            matching: look only at those that have this text in them (see `matching`).
        """
        return repeats(self._counted(matching), at_least)

    def _counted(self, matching: Matching | None) -> list[Query]:
        return list(self) if matching is None else self.matching(matching)


def repeats(queries: Sequence[Query], at_least: int = 3) -> list[Repeat]:
    """Group statements by shape and line; return the groups that are large enough, the largest first."""
    groups: dict[tuple[str, callers.Place | None], list[Query]] = {}
    for query in queries:
        if not query.goes_on:
            groups.setdefault((query.shape, query.place), []).append(query)
    found = [
        Repeat(shape, group[0].where, tuple(group)) for (shape, _), group in groups.items() if len(group) >= max(at_least, 2)
    ]
    return sorted(found, key=lambda repeat: -repeat.count)


def _plain(text: str) -> str:
    return " ".join(text.split()).lower()
