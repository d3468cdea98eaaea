"""The application on a server in a thread of this process."""

from __future__ import annotations

import os
import socket
import threading
from typing import Any

from ..errors import AppError
from .appserver import serving
from .loading import told
from .stacks import stack_of

__all__ = ["ThreadServer"]


class ThreadServer:
    """An application that runs in a thread.

    Args:
        app: the application.
        interface: what it is, "wsgi" or "asgi".
        listener: the socket that it answers on; closed in the end.
        timeout: seconds that its start may take, and its stop.
    """

    def __init__(self, app: Any, interface: str, listener: socket.socket, timeout: float) -> None:
        self._serving = serving(app, interface, listener)
        self._timeout = timeout
        self._pid = os.getpid()
        self._changed = threading.Event()
        self._is_ready = self._is_stopping = False
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="testbed-app", daemon=True)

    def _run(self) -> None:
        try:
            self._serving.run(self._ready)
        except BaseException as error:  # SystemExit as well: a thread would end without a word
            self._error = error
        finally:
            self._changed.set()

    def _ready(self) -> None:
        self._is_ready = True
        self._changed.set()

    def start(self) -> None:
        """Start it; returns when it answers.

        Raises:
            AppError: it did not start; has its traceback, or where it hangs.
        """
        self._thread.start()
        if not self._changed.wait(self._timeout):
            stack = stack_of(self._thread.ident or 0)
            self._is_stopping = True
            self._serving.stop()
            raise AppError(
                f"the application has not started within {self._timeout:g} s (testbed_app_timeout). It is here:\n{stack}"
            )
        if not self._is_ready:
            self._thread.join(self._timeout)
            raise AppError(f"the application could not be started:\n{self._why()}") from self._error

    def _why(self) -> str:
        if isinstance(self._error, SystemExit):
            return f"it called sys.exit({self._error.code!r})\n{told(self._error)}"
        if isinstance(self._error, AppError):
            return str(self._error).rstrip()
        return told(self._error) if self._error is not None else "its server ended without an error"

    def fault(self, patience: float = 0) -> str:
        """Return why it does not run any more, "" while it does; waits so many seconds for its end."""
        if self._is_stopping or os.getpid() != self._pid:
            return ""
        self._thread.join(patience)
        if self._thread.is_alive():
            return ""
        return f"the application has ended by itself:\n{self._why()}"

    def stop(self) -> str:
        """End it; return what did not go well, "" for nothing."""
        if os.getpid() != self._pid:
            return ""  # a forked child has no such thread
        fault = self.fault()
        self._is_stopping = True
        self._serving.stop()
        self._thread.join(self._timeout)
        if self._thread.is_alive():
            return (
                f"the application has not ended within {self._timeout:g} s (testbed_app_timeout): {self._serving.unfinished()}. "
                f"Its thread is left behind; it is here:\n{stack_of(self._thread.ident or 0)}"
            )
        if not fault and self._error is not None:
            return f"the application ended with an error:\n{self._why()}"
        return fault
