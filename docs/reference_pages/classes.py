"""The public classes, from their docstrings and signatures."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module
from typing import Any

import pytest_testbed

from . import SECTIONS
from .aliases import told
from .classbody import Attribute, ClassBody, Method, read
from .docstrings import as_list, prose
from .links import linked

__all__ = ["classes", "entry", "errors", "others", "public"]

MADE = ("Answer", "ContainerRecipe", "Endpoint", "Link", "ProcessRecipe", "ServiceSpec", "Testbed")
"""Classes whose objects users make; those of the others they are given."""
HIDDEN = {
    "Answer": ("content", "pairs"),
    "ApiClient": ("close",),
    "Broker": ("close",),
    "Endpoint": ("to_json", "from_json"),
    "HttpMock": ("answer", "goes_through", "matches", "start", "stop"),
    "LiveApp": ("check", "portal", "server", "stop"),
    "MockService": ("book",),
    "Queries": ("add",),
    "Query": ("goes_on", "names", "place", "root"),
    "Request": ("parts", "peek", "raw_path", "raw_query"),
    "ServiceSpec": ("to_json", "from_json"),
    "Stub": ("pattern", "renewed", "scenario", "source", "take"),
    "Stock": ("begin", "close", "forget", "give_back", "is_busy", "take", "under_way"),
    "Testbed": (
        *("acquire", "adopt", "age", "check", "client", "connect", "drop_later", "fingerprint", "hang_up", "has_joined"),
        *("keep", "mark", "outlives", "place", "run", "snapshot", "started", "turn", "waited", "notes", "details"),
    ),
    "Unmatched": ("from_request", "lines", "stubs"),
    "WorkDir": ("close",),
    "Rule": ("answer", "at", "fits", "kind", "seconds"),
}
"""What is there for the plugin itself."""
OTHERS = {
    "Attachment": "pytest_testbed.mail.message",
    "Death": "pytest_testbed.rabbitmq.message",
    "Login": "pytest_testbed.mail.box",
    "Repeat": "pytest_testbed.postgres.queries",
    "Rule": "pytest_testbed.mail.rules",
    "Unmatched": "pytest_testbed.http.unmatched",
}
"""What users are given by those classes, and need not name."""
PARTS = {**SECTIONS, "services": "Services"}
"""The packages that have public classes, in the order of the page."""


def classes() -> str:
    """Return an entry for each public class that is no error, by the part that it is of."""
    found = [getattr(pytest_testbed, name) for name in pytest_testbed.__all__]
    parts: dict[str, list[type[Any]]] = {part: [] for part in PARTS}
    for each in found:
        if not issubclass(each, BaseException):
            parts[each.__module__.split(".")[1]].append(each)
    return "\n\n".join(f"## {PARTS[part]}\n\n{_entries(members)}" for part, members in parts.items())


def public() -> list[type[Any]]:
    """Return all classes that users can come across: those of the package's face, and what these give."""
    face = [getattr(pytest_testbed, name) for name in pytest_testbed.__all__]
    return [*face, *(getattr(import_module(home), name) for name, home in OTHERS.items())]


def others() -> str:
    """Return an entry for each class whose objects the public ones give."""
    return _entries([getattr(import_module(home), name) for name, home in OTHERS.items()], has_home=True)


def errors() -> str:
    """Return the table of errors and warnings, each below what it is one of."""
    found = {name: getattr(pytest_testbed, name) for name in pytest_testbed.__all__}
    lines = ["| error | is a | meaning |", "|---|---|---|"]
    for name, each in found.items():
        if issubclass(each, BaseException):
            bases = ", ".join(f"`{base.__name__}`" for base in each.__bases__)
            lines.append(f"| `{name}` | {bases} | {linked(' '.join((each.__doc__ or '').split()), name)} |")
    return "\n".join(lines)


def _entries(found: list[type[Any]], *, has_home: bool = False) -> str:
    lines: list[str] = []
    for each in found:
        lines += [f"### `{each.__name__}`", ""]
        lines += [f"`from {each.__module__} import {each.__name__}`", ""] if has_home else []
        lines += entry(each)
    return "\n".join(lines).rstrip()


def entry(cls: type[Any]) -> Iterator[str]:
    """Yield what a page says of a class, below its heading."""
    body, name = read(cls), cls.__name__
    for hidden in HIDDEN.get(name, ()):
        if hidden not in body.attributes and hidden not in body.methods:
            raise SystemExit(f"{name}.{hidden}, which the reference leaves out, is not there")
        body.attributes.pop(hidden, None)
        body.methods.pop(hidden, None)
    yield linked(body.text.summary, name)
    yield ""
    yield from prose(body.text.body)
    if name in MADE:
        yield from _made(cls, body)
    else:
        yield from _attributes(name, list(body.attributes.values()))
    for method in body.methods.values():
        yield from _method(name, method)
    yield from told(cls, body)


def _made(cls: type[Any], body: ClassBody) -> Iterator[str]:
    """Yield how an object is made, and what can be read from it beside its arguments."""
    given = body.text.sections.get("Args", {})
    fields = [body.attributes[name] for name in given if name in body.attributes]
    if fields and not hasattr(cls, "close"):
        yield from _attributes(cls.__name__, fields, has_default=True)
    else:
        yield from as_list("Arguments", given)
    yield from as_list("Raises", body.text.sections.get("Raises", {}))
    yield from _attributes(cls.__name__, [each for name, each in body.attributes.items() if name not in given])


def _attributes(name: str, found: list[Attribute], *, has_default: bool = False) -> Iterator[str]:
    if not found:
        return
    for each in found:
        if not each.text:
            raise SystemExit(f"{name}.{each.name} is public, and nothing says what it is: write a docstring below it, or hide it")
    yield "| field | type | default | meaning |" if has_default else "| attribute | type | gives |"
    yield "|---|---|---|---|" if has_default else "|---|---|---|"
    for each in found:
        kind = f"`{each.type}`".replace("|", "\\|") if each.type else ""
        text = linked(each.text, name).replace("|", "\\|").removesuffix(".")
        default = [f"`{each.default}`" if each.default else "has none"] if has_default else []
        yield f"| {' | '.join([f'`{each.name}`', kind, *default, text[:1].upper() + text[1:]])} |"
    yield ""


def _method(name: str, method: Method) -> Iterator[str]:
    yield "```python"
    yield method.signature
    yield "```"
    yield ""
    yield from prose([method.text.summary, *method.text.body])
    yield from as_list("Arguments", method.text.sections.get("Args", {}))
    yield from as_list("Returns", method.text.sections.get("Returns", {}))
    yield from as_list("Raises", method.text.sections.get("Raises", {}))
