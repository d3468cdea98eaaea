"""What `doctor` found: one record for each thing, and how people read them."""

from __future__ import annotations

import os
import shutil
import sys
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, TextIO

from .shown import printable

__all__ = ["Finding", "bad", "none", "ok", "report", "wants_colour"]

State = Literal["ok", "none", "bad"]
MARKS: Mapping[State, str] = {"ok": "ok", "none": "–", "bad": "!!"}
COLOURS: Mapping[State, str] = {"ok": "32", "none": "2", "bad": "31"}
WIDEST = 120
"""Columns beyond which nobody follows a line."""


@dataclass(frozen=True)
class Finding:
    """One thing that was looked for.

    `state` is "ok" where it is there and can be used, "none" where it is not there, or is not used, and "bad" where something
    is amiss. `facts` has what programs want to know.
    """

    group: str
    name: str
    state: State
    text: str
    remedy: str = ""
    facts: Mapping[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Return it as JSON data."""
        return asdict(self)


def ok(group: str, name: str, text: str, remedy: str = "", **facts: Any) -> Finding:
    """Return a finding of something that can be used."""
    return Finding(group, name, "ok", text, remedy, facts)


def none(group: str, name: str, text: str, remedy: str = "", **facts: Any) -> Finding:
    """Return a finding of something that is not there, or is not used."""
    return Finding(group, name, "none", text, remedy, facts)


def bad(group: str, name: str, text: str, remedy: str = "", **facts: Any) -> Finding:
    """Return a finding of something that is amiss."""
    return Finding(group, name, "bad", text, remedy, facts)


def report(findings: Sequence[Finding], *, colour: bool, width: int) -> str:
    """Return the findings under a heading for each group, aligned, no wider than `width` columns."""
    lines: list[str] = []
    column = max((len(each.name) for each in findings), default=0) + 2
    for group in dict.fromkeys(each.group for each in findings):
        lines += ["", painted(group, "1", colour)]
        for each in findings:
            if each.group == group:
                lines += shown(each, column, colour=colour, width=width)
    return "\n".join(lines[1:])


def shown(finding: Finding, column: int, *, colour: bool, width: int) -> list[str]:
    """Return the lines of one finding: its mark, its name, its text, and below it what can be done."""
    mark = painted(f"{MARKS[finding.state]:>4}", COLOURS[finding.state], colour)
    head, *more = wrapped(finding.text, width - column - 6) or [""]
    below = " " * (column + 6)
    remedy = [f"{'→ ' if at == 0 else '  '}{line}" for at, line in enumerate(wrapped(finding.remedy, width - column - 8))]
    return [f"{mark}  {finding.name:<{column}}{head}".rstrip(), *(below + line for line in [*more, *remedy])]


def wrapped(text: str, width: int) -> list[str]:
    """Return a text in lines; one that has line ends keeps them, and no path is broken."""
    lines = text.splitlines()
    fold = textwrap.TextWrapper(max(width, 30), break_long_words=False, break_on_hyphens=False)
    return [part for line in lines for part in fold.wrap(line)]


def painted(text: str, code: str, colour: bool) -> str:
    """Return a text in a colour of the terminal, or as it is."""
    return f"\x1b[{code}m{text}\x1b[0m" if colour else text


def wants_colour(stream: TextIO, environ: Mapping[str, str] = os.environ) -> bool:
    """Tell whether colours are welcome: on a terminal, and where nobody has said no."""
    return stream.isatty() and not environ.get("NO_COLOR") and environ.get("TERM") != "dumb"


def show(findings: Iterable[Finding], stream: TextIO | None = None) -> None:
    """Print the report."""
    out = stream or sys.stdout
    width = min(shutil.get_terminal_size((100, 24)).columns, WIDEST)
    text = report(list(findings), colour=wants_colour(out), width=width)
    print(printable(text, out.encoding), file=out)
