"""Names in a directory: none leads out of it, not by "..", not from the root, not through a link."""

from __future__ import annotations

import os
from collections.abc import Sequence
from itertools import islice
from pathlib import Path

from ..nearest import suggestion
from .tree import walk

__all__ = ["checked_name", "inside", "nothing_there", "shown", "sized", "some_names", "source", "writable"]

Name = str | os.PathLike[str]
MOST_NAMES = 10
"""Names that an error lists."""
LOOKED_AT = 2000
"""Entries of a tree among which a near name is looked for."""
WIDEST = 120


def checked_name(name: Name) -> str:
    """Return a name as it is, if it cannot lead out of a directory by its look.

    Raises:
        ValueError: it is no relative path, or goes up.
        TypeError: it is no path.
    """
    __tracebackhide__ = True
    text = os.fspath(name)
    if not isinstance(text, str):
        raise TypeError(f"{name!r} is no name of a file; a str or a path is.")
    parts = Path(text).parts
    if not text or "\0" in text:
        raise ValueError(f"{text!r} is no name of a file.")
    if os.path.isabs(text) or Path(text).drive or ".." in parts:
        raise ValueError(f"{text!r} would lead out of the workdir; names in it are relative, without '..'.")
    return text


def inside(root: Path, name: Name) -> Path:
    """Return the path of a name in a directory; an absolute one that is in there is good as well.

    The last part of it may be a link that leads out.

    Raises:
        ValueError: it leads out, by its look or through a folder that is a link.
    """
    __tracebackhide__ = True
    text = os.fspath(name)
    if isinstance(text, str) and os.path.isabs(text) and Path(text).is_relative_to(root):
        name = Path(text).relative_to(root)
    path = root / checked_name(name)
    if path != root:
        _refuse_outside(root, name, path.parent)
    return path


def writable(root: Path, name: Name) -> Path:
    """Return the path of a name in a directory, to which something can be written.

    Raises:
        ValueError: it leads out; also by a link that it is itself.
    """
    __tracebackhide__ = True
    path = inside(root, name)
    _refuse_outside(root, name, path)
    return path


def _refuse_outside(root: Path, name: Name, path: Path) -> None:
    __tracebackhide__ = True
    real = os.path.realpath(path)
    if not Path(real).is_relative_to(os.path.realpath(root)):
        raise ValueError(f"{os.fspath(name)!r} leads out of the workdir, through a link to {real!r}.")


def source(name: Name, bases: Sequence[Path], hint: str = "") -> Path:
    """Return the file or folder that a test means.

    Args:
        name: absolute, or relative to one of the bases.
        bases: where it is looked for, in their order.
        hint: what else the test may have meant, for the error.

    Raises:
        FileNotFoundError: it is in none of them; says where we looked.
    """
    __tracebackhide__ = True
    places = [Path(name)] if os.path.isabs(name) else list(dict.fromkeys(base / name for base in bases))
    for place in places:
        if os.path.lexists(place):
            return place
    near = next((found for place in places if (found := _near_sibling(place))), ".")
    looked = " and ".join(map(repr, map(str, places))) or "no place, as it is relative and there is no test file"
    raise FileNotFoundError(f"there is no file or folder {os.fspath(name)!r}: looked for {looked}{near}{hint}")


def _near_sibling(place: Path) -> str:
    try:
        return suggestion(place.name, os.listdir(place.parent)).rstrip()
    except OSError:
        return ""


def nothing_there(root: Path, name: Name) -> str:
    """Return the words for a name that is not in the directory, with the nearest that is."""
    names = [entry.name for entry in islice(walk(root), LOOKED_AT)]
    text = os.fspath(name)
    near = suggestion(text, names) or suggestion(text, [each for each in names if Path(each).name == Path(text).name])
    return f"there is no {text!r} in the workdir{near or '.'} {some_names(names)}"


def some_names(names: Sequence[str]) -> str:
    """Return a sentence on what is there."""
    if not names:
        return "There is nothing in it."
    more = f" and {len(names) - MOST_NAMES:,} more" if len(names) > MOST_NAMES else ""
    return f"In it: {', '.join(map(shown, names[:MOST_NAMES]))}{more}."


def shown(name: str, widest: int = WIDEST) -> str:
    """Return a name as it can be printed anywhere, and not too long."""
    plain = name if name.isprintable() else repr(name)
    return plain if len(plain) <= widest else f"{plain[: widest // 2]}…{plain[-widest // 2 :]}"


def sized(count: int) -> str:
    """Return a number of bytes for people."""
    size, unit = float(count), "B"
    for larger in ("kB", "MB", "GB"):
        if size < 1000:
            break
        size, unit = size / 1000, larger
    return f"{size:.0f} {unit}" if unit == "B" or size >= 100 else f"{size:.1f} {unit}"
