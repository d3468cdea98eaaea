"""What is said where a factory cannot create something."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

from .binding import Bound

__all__ = ["no_greenlet_text", "numbered_text", "path_of", "unbound_text"]

UNIQUE = "23505"
"""PostgreSQL's code of a value that there is already."""


def unbound_text(step: Any, where: str) -> str:
    """Return the error of a factory that has no session.

    Args:
        step: factory_boy's, in which an object is to be created.
        where: says what runs, and what it could ask for.
    """
    factory = _factory(step)
    return (
        f"{path_of(step)}: {factory.__name__} has no session to create a {factory._meta.model.__name__} in. {where} "
        f"{_root(step).__name__}.build() makes one without a database."
    )


def no_greenlet_text(step: Any, bound: Bound) -> str:
    """Return the error of a factory that is on an asynchronous session and was called like on a synchronous one."""
    root = _root(step).__name__
    return (
        f"{path_of(step)}: it is on {bound.fixture}, an asynchronous session, and {root}() cannot await. Write "
        f"`await factories.create({root}, …)` with the fixture factories, or "
        f"`await {bound.fixture}.run_sync(lambda _: {root}(…))`; or {root}.build() and add it to the session."
    )


def numbered_text(meta: Any, error: Any) -> str:
    """Return what to know of a conflict where a factory numbers rows itself; "" where it does not, or it is another one."""
    if getattr(error.orig, "sqlstate", getattr(error.orig, "pgcode", UNIQUE)) != UNIQUE:
        return ""
    from factory.declarations import Sequence
    from sqlalchemy import inspect

    mapper, factory = inspect(meta.model), meta.factory.__name__
    keys = [mapper.get_property_by_column(column).key for column in mapper.primary_key]
    numbered = [key for key in keys if isinstance(meta.base_declarations.get(key), Sequence)]
    if not numbered:
        return ""
    return (
        f"{factory}.{numbered[0]} is a Sequence: it knows neither rows that were there before the test, nor the numbers that "
        f"PostgreSQL gives. If that is the conflict: leave {numbered[0]!r} out of the factory, so that PostgreSQL numbers all "
        f"rows, or let {factory}._setup_next_sequence return a number that is free."
    )


def path_of(step: Any) -> str:
    """Return the factories by which one was reached, such as "OrderFactory.user → UserFactory"."""
    steps = [step]
    while steps[0].parent_step is not None:
        steps.insert(0, steps[0].parent_step)
    names = [f"{_factory(each).__name__}{_field(each, inner)}" for each, inner in pairwise(steps)]
    return " → ".join([*names, _factory(step).__name__])


def _factory(step: Any) -> Any:
    return step.builder.factory_meta.factory


def _root(step: Any) -> Any:
    return _factory(step) if step.parent_step is None else _root(step.parent_step)


def _field(step: Any, inner: Any) -> str:
    """Return the field of a factory in which an inner one is made."""
    pending = vars(step.stub).get("_Resolver__pending") if step.stub is not None else None
    if pending:
        return f".{pending[-1]}"
    for name, declaration in step.builder.factory_meta.declarations.items():  # those after the object has been made
        if hasattr(declaration, "get_factory") and declaration.get_factory() is _factory(inner):
            return f".{name}"
    return ""
