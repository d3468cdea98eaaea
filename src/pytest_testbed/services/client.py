"""`Testbed`, the face of the engine that users see.

with Testbed([spec]) as testbed:            # a script; pytest's fixture `testbed` is the same class
    print(testbed.endpoint("postgres").url())
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Any

from .. import errors
from ..errors import HostError, UnknownService
from .connection import FORKED, HOME, Boot, HostClient
from .logs import mark_of
from .meeting import Place, place_named
from .model import Endpoint, LogMark, ServiceSpec
from .record import changed, record

__all__ = ["Party", "Testbed"]

WHERE_ENGINES_ARE = ("DOCKER_HOST", "DOCKER_CONTEXT", "DOCKER_CONFIG", "XDG_RUNTIME_DIR", "PATH", "TMPDIR")
"""Variables that decide which services a host finds."""


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


def age_of_code() -> str:
    """Return a mark of our own files, which another version changes: a host that it has started will not do."""
    here = os.path.join(HOME, "pytest_testbed")
    folders = [os.path.join(here, *path) for path in (("services",), ("services", "providers"), ("postgres",), ("rabbitmq",))]
    files = (entry for folder in folders for entry in os.scandir(folder) if entry.name.endswith(".py"))
    return str(max(entry.stat().st_mtime_ns for entry in files))


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
        client: a connection to the host that is there already; None to make one when it is needed.
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
        client: HostClient | None = None,
    ) -> None:
        self._pid = os.getpid()
        self._specs = {spec.kind: spec for spec in specs}
        settings = {"cache": cache, "data": data, "project": project, "max_age": str(max_age or "")}
        self._boot = Boot(settings=settings, providers=dict(providers or {}), environ=environ, directory=directory, keep=reuse)
        self._party = party
        self._fingerprint = ""
        self.run: str = party.run if party is not None else os.urandom(6).hex()
        self.waited: dict[str, float] = {}
        self.notes: list[str] = []
        self.details: list[str] = []
        """What may be told to whoever wants to know more."""
        self._progress = progress
        self._client = client
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
        if self._boot.keep is None:
            return None
        self._fingerprint = self._fingerprint or self.fingerprint()
        return place_named(f"kept-{self._fingerprint}")

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

    def adopt(self, specs: Iterable[ServiceSpec], progress: Callable[[str], None] | None) -> None:
        """Take over what was learned since: more kinds, and a way to show progress."""
        self._specs = {spec.kind: spec for spec in specs}
        self._progress = progress

    def prefetch(self, kinds: Iterable[str]) -> None:
        """Let the host start kinds, together, without waiting for them; what goes wrong is told to who asks for them."""
        specs = [self.spec(kind).to_json() for kind in kinds]
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
                answer = self.client.ask({"do": "acquire", "spec": self.spec(kind).to_json()}, self._progress)
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

    def drop_later(self, kind: str, address: str) -> None:
        """Let the host drop what this run has made on a service, when there is time: nobody waits for it."""
        self.client.tell({"do": "drop", "kind": kind, "address": address})

    def take(self, kind: str) -> str:
        """Return the name of a thing on a service that was made for this test alone, such as a virtual host.

        Raises:
            ServiceNotReady: it could not be made.
        """
        return str(self.client.ask({"do": "take", "kind": kind})["name"])

    def give_back(self, kind: str, name: str) -> None:
        """Let what was taken be removed, when there is time: nobody waits for it."""
        self.client.tell({"do": "give back", "kind": kind, "name": name})

    def call(self, kind: str, what: str, **arguments: Any) -> Any:
        """Let the host do something on a service that the kind's stock offers (`Stock.calls`); return its answer.

        Raises:
            TestbedError: what the service says against it.
        """
        return self.client.ask({"do": "call", "kind": kind, "what": what, "arguments": arguments})["answer"]

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

    def spec(self, kind: str) -> ServiceSpec:
        """Return the recipe of a kind.

        Raises:
            UnknownService: nobody registered it.
        """
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
