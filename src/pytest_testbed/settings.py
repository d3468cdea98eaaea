"""Options: declared once in a section; ini key, environment, flag, checks, help and sources follow from it.

This file is loaded by every run of pytest, so it makes no dataclasses and leaves to reading.py what only
a value that somebody gave needs.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from types import NoneType, UnionType
from typing import TYPE_CHECKING, Any, Final, Literal, TypeVar, Union, cast, get_args, get_origin

import pytest

if TYPE_CHECKING:
    from typing import ClassVar

__all__ = [
    "SETTINGS",
    "Option",
    "Section",
    "Settings",
    "named_values",
    "nothing_said",
    "option",
    "positive",
    "register",
    "said_early",
    "size",
    "version_number",
    "web_address",
]

T = TypeVar("T")
S = TypeVar("S", bound="Section")
DEFAULT: Final = "default"
COMMAND_LINE: Final = "the command line"
OVERRIDE: Final = "-o on the command line"
BUILT_IN: Final = ("external", "docker", "local")
"""Providers that need no hook."""
# Type of values → (type of ini value, what to call it, what to tell a bad value).
KINDS: Final[dict[type, tuple[Literal["string", "int", "float", "bool", "linelist"], str, str]]] = {
    str: ("string", "text", "is not a string"),
    int: ("int", "whole number", "is not a whole number"),
    float: ("float", "number", "is not a number"),
    bool: ("bool", "true or false", "is not true or false"),
    tuple: ("linelist", "list", "is not a list of strings"),
    Path: ("string", "path", "is not a path"),
}
# What the plain annotations of options say: type of values, choices, whether None is allowed. To evaluate each is dear.
HINTS: Final[dict[str, tuple[type, tuple[str, ...], bool]]] = {
    "tuple[str, ...]": (tuple, (), False),
    **{f"{kind.__name__}{none}": (kind, (), bool(none)) for kind in KINDS if kind is not tuple for none in ("", " | None")},
}


def option(
    default: T,
    *,
    help: str,
    flag: bool = False,
    secret: bool = False,
    check: Callable[[Any], object] | None = None,
) -> T:
    """Declare one option of a section: an attribute that also has what users need.

    Args:
        default: the value where nobody says another; immutable.
        help: one sentence for `pytest --help` and the reference page.
        flag: also offer it on the command line.
        secret: mask it wherever it is shown; of a URL only the password is masked.
        check: called with the converted value (not with None); raises `ValueError` whose text
            finishes the sentence "option = value …", e.g. "must be above 0".
    """
    return cast(T, Option(default, help, flag, secret, check))


def positive(value: float) -> None:
    """Check for `option(check=...)`: raise `ValueError` unless the value is above 0."""
    if not value > 0:  # written this way round, it refuses NaN too
        raise ValueError("must be above 0")


def version_number(text: str) -> None:
    """Check a version: 17, or 17.2."""
    if not all(part.isdigit() for part in text.split(".", 1)):
        raise ValueError("is not a version such as 17 or 17.2")


def size(text: str) -> None:
    """Check a size for a memory file system: digits, and b, k, m or g."""
    digits = text[:-1] if text[-1:].lower() in ("b", "k", "m", "g") else text
    if text and not digits.isdigit():
        raise ValueError("is not a size such as 512m or 1g")


def named_values(lines: Sequence[str]) -> None:
    """Check `NAME=value` lines."""
    for line in lines:
        if not line.partition("=")[0].isidentifier() or "=" not in line:
            raise ValueError(f"holds {line!r}, which is not of the form NAME=value")


def web_address(url: str, example: str = "http://host:8000") -> None:
    """Check that a URL is one of a web server."""
    if url.partition("://")[0] not in ("http", "https"):
        raise ValueError("does not begin with http:// or https://")
    from urllib.parse import urlsplit

    try:
        parts = urlsplit(url)
        is_whole = bool(parts.hostname) and parts.port != 0
    except ValueError:
        is_whole = False
    if not is_whole:
        raise ValueError(f"is not of the form {example}")


class Option:
    """One option with its names in all dresses and its type taken apart.

    `kind` is one of str, int, float, bool, tuple, Path; `choices` is empty unless it is a `Literal`.
    `flag` and `env` are the names on the command line ("" where it has none) and in the environment.
    """

    name: str
    ini: str
    env: str
    flag: str
    kind: type
    choices: tuple[str, ...]
    optional: bool

    def __init__(self, default: object, help: str, has_flag: bool, secret: bool, check: Callable[[Any], object] | None) -> None:
        """Keep what was declared; the section adds the names and the type."""
        self.default = default
        self.help = help
        self.has_flag = has_flag
        self.secret = secret
        self.check = check

    def bind(self, name: str, prefix: str, hint: tuple[type, tuple[str, ...], bool]) -> None:
        """Take the name, and the type that the section's annotation says."""
        self.name = name
        self.ini = f"testbed_{prefix}_{name}" if prefix else f"testbed_{name}"
        self.env = self.ini.upper()
        self.flag = f"--{self.ini.replace('_', '-')}" if self.has_flag else ""
        self.kind, self.choices, self.optional = hint

    def shown(self, value: object) -> str:
        """Return a value as users may see it: secrets masked."""
        if value is None:
            return "none"
        if isinstance(value, bool):
            return str(value).lower()
        if isinstance(value, tuple):
            return ", ".join(self.shown(item) for item in value) or "empty"
        if not self.secret:
            return str(value)
        from .reading import masked

        return masked(str(value))

    @property
    def type(self) -> str:
        """What to call the type of its values, e.g. "whole number" or "psycopg2 | psycopg"."""
        return " | ".join(self.choices) or KINDS[self.kind][1]

    @property
    def wrong(self) -> str:
        """What a bad value is told, e.g. "is not a number"."""
        return f"is not one of {', '.join(self.choices)}" if self.choices else KINDS[self.kind][2]

    def help_text(self) -> str:
        """Return the text for `pytest --help`; choices that the sentence names already are not listed once more."""
        is_said = all(choice in self.help for choice in self.choices)
        choices = "" if is_said else f"One of {', '.join(self.choices)}. "
        return f"{self.help} {choices}Default: {self.shown(self.default)}. Environment: {self.env}."


class Section:  # noqa: PLW1641  # compared, never a key
    """Base of a group of options: its annotated attributes are each an `option(...)`, its instances are frozen.

    The prefix "pg" and the attribute `image` give the ini key `testbed_pg_image`, the environment variable
    `TESTBED_PG_IMAGE` and, where `flag=True`, `--testbed-pg-image`. Types: str, int, float, bool, `Path`,
    `Literal` of strings, each of them also `| None`, and `tuple[str, ...]`.
    """

    section_prefix: ClassVar[str]
    _options: ClassVar[tuple[Option, ...]]

    def __init__(self, **values: object) -> None:
        """Take the values, and the default where there is none.

        Raises:
            TypeError: there is no option of that name.
        """
        options = self.options()
        if unknown := values.keys() - {each.name for each in options}:
            raise TypeError(f"{type(self).__name__} has no options {', '.join(sorted(unknown))}")
        self.__dict__.update({each.name: each.default for each in options}, **values)

    def __setattr__(self, name: str, value: object) -> None:
        """Refuse: options are read once."""
        raise AttributeError(f"{type(self).__name__} is frozen: {name!r} cannot be set")

    def __eq__(self, other: object) -> bool:
        """Tell whether the other has the same values."""
        return type(other) is type(self) and vars(other) == vars(self)

    def __repr__(self) -> str:
        """Show the values, secrets masked."""
        return (
            f"{type(self).__name__}({', '.join(f'{each.name}={each.shown(vars(self)[each.name])}' for each in self.options())})"
        )

    def __init_subclass__(cls, *, prefix: str) -> None:
        """Keep the prefix that stands between `testbed_` and the name of the attribute."""
        cls.section_prefix = prefix

    @classmethod
    def options(cls) -> tuple[Option, ...]:
        """Return the options in the order of their declaration.

        Raises:
            TypeError: an attribute has a type that options cannot have, or is not an `option(...)`.
        """
        if "_options" not in vars(cls):  # late: at import the names in its annotations need not exist yet
            cls._options = tuple(_declared(cls))
        return cls._options


def _declared(section: type[Section]) -> Iterable[Option]:
    for name, hint in section.__annotations__.items():
        found = vars(section).get(name)
        if not isinstance(found, Option):
            raise TypeError(f"{section.__name__}.{name} is not declared with option(...).")
        found.bind(name, section.section_prefix, HINTS.get(hint) or _taken_apart(hint, section, name))
        yield found


def _taken_apart(hint: Any, section: type[Section], name: str) -> tuple[type, tuple[str, ...], bool]:
    """Return the type, the choices and whether None is allowed."""
    if isinstance(hint, str):
        # as typing.get_type_hints does it, at a fraction of its cost; the text is our own source
        names = vars(sys.modules[section.__module__])
        if hint.startswith("Literal[") and hint.endswith("]") and "|" not in hint:
            choices = eval(hint.removeprefix("Literal"), names)  # noqa: S307
            if all(isinstance(choice, str) for choice in choices):
                return str, tuple(choices), False
        hint = eval(hint, names)  # noqa: S307
    members = set(get_args(hint)) if get_origin(hint) in (Union, UnionType) else {hint}
    optional = NoneType in members
    only = (members - {NoneType}).pop()
    if len(members) == 1 + optional:
        if only in KINDS and only is not tuple:
            return only, (), optional
        if get_origin(only) is Literal and all(isinstance(choice, str) for choice in get_args(only)):
            return str, get_args(only), optional
        if only == tuple[str, ...] and not optional:
            return tuple, (), False
    raise TypeError(f"{section.__name__}.{name} has the type {hint!r}, which no option can have.")


def register(parser: pytest.Parser, sections: Iterable[type[Section]]) -> None:
    """Add the ini keys and flags of the sections to pytest's parser.

    The ini default is None for each type, so that "nobody said" differs from every value.
    """
    group = parser.getgroup("testbed", "pytest-testbed: real services for integration tests")
    for section in sections:
        for each in section.options():
            text = each.help_text()
            parser.addini(each.ini, text, type=KINDS[each.kind][0], default=None)
            if each.flag:
                how: dict[str, Any] = {"metavar": "number" if each.kind is int else each.type.replace(" ", "")}
                if each.kind is bool:  # "--x [VALUE]" would swallow a path that follows it, hence --x and --no-x
                    how = {"action": argparse.BooleanOptionalAction}
                group.addoption(each.flag, dest=each.ini, default=None, help=text.replace("%", "%%"), **how)


def said_early(config: pytest.Config, key: str) -> bool:
    """Tell whether an option is said anywhere but on the command line, before pytest has read that as a whole."""
    if os.environ.get(key.upper()):
        return True
    try:
        return bool(config.getini(key))
    except (ValueError, TypeError):
        return True  # badly: told when it is read


def nothing_said(config: pytest.Config, sections: Iterable[type[Section]]) -> bool:
    """Tell whether no option of ours can be in any place: then nothing needs to be looked up or checked."""
    if config.getoption("override_ini", None) or any(name.startswith("TESTBED_") for name in os.environ):
        return False
    if any(config.getoption(each.ini, None) is not None for section in sections for each in section.options() if each.flag):
        return False
    path = config.inipath
    return path is None or not path.is_file() or b"testbed_" not in path.read_bytes()


class Settings:
    """The values of all sections, read once, each with the place that it came from."""

    def __init__(self, sections: Iterable[Section], sources: Mapping[tuple[type[Section], str], str]) -> None:
        """Keep the sections and their sources; users call `from_config` or `from_values`."""
        self._sections: dict[type[Section], Section] = {type(section): section for section in sections}
        self._sources = dict(sources)

    @classmethod
    def from_config(cls, config: pytest.Config, sections: Iterable[type[Section]]) -> Settings:
        """Read all options: the command line wins over the environment, over the ini file, over the default.

        A relative path in an ini file starts at that file, any other at the directory of invocation.

        Raises:
            pytest.UsageError: a value is bad; says option, value, source and what is expected.
        """
        if nothing_said(config, sections):
            return cls([section() for section in sections], {})
        from .reading import read

        return read(config, sections)

    @classmethod
    def from_values(cls, *sections: Section) -> Settings:
        """Make settings without pytest; the source of what differs from its default is "code"."""
        sources = {
            (type(section), each.name): DEFAULT if getattr(section, each.name) == each.default else "code"
            for section in sections
            for each in section.options()
        }
        return cls(sections, sources)

    def __getitem__(self, section: type[S]) -> S:
        """Return the values of a section; `KeyError` if it was not read."""
        return cast(S, self._sections[section])

    def source(self, section: type[Section], name: str) -> str:
        """Return where a value came from.

        One of "default", "the command line", "-o on the command line", "environment TESTBED_…", the
        name of the ini file, or "code".
        """
        return self._sources.get((section, name), DEFAULT)

    def changed(self) -> list[tuple[str, str, str]]:
        """Return (ini key, shown value, source) of each value that somebody set; secrets are masked."""
        return [
            (each.ini, each.shown(getattr(values, each.name)), self.source(section, each.name))
            for section, values in self._sections.items()
            for each in section.options()
            if self.source(section, each.name) != DEFAULT
        ]


SETTINGS = pytest.StashKey[Settings]()
"""Where a run's settings are on `config.stash`."""
