"""A private server from binaries of this machine, in a directory of the run's own.

How a kind is started from binaries is the kind's own business: its recipe makes a `Launch`, this file
runs it, watches it and ends it.
"""

from __future__ import annotations

import _socket
import os
import signal
import stat
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from ..ledger import MARK
from ..logs import last_lines
from ..model import Context, Endpoint, LogMark, Refusal, ServiceSpec, resolve
from ..record import changed, record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Protocol
else:
    Protocol = object

__all__ = [
    "Keeping",
    "Launch",
    "LocalProvider",
    "LocalRecipe",
    "User",
    "free_port",
    "hand_over",
    "open_to_all",
    "unprivileged_user",
]

PORTS = (20000, 32000)
"""Where ports for servers are looked for: below those that systems give to whoever connects somewhere.

A port of that range may be lost before its server listens on it, and to who asks whether the server is there
yet: on loopback a connection to a port from that same port succeeds.
"""

STOP_TIMEOUT = 3.0
ORDERLY_TIMEOUT = 10.0
"""Seconds that a server may take to end in order, so that its data can be kept."""
CHILDREN_TIMEOUT = 5.0
"""Seconds for which a killed server's children may stand in the way of its new start."""


@record(frozen=True)
class User:
    """Whom a server runs as."""

    uid: int
    gid: int


def unprivileged_user() -> User | None:
    """Return an existing user for servers that refuse root; None where we are not root.

    No user is made: `nobody` is on every system, and the servers look their user up by name.
    """
    if not hasattr(os, "geteuid") or os.geteuid() != 0:
        return None
    import pwd

    for name in ("nobody", "daemon"):
        with suppress(KeyError):
            entry = pwd.getpwnam(name)
            return User(entry.pw_uid, entry.pw_gid)
    return User(65534, 65534)


def free_port() -> int:
    """Return a TCP port of 127.0.0.1 that nobody holds at the moment."""
    for _ in range(50):
        port = PORTS[0] + int.from_bytes(os.urandom(2), "big") % (PORTS[1] - PORTS[0])
        with suppress(OSError):
            return _bound(port)
    return _bound(0)


def _bound(port: int) -> int:
    probe = _socket.socket()
    try:
        probe.bind(("127.0.0.1", port))
        found: int = probe.getsockname()[1]
        return found
    finally:
        probe.close()


def open_to_all(path: Path) -> bool:
    """Tell whether every user may run a file: all its parents can be passed, and it can be read."""
    path = path.resolve()
    parents_open = all(parent.stat().st_mode & stat.S_IXOTH for parent in path.parents)
    return parents_open and path.stat().st_mode & 0o005 == 0o005


def hand_over(path: Path, user: User | None) -> None:
    """Give one file or directory to the server's user."""
    if user is not None:
        os.chown(path, user.uid, user.gid)


@record(frozen=True, kw_only=True)
class Keeping:
    """How a server's data are kept for later runs: what must be done while it runs, how it ends in order, what packs its data.

    `prepare` and `keep` tell whether they could; they raise nothing. What `keep` has begun may outlast it: see `Launch.finish`.
    """

    prepare: Callable[[Endpoint], bool]
    signal: int
    keep: Callable[[], bool]


@record(frozen=True, kw_only=True)
class Launch:
    """A command that starts a server, and what there is to know about it.

    `broken` is called where the server ended before it was ready; it may mend the cause (a taken port,
    a damaged cache) and return another launch, or None. `finish` waits for what still goes on beside
    the server, once it has ended. `keeping` is None where nobody will want the data again.
    """

    argv: Sequence[str]
    environment: Mapping[str, str]
    directory: Path
    log: Path
    endpoint: Endpoint
    user: User | None = None
    stop_signal: int = signal.SIGTERM
    broken: Callable[[str], Launch | None] = lambda log: None
    after_kill: Callable[[], None] = lambda: None
    finish: Callable[[], None] = lambda: None
    keeping: Keeping | None = None

    def with_(self, **changes: Any) -> Launch:
        """Return a copy with some fields changed."""
        copy: Launch = changed(self, changes)
        return copy


class LocalRecipe(Protocol):
    """What a kind offers to the provider local; made from the options of its `ProcessRecipe`.

    It may have an attribute `found` as well: what it would start, where it has not refused.
    """

    def refusal(self, spec: ServiceSpec, context: Context) -> Refusal | None:
        """Say why no binaries will do, or None."""

    def launch(self, spec: ServiceSpec, context: Context) -> Launch:
        """Prepare data and say which command starts the server, as a `Launch` of the same file."""


def run_as(user: User | None) -> dict[str, Any]:
    """Return the arguments that make `subprocess` run a command as that user."""
    return {} if user is None else {"user": user.uid, "group": user.gid, "extra_groups": []}


class LocalServer:
    """A server process of our own."""

    patience: float | None = None

    def __init__(self, launch: Launch, run: str) -> None:
        self._launch = launch
        self._run = run
        self.endpoint = launch.endpoint.with_(log=str(launch.log))
        self._stopped = False
        self._was_ready = False
        self._patient_until = 0.0
        self._lock = threading.Lock()  # a run may end while its server is being mended
        self._keeping = threading.Lock()  # or while its data are being read
        self._process = self._spawn()

    def _spawn(self) -> subprocess.Popen[bytes]:
        with open(self._launch.log, "ab", opener=_private) as log:
            return subprocess.Popen(
                list(self._launch.argv),
                env={**self._launch.environment, MARK: self._run},
                cwd=self._launch.directory,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                **run_as(self._launch.user),
            )

    def exited(self) -> str | None:
        """Return how the server ended, or None."""
        code = self._process.poll()
        return None if code is None else ended(code)

    def mend(self) -> bool:
        """Start it in another way where its recipe knows one; one that has been ready is started as it was, or not at all.

        The children of a killed server live for a moment longer, and hold what the next one needs.
        """
        with self._lock:
            if self._was_ready and not self._stopped and time.monotonic() < self._patient_until:
                self._process = self._spawn()
                return True
            other = None if self._stopped or self._was_ready else self._launch.broken(self.logs())
            if other is None:
                return False
            self._launch = other
            self.endpoint = other.endpoint.with_(log=str(other.log))
            self._process = self._spawn()
            return True

    def sick(self) -> str | None:
        """Return None: a process of ours runs, or has ended."""
        return None

    def logs(self, lines: int = 50, since: LogMark | None = None) -> str:
        """Return the last lines of the server's log."""
        return last_lines(self._launch.log, lines, since)

    def restart(self) -> bool:
        """Start the server again on the same data and at the same address."""
        self._process.wait()
        self._start_again()
        return True

    def _start_again(self) -> None:
        with self._lock:
            self._was_ready, self._patient_until = True, time.monotonic() + CHILDREN_TIMEOUT
            if not self._stopped:  # the run may have ended meanwhile
                self._process = self._spawn()

    def snapshot(self) -> bool:
        """Keep the server's data for later runs, and start it again on them; tell whether they are being kept."""
        keeping = self._launch.keeping
        if keeping is None:
            return False
        with self._keeping:
            if self._stopped or self.exited() is not None or not keeping.prepare(self.endpoint):
                return False
            in_order = self._end_in_order(keeping.signal)
            kept = in_order and not self._stopped and keeping.keep()
            self._start_again()
            return kept

    def _end_in_order(self, stop_signal: int) -> bool:
        self._process.send_signal(stop_signal)
        try:
            return self._process.wait(ORDERLY_TIMEOUT) == 0
        except subprocess.TimeoutExpired:
            self._end_at_once()
            return False

    def stop(self) -> None:
        """End the server at once; its data are thrown away by the host."""
        with self._lock:
            self._stopped = True
        self._end_at_once()
        with self._keeping:  # who reads the data must not see them vanish
            pass
        self._launch.finish()

    def _end_at_once(self) -> None:
        if self._process.poll() is None:
            self._process.send_signal(self._launch.stop_signal)
            try:
                self._process.wait(STOP_TIMEOUT)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        if self._process.returncode == -signal.SIGKILL:
            self._launch.after_kill()


def _private(path: str, flags: int) -> int:
    """Open a file that no other user may read: a log has what tests send."""
    return os.open(path, flags, 0o600)


def ended(code: int) -> str:
    """Return how a process ended, in words."""
    return f"exit code {code}" if code >= 0 else f"killed by signal {-code}"


class LocalProvider:
    """Runs a kind's own recipe."""

    name = "local"

    def __init__(self) -> None:
        self._recipes: dict[str, LocalRecipe] = {}

    def _recipe(self, spec: ServiceSpec) -> LocalRecipe:
        assert spec.process is not None
        if spec.kind not in self._recipes:
            self._recipes[spec.kind] = resolve(spec.process.recipe)(spec.process.options)
        return self._recipes[spec.kind]

    def refusal(self, spec: ServiceSpec, context: Context) -> Refusal | None:
        """Ask the kind whether it finds binaries."""
        if spec.process is None:
            return Refusal(f"{spec.kind} has no local form", "use another provider")
        if os.name != "posix":
            return Refusal("local servers need Linux or macOS", "use Docker, or name a server")
        return self._recipe(spec).refusal(spec, context)

    def found(self, spec: ServiceSpec) -> str:
        """Return which binaries the kind has found, where it tells."""
        return str(getattr(self._recipe(spec), "found", ""))

    def start(self, spec: ServiceSpec, context: Context) -> LocalServer:
        """Prepare the data and start the server."""
        return LocalServer(self._recipe(spec).launch(spec, context), context.run)
