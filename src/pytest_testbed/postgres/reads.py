"""Which of the project's files were read while something was built, and whether they are still the same."""

from __future__ import annotations

import hashlib
import importlib
import os
import pkgutil
import stat
import sys
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType

__all__ = ["FilesRead", "still_true"]

BIG = 20 * 1024 * 1024
CHANGED = "changed while it was read"  # no content has this text: what was built is used by nobody else
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_TRUNC
_CODE = (".py", ".pyc")
_FOREIGN = frozenset(
    {".git", ".hg", ".venv", ".tox", ".nox", "node_modules", "site-packages", "dist-packages", "__pycache__"}
    | {".pytest_cache", ".mypy_cache", ".ruff_cache"}
)
_LISTS = ("os.listdir", "os.scandir")
_IMPORTS = ("<frozen importlib", os.path.dirname(importlib.__file__) + os.sep, pkgutil.__file__)

_recording: list[FilesRead] = []
_installed: list[bool] = []

_Status = tuple[int, int, int] | None


class FilesRead:
    """Records, while it is open, which ordinary files below `root` are opened for reading, and which folders are listed.

    Seen is what Python opens in any thread of this process; Python files, folders of tools and
    what is written meanwhile are left out.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        given = os.path.abspath(root)
        self._prefixes = tuple({os.path.join(folder, "") for folder in (given, os.path.realpath(given))})
        self._read: dict[str, _Status] = {}
        self._written: set[str] = set()

    def __enter__(self) -> FilesRead:
        if not _installed:  # a hook stays for as long as the process
            _installed.append(True)
            sys.addaudithook(_hook)
        _recording.append(self)
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None) -> None:
        _recording.remove(self)

    def files(self) -> dict[str, str]:
        """Return path relative to root → what `still_true` compares; folders end with a slash."""
        found = {}
        for name, status in sorted(self._read.items()):
            if name not in self._written:
                path = os.path.join(self._root, name)
                found[name] = _content(path) if _status(path) == status or name.endswith(os.sep) else CHANGED
        return found

    def saw(self, event: str, arguments: tuple[object, ...]) -> None:
        """Take in an audit event; it comes before what it tells of."""
        name = self._name(arguments[0])
        if event == "os.rename":
            self._written.update(filter(None, (name, self._name(arguments[1]))))
        elif event in _LISTS:
            if name is not None and not _is_import():
                self._read.setdefault(os.path.join(name or ".", ""), None)
        elif name is not None and _is_written(arguments):
            self._written.add(name)
        elif name and name not in self._read and not name.endswith(_CODE):
            status = _status(os.path.join(self._root, name))
            if status is None or stat.S_ISREG(status[0]):
                self._read[name] = status

    def _name(self, path: object) -> str | None:
        """The path relative to root; None for what is not below it, or a tool's."""
        if path is None:
            path = "."
        if not isinstance(path, str | bytes | os.PathLike):
            return None
        full = os.path.abspath(os.fsdecode(path))
        prefix = next((prefix for prefix in self._prefixes if f"{full}{os.sep}".startswith(prefix)), None)
        if prefix is None:
            return None
        name = full[len(prefix) :]
        return None if not _FOREIGN.isdisjoint(name.split(os.sep)) else name


def still_true(files: Mapping[str, str], root: Path) -> bool:
    """Tell whether all files that `FilesRead.files` gave still have the content that they had."""
    return all(_content(os.path.join(root, name)) == content for name, content in files.items())


def _hook(event: str, arguments: tuple[object, ...]) -> None:
    if not _recording or (event not in ("open", "os.rename") and event not in _LISTS):
        return
    try:
        for recorder in tuple(_recording):
            recorder.saw(event, arguments)
    except Exception:  # noqa: S110 - whoever opens a file must not learn of us
        pass


def _is_written(arguments: tuple[object, ...]) -> bool:
    mode, flags = arguments[1], arguments[2]
    return bool(isinstance(flags, int) and flags & _WRITING) or bool(isinstance(mode, str) and set(mode) & set("wax+"))


def _is_import() -> bool:
    """Whether it is Python that looks for modules."""
    return sys._getframe(3).f_code.co_filename.startswith(_IMPORTS)


def _status(path: str) -> _Status:
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_mode, status.st_size, status.st_mtime_ns


def _content(path: str) -> str:
    try:
        if path.endswith(os.sep):
            names = [name for name in os.listdir(path) if name not in _FOREIGN and not name.endswith(_CODE)]
            return hashlib.sha256("\0".join(sorted(names)).encode("utf-8", "surrogateescape")).hexdigest()
        status = os.stat(path)
        if status.st_size > BIG:
            return f"{status.st_size} bytes of {status.st_mtime_ns}"
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except FileNotFoundError:
        return "missing"
    except OSError:
        return "unreadable"
