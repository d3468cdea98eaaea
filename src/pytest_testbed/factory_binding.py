"""pytest's side of test data: which session the factories of a test are on."""

from __future__ import annotations

import pytest

from .factories.factories import Factories

__all__ = ["factories_of"]


def factories_of(request: pytest.FixtureRequest) -> Factories:
    """Return the factories of a test."""
    return Factories()
