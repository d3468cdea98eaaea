"""The files of a project: which there are, and their texts, as far as they can be read."""

from __future__ import annotations

import os
import re
import stat
import tomllib
from collections.abc import Iterator
from configparser import Error as ConfigError
from configparser import RawConfigParser
from fnmatch import fnmatch
from pathlib import Path
from typing import Any, NamedTuple

__all__ = ["Place", "Tree"]

SKIPPED = frozenset(
    {
        "__pycache__",
        "bower_components",
        "build",
        "dist",
        "htmlcov",
        "node_modules",
        "site-packages",
        "venv",
    }
)
"""Folders of what is made or installed."""
HIDDEN = frozenset({".github", ".gitlab", ".circleci"})
"""The only folders with a dot that are looked into: they say how tests run elsewhere."""
TEST_FOLDERS = ("tests", "test")
OF_A_PROJECT = ("pyproject.toml", "pytest.ini", "pytest.toml", "tox.ini", "setup.cfg")
PYTEST = re.compile(r"(?m)^\[(?:tool\.pytest(?:\.ini_options)?|pytest|tool:pytest)\]")
PROJECT = re.compile(r"(?m)^\[(?:project|tool\.poetry)\]")
MOST_FILES = 20_000
LARGEST = 1_000_000


class Place(NamedTuple):
    """Where something was seen: a path as it is written below the project's folder, and a line (0: all of it)."""

    path: str
    line: int = 0

    def __str__(self) -> str:
        """Write it as editors and compilers do."""
        return f"{self.path}:{self.line}" if self.line else self.path


class Tree:
    """The files below a folder.

    Attributes:
        names: the paths of all files, with slashes, in order.
        nested: folders below that are projects of their own, whose files are none of this one's.
        unread: what could not be read, and why.

    Args:
        root: the folder. Links to folders are not followed, so there are no loops.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.unread: dict[Place, str] = {}
        self._texts: dict[str, str | None] = {}
        self.names: list[str] = sorted(self._found())
        self.nested = self._nested()
        below = tuple(folder + "/" for folder in self.nested)
        self.names = [name for name in self.names if not name.startswith(below)] + sorted(self._outer())
        self._there = frozenset(self.names)

    def _found(self) -> Iterator[str]:
        number = 0
        for folder, folders, files in os.walk(self.root, onerror=self._closed):
            below = os.path.relpath(folder, self.root)
            prefix = "" if below == os.curdir else below.replace(os.sep, "/") + "/"
            if prefix and "pyvenv.cfg" in files:  # a virtual environment, whatever it is called
                folders.clear()
                continue
            folders[:] = sorted(
                name
                for name in folders
                if name not in SKIPPED and not name.endswith(".egg-info") and (name[0] != "." or name in HIDDEN)
            )
            for name in files:
                number += 1
                if number > MOST_FILES:
                    self.unread[Place(prefix or ".")] = f"more than {MOST_FILES} files: the rest was not looked at"
                    return
                yield prefix + name

    def _nested(self) -> list[str]:
        found: list[str] = []
        for name in sorted(self.names, key=lambda name: name.count("/")):
            folder, _, own = name.rpartition("/")
            if (
                not folder
                or folder.endswith(TEST_FOLDERS)
                or own not in OF_A_PROJECT
                or folder.startswith(tuple(f"{each}/" for each in found))
                or folder in found
            ):
                continue
            text = self.text(name) or ""
            is_whole = bool(PROJECT.search(text)) and any(
                each.startswith((f"{folder}/tests/", f"{folder}/test/")) for each in self.names
            )
            if own in ("pytest.ini", "pytest.toml") or PYTEST.search(text) or is_whole:
                found.append(folder)
        return sorted(found)

    def _outer(self) -> Iterator[str]:
        """Yield what a repository has above this folder and for all of its parts: compose files, pipelines, .env files."""
        above: list[Path] = []
        folder = self.root.resolve()
        while not os.path.exists(folder / ".git"):  # False, too, where that cannot be told
            folder = folder.parent
            above.append(folder)
            if len(above) > 3 or folder == folder.parent:
                return
        for steps, each in enumerate(above, start=1):
            for pattern in ("*compose*.y*ml", ".env*", ".gitlab-ci.yml", ".github/workflows/*.y*ml"):
                try:
                    yield from ("../" * steps + path.relative_to(each).as_posix() for path in each.glob(pattern))
                except OSError:
                    continue

    def _closed(self, error: OSError) -> None:
        path = os.path.relpath(error.filename or self.root, self.root).replace(os.sep, "/")
        self.unread[Place(path)] = (error.strerror or str(error)).lower()

    def __contains__(self, name: str) -> bool:
        """Tell whether there is a file of this path."""
        return name in self._there

    def named(self, *patterns: str) -> list[str]:
        """Return the files whose own name fits one of the patterns, those nearest to the root first."""
        found = [name for name in self.names if any(fnmatch(name.rpartition("/")[2], pattern) for pattern in patterns)]
        return sorted(found, key=lambda name: (name.count("/"), name))

    def data(self, name: str) -> bytes | None:
        """Return what is in a file; None, with a note of why, where that cannot be had."""
        path = self.root / name
        try:
            status = path.stat()
            if not stat.S_ISREG(status.st_mode):  # a pipe would let us wait for ever
                return None
            if status.st_size > LARGEST:
                self.unread[Place(name)] = f"larger than {LARGEST // 1000} kB"
                return None
            return path.read_bytes()
        except OSError as error:
            self.unread[Place(name)] = (error.strerror or str(error)).lower()
            return None

    def text(self, name: str) -> str | None:
        """Return the text of a file in UTF-8, with or without a mark at its beginning; bytes that are none become `?` signs."""
        if name not in self._texts:
            data = self.data(name)
            self._texts[name] = None if data is None else data.decode("utf-8-sig", errors="replace").replace("\r\n", "\n")
        return self._texts[name]

    def ini(self, name: str) -> RawConfigParser:
        """Return what an INI file says; nothing, with a note of why, where it is none."""
        parser = RawConfigParser(strict=False)
        try:
            parser.read_string(self.text(name) or "", name)
        except ConfigError as error:
            why = str(error).splitlines()[0]
            self.unread[Place(name, getattr(error, "lineno", 0) or 0)] = f"is no INI file: {why}"
            return RawConfigParser()
        return parser

    def toml(self, name: str) -> dict[str, Any]:
        """Return what a TOML file says; nothing, with a note of why, where it is none."""
        try:
            return tomllib.loads(self.text(name) or "")
        except tomllib.TOMLDecodeError as error:
            line = re.search(r"line (\d+)", str(error))
            self.unread[Place(name, int(line[1]) if line else 0)] = f"is no TOML: {error}"
            return {}

    def is_test(self, name: str) -> bool:
        """Tell whether a file belongs to the tests."""
        *folders, own = name.split("/")
        return (
            any(folder in ("test", "tests", "testing") for folder in folders)
            or own == "conftest.py"
            or fnmatch(own, "test_*.py")
            or fnmatch(own, "*_test.py")
        )
