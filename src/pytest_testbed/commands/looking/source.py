"""A Python file as its syntax tree: what it imports, defines and calls. Nothing of it is run."""

from __future__ import annotations

import ast
import re
import sys
import warnings
from collections.abc import Iterator
from functools import cached_property
from typing import NamedTuple

from .tree import Place, Tree

__all__ = ["Call", "Function", "Source", "literal", "parsed"]

WORDS = re.compile(
    rb"environ|getenv|sqlalchemy|sqlmodel|SQLAlchemy|Settings|flask|fastapi|starlette|litestar|quart|falcon|django|DATABASES|"
    rb"fixture|factory|amqp|postgres|sleep|_all|docker|dotenv|dynaconf|setenv|decouple|dj_database_url|TRUNCATE|DELETE|Column|mapped_column|Table|testcontainers"
)
"""What stands in a file that can say anything, in one way or another; most files of a large project can be left then."""
VERSION = f"{sys.version_info.major}.{sys.version_info.minor}"
Function = ast.FunctionDef | ast.AsyncFunctionDef


class Call(NamedTuple):
    """A call: what is called, under its full name, and the node."""

    name: str
    node: ast.Call


class Source:
    """One file.

    Attributes:
        path: where it is.
        module: its name for an import, "" as long as that is not known.
        is_test: whether it belongs to the tests.
    """

    def __init__(self, path: str, tree: ast.Module, *, is_test: bool, is_telling: bool = True) -> None:
        self.path = path
        self.tree = tree
        self.is_test = is_test
        self._is_telling = is_telling
        self.module = ""

    def at(self, node: ast.AST) -> Place:
        """Return where a node is."""
        return Place(self.path, getattr(node, "lineno", 0))

    @cached_property
    def nodes(self) -> list[ast.AST]:
        """All nodes; of a file in which none of our words stands, the statements of the module alone."""
        if not self._is_telling:
            return list(self.top)
        found: list[ast.AST] = [self.tree]
        for node in found:  # it grows meanwhile; quicker than ast.walk
            for value in node.__dict__.values():
                if isinstance(value, ast.AST):
                    found.append(value)
                elif isinstance(value, list):
                    found += [each for each in value if isinstance(each, ast.AST)]
        return found

    @cached_property
    def top(self) -> list[ast.stmt]:
        """The statements that an import runs: of the module itself, also below `if`, `try` and `with`."""
        return list(_top(self.tree.body))

    @property
    def package(self) -> str:
        """The package that relative imports count from."""
        return self.module if self.path.endswith("__init__.py") else self.module.rpartition(".")[0]

    def absolute(self, node: ast.ImportFrom) -> str:
        """Return the full name of the module that `from … import` names."""
        if not node.level:
            return node.module or ""
        parts = self.package.split(".") if self.package else []
        kept = parts[: len(parts) - node.level + 1]
        return ".".join([*kept, *([node.module] if node.module else [])])

    @cached_property
    def imported(self) -> dict[str, str]:
        """The names that imports give, with what they stand for; to be asked when `module` is known."""
        names: dict[str, str] = {}
        for node in self.nodes:
            if isinstance(node, ast.Import):
                for alias in node.names:
                    names[alias.asname or alias.name.partition(".")[0]] = (
                        alias.name if alias.asname else alias.name.partition(".")[0]
                    )
            elif isinstance(node, ast.ImportFrom):
                module = self.absolute(node)
                names.update({alias.asname or alias.name: f"{module}.{alias.name}" for alias in node.names if alias.name != "*"})
        return names

    @cached_property
    def absolute_modules(self) -> set[str]:
        """The modules, and perhaps names in them, that absolute imports name."""
        found: set[str] = set()
        for node in self.nodes:
            if isinstance(node, ast.Import):
                found.update(alias.name for alias in node.names)
            elif isinstance(node, ast.ImportFrom) and not node.level and node.module:
                found.update([node.module, *(f"{node.module}.{alias.name}" for alias in node.names)])
        return found

    @cached_property
    def modules(self) -> set[str]:
        """The modules, and perhaps names in them, that an import of this one imports."""
        found: set[str] = set()
        for node in self.top:
            if isinstance(node, ast.Import):
                found.update(alias.name for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                module = self.absolute(node)
                found.update([module, *(f"{module}.{alias.name}" for alias in node.names)])
        return found

    @cached_property
    def top_names(self) -> frozenset[str]:
        """The names that the module itself binds by assignments, classes and functions."""
        return frozenset([name for name, _, _ in self.assigned] + [node.name for node in self.top if hasattr(node, "name")])

    @cached_property
    def assigned(self) -> list[tuple[str, ast.expr, ast.stmt]]:
        """The names of the module that are assigned to, with the value and the statement."""
        found: list[tuple[str, ast.expr, ast.stmt]] = []
        for node in self.top:
            if isinstance(node, ast.Assign):
                found += [(target.id, node.value, node) for target in node.targets if isinstance(target, ast.Name)]
            elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.value is not None:
                found.append((node.target.id, node.value, node))
        return found

    def full(self, node: ast.AST | None) -> str:
        """Return the full name of what an expression names: `sa.create_engine` as `sqlalchemy.create_engine`; else ""."""
        parts: list[str] = []
        while isinstance(node, ast.Attribute):
            parts.append(node.attr)
            node = node.value
        if not isinstance(node, ast.Name):
            return ""
        first = self.imported.get(node.id)
        if first is None:
            first = f"{self.module}.{node.id}" if node.id in self.top_names else node.id
        return ".".join([first, *reversed(parts)])

    @cached_property
    def calls(self) -> list[Call]:
        """All calls of something that has a name."""
        named = [(self.full(node.func), node) for node in self.nodes if isinstance(node, ast.Call)]
        return [Call(name, node) for name, node in named if name]

    @cached_property
    def is_own(self) -> bool:
        """Whether it is a module of the application: no test, no step of migrations, and with a name that can be imported."""
        return (
            not self.is_test
            and all(part.isidentifier() for part in self.module.split("."))
            and not {"down_revision", "down_revisions"} & self.top_names
        )

    @cached_property
    def classes(self) -> list[ast.ClassDef]:
        """The classes of the module itself."""
        return [node for node in self.top if isinstance(node, ast.ClassDef)]

    @cached_property
    def functions(self) -> list[Function]:
        """The functions of the module itself."""
        return [node for node in self.top if isinstance(node, Function)]

    @cached_property
    def strings(self) -> list[tuple[str, ast.Constant]]:
        """All texts, but for what stands alone as documentation."""
        alone = {id(node.value) for node in self.nodes if isinstance(node, ast.Expr)}
        return [
            (node.value, node)
            for node in self.nodes
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in alone
        ]


def literal(node: ast.AST | None) -> str | None:
    """Return the text that stands in the source, also as the beginning of an f-string; None for any other expression."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str | int | bool):
        return str(node.value)
    if isinstance(node, ast.JoinedStr) and node.values:
        return literal(node.values[0]) if isinstance(node.values[0], ast.Constant) else None
    return None


def parsed(tree: Tree) -> dict[str, Source]:
    """Return all Python files that can be read, by their paths; the others are noted in the tree."""
    sources = {}
    for path in tree.named("*.py"):
        data = tree.data(path)
        if data is None:
            continue
        try:
            with warnings.catch_warnings():  # of escapes in other people's strings
                warnings.simplefilter("ignore")
                node = ast.parse(data)  # of bytes: the file itself says its encoding
            source = Source(path, node, is_test=tree.is_test(path), is_telling=WORDS.search(data) is not None)
            source.top  # noqa: B018  # it goes down as deep as the file does
        except SyntaxError as error:
            tree.unread[Place(path, error.lineno or 0)] = f"is no Python {VERSION}: {error.msg}"
        except (ValueError, LookupError, RecursionError, MemoryError) as error:
            tree.unread[Place(path)] = f"cannot be parsed: {error}"
        else:
            sources[path] = source
    return sources


def _top(body: list[ast.stmt]) -> Iterator[ast.stmt]:
    for node in body:
        yield node
        if isinstance(node, ast.If):
            if "TYPE_CHECKING" not in ast.unparse(node.test):
                yield from _top(node.body)
            yield from _top(node.orelse)
        elif isinstance(node, ast.Try | ast.TryStar):
            yield from _top(node.body)
            for handler in node.handlers:
                yield from _top(handler.body)
            yield from _top(node.orelse)
            yield from _top(node.finalbody)
        elif isinstance(node, ast.With):
            yield from _top(node.body)
