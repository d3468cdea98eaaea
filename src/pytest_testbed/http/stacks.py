"""What a thread is doing, and an end to what the main thread is doing too long."""

from __future__ import annotations

import os
import signal
import sys
import threading
import traceback
from collections.abc import Iterator
from contextlib import contextmanager

from ..errors import AppError

__all__ = ["alarm", "stack_of"]

OURS = os.path.dirname(__file__)
FROZEN = "<frozen importlib"


def stack_of(thread: int) -> str:
    """Return where a thread is, by its identity, as the lines of a traceback."""
    frame = sys._current_frames().get(thread)
    if frame is None:
        return "  (it has ended)"
    steps = traceback.extract_stack(frame)
    own = [at for at, step in enumerate(steps) if step.filename.startswith(OURS)]
    shown = steps[own[-1] + 1 :] if own else steps  # not how pytest came here
    return "".join(traceback.format_list([step for step in shown or steps if not step.filename.startswith(FROZEN)])).rstrip()


class _Alarm:
    """Interrupts the main thread, unless it was done in time."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._main = threading.get_ident()
        self._lock = threading.Lock()
        self._done = threading.Event()
        self.stack = ""

    def wait(self) -> None:
        if self._done.wait(self._seconds):
            return
        with self._lock:  # so that no interrupt comes after the end
            if not self._done.is_set():
                self.stack = stack_of(self._main)
                signal.pthread_kill(self._main, signal.SIGINT)

    def end(self) -> None:
        with self._lock:
            self._done.set()


@contextmanager
def alarm(seconds: float, what: str) -> Iterator[None]:
    """Let nothing in this block take longer than so many seconds, as far as it can be interrupted: like Ctrl-C.

    Elsewhere than in the main thread, and where somebody handles SIGINT in another way, there is no limit.

    Raises:
        AppError: it took longer; has the stack. Its text begins with `what`.
    """
    is_main = threading.current_thread() is threading.main_thread()
    if not (is_main and hasattr(signal, "pthread_kill") and signal.getsignal(signal.SIGINT) is signal.default_int_handler):
        yield
        return
    watch = _Alarm(seconds)
    threading.Thread(target=watch.wait, name="testbed-alarm", daemon=True).start()
    try:
        try:
            yield
        finally:
            watch.end()
        if watch.stack:
            threading.Event().wait(1)  # the interrupt is on its way
    except KeyboardInterrupt:
        if not watch.stack:
            raise
        raise AppError(f"{what} takes longer than {seconds:g} s (testbed_app_timeout). It is here:\n{watch.stack}") from None
