"""Which names of a tree count, and what is put in place of what changes from run to run."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Mapping
from fnmatch import fnmatchcase
from pathlib import Path

__all__ = ["Patterns", "Replacing", "Selection", "Substitutes", "patterns_of", "skipping"]

Patterns = str | Iterable[str]
Replacement = str | Callable[["re.Match[str]"], str]
Replacing = Mapping[str | re.Pattern[str], Replacement] | None
PLACE = "<workdir>"
"""What stands for the path of the directory, which is another in each run."""


def patterns_of(given: Patterns, argument: str) -> tuple[str, ...]:
    """Return patterns; one alone may be a text.

    Raises:
        TypeError: one is no text.
    """
    patterns = (given,) if isinstance(given, str) else tuple(given)
    for each in patterns:
        if not isinstance(each, str):
            raise TypeError(f"{argument}= has {each!r}, which is no pattern such as '*.log'.")
    return patterns


def fits(name: str, pattern: str) -> bool:
    """Tell whether a pattern means a name, or a folder that it is in.

    One without "/" means a name in any folder.
    """
    parts = name.split("/")
    pattern = pattern.rstrip("/")
    if "/" not in pattern:
        return any(fnmatchcase(part, pattern) for part in parts)
    return any(fnmatchcase("/".join(parts[:count]), pattern.lstrip("/")) for count in range(1, len(parts) + 1))


def skipping(patterns: Iterable[str]) -> Callable[[str], bool]:
    """Return what tells whether one of the patterns means a name."""
    patterns = tuple(patterns)
    return lambda name: any(fits(name, pattern) for pattern in patterns)


class Selection:
    """The names that are compared.

    Args:
        ignore: patterns of those that are not.
        only: patterns of those that are; none for all.
    """

    def __init__(self, ignore: Patterns, only: Patterns) -> None:
        self.ignore: tuple[str, ...] = patterns_of(ignore, "ignore")
        self.only: tuple[str, ...] = patterns_of(only, "only")
        self.ignores: Callable[[str], bool] = skipping(self.ignore)

    def has(self, name: str) -> bool:
        """Tell whether a name is compared."""
        return not self.ignores(name) and (not self.only or any(fits(name, pattern) for pattern in self.only))

    def __str__(self) -> str:
        said = (("only", self.only), ("ignore", self.ignore))
        return ", ".join(f"{name}={list(patterns)!r}" for name, patterns in said if patterns)


class Substitutes:
    """What is put in place of what changes from run to run.

    Args:
        replacing: regular expressions, each with its replacement, as `re.sub` takes them.
        root: the directory, whose path is such a thing itself.

    Raises:
        TypeError: a key is no regular expression, or a value no replacement.
        ValueError: a regular expression is broken.
    """

    def __init__(self, replacing: Replacing, root: Path) -> None:
        self._rules = [(_compiled(pattern), _usable(pattern, new)) for pattern, new in (replacing or {}).items()]
        self._places = sorted({str(root), os.path.realpath(root)}, key=len, reverse=True)

    def text(self, text: str) -> str:
        """Return a text with what stands for its changing parts.

        Raises:
            ValueError: a replacement names a group that there is not.
        """
        for place in self._places:
            text = text.replace(place, PLACE)
        for pattern, new in self._rules:
            try:
                text = pattern.sub(new, text)
            except (re.error, IndexError) as error:
                raise ValueError(f"replacing= puts {new!r} in place of {pattern.pattern!r}: {error}.") from None
        return text


def _compiled(pattern: object) -> re.Pattern[str]:
    if isinstance(pattern, re.Pattern) and isinstance(pattern.pattern, str):
        return pattern
    if not isinstance(pattern, str):
        raise TypeError(f"replacing= has {pattern!r}, which is no regular expression of text.")
    try:
        return re.compile(pattern)
    except re.error as error:
        raise ValueError(f"replacing= has {pattern!r}, which is no regular expression: {error}.") from None


def _usable(pattern: object, new: object) -> Replacement:
    if isinstance(new, str) or callable(new):
        return new
    raise TypeError(f"replacing= puts {new!r} in place of {pattern!r}; that is neither a text nor a function of the match.")
