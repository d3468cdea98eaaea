"""A thread that tells the host what its process is like, while the main thread waits for the host.

An application may connect when it is imported: Python is in the middle of an import then, and waits for an
answer. So nothing is imported here later, and the thread is made without `threading`, of which the
application may have made something else.
"""

from __future__ import annotations

import _socket
import _thread
import os
import sys
from contextlib import suppress
from typing import Any

from ..errors import HostError
from .wire import Wire

__all__ = ["Witness"]

PATIENCE = 1.0


class Witness:
    """Answers the host with the process's `sys.path`, environment and working directory, until `close`.

    It must not live longer than it is needed: a process with threads should not be forked.
    """

    def __init__(self) -> None:
        ours, theirs = _socket.socketpair()  # type: ignore[attr-defined,unused-ignore]
        self._wire = Wire(ours)
        self._socket, self._theirs = ours, theirs
        self._pid = os.getpid()

    @property
    def theirs(self) -> int:
        """The descriptor for the host."""
        return int(self._theirs.fileno())

    def begin(self) -> None:
        """Be ready to answer, once the host has its end."""
        self._theirs.close()
        _thread.start_new_thread(self._answer, ())

    def _answer(self) -> None:
        with suppress(EOFError, HostError):
            while True:
                self._wire.receive()
                self._wire.send(surroundings())

    def close(self) -> None:
        """Answer no more; leave the host what it may ask later."""
        if self._pid == os.getpid() and self._socket.fileno() >= 0:
            with suppress(OSError):
                self._socket.shutdown(_socket.SHUT_RD)
            self._socket.settimeout(PATIENCE)  # nobody may ever read it
            with suppress(HostError):
                self._wire.send(surroundings())
            self._socket.close()


def surroundings() -> dict[str, Any]:
    """Return what another process needs to import what this one would."""
    directory = ""
    with suppress(OSError):
        directory = os.getcwd()
    return {"path": [entry for entry in sys.path if isinstance(entry, str)], "environ": dict(os.environ), "directory": directory}
