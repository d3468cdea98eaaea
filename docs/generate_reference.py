"""Writes the option tables of docs/reference/options.md and README.md from the plugin's own sections.

python docs/generate_reference.py            # write
python docs/generate_reference.py --check    # exit with 1 where a page is not up to date
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Iterator
from pathlib import Path

from pytest_testbed import plugin
from pytest_testbed.settings import Option, Section

ROOT = Path(__file__).resolve().parent.parent
BEGIN, END = "<!-- options: begin -->", "<!-- options: end -->"
BAR = "\\|"
TITLES = {
    "CoreSettings": "Core",
    "PostgresSettings": "PostgreSQL",
    "RabbitSettings": "RabbitMQ",
    "HttpSettings": "HTTP",
    "FactorySettings": "Test data",
    "FileSettings": "Files",
    "BudgetSettings": "Budgets",
    "LevelSettings": "Levels",
}


def sections() -> list[type[Section]]:
    """Return the option sections of the core and of all its parts."""
    return plugin.sections()


def code(text: str) -> str:
    """Return a text as code; "" for none."""
    return f"`{text}`" if text else ""


def default(row: Option) -> str:
    """Return a default; the words that stand for no value are no code."""
    shown = row.shown(row.default)
    return shown if shown in ("none", "empty") else code(shown)


def table(section: type[Section]) -> Iterator[str]:
    """Yield the short table of one section."""
    yield "| ini key | environment | flag | default | what it says |"
    yield "|---|---|---|---|---|"
    for row in section.options():
        cells = (code(row.ini), code(row.env), code(row.flag), default(row), row.help)
        yield f"| {' | '.join(cell.replace('|', BAR) for cell in cells)} |"


def entries(section: type[Section]) -> Iterator[str]:
    """Yield one paragraph for each option of a section."""
    for row in section.options():
        yield f"### `{row.ini}`"
        yield ""
        yield row.help
        yield ""
        yield f"- type: {code(row.type) if ' | ' in row.type else row.type}"
        yield f"- default: {default(row)}"
        yield f"- environment: {code(row.env)}"
        if row.flag:
            yield f"- flag: {code(row.flag)}"
        yield ""


def title(section: type[Section]) -> str:
    """Return the heading of a section."""
    return TITLES.get(section.__name__, section.section_prefix)


def short() -> str:
    """Return the tables of all sections, each under its title."""
    return "\n\n".join("\n".join((f"### {title(section)}", "", *table(section))) for section in sections())


def full() -> str:
    """Return the entries of all sections, each under its title."""
    lines = []
    for section in sections():
        lines += [f"## {title(section)}", "", *entries(section)]
    return "\n".join(lines).rstrip()


PAGES = {"docs/reference/options.md": full, "README.md": short}


def renewed(page: str) -> str:
    """Return the text of a page with the part between the two marks made anew."""
    text = (ROOT / page).read_text(encoding="utf-8")
    if text.count(BEGIN) != 1 or text.count(END) != 1:
        raise SystemExit(f"{page} must have the lines {BEGIN} and {END} once each")
    return re.sub(f"{BEGIN}.*{END}", lambda _: f"{BEGIN}\n\n{PAGES[page]()}\n\n{END}", text, flags=re.DOTALL)


def main() -> None:
    """Write the pages, or check them."""
    parser = argparse.ArgumentParser(description="Write the option tables of the documentation.")
    parser.add_argument("--check", action="store_true", help="write nothing; exit with 1 where a page is not up to date")
    check = parser.parse_args().check
    stale = [page for page in PAGES if (ROOT / page).read_text(encoding="utf-8") != renewed(page)]
    for page in stale:
        if check:
            print(f"{page} is not up to date: run python docs/generate_reference.py", file=sys.stderr)
        else:
            (ROOT / page).write_text(renewed(page), encoding="utf-8")
            print(f"{page} written")
    sys.exit(1 if check and stale else 0)


if __name__ == "__main__":
    main()
