"""What tests and conftests do by hand that the plugin does, or that stands in its way."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from .source import Function, Source, literal
from .tree import Place

__all__ = ["Factory", "Fixture", "Hint", "factories", "fixtures", "hints"]

SERVER = re.compile(r"^(?:postgres(?:ql)?(?:\+\w+)?|amqps?)://")
SQL = re.compile(r"^\s*(?:DELETE\s+FROM|TRUNCATE)\b", re.IGNORECASE)
FACTORY = "SQLAlchemyModelFactory"


class Hint(NamedTuple):
    """Something that was seen: its kind, where, and a detail."""

    kind: str
    place: Place
    detail: str = ""


class Fixture(NamedTuple):
    """A fixture of the project's own: its name, where, and the full names of what it calls."""

    name: str
    place: Place
    calls: frozenset[str]


class Factory(NamedTuple):
    """A class of factory_boy over SQLAlchemy: its name, its module, where, and whether it says a session itself."""

    name: str
    module: str
    place: Place
    has_session: bool


def fixtures(sources: Mapping[str, Source]) -> list[Fixture]:
    """Return the project's fixtures."""
    found = []
    for source in sources.values():
        if source.is_test and "pytest" in source.imported.values():
            for node in source.nodes:
                if isinstance(node, Function) and any(_is_fixture(source, each) for each in node.decorator_list):
                    names = {source.full(each.func) for each in ast.walk(node) if isinstance(each, ast.Call)}
                    found.append(Fixture(node.name, source.at(node), frozenset(names - {""})))
    return found


def _is_fixture(source: Source, node: ast.expr) -> bool:
    return source.full(getattr(node, "func", node)) in ("pytest.fixture", "pytest_asyncio.fixture")


def factories(sources: Mapping[str, Source]) -> list[Factory]:
    """Return the factories."""
    found: list[Factory] = []
    known: dict[str, bool] = {}
    for _ in range(3):  # of a base class that stands in a file behind
        for source in sources.values():
            for node in source.classes:
                name = f"{source.module}.{node.name}"
                parents = [source.full(each) for each in node.bases]
                if name not in known and any(each.endswith("." + FACTORY) or each in known for each in parents):
                    meta = next((each for each in node.body if isinstance(each, ast.ClassDef) and each.name == "Meta"), None)
                    said = _meta(meta)
                    known[name] = bool({"sqlalchemy_session", "sqlalchemy_session_factory"} & said.keys()) or any(
                        known.get(each, False) for each in parents
                    )
                    if "model" in said:
                        found.append(Factory(node.name, source.module, source.at(node), known[name]))
    return found


def _meta(meta: ast.ClassDef | None) -> dict[str, ast.expr]:
    body = meta.body if meta is not None else []
    assigned = [(each.targets[0], each.value) for each in body if isinstance(each, ast.Assign)]
    return {
        target.id: value
        for target, value in assigned
        if isinstance(target, ast.Name) and not (isinstance(value, ast.Constant) and value.value is None)
    }


def hints(sources: Mapping[str, Source]) -> Iterator[Hint]:
    """Yield what is done by hand."""
    for source in sources.values():
        if source.is_test:
            yield from _calls(source)
            yield from _texts(source)
            yield from _settings(source)


def _calls(source: Source) -> Iterator[Hint]:
    for name, node in source.calls:
        last = name.rpartition(".")[2]
        if name.startswith("testcontainers."):
            yield Hint("testcontainers", source.at(node), last)
        elif name in ("docker.from_env", "docker.DockerClient"):
            yield Hint("docker", source.at(node), name)
        elif name == "time.sleep":
            yield Hint("sleep", source.at(node))
        elif last in ("create_all", "drop_all") and node.args:
            yield Hint(last, source.at(node))
        elif name.startswith("subprocess.") and any("docker" in text for text in _words(node)):
            yield Hint("docker", source.at(node), "docker on the command line")
        elif last == "load_dotenv" and any(each.arg == "override" and literal(each.value) == "True" for each in node.keywords):
            yield Hint("dotenv", source.at(node))


def _words(node: ast.Call) -> list[str]:
    return [text for each in node.args for part in ast.walk(each) if (text := literal(part)) is not None]


def _texts(source: Source) -> Iterator[Hint]:
    for text, node in source.strings:
        if SERVER.match(text) and ("localhost" in text or "127.0.0.1" in text):
            yield Hint("address", source.at(node), text)
        elif SQL.match(text) and source.path.endswith("conftest.py"):
            yield Hint("clean-up", source.at(node), " ".join(text.split())[:40])


def _settings(source: Source) -> Iterator[Hint]:
    """Yield the variables that tests set: they would undo what `testbed_env` has set."""
    for node in source.nodes:
        name: str | None = None
        if isinstance(node, ast.Assign):
            target = node.targets[0]
            if isinstance(target, ast.Subscript) and source.full(target.value) == "os.environ":
                name = literal(target.slice)
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "setenv" and node.args:
            name = literal(node.args[0])
        if name:
            yield Hint("set", source.at(node), name)
