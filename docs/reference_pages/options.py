"""The options, from the sections that declare them."""

from __future__ import annotations

from collections.abc import Iterator

from pytest_testbed import plugin
from pytest_testbed.settings import Option, Section

__all__ = ["full"]

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


def code(text: str) -> str:
    """Return a text as code; "" for none."""
    return f"`{text}`" if text else ""


def default(row: Option) -> str:
    """Return a default; the words that stand for no value are no code."""
    shown = row.shown(row.default) or "empty"
    return shown if shown in ("none", "empty") else code(shown)


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


def full() -> str:
    """Return the entries of all sections, each under its title."""
    lines = []
    for section in plugin.sections():
        lines += [f"## {title(section)}", "", *entries(section)]
    return "\n".join(lines).rstrip()
