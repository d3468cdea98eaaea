"""Names of types that stand in signatures and are no classes: what they stand for."""

from __future__ import annotations

import ast
import inspect
import re
import sys
from collections.abc import Iterator
from functools import cache
from importlib import import_module
from typing import Any

from .classbody import ClassBody

__all__ = ["told"]


def told(cls: type[Any], body: ClassBody) -> Iterator[str]:
    """Yield a line on the names of types that the signatures of a class have."""
    text = " ".join([*(each.signature for each in body.methods.values()), *(each.type for each in body.attributes.values())])
    names = dict.fromkeys(re.findall(r"\b[A-Z]\w+", text))
    found = {name: meaning for name in names if (meaning := _meaning(name, cls.__module__))}
    if found:
        yield "In these signatures " + ", ".join(f"`{name}` is `{meaning}`" for name, meaning in found.items()) + "."
        yield ""


@cache
def _tree(module: str) -> ast.Module:
    import_module(module)
    return ast.parse(inspect.getsource(sys.modules[module]))


def _meaning(name: str, module: str) -> str:
    """Return what a name stands for in a file, or in the file of ours from which it has it; "" for a class."""
    for node in ast.walk(_tree(module)):
        if isinstance(node, ast.Assign) and any(ast.unparse(target) == name for target in node.targets):
            return ast.unparse(node.value)
        if isinstance(node, ast.AnnAssign) and ast.unparse(node.target) == name and node.value:
            return ast.unparse(node.value)
        if isinstance(node, ast.ImportFrom) and node.level and any(alias.name == name for alias in node.names):
            package = module.rsplit(".", node.level)[0] if not hasattr(sys.modules[module], "__path__") else module
            return _meaning(name, f"{package}.{node.module}" if node.module else package)
    return ""
