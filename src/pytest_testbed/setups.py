"""What can be done from outside about fixtures: one more for a test, and one before whose own code something fails."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

__all__ = ["add_fixture", "begun_or_not_at_all"]


@contextmanager
def begun_or_not_at_all(fixturedef: pytest.FixtureDef[Any], request: pytest.FixtureRequest) -> Iterator[None]:
    """Let pytest forget a fixture before whose own setup something fails: it would find it half begun in the next test."""
    try:
        yield
    except BaseException as error:
        fixturedef.cached_result = (None, fixturedef.cache_key(request), (error, None))  # type: ignore[arg-type]
        fixturedef.finish(request)  # type: ignore[arg-type]
        raise


def add_fixture(item: Any, name: str) -> None:
    """Let a test use one more fixture, set up before the first one that is not shared with other tests.

    What it has in common with other tests outlives this one, and is set up without it.
    """
    definitions = getattr(getattr(item, "_fixtureinfo", None), "name2fixturedefs", {})
    names = list(item.fixturenames)
    shared = [each in definitions and definitions[each][-1].scope != "function" for each in names]
    place = shared.index(False) if False in shared else len(names)
    item.fixturenames = [*names[:place], name, *(each for each in names[place:] if each != name)]
