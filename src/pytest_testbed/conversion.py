"""Values that somebody gave: from the text to the option's type, and what a bad one is told."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Final

import pytest

from .settings import COMMAND_LINE, Option, suggestion

__all__ = ["bad", "convert", "converted", "masked"]

# The words that pytest itself takes for an ini value of type bool.
BOOLS: Final = {
    **dict.fromkeys(("1", "y", "yes", "t", "true", "on"), True),
    **dict.fromkeys(("0", "n", "no", "f", "false", "off"), False),
}


def _parts(text: str) -> tuple[str, ...]:
    # One line can only hold several words; several lines may hold blanks.
    return tuple(text.split() if "\n" not in text else filter(None, map(str.strip, text.split("\n"))))


PARSERS: Final[dict[type, Callable[[str], object]]] = {
    str: str,
    int: int,
    float: float,
    bool: lambda text: BOOLS[text.strip().lower()],
    tuple: _parts,
    Path: lambda text: Path(text).expanduser(),
}
"""Each may raise ValueError or KeyError."""


def converted(config: pytest.Config, each: Option, raw: object, source: str) -> object:
    """Return the value of an option; a relative path gets the directory of the one who said it.

    Raises:
        pytest.UsageError: says option, value, source and what is wrong.
    """
    try:
        value = convert(each, raw)
    except ValueError as error:
        raise bad(each, raw, source, str(error)) from None
    if isinstance(value, Path):
        from_ini = source != COMMAND_LINE and not source.startswith("environment ")
        value = (config.inipath.parent if from_ini and config.inipath else config.invocation_params.dir) / value
    return value


def convert(each: Option, raw: object) -> object:
    """Turn a text, or a value that pytest has typed, into an option's type.

    Raises:
        ValueError: the value is bad; the text says what is expected, e.g. "is not a number".
    """
    value: object = raw
    if isinstance(raw, str):
        if each.optional and not raw.strip():
            return None
        if each.choices and raw not in each.choices:
            raise ValueError(each.wrong + suggestion(raw, each.choices))
        try:
            value = PARSERS[each.kind](raw)
        except (ValueError, KeyError):
            raise ValueError(each.wrong) from None
    elif each.kind is tuple and isinstance(raw, list) and all(isinstance(item, str) for item in raw):
        value = tuple(raw)
    elif each.kind is float and type(raw) is int:
        value = float(raw)
    elif type(raw) is not each.kind:
        raise ValueError(each.wrong)
    if each.check is not None:
        each.check(value)
    return value


def bad(each: Option, raw: object, source: str, wrong: str) -> pytest.UsageError:
    """Return the error of a bad value, `wrong` being the end of its sentence."""
    shown = each.shown(raw) if each.secret else raw
    stop = "" if wrong.endswith("?") else "."
    return pytest.UsageError(f"{each.ini} = {shown!r} (from {source}) {wrong}{stop}")


def masked(text: str) -> str:
    """Hide a secret; a URL keeps all but what is a password."""
    if "://" not in text:
        return "***"
    # Greedy up to the last "@", as a password may hold one.
    text = re.sub(r"(://[^:/?#@]*):.*@", r"\1:***@", text)
    return re.sub(r"(?i)([?&][^=&#]*(?:password|secret|token)[^=&#]*=)[^&#]*", r"\1***", text)
