"""The shape of a statement: its text without what differs from one time to the next."""

from __future__ import annotations

import re
from functools import lru_cache

__all__ = ["shape_of"]

_PARTS = re.compile(
    r"""
      (?P<kept> "(?:[^"]|"")*" )                                # a quoted name
    | (?P<gone> --[^\n]* | /\*.*?\*/ )                          # a comment
    | \$(?P<tag>[A-Za-z_]?\w*)\$ .*? \$(?P=tag)\$               # texts
    | \b[eE]'(?:[^'\\]|''|\\.)*'
    | (?:\b(?:[bBxXnN]|[uU]&))?'(?:[^']|'')*'
    | %\(\w+\)[sbt] | %[sbt] | \$\d+                            # parameters
    | (?<![\w$.])(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?\b     # numbers
    """,
    re.VERBOSE | re.DOTALL,
)
_CAST = r"(?:::[A-Za-z_][\w ]*(?:\([?, ]*\))?(?:\[\])*)?"
_VALUE = rf"\?{_CAST}"
_SEVERAL_VALUES = re.compile(rf"({_VALUE})(?:\s*,\s*\1)+")
_SEVERAL_ROWS = re.compile(rf"(\(\s*{_VALUE}(?:\s*,\s*{_VALUE})*\s*\))(?:\s*,\s*\1)+")


@lru_cache(maxsize=500)
def shape_of(statement: str) -> str:
    """Return a statement with `?` for each literal and parameter, on one line, without comments.

    Lists of values have one shape whatever their length, after IN and after VALUES.
    """
    text = _PARTS.sub(_replaced, statement)
    text = " ".join(text.split())
    text = _SEVERAL_VALUES.sub(r"\1", text)
    return _SEVERAL_ROWS.sub(r"\1", text)


def _replaced(match: re.Match[str]) -> str:
    if match["kept"] is not None:
        return match["kept"]
    return " " if match["gone"] is not None else "?"
