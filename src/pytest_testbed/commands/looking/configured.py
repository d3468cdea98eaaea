"""Where pytest takes a project's settings from, what stands there, and in which form lines must be written."""

from __future__ import annotations

import configparser
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .tree import Place, Tree

__all__ = ["Configured", "configured"]

ORDER = ("pytest.toml", ".pytest.toml", "pytest.ini", ".pytest.ini", "pyproject.toml", "tox.ini", "setup.cfg")
"""The files that pytest looks at, the first that has settings being the one; those in TOML alone are read since pytest 9."""

DOTTED = r"""\s*(?:["']?(?:tool|pytest|ini_options)["']?\s*\.\s*)+"""
"""What a key of TOML begins with that says its section itself."""


@dataclass
class Configured:
    """A file that has pytest's settings, or that would be the right one for them.

    Attributes:
        path: the file, as seen from the project.
        section: the heading of pytest's part, with its brackets.
        line: where that stands, or the first key that says its section itself; 0 where it must be written.
        prefix: what keys there begin with, such as `tool.pytest.ini_options.`; "" below a heading.
        in_braces: whether the section is a table in braces, which no line can be added to.
        is_toml: whether values are written as in TOML.
        values: what stands there, lists as lists.
        lines: where each of the values is.
        fault: why pytest cannot read it; "" where it can.
        is_there: whether there is such a file.
        others: files whose settings for pytest do not count, as this one comes first.
    """

    path: str
    section: str
    line: int = 0
    prefix: str = ""
    in_braces: bool = False
    is_toml: bool = False
    values: dict[str, Any] = field(default_factory=dict)
    lines: dict[str, int] = field(default_factory=dict)
    fault: str = ""
    is_there: bool = True
    others: list[str] = field(default_factory=list)

    def place(self, key: str) -> Place:
        """Return where a value stands."""
        return Place(self.path, self.lines.get(key, 0) or self.line)

    def entries(self, key: str) -> list[str]:
        """Return the entries of a list, however it is written."""
        value = self.values.get(key, [])
        if isinstance(value, list):
            return [str(each) for each in value]
        return [line.strip() for line in str(value).splitlines() if line.strip() and not line.strip().startswith("#")]


def configured(tree: Tree) -> Configured:
    """Return the file that pytest would take for a run in the project's folder, or the one to be written."""
    found = [each for name in ORDER if name in tree and (each := _read(tree, name)) is not None]
    if found:
        found[0].others = [each.path for each in found[1:]]
        return found[0]
    if "pyproject.toml" in tree:
        return Configured("pyproject.toml", "[tool.pytest.ini_options]", is_toml=True)
    return Configured("pytest.ini", "[pytest]", is_there=False)


def above(root: Path) -> str:
    """Return the file with pytest's settings in a folder above that a run in this one would take; "" where there is none."""
    for folder in root.resolve().parents:
        for name in ORDER:
            path = folder / name
            try:
                if not path.is_file() or path.stat().st_size > 1_000_000:
                    continue
                text = path.read_text(encoding="utf-8", errors="replace")
            except OSError:
                continue
            if name.endswith(("pytest.ini", "pytest.toml")) or re.search(
                {"pyproject.toml": r"(?m)^\[tool\.pytest[.\]]", "tox.ini": r"(?m)^\[pytest\]"}.get(name, r"(?m)^\[tool:pytest\]"),
                text,
            ):
                return str(path)
    return ""


def _read(tree: Tree, name: str) -> Configured | None:
    text = tree.text(name)
    if text is None:
        return None
    if name.endswith(".toml"):
        return _toml(name, text)
    return _ini(name, text)


def _ini(name: str, text: str) -> Configured | None:
    section = "tool:pytest" if name == "setup.cfg" else "pytest"
    is_own = name.endswith("pytest.ini")
    parser = configparser.RawConfigParser(comment_prefixes=("#", ";"), delimiters=("=", ":"))
    parser.optionxform = str  # type: ignore[assignment, method-assign]
    here = Configured(name, f"[{section}]", line=_line(text, rf"\[{section}\]"))
    if not here.line and not is_own:
        return None
    try:
        parser.read_string(text)
    except configparser.Error as error:
        here.fault = " ".join(str(error).split()).replace("'<string>'", name)
        return here
    if parser.has_section(section):
        here.values = dict(parser.items(section))
        here.lines = {key: _line(text, rf"{re.escape(key)}\s*[=:]", here.line) for key in here.values}
    return here


def _toml(name: str, text: str) -> Configured | None:
    is_own = name != "pyproject.toml"
    heading = r"\[pytest\]" if is_own else r"\[tool\.pytest(\.ini_options)?\]"
    line = _line(text, heading)
    section = (
        text.splitlines()[line - 1].split("#")[0].strip() if line else ("[pytest]" if is_own else "[tool.pytest.ini_options]")
    )
    here = Configured(name, section, line=line, is_toml=True)
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        here.fault = f"is no TOML: {error}"
        return here
    if is_own:
        return _filled(here, text, _table(data, "pytest"), is_there="pytest" in data)
    tool = _table(data, "tool")
    if "pytest" not in tool:
        return None
    native = {key: value for key, value in _table(tool, "pytest").items() if key != "ini_options"}
    if not native and "ini_options" in _table(tool, "pytest"):
        here.section = "[tool.pytest.ini_options]"
        return _filled(here, text, _table(_table(tool, "pytest"), "ini_options"), is_there=True)
    here.section = "[tool.pytest]"
    return _filled(here, text, native, is_there=True)


def _filled(here: Configured, text: str, values: Mapping[str, Any], *, is_there: bool) -> Configured:
    parts = [rf"[\"']?{part}[\"']?" for part in here.section.strip("[]").split(".")]
    dots = r"\s*\.\s*"
    here.line = _line(text, rf"\s*\[\s*{dots.join(parts)}\s*\]")
    here.values = dict(values)
    before = "" if here.line else DOTTED
    here.lines = {key: _line(text, rf"{before}[\"']?{re.escape(key)}[\"']?\s*=", here.line) for key in values}
    if is_there and not here.line:
        _without_heading(here, text, rf"(?:{DOTTED})?\s*[\"']?(?:{parts[-1]}|pytest)[\"']?\s*=")
    return here


def _without_heading(here: Configured, text: str, braces: str) -> None:
    """Find the place of a section that is written as dotted keys, or in braces."""
    here.line = min((line for line in here.lines.values() if line), default=0)
    if dotted := re.match(DOTTED, text.splitlines()[here.line - 1]) if here.line else None:
        here.prefix = dotted[0]
    else:
        here.in_braces = True
        here.line = _line(text, braces) or 1


def _table(data: Mapping[str, Any], key: str) -> dict[str, Any]:
    found = data.get(key)
    return found if isinstance(found, dict) else {}


def _line(text: str, pattern: str, after: int = 0) -> int:
    """Return the number of the first line behind another that begins so; 0 where there is none."""
    begins = re.compile(pattern)
    return next((number for number, line in enumerate(text.splitlines(), start=1) if number > after and begins.match(line)), 0)
