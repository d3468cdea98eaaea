"""Writes trees into a directory: from a dict, or as a copy of a folder."""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from .inside import inside, shown, source, writable
from .tree import Link, entry_of, walk

__all__ = ["copy_into", "flat", "write_tree"]

WHAT = "a str, bytes, a dict (a folder), a Link, or a path (a file or folder that is copied)"


def write_tree(root: Path, tree: Mapping[str, object], bases: Sequence[Path]) -> None:
    """Write what a dict says.

    All of it is looked at before anything is written.

    Args:
        root: the directory.
        tree: names with contents; see `WorkDir.write`.
        bases: where relative paths of what is copied begin.

    Raises:
        ValueError: a name leads out of the directory.
        TypeError: a content is of no use.
        FileNotFoundError: what is to be copied is not there.
    """
    __tracebackhide__ = True
    rows = [(name, source(content, bases) if isinstance(content, os.PathLike) else content) for name, content in flat(tree)]
    for name, content in rows:
        _place(root, name, content)
    for name, content in rows:
        path = _place(root, name, content)  # once more: what was written meanwhile may be a link
        path.parent.mkdir(parents=True, exist_ok=True)
        match content:
            case str() | bytes():
                write_file(path, content)
            case Link(target=target):
                _link(path, str(target))
            case Path():
                copy_into(root, name, content)
            case _:
                path.mkdir(exist_ok=True)


def _place(root: Path, name: str, content: object) -> Path:
    __tracebackhide__ = True
    return inside(root, name) if isinstance(content, Link) else writable(root, name)  # a link is replaced, not followed


def flat(tree: Mapping[str, object], prefix: str = "") -> Iterator[tuple[str, object]]:
    """Yield each name with its content; of folders only those with nothing in them.

    Raises:
        TypeError: a name or a content is of no use.
    """
    __tracebackhide__ = True
    for name, content in tree.items():
        if not isinstance(name, (str, os.PathLike)):
            raise TypeError(f"{name!r} is no name of a file; a str is.")
        whole = prefix + os.fspath(name)
        if isinstance(content, Mapping) and content:
            yield from flat(content, f"{whole}/")
        elif isinstance(content, (str, bytes, bytearray, memoryview, Link, os.PathLike, Mapping)):
            yield whole, bytes(content) if isinstance(content, (bytearray, memoryview)) else content
        else:
            hint = " json.dumps(...) makes a text of it." if isinstance(content, (list, tuple, int, float)) else ""
            raise TypeError(f"{whole!r} cannot be written from a {type(content).__name__}: what is in a file is {WHAT}.{hint}")


def write_file(path: Path, content: str | bytes) -> None:
    """Write one file; text is UTF-8, its line endings stay as they are.

    Raises:
        FileExistsError: something is there that is no file.
    """
    __tracebackhide__ = True
    if (there := entry_of(os.path.realpath(path), path.name)) is not None and there.kind != "file":
        raise FileExistsError(f"{shown(str(path))} is a {there.kind} already.")
    path.write_bytes(content.encode("utf-8") if isinstance(content, str) else content)


def _link(path: Path, target: str) -> None:
    if path.is_symlink():
        path.unlink()
    path.symlink_to(target)


def copy_into(root: Path, name: str, origin: Path) -> None:
    """Copy a file or a folder under a name; links stay links, executable files are so again, and all can be written to.

    Args:
        root: the directory.
        name: of the copy in it; "" for the directory itself.
        origin: what is copied.

    Raises:
        ValueError: the directory is in the folder that is copied, or a link leads out of it.
        OSError: something in the folder can be neither read nor copied.
    """
    __tracebackhide__ = True
    target = writable(root, name) if name else root
    if not origin.is_dir():
        target.parent.mkdir(parents=True, exist_ok=True)
        _copy_file(origin, target)
        return
    if Path(os.path.realpath(root)).is_relative_to(os.path.realpath(origin)):
        raise ValueError(f"{str(origin)!r} cannot be copied into the workdir, which is in it.")
    target.mkdir(parents=True, exist_ok=True)
    for entry in list(walk(origin)):
        copy = _place(root, os.path.join(name, entry.name), Link("") if entry.kind == "link" else None)
        match entry.kind:
            case "folder":
                copy.mkdir(exist_ok=True)
            case "link":
                _link(copy, entry.target)
            case "file":
                _copy_file(Path(entry.path), copy)
            case kind:
                raise OSError(f"{entry.path!r} cannot be copied: it is no file, folder or link ({kind}).")


def _copy_file(origin: Path, copy: Path) -> None:
    write_file(copy, b"")
    shutil.copyfile(origin, copy)
    # a checkout may be read-only; its copy is the test's own
    copy.chmod(stat.S_IMODE(origin.stat().st_mode) | stat.S_IRUSR | stat.S_IWUSR)
