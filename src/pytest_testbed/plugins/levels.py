"""Levels and areas of tests: set by the folder that a test is in, and by the fixtures that it asks for."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import Literal

import pytest

from ..plugin import MARKS as WORDS
from ..settings import SETTINGS, Section, option


def folder_lines(lines: Sequence[str]) -> None:
    """Check the lines of `testbed_level_folders`; that its folders exist is seen later."""
    from ..level_folders import check_lines

    check_lines(lines)


class LevelSettings(Section, prefix=""):
    """Options of levels and areas."""

    levels: Literal["auto", "off"] = option(
        "auto", help="How tests get their level and areas: auto, by folder and fixtures; off, by hand alone."
    )
    level_folders: tuple[str, ...] = option(
        (),
        check=folder_lines,
        help="Folders whose names do not tell it: a level or an area, then folders, as 'integration: tests/functional'.",
    )
    check_levels: bool = option(
        False, flag=True, help="Run no tests; show where folder, fixtures and marks disagree on a test's level."
    )


SECTION = LevelSettings
FIXTURES = (
    ("postgres", "pg_", "database"),
    ("rabbitmq", "rabbitmq_", "messaging"),
    ("http", ("http_mock", "mock_service"), "external"),
    ("http", ("live_app", "api_client", "auth_headers"), "api"),
    ("mail", "mailbox", "external"),
    ("factories", "factories", "database"),
)
"""Parts, how the names of their fixtures begin, and the area of who asks for one."""
SET_LEVEL = pytest.StashKey[str]()
"""On a test: the level that we have marked it with."""


def fixtures(config: pytest.Config) -> dict[str, tuple[str, str]]:
    """Return the fixtures that say something of a test: by its name the module of each, and the area, "" for none."""
    found = {"testbed": ("pytest_testbed.plugin", "")}
    for part, beginnings, area in FIXTURES:
        module = f"pytest_testbed.plugins.{part}"
        found |= {name: (module, area) for name in vars(sys.modules[module]) if name.startswith(beginnings)}
    made = config.pluginmanager.getplugin("pytest_testbed.factory_fixtures")
    return found | ({name: (module, "database") for name, module in made.on_session.items()} if made is not None else {})


def pytest_configure(config: pytest.Config) -> None:
    """Refuse folders that are wrong; have a look alone, where that is wanted."""
    settings = config.stash.get(SETTINGS, None)
    if settings is None:  # somebody asks for help
        return
    if settings[LevelSettings].level_folders:
        from ..level_folders import check_folders

        check_folders(config)
    if settings[LevelSettings].check_levels:
        from ..level_check import look_alone

        look_alone(config)


def pytest_collection_modifyitems(config: pytest.Config, items: Sequence[pytest.Item]) -> None:
    """Mark the tests, if anything says something of one.

    Neither first nor last: marks that conftests add, in this hook of theirs, are there by now, as those were registered
    later; and pytest has chosen no tests by `-m` yet, as that was registered before.
    """
    mine = config.stash[SETTINGS][LevelSettings]
    if mine.levels == "auto" and (mine.level_folders or anything_said(config, items, fixtures(config))):
        from ..levelled import set_levels

        set_levels(config, items)


def anything_said(config: pytest.Config, items: Sequence[pytest.Item], asked: Mapping[str, object]) -> bool:
    """Tell whether the folder of any test, or a mark of its budget, or one of its fixtures, can say something."""
    parents = {item.parent for item in items if item.parent is not None}
    if any(mark.name == "budget" for parent in parents for mark in parent.iter_markers()):
        return True
    words, above = frozenset(line.partition(":")[0] for line in WORDS), len(config.rootpath.parts)
    if not all(words.isdisjoint(parent.path.parts[above:]) for parent in parents):
        return True
    return any(
        not asked.keys().isdisjoint(getattr(item, "fixturenames", ())) or any(mark.name == "budget" for mark in item.own_markers)
        for item in items
    )
