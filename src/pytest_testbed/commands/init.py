"""`init`: ini lines for a project."""

from __future__ import annotations

__all__ = ["init"]


def init(directory: str) -> int:
    """Print what is suggested for the project in a directory."""
    raise NotImplementedError
