"""Options whose lines say something of folders, such as 'database: tests/api tests/functional'."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import pytest

__all__ = ["inside", "joined", "refuse_absent", "taken_apart"]


def joined(lines: Sequence[str]) -> list[str]:
    """Return the lines as they were meant: one that has blanks was taken apart where it stood alone."""
    return [" ".join(lines)] if lines and lines[0].endswith(":") and not any(":" in each for each in lines[1:]) else list(lines)


def taken_apart(lines: Sequence[str]) -> Iterator[tuple[str, list[str] | None]]:
    """Yield the word of each line, and the folders behind its colon, None where it has no colon."""
    for line in joined(lines):
        word, colon, folders = line.partition(":")
        yield word.strip(), folders.split() if colon else None


def inside(root: Path, name: str) -> Path:
    """Return a folder that is named from the root directory, without the detours that its name may have."""
    return Path(os.path.normpath(root / name))


def refuse_absent(option: str, source: str, root: Path, folders: Iterable[Path]) -> None:
    """Refuse a folder that is not there: what a line says of its tests would be lost.

    Args:
        option: name of the option.
        source: where it was said.
        root: the root directory.
        folders: what the option names; files as well.

    Raises:
        pytest.UsageError: names it, and the nearest that is there.
    """
    for folder in folders:
        if not folder.exists():
            from .nearest import suggestion

            missing = next(each for each in (folder, *folder.parents) if each.parent.is_dir())
            near = [shown_from(root, entry) for entry in missing.parent.iterdir()]
            raise pytest.UsageError(
                f"{option} (from {source}) names the folder {shown_from(root, folder)!r}, "
                f"which is not there: {folder}{suggestion(shown_from(root, missing), near) or '.'}"
            )


def shown_from(root: Path, path: Path) -> str:
    """Return a path as one that is named from the root directory, if it lies there."""
    return str(path.relative_to(root) if path.is_relative_to(root) else path)
