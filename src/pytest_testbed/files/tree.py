"""What is in a directory, entry by entry: links are not followed, and nothing but regular files is ever opened."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Entry", "Link", "Other", "contents", "entry_of", "is_text", "read_bytes", "text_or_bytes", "walk"]

KINDS = {
    stat.S_IFREG: "file",
    stat.S_IFDIR: "folder",
    stat.S_IFLNK: "link",
    stat.S_IFIFO: "FIFO",
    stat.S_IFSOCK: "socket",
    stat.S_IFCHR: "device",
    stat.S_IFBLK: "device",
}


@dataclass(frozen=True)
class Link:
    """A symbolic link in a tree, as it is written and as `WorkDir.tree` shows it.

    Args:
        target: where it leads, as it stands in the link.
    """

    target: str | os.PathLike[str]

    def __post_init__(self) -> None:
        object.__setattr__(self, "target", os.fspath(self.target))


@dataclass(frozen=True)
class Other:
    """What is neither a file, a folder nor a link: a FIFO, a socket, a device, or what cannot be looked at."""

    kind: str


@dataclass(frozen=True)
class Entry:
    """One name in a directory.

    `name` is its path from there, with "/". `kind` is "file", "folder", "link", "FIFO", "socket", "device", or the
    system's words for why nobody can look at it.
    """

    name: str
    path: str
    kind: str
    size: int = 0
    modified_ns: int = 0
    is_executable: bool = False
    target: str = ""
    is_empty: bool = False
    """Of a folder: that there is nothing in it."""


def entry_of(path: str | Path, name: str) -> Entry | None:
    """Return what a path is, None where there is nothing."""
    path = os.fspath(path)
    try:
        status = os.lstat(path)
        kind = KINDS.get(stat.S_IFMT(status.st_mode), "device")
        target = os.readlink(path) if kind == "link" else ""
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        return Entry(name, path, error.strerror or str(error))
    return Entry(name, path, kind, status.st_size, status.st_mtime_ns, bool(status.st_mode & stat.S_IXUSR), target)


def walk(root: str | Path, skip: Callable[[str], bool] = lambda name: False) -> Iterator[Entry]:
    """Yield all that is in a directory, each folder before what is in it, sorted by names.

    Args:
        root: the directory.
        skip: tells of a name that it is left out, with all that is in it.
    """
    # no recursion: a tree may be deeper than Python's stack
    root = os.fspath(root)
    try:
        waiting = _chosen(os.listdir(root), "", skip)
    except (FileNotFoundError, NotADirectoryError):
        return
    except OSError as error:
        yield Entry(".", root, f"folder, {error.strerror}")
        return
    while waiting:
        name = waiting.pop()
        entry = entry_of(os.path.join(root, name), name)
        if entry is None:
            continue  # somebody has just removed it
        if entry.kind != "folder":
            yield entry
            continue
        try:
            inside = os.listdir(entry.path)
        except FileNotFoundError:
            continue
        except OSError as error:
            yield Entry(name, entry.path, f"folder, {error.strerror}")
            continue
        yield Entry(name, entry.path, "folder", 0, entry.modified_ns, is_empty=not inside)
        waiting += _chosen(inside, f"{name}/", skip)


def _chosen(names: list[str], prefix: str, skip: Callable[[str], bool]) -> list[str]:
    """Return the names in a folder that are not left out, the first at the end."""
    return [prefix + name for name in sorted(names, reverse=True) if not skip(prefix + name)]


def read_bytes(path: str | Path, most: int = -1) -> bytes:
    """Return the bytes of a regular file, which a link may lead to.

    Args:
        path: of the file.
        most: how many; -1 for all.

    Raises:
        OSError: it cannot be read, or is no regular file: a FIFO would let its reader wait for ever.
    """
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    mode = os.fstat(descriptor).st_mode
    if not stat.S_ISREG(mode):
        os.close(descriptor)
        raise OSError(f"{os.fspath(path)!r} is no file but a {KINDS.get(stat.S_IFMT(mode), 'device')}.")
    with os.fdopen(descriptor, "rb") as file:
        return file.read(most)


def is_text(data: bytes) -> bool:
    """Tell whether bytes are text for people: UTF-8 without a zero."""
    return isinstance(text_or_bytes(data), str)


def text_or_bytes(data: bytes) -> str | bytes:
    """Return the text that bytes are in UTF-8; the bytes where they are none."""
    if b"\0" in data:
        return data
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        return data


def contents(root: str | Path, skip: Callable[[str], bool]) -> dict[str, object]:
    """Return what is in a directory as `WorkDir.write` takes it.

    Args:
        root: the directory.
        skip: tells of a name that it is left out.
    """
    found: dict[str, object] = {}
    for entry in walk(root, skip):
        match entry.kind:
            case "file":
                found[entry.name] = text_or_bytes(read_bytes(entry.path))
            case "folder":
                if entry.is_empty:
                    found[entry.name] = {}
            case "link":
                found[entry.name] = Link(entry.target)
            case kind:
                found[entry.name] = Other(kind)
    return found
