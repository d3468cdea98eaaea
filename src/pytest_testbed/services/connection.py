"""A process's connection to a host process: how it is started or joined, asked, and left."""

from __future__ import annotations

import _socket
import itertools
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any, Self

from .. import errors
from ..errors import HostError
from .death import gone_within
from .meeting import Door, Place
from .record import record
from .wire import SteadyWire

__all__ = ["FORKED", "HOME", "STANDARD", "Boot", "HostClient", "host_path", "is_of_projects"]

WELCOME_TIMEOUT = 10
"""Seconds in which a host that is there must let somebody in."""
MEETINGS = 3
"""How often somebody tries who comes when a host is about to end."""

# -P: the folder where pytest was called must not shadow the standard library
# -S: half of Python's own start is the reading of .pth files; our path is handed over, `resolve` sees to the rest
HOST_FLAGS = ("-P", "-S", "-c")
BOOTSTRAP = "import sys; sys.path.append(sys.argv[2]); from pytest_testbed.services.serve import main; main()"
HOME = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
FORKED = "a forked child cannot talk to the host process of the services; only the process that started it can."


@record(frozen=True, kw_only=True)
class Boot:
    """What a host process is started with.

    Args:
        settings: "cache" and "data", directories that the user chose, or ""; "project", where its tests lie.
        providers: further providers, name → reference.
        environ: the host's environment; None for this process's.
        directory: the host's working directory; "" for this process's.
        keep: seconds for which the host stays with its services when nobody uses them; None: it ends with its run.
    """

    settings: Mapping[str, str]
    providers: Mapping[str, str]
    environ: Mapping[str, str] | None = None
    directory: str = ""
    keep: float | None = None


class HostClient:
    """A connection to a host process, for one run.

    Args:
        connection: the connected socket.
        process: the host, where this process has started it.
        alone: whether it is there for this process alone.
        pid: the host's process id.
    """

    def __init__(
        self, connection: _socket.socket, pid: int, process: subprocess.Popen[bytes] | None = None, *, alone: bool = False
    ) -> None:
        self._pid = os.getpid()
        self._process = process
        self._alone = alone
        self.pid: int = pid
        """The host's process id."""
        self._wire = SteadyWire(connection)
        self._lock = threading.RLock()
        self._numbers = itertools.count(1)
        self._unanswered = False
        self.notes: list[str] = []

    @property
    def is_starter(self) -> bool:
        """Whether the host is a child of this process."""
        return self._process is not None

    @classmethod
    def start(
        cls, boot: Boot, run: str, owner: int, *, name: str = "", place: Place | None = None, door: Door | None = None
    ) -> Self:
        """Start a host process of one's own, or, with the door of a place, one that others can meet there.

        Args:
            boot: how it lives.
            run: the run that is its first.
            owner: pid of the process whose run it is.
            name: the host's identity; "" for the run's.
            place: where it can be met.
            door: that place, locked.

        Raises:
            HostError: it could not be started.
        """
        key = os.urandom(16).hex()
        listener = door.listen(key) if door is not None else None
        ours, theirs = _socket.socketpair()  # type: ignore[attr-defined,unused-ignore]
        passed = [each.fileno() for each in (theirs, listener) if each is not None]
        try:
            process = subprocess.Popen(
                [sys.executable, *HOST_FLAGS, BOOTSTRAP, str(theirs.fileno()), HOME],
                pass_fds=passed,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL if place is not None else None,  # it may outlive who reads our output
                stderr=subprocess.DEVNULL if place is not None else None,
                start_new_session=True,  # Ctrl-C and a closed terminal are the owner's affair
                env=_host_environment(os.environ if boot.environ is None else boot.environ),
                cwd=boot.directory if os.path.isdir(boot.directory) else None,
            )
        except OSError as error:
            ours.close()
            raise HostError(f"the host process of the services could not be started: {sys.executable}: {error}.") from error
        finally:
            theirs.close()
            if listener is not None:
                listener.close()
        client = cls(ours, process.pid, process, alone=place is None and boot.keep is None)
        client._wire.send(
            {
                "host": name or run,
                "run": run,
                "owner": owner,
                "settings": dict(boot.settings),
                "providers": dict(boot.providers),
                "path": host_path(boot.directory),
                "keep": boot.keep,
                "listener": passed[1] if listener is not None else None,
                "place": str(place.path) if place is not None else "",
                "key": key,
            }
        )
        return client

    @classmethod
    def join(cls, door: Door, run: str, owner: int, keep: float | None = None) -> Self | None:
        """Join the host of a place; None where none is there.

        Raises:
            HostError: it does not answer, or does not let us in.
        """
        if (connection := door.connect()) is None:
            return None
        client = cls(connection, 0)
        try:
            client._wire.send({"key": door.key, "run": run, "owner": owner, "keep": keep})
        except HostError:
            client._wire.close()
            raise
        return client

    def welcomed(self) -> Self:
        """Wait until the host has let us in, where it is another one's.

        Raises:
            HostError: it does not answer, or does not let us in.
        """
        if not self.pid:
            try:
                self.pid = self._welcome()["pid"]
            except BaseException:
                self._wire.close()
                raise
        return self

    def _welcome(self) -> dict[str, Any]:
        if not self._wire.waiting(WELCOME_TIMEOUT):
            raise HostError(f"it has not answered for {WELCOME_TIMEOUT} s")
        try:
            answer = self._wire.receive()
        except EOFError:
            raise HostError("it has closed the connection") from None
        if "error" in answer:
            raise HostError(answer["text"])
        return answer

    @classmethod
    def meet(cls, place: Place, boot: Boot, run: str, owner: int) -> Self:
        """Join the host of a place, or start one there where none is.

        Raises:
            HostError: the host that is there does not let us in, or none could be started.
            OSError: the place cannot be used.
        """
        for _ in range(MEETINGS):
            with place.locked() as door:
                client = cls.join(door, run, owner, boot.keep)
                if client is None:
                    name = run if boot.keep is None else os.urandom(6).hex()
                    return cls.start(boot, run, owner, name=name, place=place, door=door)
            try:
                return client.welcomed()
            except HostError as error:  # it may have been about to end: then there is none the next time
                last = error
        raise last

    @classmethod
    def find(cls, place: Place, run: str, owner: int) -> Self | None:
        """Join the host of a place; None where none is there."""
        with place.locked() as door:
            if (client := cls.join(door, run, owner)) is None:
                door.clear()
        return client and client.welcomed()

    def ask(
        self, message: dict[str, Any], progress: Callable[[str], None] | None = None, files: Sequence[int] = ()
    ) -> dict[str, Any]:
        """Send a request, and open files with it; return its answer. Progress lines that come before it are handed on.

        Raises:
            TestbedError: the error that the host answered with.
            HostError: the host is gone, or this is a forked child of the process that started it.
        """
        __tracebackhide__ = True  # what pytest shows: the text says all
        if os.getpid() != self._pid:
            raise HostError(FORKED)
        with self._lock:
            answer = self._exchange(message, progress, files)
        if "error" in answer:
            raise getattr(errors, answer["error"], HostError)(answer["text"])
        return answer

    def tell(self, message: dict[str, Any], files: Sequence[int] = ()) -> None:
        """Send a request, and open files with it; do not wait for its answer, which `ask` will pass over.

        Raises:
            HostError: the host is gone, or this is a forked child of the process that started it.
        """
        if os.getpid() != self._pid:
            raise HostError(FORKED)
        with self._lock:
            self._wire.send({**message, "number": next(self._numbers)}, files)

    def _exchange(self, message: dict[str, Any], progress: Callable[[str], None] | None, files: Sequence[int]) -> dict[str, Any]:
        __tracebackhide__ = True
        number = next(self._numbers)
        self._unanswered = True
        try:
            self._wire.send({**message, "number": number}, files)
            while True:
                answer = self._wire.receive()
                if answer["number"] != number:
                    continue  # of a request whose wait was interrupted (Ctrl-C, a time-out of the test)
                if "progress" not in answer:
                    break
                if progress is not None:
                    progress(answer["progress"])
        except (EOFError, HostError):
            raise HostError(f"the host process of the services is gone{self._exit_code()}.") from None
        self._unanswered = False
        return answer

    def _exit_code(self) -> str:
        if self._process is None:
            return ""
        with suppress(subprocess.TimeoutExpired):  # its socket closes a moment before it can be waited for
            return f" (exit code {self._process.wait(2)})"
        return " (exit code unknown)"

    def hang_up(self) -> None:
        """Leave the host to others; it does not end with this process."""
        self._wire.close()
        if self._process is not None:
            self._process.returncode = 0  # else Python would complain of a child that still runs

    def leave(self, seconds: float = 15.0) -> list[str]:
        """Say that this run is over and return what could not be removed. `notes` has what else the host told.

        A host of this run alone ends everything first, and is waited for, so many seconds. One that is kept
        goes on, and clears up behind us.
        """
        if os.getpid() != self._pid:
            return []  # a forked child leaves: nothing is its to end
        faults: list[str] = []
        try:
            if self._process is not None and (code := self._process.poll()) is not None:
                faults.append(f"the host process ended too early (exit code {code}); the next run removes what it left")
            elif self._unanswered and self._process is not None and self._alone:
                self._process.terminate()  # it is busy with what nobody waits for any more
            elif self._unanswered:
                self.hang_up()  # it sees for itself that this run is over
                return faults
            else:
                answer = self.ask({"do": "leave"})
                faults += answer["faults"]
                self.notes += answer["notes"]
                if answer["stays"]:
                    self.hang_up()
                    return faults
        except HostError as error:
            faults.append(str(error))
        self._wire.close()
        if not self._has_ended(seconds):
            faults.append(f"the host process {self.pid} is still ending things after {seconds:g} s")
        return faults

    def _has_ended(self, seconds: float) -> bool:
        if self._process is None:
            return gone_within(self.pid, seconds)
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(seconds)
        return self._process.returncode is not None


def host_path(directory: str) -> list[str]:
    """Return our `sys.path` for the host: what is installed first, the project's folders last.

    Where pytest has put `tests` first, the folder `tests/docker` would be imported as `docker`.
    """
    return sorted((os.path.join(directory, entry) for entry in sys.path), key=is_of_projects)


STANDARD = os.path.dirname(os.__file__)


def is_of_projects(entry: str) -> bool:
    """Tell whether an entry of `sys.path` holds neither the standard library nor installed packages."""
    installed = os.path.basename(entry) in ("site-packages", "dist-packages")
    return not installed and not entry.startswith(STANDARD) and not entry.endswith(".zip")


def _host_environment(environ: Mapping[str, str]) -> dict[str, str]:
    # a test's coverage or debugger set-up is for the tests, not for the host
    kept = {k: v for k, v in environ.items() if not k.startswith(("COV_CORE_", "COVERAGE_PROCESS"))}
    kept["PYTHONUTF8"] = "1"
    return kept
