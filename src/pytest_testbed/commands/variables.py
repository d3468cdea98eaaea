"""The options that the command line shares with the plugin; without pytest, only their variables can be read."""

from __future__ import annotations

import os
from collections.abc import Mapping

from ..services.ledger import DEFAULT_MAX_AGE

__all__ = ["chosen_cache", "max_age"]


def chosen_cache(environ: Mapping[str, str] = os.environ) -> str:
    """Return the cache directory that the user chose, "" for the usual one."""
    return environ.get("TESTBED_CACHE_DIR", "")


def max_age(environ: Mapping[str, str] = os.environ) -> float:
    """Return after how many silent seconds a host that cannot be seen from here is dead.

    Raises:
        ValueError: it is not a number of seconds.
    """
    text = environ.get("TESTBED_MAX_AGE", "") or str(DEFAULT_MAX_AGE)
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds < float("inf"):
        raise ValueError(f"TESTBED_MAX_AGE is {text!r}: a number of seconds is needed, such as 86400")
    return seconds
