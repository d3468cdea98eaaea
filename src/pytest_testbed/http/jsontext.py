"""Where in a JSON text something stands: the parser of the standard library does not tell."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence

__all__ = ["first_repeated", "line_of", "lines_of_items"]

SPACE = re.compile(r"[ \t\n\r]*")
DECODER = json.JSONDecoder()


def line_of(text: str, path: Sequence[str | int]) -> int:
    """Return the line of a member's key or of an item, by the keys and indexes that lead to it, from 1 on.

    Args:
        text: valid JSON.
        path: what leads there; where it leads nowhere, the line is that of the last value that it does lead to.
    """
    at = _skip(text, 0)
    line_at = at
    for step in path:
        found = next(((key_at, value_at) for key, key_at, value_at in _parts(text, at) if key == step), None)
        if found is None:
            break
        line_at, at = found
    return text.count("\n", 0, line_at) + 1


def lines_of_items(text: str, path: Sequence[str | int]) -> list[int]:
    """Return the line of each item of a list, from 1 on.

    Args:
        text: valid JSON.
        path: what leads to the list.
    """
    at = _skip(text, 0)
    for step in path:
        at = next(value_at for key, _, value_at in _parts(text, at) if key == step)
    lines, line, done = [], 1, 0
    for _, item_at, _ in _parts(text, at):
        line += text.count("\n", done, item_at)
        done = item_at
        lines.append(line)
    return lines


def first_repeated(text: str) -> tuple[str, int] | None:
    """Return the first key that an object has twice, and its second line; None where there is none."""
    return _first_repeated(text, _skip(text, 0))


def _first_repeated(text: str, at: int) -> tuple[str, int] | None:
    seen: set[str] = set()
    for key, key_at, value_at in _parts(text, at):
        if isinstance(key, str):
            if key in seen:
                return key, text.count("\n", 0, key_at) + 1
            seen.add(key)
        if (found := _first_repeated(text, value_at)) is not None:
            return found
    return None


def _parts(text: str, at: int) -> Iterator[tuple[str | int, int, int]]:
    """Yield the key or index of each part of the value at a place, where that begins, and where its value does."""
    opening = text[at]
    if opening not in "{[":
        return
    at, index = _skip(text, at + 1), 0
    while text[at] not in "}]":
        key_at = at
        key: str | int = index
        if opening == "{":
            key, at = DECODER.raw_decode(text, at)
            at = _skip(text, _skip(text, at) + 1)  # over the colon
        yield key, key_at, at
        _, at = DECODER.raw_decode(text, at)
        at = _skip(text, at)
        if text[at] == ",":
            at = _skip(text, at + 1)
        index += 1


def _skip(text: str, at: int) -> int:
    found = SPACE.match(text, at)
    assert found is not None
    return found.end()
