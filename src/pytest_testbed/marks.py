"""The arguments of our marks: all by name, each known, each with a good value."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from types import UnionType
from typing import get_args

import pytest

from .errors import ConfigurationError
from .nearest import suggestion
from .plugin import BAD_MARK

__all__ = ["Allowed", "check_mark", "refuse_bad_marks"]

Allowed = Mapping[str, tuple[object, ...] | type | UnionType | None]
"""A mark's arguments: each name with the tuple of its values, its type (or union), or None for anything."""


def refuse_bad_marks(
    config: pytest.Config,
    items: Iterable[pytest.Item],
    name: str,
    allowed: Allowed,
    fault_of: Callable[[str, object], str] = lambda name, value: "",
    *,
    is_empty_wrong: bool = False,
) -> None:
    """Check the marks of one name on all tests; each test keeps what is wrong with its own.

    Args:
        config: pytest's.
        items: the tests.
        name: of the mark.
        allowed: the arguments that the mark has.
        fault_of: returns what is wrong with a value of the right type, "" for nothing.
        is_empty_wrong: whether the mark has to have an argument.

    Raises:
        pytest.UsageError: one line for each bad mark. Not in a worker of xdist, where it would be taken
            for a fault of pytest's: there each such test fails with its line.
    """
    faults: dict[int, str] = {}  # a mark on a module is one fault, not one for each of its tests
    for item in items:
        for mark in item.iter_markers(name):
            try:
                check_mark(name, mark.args, mark.kwargs, allowed, item.nodeid, fault_of)
                if not mark.kwargs and is_empty_wrong:
                    names = ", ".join(f"{each}=" for each in allowed)
                    raise ConfigurationError(f"@pytest.mark.{name} on {item.nodeid} says nothing; there are: {names}.")
            except ConfigurationError as error:
                faults.setdefault(id(mark), str(error))
                item.stash[BAD_MARK] = str(error)
    if faults and not hasattr(config, "workerinput"):
        raise pytest.UsageError("\n".join(faults.values()))


def check_mark(
    mark_name: str,
    args: Sequence[object],
    kwargs: Mapping[str, object],
    allowed: Allowed,
    where: str,
    fault_of: Callable[[str, object], str] = lambda name, value: "",
) -> None:
    """Check the arguments of a mark: all by name, each known, each with a good value.

    Args:
        mark_name: name of the mark, e.g. "pg".
        args: positional arguments, of which none is allowed.
        kwargs: keyword arguments.
        allowed: the arguments that the mark has.
        where: node id of the test, for the message.
        fault_of: returns what is wrong with a value of the right type, "" for nothing.

    Raises:
        ConfigurationError: says mark, argument, value, place and what is expected.
    """
    names = ", ".join(f"{name}=" for name in allowed) or "none"
    for value in args:
        raise ConfigurationError(
            f"@pytest.mark.{mark_name}({value!r}) on {where}: arguments are given by name; there are: {names}."
        )
    for name, value in kwargs.items():
        head = f"@pytest.mark.{mark_name}({name}={value!r}) on {where}:"
        if name not in allowed:
            hint = suggestion(name, allowed) or f"; there are: {names}."
            raise ConfigurationError(f"{head} {name!r} is not an argument of it{hint}")
        if wrong := _unlike(value, allowed[name]):
            raise ConfigurationError(f"{head} {value!r} {wrong}")
        if wrong := fault_of(name, value):
            raise ConfigurationError(f"{head} {value!r} {wrong}.")


def _unlike(value: object, expected: tuple[object, ...] | type | UnionType | None) -> str:
    """Return what is wrong with the argument of a mark, "" if nothing."""
    if expected is None:
        return ""
    if isinstance(expected, tuple):
        # 1 == True, but isolation=1 is not isolation=True.
        if any(type(value) is type(each) and value == each for each in expected):
            return ""
        words = [each for each in expected if isinstance(each, str)]
        hint = suggestion(value, words) or "."
        return f"is not one of {', '.join(map(repr, expected))}{hint}"
    types = get_args(expected) if isinstance(expected, UnionType) else (expected,)
    number = float in types and type(value) is int
    if number or type(value) in types or (isinstance(value, types) and not isinstance(value, bool)):
        return ""
    return f"is not of type {' or '.join(each.__name__.replace('NoneType', 'None') for each in types)}."
