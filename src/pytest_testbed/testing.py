"""For authors of kinds and providers: a provider that only pretends, and a suite that a provider must pass.

    def pytest_testbed_services(config):
        return [fake_spec("kafka", fixtures=["my_plugin:kafka_service"], seconds=0.2)]

    def pytest_testbed_provider(name):
        return "pytest_testbed.testing:FakeProvider" if name == "fake" else None

No pytest in here: the provider lives in the host process.
"""

from __future__ import annotations

import secrets
import socket
import threading
import time
import typing  # noqa: F401 - a dataclass that is made while another thread of the host loads typing fails (CPython's own race)
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from .services.ledger import end_processes_of
from .services.logs import last_lines, mark_of
from .services.model import Context, Endpoint, LogMark, Provider, Refusal, Running, ServiceSpec, resolve
from .services.places import run_directory
from .services.readiness import wait_until_ready

__all__ = ["FakeOptions", "FakeProvider", "FakeServer", "ProviderConformance", "fake_spec", "probe"]


@dataclass(frozen=True, kw_only=True)
class FakeOptions:
    """How a fake service behaves.

    Args:
        seconds: how long it takes to become ready.
        gate: a file; the service is not ready before it exists.
        never: it does not become ready at all.
        exits: how it ends while it starts ("exit code 1"); "" for not.
        dies_with: a file; when it exists, the running server is killed.
        refuse: reason and remedy with which it is refused.
        says: what the server says its version is.
        paused_with: a file; while it exists, the running server is "paused", though it answers.
        log: what the server writes when it starts.
        log_file: a file with what it writes later; whoever tests appends to it.
        journal: a file to which a line is added for all that happens: "start KIND", "ready KIND", "stop KIND".
        stop_fault: what stopping it fails with.
    """

    seconds: float = 0.0
    gate: str = ""
    never: bool = False
    exits: str = ""
    dies_with: str = ""
    refuse: Sequence[str] = ()
    says: str = "1.0"
    paused_with: str = ""
    log: str = ""
    log_file: str = ""
    journal: str = ""
    stop_fault: str = ""


def fake_spec(
    kind: str = "fake",
    *,
    fixtures: Sequence[str] = (),
    imports: Sequence[str] = (),
    provider: str = "fake",
    version: str | None = None,
    timeout: float = 30.0,
    **options: object,
) -> ServiceSpec:
    """Return a kind that `FakeProvider` can serve; further arguments are those of `FakeOptions`.

    Args:
        kind: its name.
        fixtures: references of the fixtures whose use means that a test wants it.
        imports: modules to load while it starts.
        provider: the name under which the hook `pytest_testbed_provider` knows `FakeProvider`.
        version: the version that the server must have.
        timeout: seconds that its start may take.
        **options: its behaviour.
    """
    behaviour = FakeOptions(**options)  # type: ignore[arg-type]
    return ServiceSpec(
        kind=kind,
        probe=f"{__name__}:probe",
        fixtures=tuple(fixtures),
        imports=tuple(imports),
        provider=provider,
        version=version,
        timeout=timeout,
        options=asdict(behaviour),
    )


def probe(endpoint: Endpoint, timeout: float) -> str:
    """Return the version that a fake server tells whoever connects."""
    with socket.create_connection((endpoint.host, endpoint.port), timeout) as connection:
        version = connection.makefile().readline().strip()
    if not version:
        raise ConnectionError("the server said nothing")
    return version


class FakeProvider:
    """Serves what `fake_spec` describes: a greeting on a port of this machine, and no process."""

    name = "fake"

    def refusal(self, spec: ServiceSpec, context: Context) -> Refusal | None:
        """Refuse where the spec says so."""
        refuse = spec.options.get("refuse")
        return Refusal(*refuse) if refuse else None

    def start(self, spec: ServiceSpec, context: Context) -> FakeServer:
        """Begin to pretend."""
        return FakeServer(spec.kind, FakeOptions(**spec.options))


class FakeServer:
    """A port that is closed until the service is "ready", and then tells a version."""

    patience: float | None = None

    def __init__(self, kind: str, options: FakeOptions) -> None:
        self._options = options
        self._listener = listener_on(0)
        self.endpoint: Endpoint = Endpoint(
            kind=kind,
            host="127.0.0.1",
            port=self._listener.getsockname()[1],
            user="user",
            password="secret",  # noqa: S106 - of a server that asks for none
            scheme=kind,
            provider="fake",
            source="pretence",
            log=options.log_file,
        )
        self._write("start")
        self._begin()

    def _begin(self) -> None:
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._serve, name=f"fake-{self.endpoint.kind}", daemon=True)
        self._thread.start()

    def _write(self, event: str) -> None:
        if self._options.journal:
            with open(self._options.journal, "a") as journal:
                journal.write(f"{event} {self.endpoint.kind}\n")

    def _serve(self) -> None:
        options = self._options
        ready = time.monotonic() + options.seconds
        while options.never or options.exits or time.monotonic() < ready or (options.gate and not Path(options.gate).exists()):
            if self._stopped.wait(0.002):
                return
        self._write("ready")
        self._listener.listen()
        while True:
            connection, _ = self._listener.accept()
            with connection, suppress(OSError):  # whoever asked is gone
                if self._stopped.is_set():
                    return
                connection.sendall(f"{options.says}\n".encode())

    def exited(self) -> str | None:
        """Return how it "ended"."""
        if self._options.exits:
            return self._options.exits
        if self._options.dies_with and Path(self._options.dies_with).exists():
            self._close()
            return "killed by signal 9"
        return "exit code 0" if self._stopped.is_set() else None

    def mend(self) -> bool:
        """Return False: what was told to end, ends."""
        return False

    def sick(self) -> str | None:
        """Return "paused" where it was told so."""
        return "paused" if self._options.paused_with and Path(self._options.paused_with).exists() else None

    def logs(self, lines: int = 50, since: LogMark | None = None) -> str:
        """Return the end of what it "wrote"; `log` is older than any mark."""
        later = last_lines(self._options.log_file, lines, since) if self._options.log_file else ""
        before = self._options.log if since is None else ""
        return "\n".join([*before.splitlines(), *later.splitlines()][-lines:])

    def restart(self) -> bool:
        """Open the same port again."""
        self._write("restart")
        self._close()
        for file in filter(None, (self._options.dies_with, self._options.paused_with)):
            Path(file).unlink(missing_ok=True)
        self._listener = listener_on(self.endpoint.port)
        self._begin()
        return True

    def stop(self) -> None:
        """Close the port."""
        if not self._stopped.is_set():
            self._write("stop")
        self._close()
        if self._options.stop_fault:
            raise OSError(self._options.stop_fault)

    def _close(self) -> None:
        self._stopped.set()
        with suppress(OSError):  # ends an accept() that waits: closing its socket does so on Linux alone
            socket.create_connection((self.endpoint.host, self.endpoint.port), 1).close()
        self._thread.join()
        self._listener.close()


def listener_on(port: int) -> socket.socket:
    """Return a socket on a port of this machine that can be taken again at once; 0 for any."""
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(("127.0.0.1", port))
    return listener


class ProviderConformance:
    """What the engine relies on in a provider, as tests.

    Subclass it in a test module under a name that pytest collects, and say which provider and which
    kind; call `pytest.register_assert_rewrite("pytest_testbed.testing")` for good messages.

        class TestMyProvider(ProviderConformance):
            def provider(self): return MyProvider()
            def spec(self): return my_spec()
    """

    quick: float = 5.0
    """Seconds within which a refusal must be there: each provider of the row waits for the one before."""

    def provider(self) -> Provider:
        """Return the provider under test, a new one for each test."""
        raise NotImplementedError

    def spec(self) -> ServiceSpec:
        """Return a kind that it can serve on this machine."""
        raise NotImplementedError

    def impossible(self) -> ServiceSpec | None:
        """Return a kind that it must refuse; None where there is none."""
        return None

    def end(self, running: Running) -> bool:
        """Let the server end, not by `stop`; False where that cannot be done."""
        return False

    def write(self, running: Running) -> str:
        """Let the ready server write to its log; return a word that stands there then and did not before, "" for none."""
        return ""

    def cache(self) -> Path | None:
        """Return a directory that outlives runs, or None."""
        return None

    @contextmanager
    def context(self) -> Iterator[tuple[Context, list[tuple[str, str]]]]:
        """Make the context of a run, and show what the provider says that the run owns."""
        run = secrets.token_hex(6)
        directory = run_directory(run)
        directory.mkdir(mode=0o711, parents=True)
        owned: list[tuple[str, str]] = []
        try:
            yield (
                Context(
                    run=run,
                    directory=directory,
                    cache=self.cache(),
                    own=lambda what, name: owned.append((what, name)),
                    disown=lambda what, name: owned.remove((what, name)),
                    progress=lambda text: None,
                ),
                owned,
            )
        finally:
            end_processes_of(directory, run)

    @contextmanager
    def started(self, context: Context) -> Iterator[Running]:
        """Start the service, wait until it is ready, and stop it at the end."""
        spec, provider = self.spec(), self.provider()
        refusal = provider.refusal(spec, context)
        assert refusal is None, f"it refuses what it is to serve: {refusal}"
        running = provider.start(spec, context)
        try:
            self.wait(running)
            yield running
        finally:
            running.stop()

    def wait(self, running: Running) -> str:
        """Wait as the engine does, and return the server's version."""
        spec = self.spec()
        return wait_until_ready(running, lambda seconds: str(resolve(spec.probe)(running.endpoint, seconds)), spec.timeout)

    def test_a_refusal_is_quick_and_names_reason_and_remedy(self) -> None:
        """`auto` asks one provider after another, and shows what they say in one error."""
        spec = self.impossible()
        with self.context() as (context, owned):
            began = time.monotonic()
            refusal = self.provider().refusal(spec or self.spec(), context)
            assert time.monotonic() - began < self.quick, "a refusal must not take long"
            assert owned == [], "asking must not make anything"
            if spec is None:
                assert refusal is None
                return
            assert refusal is not None, "it must refuse this"
            for text in (refusal.reason, refusal.remedy):
                assert text.strip() == text != "", "a reason and a remedy must say something"
                assert "\n" not in text, "a reason and a remedy are one line each"

    def test_start_launches_and_the_engine_waits(self) -> None:
        """`start` has an endpoint to show at once; the kind's probe says when it is ready."""
        with self.context() as (context, _), self.started(context) as running:
            endpoint = running.endpoint
            assert endpoint.kind == self.spec().kind
            assert endpoint.provider == self.provider().name
            assert endpoint.port > 0
            assert endpoint.host
            assert endpoint.source, "it must say which binaries, image or setting it uses"
            assert endpoint.password == "" or endpoint.password not in repr(endpoint)
            assert running.exited() is None

    def test_stop_twice_is_harmless(self) -> None:
        """The end of a run must not fail where the service is gone already."""
        with self.context() as (context, owned):
            with self.started(context) as running:
                running.stop()
            assert [thing for thing in owned if thing[0] != "directory"] == [], "what is gone must be off the record"

    def test_logs_are_the_last_lines(self) -> None:
        """Errors show the last lines; where a log is out of reach they are empty."""
        with self.context() as (context, _), self.started(context) as running:
            assert len(running.logs(3).splitlines()) <= 3
            running.stop()
            assert isinstance(running.logs(), str), "a log must not be asked of what is gone"

    def test_logs_since_a_mark_are_what_was_written_after_it(self) -> None:
        """A test that failed is shown what the server wrote while it ran."""
        with self.context() as (context, _), self.started(context) as running:
            before = mark_of(running.endpoint)
            if not (word := self.write(running)):
                assert isinstance(running.logs(since=before), str)
                return
            deadline = time.monotonic() + self.quick
            while word not in (log := running.logs(since=before)):
                assert time.monotonic() < deadline, f"what was written after the mark is missing: {log!r}"
                time.sleep(0.01)
            assert len(running.logs(1, since=before).splitlines()) == 1
            time.sleep(0.01)
            after = mark_of(running.endpoint)
            assert word not in running.logs(since=after), "what was written before the mark is there"
            assert word in running.logs(), "without a mark the log is not cut"

    def test_an_end_is_told_and_the_server_can_be_started_again(self) -> None:
        """Tests that find the server dead show how it ended, and go on with it at the same address."""
        with self.context() as (context, _), self.started(context) as running:
            before = (running.endpoint.host, running.endpoint.port)
            if not self.end(running):
                assert running.exited() is None
                return
            deadline = time.monotonic() + self.quick
            while (end := running.exited()) is None:
                assert time.monotonic() < deadline, "the end of the server was not seen"
                time.sleep(0.01)
            assert end.strip() == end != "", "it must say how the server ended"
            running.restart()
            self.wait(running)
            assert (running.endpoint.host, running.endpoint.port) == before
            assert running.exited() is None
