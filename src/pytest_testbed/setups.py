"""What can be done from outside about fixtures that are set up: where something fails before their own code has run."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

__all__ = ["begun_or_not_at_all"]


@contextmanager
def begun_or_not_at_all(fixturedef: pytest.FixtureDef[Any], request: pytest.FixtureRequest) -> Iterator[None]:
    """Let pytest forget a fixture before whose own setup something fails: it would find it half begun in the next test."""
    try:
        yield
    except BaseException as error:
        fixturedef.cached_result = (None, fixturedef.cache_key(request), (error, None))  # type: ignore[arg-type]
        fixturedef.finish(request)  # type: ignore[arg-type]
        raise
