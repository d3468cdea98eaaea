"""The application in a process of its own: `python runner.py`, told on its standard input what to run.

It says one line of JSON on a pipe: that it answers, or why it does not. It ends with the pytest that started it.
"""

from __future__ import annotations

import faulthandler
import json
import logging
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

__all__ = ["main"]


def main() -> None:
    """Run the application that standard input names."""
    told = json.loads(sys.stdin.readline())
    sys.path[:] = told["path"]
    faulthandler.register(signal.SIGUSR1, all_threads=True)  # who waits too long for us asks where we are
    # not in the thread: two that import at once may meet half a package
    from pytest_testbed.services.death import wait_for_end

    threading.Thread(target=_end_with, args=(told["owner"], wait_for_end), name="testbed-owner", daemon=True).start()
    with os.fdopen(told["pipe"], "w") as pipe, _guarded(told["block"]):
        _run(told, pipe)


def _guarded(block: Any) -> AbstractContextManager[None]:
    """Let no connection leave this machine, where pytest's own process does not either."""
    if block is None:
        return nullcontext()
    from pytest_testbed.http.block import Guard

    return Guard.from_told(block).on()


def _end_with(owner: int, wait_for_end: Callable[[int, int], None]) -> None:
    """End this process, and those that it has started, when pytest has ended, by kill -9 for one."""
    wake, _held = socket.socketpair()  # nobody wakes us
    if os.getppid() == owner:
        wait_for_end(owner, wake.fileno())
    os.killpg(0, signal.SIGKILL)


def _run(told: Any, pipe: Any) -> None:
    from pytest_testbed.errors import ConfigurationError
    from pytest_testbed.http.appserver import serving
    from pytest_testbed.http.loading import interface_of, load
    from pytest_testbed.http.loading import told as shown

    def say(**what: str) -> None:
        if not pipe.closed:
            pipe.write(json.dumps(what) + "\n")
            pipe.close()

    try:
        app = load(told["app"], told["said"])
        interface = told["interface"] or interface_of(app, told["app"])
        # nobody sees a test's log in here, so it goes to the process's own, unless the application has said where
        logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
        server = serving(app, interface, socket.socket(fileno=told["socket"]))
        signal.signal(signal.SIGTERM, lambda *_: server.stop())  # uvicorn has its own while it runs
        server.run(lambda: say(interface=interface))
    except BaseException as error:
        kind = "ConfigurationError" if isinstance(error, ConfigurationError) else "AppError"
        is_ours = type(error).__name__ in ("AppError", "ConfigurationError")
        is_early = not pipe.closed
        say(kind=kind, error=str(error) if is_ours else _shown(error, shown(error)))
        if is_early:
            os._exit(1)  # it is told, and not once more
        raise


def _shown(error: BaseException, text: str) -> str:
    exited = f"it called sys.exit({error.code!r})\n" if isinstance(error, SystemExit) else ""
    return f"the application could not be started:\n{exited}{text}"


if __name__ == "__main__":
    main()
