"""What is compared with what: ways to do a thing, the comparison that they take part in, and what was measured of them."""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

OURS = "pytest-testbed"


class Unable(Exception):
    """A way cannot be measured here; the text says why, in one line."""


@dataclass(frozen=True, eq=False)
class Way:
    """One contender in one comparison: the project that is run, and what it needs of the machine. Each is itself alone.

    `tests` is how many tests there are where single tests are timed; `lacks` says what the contender does not give
    that others in the comparison do. `fresh` ways have an empty cache in each turn. `database` names a database
    that is made anew on the common server before each turn. `loads` is the plugin of a way that only loads it.
    """

    contender: str
    venv: str
    files: Mapping[str, str]
    form: str = ""
    needs: tuple[str, ...] = ()
    arguments: tuple[str, ...] = ()
    variables: Mapping[str, str] = field(default_factory=dict)
    tests: int = 1
    lacks: str = ""
    fresh: bool = False
    loads: str = ""

    @property
    def name(self) -> str:
        """How the way is named in tables."""
        return f"{self.contender}, {self.form}" if self.form else self.contender


@dataclass(frozen=True)
class Comparison:
    """Ways that are measured in turns, and what the reader has to know of them.

    `how` is the measure: "load", "start", "test" or "workers". `first` is the column that ratios and charts show.
    `absent` says of other contenders why they are not in it; `weight` is by how much it has more rounds than asked.
    """

    key: str
    how: str
    title: str
    about: str
    ways: tuple[Way, ...]
    first: str
    absent: Mapping[str, str] = field(default_factory=dict)
    weight: float = 1.0
    unit: str = "ms"

    def rounds(self, asked: int) -> int:
        """Return how many turns each way has."""
        return max(1, round(asked * self.weight))


@dataclass
class Row:
    """What was measured of a way: its samples by column, in seconds; or why there are none."""

    name: str
    contender: str
    lacks: str = ""
    tests: int = 1
    samples: dict[str, list[float]] = field(default_factory=dict)
    reason: str = ""

    def add(self, found: Mapping[str, float]) -> None:
        """Add one turn."""
        for column, seconds in found.items():
            self.samples.setdefault(column, []).append(seconds)

    def median(self, column: str) -> float | None:
        """Return the median of a column, None where nothing was measured."""
        values = self.samples.get(column)
        return statistics.median(values) if values else None


@dataclass
class Result:
    """A comparison that was made: its rows, when and of which commit."""

    key: str
    how: str
    title: str
    about: str
    first: str
    unit: str
    rows: list[Row]
    absent: dict[str, str] = field(default_factory=dict)
    made: str = ""
    commit: str = ""
    load: float = 0.0

    @property
    def columns(self) -> list[str]:
        """Return all columns, the first one first."""
        found = dict.fromkeys(column for row in self.rows for column in row.samples)
        return sorted(found, key=lambda column: column != self.first)

    def ours(self) -> float | None:
        """Return our own median in the first column: that of the first of our rows that has one."""
        found = (row.median(self.first) for row in self.rows if row.contender == OURS)
        return next((value for value in found if value is not None), None)

    def ratio(self, row: Row) -> float | None:
        """Return how many times ours a row's first column is; None where one of both is missing or nothing."""
        own, value = self.ours(), row.median(self.first)
        return value / own if own and own > 0 and value is not None else None

    def ahead(self) -> list[Row]:
        """Return the rows of others that are better than ours in the first column."""
        return [row for row in self.rows if row.contender != OURS and (self.ratio(row) or 1) < 1]

    @classmethod
    def read(cls, found: Mapping[str, Any]) -> Result:
        """Return a result that was written as JSON."""
        return cls(**{**found, "rows": [Row(**row) for row in found["rows"]]})


def spread(values: list[float]) -> tuple[float, float]:
    """Return the lowest and the highest value."""
    return min(values), max(values)


def one_test(ends: list[float], few: int) -> float:
    """Return the time of one test, of the moments at which tests have ended.

    The first few pay for what is made once, and the last one for what is closed with the run: neither counts.

    Raises:
        ValueError: there are too few tests.
    """
    if few < 1 or len(ends) - 1 <= few:
        raise ValueError(f"{len(ends)} tests are too few to leave out the first {few} and the last one")
    return (ends[-2] - ends[few - 1]) / (len(ends) - 1 - few)
