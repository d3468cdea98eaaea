"""Options: declared once as a dataclass; ini key, environment, flag, checks, help and sources follow from it."""

from __future__ import annotations

import argparse
import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import MISSING, field, fields
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, ClassVar, Final, Literal, NamedTuple, TypeVar, Union, cast, get_args, get_origin, get_type_hints

import pytest

from .errors import ConfigurationError

__all__ = ["Option", "Row", "Section", "Settings", "check_mark", "check_unknown", "option", "positive", "register"]

T = TypeVar("T")
S = TypeVar("S", bound="Section")
DEFAULT: Final = "default"
COMMAND_LINE: Final = "the command line"
OVERRIDE: Final = "-o on the command line"
# The words that pytest itself takes for an ini value of type bool.
_BOOLS: Final = {
    **dict.fromkeys(("1", "y", "yes", "t", "true", "on"), True),
    **dict.fromkeys(("0", "n", "no", "f", "false", "off"), False),
}


class _Kind(NamedTuple):
    """What there is to know of one type of values; `parse` may raise ValueError or KeyError."""

    ini: Literal["string", "int", "float", "bool", "linelist"]
    word: str
    wrong: str
    parse: Callable[[str], object]


_KINDS: Final[dict[type, _Kind]] = {
    str: _Kind("string", "text", "is not a string", str),
    int: _Kind("int", "whole number", "is not a whole number", int),
    float: _Kind("float", "number", "is not a number", float),
    bool: _Kind("bool", "true or false", "is not true or false", lambda text: _BOOLS[text.strip().lower()]),
    # One line can only hold several words; several lines may hold blanks.
    tuple: _Kind("linelist", "list", "is not a list of strings", lambda text: tuple(
        text.split() if "\n" not in text else filter(None, map(str.strip, text.split("\n")))
    )),
    Path: _Kind("string", "path", "is not a path", lambda text: Path(text).expanduser()),
}  # fmt: skip


def option(
    default: T,
    *,
    help: str,
    flag: bool = False,
    secret: bool = False,
    check: Callable[[Any], object] | None = None,
) -> T:
    """Declare one option of a section: a dataclass field that also has what users need.

    Args:
        default: the value where nobody says another; immutable.
        help: one sentence for `pytest --help` and the reference page.
        flag: also offer it on the command line.
        secret: mask it wherever it is shown; of a URL only the password is masked.
        check: called with the converted value (not with None); raises `ValueError` whose text
            finishes the sentence "option = value …", e.g. "must be above 0".
    """
    return field(default=default, metadata={"help": help, "flag": flag, "secret": secret, "check": check})


def positive(value: float) -> None:
    """Check for `option(check=...)`: raise `ValueError` unless the value is above 0."""
    if not value > 0:  # written this way round, it refuses NaN too
        raise ValueError("must be above 0")


class Row(NamedTuple):
    """One option on the generated reference page; `flag` is "" where the command line has none."""

    ini: str
    env: str
    flag: str
    type: str
    default: str
    help: str


class Option(NamedTuple):
    """One option with its names in all dresses and its type taken apart.

    `kind` is one of str, int, float, bool, tuple, Path; `choices` is empty unless it is a `Literal`.
    """

    name: str
    ini: str
    kind: type
    choices: tuple[str, ...]
    optional: bool
    default: object
    help: str
    flag: bool
    secret: bool
    check: Callable[[Any], object] | None

    @property
    def env(self) -> str:
        """The name of the environment variable, e.g. `TESTBED_PG_IMAGE`."""
        return self.ini.upper()

    def shown(self, value: object) -> str:
        """Return a value as users may see it: secrets masked."""
        if value is None:
            return "none"
        if isinstance(value, bool):
            return str(value).lower()
        if isinstance(value, tuple):
            return ", ".join(self.shown(item) for item in value) or "empty"
        return _masked(str(value)) if self.secret else str(value)

    def row(self) -> Row:
        """Return the texts for the reference page."""
        word = " | ".join(self.choices) or _KINDS[self.kind].word
        flag = f"--{self.ini.replace('_', '-')}" if self.flag else ""
        return Row(self.ini, self.env, flag, word, self.shown(self.default), self.help)

    def help_text(self) -> str:
        """Return the text for `pytest --help`."""
        choices = f"One of {', '.join(self.choices)}. " if self.choices else ""
        return f"{self.help} {choices}Default: {self.shown(self.default)}. Environment: {self.env}."

    def convert(self, raw: object) -> object:
        """Turn a text, or a value that pytest has typed, into this option's type.

        Raises:
            ValueError: the value is bad; the text says what is expected, e.g. "is not a number".
        """
        value: object = raw
        if isinstance(raw, str):
            if self.optional and not raw.strip():
                return None
            if self.choices and raw not in self.choices:
                raise ValueError(self.wrong + _suggestion(raw, self.choices))
            try:
                value = _KINDS[self.kind].parse(raw)
            except (ValueError, KeyError):
                raise ValueError(self.wrong) from None
        elif self.kind is tuple and isinstance(raw, list) and all(isinstance(item, str) for item in raw):
            value = tuple(raw)
        elif self.kind is float and type(raw) is int:
            value = float(raw)
        elif type(raw) is not self.kind:
            raise ValueError(self.wrong)
        if self.check is not None:
            self.check(value)
        return value

    @property
    def wrong(self) -> str:
        """What a bad value is told, e.g. "is not a number"."""
        return f"is not one of {', '.join(self.choices)}" if self.choices else _KINDS[self.kind].wrong


class Section:
    """Base of a group of options: a frozen keyword-only dataclass whose fields are `option(...)`.

    The prefix "pg" and the field `image` give the ini key `testbed_pg_image`, the environment variable
    `TESTBED_PG_IMAGE` and, where `flag=True`, `--testbed-pg-image`. Types: str, int, float, bool, `Path`,
    `Literal` of strings, each of them also `| None`, and `tuple[str, ...]`.
    """

    section_prefix: ClassVar[str]
    _options: ClassVar[tuple[Option, ...]]

    def __init__(self, **values: object) -> None:
        """Take the values, and the default where there is none; a dataclass with an `__init__` of its own does the same."""
        options = self.options()
        if unknown := values.keys() - {each.name for each in options}:
            raise TypeError(f"{type(self).__name__} has no options {', '.join(sorted(unknown))}")
        for each in options:
            object.__setattr__(self, each.name, values.get(each.name, each.default))

    def __setattr__(self, name: str, value: object) -> None:
        """Refuse: options are read once."""
        raise AttributeError(f"{type(self).__name__} is frozen: {name!r} cannot be set")

    def __init_subclass__(cls, *, prefix: str) -> None:
        """Keep the prefix that stands between `testbed_` and the name of the field."""
        cls.section_prefix = prefix

    @classmethod
    def options(cls) -> tuple[Option, ...]:
        """Return the options in the order of their declaration.

        Raises:
            TypeError: a field has a type that options cannot have, or is not an `option(...)`.
        """
        if "_options" not in vars(cls):  # late: at import the names in its annotations need not exist yet
            cls._options = _declared(cls)
        return cls._options

    @classmethod
    def describe(cls) -> list[Row]:
        """Return one row of texts for each option, for a generated reference page."""
        return [each.row() for each in cls.options()]


def _declared(section: Any) -> tuple[Option, ...]:
    hints = get_type_hints(section)
    found = []
    for each in fields(section):
        where = f"{section.__name__}.{each.name}"
        if each.default is MISSING or "help" not in each.metadata:
            raise TypeError(f"{where} is not declared with option(...).")
        kind, choices, optional = _taken_apart(hints[each.name], where)
        ini = "_".join(filter(None, ("testbed", section.section_prefix, each.name)))
        shape: dict[str, Any] = {"name": each.name, "ini": ini, "kind": kind, "choices": choices, "optional": optional}
        found.append(Option(default=each.default, **shape, **each.metadata))
    return tuple(found)


def _taken_apart(hint: Any, where: str) -> tuple[type, tuple[str, ...], bool]:
    """Return the type, the choices and whether None is allowed."""
    members = set(get_args(hint)) if get_origin(hint) in (Union, UnionType) else {hint}
    optional = NoneType in members
    only = (members - {NoneType}).pop()
    if len(members) == 1 + optional:
        if only in _KINDS and only is not tuple:
            return only, (), optional
        if get_origin(only) is Literal and all(isinstance(choice, str) for choice in get_args(only)):
            return str, get_args(only), optional
        if only == tuple[str, ...] and not optional:
            return tuple, (), False
    raise TypeError(f"{where} has the type {hint!r}, which no option can have.")


def register(parser: pytest.Parser, sections: Iterable[type[Section]]) -> None:
    """Add the ini keys and flags of the sections to pytest's parser.

    The ini default is None for each type, so that "nobody said" differs from every value.
    """
    group = parser.getgroup("testbed", "pytest-testbed: real services for integration tests")
    for section in sections:
        for each in section.options():
            row, text = each.row(), each.help_text()
            parser.addini(each.ini, text, type=_KINDS[each.kind].ini, default=None)
            if row.flag:
                how: dict[str, Any] = {"metavar": row.type.replace(" ", "")}
                if each.kind is bool:  # "--x [VALUE]" would swallow a path that follows it, hence --x and --no-x
                    how = {"action": argparse.BooleanOptionalAction}
                group.addoption(row.flag, dest=each.ini, default=None, help=text.replace("%", "%%"), **how)


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
        overrides = _overrides(config)
        made: list[Section] = []
        sources: dict[tuple[type[Section], str], str] = {}
        for section in sections:
            values: dict[str, object] = {}
            for each in section.options():
                raw, source = _looked_up(config, each, overrides)
                sources[section, each.name] = source
                values[each.name] = each.default if source == DEFAULT else _converted(config, each, raw, source)
            made.append(section(**values))
        return cls(made, sources)

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
        name of the ini file, or "code". `KeyError` if there is no such section or name.
        """
        return self._sources[section, name]

    def changed(self) -> list[tuple[str, str, str]]:
        """Return (ini key, shown value, source) of each value that somebody set; secrets are masked."""
        return [
            (each.ini, each.shown(getattr(values, each.name)), self.source(section, each.name))
            for section, values in self._sections.items()
            for each in section.options()
            if self.source(section, each.name) != DEFAULT
        ]


def check_unknown(config: pytest.Config, sections: Iterable[type[Section]]) -> None:
    """Refuse what looks like an option of ours and is none: ini keys, `-o`, near misses in the environment.

    Keys that somebody else registered are fine: pytest is asked, no list is kept.

    Raises:
        pytest.UsageError: names each such key, where it stands and the nearest valid name.
    """
    known = [each.ini for section in sections for each in section.options()]
    given = dict.fromkeys(_file_values(config.inipath), config.inipath.name if config.inipath else "")
    given |= dict.fromkeys(_overrides(config), OVERRIDE)
    problems = []
    for key, place in given.items():
        if key.startswith("testbed_") and key not in known and not _is_registered(config, key):
            hint = _suggestion(key, known, skip=len("testbed_")) or "; 'pytest --help' lists all that are."
            problems.append(f"{key!r} (from {place}) is not an option of pytest-testbed{hint}")
    variables = [name.upper() for name in known]
    for name in os.environ:
        if name.startswith("TESTBED_") and name not in variables:
            hint = _suggestion(name, variables, skip=len("TESTBED_"), cutoff=0.85)
            if hint and not _is_registered(config, name.lower()):
                problems.append(f"{name!r} (from the environment) is not an option of pytest-testbed{hint}")
    if problems:
        raise pytest.UsageError("\n".join(problems))


def check_mark(
    mark_name: str,
    args: Sequence[object],
    kwargs: Mapping[str, object],
    allowed: Mapping[str, tuple[object, ...] | type | UnionType | None],
    where: str,
) -> None:
    """Check the arguments of a mark: all by name, each known, each with a good value.

    Args:
        mark_name: name of the mark, e.g. "pg".
        args: positional arguments, of which none is allowed.
        kwargs: keyword arguments.
        allowed: maps a name to the tuple of its values, to its type (or union), or to None for "anything".
        where: node id of the test, for the message.

    Raises:
        ConfigurationError: says mark, argument, value, place and what is expected.
    """
    names = ", ".join(f"{name}=" for name in allowed) or "none"
    for value in args:
        raise ConfigurationError(
            f"@pytest.mark.{mark_name}({value!r}) on {where}: arguments are given by name; there are: {names}."
        )
    for name, value in kwargs.items():
        head = f"@pytest.mark.{mark_name}({name}={value!r}) on {where}:"
        if name not in allowed:
            hint = _suggestion(name, allowed) or f"; there are: {names}."
            raise ConfigurationError(f"{head} {name!r} is not an argument of it{hint}")
        wrong = _unlike(value, allowed[name])
        if wrong:
            raise ConfigurationError(f"{head} {value!r} {wrong}")


def _unlike(value: object, expected: tuple[object, ...] | type | UnionType | None) -> str:
    """Return what is wrong with the argument of a mark, "" if nothing."""
    if expected is None:
        return ""
    if isinstance(expected, tuple):
        # 1 == True, but isolation=1 is not isolation=True.
        if any(type(value) is type(each) and value == each for each in expected):
            return ""
        words = [each for each in expected if isinstance(each, str)]
        hint = _suggestion(value, words) or "."
        return f"is not one of {', '.join(map(repr, expected))}{hint}"
    types = get_args(expected) if isinstance(expected, UnionType) else (expected,)
    number = float in types and type(value) is int
    if number or type(value) in types or (isinstance(value, types) and not isinstance(value, bool)):
        return ""
    return f"is not of type {' or '.join(each.__name__.replace('NoneType', 'None') for each in types)}."


def _looked_up(config: pytest.Config, each: Option, overrides: Mapping[str, str]) -> tuple[object, str]:
    """Return the value, as found, and its source."""
    if each.flag and (given := config.getoption(each.ini, None)) is not None:
        return given, COMMAND_LINE
    if (text := os.environ.get(each.env)) is not None:
        return text, f"environment {each.env}"
    place = OVERRIDE if each.ini in overrides or config.inipath is None else config.inipath.name
    try:
        value = config.getini(each.ini)
    except (ValueError, TypeError, pytest.UsageError) as error:
        if _says_unknown(error):
            raise
        raw = overrides[each.ini] if each.ini in overrides else _file_values(config.inipath).get(each.ini)
        if each.optional and raw == "":
            return "", place
        raise _bad(each, raw, place, each.wrong) from None
    return (None, DEFAULT) if value is None else (value, place)


def _converted(config: pytest.Config, each: Option, raw: object, source: str) -> object:
    try:
        value = each.convert(raw)
    except ValueError as error:
        raise _bad(each, raw, source, str(error)) from None
    if isinstance(value, Path):
        from_ini = source != COMMAND_LINE and not source.startswith("environment ")
        value = (config.inipath.parent if from_ini and config.inipath else config.invocation_params.dir) / value
    return value


def _bad(each: Option, raw: object, source: str, wrong: str) -> pytest.UsageError:
    shown = each.shown(raw) if each.secret else raw
    stop = "" if wrong.endswith("?") else "."
    return pytest.UsageError(f"{each.ini} = {shown!r} (from {source}) {wrong}{stop}")


def _masked(text: str) -> str:
    """Hide a secret; a URL keeps all but what is a password."""
    if "://" not in text:
        return "***"
    # Greedy up to the last "@", as a password may hold one.
    text = re.sub(r"(://[^:/?#@]*):.*@", r"\1:***@", text)
    return re.sub(r"(?i)([?&][^=&#]*(?:password|secret|token)[^=&#]*=)[^&#]*", r"\1***", text)


def _suggestion(word: object, words: Iterable[str], skip: int = 0, cutoff: float = 0.6) -> str:
    """Return "; did you mean 'x'?" or ""; the first `skip` letters, which all have, do not count."""
    from difflib import get_close_matches

    stems = {each[skip:].lower(): each for each in words}
    near = get_close_matches(str(word)[skip:].lower(), stems, 1, cutoff)
    return f"; did you mean {stems[near[0]]!r}?" if near else ""


def _overrides(config: pytest.Config) -> dict[str, str]:
    """Return what `-o key=value` says; pytest has refused those without a "="."""
    pairs = (each.partition("=") for each in config.getoption("override_ini", None) or ())
    return {key: value for key, _, value in pairs}


def _is_registered(config: pytest.Config, key: str) -> bool:
    try:
        config.getini(key)
    except (ValueError, TypeError, pytest.UsageError) as error:  # a bad value is its owner's business
        return not _says_unknown(error)
    return True


def _says_unknown(error: Exception) -> bool:
    # Before pytest 9.2 a bad value and an unknown key are both a ValueError.
    return "unknown configuration value" in str(error)


def _file_values(path: Path | None) -> dict[str, Any]:
    """Return what pytest's section of an ini file says, as written; {} if no key of ours can be in it."""
    if path is None or not path.is_file():
        return {}
    text = path.read_text(encoding="utf-8")
    if "testbed_" not in text:
        return {}
    if path.suffix != ".toml":
        from iniconfig import IniConfig

        section = "tool:pytest" if path.suffix == ".cfg" else "pytest"
        return dict(IniConfig(path, data=text).sections.get(section, {}))
    from tomllib import loads

    document = loads(text)
    table: dict[str, Any] = document.get("tool", {}).get("pytest", {})
    if path.name != "pyproject.toml":
        table = {**document.get("pytest", {}), **table}
    return {**table, **table.get("ini_options", {})}
