"""The project's modules that Python files reach by their imports, found by reading and not by importing."""

from __future__ import annotations

import hashlib
import os
import re
import sys
from collections.abc import Iterable, Iterator
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path

from ..services.connection import STANDARD

# The word is searched for first, which is quick, and then what stands round it. A line inside a
# string that looks like an import costs a look at a folder, no more.
_WORD = re.compile(r"import\b")
_BEFORE = re.compile(r"(?:^|[;:])[ \t]*(?:from[ \t]*(\.*)[ \t]*([\w.]*)[ \t]*)?$")
_AFTER = re.compile(r"[ \t]*+(\((?:[^)#]++|#[^\n]*+)*+\)|[^\n;#]*+)")
_NAME = re.compile(r"#[^\n]*|([\w.]+)(?:\s+as\s+\w+)?")
_CALLED = re.compile(r"""(?:import_module|__import__)\(\s*["']([\w.]+)["']""")
_DYNAMIC = ("import_module", "__import__", "pkgutil", "exec_module")
_DATA_FILE = re.compile(rb"""["']([\w/ -][\w./ -]*\.[A-Za-z]\w{1,7})["']""")
LARGEST = 20 * 1024 * 1024
"""Bytes of a data file that are looked at."""
_NO_SOURCES = frozenset({"__pycache__", "node_modules", "site-packages", "dist-packages"})


def import_closure(files: Iterable[str], root: Path, paths: Iterable[str] = ()) -> dict[str, bytes]:
    """Read the files, and all modules of the project that they reach by import statements.

    So are data files that they name ("schema.sql"). A package that is installed is not read: the list of
    its files' hashes stands for it, or size and time of its first file where there is none.

    Args:
        files: Python files with absolute paths.
        root: The project's folder, from which names are told; it and its `src` are searched too.
        paths: Further folders in which modules are looked for, before those of `sys.path`.
    """
    scan = _Scan(root, [*paths, os.fspath(root), os.path.join(root, "src")])
    for file in files:
        scan.add(os.path.abspath(file), given=True)
    scan.follow()
    return scan.found


def is_of_project(path: str) -> bool:
    """Whether a file is neither installed nor of the standard library."""
    installed = f"{os.sep}site-packages{os.sep}" in path or f"{os.sep}dist-packages{os.sep}" in path
    return not installed and not path.startswith(STANDARD + os.sep)


def files_below(folder: str) -> Iterator[str]:
    """All ordinary files below a folder, but those that Python or a tool has made there."""
    for parent, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if name not in _NO_SOURCES and not name.startswith(".")]
        yield from (os.path.join(parent, name) for name in names if not name.endswith(".pyc"))


def _imports(text: str) -> Iterator[tuple[str, str, list[str]]]:
    """Give dots, module and names of each import statement; those without `from` have names alone."""
    for word in _WORD.finditer(text):
        before = _BEFORE.search(text[text.rfind("\n", 0, word.start()) + 1 : word.start()])
        after = _AFTER.match(text, word.end())
        if before is not None and after is not None:
            yield before[1] or "", before[2] or "", _NAME.findall(after[1])


class _Scan:
    """Goes from file to file; folders are listed once."""

    def __init__(self, root: Path, paths: list[str]) -> None:
        self._root = root
        self._paths = paths
        self._listed: dict[str, frozenset[str]] = {}
        self._tops: dict[str, list[str]] = {}
        self._waiting: list[str] = []
        self._seen: set[str] = set()
        self.found: dict[str, bytes] = {}

    def add(self, file: str, given: bool = False) -> None:
        if file in self._seen:
            return
        self._seen.add(file)
        if not given and not is_of_project(file):
            self._stamp(file)
            return
        self._waiting.append(file)
        folder = os.path.dirname(file)
        if "__init__.py" in self._names(folder):  # which is run before any module in it
            self.add(os.path.join(folder, "__init__.py"))
            if "__init__.py" in self._names(os.path.dirname(folder)):
                self.add(os.path.join(os.path.dirname(folder), "__init__.py"))

    def follow(self) -> None:
        while self._waiting:
            file = self._waiting.pop()
            try:
                with open(file, "rb") as stream:
                    content = stream.read()
            except OSError:
                content = b"missing"
            self.found[os.path.relpath(file, self._root)] = content
            self._add_named(os.path.dirname(file), content)
            self._read(os.path.dirname(file), content.decode("utf-8", "replace").replace("\\\n", " "))

    def _add_named(self, folder: str, content: bytes) -> None:
        """Add the data files that a module names, in its folder, in one below that, or in the root.

        A module that was imported before anybody could look may have read them by then.
        """
        for text in set(_DATA_FILE.findall(content)):
            name = os.fsdecode(text)
            if name.endswith((".py", ".pyc", ".log")):
                continue
            for place in (folder, *self._folders_in(folder), os.fspath(self._root)):
                file = os.path.join(place, name)
                if os.path.basename(name) in self._names(os.path.dirname(file)) and os.path.isfile(file):
                    with suppress(OSError), open(file, "rb") as stream:
                        self.found[os.path.relpath(file, self._root)] = stream.read(LARGEST)

    def _folders_in(self, folder: str) -> list[str]:
        names = sorted(name for name in self._names(folder) if "." not in name and name not in _NO_SOURCES)
        return [os.path.join(folder, name) for name in names]

    def _read(self, folder: str, text: str) -> None:
        for dots, module, names in _imports(text):
            if not dots and not module:
                for name in names:
                    self._absolute(name)
                continue
            if dots:
                package = os.path.normpath(os.path.join(folder, *[os.pardir] * (len(dots) - 1)))
                folders = self._descend([package], module.split(".") if module else [])
            else:
                folders = self._absolute(module)
            for name in names if folders else ():
                self._descend(folders, [name])
        if any(word in text for word in _DYNAMIC):
            for name in _CALLED.findall(text):
                self._absolute(name)
            if "__init__.py" in self._names(folder):  # it may import whatever lies beside it
                for file in files_below(folder):
                    if file.endswith(".py"):
                        self.add(file)

    def _absolute(self, name: str) -> list[str]:
        parts = name.split(".")
        return self._descend(self._top(parts[0]), parts)

    def _descend(self, folders: list[str], parts: list[str]) -> list[str]:
        """Add the modules on the way down; return the folders of the last one if it is a package."""
        for part in parts:
            for folder in folders:
                names, inner = self._names(folder), os.path.join(folder, part)
                if part in names and "__init__.py" in self._names(inner):
                    self.add(os.path.join(inner, "__init__.py"))
                    folders = [inner]
                    break
                if f"{part}.py" in names:
                    self.add(f"{inner}.py")
                    return []
            else:
                folders = [os.path.join(folder, part) for folder in folders if part in self._names(folder)]
        return folders

    def _top(self, name: str) -> list[str]:
        """The folders in which a top-level module lies; none for what is installed."""
        if name not in self._tops:
            self._tops[name] = self._locate(name)
        return self._tops[name]

    def _locate(self, name: str) -> list[str]:
        own = [path for path in self._paths if not {name, f"{name}.py"}.isdisjoint(self._names(path))]
        if not name or name in sys.stdlib_module_names:
            return own
        spec = None
        with suppress(ImportError, ValueError, AttributeError):  # of a finder, or a module made by hand
            spec = find_spec(name)
        if spec is None:
            return own
        places = [*(spec.submodule_search_locations or ()), *filter(None, [spec.origin])]
        if places and not any(map(is_of_project, places)):
            self._stamp(spec.origin or places[0], name)
            return own
        return own + [os.path.dirname(place) for place in places if os.path.basename(place) != "__init__.py"]

    def _stamp(self, file: str, name: str = "") -> None:
        """Note an installed package by the list of its files' hashes, the same on all machines; or by size and time."""
        folder = os.path.dirname(file)
        if os.path.basename(file) == "__init__.py":
            folder = os.path.dirname(folder)
        found = b""
        for entry in sorted(self._names(folder)):
            if name and entry.endswith(".dist-info") and entry.lower().startswith(f"{name.lower()}-"):
                with suppress(OSError):
                    found += Path(folder, entry, "RECORD").read_bytes()
        if not found:
            with suppress(OSError):
                status = os.stat(file)
                found = f"{status.st_size} {status.st_mtime_ns}".encode()
        self.found[f"installed {name or file}"] = hashlib.sha256(found).hexdigest().encode()

    def _names(self, folder: str) -> frozenset[str]:
        if folder not in self._listed:
            try:
                self._listed[folder] = frozenset(os.listdir(folder))
            except OSError:
                self._listed[folder] = frozenset()
        return self._listed[folder]
