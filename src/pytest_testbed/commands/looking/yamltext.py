"""As much of YAML as compose files and pipelines are made of: names, texts and lists by their indents.

What else there may be (texts of several lines, braces over several lines) is passed over: a line that is not understood says
nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import takewhile
from typing import NamedTuple

__all__ = ["Value", "values"]

KEY = re.compile(r"""(?P<key>"[^"]*"|'[^']*'|[^\s:#\[\]{},"'&*!|>%@`-][^:#]*?)\s*:(?:\s+(?P<rest>.*))?$""")

ANCHOR = re.compile(r"&(\S+)(?:\s+|$)")
ALIASES = re.compile(r"(?:\*[^\s,\]]+|\[\s*\*[^\s,\]]+(?:\s*,\s*\*[^\s,\]]+)*\s*\])\s*(?:#.*)?")
NAME = re.compile(r"\*([^\s,\]]+)")
PART = re.compile(r"""(?:"[^"]*"|'[^']*'|[^,"'])+""")
MOST = 10_000
"""Values that are enough of one file: aliases of aliases could make more than memory holds."""


class Value(NamedTuple):
    """A text, the keys that lead to it (an entry of a list has the key "-"), and its line."""

    keys: tuple[str, ...]
    text: str
    line: int


def values(text: str) -> list[Value]:
    """Return what has a value, in the order of the file; also what an alias repeats, but for images, which are there once."""
    found: list[Value] = []
    path: list[tuple[int, str]] = []
    anchors: dict[str, tuple[int, int]] = {}
    for number, line in enumerate(text.splitlines(), start=1):
        body = line.lstrip(" ")
        indent = len(line) - len(body)
        if not body or body[0] in "#%" or body.startswith(("---", "...")):
            continue
        body = _entered(path, body, indent)
        keys = tuple(key for _, key in path)
        if anchor := ANCHOR.match(body):
            anchors[anchor[1]] = len(found), len(keys)
            body = body[anchor.end() :]
        if ALIASES.fullmatch(body):
            at = keys[:-1] if keys[-1:] == ("<<",) else keys
            for name in NAME.findall(body):
                start, depth = anchors.get(name, (len(found), 0))
                found += _repeated(found[start : start + MOST], depth, at) if len(found) < MOST else []
        else:
            found += (Value((*keys, *more), each, number) for more, each in _flow(body))
    return found


def _entered(path: list[tuple[int, str]], body: str, indent: int) -> str:
    """Lead the path to a line's key, and return what stands behind that."""
    is_entry = body.startswith("- ") or body == "-"
    # entries of a list may stand at the indent of its key
    while path and (path[-1][0] > indent or (path[-1][0] == indent and (not is_entry or path[-1][1] == "-"))):
        path.pop()
    while body.startswith("- ") or body == "-":
        path.append((indent, "-"))
        rest = body[1:].lstrip(" ")
        indent += len(body) - len(rest)
        body = rest
    if match := KEY.match(body):
        path.append((indent, match["key"].strip("\"'")))
        return match["rest"] or ""
    return body


def _repeated(found: list[Value], depth: int, keys: tuple[str, ...]) -> list[Value]:
    """Return the values of an anchor, which come first, below other keys."""
    below = found[0].keys[:depth] if found else ()
    anchored = takewhile(lambda value: value.keys[:depth] == below, found)
    return [Value((*keys, *each.keys[depth:]), each.text, each.line) for each in anchored if each.keys[-1:] != ("image",)]


def _flow(body: str) -> Iterator[tuple[tuple[str, ...], str]]:
    """Yield what stands behind a key, each with the keys that lead to it from there."""
    body = body.strip()
    if body.startswith("{") and body.endswith("}"):
        for part in PART.findall(body[1:-1]):
            if match := KEY.match(part.strip()):
                yield from (((match["key"].strip("\"'"),), each) for each in _plain(match["rest"] or ""))
        return
    more = ("-",) if body.startswith("[") else ()
    yield from ((more, each) for each in _plain(body))


def _plain(text: str) -> list[str]:
    """Return the texts of what stands behind a key: one, or those of a list in brackets."""
    text = text.strip()
    if text[:1] in "\"'" and text:
        end = text.find(text[0], 1)
        return [text[1:end]] if end > 0 else []
    text = re.sub(r"\s+#.*$", "", text)
    if text.startswith("[") and text.endswith("]"):
        return [part.strip().strip("\"'") for part in text[1:-1].split(",") if part.strip()]
    return [] if not text or text[0] in "&*!|>#{" else [text]
