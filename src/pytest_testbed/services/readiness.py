"""Waiting for a server: a protocol probe, one deadline, a short back-off, the last error kept."""

from __future__ import annotations

import time
from collections.abc import Callable

from ..errors import ServiceNotReady
from .model import GiveUp, Running

__all__ = ["wait_until_ready"]

FIRST_PAUSE = 0.001
LONGEST_PAUSE = 0.02
PROBE_TIMEOUT = 2.0


def wait_until_ready(
    running: Running,
    probe: Callable[[float], str],
    timeout: float,
    *,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> str:
    """Call `probe` until it answers with the server's version, and return that.

    Args:
        running: the started service; its exit ends the wait at once.
        probe: takes the seconds that one try may last, raises while the server is not ready.
        timeout: seconds until the wait is given up.
        clock: a clock in seconds, for tests.
        sleep: pauses for seconds, for tests.

    Raises:
        ServiceNotReady: the server ended, the probe gave up, or the time is over; with the last error
            of the probe and the last 50 lines of the server's log.
    """
    deadline = clock() + timeout
    pause = FIRST_PAUSE
    what = f"{running.endpoint.kind} ({running.endpoint.provider}, {running.endpoint.source})"
    while True:
        try:
            return probe(max(0.1, min(PROBE_TIMEOUT, deadline - clock())))
        except GiveUp as error:
            raise ServiceNotReady(_with_log(f"{what} cannot be used: {error}", running)) from error
        except Exception as error:
            last = error
        if (end := running.exited()) is not None and not running.mend():
            raise ServiceNotReady(_with_log(f"{what} ended while it was starting: {end}.", running)) from last
        if clock() >= deadline:
            text = f"{what} was not ready within {timeout:g} s; the last try said: {one_line(last)}"
            raise ServiceNotReady(_with_log(text, running)) from last
        sleep(pause)
        pause = min(LONGEST_PAUSE, pause * 1.2)


def one_line(error: BaseException) -> str:
    """Return an error's text on one line."""
    return " ".join(str(error).split()) or type(error).__name__


def _with_log(text: str, running: Running) -> str:
    log = running.logs(50).strip()
    if not log:
        return text
    indented = "\n".join(f"    {line}" for line in log.splitlines())
    return f"{text}\n  the last lines that it wrote:\n{indented}"
