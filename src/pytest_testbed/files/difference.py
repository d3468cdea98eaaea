"""How two trees differ, for people: names, lines of text, bytes of what is no text."""

from __future__ import annotations

import difflib
import hashlib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from .inside import shown, sized
from .nodes import Node, Tree
from .tree import text_or_bytes

__all__ = ["Difference", "difference"]

MOST_NAMES = 20
MOST_FILES = 10
"""Files whose differences are shown line by line."""
MOST_LINES = 60
"""Lines of one file's difference."""
DIFFED = 400_000
"""Characters of two texts up to which their lines are put side by side: that takes long where much differs."""
WIDEST = 160
LINE = re.compile(r"[^\n]*\n|[^\n]+")
ENDINGS = {"\r\n": "CRLF", "\n": "LF", "\r": "CR"}


@dataclass
class Difference:
    """How a tree differs from the one that it should be."""

    missing: list[str] = field(default_factory=list)
    extra: list[str] = field(default_factory=list)
    changed: dict[str, list[str]] = field(default_factory=dict)
    """By name: the lines that say how."""

    def __bool__(self) -> bool:
        return bool(self.missing or self.extra or self.changed)

    def counts(self) -> str:
        """Return how much differs, in words."""
        rows = ((len(self.missing), "missing"), (len(self.extra), "too many"), (len(self.changed), "different"))
        return ", ".join(f"{count:,} {word}" for count, word in rows if count)

    def lines(self) -> Iterator[str]:
        """Yield all that differs, cut to what fits, with the count of what was cut."""
        yield from _listed("missing", self.missing)
        yield from _listed("too many", self.extra)
        rows = list(self.changed.items())
        for name, how in rows[:MOST_FILES]:
            yield f"  {shown(name) or 'it'} {how[0]}"
            yield from (f"    {line}" for line in how[1 : MOST_LINES + 1])
            if len(how) > MOST_LINES + 1:
                yield f"    … and {len(how) - MOST_LINES - 1:,} more lines"
        if len(rows) > MOST_FILES:
            names = ", ".join(shown(name) for name, _ in rows[MOST_FILES : MOST_FILES + MOST_NAMES])
            yield f"  … and {len(rows) - MOST_FILES:,} more that differ: {names}"


def _listed(word: str, names: Sequence[str]) -> Iterator[str]:
    if names:
        yield f"  {word}:"
        yield from (f"    {each}" for each in names[:MOST_NAMES])
    if len(names) > MOST_NAMES:
        yield f"    … and {len(names) - MOST_NAMES:,} more"


def difference(wanted: Tree, found: Tree) -> Difference:
    """Return how a tree differs from the one that it should be."""
    result = Difference()
    gone = {name: node for name, node in wanted.items() if name not in found}
    new = {name: node for name, node in found.items() if name not in wanted}
    moved = _moved(gone, new)
    for name, node in sorted(gone.items()):
        result.missing.append(_told(name, node) + (f"; its content is in {shown(moved[name])}" if name in moved else ""))
    result.extra += [_told(name, node) for name, node in sorted(new.items())]
    for name in sorted(wanted.keys() & found.keys()):
        if how := _how(wanted[name], found[name]):
            result.changed[name] = how
    return result


def _told(name: str, node: Node) -> str:
    if node.kind == "file":
        return f"{shown(name) or 'the file'} ({sized(node.size)})"
    return f"{shown(name)} ({'an empty folder' if node.kind == 'folder' else _a(node)})"


def _moved(gone: Tree, new: Tree) -> dict[str, str]:
    """Return by the name of what is missing under which name it is."""
    if not gone or not new or len(gone) + len(new) > 200:
        return {}
    contents = {node.digest(): name for name, node in new.items() if node.kind == "file"}
    return {name: contents[node.digest()] for name, node in gone.items() if node.kind == "file" and node.digest() in contents}


def _how(wanted: Node, found: Node) -> list[str]:
    if wanted.kind != found.kind:
        return [f"is {_a(found)} instead of {_a(wanted)}."]
    if wanted.kind == "link":
        same = wanted.target == found.target
        return [] if same else [f"leads to {shown(found.target)} instead of {shown(wanted.target)}."]
    if wanted.kind != "file":
        return []
    how = _of_contents(wanted.read(), found.read())
    if None not in (wanted.executable, found.executable) and wanted.executable != found.executable:
        word = "is executable, and should not be" if found.executable else "is not executable, and should be"
        how = [f"{word}; and it {how[0]}", *how[1:]] if how else [f"{word}."]
    return how


def _a(node: Node) -> str:
    return f"a link to {shown(node.target)}" if node.kind == "link" else f"a {node.kind}"


def _of_contents(wanted: bytes, found: bytes) -> list[str]:
    if wanted == found:
        return []
    old, new = text_or_bytes(wanted), text_or_bytes(found)
    if isinstance(old, str) and isinstance(new, str):
        return _of_texts(old, new)
    at = next((i for i, (a, b) in enumerate(zip(wanted, found, strict=False)) if a != b), min(len(wanted), len(found)))
    return [f"differs from byte {at:,} on:", f"- {_binary(wanted, at)}", f"+ {_binary(found, at)}"]


def _binary(data: bytes, at: int) -> str:
    seen = data[at : at + 16].hex(" ") or "its end"
    return f"{sized(len(data))}, sha256 {hashlib.sha256(data).hexdigest()[:16]}…, there: {seen}"


def _of_texts(wanted: str, found: str) -> list[str]:
    if _plain(wanted) == _plain(found):
        hint = " Does git change them at the checkout? In .gitattributes, `-text` for these files keeps them."
        return [f"differs in its line endings alone: {_endings(found)} instead of {_endings(wanted)}.{hint}"]
    old, new = LINE.findall(wanted), LINE.findall(found)
    if len(wanted) + len(found) > DIFFED or max(map(len, (*old, *new)), default=0) > WIDEST:
        return _first_place(old, new)
    lines = difflib.unified_diff(old, new, n=3)
    return ["differs:", *(_visible(line) for number, line in enumerate(lines) if number > 1)]  # the first two name files


def _plain(text: str) -> str:
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _endings(text: str) -> str:
    found = [name for ending, name in ENDINGS.items() if ending in (text.replace("\r\n", "") if ending != "\r\n" else text)]
    return " and ".join(found) or "none"


def _visible(line: str) -> str:
    """Return a line of a difference so that its end and what cannot be seen in it are told."""
    sign, text = line[0], line[1:]
    body = text.removesuffix("\n")
    if sign == "@":
        return line.rstrip()
    invisible = not body.isprintable() or body != body.rstrip()
    ending = "" if text.endswith("\n") else "  (no newline at the end)"
    return f"{sign}{repr(body) if invisible else body}{ending}"


def _first_place(old: Sequence[str], new: Sequence[str]) -> list[str]:
    """Return the first place where long texts differ."""
    line = next((i for i, (a, b) in enumerate(zip(old, new, strict=False)) if a != b), min(len(old), len(new)))
    a, b = (lines[line] if line < len(lines) else "" for lines in (old, new))
    column = next((i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))
    start = max(0, column - 30)
    head = f"differs from line {line + 1:,}, column {column + 1:,} on ({len(new):,} lines instead of {len(old):,}):"
    return [head, f"- {_excerpt(a, start)}", f"+ {_excerpt(b, start)}"]


def _excerpt(text: str, start: int) -> str:
    cut = text[start : start + 100]
    return f"{'…' if start else ''}{cut!r}{'…' if len(text) > start + 100 else ''}" if text else "its end"
