"""Seeing that a process has ended, also one that is not our child."""

from __future__ import annotations

import os
import select
import signal
import time
from collections.abc import Callable
from contextlib import suppress

from .lease import Lease, start_time

__all__ = ["end", "gone_within", "wait_for_end"]

POLL = 0.5


def wait_for_end(pid: int, wake: int) -> None:
    """Return when process `pid` has ended, or when the file descriptor `wake` can be read.

    By pidfd on Linux and kqueue on macOS; elsewhere pid and start time are looked at twice a second.
    The end of a pipe would not do: a child that a test forked keeps its end open for ever.
    """
    began = start_time(pid)
    if hasattr(os, "pidfd_open"):
        try:
            handle = os.pidfd_open(pid)
        except ProcessLookupError:
            return
        except OSError:
            pass  # an old kernel, or a sandbox that forbids it
        else:
            try:
                select.select([handle, wake], [], [])
            finally:
                os.close(handle)
            return
    if hasattr(select, "kqueue"):
        _wait_by_kqueue(pid, wake)
        return
    while began and start_time(pid) == began:
        if select.select([wake], [], [], POLL)[0]:
            return


def _wait_by_kqueue(pid: int, wake: int) -> None:  # pragma: no cover - macOS and BSD only
    queue = select.kqueue()  # type: ignore[attr-defined,unused-ignore]
    try:
        events = [
            select.kevent(pid, filter=select.KQ_FILTER_PROC, flags=select.KQ_EV_ADD, fflags=select.KQ_NOTE_EXIT),  # type: ignore[attr-defined,unused-ignore]
            select.kevent(wake, filter=select.KQ_FILTER_READ, flags=select.KQ_EV_ADD),  # type: ignore[attr-defined,unused-ignore]
        ]
        queue.control(events, 1, None)
    except ProcessLookupError:
        pass
    finally:
        queue.close()


def gone_within(pid: int, seconds: float) -> bool:
    """Wait until a process has ended, at most so many seconds; tell whether it has."""
    handle = _handle_of(pid)
    try:
        return _ended(handle, lambda: not start_time(pid), seconds)
    finally:
        if handle >= 0:
            os.close(handle)


def end(lease: Lease, seconds: float) -> bool:
    """Ask a process to end (SIGTERM), and tell whether it has within so many seconds.

    Raises:
        LookupError: it does not live, or cannot be seen from here; nobody is sent anything.
    """
    handle = _handle_of(lease.pid)
    try:
        # looked at after the handle was made: what the handle holds is this process, whoever gets its pid later
        if lease.alive() is not True:
            raise LookupError(f"process {lease.pid} is not the one that was meant")
        with suppress(ProcessLookupError):
            if handle >= 0:
                signal.pidfd_send_signal(handle, signal.SIGTERM)
            else:
                os.kill(lease.pid, signal.SIGTERM)
        return _ended(handle, lambda: start_time(lease.pid) != lease.start, seconds)
    finally:
        if handle >= 0:
            os.close(handle)


def _ended(handle: int, is_gone: Callable[[], bool], seconds: float) -> bool:
    """Wait until a process has ended: its pidfd tells, or where there is none we have to look."""
    if handle >= 0:
        return bool(select.select([handle], [], [], seconds)[0])
    deadline = time.monotonic() + seconds
    while not is_gone():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True


def _handle_of(pid: int) -> int:
    """Return a pidfd, -1 where there are none or no such process."""
    if hasattr(os, "pidfd_open"):
        with suppress(OSError):
            return os.pidfd_open(pid)
    return -1
