"""The threads that accept connections for all sites and serve them.

One thread at a time waits for connections. The one that gets a connection serves it itself, and another takes its place:
handing each connection to a thread of its own costs twice as much.
"""

from __future__ import annotations

import errno
import selectors
import socket
import threading
import time
from contextlib import suppress
from typing import Any, Protocol

__all__ = ["Listening", "Serving"]

SPARE = 4
"""Threads without a connection that are kept."""
LAST_WAIT = 1.0
"""Seconds in which threads end; one that runs a stub's own code may never do."""
EXHAUSTED = (errno.EMFILE, errno.ENFILE)
PAUSE = 0.02
"""Seconds until it is tried again where no file can be opened any more."""


class Listening(Protocol):
    """What listens: has a file number, accepts without waiting, and serves what it has accepted until that ends."""

    def fileno(self) -> int:
        """Return the number of the listening socket."""

    def accept(self) -> tuple[Any, Any]:
        """Return a connection and who it is; OSError where there is none."""

    def serve(self, connection: Any, client: Any) -> None:
        """Serve a connection to its end; raises nothing."""

    def close(self) -> None:
        """Listen no more, and end all connections."""


class Serving:
    """The threads; the first one begins at once."""

    def __init__(self) -> None:
        self._selector = selectors.DefaultSelector()
        self._reader, self._writer = socket.socketpair()
        self._reader.setblocking(False)
        self._selector.register(self._reader, selectors.EVENT_READ)
        self._leading = threading.Lock()
        self._lock = threading.Lock()
        self._threads: set[threading.Thread] = set()
        self._idle = 0
        self._is_over = False
        self._start()

    def add(self, site: Listening) -> None:
        """Accept connections for a site."""
        self._selector.register(site, selectors.EVENT_READ)
        self._wake()

    def remove(self, site: Listening) -> None:
        """Accept no more for a site, and close it."""
        with suppress(KeyError, ValueError):
            self._selector.unregister(site)
        site.close()

    def close(self) -> None:
        """Close all sites and end the threads."""
        self._is_over = True
        self._wake()
        for key in list(self._selector.get_map().values()):
            if key.fileobj is not self._reader:
                self.remove(key.fileobj)  # type: ignore[arg-type]
        end = time.monotonic() + LAST_WAIT
        with self._lock:
            threads = list(self._threads)
        for thread in threads:
            thread.join(max(0.0, end - time.monotonic()))
        if not any(thread.is_alive() for thread in threads):
            self._selector.close()
            self._reader.close()
            self._writer.close()

    def _wake(self) -> None:
        self._writer.send(b"x")

    def _start(self) -> None:
        thread = threading.Thread(target=self._run, name="testbed mock services", daemon=True)
        with self._lock:
            self._threads.add(thread)
            self._idle += 1
        try:
            thread.start()
        except RuntimeError:  # there can be no more of them: those that there are will come back
            self._forget(thread)

    def _forget(self, thread: threading.Thread) -> None:
        with self._lock:
            self._threads.discard(thread)
            self._idle -= 1

    def _run(self) -> None:
        while (found := self._next()) is not None:
            with self._lock:
                self._idle -= 1
                is_last = not self._idle
            if is_last:
                self._start()
            site, connection, client = found
            site.serve(connection, client)
            del site, connection, client, found
            with self._lock:
                self._idle += 1
                if self._idle > SPARE:
                    break
        self._forget(threading.current_thread())

    def _next(self) -> tuple[Listening, Any, Any] | None:
        """Return the next connection; None once all is over."""
        with self._leading:
            while not self._is_over:
                for key, _ in self._selector.select():
                    if key.fileobj is self._reader:
                        if self._is_over:
                            return None  # what was written stays, for the others
                        self._reader.recv(4096)
                        continue
                    site: Any = key.fileobj
                    try:
                        return (site, *site.accept())
                    except OSError as error:  # closed meanwhile, or the client has gone again
                        if error.errno in EXHAUSTED:
                            time.sleep(PAUSE)
        return None
