"""Alembic in a project: its configuration, and how its environment gets a connection."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from posixpath import normpath

from .source import Source
from .tree import Place, Tree

__all__ = ["Alembic", "alembics"]


@dataclass(frozen=True)
class Alembic:
    """A configuration of Alembic.

    Attributes:
        path: the configuration.
        env: its `env.py`, "" where it was not found.
        way: how that gets its address: given (a connection, or `sqlalchemy.url` as it stands), set (it sets `sqlalchemy.url`
            itself), own (by an engine of its own), flask (from the current application of Flask), or "" where that cannot
            be seen.
        place: where it does so.
    """

    path: str
    env: str
    way: str
    place: Place


def alembics(tree: Tree, sources: Mapping[str, Source]) -> list[Alembic]:
    """Return the configurations, those nearest to the root first."""
    found = []
    for path, location in _configurations(tree):
        folder = path.rpartition("/")[0]
        stem = normpath("/".join(part for part in (folder, location) if part))
        candidates = [f"{stem}/env.py", normpath(f"{location}/env.py"), f"{folder}/env.py".lstrip("/")]
        env = next((each for each in candidates if each in sources), "")
        way, place = _way(sources[env]) if env else ("", Place(path))
        found.append(Alembic(path, env, way, place))
    return found


def _configurations(tree: Tree) -> Iterator[tuple[str, str]]:
    """Yield each configuration, with the folder of its scripts as seen from it."""
    for path in tree.named("*.ini"):
        if "[alembic]" in (tree.text(path) or "") and (parser := tree.ini(path)).has_section("alembic"):
            yield path, re.sub(r"^%\(here\)s/?", "", parser.get("alembic", "script_location", fallback=""))
    for path in tree.named("pyproject.toml"):
        tool = tree.toml(path).get("tool", {})
        if isinstance(tool, dict) and isinstance(tool.get("alembic"), dict):
            yield path, re.sub(r"^%\(here\)s/?", "", str(tool["alembic"].get("script_location", "")))


def _way(source: Source) -> tuple[str, Place]:
    """Tell how an environment gets its address, by what it calls."""
    for node in source.nodes:
        if isinstance(node, ast.Name | ast.Attribute) and source.full(node) == "flask.current_app":
            return "flask", source.at(node)
    if any(text == "connection" and ".attributes" in ast.unparse(source.tree) for text, _ in source.strings):
        return "given", Place(source.path)
    for name, node in source.calls:
        if name.endswith(".set_main_option") and any(text == "sqlalchemy.url" for text in _texts(node)):
            return "set", source.at(node)
    for node in source.nodes:  # configuration["sqlalchemy.url"] = …
        if (
            isinstance(node, ast.Assign)
            and isinstance(node.targets[0], ast.Subscript)
            and "sqlalchemy.url" in _texts(node.targets[0])
        ):
            return "set", source.at(node)
    for name, node in source.calls:
        last = name.rpartition(".")[2]
        if last in ("engine_from_config", "async_engine_from_config"):
            sets = any(each.arg == "url" for each in node.keywords)
            return ("set" if sets else "given"), source.at(node)
        if last in ("create_engine", "create_async_engine"):
            asks = "sqlalchemy.url" in _texts(node)
            return ("given" if asks else "own"), source.at(node)
    return "", Place(source.path)


def _texts(node: ast.AST) -> list[str]:
    return [each.value for each in ast.walk(node) if isinstance(each, ast.Constant) and isinstance(each.value, str)]
