"""A tree as it is compared: what each name is, with its content when somebody asks for it."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from .selection import Selection, Substitutes
from .tree import Entry, Link, Other, entry_of, is_text, read_bytes, walk
from .writing import flat

__all__ = ["Node", "nodes_of_dict", "nodes_of_path"]

Tree = dict[str, "Node"]


@dataclass(frozen=True)
class Node:
    """What one name is.

    `kind` and `size` are as in `Entry`. `executable` is None where it does not count.
    """

    kind: str
    read: Callable[[], bytes] = field(default=bytes, compare=False)
    executable: bool | None = None
    target: str = ""
    size: int = field(default=0, compare=False)

    def digest(self) -> str:
        """Return a text that is the same for what is the same."""
        content = hashlib.sha256(self.read()).hexdigest() if self.kind == "file" else self.target
        return f"{self.kind} {content} {bool(self.executable)}"


def nodes_of_dict(tree: Mapping[str, object], selection: Selection) -> Tree:
    """Return the nodes of a tree that a test says.

    Raises:
        TypeError: a name or a content is of no use.
    """
    found: Tree = {}
    for name, content in flat(tree):
        name = Path(name).as_posix()
        match content:
            case str() | bytes():
                data = content.encode("utf-8") if isinstance(content, str) else content
                node = Node("file", _just(data), size=len(data))
            case Link(target=target):
                node = Node("link", target=str(target))
            case os.PathLike():
                raise TypeError(f"{name!r} is a path; say what is in it: Path(...).read_text(), or compare with a folder.")
            case _:
                node = Node("folder")
        if selection.has(name):
            found[name] = node
    return found


def nodes_of_path(path: Path, selection: Selection, substitutes: Substitutes | None = None, *, folders: bool = False) -> Tree:
    """Return the nodes of a folder, or of a file, whose name is "" then.

    Args:
        path: the folder or file.
        selection: names that are compared.
        substitutes: what is put in place of what changes; None for a golden tree, where it stands already.
        folders: whether empty folders count.

    Raises:
        ValueError: two names become one by what is put in place.
        OSError: something cannot be read.
    """
    if not path.is_dir():
        entry = entry_of(path, "")
        return {} if entry is None else {"": _node(entry, substitutes)}
    found: Tree = {}
    for entry in walk(path, selection.ignores):
        if entry.kind == "folder" and not (folders and entry.is_empty):
            continue
        name = substitutes.text(entry.name) if substitutes is not None else entry.name
        if not selection.has(entry.name) or not selection.has(name):
            continue
        if name in found:
            raise ValueError(f"replacing= makes two names one: {entry.name!r} becomes {name!r}, which there is already.")
        found[name] = _node(entry, substitutes)
    return found


def _node(entry: Entry, substitutes: Substitutes | None) -> Node:
    text = substitutes.text if substitutes is not None else str
    if entry.kind == "link":
        return Node("link", target=text(entry.target))
    if entry.kind != "file":
        return Node(entry.kind)

    def read() -> bytes:
        data = read_bytes(entry.path)
        return text(data.decode("utf-8")).encode("utf-8") if substitutes is not None and is_text(data) else data

    return Node("file", read, entry.is_executable if os.name == "posix" else None, size=entry.size)


def _just(data: bytes) -> Callable[[], bytes]:
    return lambda: data


def unkept(tree: Tree) -> list[tuple[str, Other]]:
    """Return what no golden tree can have, with what it is."""
    return [(name, Other(node.kind)) for name, node in tree.items() if node.kind not in ("file", "link", "folder")]
