"""The options, from the sections that declare them."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module

from pytest_testbed import plugin
from pytest_testbed.settings import Option, Section

__all__ = ["forms", "full"]

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
FORMS = {
    "pg.url": "`postgresql://user:password@127.0.0.1:port/database`; `{pg.url+psycopg2}` names the driver for SQLAlchemy",
    "pg.dsn": "the same for libpq: `host=127.0.0.1 port=… user=… password=… dbname=…`",
    "rabbitmq.url": "`amqp://user:password@127.0.0.1:port/vhost`",
    "mock.NAME.url": "`http://127.0.0.1:port`, of the [mock service](fixtures.md#mock_service) that is called so",
    "app.url": "the address of [`live_app`](fixtures.md#live_app)",
    "mail.address": "host and port of the [`mailbox`](fixtures.md#mailbox), with a colon between",
}
"""What the forms of `testbed_env` give; the others are parts of one of these."""


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


def forms() -> str:
    """Return the table of the forms of `testbed_env`: each one, and below it its parts."""
    lines = ["| form | gives |", "|---|---|"]
    for part in plugin.PARTS:
        for prefix, names in getattr(import_module(part), "EXPORTS", {}).items():
            known = [f"{prefix}.{name.replace('*', 'NAME')}" for name in names]
            lines += [f"| `{{{name}}}` | {FORMS[name]} |" for name in known if name in FORMS]
            lines.append(f"| {' '.join(f'`{{{name}}}`' for name in known if name not in FORMS)} | the parts |")
    return "\n".join(lines)


def full() -> str:
    """Return the entries of all sections, each under its title."""
    lines = []
    for section in plugin.sections():
        lines += [f"## {title(section)}", "", *entries(section)]
    return "\n".join(lines).rstrip()
