"""What is put right when a test leaves its directory: where the process is, and that pytest can delete it."""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from pathlib import Path

__all__ = ["current", "go_back", "make_deletable"]


def current() -> str:
    """Return the process's working directory; "" where somebody has deleted it."""
    try:
        return os.getcwd()
    except FileNotFoundError:
        return ""


def go_back(path: str) -> None:
    """Make a directory the working directory again; where it is gone there is no way back."""
    with suppress(FileNotFoundError, NotADirectoryError):
        os.chdir(path or os.path.sep)


def make_deletable(root: Path) -> None:
    """Let folders be entered and changed again: a test may have forbidden it, and pytest is to delete them."""
    waiting = [] if root.is_symlink() else [os.fspath(root)]
    while waiting:
        folder = waiting.pop()
        with suppress(OSError):  # it is gone, or somebody else's
            mode = stat.S_IMODE(os.stat(folder, follow_symlinks=False).st_mode)
            if mode & stat.S_IRWXU != stat.S_IRWXU:
                os.chmod(folder, mode | stat.S_IRWXU)
            with os.scandir(folder) as entries:
                waiting += [entry.path for entry in entries if entry.is_dir(follow_symlinks=False)]
