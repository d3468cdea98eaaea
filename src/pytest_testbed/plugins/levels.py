"""Levels and areas of tests: set by the folder that a test is in, and by the fixtures that it asks for."""

from __future__ import annotations

from typing import Literal

from ..settings import Section, option


class LevelSettings(Section, prefix=""):
    """Options of levels and areas."""

    levels: Literal["auto", "off"] = option(
        "auto", help="Whether tests are marked with their level and areas by folder and fixtures."
    )
    level_folders: tuple[str, ...] = option(
        (), help="Folders whose names do not say it: a level or an area, then folders, as 'integration: tests/functional'."
    )
    check_levels: bool = option(
        False, flag=True, help="Run no tests; tell where folder, fixtures and marks disagree on a test's level."
    )


SECTION = LevelSettings
