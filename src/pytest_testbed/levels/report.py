"""Where folder, fixtures and marks disagree on the level of tests, as a text to read."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from .names import LEVELS

__all__ = ["Report", "Views", "disagreement"]

SHOWN = 5
"""Tests that a group shows where nobody asks for all."""
IN_UNITS_TOO = frozenset(("http_mock",))
"""Fixtures that stay in this process: a test of a unit may well have them."""


class Views(NamedTuple):
    """What is said of one test's level.

    Args:
        name: its node id.
        hand: the levels that it is marked with by hand.
        folder: the level that its folder says, "" for none.
        by: the name of that folder.
        fixtures: those that make it an integration test.
    """

    name: str
    hand: Sequence[str] = ()
    folder: str = ""
    by: str = ""
    fixtures: Sequence[str] = ()

    @property
    def level(self) -> str:
        """The level that the test has, "" for none."""
        if self.hand:
            return self.hand[0]
        return self.folder or ("integration" if self.fixtures else "")


def disagreement(views: Views) -> str:
    """Return how what is said of a test differs, "" if it does not.

    A test of the whole application may ask for any fixture.
    """
    parts = []
    if len(views.hand) > 1:
        parts.append(f"marked {' and '.join(views.hand)}")
    elif views.hand and views.folder and views.folder != views.hand[0]:
        parts.append(f"marked {views.hand[0]}, in {views.by} ({views.folder})")
    telling = [name for name in views.fixtures if name not in IN_UNITS_TOO]
    if views.level == "unit" and telling:
        place = f"marked {views.hand[0]}" if views.hand else f"in {views.by} (unit)"
        parts = [f"{parts[0] if parts else place}, asks for {', '.join(telling)} (integration)"]
    return "".join(parts)


class Report:
    """What there is to say of all tests."""

    def __init__(self, tests: Iterable[Views]) -> None:
        self.levels: Counter[str] = Counter()
        self.groups: dict[str, list[str]] = {}
        self.without: list[str] = []
        for test in tests:
            self.levels[test.level] += 1
            if not test.level:
                self.without.append(test.name)
            if text := disagreement(test):
                self.groups.setdefault(text, []).append(test.name)

    @property
    def disagreeing(self) -> int:
        """How many tests there are on whose level not all agree."""
        return sum(map(len, self.groups.values()))

    def lines(self, *, whole: bool = False) -> Iterator[str]:
        """Yield the text; `whole`: with each test and file."""
        counts = [f"{self.levels[level]} {level or 'without a level'}" for level in (*LEVELS, "") if self.levels[level]]
        yield f"{counted(self.levels.total())}: {', '.join(counts) or 'none was selected'}"
        for text, names in sorted(self.groups.items(), key=lambda group: (-len(group[1]), group[0])):
            yield ""
            yield f"{text}: {counted(len(names))}"
            yield from cut(numbered(name.partition("[")[0] for name in names), whole)
        if self.without:
            yield ""
            yield f"no mark, no folder and no fixture says a level: {counted(len(self.without))}"
            yield from cut(numbered(name.partition("::")[0] for name in self.without), whole)


def counted(number: int) -> str:
    """Return how many tests there are, in words."""
    return f"{number} test{'s' * (number != 1)}"


def numbered(names: Iterable[str]) -> list[str]:
    """Return names, each once, with the number of times that it is there if that is not one; the most frequent first."""
    return [f"{name} ({number})" if number > 1 else name for name, number in Counter(names).most_common()]


def cut(lines: Sequence[str], whole: bool) -> Iterator[str]:
    """Yield lines, indented; most of many only where all are wanted."""
    shown = lines if whole or len(lines) <= SHOWN + 1 else lines[:SHOWN]
    yield from (f"    {line}" for line in shown)
    if len(shown) < len(lines):
        yield f"    … and {len(lines) - len(shown)} more (-v shows all)"
