"""What the folder that a test is in says of it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

from ..errors import ConfigurationError
from .names import AREAS, LEVELS

__all__ = ["Places", "Said", "mapped"]

TESTS = ("test", "tests")
"""Names of folders with nothing but tests in them."""


class Said(NamedTuple):
    """What its place says of a test: a level, "" for none, the folder (or file) that says it, and areas."""

    level: str = ""
    by: Path | None = None
    areas: tuple[str, ...] = ()


class Found(NamedTuple):
    """What is found on the way down to a folder.

    Areas of `loose` count unless a folder called tests comes below them: then they were names of source packages.
    """

    level: str = ""
    by: Path | None = None
    firm: tuple[str, ...] = ()
    loose: tuple[str, ...] = ()
    names_count: bool = False
    is_test_root: bool = False
    is_called_tests: bool = False


class Places:
    """The folders of a project.

    Args:
        root: the root directory; names of folders count below it.
        test_roots: folders with nothing but tests in them, besides those called so.
        mapped: the levels and areas that the configuration gives to folders and files.
    """

    def __init__(self, root: Path, test_roots: Iterable[Path] = (), mapped: Mapping[Path, Iterable[str]] | None = None) -> None:
        self._root = root
        self._test_roots = frozenset(test_roots)
        self._mapped = mapped or {}
        self._folders: dict[Path, Found] = {}
        self._files: dict[Path, Said] = {}

    def of(self, path: Path) -> Said:
        """Return what is said of the tests of a file."""
        said = self._files.get(path)
        if said is None:
            found = self._with_mapped(self._folder(path.parent), path)
            areas = tuple(dict.fromkeys((*found.firm, *found.loose)))
            said = self._files[path] = Said(found.level, found.by, areas)
        return said

    def _folder(self, folder: Path) -> Found:
        found = self._folders.get(folder)
        if found is None:
            if folder == self._root:
                found = Found(names_count=True)
            elif folder.parent == folder:  # outside of the root directory
                found = Found()
            else:
                found = self._with_name(self._folder(folder.parent), folder)
            found = self._folders[folder] = self._with_mapped(found, folder)
        return found

    def _with_name(self, above: Found, folder: Path) -> Found:
        """Return what is found with the name of one more folder."""
        found, name = above, folder.name
        if not found.names_count:
            return found
        if name in TESTS and not found.is_called_tests:
            found = found._replace(is_called_tests=True, loose=())
        if folder in self._test_roots:
            found = found._replace(is_test_root=True)
        if name in LEVELS:
            found = found._replace(level=name, by=folder)
        if name in AREAS:
            if above.level or above.is_called_tests:
                found = found._replace(firm=(*found.firm, name))
            elif above.is_test_root:
                found = found._replace(loose=(*found.loose, name))
        return found

    def _with_mapped(self, found: Found, place: Path) -> Found:
        for word in self._mapped.get(place, ()):
            is_level = word in LEVELS
            found = found._replace(level=word, by=place) if is_level else found._replace(firm=(*found.firm, word))
        return found


def mapped(lines: Iterable[tuple[str, Mapping[str, Path]]], option: str) -> dict[Path, list[str]]:
    """Return the levels and areas that lines give to folders.

    Args:
        lines: each a level or an area, and its folders by the names that they have there.
        option: what the lines are of, for the message.

    Raises:
        ConfigurationError: two lines give a folder different levels; names both.
    """
    found: dict[Path, list[str]] = {}
    levels: dict[Path, tuple[str, str]] = {}
    for word, folders in lines:
        line = f"{word}: {' '.join(folders)}"
        for name, folder in folders.items():
            other, where = levels.setdefault(folder, (word, line)) if word in LEVELS else (word, line)
            if other != word:
                raise ConfigurationError(
                    f"{option} gives the folder {name!r} two levels, in the lines {where!r} and {line!r}; a test has one. "
                    "Take it out of one of them."
                )
            found.setdefault(folder, []).append(word)
    return found
