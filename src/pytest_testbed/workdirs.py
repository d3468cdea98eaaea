"""pytest's side of files: the directory of a test, shown where the test fails."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from .files.workdir import WorkDir

__all__ = ["workdir_of"]


@contextmanager
def workdir_of(item: pytest.Item, path: Path) -> Iterator[WorkDir]:
    """Give a test its directory."""
    yield WorkDir()
