"""The suggestions as text: lines to be put into the file that the project has, each below its reason."""

from __future__ import annotations

import json
import os
import shlex
import textwrap
from collections.abc import Iterator

from .advice import Advice, Entry, Line
from .configured import Configured
from .findings import Findings

__all__ = ["empty", "lines_to_add", "shown"]

WIDTH = 110
FIRST = ("pythonpath", "DJANGO_SETTINGS_MODULE", "testbed_env", "testbed_pg_schema", "testbed_pg_bind")


def shown(seen: Findings, advice: Advice, above: str) -> str:
    """Return the whole answer."""
    config = seen.config
    new, changes = _sorted(config, advice)
    parts = [_head(seen), *_where(seen, above, new)]
    if new:
        parts.append(_block(config, new))
    if changes:
        parts.append("Lines that are there already:\n" + "\n".join(_item(each) for each in changes))
    if advice.undecided:
        parts.append("Not decided:\n" + "\n".join(_item(each) for each in advice.undecided))
    if advice.by_hand:
        parts.append("By hand:\n" + "\n".join(_item(each) for each in dict.fromkeys(advice.by_hand)))
    parts += _nested(seen)
    parts += _unread(seen)
    parts.append(_install(advice))
    if advice.pages:
        pages = "\n".join(_item(f"docs/how-to/{page}.md ({why})") for page, why in advice.pages.items())
        parts.append(f"To read, in pytest-testbed's documentation:\n{pages}")
    parts.append("Next:\n  python -m pytest_testbed doctor   # what this machine has for them\n  python -m pytest")
    return "\n\n".join(parts) + "\n"


def empty(seen: Findings) -> str:
    """Return what is said where there is nothing to go by: what was looked for, and the smallest start."""
    notes = "".join(f"\n{part}\n" for part in (*_nested(seen), *_unread(seen)))
    return f"""\
{seen.tree.root.resolve()}: nothing that lines could be suggested for{_counted(seen)}.
{notes}
Looked for: dependencies, SQLAlchemy's models and engines, Alembic, Django's settings, variables with addresses,
compose files and pipelines, web applications, factories, conftests.

No line is needed to begin with. Save this as test_first.py:

from sqlalchemy import text


def test_first(pg_session):
    assert pg_session.scalar(text("SELECT 1")) == 1

Install:
  pip install pytest-testbed

Next:
  python -m pytest_testbed doctor   # what this machine has for it
  python -m pytest
"""


def _nested(seen: Findings) -> list[str]:
    """Return what is said of projects below, if there are any."""
    found = [f"  python -m pytest_testbed init {shlex.quote(os.path.join(seen.tree.root, each))}" for each in seen.tree.nested]
    return ["Projects of their own, to be looked at for themselves:\n" + "\n".join(found)] if found else []


def _unread(seen: Findings) -> list[str]:
    """Return what is said of files that could not be read, if there are any."""
    found = [_item(f"{place}: {why}") for place, why in sorted(seen.tree.unread.items())]
    return ["Not read:\n" + "\n".join(found)] if found else []


def _head(seen: Findings) -> str:
    return (
        f"{seen.tree.root.resolve()}: {_files(seen)} read, none run; {len(seen.dependencies)} dependencies. Nothing is written."
    )


def _files(seen: Findings) -> str:
    number = len(seen.sources)
    return f"{number} Python file{'s' if number != 1 else ''}"


def _counted(seen: Findings) -> str:
    return f", in {_files(seen)}" if seen.sources else ""


def _where(seen: Findings, above: str, new: list[Line]) -> Iterator[str]:
    config = seen.config
    if config.fault:
        yield f"{config.path} cannot be read, by pytest neither; mend it first:\n{_item(config.fault)}"
    if config.others:
        yield f"Settings for pytest in {', '.join(config.others)} do not count: {config.path} comes first."
    if above and not config.line:
        yield _paragraph(
            f"A run in this folder takes its settings from {above}. A file of this folder's own comes before that, and all of "
            "that one's settings are gone then; else put the lines there, where paths count from that folder."
        )
    for path in (f"{folder}/{name}" for folder in ("tests", "test") for name in ("pytest.ini", "pytest.toml", ".pytest.ini")):
        if path in seen.tree and not config.line:
            yield _paragraph(
                f"{path} counts where pytest is called for that folder alone, and paths in it count from there. For one place, "
                "move its settings to the file below."
            )
    if not new:
        yield "No line is missing."
    elif not any(entry.is_active for line in new for entry in line.entries):
        yield f"Nothing is sure enough to be added. What may be, in {config.path}:"
    elif not config.is_there:
        yield f"No settings for pytest were found. Save this as {config.path}:"
    elif config.in_braces:
        yield _paragraph(
            f"{config.place('')} has {config.section} in braces, which lines cannot be added to. Write what is there below a "
            "heading, and these lines with it:"
        )
    elif config.prefix:
        yield f"Into {config.path}, above line {config.line}:"
    elif config.line:
        yield f"Into {config.path}, below {config.section} (line {config.line}):"
    else:
        yield f"{config.path} has no {config.section} yet. Add this at its end:"


def _sorted(config: Configured, advice: Advice) -> tuple[list[Line], list[str]]:
    """Return the lines that are new, and what is to be said of those whose key is there."""
    keys = sorted(advice.lines, key=lambda key: FIRST.index(key) if key in FIRST else len(FIRST))
    new: list[Line] = []
    changes: list[str] = []
    for key in keys:
        line = advice.lines[key]
        if key not in config.values:
            new.append(line)
            continue
        there = config.entries(key)
        split = {word for each in there for word in each.split()} | set(there)
        missing = [entry for entry in line.entries if entry.text not in split and _name(entry.text) not in map(_name, there)]
        if not line.is_list:
            if line.entries and str(config.values[key]) not in [entry.text for entry in line.entries]:
                first = line.entries[0]
                changes.append(f"{config.place(key)}: {key} is {config.values[key]}; {first.text} was seen ({first.reason}).")
            else:
                changes.append(f"{config.place(key)}: {key} is there.")
        elif any(entry.is_active for entry in missing):
            entries = "".join(f"\n    {entry.text}   # {entry.reason}" for entry in missing if entry.is_active)
            changes.append(f"{config.place(key)}: {key} is there; add to it:{entries}")
        else:
            changes.append(f"{config.place(key)}: {key} is there.")
    return new, changes


def _name(entry: str) -> str:
    """Return what an entry of `testbed_env` is for; of others, all of it."""
    name, equals, _ = entry.partition("=")
    return name.strip() if equals and name.strip().isidentifier() else entry


# --- lines of the file


def lines_to_add(seen: Findings, advice: Advice) -> str:
    """Return the lines alone, with their section where that is not there yet."""
    return _block(seen.config, _sorted(seen.config, advice)[0])


def _block(config: Configured, lines: list[Line]) -> str:
    heading = [config.section] if config.in_braces or not config.line else []
    written = (text for line in lines for text in (_toml(line, config.prefix) if config.is_toml else _ini(line)))
    return "\n".join([*heading, *written])


def _comment(text: str, indent: str = "") -> list[str]:
    return [f"{indent}# {part}" for part in textwrap.wrap(text, WIDTH, break_long_words=False, break_on_hyphens=False)]


def _ini(line: Line) -> Iterator[str]:
    yield from _comment(line.note)
    if not line.is_list or len(line.entries) == 1:
        for entry in sorted(line.entries, key=lambda entry: not entry.is_active):
            yield from _comment(entry.reason)
            yield f"{'' if entry.is_active else '# '}{line.key} = {entry.text}"
        return
    off = "" if any(entry.is_active for entry in line.entries) else "# "
    yield f"{off}{line.key} ="
    for entry in line.entries:
        yield from _comment(entry.reason, f"{off}    ")
        yield f"{off}    {'' if entry.is_active or off else '# '}{entry.text}"


def _toml(line: Line, prefix: str) -> Iterator[str]:
    yield from _comment(line.note)
    if not line.is_list or len(line.entries) == 1:
        for entry in sorted(line.entries, key=lambda entry: not entry.is_active):
            yield from _comment(entry.reason)
            value = f"[{_quoted(entry)}]" if line.is_list else _quoted(entry)
            yield f"{'' if entry.is_active else '# '}{prefix}{line.key} = {value}"
        return
    off = "" if any(entry.is_active for entry in line.entries) else "# "
    yield f"{off}{prefix}{line.key} = ["
    for entry in line.entries:
        yield from _comment(entry.reason, f"{off}    ")
        yield f"{off}    {'' if entry.is_active or off else '# '}{_quoted(entry)},"
    yield f"{off}]"


def _quoted(entry: Entry) -> str:
    return json.dumps(entry.text, ensure_ascii=False)


# --- the rest


def _paragraph(text: str) -> str:
    return textwrap.fill(text, WIDTH + 4, break_long_words=False, break_on_hyphens=False)


def _item(text: str) -> str:
    """Return a paragraph of a list; what has lines of its own keeps them."""
    first, newline, rest = text.partition("\n")
    return (
        textwrap.fill(
            first, WIDTH + 4, initial_indent="  ", subsequent_indent="    ", break_long_words=False, break_on_hyphens=False
        )
        + newline
        + rest
    )


def _install(advice: Advice) -> str:
    extras = f"[{','.join(sorted(advice.extras))}]" if advice.extras else ""
    name = f'"pytest-testbed{extras}"' if extras else "pytest-testbed"
    why = [_item(f"{key}: {reason}") for key, reason in (*sorted(advice.extras.items()), *sorted(advice.packages.items()))]
    return "\n".join([f"Install:\n  pip install {' '.join([name, *sorted(advice.packages)])}", *why])
