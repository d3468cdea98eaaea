"""Levels and areas of collected tests: what is said by hand, by folder and by fixtures, and the marks that follow."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from glob import iglob
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from .levels.names import AREAS, LEVELS
from .levels.places import Places
from .plugins.levels import SET_LEVEL, LevelSettings, fixtures
from .reading import test_paths
from .scheduling import in_use
from .settings import SETTINGS

__all__ = ["Asked", "Signs", "set_levels"]

BUDGET, PERFORMANCE = "budget", "performance"
"""A mark, and the area of who has it."""
LEVEL_NAMES, AREA_NAMES = frozenset(LEVELS), frozenset(AREAS)
KNOWN = LEVEL_NAMES | AREA_NAMES | {BUDGET}
NONE: frozenset[str] = frozenset()
SOURCES = ("src", "lib")
"""Folders of `testpaths` in which there are not only tests."""


class Asked(NamedTuple):
    """What the fixtures of a test say of it; `names` are those that do."""

    level: str = ""
    areas: tuple[str, ...] = ()
    names: tuple[str, ...] = ()


NOTHING = Asked()
Definitions = Mapping[str, Sequence[pytest.FixtureDef[Any]]]


class Signs:
    """What is said of tests; found once for each file, for each node above them, and for each list of fixtures."""

    def __init__(self, config: pytest.Config) -> None:
        mapped = {}
        if config.stash[SETTINGS][LevelSettings].level_folders:
            from .level_folders import folders_of

            mapped = folders_of(config)
        self.by_folder = Places(config.rootpath, test_roots(config), mapped).of
        self._fixtures = fixtures(config)
        self._names = frozenset(self._fixtures)
        self._asked: dict[tuple[str, ...], tuple[list[str], dict[tuple[int | None, ...], Asked]]] = {}
        self._above: dict[int, frozenset[str]] = {}

    def by_hand(self, item: pytest.Item) -> frozenset[str]:
        """Return the names, as far as they are ours to know, of the marks of a test, its class and its module."""
        parent = item.parent
        above = self._above.get(id(parent))
        if above is None:
            above = self._above[id(parent)] = KNOWN.intersection(mark.name for mark in parent.iter_markers()) if parent else NONE
        own = item.own_markers
        return above.union(mark.name for mark in own if mark.name in KNOWN) if own else above

    def by_fixtures(self, item: pytest.Item) -> Asked:
        """Return what a test's fixtures say, as far as they are ours and not the project's under one of our names."""
        names = getattr(item, "fixturenames", ())
        if self._names.isdisjoint(names):
            return NOTHING
        definitions: Definitions = getattr(getattr(item, "_fixtureinfo", None), "name2fixturedefs", {})
        # each test has a list of its own; most have the same names, and the same definitions
        alike = tuple(names)
        if alike not in self._asked:
            self._asked[alike] = [name for name in names if name in self._names], {}
        ours, known = self._asked[alike]
        key = tuple([id(definitions[name][-1]) if name in definitions else None for name in ours])
        asked = known.get(key)
        if asked is None:
            asked = known[key] = self._said(ours, definitions)
        return asked

    def _said(self, names: Sequence[str], definitions: Definitions) -> Asked:
        found: dict[str, str] = {}
        for name in names:
            module, area = self._fixtures[name]
            # one that a plugin has added to a collected test has no definition yet
            if name not in definitions or in_use(f"{module}:{name}", definitions):
                found[name] = area
        if not found:
            return NOTHING
        areas = tuple(area for area in AREAS if area in found.values())
        return Asked("integration", areas, tuple(found))


def test_roots(config: pytest.Config) -> Iterator[Path]:
    """Yield the folders of `testpaths` that are for tests alone.

    A pattern such as **/tests is left to the names of folders: to follow it is to read the whole tree.
    """
    for name in test_paths(config):
        if "**" not in name:
            for place in map(Path, iglob(str(config.rootpath / name))):
                folder = Path(os.path.normpath(place))
                if folder != config.rootpath and folder.name not in SOURCES:
                    yield folder


# --- the marks


def set_levels(config: pytest.Config, items: Sequence[pytest.Item]) -> None:
    """Mark tests with the level and the areas that they do not have by hand."""
    signs = Signs(config)
    marks = {name: getattr(pytest.mark, name).mark for name in (*LEVELS, *AREAS)}
    for item in items:
        hand, folder, asked = signs.by_hand(item), signs.by_folder(item.path), signs.by_fixtures(item)
        names = folder.areas or asked.areas
        if hand:
            names = areas_beside(hand, names)
        if (level := folder.level or asked.level) and (not hand or LEVEL_NAMES.isdisjoint(hand)):
            names = (level, *names)
            item.stash[SET_LEVEL] = level
        for name in names:  # as add_marker does it, at a third of its cost
            item.own_markers.append(marks[name])
            item.keywords[name] = marks[name]


def areas_beside(hand: frozenset[str], areas: tuple[str, ...]) -> tuple[str, ...]:
    """Return the areas that a test is given beside its own marks; who has a budget is about performance in any case."""
    if not AREA_NAMES.isdisjoint(hand):
        areas = ()
    if BUDGET in hand and PERFORMANCE not in hand and PERFORMANCE not in areas:
        areas = (*areas, PERFORMANCE)
    return areas
