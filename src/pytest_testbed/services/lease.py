"""Naming a process so that it can be recognised: by pid and start, on which machine and since which boot."""

from __future__ import annotations

import os
import sys
import time
from contextlib import suppress
from pathlib import Path

from .record import record

__all__ = ["Lease", "boot", "seconds_since_boot", "start_time"]


def start_time(pid: int) -> str:
    """Return a mark of when process `pid` began, "" when there is no such living process.

    A pid alone is no identity, it is used again; pid and start time together are. A zombie counts
    as gone.
    """
    if sys.platform == "linux":
        try:
            text = Path(f"/proc/{pid}/stat").read_text()
        except OSError:
            return ""
        fields = text.rpartition(")")[2].split()
        return "" if fields[0] in "ZX" else fields[19]
    import subprocess

    done = subprocess.run(["ps", "-o", "stat=,lstart=", "-p", str(pid)], capture_output=True, text=True, check=False)
    state, _, began = done.stdout.strip().partition(" ")
    return "" if not state or state.startswith("Z") else began.strip()


def boot() -> str:
    """Return the identity of this start of the machine, "" where it has none."""
    with suppress(OSError):
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    return ""


def seconds_since_boot() -> float:
    """Return a clock that nobody sets and that goes on while the machine sleeps."""
    if hasattr(time, "CLOCK_BOOTTIME"):
        return time.clock_gettime(time.CLOCK_BOOTTIME)
    return time.monotonic()


def _machine() -> str:
    if hasattr(os, "uname"):
        return os.uname().nodename
    import socket

    return socket.gethostname()


def _pid_namespace() -> str:
    with suppress(OSError):
        return os.readlink("/proc/self/ns/pid")
    return ""


@record(frozen=True)
class Lease:
    """A living process, so named that it can be recognised, or known to be out of sight."""

    machine: str
    boot: str
    namespace: str
    pid: int
    start: str

    @classmethod
    def of(cls, pid: int) -> Lease:
        """Return the lease of a process of this machine."""
        return cls(_machine(), boot(), _pid_namespace(), pid, start_time(pid))

    def alive(self) -> bool | None:
        """Tell whether the process lives; None where that cannot be seen from here."""
        here = Lease.of(self.pid)
        if (self.machine, self.namespace) != (here.machine, here.namespace):
            return None
        if self.boot != here.boot:
            return False  # the same machine, started again since
        return here.start != "" and here.start == self.start
