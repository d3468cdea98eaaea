"""How the things of a dead run are removed, by their sort; for the sweep of a host and for `prune`."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from .ledger import end_processes_of

__all__ = ["REMOVERS", "remove_container", "remove_directory"]


def remove_directory(name: str, run: str) -> bool:
    """End what a dead run started in its directory, and remove the directory; tell whether it was there."""
    found = os.path.lexists(name)
    end_processes_of(Path(name), run)
    return found


def remove_container(name: str, run: str) -> bool:
    """Remove a container of a dead run; tell whether it was there."""
    from .providers.docker import remove_container as remove

    return remove(name, run)


REMOVERS: dict[str, Callable[[str, str], bool]] = {"directory": remove_directory, "container": remove_container}
