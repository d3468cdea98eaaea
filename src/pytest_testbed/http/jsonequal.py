"""Two JSON values compared as WireMock's `equalToJson` does it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from .exchange import masked_value
from .javaregex import compiled

__all__ = ["Equality", "check_placeholders"]

PLACEHOLDER = re.compile(
    r"[$#]\{json-unit\.(?:(?P<word>ignore|ignore-element|any-string|any-number|any-boolean)\}|regex\}(?P<regex>.*))", re.DOTALL
)
IGNORED = ("${json-unit.ignore-element}", "#{json-unit.ignore-element}")
"""Placeholders for what need not even be there."""


def check_placeholders(wanted: Any) -> None:
    """Check the regular expressions of the placeholders in a value.

    Raises:
        ValueError: one is none.
    """
    if isinstance(wanted, str):
        if (found := PLACEHOLDER.fullmatch(wanted)) is not None and found["word"] is None:
            compiled(found["regex"])
    elif isinstance(wanted, dict | list):
        for each in wanted.values() if isinstance(wanted, dict) else wanted:
            check_placeholders(each)


@dataclass(frozen=True)
class Equality:
    """What counts as equal.

    Source: WireMock's JSON equality, with the placeholders of JsonUnit.

    Args:
        ignores_order: whether the order of items in lists does not matter.
        ignores_extra: whether more members of objects, and items of lists, do not matter.
    """

    ignores_order: bool
    ignores_extra: bool

    def differences(self, got: Any, wanted: Any, path: str = "") -> Iterator[str]:
        """Yield a line for each difference."""
        here = path or "the body"
        if isinstance(wanted, str) and (found := PLACEHOLDER.fullmatch(wanted)) is not None:
            if not stands_for(found, got):
                yield f"{here} is {masked_value(path, got)}, not {wanted}"
        elif isinstance(wanted, dict) and isinstance(got, dict):
            yield from self._members(got, wanted, path)
        elif isinstance(wanted, list) and isinstance(got, list):
            yield from self._items(got, wanted, path)
        elif not (exact(got) == exact(wanted) if is_number(got) and is_number(wanted) else same(got, wanted)):
            yield f"{here} is {masked_value(path, got)}, not {masked_value(path, wanted)}"

    def equal(self, got: Any, wanted: Any) -> bool:
        """Tell whether there is no difference."""
        return next(self.differences(got, wanted), None) is None

    def _members(self, got: dict[str, Any], wanted: dict[str, Any], path: str) -> Iterator[str]:
        for key, value in wanted.items():
            here = f"{path}.{key}" if path else key
            if key in got:
                yield from self.differences(got[key], value, here)
            elif not (isinstance(value, str) and value in IGNORED):
                yield f"{here} is missing"
        if not self.ignores_extra:
            yield from (f"{path}.{key} is too much" if path else f"{key} is too much" for key in got if key not in wanted)

    def _items(self, got: list[Any], wanted: list[Any], path: str) -> Iterator[str]:
        here = path or "the body"
        if len(got) != len(wanted) and not (self.ignores_extra and len(got) > len(wanted)):
            yield f"{here} has {len(got)} items, not {len(wanted)}"
        elif self.ignores_order:
            if not self._assigned(got, wanted):
                yield f"{here} is {masked_value(path, got)}, without all of {masked_value(path, wanted)}"
        else:
            for index, (mine, theirs) in enumerate(zip(got, wanted, strict=False)):
                yield from self.differences(mine, theirs, f"{path}[{index}]")

    def _assigned(self, got: Sequence[Any], wanted: Sequence[Any]) -> bool:
        """Tell whether each wanted item can have one of its own (augmenting paths of a bipartite matching)."""
        fits = [[index for index, mine in enumerate(got) if self.equal(mine, theirs)] for theirs in wanted]
        taken: dict[int, int] = {}

        def place(item: int, seen: set[int]) -> bool:
            for index in fits[item]:
                if index not in seen:
                    seen.add(index)
                    if index not in taken or place(taken[index], seen):
                        taken[index] = item
                        return True
            return False

        return all(place(item, set()) for item in range(len(wanted)))


def is_number(value: object) -> bool:
    """Tell whether a value is a number of JSON."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def exact(number: float) -> Decimal:
    """Return a number as it is written: 1 and 1.0 are equal, and 0.1 is not what a float makes of it."""
    return Decimal(repr(number))


def same(got: object, wanted: object) -> bool:
    """Tell whether two values that are not both numbers are equal; True is no number."""
    return type(got) is type(wanted) and got == wanted


def stands_for(placeholder: re.Match[str], got: object) -> bool:
    """Tell whether a placeholder stands for a value."""
    match placeholder["word"]:
        case "any-string":
            return isinstance(got, str)
        case "any-number":
            return is_number(got)
        case "any-boolean":
            return isinstance(got, bool)
        case None:
            return isinstance(got, str) and compiled(placeholder["regex"]).fullmatch(got) is not None
    return True
