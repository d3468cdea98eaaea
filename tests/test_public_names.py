"""Guard: public names are exact, explained, and in the reference."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import pytest

import pytest_testbed
from pytest_testbed import plugin
from pytest_testbed.settings import Option

ROOT = Path(__file__).parent.parent
SOURCE = ROOT / "src" / "pytest_testbed"
FILES = sorted(SOURCE.rglob("*.py"))
MODULES = [import_module(name) for name in ("pytest_testbed.plugin", *plugin.PARTS)]
SECTIONS = plugin.sections()
OPTIONS = [each for section in SECTIONS for each in section.options()]
MARKS = [line.split(":")[0].split("(")[0] for module in MODULES for line in getattr(module, "MARKS", ())]


def name_of(path: Path) -> str:
    return path.relative_to(SOURCE).as_posix()


# --- names


def test_the_face_is_sorted_and_exact() -> None:
    assert pytest_testbed.__all__ == sorted(set(pytest_testbed.__all__))
    assert list(pytest_testbed._HOMES) == pytest_testbed.__all__
    assert dir(pytest_testbed) == pytest_testbed.__all__
    tree = ast.parse((SOURCE / "__init__.py").read_text())
    checked = {
        alias.name: node.module
        for statement in tree.body
        if isinstance(statement, ast.If)
        for node in statement.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert {name: f".{module}" for name, module in checked.items()} == pytest_testbed._HOMES


@pytest.mark.parametrize("name", pytest_testbed.__all__)
def test_every_name_of_the_face_loads(name: str) -> None:
    found = getattr(pytest_testbed, name)
    assert found.__name__ == name
    assert found.__doc__


def test_a_name_that_is_not_there() -> None:
    with pytest.raises(AttributeError, match=r"module 'pytest_testbed' has no attribute 'Tesbed'"):
        _ = pytest_testbed.Tesbed


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_every_module_s_list_of_names_is_true(path: Path) -> None:
    if path.name == "__main__.py":
        return
    parts = path.relative_to(SOURCE.parent).with_suffix("").parts
    module = import_module(".".join(part for part in parts if part != "__init__"))
    names = getattr(module, "__all__", [])
    assert len(names) == len(set(names))
    assert [name for name in names if not hasattr(module, name)] == []


# --- explanations


def functions_and_classes(body: list[ast.stmt], prefix: str = "") -> Iterator[tuple[str, ast.FunctionDef | ast.ClassDef]]:
    """Yield what is public, with the path to it; not what stands in functions."""
    for node in body:
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            if node.name.startswith("_") and not is_fixture(node):
                continue
            yield prefix + node.name, node  # type: ignore[misc]
            if isinstance(node, ast.ClassDef):
                yield from functions_and_classes(node.body, f"{prefix}{node.name}.")


def is_fixture(node: ast.AST) -> bool:
    return any("pytest.fixture" in ast.unparse(decorator) for decorator in getattr(node, "decorator_list", ()))


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_what_is_public_is_explained(path: Path) -> None:
    tree = ast.parse(path.read_text())
    assert ast.get_docstring(tree), "the file says what the room is for"
    assert [name for name, node in functions_and_classes(tree.body) if not ast.get_docstring(node)] == []


FIXTURES = {
    name: ast.get_docstring(node) or ""
    for module in MODULES
    for name, node in functions_and_classes(ast.parse(Path(module.__file__ or "").read_text()).body)
    if is_fixture(node)
}


def test_the_fixtures_are_found() -> None:
    assert {"testbed", "pg_session", "pg_engine", "pg_service", "_pg_guard"} <= set(FIXTURES)


@pytest.mark.parametrize("name", FIXTURES)
def test_a_fixture_has_one_line_for_users(name: str) -> None:
    """`pytest --fixtures` shows the first paragraph, which is one short sentence; `-v` and the reference show all."""
    first = FIXTURES[name].partition("\n\n")[0]
    assert "\n" not in first
    assert first.endswith(".")
    assert first[0].isupper() or first[0] == "`"
    assert 20 < len(first) <= (100 if not name.startswith("_") else 130)


@pytest.mark.parametrize("row", OPTIONS, ids=lambda row: row.ini)
def test_an_option_has_help(row: Option) -> None:
    assert 15 < len(row.help) <= 200
    assert row.help.endswith(".")
    assert row.help[0].isupper()
    assert "  " not in row.help


UNITS = ("Seconds that ", "Seconds of ", "Factor by which ", "Number from which ")


@pytest.mark.parametrize("row", [row for row in OPTIONS if row.kind in (int, float)], ids=lambda row: row.ini)
def test_an_option_that_is_a_number_says_of_what(row: Option) -> None:
    assert row.help.startswith(UNITS)


@pytest.mark.parametrize("row", [row for row in OPTIONS if row.default is None], ids=lambda row: row.ini)
def test_an_option_without_a_value_says_what_holds_then(row: Option) -> None:
    """Its help ends with "Default: none.", which says little; where a value only adds something, nothing else holds."""
    adds = (
        "testbed_pg_url",
        "testbed_pg_bindir",
        "testbed_rabbitmq_url",
        "testbed_rabbitmq_home",
        "testbed_app",
        "testbed_app_url",
    )
    assert "without it: " in row.help or row.ini in adds


def test_a_mark_says_what_it_means() -> None:
    """`pytest --markers` shows it: one short sentence, and a line for each value of each argument."""
    lines = [line for module in MODULES for line in getattr(module, "MARKS", ())]
    for line in lines:
        first, *more = line.rstrip("\n").splitlines()
        assert first.endswith(".")
        assert 20 < len(first.partition(": ")[2]) <= 100
        assert all(each.startswith("    ") for each in more)
        names = [part.partition("=")[0].strip() for part in first.partition("(")[2].partition(": ")[0].split(",") if "=" in part]
        assert [name for name in names if not any(each.startswith(f"    {name}=") for each in more)] == []
    assert len(MARKS) == len(set(MARKS))


# --- the reference

REFERENCE = "\n".join(path.read_text() for path in sorted((ROOT / "docs" / "reference").glob("*.md")))


@pytest.mark.parametrize(
    "name", [*(row.ini for row in OPTIONS), *(name for name in FIXTURES if not name.startswith("_")), *MARKS], ids=str
)
def test_the_reference_has_it(name: str) -> None:
    """In backquotes, alone or with what follows: `testbed_start`, `pg(isolation=)`."""
    assert f"`{name}`" in REFERENCE or f"`{name}(" in REFERENCE
