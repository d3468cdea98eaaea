"""The factories of a test."""

from __future__ import annotations

__all__ = ["Factories"]


class Factories:
    """The factories of a test, on its session."""
