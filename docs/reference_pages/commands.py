"""The command line, from its parsers."""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterator

from pytest_testbed.commands.line import parser

from .links import linked

__all__ = ["commands", "ends"]


def commands() -> str:
    """Return an entry for each command."""
    line = parser()
    lines = [f"{line.description}", ""]
    subs = next(action for action in line._actions if isinstance(action, argparse._SubParsersAction))
    summaries = {choice.dest: choice.help for choice in subs._choices_actions}
    lines += ["| command | what it does |", "|---|---|"]
    lines += [f"| [`{name}`](#{name}) | {summaries[name]} |" for name in subs.choices]
    lines.append("")
    for name, command in subs.choices.items():
        lines += [f"## `{name}`", "", *_entry(command)]
    return "\n".join(lines).rstrip()


def _entry(command: argparse.ArgumentParser) -> Iterator[str]:
    yield "```text"
    usage = re.sub(r"\x1b\[[\d;]*m", "", command.format_usage())  # some versions of Python colour it
    yield " ".join(usage.removeprefix("usage: ").split())
    yield "```"
    yield ""
    # what has a heading of its own comes behind the arguments
    about, *more = re.split(r"\n{2,}(?=\w+:\n)", command.description or "", maxsplit=1)
    yield from as_markdown(about, "###")
    actions = [action for action in command._actions if action.dest != "help"]
    if actions:
        yield "| argument | meaning |"
        yield "|---|---|"
    for action in actions:
        names = ", ".join(f"`{name}`" for name in action.option_strings) or f"`{action.metavar or action.dest.upper()}`"
        value = f" `{action.metavar}`" if action.option_strings and action.metavar else ""
        yield f"| {names}{value} | {str(action.help).replace('|', chr(92) + '|')} |"
    yield ""
    yield from as_markdown("\n\n".join([*more, command.epilog or ""]), "###")


def ends() -> str:
    """Return the exit codes and the environment, which stand at the end of the help."""
    return "\n".join(as_markdown(parser().epilog or "", "##")).rstrip()


def as_markdown(text: str, level: str) -> Iterator[str]:
    """Yield a text for terminals as Markdown: a heading for "words:" alone on a line, a table for what is indented.

    Args:
        text: of a parser.
        level: of its headings.
    """
    for block in filter(None, re.split(r"\n{2,}", text.strip("\n"))):
        told = [line for line in block.splitlines() if not line.startswith("  ")]
        rows = [line.strip() for line in re.sub(r"\n {4,}", " ", block).splitlines() if line.startswith("  ")]
        if rows and len(told) == 1 and told[0].endswith(":") and len(told[0].split()) < 3:
            yield f"{level} {told[0].rstrip(':').capitalize()}"
        elif told:
            yield linked(" ".join(told))
        yield ""
        if rows:
            yield from _rows(rows)


def _rows(rows: list[str]) -> Iterator[str]:
    pairs = [re.split(r" {2,}", row, maxsplit=1) for row in rows]
    if all(len(pair) == 2 for pair in pairs):
        yield from ("| | |", "|---|---|")
        yield from (f"| `{name}` | {_option(meaning)} |" for name, meaning in pairs)
    else:
        yield from ("```text", *rows, "```")
    yield ""


def _option(text: str) -> str:
    return linked(re.sub(r"\btestbed_\w+", r"`\g<0>`", text).replace("|", "\\|"))
