"""What is installed, read once in a process: each run of pytest reads the metadata of all packages, to find its plugins.

With a hundred packages that is a fifth of what a run inside a test takes of the processor.
"""

from __future__ import annotations

import importlib.metadata
import sys
from collections.abc import Iterator
from functools import cached_property
from typing import Any

__all__ = ["read_once"]


class Known(importlib.metadata.PathDistribution):
    """A distribution that reads its entry points once."""

    @cached_property
    def entry_points(self) -> Any:  # type: ignore[override]
        """The entry points, as they were at first."""
        return super().entry_points


def read_once() -> None:
    """Let `importlib.metadata.distributions` give what is in the folders of `sys.path` now; other folders it reads each time."""
    look = importlib.metadata.distributions
    known = {folder: list(look(path=[folder])) for folder in sys.path}
    for each in (each for found in known.values() for each in found):
        if type(each) is importlib.metadata.PathDistribution:
            each.__class__ = Known

    def distributions(**context: Any) -> Iterator[importlib.metadata.Distribution]:
        if context:
            yield from look(**context)
            return
        for folder in sys.path:
            yield from known[folder] if folder in known else look(path=[folder])

    importlib.metadata.distributions = distributions  # type: ignore[assignment]
