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
    "private",
    "remove_tree",
    "run_directory",
    "shared_temporary",
    "socket_directory",
    "socket_of",
    "state_directory",
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
        facts = path.lstat()
        if not stat.S_ISDIR(facts.st_mode) or not os.access(path, os.W_OK | os.X_OK):
            return None
        if hasattr(os, "geteuid") and (facts.st_uid != os.geteuid() or facts.st_mode & 0o022):
            return None
    except OSError:
        return None
    return path


def _in_shared(name: str) -> Path | None:
    shared = shared_temporary()
    return private(shared / name) if shared is not None else None


def shared_temporary() -> Path | None:
    """Return the directory for this user's files that have no better place; None where it is not this user's alone."""
    user = os.geteuid() if hasattr(os, "geteuid") else os.environ.get("USERNAME", "user")
    return private(_temporary() / f"pytest-testbed-{user}")


def _temporary() -> Path:
    import tempfile  # costs the host process some milliseconds, and is seldom needed

    return Path(tempfile.gettempdir())


def cache_directory(chosen: str = "", environ: Mapping[str, str] = os.environ) -> Path | None:
    """Return the directory for what later runs may use again; None where none can be written.

    Args:
        chosen: the user's own choice; it alone is tried then.
        environ: where `XDG_CACHE_HOME` is read.
    """
    if chosen:
        return private(Path(chosen).expanduser())
    home = Path.home()
    if sys.platform == "darwin":
        usual = home / "Library" / "Caches"
    else:
        usual = Path(environ.get("XDG_CACHE_HOME") or home / ".cache")
    return private(usual / "pytest-testbed") or _in_shared("cache")


def state_directory(environ: Mapping[str, str] = os.environ) -> Path | None:
    """Return the directory of the ledger; None where none can be written."""
    usual = Path(environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state")
    return private(usual / "pytest-testbed") or _in_shared("state")


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
    base = memory if sys.platform == "linux" and _has_room(memory) else _temporary()
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
