"""A directory of a test's own."""

from __future__ import annotations

__all__ = ["WorkDir"]


class WorkDir:
    """A directory of a test's own."""
