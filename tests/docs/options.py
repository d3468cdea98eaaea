"""Ini lines of the documentation, taken as the plugin itself would take them."""

from __future__ import annotations

import configparser
import tomllib
from collections.abc import Iterator
from importlib import import_module

from pytest_testbed import exports, plugin
from pytest_testbed.errors import ConfigurationError
from pytest_testbed.reading import convert

OPTIONS = {each.ini: each for section in plugin.sections() for each in section.options()}
BY_VARIABLE = {each.env: each.ini for each in OPTIONS.values()}


class Fault(Exception):
    """The plugin, or pytest, would refuse what the documentation says."""


def check_option(key: str, value: object) -> None:
    """Check one option of ours: there is one, and it takes the value. What is not ours passes.

    Raises:
        Fault: says what is wrong.
    """
    if not key.startswith("testbed_"):
        return
    if key not in OPTIONS:
        raise Fault(f"there is no option {key}")
    try:
        taken = convert(OPTIONS[key], value)
        if key == "testbed_env":
            exports.check(exports.parsed(taken, "the page"), _all_parts(), "the page")
    except (ValueError, ConfigurationError) as error:
        raise Fault(f"{key} = {value!r} {error}") from None


def check_variable(name: str, value: str) -> None:
    """Check a variable of the environment, if it is one of ours."""
    if name.startswith("TESTBED_TESTS_"):
        return  # of this project's own tests
    if name in BY_VARIABLE:
        check_option(BY_VARIABLE[name], value)
    elif name.startswith("TESTBED_"):
        raise Fault(f"there is no variable {name}")


def from_ini(text: str) -> Iterator[tuple[str, object]]:
    """Yield the keys and values of pytest's section; lines without a section count as its own."""
    ini = configparser.ConfigParser(interpolation=None, delimiters="=")
    ini.optionxform = str  # type: ignore[assignment,method-assign]
    ini.read_string(text if text.lstrip().startswith("[") else f"[pytest]\n{text}")
    for name in ini.sections():
        if name not in ("pytest", "tool:pytest"):
            raise Fault(f"[{name}] is no section of pytest's")
        # as pytest has it: what stands below a key is a list
        yield from ini[name].items()


def from_toml(text: str) -> Iterator[tuple[str, object]]:
    """Yield the keys and values of pytest's table; lines without a table count as its own."""
    read = tomllib.loads(text)
    tool = read.get("tool", {}).get("pytest", {})
    yield from (tool.get("ini_options", tool) if tool else read).items()


def _all_parts() -> dict[str, object]:
    parts = [import_module(name) for name in plugin.PARTS]
    return {prefix: part for part in parts for prefix in getattr(part, "EXPORTS", ())}
