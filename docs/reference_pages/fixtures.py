"""The fixtures, from their docstrings, scopes and annotations."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import import_module

import pytest_testbed

from . import SECTIONS
from .docstrings import parsed, prose
from .links import linked, name_links

__all__ = ["Fixture", "entries", "fixtures", "overview"]

TITLES = {**SECTIONS, "plugin": "All services"}
"""The parts that have fixtures, in the order of the page."""


@dataclass(frozen=True)
class Fixture:
    """What a test has of a fixture.

    Attributes:
        name: of the fixture.
        part: the file that defines it.
        scope: "function", "class", "module" or "session".
        type: what a test annotates it with.
        imports: the lines that this takes.
        text: its docstring.
    """

    name: str
    part: str
    scope: str
    type: str
    imports: tuple[str, ...]
    text: str


def fixtures() -> list[Fixture]:
    """Return the fixtures for users, in the order in which `pytest --fixtures` shows those of a part."""
    return [each for part in TITLES for each in _of(part)]


def _of(part: str) -> Iterator[Fixture]:
    """Yield the fixtures of one file, as its source has them: pytest has no public way to ask a fixture for its scope."""
    module = import_module("pytest_testbed.plugin" if part == "plugin" else f"pytest_testbed.plugins.{part}")
    tree = ast.parse(inspect.getsource(module))
    homes = _imports(tree)
    for node in tree.body:
        if not isinstance(node, ast.FunctionDef) or node.name.startswith("_") or not node.returns:
            continue
        for scope in filter(None, map(_scope, node.decorator_list)):
            said = _given(ast.unparse(node.returns))
            names = {each.id for each in ast.walk(ast.parse(said)) if isinstance(each, ast.Name)}
            imports = tuple(sorted(_line(each, homes[each]) for each in names if each in homes))
            yield Fixture(node.name, part, scope, said, imports, ast.get_docstring(node) or "")


def _scope(decorator: ast.expr) -> str:
    """Return the scope that a decorator gives a fixture, "" where it is another's."""
    if ast.unparse(decorator) == "pytest.fixture":
        return "function"
    if isinstance(decorator, ast.Call) and ast.unparse(decorator.func) == "pytest.fixture":
        said = {each.arg: ast.literal_eval(each.value) for each in decorator.keywords}
        return str(said.get("scope", "function"))
    return ""


def _given(annotation: str) -> str:
    """Return what a test is given: of a generator what it yields."""
    for beginning in ("Iterator[", "AsyncIterator[", "Generator["):
        if annotation.startswith(beginning):
            return ast.unparse(ast.parse(annotation.removeprefix(beginning).removesuffix("]")))
    return annotation


def _imports(tree: ast.Module) -> dict[str, str]:
    """Return where a file has its names from, in `TYPE_CHECKING` as well."""
    return {
        alias.asname or alias.name: "." * node.level + (node.module or "")
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }


def _line(name: str, home: str) -> str:
    if home.startswith("."):
        if name not in pytest_testbed.__all__:
            raise SystemExit(f"{name}, which a fixture gives, is not in pytest_testbed.__all__: users cannot annotate it")
        home = "pytest_testbed"
    return f"from {home} import {name}"


def overview() -> str:
    """Return the table of all fixtures: scope, annotation, import."""
    lines = ["| fixture | scope | annotation | from |", "|---|---|---|---|"]
    for each in fixtures():
        homes = ", ".join(f"`{home}`" for home in dict.fromkeys(line.split()[1] for line in each.imports))
        lines.append(f"| [`{each.name}`](#{each.name}) | {each.scope} | `{each.type}` | {homes} |")
    return "\n".join(lines)


def entries() -> str:
    """Return an entry for each fixture, each part's under its title."""
    lines: list[str] = []
    part = ""
    for each in fixtures():
        if each.part != part:
            part = each.part
            lines += [f"## {TITLES[part]}", ""]
        lines += [f"### `{each.name}`", "", *_entry(each)]
    return "\n".join(lines).rstrip()


def _entry(each: Fixture) -> Iterator[str]:
    text = parsed(each.text)
    yield linked(text.summary, each.name)
    yield ""
    yield f"- scope: {each.scope}"
    imported = {line.rpartition(" ")[2] for line in each.imports}
    ours = [name for name in name_links() if name in pytest_testbed.__all__ and name in imported]
    more = "".join(f", see [{name}](classes.md#{name.lower()})" for name in ours)
    yield f"- annotation: `{each.type}`{more}"
    yield ""
    yield from prose(text.body)
