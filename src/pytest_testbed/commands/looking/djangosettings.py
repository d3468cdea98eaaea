"""Django's settings: which database they name, and by which variables."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from .source import Source, literal
from .tree import Place

__all__ = ["Setting", "databases", "is_production", "settings_module"]

KEYS = {"HOST": "host", "PORT": "port", "USER": "user", "PASSWORD": "password", "NAME": "database"}
PRODUCTION = {"prod", "production", "live", "staging", "deploy", "deployment"}


@dataclass(frozen=True)
class Setting:
    """One value of a database in `DATABASES`.

    Attributes:
        key: ENGINE, HOST and so on; "" for the whole.
        text: the text that stands there, None for an expression.
        lines: the lines of that expression, for what it reads.
        place: where it is.
        alias: which database.
    """

    key: str
    text: str | None
    lines: range
    place: Place
    alias: str


def settings_module(sources: Mapping[str, Source]) -> tuple[str, Place] | None:
    """Return the settings that `manage.py` or the like names; those of production, as `wsgi.py` names them, come last."""
    found = list(_named(sources))
    return next((each for each in found if not is_production(each[0])), found[0] if found else None)


def _named(sources: Mapping[str, Source]) -> Iterator[tuple[str, Place]]:
    for path, source in sorted(sources.items(), key=lambda each: (each[1].is_test, each[0].count("/"), each[0])):
        for call in source.calls:
            if (
                call.name == "os.environ.setdefault"
                and len(call.node.args) == 2
                and literal(call.node.args[0]) == "DJANGO_SETTINGS_MODULE"
                and (module := literal(call.node.args[1]))
            ):
                yield module, Place(path, call.node.lineno)


def is_production(module: str) -> bool:
    """Tell whether a module of settings is called so that no test should begin with it."""
    return bool(PRODUCTION & set(module.rpartition(".")[2].split("_")))


def databases(sources: Mapping[str, Source]) -> Iterator[Setting]:
    """Yield what `DATABASES` says, wherever it is assigned."""
    for source in sources.values():
        for name, value, _ in source.assigned:
            if name == "DATABASES" and isinstance(value, ast.Dict) and not source.is_test:
                for alias, part in zip(value.keys, value.values, strict=True):
                    yield from _database(source, literal(alias) or "", part)


def _database(source: Source, alias: str, part: ast.expr) -> Iterator[Setting]:
    if not isinstance(part, ast.Dict):
        yield Setting("", literal(part), _lines(part), source.at(part), alias)
        return
    for key, value in zip(part.keys, part.values, strict=True):
        if (name := literal(key)) in ("ENGINE", *KEYS):
            yield Setting(name, literal(value), _lines(value), source.at(value), alias)


def _lines(node: ast.expr) -> range:
    return range(node.lineno, (node.end_lineno or node.lineno) + 1)
