"""Where processes meet one host: a Unix socket in a private directory, beside it a lock that holds the key.

Whoever comes first, under the lock, starts the host; everybody else joins it. The socket listens before
its host runs, so nobody has to wait or to try again. A lock ends with its process, however that ends.
"""

from __future__ import annotations

import _socket  # the class below `socket.socket`: what blockers of tests replace is the Python one
import os
import select
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from .places import SOCKET_PATH_LIMIT, private, shared_temporary, state_directory

__all__ = ["Place", "place_named"]

BACKLOG = 128


class Place:
    """A place where a host may be met.

    Args:
        path: the socket's path; the lock has the same with another suffix.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = path.with_suffix(".lock")

    @contextmanager
    def locked(self) -> Iterator[Door]:
        """Hold the lock: nobody else comes or goes meanwhile.

        Raises:
            OSError: the directory is gone, or cannot be written.
        """
        import fcntl

        while True:
            file = os.open(self._lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                fcntl.flock(file, fcntl.LOCK_EX)
                if not self._is_current(file):
                    continue  # whoever had it before us has removed it
                yield Door(self.path, self._lock, file)
                return
            finally:
                os.close(file)

    def touch(self) -> None:
        """Show that somebody is here still: old files are taken for forgotten ones."""
        for path in (self.path, self._lock):
            with suppress(OSError):
                os.utime(path)

    def _is_current(self, file: int) -> bool:
        with suppress(OSError):
            return os.path.samestat(os.fstat(file), os.stat(self._lock))
        return False


class Door:
    """What can be done at a place while its lock is held.

    Args:
        path: the socket's path.
        lock: the lock's path.
        file: the lock's descriptor.
    """

    def __init__(self, path: Path, lock: Path, file: int) -> None:
        self._path = path
        self._lock = lock
        self._file = file

    @property
    def key(self) -> str:
        """What the host that listens here wants to hear."""
        return os.pread(self._file, 100, 0).decode()

    def connect(self) -> _socket.socket | None:
        """Return a connection to the host, or None where there is none."""
        connection = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
        try:
            connection.connect(str(self._path))
        except OSError:  # no socket, or one whose host is dead
            connection.close()
            return None
        return connection

    def listen(self, key: str) -> _socket.socket:
        """Return a socket that listens here, for a host that is about to be started; `key` is what it wants to hear.

        Raises:
            OSError: the socket cannot be made.
        """
        with suppress(FileNotFoundError):
            os.unlink(self._path)
        os.ftruncate(self._file, 0)
        os.pwrite(self._file, key.encode(), 0)
        listener = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
        try:
            listener.bind(str(self._path))
            os.chmod(self._path, 0o600)
            listener.listen(BACKLOG)
        except OSError:
            listener.close()
            raise
        return listener

    def clear(self) -> None:
        """Remove what stands here: the host goes."""
        for path in (self._path, self._lock):
            with suppress(OSError):
                os.unlink(path)


def accept(listener: _socket.socket) -> _socket.socket:
    """Return the next connection."""
    descriptor, _ = listener._accept()  # type: ignore[attr-defined]
    return _socket.socket(fileno=descriptor)


def somebody_waits(listener: _socket.socket) -> bool:
    """Tell whether somebody has connected whom nobody let in yet."""
    return bool(select.select([listener], [], [], 0)[0])


def place_named(name: str) -> Place | None:
    """Return the place of that name; None where no private directory with a short enough path can be had."""
    state = state_directory()
    for parent in (state, shared_temporary()):
        directory = parent and parent / "runs"
        if directory is not None and len(os.fsencode(directory / f"{name}.sock")) <= SOCKET_PATH_LIMIT and private(directory):
            return Place(directory / f"{name}.sock")
    return None
