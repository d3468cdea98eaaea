"""As much of YAML as compose files and pipelines are made of: names, texts and lists by their indents.

What else there may be (anchors, texts of several lines, braces) is passed over: a line that is not understood says nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

__all__ = ["Value", "values"]

KEY = re.compile(r"""(?P<key>"[^"]*"|'[^']*'|[^\s:#\[\]{},"'&*!|>%@`-][^:#]*?)\s*:(?:\s+(?P<rest>.*))?$""")


class Value(NamedTuple):
    """A text, the keys that lead to it (an entry of a list has the key "-"), and its line."""

    keys: tuple[str, ...]
    text: str
    line: int


def values(text: str) -> Iterator[Value]:
    """Yield what has a value, in the order of the file."""
    path: list[tuple[int, str]] = []
    for number, line in enumerate(text.splitlines(), start=1):
        body = line.lstrip(" ")
        indent = len(line) - len(body)
        if not body or body[0] in "#%" or body.startswith(("---", "...")):
            continue
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
            body = match["rest"] or ""
        keys = tuple(key for _, key in path)
        for each in _plain(body):
            yield Value((*keys, "-") if body.startswith("[") else keys, each, number)


def _plain(text: str) -> list[str]:
    """Return the texts of what stands behind a key: one, or those of a list in brackets."""
    text = text.strip()
    if text[:1] in "\"'" and text:
        end = text.find(text[0], 1)
        return [text[1:end]] if end > 0 else []
    text = re.sub(r"\s+#.*$", "", text)
    if text.startswith("[") and text.endswith("]"):
        return [part.strip().strip("\"'") for part in text[1:-1].split(",") if part.strip()]
    if text.startswith("{") and text.endswith("}"):
        return []
    return [] if not text or text[0] in "&*!|>#" else [text]
