"""Settings of Dynaconf: attributes of an object, each of which a variable with a prefix gives."""

from __future__ import annotations

import ast
from collections.abc import Mapping
from itertools import takewhile

from .source import Source, literal

__all__ = ["objects_of", "variable"]

CLASSES = ("dynaconf.Dynaconf", "dynaconf.LazySettings")
METHODS = frozenset(
    {
        "as_dict",
        "configure",
        "exists",
        "from_env",
        "get",
        "get_fresh",
        "reload",
        "set",
        "setenv",
        "to_dict",
        "update",
        "validators",
    }
)
"""What an object has of its own; `get` is looked at by its argument."""


def objects_of(sources: Mapping[str, Source]) -> dict[str, str]:
    """Return the objects with settings, by their full names, and what the names of their variables begin with.

    Those are left out where it is not known.
    """
    found = {}
    for source in sources.values():
        for name, value, _ in source.assigned:
            if isinstance(value, ast.Call) and source.full(value.func) in CLASSES:
                given = next((each.value for each in value.keywords if each.arg == "envvar_prefix"), None)
                if (beginning := _beginning(source, given)) is not None:
                    found[f"{source.module}.{name}"] = beginning
    return found


def _beginning(source: Source, given: ast.expr | None) -> str | None:
    if given is None:
        return "DYNACONF_"
    if isinstance(given, ast.Name):
        given = next((value for name, value, _ in source.assigned if name == given.id), given)
    if isinstance(given, ast.Constant) and given.value is False:
        return ""
    text = literal(given)
    if text is None or (text and not text.isidentifier()):
        return None
    return f"{text}_".upper() if text else ""


def variable(source: Source, node: ast.AST, objects: Mapping[str, str]) -> tuple[str, str | None] | None:
    """Return the variable that gives what an expression names, and its default; None for any other expression.

    `settings.DATABASE.URL` is given by PREFIX_DATABASE__URL.
    """
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "get" and node.args:
        default = literal(node.args[1]) if len(node.args) > 1 else None
        return _by_key(source, node.func.value, node.args[0], objects, default)
    if isinstance(node, ast.Subscript) and isinstance(node.ctx, ast.Load):
        return _by_key(source, node.value, node.slice, objects, None)
    if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Load):
        full = source.full(node)
        for own, prefix in objects.items():
            if not full.startswith(f"{own}."):
                continue
            parts = list(takewhile(lambda part: not hasattr(str, part), full.removeprefix(f"{own}.").split(".")))
            return (_name(prefix, parts), None) if parts and not METHODS.intersection(parts) else None
    return None


def _by_key(
    source: Source, node: ast.expr, key: ast.expr, objects: Mapping[str, str], default: str | None
) -> tuple[str, str | None] | None:
    own, keys = source.full(node), literal(key)
    return (_name(objects[own], keys.split(".")), default) if keys and own in objects else None


def _name(prefix: str, parts: list[str]) -> str:
    return prefix + "__".join(parts).upper()
