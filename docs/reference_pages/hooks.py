"""The hooks, and what those who implement them write and are given."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Iterator

from pytest_testbed import hookspecs
from pytest_testbed.services import model, stock
from pytest_testbed.services.providers import local

from .classbody import Function, signature
from .classes import entry
from .docstrings import parsed, prose

__all__ = ["contract", "hooks"]

CONTRACT = (
    *(model.Provider, model.Running, model.Context, model.Refusal, model.LogMark, model.GiveUp),
    *(stock.Stock, local.LocalRecipe),
)


def hooks() -> str:
    """Return an entry for each hook."""
    lines: list[str] = []
    for node in ast.parse(inspect.getsource(hookspecs)).body:
        if isinstance(node, Function) and node.name.startswith("pytest_"):
            text = parsed(ast.get_docstring(node))
            lines += [f"## `{node.name}`", "", "```python", signature(node, vars(hookspecs)), "```", ""]
            lines += prose([text.summary, *text.body])
    return "\n".join(lines).rstrip()


def contract() -> str:
    """Return an entry for each class that providers, stocks and local recipes have to do with."""

    def each() -> Iterator[str]:
        for cls in CONTRACT:
            yield from (f"### `{cls.__name__}`", "", f"`from {cls.__module__} import {cls.__name__}`", "")
            yield from entry(cls)

    return "\n".join(each()).rstrip()
