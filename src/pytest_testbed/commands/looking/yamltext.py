"""As much of YAML as compose files and pipelines are made of: names, texts and lists by their indents, and what is repeated.

What else there may be (texts of several lines, braces over several lines) is passed over: a line that is not understood says
nothing.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import NamedTuple

from .yamlflow import entries

__all__ = ["Value", "values"]

KEY = re.compile(r"""(?P<key>"[^"]*"|'[^']*'|[^\s:#\[\]{},"'&*!|>%@`-][^:#]*?)\s*:(?:\s+(?P<rest>.*))?$""")
ANCHOR = re.compile(r"&(\S+)(?:\s+|$)")
ALIASES = re.compile(r"(?:\*[^\s,\]]+|\[\s*\*[^\s,\]]+(?:\s*,\s*\*[^\s,\]]+)*\s*\])\s*(?:#.*)?")
NAME = re.compile(r"\*([^\s,\]]+)")
MERGE = "<<"
MOST = 10_000
"""Values that are enough of one file: aliases of aliases could make more than memory holds."""

Path = tuple[tuple[str, int], ...]
"""Keys, each with its line, which tells entries of a list from each other."""


class Value(NamedTuple):
    """A text, the keys that lead to it (an entry of a list has the key "-"), and its line."""

    keys: tuple[str, ...]
    text: str
    line: int


class Seen(NamedTuple):
    """A text with its path; `mapping` is that into which it was merged, if it was, and `turn` counts what was."""

    path: Path
    text: str
    line: int
    mapping: Path | None = None
    turn: int = 0


@dataclass
class Anchor:
    """A place that can be repeated: its path, and which of the texts are below it."""

    path: Path
    start: int
    end: int | None = None


@dataclass
class Reader:
    """Reads a file line by line."""

    seen: list[Seen] = field(default_factory=list)
    _open: list[tuple[int, str, int]] = field(default_factory=list)
    _anchors: dict[str, Anchor] = field(default_factory=dict)
    _turn: int = 0

    def read(self, number: int, line: str) -> None:
        """Take a line."""
        body = line.lstrip(" ")
        if not body or body[0] in "#%" or body.startswith(("---", "...")):
            return
        body = self._entered(body, len(line) - len(body), number)
        path = tuple((key, line) for _, key, line in self._open)
        for anchor in self._anchors.values():
            if anchor.end is None and path[: len(anchor.path)] != anchor.path:
                anchor.end = len(self.seen)
        if match := ANCHOR.match(body):
            self._anchors[match[1]] = Anchor(path, len(self.seen))
            body = body[match.end() :]
        if ALIASES.fullmatch(body):
            self._repeat(NAME.findall(body), path)
        else:
            self.seen += (Seen((*path, *((key, number) for key in keys)), text, number) for keys, text in entries(body))

    def _entered(self, body: str, indent: int, number: int) -> str:
        """Go to a line's key, and return what stands behind that."""
        path = self._open
        is_entry = body.startswith("- ") or body == "-"
        # entries of a list may stand at the indent of its key
        while path and (path[-1][0] > indent or (path[-1][0] == indent and (not is_entry or path[-1][1] == "-"))):
            path.pop()
        while body.startswith("- ") or body == "-":
            path.append((indent, "-", number))
            rest = body[1:].lstrip(" ")
            indent += len(body) - len(rest)
            body = rest
        if match := KEY.match(body):
            path.append((indent, match["key"].strip("\"'"), number))
            return match["rest"] or ""
        return body

    def _repeat(self, names: list[str], path: Path) -> None:
        """Repeat what anchors have, but for images, which are there once."""
        is_merged = path[-1:] and path[-1][0] == MERGE
        at = path[:-1] if is_merged else path
        for name in names:
            if (anchor := self._anchors.get(name)) is None or len(self.seen) >= MOST:
                continue
            self._turn += 1
            for each in self.seen[anchor.start : anchor.end]:
                below = each.path[len(anchor.path) :]
                if below[-1:] and below[-1][0] == "image":
                    continue
                self.seen.append(Seen((*at, *below), each.text, each.line, at if is_merged else None, self._turn))

    def values(self) -> list[Value]:
        """Return what counts: a mapping's own keys come before what is merged into it, and of that the first."""
        given: dict[tuple[Path, str], int] = {}
        for each in self.seen:
            if each.mapping is None:
                given.update(((each.path[:depth], key), 0) for depth, (key, _) in enumerate(each.path))
        for each in self.seen:
            if each.mapping is not None and len(each.path) > len(each.mapping):
                given.setdefault((each.mapping, each.path[len(each.mapping)][0]), each.turn)
        return [
            Value(tuple(key for key, _ in each.path), each.text, each.line)
            for each in self.seen
            if each.mapping is None or given.get((each.mapping, _child(each)), each.turn) == each.turn
        ]


def _child(each: Seen) -> str:
    assert each.mapping is not None
    return each.path[len(each.mapping)][0] if len(each.path) > len(each.mapping) else ""


def values(text: str) -> list[Value]:
    """Return what has a value, in the order of the file; also what aliases repeat."""
    reader = Reader()
    for number, line in enumerate(text.splitlines(), start=1):
        reader.read(number, line)
    return reader.values()
