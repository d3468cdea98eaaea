"""The environment variables that a project reads, with their defaults, and the values that its files give them."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from .dynaconf import objects_of, variable
from .source import Source, literal
from .tree import Place, Tree
from .yamltext import values

__all__ = ["OF_DATABASES", "Given", "Read", "given_values", "read_variables"]

GETTERS = {"os.getenv", "os.environ.get", "os.environ.setdefault", "os.environ.pop", "decouple.config"}
SETTINGS = ("pydantic_settings.BaseSettings", "pydantic.BaseSettings", "pydantic.v1.BaseSettings")
ENVS = (
    "environ.Env",
    "environ.FileAwareEnv",
    "environs.Env",
    "starlette.config.Config",
    "decouple.AutoConfig",
    "decouple.Config",
)
"""Classes whose objects are called, or have methods that are called, with the name of a variable."""
DATABASE_METHODS = ("db", "db_url", "dj_db_url")
OF_DATABASES = frozenset({"dj_database_url.config", *(f"env.{method}" for method in DATABASE_METHODS)})
"""What reads the whole address of a database, whatever the variable is called."""
DOTENV = (".env", ".env.*", "*.env", "env.example", "env.sample", ".flaskenv")
LINE = re.compile(r"^\s*(?:export\s+)?([A-Za-z_]\w*)\s*=\s*(.*?)\s*$")
NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


@dataclass(frozen=True)
class Read:
    """One place where a variable is read.

    Attributes:
        name: the variable.
        place: where.
        default: what counts without it, where that stands in the source.
        is_required: whether the project fails without it.
        how: what reads it, such as `os.environ` or `pydantic`.
        around: full names of the calls that the value goes to.
        is_test: whether a file of the tests reads it.
    """

    name: str
    place: Place
    default: str | None
    is_required: bool
    how: str
    around: tuple[str, ...] = ()
    is_test: bool = False


@dataclass(frozen=True)
class Given:
    """A value that a file of the project gives to a variable."""

    name: str
    value: str
    place: Place


def read_variables(sources: Mapping[str, Source]) -> list[Read]:
    """Return all places where variables are read."""
    found: list[Read] = []
    objects = objects_of(sources)
    for source in sources.values():
        if source.is_own or source.is_test:
            found += _of_calls(source, objects)
            found += _of_settings(source, sources)
    return found


def _of_calls(source: Source, objects: Mapping[str, str]) -> Iterator[Read]:
    parents: dict[int, ast.AST] = {}
    envs = {name for name, value, _ in source.assigned if isinstance(value, ast.Call) and source.full(value.func) in ENVS}
    environs = _environs(source)
    for node in source.nodes:
        read = _read(source, node, envs, environs)
        if read is None and objects and (named := variable(source, node, objects)):
            read = (*named, False, "dynaconf")  # a file of settings may have it
        if read is None:
            continue
        name, default, is_required, how = read
        if not parents:
            parents = {id(child): each for each in source.nodes for child in ast.iter_child_nodes(each)}
        if how == "dynaconf" and isinstance(node, ast.Attribute) and isinstance(parents.get(id(node)), ast.Attribute):
            continue  # a part of a longer name
        yield Read(name, source.at(node), default, is_required, how, _around(source, node, parents), source.is_test)


def _environs(source: Source) -> set[str]:
    """Return the names that stand for `os.environ`: arguments that have it as their default."""
    found = set()
    for node in source.nodes:
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            given = node.args
            by_position = [*given.posonlyargs, *given.args]
            defaults = [*zip(reversed(by_position), reversed(given.defaults), strict=False)]
            defaults += [(name, value) for name, value in zip(given.kwonlyargs, given.kw_defaults, strict=True) if value]
            found |= {name.arg for name, value in defaults if source.full(value) == "os.environ"}
    return found


def _read(source: Source, node: ast.AST, envs: set[str], environs: set[str]) -> tuple[str, str | None, bool, str] | None:
    """Return name, default, whether it is required, and the reader, if an expression reads a variable."""
    if isinstance(node, ast.Subscript):
        is_environ = source.full(node.value) == "os.environ" or (isinstance(node.value, ast.Name) and node.value.id in environs)
        if is_environ and isinstance(node.ctx, ast.Load) and (name := _name(node.slice)):
            return name, None, True, "os.environ"
        return None
    if not isinstance(node, ast.Call):
        return None
    full = source.full(node.func)
    if isinstance(node.func, ast.Attribute) and isinstance(node.func.value, ast.Name) and node.func.value.id in environs:
        full = f"os.environ.{node.func.attr}"
    first = _name(node.args[0]) if node.args else None
    default = node.args[1] if len(node.args) > 1 else next((each.value for each in node.keywords if each.arg == "default"), None)
    if full in GETTERS and first:
        return first, literal(default), full == "decouple.config" and default is None, full
    if full == "dj_database_url.config":
        name = next((literal(each.value) for each in node.keywords if each.arg == "env"), None) or first or "DATABASE_URL"
        default = next((each.value for each in node.keywords if each.arg == "default"), None)
        return name, literal(default), default is None, full
    return _of_env(source, node, first, envs)


def _of_env(source: Source, node: ast.Call, first: str | None, envs: set[str]) -> tuple[str, str | None, bool, str] | None:
    """Look at `env("X")` and `env.db("X")` of django-environ, environs and Starlette."""
    func = node.func
    own = func.value if isinstance(func, ast.Attribute) else func
    if not isinstance(own, ast.Name):
        return None
    if own.id not in envs and not (
        own.id in ("env", "config") and source.imported.get(own.id, "").endswith((".env", ".config")) and first
    ):
        return None
    method = func.attr if isinstance(func, ast.Attribute) else ""
    if method in ("read_env", "bool", "read_envfile", "prefixed", "seal", "int_") or (
        first is None and method not in DATABASE_METHODS
    ):
        return None
    default = next((each.value for each in node.keywords if each.arg == "default"), None)
    how = f"env.{method}" if method else "env"
    return first or "DATABASE_URL", literal(default), default is None, how


def _name(node: ast.AST) -> str | None:
    text = literal(node)
    return text if text and NAME.fullmatch(text) and isinstance(node, ast.Constant) else None


def _around(source: Source, node: ast.AST, parents: Mapping[int, ast.AST]) -> tuple[str, ...]:
    """Return the calls that the value goes to: directly, or by a name that is assigned in the same module."""
    found: list[str] = []
    each: ast.AST | None = parents.get(id(node))
    name = ""
    while each is not None and not isinstance(each, ast.stmt):
        if isinstance(each, ast.Call) and (full := source.full(each.func)):
            found.append(full)
        each = parents.get(id(each))
    if isinstance(each, ast.Assign) and isinstance(each.targets[0], ast.Name):
        name = each.targets[0].id
        for call in source.calls:
            words = [*call.node.args, *(keyword.value for keyword in call.node.keywords)]
            if any(isinstance(word, ast.Name) and word.id == name for word in words):
                found.append(call.name)
    return tuple(found)


# --- classes of settings


def _of_settings(source: Source, sources: Mapping[str, Source]) -> Iterator[Read]:
    for node in source.classes:
        if not any(source.full(each) in SETTINGS or source.full(each).endswith(".BaseSettings") for each in node.bases):
            continue
        prefix = _prefix(node)
        for each in node.body:
            if (
                isinstance(each, ast.AnnAssign)
                and isinstance(each.target, ast.Name)
                and not each.target.id.startswith("model_config")
            ):
                names, default, is_required = _field(each)
                for name in names or [f"{prefix}{each.target.id}".upper()]:
                    yield Read(
                        name, source.at(each), default, is_required, "pydantic", (ast.unparse(each.annotation),), source.is_test
                    )


def _prefix(node: ast.ClassDef) -> str:
    """Return `env_prefix`, of `model_config` or of a class `Config`."""
    for each in ast.walk(node):
        if isinstance(each, ast.keyword) and each.arg == "env_prefix":
            return literal(each.value) or ""
        if isinstance(each, ast.Assign) and isinstance(each.targets[0], ast.Name) and each.targets[0].id == "env_prefix":
            return literal(each.value) or ""
        if isinstance(each, ast.Dict):
            for key, value in zip(each.keys, each.values, strict=True):
                if literal(key) == "env_prefix":
                    return literal(value) or ""
    return ""


def _field(node: ast.AnnAssign) -> tuple[list[str], str | None, bool]:
    """Return the names that a field says itself, its default, and whether it is required."""
    value = node.value
    if not isinstance(value, ast.Call) or ast.unparse(value.func).rpartition(".")[2] != "Field":
        return [], literal(value), value is None
    names = [
        text
        for each in value.keywords
        if each.arg in ("env", "alias", "validation_alias")
        for part in ast.walk(each.value)
        if (text := _name(part))
    ]
    default = value.args[0] if value.args else next((each.value for each in value.keywords if each.arg == "default"), None)
    has_default = default is not None or any(each.arg == "default_factory" for each in value.keywords)
    is_required = not has_default or (isinstance(default, ast.Constant) and default.value is ...)
    return names[:1], literal(default), is_required


# --- values


def given_values(tree: Tree) -> list[Given]:
    """Return what .env files, compose files and pipelines set."""
    found: list[Given] = []
    for path in tree.named(*DOTENV):
        for number, line in enumerate((tree.text(path) or "").splitlines(), start=1):
            if match := LINE.match(line):
                found.append(Given(match[1], match[2].strip("\"'"), Place(path, number)))
    for path in tree.named("*.yml", "*.yaml"):
        for value in values(tree.text(path) or ""):
            *_, above, last = ("", *value.keys[-2:])[-2:] if len(value.keys) > 1 else ("", "")
            if above in ("environment", "env", "variables") and last != "-" and NAME.fullmatch(last):
                found.append(Given(last, value.text, Place(path, value.line)))
            elif last == "-" and above == "environment" and (match := LINE.match(value.text)):
                found.append(Given(match[1], match[2].strip("\"'"), Place(path, value.line)))
    return found
