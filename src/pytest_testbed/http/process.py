"""The application on a server in a process of its own."""

from __future__ import annotations

import json
import os
import selectors
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from ..errors import AppError, ConfigurationError
from . import runner

__all__ = ["ProcessServer"]

SHOWN = 50
"""Lines of a log that an error shows."""
READ = 200_000
"""Bytes of a log that are looked at."""


class ProcessServer:
    """An application that runs in its own process.

    Args:
        path: the application's, module:name or module:name().
        said: where that stands.
        interface: what it is, "wsgi" or "asgi"; "" for what its signature says.
        listener: the socket that it answers on; closed here once the process has it.
        timeout: seconds that its start may take, and its stop.
        block: the hosts that it may reach, as `Guard.from_told` has them; None for all.
    """

    def __init__(
        self, path: str, said: str, interface: str, listener: socket.socket, timeout: float, block: Mapping[str, Any] | None
    ) -> None:
        self.interface = interface
        self._told = {"app": path, "said": said, "interface": interface, "block": block}
        self._listener = listener
        self._timeout = timeout
        self._pid = os.getpid()
        self._ended = threading.Event()
        self._is_stopping = False
        self._code: Any = None
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 - until the process has ended

    def start(self) -> None:
        """Start it; returns when it answers.

        Raises:
            AppError: it did not start; has its traceback or its log, or where it hangs.
            ConfigurationError: there is no such application.
        """
        if os.name != "posix":
            raise AppError("testbed_app_server = process is for Linux and macOS; here take thread, which is the default.")
        reader, writer = os.pipe()
        self._heard, heard = socket.socketpair()
        try:
            self._begin(writer)
        finally:
            os.close(writer)
        threading.Thread(target=self._wait, args=(heard,), name="testbed-app-watch", daemon=True).start()
        try:
            self._settle(self._answer(reader))
        except BaseException:
            self.stop()
            raise
        finally:
            os.close(reader)

    def _begin(self, writer: int) -> None:
        told = {
            **self._told,
            "path": [os.path.abspath(each) if each == "" else each for each in sys.path],
            "owner": self._pid,
            "pipe": writer,
            "socket": self._listener.fileno(),
        }
        self._process = subprocess.Popen(
            [sys.executable, "-u", "-P", runner.__file__],
            stdin=subprocess.PIPE,
            stdout=self._log,
            stderr=subprocess.STDOUT,
            pass_fds=(writer, self._listener.fileno()),
            start_new_session=True,  # Ctrl-C is pytest's; and it is ended with all that it has started
        )
        assert self._process.stdin is not None
        with suppress(BrokenPipeError), self._process.stdin as stdin:
            stdin.write(json.dumps(told).encode() + b"\n")
        self._listener.close()

    def _wait(self, heard: socket.socket) -> None:
        """Note its end, and leave it a zombie: its number is nobody else's until those that it has left are ended, too."""
        with heard:
            self._code = os.waitid(os.P_PID, self._process.pid, os.WEXITED | os.WNOWAIT)
            self._ended.set()

    def _answer(self, reader: int) -> dict[str, Any]:
        """Wait for what the process says of its start."""
        said = b""
        with selectors.DefaultSelector() as selector:
            selector.register(reader, selectors.EVENT_READ)
            selector.register(self._heard, selectors.EVENT_READ)
            while True:  # each turn brings more of what it says, or an end
                found = [key.fileobj for key, _ in selector.select(self._timeout)]
                if not found:
                    raise AppError(
                        f"the application has not started within {self._timeout:g} s (testbed_app_timeout). It is here:\n"
                        f"{self._stacks()}"
                    )
                more = os.read(reader, 65536) if reader in found else b""
                said += more
                if said.endswith(b"\n"):
                    return dict(json.loads(said))
                if not more and (self._heard in found or self._ended.wait(self._timeout)):
                    raise AppError(f"the application could not be started: {self._end()}")

    def _settle(self, said: dict[str, Any]) -> None:
        if "error" in said:
            kind = ConfigurationError if said["kind"] == "ConfigurationError" else AppError
            raise kind(said["error"])
        self.interface = said["interface"]

    def _stacks(self) -> str:
        """Return where its threads are: it is asked by a signal, and writes it to its log."""
        before = self.log_size()
        os.kill(self._process.pid, signal.SIGUSR1)
        pause = threading.Event()
        for _ in range(200):
            if self.log(before).endswith("\n"):
                break
            pause.wait(0.01)
        pause.wait(0.02)  # for the rest of it
        return self.log(before).rstrip() or self.tail()

    # --- its log

    def log_size(self) -> int:
        """Return how many bytes it has written."""
        return os.fstat(self._log.fileno()).st_size if not self._log.closed else 0

    def log(self, since: int = 0) -> str:
        """Return what it has written since it had written so many bytes."""
        if self._log.closed:
            return ""
        begin = max(since, self.log_size() - READ)
        return os.pread(self._log.fileno(), READ, begin).decode(errors="replace")

    def tail(self) -> str:
        """Return the last lines of it."""
        return "\n".join(self.log().rstrip().splitlines()[-SHOWN:]) or "(it has written nothing)"

    # --- its end

    def _end(self) -> str:
        info = self._code
        is_exit = info is not None and info.si_code == os.CLD_EXITED
        how = f"ended with exit code {info.si_status}" if is_exit else f"was ended by {signal.Signals(info.si_status).name}"
        return f"its process {self._process.pid} {how}. Its last words:\n{self.tail()}"

    def fault(self, patience: float = 0) -> str:
        """Return why it does not run any more, "" while it does; waits so many seconds for its end."""
        if self._is_stopping or os.getpid() != self._pid or not self._ended.wait(patience):
            return ""
        return f"the application does not run any more: {self._end()}"

    def stop(self) -> str:
        """End it: ask, then kill; return what did not go well, "" for nothing."""
        if os.getpid() != self._pid or self._log.closed:
            return ""  # a forked child's end is none of the application's
        fault = self.fault()
        self._is_stopping = True
        if not self._ended.is_set():
            os.kill(self._process.pid, signal.SIGTERM)  # not by Popen, which would look whether it has ended, and reap it
        if not self._ended.wait(self._timeout):
            fault = (
                f"the application has not ended within {self._timeout:g} s (testbed_app_timeout) and was killed. It was here:\n"
                f"{self._stacks()}"
            )
        elif not fault and self._code.si_code == os.CLD_EXITED and self._code.si_status:
            fault = f"the application ended with an error: {self._end()}"
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)  # and what it has left
        if self._ended.wait(self._timeout):
            self._process.wait()
        self._heard.close()
        self._log.close()
        return fault
