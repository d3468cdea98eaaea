"""What an application names to be bound: references, and the objects that they lead to."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterator, Sequence
from contextlib import suppress
from importlib.util import find_spec
from itertools import accumulate
from types import ModuleType
from typing import Any, NamedTuple

from ..errors import ConfigurationError, SchemaError
from .imports import import_object

__all__ = ["Target", "Targets", "check_references", "is_flask_extension"]

WANTED = "an Engine, AsyncEngine, sessionmaker, async_sessionmaker, scoped_session, or Flask-SQLAlchemy's db"


def check_references(lines: Sequence[str]) -> None:
    """Check how references are written: `module:name`, and behind it `[key]` for a bind key of Flask-SQLAlchemy.

    Raises:
        ValueError: one is written in another way; the text is the end of a sentence.
    """
    for each in " ".join(lines).split():
        module, colon, name = each.partition("[")[0].partition(":")
        parts = [*module.split("."), *name.split(".")]
        if not colon or not all(part.isidentifier() for part in parts) or ("[" in each) != each.endswith("]"):
            raise ValueError(f"holds {each!r}, which is not of the form module:name, such as shop.db:SessionLocal")


class Target(NamedTuple):
    """One object to be bound.

    `reference` is as the user wrote it; `key` is the bind key of Flask-SQLAlchemy, None for the default one;
    `found_bind` is what a session factory was bound to when it was first seen.
    """

    reference: str
    thing: Any
    key: str | None
    found_bind: object


class Targets:
    """The entries of `testbed_pg_bind`, imported when a test first needs them.

    Args:
        references: entries `module:name`.
        source: where they were said, for errors.
    """

    def __init__(self, references: Sequence[str], source: str) -> None:
        self._references = references
        self._source = source
        self._found: dict[str, Target] = {}
        self._fault: ConfigurationError | None = None

    def look(self) -> None:
        """Resolve what is imported already, and find top-level modules, without importing anything.

        Raises:
            ConfigurationError: a target is wrong.
        """
        for reference in self._references:
            module = reference.partition(":")[0]
            if module in sys.modules or not _may_exist(module):
                self._resolve(reference)

    def load(self) -> None:
        """Import all; what is wrong is told by `resolved`."""
        if self._fault is None and len(self._found) < len(set(self._references)):
            try:
                for reference in self._references:
                    self._resolve(reference)
            except ConfigurationError as error:
                self._fault = error

    def known(self) -> list[Target]:
        """Return those that have been found so far."""
        return list(self._found.values())

    def resolved(self) -> list[Target]:
        """Return all targets.

        Raises:
            ConfigurationError: says entry, source, what is wrong and what may be meant.
        """
        self.load()
        if self._fault is not None:
            raise ConfigurationError(str(self._fault)) from self._fault.__cause__
        return list(self._found.values())

    def _resolve(self, reference: str) -> None:
        if reference in self._found:
            return
        path, _, key = reference.removesuffix("]").partition("[")
        head = f"testbed_pg_bind: {reference!r} (from {self._source})"
        try:
            thing = import_object(path)
        except SchemaError as error:
            raise ConfigurationError(f"{head} is not there. {_with_names(error, path)}") from error
        except Exception as error:
            module = path.partition(":")[0]
            raise ConfigurationError(
                f"{head} cannot be had: importing {module} failed with {type(error).__name__}: {error}"
            ) from error
        if not is_target(thing):
            raise ConfigurationError(f"{head} {_instead(thing, sys.modules[path.partition(':')[0]])}")
        if key and not is_flask_extension(thing):
            raise ConfigurationError(f"{head}: only Flask-SQLAlchemy's db has bind keys, and this is {_kind(thing)}.")
        self._found[reference] = Target(reference, thing, key or None, bind_of(thing))


def is_flask_extension(thing: object) -> bool:
    """Tell whether this is Flask-SQLAlchemy's `db`."""
    module = sys.modules.get("flask_sqlalchemy")
    return module is not None and isinstance(thing, module.SQLAlchemy)


def is_target(thing: object) -> bool:
    """Tell whether an object can be bound."""
    return not isinstance(thing, type) and (isinstance(thing, tuple(_classes())) or is_flask_extension(thing))


def bind_of(thing: Any) -> object:
    """Return what a session factory is bound to; None for anything else."""
    if hasattr(thing, "session_factory"):
        thing = thing.session_factory
    return getattr(thing, "kw", {}).get("bind")


def _classes() -> Iterator[type]:
    from sqlalchemy import Engine
    from sqlalchemy.orm import scoped_session, sessionmaker

    yield from (Engine, sessionmaker, scoped_session)
    if (module := sys.modules.get("sqlalchemy.ext.asyncio")) is not None:
        yield from (module.AsyncEngine, module.async_sessionmaker, module.async_scoped_session)


def _may_exist(module: str) -> bool:
    """Look for the first part of a module's name that is not imported yet."""
    names = accumulate(module.split("."), "{}.{}".format)
    first = next((name for name in names if name not in sys.modules), module)
    with suppress(ImportError, ValueError, AttributeError):  # a matter for the import itself
        return find_spec(first) is not None
    return True


def _instead(thing: object, module: ModuleType) -> str:
    """Return the end of the sentence on what cannot be bound: what it is, and what to name."""
    found = _names(module)
    there = f" In {module.__name__} there are: {', '.join(found)}." if found else ""
    advice = "name the sessionmaker or engine that it uses"
    if thing is None:
        advice = "name an object that is there as soon as the module is imported"
    return f"is {_kind(thing)}: {advice}. Wanted is {WANTED}.{there}"


def _names(module: ModuleType) -> list[str]:
    """Return what can be bound in a module."""
    return [name for name, value in vars(module).items() if not name.startswith("_") and is_target(value)]


def _with_names(error: SchemaError, path: str) -> str:
    """Return an error of an import with names that can be bound in place of the nearest of all."""
    module = sys.modules.get(path.partition(":")[0])
    if module is None or not (found := _names(module)):
        return str(error)
    text, meant, name = str(error).partition(" Did you mean ")
    if name.strip("?'") in found:
        text += meant + name
    return f"{text} In {module.__name__} there are: {', '.join(found)}."


def _kind(thing: object) -> str:
    if thing is None:
        return "None"
    if isinstance(thing, ModuleType):
        return "a module"
    if isinstance(thing, type):
        return f"the class {thing.__name__}"
    if inspect.isgeneratorfunction(thing) or inspect.isasyncgenfunction(thing):
        return "a generator function"
    if inspect.isroutine(thing):
        return "a function"
    name = type(thing).__name__
    return f"{'an' if name[0] in 'AEIOUaeiou' else 'a'} {name}"
