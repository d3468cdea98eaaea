"""What a project depends on, from whatever files say it."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from .source import Source
from .tree import Place, Tree

__all__ = ["dependencies", "normal"]

NAME = re.compile(r"\s*([A-Za-z0-9][A-Za-z0-9._-]*)")
LOCKS = ("uv.lock", "poetry.lock", "pdm.lock", "Pipfile.lock")


def normal(name: str) -> str:
    """Return a distribution's name as indexes compare them."""
    return re.sub(r"[-_.]+", "-", name).lower()


def dependencies(tree: Tree, sources: Mapping[str, Source]) -> dict[str, Place]:
    """Return the distributions that the project names, each with its first place.

    A lock names what is installed besides; it counts where nothing else names anything.
    """
    found: dict[str, Place] = {}
    for name, place in _named(tree, sources):
        found.setdefault(normal(name), place)
    if not found:
        for path in tree.named(*LOCKS):
            for name, place in _locked(tree, path):
                found.setdefault(normal(name), place)
    return found


def _named(tree: Tree, sources: Mapping[str, Source]) -> Iterator[tuple[str, Place]]:
    for path in tree.named("pyproject.toml", "Pipfile"):
        yield from _toml(tree, path)
    for path in tree.named(
        "requirements*.txt", "requirements*.in", "*-requirements.txt", "*_requirements.txt", "constraints*.txt"
    ):
        yield from _lines(tree, path)
    for path in tree.named("*.txt", "*.in"):
        if path.split("/")[-2:-1] == ["requirements"]:
            yield from _lines(tree, path)
    for path in tree.named("setup.cfg"):
        yield from _setup_cfg(tree, path)
    for path in tree.named("tox.ini"):
        yield from _setup_cfg(tree, path)
    for path, source in sources.items():
        if path.rpartition("/")[2] == "setup.py":
            yield from _setup_py(source)


def _lines(tree: Tree, path: str) -> Iterator[tuple[str, Place]]:
    for number, line in enumerate((tree.text(path) or "").splitlines(), start=1):
        if (match := NAME.match(line)) and not line.lstrip().startswith(("-", "#")):
            yield match[1], Place(path, number)


def _placed(tree: Tree, path: str, names: list[str]) -> Iterator[tuple[str, Place]]:
    """Find the lines that tell of names that a parser has found."""
    lines = (tree.text(path) or "").splitlines()
    for name in names:
        pattern = re.compile(rf"(?<![\w.-]){re.escape(name)}(?![\w-])")
        yield name, Place(path, next((number for number, line in enumerate(lines, start=1) if pattern.search(line)), 0))


def _toml(tree: Tree, path: str) -> Iterator[tuple[str, Place]]:
    yield from _placed(tree, path, list(_in_toml(tree.toml(path))))


def _in_toml(data: Mapping[str, Any]) -> Iterator[str]:
    project = _table(data, "project")
    lists = [
        project.get("dependencies"),
        *_table(project, "optional-dependencies").values(),
        *_table(data, "dependency-groups").values(),
    ]
    tool = _table(data, "tool")
    lists += [*_table(_table(tool, "pdm"), "dev-dependencies").values(), _table(tool, "uv").get("dev-dependencies")]
    for each in lists:
        for text in each if isinstance(each, list) else []:
            if isinstance(text, str) and (match := NAME.match(text)):
                yield match[1]
    poetry = _table(tool, "poetry")
    tables = [
        _table(poetry, "dependencies"),
        _table(poetry, "dev-dependencies"),
        _table(data, "packages"),
        _table(data, "dev-packages"),
    ]
    tables += [_table(group, "dependencies") for group in _table(poetry, "group").values() if isinstance(group, dict)]
    for table in tables:
        yield from (name for name in table if name.lower() != "python")


def _table(data: Mapping[str, Any], key: str) -> dict[str, Any]:
    found = data.get(key)
    return found if isinstance(found, dict) else {}


def _setup_cfg(tree: Tree, path: str) -> Iterator[tuple[str, Place]]:
    parser = tree.ini(path)
    texts = [parser.get("options", key, fallback="") for key in ("install_requires", "tests_require")]
    texts += [parser.get(section, "deps", fallback="") for section in parser.sections() if section.startswith("testenv")]
    if parser.has_section("options.extras_require"):
        texts += [text for _, text in parser.items("options.extras_require")]
    names = [
        match[1] for text in texts for line in text.splitlines() if line[:1] not in ("-", "#") and (match := NAME.match(line))
    ]
    yield from _placed(tree, path, names)


def _setup_py(source: Source) -> Iterator[tuple[str, Place]]:
    """Yield what stands in lists of texts in it, wherever `setup` takes them from."""
    for node in source.nodes:
        if isinstance(node, ast.List | ast.Tuple):
            for each in node.elts:
                if isinstance(each, ast.Constant) and isinstance(each.value, str) and (match := NAME.match(each.value)):
                    yield match[1], source.at(each)


def _locked(tree: Tree, path: str) -> Iterator[tuple[str, Place]]:
    text = tree.text(path) or ""
    if path.endswith(".lock") and not path.endswith("Pipfile.lock"):
        for number, line in enumerate(text.splitlines(), start=1):
            if match := re.match(r'name = "([^"]+)"', line):
                yield match[1], Place(path, number)
        return
    try:
        data = json.loads(text)
    except ValueError as error:
        tree.unread[Place(path)] = f"is no JSON: {error}"
        return
    if isinstance(data, dict):
        yield from _placed(tree, path, [name for part in ("default", "develop") for name in _table(data, part)])
