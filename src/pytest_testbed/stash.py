"""Typed keys under which the plugin keeps its state on `config.stash`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from .settings import Settings

if TYPE_CHECKING:
    from .session import Run

__all__ = ["RUN", "SETTINGS"]

SETTINGS = pytest.StashKey[Settings]()
RUN: pytest.StashKey[Run] = pytest.StashKey()
