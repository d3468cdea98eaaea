"""How a process talks to its host process: the wire, and `Testbed`, the face that users see.

with Testbed([spec]) as testbed:            # a script; pytest's fixture `testbed` is the same class
print(testbed.endpoint("postgres").url())
"""

from __future__ import annotations

import _socket
import itertools
import os
import secrets
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from types import TracebackType
from typing import Any

from .. import errors
from ..errors import HostError, UnknownService
from .model import Endpoint, ServiceSpec
from .wire import SteadyWire

__all__ = ["HostClient", "Testbed"]

# -P: the folder where pytest was called must not shadow the standard library
# -S: half of Python's own start is the reading of .pth files; our path is handed over, `resolve` sees to the rest
HOST_FLAGS = ("-P", "-S", "-c")
BOOTSTRAP = "import sys; sys.path.append(sys.argv[2]); from pytest_testbed.services.serve import main; main()"
HOME = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
FORKED = "a forked child cannot talk to the host process of the services; only the process that started it can."


class HostClient:
    """A host process of this process's own, and the connection to it.

    Args:
        run: the run's identity.
        settings: "cache" and "data", directories that the user chose, or "".
        providers: further providers, name → reference.
        environ: the host's environment; None for this process's.
        directory: the host's working directory; "" for this process's.
    """

    def __init__(
        self,
        run: str,
        settings: Mapping[str, str],
        providers: Mapping[str, str],
        environ: Mapping[str, str] | None = None,
        directory: str = "",
    ) -> None:
        ours, theirs = _socket.socketpair()  # type: ignore[attr-defined,unused-ignore]
        try:
            os.set_inheritable(theirs.fileno(), True)
            self._process = subprocess.Popen(
                [sys.executable, *HOST_FLAGS, BOOTSTRAP, str(theirs.fileno()), HOME],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                start_new_session=True,  # Ctrl-C and a closed terminal are the owner's affair
                env=_host_environment(os.environ if environ is None else environ),
                cwd=directory if os.path.isdir(directory) else None,
            )
        except OSError as error:
            ours.close()
            raise HostError(f"the host process of the services could not be started: {sys.executable}: {error}.") from error
        finally:
            theirs.close()
        self._pid = os.getpid()
        self._wire = SteadyWire(ours)
        self._lock = threading.RLock()
        self._numbers = itertools.count(1)
        self._unanswered = False
        self.notes: list[str] = []
        path = host_path(directory)
        self._wire.send({"run": run, "owner": self._pid, "settings": dict(settings), "providers": dict(providers), "path": path})

    @property
    def pid(self) -> int:
        """The host's process id."""
        return self._process.pid

    def ask(self, message: dict[str, Any], progress: Callable[[str], None] | None = None) -> dict[str, Any]:
        """Send a request and return its answer; progress lines that come before it are handed on.

        Raises:
            TestbedError: the error that the host answered with.
            HostError: the host is gone, or this is a forked child of the process that started it.
        """
        __tracebackhide__ = True  # what pytest shows: the text says all
        if os.getpid() != self._pid:
            raise HostError(FORKED)
        with self._lock:
            answer = self._exchange(message, progress)
        if "error" in answer:
            raise getattr(errors, answer["error"], HostError)(answer["text"])
        return answer

    def tell(self, message: dict[str, Any]) -> None:
        """Send a request and do not wait for its answer, which `ask` will pass over.

        Raises:
            HostError: the host is gone, or this is a forked child of the process that started it.
        """
        if os.getpid() != self._pid:
            raise HostError(FORKED)
        with self._lock:
            self._wire.send({**message, "number": next(self._numbers)})

    def _exchange(self, message: dict[str, Any], progress: Callable[[str], None] | None) -> dict[str, Any]:
        __tracebackhide__ = True
        number = next(self._numbers)
        self._unanswered = True
        try:
            self._wire.send({**message, "number": number})
            while True:
                answer = self._wire.receive()
                if answer["number"] != number:
                    continue  # of a request whose wait was interrupted (Ctrl-C, a time-out of the test)
                if "progress" not in answer:
                    break
                if progress is not None:
                    progress(answer["progress"])
        except (EOFError, HostError):
            code: int | str = "unknown"
            with suppress(subprocess.TimeoutExpired):  # its socket closes a moment before it can be waited for
                code = self._process.wait(2)
            raise HostError(f"the host process of the services is gone (exit code {code}).") from None
        self._unanswered = False
        return answer

    def close(self, seconds: float = 15.0) -> list[str]:
        """Let the host end everything and leave; return what it could not remove. `notes` has what else it told."""
        if os.getpid() != self._pid:
            return []  # a forked child leaves: nothing is its to end
        faults: list[str] = []
        try:
            if (code := self._process.poll()) is not None:
                faults.append(f"the host process ended too early (exit code {code}); the next run removes what it left")
            elif self._unanswered:
                self._process.terminate()  # it is busy with what nobody waits for any more
            else:
                answer = self.ask({"do": "stop"})
                faults += answer["faults"]
                self.notes += answer["notes"]
        except HostError as error:
            faults.append(str(error))
        self._wire.close()
        try:
            self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            faults.append(f"the host process {self._process.pid} is still ending things after {seconds:g} s")
        return faults


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


class Testbed:
    """The services of this run, for whoever asks.

    Args:
        specs: the kinds that may be asked for.
        cache: directory for what later runs may use again; "" for the usual one.
        data: directory for the servers' data; "" to choose one.
        providers: further providers, name → reference `module:class`.
        progress: shows a short line while somebody waits, and "" when the wait is over.
        environ: the environment of the host process; None for this process's when it is started.
        directory: the working directory of the host process; "" for this process's when it is started.
    """

    __test__ = False

    def __init__(
        self,
        specs: Iterable[ServiceSpec] = (),
        *,
        cache: str = "",
        data: str = "",
        providers: Mapping[str, str] | None = None,
        progress: Callable[[str], None] | None = None,
        environ: Mapping[str, str] | None = None,
        directory: str = "",
    ) -> None:
        self.run = secrets.token_hex(6)
        self._pid = os.getpid()
        self._environ = environ
        self._directory = directory
        self.waited: dict[str, float] = {}
        self.notes: list[str] = []
        self._specs = {spec.kind: spec for spec in specs}
        self._settings = {"cache": cache, "data": data}
        self._providers = dict(providers or {})
        self._progress = progress
        self._client: HostClient | None = None
        self._endpoints: dict[str, Endpoint] = {}
        self._failed: dict[str, errors.TestbedError] = {}

    @property
    def kinds(self) -> list[str]:
        """The kinds that may be asked for, sorted."""
        return sorted(self._specs)

    @property
    def started(self) -> dict[str, Endpoint]:
        """What was handed out so far."""
        return dict(self._endpoints)

    @property
    def client(self) -> HostClient:
        """The connection to the host, which is started when first needed."""
        __tracebackhide__ = True
        if os.getpid() != self._pid:
            raise HostError(FORKED)
        if self._client is None:
            self._client = HostClient(self.run, self._settings, self._providers, self._environ, self._directory)
        return self._client

    def prefetch(self, kinds: Iterable[str]) -> None:
        """Let the host start kinds, together, without waiting for them; what goes wrong is told to who asks for them."""
        specs = [self._spec(kind).to_json() for kind in kinds]
        if specs:
            self.client.tell({"do": "prefetch", "specs": specs})

    def connect(self) -> None:
        """Start the host without any service, so that a test's patches cannot get in the way later."""
        _ = self.client

    def endpoint(self, kind: str) -> Endpoint:
        """Return the running service of a kind; starts it, or waits for it, where that is needed.

        Raises:
            UnknownService: nobody registered this kind.
            ServiceUnavailable: no provider can give it.
            ServiceNotReady: it was started and did not come up.
        """
        __tracebackhide__ = True
        if kind in self._failed:
            raise self._failed[kind].with_traceback(None)
        if kind not in self._endpoints:
            began = time.perf_counter()
            try:
                answer = self.client.ask({"do": "acquire", "spec": self._spec(kind).to_json()}, self._progress)
            except errors.TestbedError as error:
                self._failed[kind] = error
                raise
            finally:
                self.waited[kind] = time.perf_counter() - began
                if self._progress is not None:
                    self._progress("")
            self._endpoints[kind] = Endpoint.from_json(answer["endpoint"])
            self.notes += [note for note in answer["notes"] if note not in self.notes]
        return self._endpoints[kind]

    def check(self, kind: str) -> tuple[str, str]:
        """Look after a service that could not be reached; it is started again where it died.

        Returns:
            How it ended and its last log lines; two empty texts where it still runs.
        """
        answer = self.client.ask({"do": "check", "kind": kind})
        return answer["end"], answer["log"]

    def logs(self, kind: str, lines: int = 50) -> str:
        """Return the last lines that a service wrote, "" where it has not been started."""
        if self._client is None:
            return ""
        text: str = self._client.ask({"do": "logs", "kind": kind, "lines": lines})["text"]
        return text

    def own(self, what: str, name: str) -> None:
        """Write to the ledger that this run is about to make a thing on a service."""
        self.client.ask({"do": "own", "what": what, "name": name})

    def disown(self, what: str, name: str) -> None:
        """Take a thing off the ledger: it is gone."""
        self.client.ask({"do": "disown", "what": what, "name": name})

    def close(self) -> list[str]:
        """End everything that this run started; return one line for each thing that resisted."""
        client, self._client = self._client, None
        self._endpoints.clear()
        if client is None:
            return []
        faults = client.close()
        self.notes += [note for note in client.notes if note not in self.notes]
        return faults

    def _spec(self, kind: str) -> ServiceSpec:
        __tracebackhide__ = True
        if kind not in self._specs:
            known = ", ".join(self.kinds) or "none"
            raise UnknownService(
                f"no service of kind {kind!r} is registered; known are: {known}. A kind comes from the hook "
                "pytest_testbed_services of a plugin or of the conftest.py in the root directory."
            )
        return self._specs[kind]

    def __enter__(self) -> Testbed:
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None) -> None:
        for fault in self.close():
            print(f"pytest-testbed: {fault}", file=sys.stderr)
