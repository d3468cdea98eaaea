"""`testbed_level_folders`: levels and areas of folders whose names do not say them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from .folders import inside, refuse_absent, taken_apart
from .levels.names import AREAS, LEVELS
from .levels.places import mapped
from .nearest import suggestion
from .plugin import usage_errors
from .plugins.levels import LevelSettings
from .settings import SETTINGS

__all__ = ["check_folders", "check_lines", "folders_of"]

OPTION = "testbed_level_folders"


def check_lines(lines: Sequence[str]) -> None:
    """Check the lines.

    Raises:
        ValueError: one has another form, or another word than a level or an area.
    """
    known = (*LEVELS, *AREAS)
    for word, folders in taken_apart(lines):
        if not folders:
            raise ValueError(f"holds {word!r} without a folder: a line is of the form 'integration: tests/functional'")
        if word not in known:
            raise ValueError(f"holds {word!r}, which is not one of {', '.join(known)}{suggestion(word, known)}")


def check_folders(config: pytest.Config) -> None:
    """Refuse a folder that is not there, or has two levels.

    Raises:
        pytest.UsageError: names it.
    """
    source = config.stash[SETTINGS].source(LevelSettings, "level_folders")
    refuse_absent(OPTION, source, config.rootpath, folders_of(config))


def folders_of(config: pytest.Config) -> dict[Path, list[str]]:
    """Return what the option says of each folder.

    Raises:
        pytest.UsageError: a folder has two levels.
    """
    settings, root = config.stash[SETTINGS], config.rootpath
    lines = taken_apart(settings[LevelSettings].level_folders)
    option = f"{OPTION} (from {settings.source(LevelSettings, 'level_folders')})"
    with usage_errors():
        return mapped([(word, {name: inside(root, name) for name in names or ()}) for word, names in lines], option)
