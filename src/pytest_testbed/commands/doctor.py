"""`doctor`: what this machine has for tests."""

from __future__ import annotations

from .caches import Cache

__all__ = ["doctor"]


def doctor(cache: Cache, *, as_json: bool) -> int:
    """Tell what is found; return 1 where nothing can serve a kind."""
    raise NotImplementedError
