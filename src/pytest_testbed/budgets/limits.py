"""What tests may use: the names of budgets, their values, and the lines in which a configuration says them."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from ..nearest import suggestion

__all__ = ["NAMES", "Limit", "fault_of", "read_lines"]

NAMES = ("seconds", "queries", "http_calls", "messages")
Values = dict[str, float | None]
"""By name; None where there is no budget, whatever is said farther out."""


class Limit(NamedTuple):
    """What a test may use of one thing, and who said so.

    Attributes:
        most: what it may use; None for any amount.
        source: for people: "mark on test_bulk_insert", "testbed_budget from pytest.ini: tests/unit".
    """

    most: float | None
    source: str


def fault_of(name: str, value: object) -> str:
    """Return what is wrong with a value of the right type, "" for nothing."""
    if value is None or not isinstance(value, int | float):
        return ""
    if name == "seconds":
        return "" if value > 0 else "must be above 0"  # written this way round, it refuses NaN too
    return "" if value >= 0 else "must be 0 or more"


def read_lines(lines: Sequence[str]) -> dict[str, Values]:
    """Return what lines say, by folder as it is written, "" for all tests.

    Args:
        lines: such as "queries=50", "seconds=2 queries=100", "tests/unit tests/forms: seconds=0.1".

    Raises:
        ValueError: a line is bad; the text finishes the sentence "option = value …".
    """
    found: dict[str, Values] = {}
    for line in _joined(lines):
        folders: Iterable[str] = ("",)
        before: list[str] = []
        is_said = False
        for word in line.replace(":", ": ").split():
            if "=" in word:
                if before:
                    raise ValueError(f"holds {line!r}, where a colon is missing behind {before[-1]!r}")
                name, value = _setting(line, word)
                is_said = True
                for folder in folders:
                    _put(found.setdefault(folder, {}), name, value, folder)
            elif word.endswith(":"):
                folders, before = [os.path.normpath(each) for each in (*before, word[:-1]) if each], []
                is_said = False
                if not folders:
                    raise ValueError(f"holds {line!r}, which names no folder before its colon")
            else:
                before.append(word)
        if before or not is_said:
            raise ValueError(f"holds {line!r}, which says no budget, such as queries=50")
    return found


def _joined(lines: Sequence[str]) -> Sequence[str]:
    """Return the lines as they were meant: one that has blanks was taken apart where it stood alone."""
    is_apart = any(line.endswith(":") for line in lines) and not any(" " in line for line in lines)
    return [" ".join(lines)] if is_apart else lines


def _setting(line: str, word: str) -> tuple[str, float | None]:
    name, _, text = word.partition("=")
    if name not in NAMES:
        raise ValueError(f"holds {line!r}, in which {name!r} is no budget{suggestion(name, NAMES) or there_are()}")
    if text.lower() == "none":
        return name, None
    try:
        value = float(text) if name == "seconds" else int(text)
    except ValueError:
        kind = "a number" if name == "seconds" else "a whole number"
        raise ValueError(f"holds {line!r}, in which {text!r} is not {kind}, or none") from None
    if wrong := fault_of(name, value):
        raise ValueError(f"holds {line!r}, in which {name} {wrong}")
    return name, value


def there_are() -> str:
    """Return the names, for the end of a sentence."""
    return f"; there are {', '.join(NAMES)}"


def _put(values: Values, name: str, value: float | None, folder: str) -> None:
    if values.setdefault(name, value) != value:
        which = f" for {folder!r}" if folder else ""
        raise ValueError(f"says {name} twice{which}: {shown(values[name])} and {shown(value)}")


def shown(value: float | None) -> str:
    """Return a value as a configuration says it."""
    return "none" if value is None else f"{value:g}"
