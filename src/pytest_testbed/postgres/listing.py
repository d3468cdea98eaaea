"""How statements are shown to people: on few lines, cut to what fits, without secrets."""

from __future__ import annotations

import re
import reprlib
from collections.abc import Mapping, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .queries import Query, Repeat

__all__ = ["counted", "described", "failed", "failed_repeats", "listed", "repeated"]

LISTED = 50
"""Statements that are shown, the last ones."""
REPEATS = 10
"""Repeated shapes that are shown."""
WIDTH = 300
"""Characters of a statement that are shown."""
SETS = 2
"""Sets of parameters that are shown of an `executemany`."""

SECRET = re.compile(r"passw(?:or)?d|secret|token|api_?key", re.IGNORECASE)
"""Found in the names of parameters that nobody shall read in a log."""
_SECRET_TEXT = re.compile(r"(\bpassword\s+)[eE]?'(?:[^']|'')*'", re.IGNORECASE)
MASK = "***"


class _Short(reprlib.Repr):
    """Values on one line, long ones cut."""

    def __init__(self) -> None:
        super().__init__()
        self.maxstring = self.maxother = self.maxlong = 60
        self.maxdict = self.maxlist = self.maxtuple = self.maxset = 12
        self.maxlevel = 3

    def repr_bytes(self, value: bytes, level: int) -> str:
        """Describe bytes, whose whole text nobody needs to make."""
        return repr(value) if len(value) <= 24 else f"{value[:16]!r}... ({counted(len(value), 'byte')})"

    repr_bytearray = repr_memoryview = repr_bytes


_short = _Short().repr


def counted(number: int, what: str) -> str:
    """Return a number with its noun."""
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def listed(queries: Sequence[Query], repeats: Sequence[Repeat]) -> str:
    """Return a list of statements, repeated shapes first; of many only the last."""
    if not queries:
        return "no statement was sent to PostgreSQL"
    lines = _of_repeats(repeats)
    left_out = max(len(queries) - LISTED, 0)
    if left_out:
        lines.append(f"({counted(left_out, 'statement')} before these not shown)")
    for number, query in enumerate(queries[left_out:], left_out + 1):
        lines.append(f"{number:4}. " + described(query).replace("\n", "\n      "))
    return "\n".join(lines)


def _of_repeats(repeats: Sequence[Repeat]) -> list[str]:
    lines = [line for repeat in repeats[:REPEATS] for line in repeated(repeat).split("\n")]
    if len(repeats) > REPEATS:
        lines.append(f"({counted(len(repeats) - REPEATS, 'more repeated statement')} not shown)")
    return ["sent again and again:", *(f"  {line}" for line in lines), ""] if lines else []


def described(query: Query) -> str:
    """Return a statement on a line, and what came of it on a second one."""
    ends = [_of_parameters(query), _of_end(query), query.where, query.thread and f"thread {query.thread}"]
    return "\n".join([_text(query.statement), *filter(None, [" · ".join(filter(None, ends))])])


def repeated(repeat: Repeat) -> str:
    """Return a repeated shape: how often, with how many different parameters, from where."""
    different = repeat.different
    how = "the same each time" if different == 1 else f"{different} different ones"
    milliseconds = sum(query.milliseconds for query in repeat.queries)
    ends = [how, f"{milliseconds:.1f} ms", repeat.where]
    return f"{repeat.count} x {_text(repeat.shape)}\n    {' · '.join(filter(None, ends))}"


def failed(queries: Sequence[Query], expected: str, matching: Any, repeats: Sequence[Repeat]) -> str:
    """Return what is said where there were too many or too few."""
    which = "" if matching is None else f" matching {getattr(matching, 'pattern', matching)!r}"
    were = "was" if len(queries) == 1 else "were"
    head = f"{counted(len(queries), 'statement')}{which} {were} sent to PostgreSQL, {expected} expected"
    return f"{head}\n{listed(queries, repeats)}" if queries else head


def failed_repeats(repeats: Sequence[Repeat], at_least: int) -> str:
    """Return what is said where something was repeated."""
    what = "one statement was" if len(repeats) == 1 else f"{len(repeats)} statements were"
    return "\n".join([f"{what} sent {at_least} times or more from one line (N+1)", *_of_repeats(repeats)[1:-1]])


def _text(statement: str) -> str:
    # a bulk insert may have megabytes
    text = " ".join(statement[: 4 * WIDTH].split())
    text = _SECRET_TEXT.sub(rf"\1'{MASK}'", text)
    left_out = len(statement) - WIDTH
    return text if len(text) <= WIDTH else f"{text[:WIDTH]}... ({counted(left_out, 'more character')})"


def _of_end(query: Query) -> str:
    rows = "" if query.rows is None else counted(query.rows, "row") + " · "
    if not query.finished:
        return "not finished"
    took = f"{rows}{query.milliseconds:.1f} ms"
    return f"{took} · {_short_error(query.error)}" if query.error else took


def _short_error(error: str) -> str:
    first = error.partition("\n")[0]
    return first if len(first) <= WIDTH else f"{first[:WIDTH]}..."


# --- parameters


def _of_parameters(query: Query) -> str:
    if getattr(query.engine, "hide_parameters", False):
        return "parameters hidden"
    if query.sets is not None and query.sets != 1 and isinstance(query.parameters, Sequence):
        shown = ", ".join(_set(each, query.names) for each in islice(query.parameters, SETS))
        more = query.sets - min(SETS, len(query.parameters))
        return f"{shown}, and {counted(more, 'more set')}" if more > 0 else shown
    if query.sets != 1:
        return counted(query.sets or 0, "set") + " of parameters"
    return _set(query.parameters, query.names) if query.parameters else ""


def _set(parameters: Any, names: Sequence[str] | None) -> str:
    if isinstance(parameters, Mapping):
        return _short({name: MASK if SECRET.search(str(name)) else value for name, value in parameters.items()})
    if names and isinstance(parameters, (list, tuple)) and any(SECRET.search(name) for name in names):
        values = [MASK if SECRET.search(names[at % len(names)]) else value for at, value in enumerate(parameters)]
        return _short(type(parameters)(values) if type(parameters) in (list, tuple) else values)
    return _short(parameters)
