"""Docstrings taken apart, and as Markdown."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from .links import linked

__all__ = ["Docstring", "as_list", "parsed", "prose"]

SECTION = re.compile(r"^(Args|Attributes|Returns|Yields|Raises):$")
ENTRY = re.compile(r"^    (\*{0,2}\w[\w., ]*): ")


@dataclass
class Docstring:
    """A docstring in parts.

    Attributes:
        summary: its first sentence, which tools show alone.
        body: its other paragraphs.
        sections: what stands below "Args:" and the like: each name with its text; what has none stands below "".
    """

    summary: str = ""
    body: list[str] = field(default_factory=list)
    sections: dict[str, dict[str, str]] = field(default_factory=dict)


def parsed(text: str | None) -> Docstring:
    """Take a docstring apart."""
    found = Docstring()
    lines = inspect.cleandoc(text or "").splitlines()
    while lines:
        if match := SECTION.match(lines[0]):
            taken = 1 + next((number for number, line in enumerate(lines[1:]) if line and line[0] != " "), len(lines) - 1)
            text = " ".join(line.strip() for line in lines[1:taken])
            found.sections[match[1]] = {"": text} if match[1] in ("Returns", "Yields") else dict(_entries(lines[1:taken]))
        else:
            taken = next((number for number, line in enumerate(lines) if not line), len(lines))
            _take(found, "\n".join(lines[:taken]))
        lines = lines[taken:]
        while lines and not lines[0]:
            lines = lines[1:]
    return found


def _take(found: Docstring, paragraph: str) -> None:
    if found.summary:
        found.body.append(paragraph)
    else:
        found.summary = " ".join(paragraph.split())


def _entries(lines: list[str]) -> Iterator[tuple[str, str]]:
    name, text = "", ""
    for line in lines:
        if match := ENTRY.match(line):
            if text:
                yield name, text
            name, text = match[1], line[match.end() :].strip()
        else:
            text = f"{text} {line.strip()}".strip()
    if text:
        yield name, text


def prose(paragraphs: list[str]) -> Iterator[str]:
    """Yield paragraphs as lines of Markdown, with an empty one after each."""
    for paragraph in paragraphs:
        yield linked(" ".join(paragraph.split()))
        yield ""


def as_list(title: str, entries: dict[str, str]) -> Iterator[str]:
    """Yield what stands below "Args:" and the like as a list."""
    if not entries:
        return
    if set(entries) == {""}:
        yield f"{title}: {linked(_lower(entries['']))}"
    else:
        yield f"{title}:"
        yield ""
        for name, text in entries.items():
            yield f"- `{name}`: {linked(text)}" if name else f"- {linked(text)}"
    yield ""


def _lower(text: str) -> str:
    is_name = text[:2].isupper() or text[:1] == "`"
    return text if is_name else text[:1].lower() + text[1:]
