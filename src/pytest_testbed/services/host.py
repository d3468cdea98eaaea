"""What the host process owns: the services of one run, from their start to their end.

Only the standard library is loaded until a provider needs more.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

from ..errors import HostError, ServiceDied, ServiceNotReady, ServiceUnavailable, TestbedError
from .ledger import Lease, Ledger, end_processes_of, sweep
from .model import Context, Endpoint, Provider, Refusal, Running, ServiceSpec, resolve
from .places import cache_directory, private, remove_tree, run_directory, state_directory
from .readiness import wait_until_ready

TYPE_CHECKING = False
if TYPE_CHECKING:
    pass

__all__ = ["PROVIDERS", "Host", "load_typing"]

PROVIDERS = {
    "external": "pytest_testbed.services.providers.external:ExternalProvider",
    "docker": "pytest_testbed.services.providers.docker:DockerProvider",
    "local": "pytest_testbed.services.providers.local:LocalProvider",
}
"""Built-in providers, in the order in which `auto` asks them."""

CLOSE_TIMEOUT = 4.0
"""Seconds that the end of a run waits for a launch that is under way."""


class Slot:
    """One kind in this run: being started, running, or failed."""

    def __init__(self, spec: ServiceSpec) -> None:
        self.spec = spec
        self.done = threading.Event()
        self.lock = threading.Lock()
        self.progress = f"starting {spec.kind}"
        self.running: Running | None = None
        self.endpoint: Endpoint | None = None
        self.error: TestbedError | None = None
        self.notes: list[str] = []

    def note(self, text: str) -> None:
        """Keep a line for the user's summary, once."""
        if text not in self.notes:
            self.notes.append(text)


class Host:
    """Starts, hands out, checks and ends the services of one run; knows no sockets.

    Args:
        run: the run's identity.
        owner: pid of the process for which it works.
        settings: "cache" and "data", directories that the user chose, or "".
        providers: name → reference of a provider class.
    """

    def __init__(self, run: str, owner: int, settings: Mapping[str, str], providers: Mapping[str, str] = PROVIDERS) -> None:
        self.run = run
        self._providers = dict(providers)
        self._made: dict[str, Provider] = {}
        self._slots: dict[str, Slot] = {}
        self._lock = threading.Lock()
        self._cache = cache_directory(settings.get("cache", ""))
        self._cache_wanted = settings.get("cache", "")
        self._data = Path(settings["data"]).expanduser() if settings.get("data") else None
        self.directory = run_directory(run, self._data)
        state = state_directory()
        self._records = private(state / "runs") if state is not None else None
        self.ledger = Ledger(self._records, run, Lease.of(os.getpid()), Lease.of(owner))
        self._made_directory = False
        self._closing = False

    # --- starting

    def start(self, spec: ServiceSpec) -> Slot:
        """Begin to start a kind where nobody has yet, and return its slot at once."""
        with self._lock:
            if self._closing:
                raise HostError("the host process is ending its services.")
            slot = self._slots.get(spec.kind)
            if slot is None:
                if self._slots:
                    load_typing()
                slot = self._slots[spec.kind] = Slot(spec)
                threading.Thread(target=self._fill, args=(slot,), name=f"start-{spec.kind}", daemon=True).start()
            return slot

    def _fill(self, slot: Slot) -> None:
        began = time.monotonic()
        try:
            self._make_directory()
            provider = self._choose(slot)
            slot.progress = f"starting {slot.spec.kind} ({provider.name})"
            endpoint = self._bring_up(slot, provider)
            self._sweep_on(slot, endpoint)
            slot.endpoint = endpoint.with_(seconds=round(time.monotonic() - began, 3))
        except TestbedError as error:
            slot.error = error
        except Exception as error:  # a provider's own fault: show it, never hang the run
            import traceback

            slot.error = ServiceNotReady(f"{slot.spec.kind} could not be started: {error!r}\n{traceback.format_exc()}")
        finally:
            slot.done.set()

    def _make_directory(self) -> None:
        with self._lock:
            if self._made_directory:
                return
            if self._data is not None and not self._data.is_dir():
                raise ServiceUnavailable(f"the data directory {self._data} is not there: make it, or correct testbed_data_dir.")
            self.ledger.own("directory", str(self.directory))
            # others may pass through, not look: a server of another user has its folders below
            self.directory.mkdir(mode=0o711, parents=True)
            self._made_directory = True

    def _context(self, slot: Slot) -> Context:
        def progress(text: str) -> None:
            slot.progress = text

        if self._cache is None:
            wanted = self._cache_wanted or "the cache directory"
            slot.note(f"{wanted} cannot be used (missing rights, or not this user's alone); nothing is kept for the next run")
        return Context(
            run=self.run,
            directory=self.directory,
            cache=self._cache,
            own=self.ledger.own,
            disown=self.ledger.disown,
            progress=progress,
            note=slot.note,
            data_directory=self._data,
        )

    def _provider(self, name: str) -> Provider:
        if name not in self._made:
            if name not in self._providers:
                known = ", ".join(self._providers)
                raise ServiceUnavailable(f"there is no provider {name!r}; known are: {known}.")
            self._made[name] = resolve(self._providers[name])()
        return self._made[name]

    def _choose(self, slot: Slot) -> Provider:
        spec, context = slot.spec, self._context(slot)
        names = [spec.provider] if spec.provider != "auto" else ["external"] if spec.url else list(self._providers)
        refusals: list[tuple[str, Refusal]] = []
        for name in names:
            provider = self._provider(name)
            refusal = provider.refusal(spec, context)
            if refusal is None:
                return provider
            refusals.append((name, refusal))
        raise ServiceUnavailable(refusal_text(spec.kind, refusals))

    def _bring_up(self, slot: Slot, provider: Provider) -> Endpoint:
        running = provider.start(slot.spec, self._context(slot))
        slot.running = running
        try:
            return self._wait(slot, running)
        except BaseException:
            slot.running = None
            try:
                running.stop()
            except Exception as error:  # must not hide why it did not come up
                slot.note(f"{slot.spec.kind} could not be removed after it failed to start: {error}")
            raise

    def _wait(self, slot: Slot, running: Running) -> Endpoint:
        spec = slot.spec
        probe = resolve(spec.probe)
        timeout = spec.timeout if running.patience is None else min(spec.timeout, running.patience)
        version = wait_until_ready(running, lambda seconds: str(probe(running.endpoint, seconds)), timeout)
        if spec.version and not is_version(version, spec.version):
            raise ServiceUnavailable(
                f"{spec.kind} {spec.version} is wanted, and {running.endpoint.provider} gave {version} "
                f"({running.endpoint.source}): name another image, directory or server, or another version."
            )
        return running.endpoint.with_(version=version)

    # --- handing out

    def check(self, kind: str) -> tuple[str, str]:
        """Look after a service that a test could not reach; start it again where it died.

        Returns:
            How it ended and its last log lines; two empty texts where it still runs.
        """
        slot = self._slots.get(kind)
        if slot is None or slot.running is None:
            return "", ""
        with slot.lock:
            end = slot.running.exited()
            if end is None:
                return "", ""
            log = slot.running.logs(50)
            slot.progress = f"starting {kind} again"
            try:
                slot.running.restart()
                endpoint = self._wait(slot, slot.running)
                slot.endpoint = endpoint.with_(seconds=slot.endpoint.seconds if slot.endpoint else 0.0)
            except Exception as error:
                slot.error = ServiceDied(f"{kind} ended during this run ({end}) and could not be started again: {error}")
            return end, log

    def logs(self, kind: str, lines: int) -> str:
        """Return the last lines that a service wrote."""
        slot = self._slots.get(kind)
        return slot.running.logs(lines) if slot is not None and slot.running is not None else ""

    def notes(self) -> list[str]:
        """Return what there is to tell of all services."""
        return [note for slot in self._slots.values() for note in slot.notes]

    # --- ending

    def close(self) -> list[str]:
        """End every service, and remove what this run made.

        Returns:
            One line for each thing that could not be ended or removed.
        """
        faults: list[str] = []

        def attempt(what: str, action: Callable[[], object]) -> None:
            try:
                action()
            except Exception as error:
                faults.append(f"{what}: {error}")

        with self._lock:
            self._closing = True  # a request may still be on its way in
            slots = list(self._slots.values())
        # first, as a provider of somebody else's may end its server with the run
        for slot in slots:
            for address in self.ledger.owned(made_on(slot.spec.kind)):
                attempt(f"dropping {address}", partial(self._drop, slot, address))
        stoppers = []
        for slot in slots:
            stopper = threading.Thread(target=attempt, args=(f"stopping {slot.spec.kind}", partial(stop, slot)))
            stopper.start()
            stoppers.append(stopper)
        for stopper in stoppers:
            stopper.join()
        for path in self.ledger.owned("directory"):
            attempt(f"removing {path}", partial(self._remove, path))
        self.ledger.close()
        return faults

    def _drop(self, slot: Slot, address: str) -> None:
        assert slot.endpoint is not None
        drop(slot.spec, slot.endpoint, address)
        self.ledger.disown(made_on(slot.spec.kind), address)

    def _sweep_on(self, slot: Slot, endpoint: Endpoint) -> None:
        """Drop what dead runs left on a server that is not ours, now that we know how to get in."""
        if not endpoint.is_ours and self._records is not None:
            for fault in sweep(self._records, {made_on(slot.spec.kind): lambda address, run: drop(slot.spec, endpoint, address)}):
                slot.note(fault)

    def _remove(self, path: str) -> None:
        if os.path.lexists(path):
            remove_tree(Path(path))
        self.ledger.disown("directory", path)

    def sweep(self) -> list[str]:
        """Remove what dead runs left behind."""
        if self._records is None:
            return []
        return sweep(
            self._records, {"directory": lambda name, run: end_processes_of(Path(name), run), "container": remove_container}
        )


def load_typing() -> None:
    """Load `typing` before a second kind starts beside the first.

    dataclasses looks at a half loaded `typing` where two threads load packages at the same time.
    """
    import typing  # noqa: F401


def remove_container(name: str, run: str) -> None:
    """Remove a container of a dead run."""
    from .providers.docker import remove_container as remove

    remove(name, run)


def made_on(kind: str) -> str:
    """Return the ledger's word for things that were made on somebody else's server of a kind."""
    return f"on {kind}"


def drop(spec: ServiceSpec, endpoint: Endpoint, address: str) -> None:
    """Drop a thing named `host:port/name` from the server of that address.

    Raises:
        LookupError: it lies on another server.
    """
    server, _, name = address.rpartition("/")
    if server != f"{endpoint.host}:{endpoint.port}":
        raise LookupError(f"it lies on {server}")
    resolve(spec.drop)(endpoint, name)


def stop(slot: Slot) -> None:
    """End one service, also one that is still on its way up."""
    deadline = time.monotonic() + CLOSE_TIMEOUT
    # until it is launched there is nothing to end; a launch is short, the pull of an image is not
    while slot.running is None and not slot.done.wait(0.01) and time.monotonic() < deadline:
        pass
    if (running := slot.running) is not None:
        running.stop()


def is_version(version: str, wanted: str) -> bool:
    """Tell whether a server's version is the wanted one: "17" is met by 17.2, "17.2" by 17.2 alone."""
    return version == wanted or version.startswith(wanted + ".")


def refusal_text(kind: str, refusals: list[tuple[str, Refusal]]) -> str:
    """Return the one text that names why each provider refused and what to do about it."""
    lines = [f"no provider can give {kind} here:"]
    for name, refusal in refusals:
        lines.append(f"  {name + ':':<10}{refusal.reason}")
        lines.append(f"  {'':<10}→ {refusal.remedy}")
    return "\n".join(lines)
