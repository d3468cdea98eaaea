"""Where things may lie: caches and state that outlive a run, one private directory per run."""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Mapping
from pathlib import Path

__all__ = [
    "PREFIX",
    "cache_directory",
    "cache_place",
    "private",
    "remove_tree",
    "run_directory",
    "shared_place",
    "shared_temporary",
    "socket_directory",
    "socket_of",
    "state_directory",
    "state_place",
    "temporary",
    "unfit",
]

PREFIX = "testbed-"
"""Every directory of a run has a name with this prefix: nothing else is ever removed."""

ROOM = 512 * 1024 * 1024
"""Free bytes that a memory file system must have before data goes there."""

SOCKET_PATH_LIMIT = 103
"""Bytes of a Unix socket's path that every system takes (Linux 107, macOS 103)."""


def private(path: Path) -> Path | None:
    """Return `path` as a writable directory that only this user can change, or None.

    It is made where it is missing. A directory that belongs to somebody else, is a symbolic link, or
    can be written by others is not used: who can write there could hand us binaries or data.
    """
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError:
        return None
    return None if unfit(path) else path


def unfit(path: Path) -> str:
    """Return in words why a directory that is there is not used, "" where nothing is wrong with it."""
    try:
        facts = path.lstat()
    except OSError as error:
        return (error.strerror or "cannot be seen").lower()
    if not stat.S_ISDIR(facts.st_mode):
        return "a symbolic link" if stat.S_ISLNK(facts.st_mode) else "no directory"
    if hasattr(os, "geteuid"):
        if facts.st_uid != os.geteuid():
            return f"belongs to the user {facts.st_uid}"
        if facts.st_mode & 0o022:
            return f"can be written by others (mode {facts.st_mode & 0o777:03o})"
    return "" if os.access(path, os.W_OK | os.X_OK) else f"may not be written (mode {facts.st_mode & 0o777:03o})"


def _in_shared(name: str) -> Path | None:
    shared = shared_temporary()
    return private(shared / name) if shared is not None else None


def shared_temporary() -> Path | None:
    """Return the directory for this user's files that have no better place; None where none is this user's alone."""
    try:
        return private(shared_place())
    except OSError:
        return None


def shared_place() -> Path:
    """Return where that directory is, or would be."""
    user = os.geteuid() if hasattr(os, "geteuid") else os.environ.get("USERNAME", "user")
    return temporary() / f"pytest-testbed-{user}"


def temporary() -> Path:
    """Return the directory for temporary files.

    Raises:
        OSError: there is none.
    """
    import tempfile  # costs the host process some milliseconds, and is seldom needed

    return Path(tempfile.gettempdir())


def cache_directory(chosen: str = "", environ: Mapping[str, str] = os.environ) -> Path | None:
    """Return the directory for what later runs may use again; None where none can be written.

    Args:
        chosen: the user's own choice; it alone is tried then.
        environ: where `XDG_CACHE_HOME` is read.
    """
    return private(cache_place(chosen, environ)) or (None if chosen else _in_shared("cache"))


def cache_place(chosen: str = "", environ: Mapping[str, str] = os.environ) -> Path:
    """Return where the cache directory is to be, if it can be there."""
    if chosen:
        return Path(chosen).expanduser()
    home = Path.home()
    if sys.platform == "darwin":
        usual = home / "Library" / "Caches"
    else:
        usual = Path(environ.get("XDG_CACHE_HOME") or home / ".cache")
    return usual / "pytest-testbed"


def state_directory(environ: Mapping[str, str] = os.environ) -> Path | None:
    """Return the directory of the ledger; None where none can be written."""
    return private(state_place(environ)) or _in_shared("state")


def state_place(environ: Mapping[str, str] = os.environ) -> Path:
    """Return where the directory of the ledger is to be, if it can be there."""
    return Path(environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state") / "pytest-testbed"


def _has_room(path: Path) -> bool:
    try:
        facts = os.statvfs(path)
        return os.access(path, os.W_OK | os.X_OK) and facts.f_bavail * facts.f_frsize >= ROOM
    except OSError:
        return False


def run_directory(run: str, chosen: Path | None = None) -> Path:
    """Return the path for a run's own directory: in memory where there is room, else temporary.

    It is not made here, so that the ledger can be written first.
    """
    if chosen is not None:
        return chosen / f"{PREFIX}{run}"
    memory = Path("/dev/shm")
    base = memory if sys.platform == "linux" and _has_room(memory) else temporary()
    return base / f"{PREFIX}{run}"


def socket_directory(directory: Path, run: str, longest: str) -> Path:
    """Return where a socket with the file name `longest` fits: in `directory`, or in a short one.

    The caller makes it (and writes it to the ledger first where it is not below `directory`).
    """
    inside = directory / "s"
    if len(os.fsencode(inside / longest)) <= SOCKET_PATH_LIMIT:
        return inside
    return Path("/tmp") / f"{PREFIX}{run}"


def socket_of(directory: Path, run: str) -> Path:
    """Return where the host of a run listens: beside the run's record, in the directory of the records."""
    return directory / f"{run}.sock"


def remove_tree(path: Path) -> None:
    """Remove a run's directory; harmless when it is gone.

    Raises:
        OSError: something in it cannot be removed.
        ValueError: the name is not one of ours.
    """
    import shutil

    if not path.name.startswith(PREFIX) or path.is_symlink():
        raise ValueError(f"{path} is not a directory of a run; it is left alone.")
    for _ in range(3):  # a dying server may still write a file while we list
        try:
            shutil.rmtree(path)
        except OSError:
            if not path.exists():
                return
        else:
            return
    shutil.rmtree(path)
