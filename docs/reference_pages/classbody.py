"""One class, from its source: attributes, methods, signatures."""

from __future__ import annotations

import ast
import inspect
import re
import sys
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from .docstrings import Docstring, parsed

__all__ = ["ClassBody", "Method", "read"]

Function = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True)
class Attribute:
    """What is read from an object.

    Attributes:
        name: of the attribute.
        type: what its annotation says, "" where it has none.
        default: of a field that need not be given, as in the source.
        text: what it is; "" where nobody says it.
    """

    name: str
    type: str
    default: str
    text: str


@dataclass(frozen=True)
class Method:
    """What is called on an object.

    Attributes:
        name: of the method.
        signature: a `def` without a body, wrapped to be read.
        text: its docstring.
    """

    name: str
    signature: str
    text: Docstring


@dataclass
class ClassBody:
    """A class as its users see it.

    Attributes:
        text: its docstring.
        attributes: what is read from an object: fields, what is set when it is made, properties.
        methods: what is called.
    """

    text: Docstring
    attributes: dict[str, Attribute] = field(default_factory=dict)
    methods: dict[str, Method] = field(default_factory=dict)


def read(cls: type[Any]) -> ClassBody:
    """Read a class's own source; what it inherits from others is not its own to tell."""
    module = vars(sys.modules[cls.__module__])
    (node,) = ast.parse(textwrap.dedent(inspect.getsource(cls))).body
    assert isinstance(node, ast.ClassDef)
    found = ClassBody(parsed(cls.__doc__))
    said = {**found.text.sections.get("Args", {}), **found.text.sections.get("Attributes", {})}
    for each, after in zip(node.body, [*node.body[1:], None], strict=True):
        if isinstance(each, ast.AnnAssign) and isinstance(each.target, ast.Name):
            name, default = each.target.id, _default(each.value, module)
            if "ClassVar" not in ast.unparse(each.annotation):
                _add(found, Attribute(name, ast.unparse(each.annotation), default, _below(after) or said.get(name, "")))
        elif isinstance(each, Function):
            _read_function(each, found, said, module)
    return found


def _read_function(node: Function, found: ClassBody, said: dict[str, str], module: dict[str, Any]) -> None:
    decorators = {ast.unparse(each) for each in node.decorator_list}
    if node.name == "__init__":
        for attribute in _set_in(node, said):
            _add(found, attribute)
    elif decorators & {"property", "cached_property", "functools.cached_property"}:
        text = parsed(ast.get_docstring(node))
        whole = " ".join(
            [text.summary, *text.body, *(f"Raises `{name}`: {why}" for name, why in text.sections.get("Raises", {}).items())]
        )
        _add(found, Attribute(node.name, ast.unparse(node.returns) if node.returns else "", "", whole))
    elif is_for_users(node) and "overload" not in decorators and not any(each.endswith(".setter") for each in decorators):
        found.methods[node.name] = Method(node.name, signature(node, module), parsed(ast.get_docstring(node)))


def is_for_users(node: Function) -> bool:
    """Tell whether a method is one to know: of the special ones, those that are explained."""
    is_special = node.name.startswith("__") and node.name.endswith("__")
    return bool(is_special and node.name != "__str__" and ast.get_docstring(node)) or not node.name.startswith("_")


def _add(found: ClassBody, attribute: Attribute) -> None:
    if not attribute.name.startswith("_"):
        found.attributes.setdefault(attribute.name, attribute)


def _set_in(node: Function, said: dict[str, str]) -> Iterator[Attribute]:
    """Yield what `__init__` sets, with the text below it or the one of the class's docstring."""
    types = {each.arg: ast.unparse(each.annotation) for each in (*node.args.args, *node.args.kwonlyargs) if each.annotation}
    for statement, after in zip(node.body, [*node.body[1:], None], strict=True):
        text = _below(after)
        if isinstance(statement, ast.AnnAssign):
            targets, annotation = [statement.target], ast.unparse(statement.annotation)
        elif isinstance(statement, ast.Assign):
            targets, annotation = [each for target in statement.targets for each in getattr(target, "elts", [target])], ""
        else:
            continue
        for target in targets:
            if isinstance(target, ast.Attribute) and ast.unparse(target.value) == "self":
                name = target.attr
                yield Attribute(name, annotation or types.get(name, ""), "", text or said.get(name, ""))


def _below(node: ast.stmt | None) -> str:
    """Return the text that stands below an attribute."""
    value = node.value if isinstance(node, ast.Expr) else None
    is_text = isinstance(value, ast.Constant) and isinstance(value.value, str)
    return " ".join(inspect.cleandoc(value.value).split()) if is_text else ""  # type: ignore[union-attr]


def _default(node: ast.expr | None, module: dict[str, Any]) -> str:
    """Return a default as a reader needs it: the value of a constant, "…" where that says nothing."""
    if node is None:
        return ""
    if isinstance(node, ast.Call):
        given = {each.arg: each.value for each in node.keywords}
        if "default" in given:
            return _default(given["default"], module)
        return (
            {"dict": "{}", "list": "[]"}.get(ast.unparse(given["default_factory"]), "...") if "default_factory" in given else ""
        )
    if isinstance(node, ast.Name):
        value = module.get(node.id, ...)
        return repr(value) if value in ({}, ()) or isinstance(value, (str, int, float)) else "..."
    return ast.unparse(node)


def signature(node: Function, module: dict[str, Any], name: str = "") -> str:
    """Return a `def` without a body: short ones in one line, others with a line for each argument."""
    given = node.args
    first = [*given.posonlyargs, *given.args]
    padded = [None] * (len(first) - len(given.defaults)) + [*given.defaults]
    words: list[str] = []
    for number, (each, value) in enumerate(zip(first, padded, strict=True)):
        if number or each.arg not in ("self", "cls"):
            words.append(_argument(each, value, module))
        if given.posonlyargs and each is given.posonlyargs[-1] and len(given.posonlyargs) > 1:
            words.append("/")
    words += [f"*{_argument(given.vararg, None, module)}"] if given.vararg else ["*"] if given.kwonlyargs else []
    words += [_argument(each, value, module) for each, value in zip(given.kwonlyargs, given.kw_defaults, strict=True)]
    if given.kwarg:
        words += _keywords(given.kwarg, module, has_star="*" in words)
    return wrapped(f"def {name or node.name}", words, ast.unparse(node.returns) if node.returns else "")


def wrapped(head: str, words: list[str], returns: str) -> str:
    """Return the lines of a signature."""
    words = [re.sub(r"'([^'\"]*)'", r'"\1"', word) for word in words]  # as ruff writes texts, which formats pages as well
    tail = f"{f' -> {returns}' if returns else ''}: ..."
    one = f"{head}({', '.join(words)}){tail}"
    return one if len(one) <= 88 else "\n".join([f"{head}(", *(f"    {word}," for word in words), f"){tail}"])


def _argument(each: ast.arg, value: ast.expr | None, module: dict[str, Any]) -> str:
    kind = f": {ast.unparse(each.annotation)}" if each.annotation else ""
    return f"{each.arg}{kind}{f' = {_default(value, module)}' if value else ''}"


def _keywords(each: ast.arg, module: dict[str, Any], *, has_star: bool) -> list[str]:
    """Return `**options`, or the keywords themselves where a typed dict names them."""
    kind = ast.unparse(each.annotation) if each.annotation else ""
    if not kind.startswith("Unpack["):
        return [f"**{_argument(each, None, module)}"]
    names = module[kind.removeprefix("Unpack[").removesuffix("]")].__annotations__
    given = [f"{name}: {getattr(hint, '__forward_arg__', hint)} = ..." for name, hint in names.items()]
    return [*([] if has_star else ["*"]), *given]
