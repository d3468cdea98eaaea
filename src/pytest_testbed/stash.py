"""Typed keys under which the plugin keeps its state on `config.stash` and on tests."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from .settings import Settings

if TYPE_CHECKING:
    from .session import Run

__all__ = ["BAD_MARK", "RUN", "SETTINGS"]

SETTINGS = pytest.StashKey[Settings]()
RUN: pytest.StashKey[Run] = pytest.StashKey()
BAD_MARK = pytest.StashKey[str]()
"""What is wrong with a test's mark, where it could not be said at once."""
