"""The marks, from the lines that register them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from importlib import import_module

from pytest_testbed import plugin
from pytest_testbed.plugins import levels

from .links import linked, name_links

__all__ = ["of_levels", "of_parts"]

TITLES = {"postgres": "PostgreSQL", "rabbitmq": "RabbitMQ", "http": "HTTP", "budgets": "Budgets"}
"""The parts that have marks, in the order of the page."""
NAME = re.compile(r"(?<![\w`./-])(testbed_\w+|TESTBED_\w+|api_client|http_mock|rabbitmq_broker)(?![\w`/-]|\.\w)")
"""Names that stand in a registration line without backquotes, as a terminal shows it."""


def of_parts() -> str:
    """Return the marks of each part under its title, with a table of their arguments."""
    known = {f"pytest_testbed.plugins.{part}": title for part, title in TITLES.items()}
    lines: list[str] = []
    for name in sorted(plugin.PARTS, key=lambda name: list(known).index(name) if name in known else len(known)):
        marks = getattr(import_module(name), "MARKS", ())
        if marks:
            lines += [f"## {known[name]}", "", *(line for mark in marks for line in _entry(mark))]
    return "\n".join(lines).rstrip()


def _entry(mark: str) -> Iterator[str]:
    signature, _, text = mark.partition(": ")
    first, *more = re.sub(r"\n {8}", " ", text.strip()).splitlines()
    name = signature.partition("(")[0]
    yield f"### `{name}`"
    yield ""
    yield f"`@pytest.mark.{signature}`"
    yield ""
    yield _text(first, name)
    yield ""
    names = [part.partition("=")[0].strip() for part in signature.partition("(")[2].split(",")]
    rows = [line.strip() for line in more if line.strip().partition("=")[0] in names]
    told = " ".join(line.strip() for line in more if line.strip() not in rows)
    yield from ((_text(told, name), "") if told else ())
    yield "| argument | meaning |"
    yield "|---|---|"
    for argument, meaning in (re.split(r"(?<!https): ", row, maxsplit=1) for row in rows):
        yield f"| `{argument}` | {_text(meaning, name)} |"
    yield ""


def _text(text: str, but: str) -> str:
    """Return a text for terminals with its names as code, beginning with a capital."""
    text = linked(NAME.sub(r"`\1`", text), but)
    return text[:1].upper() + text[1:]


def of_levels() -> str:
    """Return the tables of levels and areas."""
    found = [re.fullmatch(r"(\w+): \((level|area)\) (.*)\.", line) for line in plugin.MARKS]
    kinds = {kind: [(each[1], each[3]) for each in found if each and each[2] == kind] for kind in ("level", "area")}
    lines = ["## Levels", "", "| mark | for |", "|---|---|"]
    lines += [f"| `{name}` | {text} |" for name, text in kinds["level"]]
    lines += ["", "## Areas", "", "| mark | for | set by its folder's name, or by |", "|---|---|---|"]
    lines += [f"| `{name}` | {text} | {_fixtures(name)} |" for name, text in kinds["area"]]
    return "\n".join(lines)


def _fixtures(area: str) -> str:
    """Return the fixtures that set an area, as the plugin has them."""
    if area == "performance":
        return "the mark `budget`"
    beginnings = [
        word for _, words, name in levels.FIXTURES if name == area for word in ([words] if isinstance(words, str) else words)
    ]
    shown = [
        f"fixtures that begin with `{word}`" if word.endswith("_") else f"[`{word}`]({name_links()[word]})" for word in beginnings
    ]
    return ", ".join(shown)
