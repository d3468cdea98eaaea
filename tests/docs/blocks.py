"""The code blocks of the documentation, and what a page does with each."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
FENCE = re.compile(r"^(?P<ticks>`{3,})(?P<language>[^`\n]*)\n(?P<text>.*?)^(?P=ticks)$", re.MULTILINE | re.DOTALL)
NAME = re.compile(r"\*\*`(?P<name>[^`\s]+)`\*\*\n\n?\Z")
REASON = re.compile(r"^<!-- not run: (?P<reason>.+) -->\n\Z", re.MULTILINE)
MARK = re.compile(r"^<!-- (?:(?P<run>run)[ :].*|new project\b.*) -->$", re.MULTILINE)


@dataclass(frozen=True)
class Block:
    """A code block: a file of a project if a name stands before it, else loose.

    `run` says that a run follows on the page, before the next project begins. `reason` is why a block is none of that.
    """

    page: Path
    line: int
    language: str
    text: str
    name: str
    reason: str
    run: bool

    def __str__(self) -> str:
        """Return where it is."""
        return f"{name_of(self.page)}:{self.line}"


def name_of(page: Path) -> str:
    """Return a page's name as tests are called by it."""
    return str(page.relative_to(ROOT))


@cache
def blocks(page: Path) -> list[Block]:
    """Return the code blocks of a page, in their order."""
    text = page.read_text(encoding="utf-8")
    return list(_found(page, text))


def loose(*languages: str) -> list[Block]:
    """Return the blocks of all pages in these languages that are in no project that is run."""
    return [
        block
        for page in PAGES
        for block in blocks(page)
        if block.language in languages and not (block.name and (block.run or block.name.startswith("examples/")))
    ]


def _found(page: Path, text: str) -> Iterator[Block]:
    for match in FENCE.finditer(text):
        before = text[: match.start()]
        name, reason = NAME.search(before), REASON.search(before)
        mark = MARK.search(text, match.end())
        yield Block(
            page=page,
            line=text.count("\n", 0, match.start("text")),
            language=match["language"],
            text=match["text"],
            name=name["name"] if name else "",
            reason=reason["reason"] if reason else "",
            run=bool(mark and mark["run"]),
        )
