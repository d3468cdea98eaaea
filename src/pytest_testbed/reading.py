"""Options that somebody gave: where they were said, from the text to the option's type, what a bad one is told."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Final

import pytest

from .nearest import suggestion
from .settings import COMMAND_LINE, DEFAULT, OVERRIDE, Option, Section, Settings

__all__ = [
    "check_unknown",
    "masked",
    "read",
    "test_paths",
]

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


def read(config: pytest.Config, sections: Iterable[type[Section]]) -> Settings:
    """Do what `Settings.from_config` promises, where something was said."""
    overrides = _overrides(config)
    made: list[Section] = []
    sources: dict[tuple[type[Section], str], str] = {}
    for section in sections:
        values: dict[str, object] = {}
        for each in section.options():
            raw, source = _looked_up(config, each, overrides)
            sources[section, each.name] = source
            if source != DEFAULT:
                values[each.name] = converted(config, each, raw, source)
        made.append(section(**values))
    return Settings(made, sources)


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
        raise bad(each, raw, place, each.wrong) from None
    return (None, DEFAULT) if value is None else (value, place)


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
    if each.secret and shown == "***":
        wrong = wrong.partition(", which ")[2] or wrong  # it may quote what is masked
    stop = "" if wrong.endswith("?") else "."
    return pytest.UsageError(f"{each.ini} = {shown!r} (from {source}) {wrong}{stop}")


def masked(text: str) -> str:
    """Hide a secret; a URL keeps all but what is a password."""
    from .services import model

    return model.masked(text)


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
            hint = suggestion(key, known, skip=len("testbed_")) or "; 'pytest --help' lists all that are."
            problems.append(f"{key!r} (from {place}) is not an option of pytest-testbed{hint}")
    variables = [name.upper() for name in known]
    for name in os.environ:
        if name.startswith("TESTBED_") and name not in variables:
            hint = suggestion(name, variables, skip=len("TESTBED_"), cutoff=0.85)
            if hint and not _is_registered(config, name.lower()):
                problems.append(f"{name!r} (from the environment) is not an option of pytest-testbed{hint}")
    if problems:
        raise pytest.UsageError("\n".join(problems))


def test_paths(config: pytest.Config) -> list[str]:
    """Return where pytest looks for tests that nobody names: an option of its own."""
    return list(config.getini("testpaths"))


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
