"""Test data: factory_boy's factories on the session of each test, and values that repeat."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

import pytest

from ..plugin import plain_errors
from ..settings import Section, option

if TYPE_CHECKING:
    from ..factories.factories import Factories


def modules(names: Sequence[str]) -> None:
    """Check dotted names of modules."""
    for name in " ".join(names).split():
        if not all(part.isidentifier() for part in name.split(".")):
            raise ValueError(f"holds {name!r}, which is not the name of a module, such as tests.factories")


class FactorySettings(Section, prefix=""):
    """Options of test data."""

    factory_modules: tuple[str, ...] = option(
        (), check=modules, help="Modules with factories: user and user_factory are fixtures of tests then, for a UserFactory."
    )
    factory_rebind: tuple[str, ...] = option(
        (), help="Factories that are bound though they have a session of their own: module:Factory, or module for all of it."
    )
    factory_persistence: Literal["flush", "commit", "none"] = option(
        "flush", help="What factories do with what they have made, where they do not say it themselves."
    )
    seed: int | None = option(None, flag=True, help="Make the test data of an earlier run again: the seed that its output names.")


SECTION = FactorySettings


@pytest.fixture
def factories(request: pytest.FixtureRequest) -> Factories:
    """The test's factories, on the session of the test."""
    from ..factory_binding import factories_of

    with plain_errors(request.config):
        return factories_of(request)
