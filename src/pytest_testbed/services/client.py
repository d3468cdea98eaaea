"""How a process talks to its host process: the wire, and `Testbed`, the face that users see.

with Testbed([spec]) as testbed:            # a script; pytest's fixture `testbed` is the same class
print(testbed.endpoint("postgres").url())
"""

from __future__ import annotations

import _socket
import itertools
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from .. import errors
from ..errors import HostError, UnknownService
from .death import gone_within
from .logs import mark_of
from .meeting import Door, Place, place_named
from .model import Endpoint, LogMark, ServiceSpec
from .record import changed, record
from .wire import SteadyWire

__all__ = ["Boot", "HostClient", "Party", "Testbed"]

WELCOME_TIMEOUT = 10
MEETINGS = 3
WHERE_ENGINES_ARE = ("DOCKER_HOST", "DOCKER_CONTEXT", "DOCKER_CONFIG", "XDG_RUNTIME_DIR", "PATH", "TMPDIR")
"""Variables that decide which services a host finds."""

# -P: the folder where pytest was called must not shadow the standard library
# -S: half of Python's own start is the reading of .pth files; our path is handed over, `resolve` sees to the rest
HOST_FLAGS = ("-P", "-S", "-c")
BOOTSTRAP = "import sys; sys.path.append(sys.argv[2]); from pytest_testbed.services.serve import main; main()"
HOME = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
FORKED = "a forked child cannot talk to the host process of the services; only the process that started it can."


@record(frozen=True, kw_only=True)
class Party:
    """A run in which several processes have a part.

    Args:
        run: its identity.
        owner: pid of the process that began it, with which it ends.
        place: the path of the socket where its host can be met; "" where there is none.
    """

    run: str
    owner: int
    place: str


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
        self.pid = pid
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


def age_of_code() -> str:
    """Return a mark of our own files, which another version changes: a host that it has started will not do."""
    here = os.path.join(HOME, "pytest_testbed")
    folders = (os.path.join(here, "services"), os.path.join(here, "services", "providers"), os.path.join(here, "postgres"))
    files = (entry for folder in folders for entry in os.scandir(folder) if entry.name.endswith(".py"))
    return str(max(entry.stat().st_mtime_ns for entry in files))


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
        project: the directory of the project whose services these are.
        max_age: seconds of silence after which a run that cannot be seen from here counts as dead; None for a day.
        reuse: seconds for which the services wait for the next run of this project; None: they end with this one.
        party: the run that this process has a part in, where several processes have (workers).
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
        project: str = "",
        reuse: float | None = None,
        max_age: float | None = None,
        party: Party | None = None,
    ) -> None:
        self._pid = os.getpid()
        self._specs = {spec.kind: spec for spec in specs}
        settings = {"cache": cache, "data": data, "project": project, "max_age": str(max_age or "")}
        self._boot = Boot(settings=settings, providers=dict(providers or {}), environ=environ, directory=directory, keep=reuse)
        self._party = party
        self.run = party.run if party is not None else os.urandom(6).hex()
        self.waited: dict[str, float] = {}
        self.notes: list[str] = []
        self.details: list[str] = []
        """What may be told to whoever wants to know more."""
        self._progress = progress
        self._client: HostClient | None = None
        self._given: dict[str, dict[str, Any]] = {}
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
            self._client = self._meet()
        return self._client

    def _meet(self) -> HostClient:
        place = self.place()
        if place is None:
            if self._party is not None or self._boot.keep is not None:
                self.notes.append("no private directory can be had for the host's socket; this process has a host of its own")
                self._alone()
            return HostClient.start(self._boot, self.run, self._pid)
        owner = self._pid if self._party is None else self._party.owner
        try:
            return HostClient.meet(place, self._boot, self.run, owner)
        except (HostError, OSError) as error:
            self.notes.append(
                f"the host process at {place.path} cannot be used ({error}); this process has started one of its own"
            )
        self._alone()
        return HostClient.start(self._boot, self.run, self._pid)

    def _alone(self) -> None:
        self._party = None
        self._boot = changed(self._boot, {"keep": None})
        self.run = os.urandom(6).hex()  # nobody else's things may have our names

    def place(self) -> Place | None:
        """Return where the host of this run can be met; None where it is this process's own."""
        if self._party is not None:
            return Place(Path(self._party.place)) if self._party.place else None
        return None if self._boot.keep is None else place_named(f"kept-{self.fingerprint()}")

    def fingerprint(self) -> str:
        """Return a short name for all that a kept host must have been started with to be of use to this run."""
        from hashlib import sha256

        environ = os.environ if self._boot.environ is None else self._boot.environ
        facts = [
            *(age_of_code(), sys.executable, dict(self._boot.settings), dict(self._boot.providers)),
            {name: environ.get(name, "") for name in WHERE_ENGINES_ARE},
            [spec.to_json() for _, spec in sorted(self._specs.items())],
        ]
        return sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:16]

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
        return self.acquire(kind)

    def acquire(self, kind: str) -> Endpoint:
        """Do what `endpoint` does, which users may have given another way to fail."""
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
            self._take(kind, answer)
        return self._endpoints[kind]

    def _take(self, kind: str, answer: dict[str, Any]) -> None:
        self._endpoints[kind] = Endpoint.from_json(answer["endpoint"])
        self._given[kind] = answer
        self.notes += [note for note in answer["notes"] if note not in self.notes]

    def age(self, kind: str) -> float | None:
        """Return for how many seconds a service had been running for other runs when it was handed out; None: for none."""
        given = self._given[kind]
        return None if given["starter"] == self.run else float(given["age"])

    def check(self, kind: str) -> tuple[str, str]:
        """Look after a service that could not be reached; it is started again where it died.

        Returns:
            How it ended and its last log lines; two empty texts where it still runs.
        """
        generation = self._given[kind]["generation"] if kind in self._given else 0
        answer = self.client.ask({"do": "check", "kind": kind, "generation": generation})
        if not answer.get("endpoint"):
            return "", ""
        self._take(kind, answer)
        return answer["end"], answer["log"]

    @contextmanager
    def turn(self, name: str) -> Iterator[None]:
        """Wait until no other process of this host does the thing of that name, and keep it from beginning."""
        try:
            self.client.ask({"do": "turn", "name": name}, self._progress)
        except BaseException:
            with suppress(HostError):  # it may come yet, to somebody who does not wait any more
                self.client.tell({"do": "turn over", "name": name})
            raise
        finally:
            if self._progress is not None:
                self._progress("")
        try:
            yield
        finally:
            self.client.ask({"do": "turn over", "name": name})

    def snapshot(self, kind: str) -> bool:
        """Let a service keep its data, as they are now, for the starts of later runs; tell whether it did.

        All connections to it end.
        """
        return bool(self.client.ask({"do": "snapshot", "kind": kind})["taken"])

    @property
    def has_joined(self) -> bool:
        """Whether this process uses a host that somebody else has started."""
        return self._client is not None and not self._client.is_starter

    @property
    def outlives(self) -> bool:
        """Whether the host goes on after this run, with servers that hold what the run made."""
        return self._boot.keep is not None

    def keep(self, seconds: float) -> None:
        """Let the services stay for so long after this run: something on them is to be looked at."""
        self.client.ask({"do": "stay", "seconds": seconds})

    def logs(self, kind: str, lines: int = 50, since: LogMark | None = None) -> str:
        """Return the last lines that a service wrote, "" where it has not been started.

        Args:
            kind: the service.
            lines: how many at most.
            since: what `mark` gave: only what was written after it.
        """
        if self._client is None:
            return ""
        mark = since and [since.time, since.size]
        text: str = self._client.ask({"do": "logs", "kind": kind, "lines": lines, "since": mark})["text"]
        return text

    def mark(self, kind: str) -> LogMark | None:
        """Return where the log of a service is now, for `logs`; None where it has not been started."""
        return mark_of(self._endpoints[kind]) if kind in self._endpoints else None

    def own(self, what: str, name: str) -> None:
        """Write to the ledger that this run is about to make a thing on a service."""
        self.client.ask({"do": "own", "what": what, "name": name})

    def disown(self, what: str, name: str) -> None:
        """Take a thing off the ledger: it is gone."""
        self.client.ask({"do": "disown", "what": what, "name": name})

    def close(self) -> list[str]:
        """End everything that this run started; return one line for each thing that resisted.

        Where several processes have a part in the run, this is for the one that began it: see `hang_up`.
        """
        client, self._client = self._client, None
        self._endpoints.clear()
        if client is None and self._party is not None:
            client = self._find()
        if client is None:
            return []
        faults = client.leave()
        self.notes += [note for note in client.notes if note not in self.notes]
        return faults

    def _find(self) -> HostClient | None:
        """Return a connection to the host that another process of this run has started, if one has."""
        place = self.place()
        if place is None or not place.path.exists() or os.getpid() != self._pid:
            return None
        try:
            return HostClient.find(place, self.run, self._pid)
        except (HostError, OSError):
            return None

    def hang_up(self) -> None:
        """Leave the services to the other processes of this run."""
        client, self._client = self._client, None
        self._endpoints.clear()
        if client is not None and os.getpid() == self._pid:
            if self._party is None:
                client.leave()
            else:
                client.hang_up()

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
