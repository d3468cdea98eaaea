"""How a host brings a service up: provider chosen, started, waited for."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from ..errors import ServiceNotReady, ServiceUnavailable, TestbedError
from .ledger import Ledger
from .model import Context, Endpoint, Provider, Refusal, Running, ServiceSpec, resolve
from .places import cache_directory, run_directory
from .readiness import wait_until_ready

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .stock import Stock

__all__ = ["PROVIDERS", "Slot", "Starter", "in_order", "no_data_directory"]

PROVIDERS = {
    "external": "pytest_testbed.services.providers.external:ExternalProvider",
    "docker": "pytest_testbed.services.providers.docker:DockerProvider",
    "local": "pytest_testbed.services.providers.local:LocalProvider",
}
"""Built-in providers, in the order in which `auto` asks them."""


class Slot:
    """One kind of a host: being started, running, or failed.

    `generation` counts the servers that have been there, one after another; `starter` is the run for which
    the present one was started; `launching` is true from when a provider was chosen until it gave a server or failed;
    `users` are the runs that have asked for it; `stocks` has what each has ready for
    its tests.
    """

    def __init__(self, spec: ServiceSpec) -> None:
        self.spec = spec
        self.done = threading.Event()
        self.lock = threading.Lock()
        self.progress = f"starting {spec.kind}"
        self.launching = False
        self.running: Running | None = None
        self.endpoint: Endpoint | None = None
        self.error: TestbedError | None = None
        self.notes: list[str] = []
        self.users: set[str] = set()
        self.stocks: dict[str, Stock] = {}
        self.starter = ""
        self.since = time.time()
        self.generation = 1
        self.end = ("", "")

    def note(self, text: str) -> None:
        """Keep a line for the user's summary, once."""
        if text not in self.notes:
            self.notes.append(text)

    def facts(self) -> dict[str, object]:
        """Return what the ledger says of a service."""
        endpoint = self.endpoint
        assert endpoint is not None
        address = f"{endpoint.host}:{endpoint.port}"
        return {
            "kind": self.spec.kind,
            "provider": endpoint.provider,
            "source": endpoint.source,
            "address": address,
            "since": self.since,
        }


class Starter:
    """Starts services in the name of one host.

    Args:
        name: the host's identity.
        settings: "cache" and "data", directories that the user chose, or "".
        providers: name → reference of a provider class.
        ledger: where it is written down what is made.
    """

    def __init__(self, name: str, settings: Mapping[str, str], providers: Mapping[str, str], ledger: Ledger) -> None:
        self._name = name
        self._providers = dict(providers)
        self._made: dict[str, Provider] = {}
        self._lock = threading.Lock()
        self._cache = cache_directory(settings.get("cache", ""))
        self._cache_wanted = settings.get("cache", "")
        self._data = Path(settings["data"]).expanduser() if settings.get("data") else None
        self._ledger = ledger
        self._made_directory = False
        self.directory = run_directory(name, self._data)

    def fill(self, slot: Slot) -> None:
        """Start a slot's service and wait until it is ready; what goes wrong is kept in the slot."""
        began = time.monotonic()
        try:
            self._make_directory()
            provider = self._choose(slot)
            slot.progress = f"starting {slot.spec.kind} ({provider.name})"
            endpoint = self._bring_up(slot, provider)
            slot.endpoint, slot.error = endpoint.with_(seconds=round(time.monotonic() - began, 3)), None
            slot.since = time.time()
        except TestbedError as error:
            slot.error = error
        except Exception as error:  # a provider's own fault: show it, never hang the run
            import traceback

            slot.error = ServiceNotReady(f"{slot.spec.kind} could not be started: {error!r}\n{traceback.format_exc()}")

    def _make_directory(self) -> None:
        with self._lock:
            if self._made_directory:
                return
            if fault := no_data_directory(self._data):
                raise ServiceUnavailable(f"{fault.reason}: {fault.remedy}.")
            self._ledger.own("directory", str(self.directory))
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
            run=self._name,
            directory=self.directory,
            cache=self._cache,
            own=self._ledger.own,
            disown=self._ledger.disown,
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
        refusals: list[tuple[str, Refusal]] = []
        for name in in_order(spec, self._providers):
            provider = self._provider(name)
            refusal = provider.refusal(spec, context)
            if refusal is None:
                return provider
            refusals.append((name, refusal))
            if spec.provider == "auto" and name == "docker" and os.environ.get("DOCKER_HOST"):
                slot.note(f"docker was passed over, though DOCKER_HOST is set: {refusal.reason}")
        raise ServiceUnavailable(refusal_text(spec.kind, refusals))

    def _bring_up(self, slot: Slot, provider: Provider) -> Endpoint:
        slot.launching = True
        try:
            running = slot.running = provider.start(slot.spec, self._context(slot))
        finally:
            slot.launching = False
        try:
            return await_ready(slot.spec, running)
        except BaseException:
            slot.running = None
            try:
                running.stop()
            except Exception as error:  # must not hide why it did not come up
                slot.note(f"{slot.spec.kind} could not be removed after it failed to start: {error}")
            raise


def in_order(spec: ServiceSpec, known: Iterable[str]) -> list[str]:
    """Return the providers that are asked for a spec, one after another: the first that does not refuse is taken."""
    return [spec.provider] if spec.provider != "auto" else ["external"] if spec.url else list(known)


def no_data_directory(chosen: Path | None) -> Refusal | None:
    """Return why nothing can be started where the user wants the data; None where all is well."""
    if chosen is None or chosen.is_dir():
        return None
    return Refusal(f"the data directory {chosen} is not there", "make it, or correct testbed_data_dir")


def await_ready(spec: ServiceSpec, running: Running, timeout: float | None = None) -> Endpoint:
    """Wait until a service answers, at most `timeout` seconds or as long as its spec says; return its endpoint."""
    probe: Callable[[Endpoint, float], object] = resolve(spec.probe)
    patience = spec.timeout if running.patience is None else min(spec.timeout, running.patience)
    version = wait_until_ready(running, lambda seconds: str(probe(running.endpoint, seconds)), timeout or patience)
    if spec.version and not is_version(version, spec.version):
        raise ServiceUnavailable(
            f"{spec.kind} {spec.version} is wanted, and {running.endpoint.provider} gave {version} "
            f"({running.endpoint.source}): name another image, directory or server, or another version."
        )
    return running.endpoint.with_(version=version)


def is_version(version: str, wanted: str) -> bool:
    """Tell whether a server's version is the wanted one: "17" is met by 17.2, "17.2" by 17.2 alone."""
    return version == wanted or version.startswith(wanted + ".")


def refusal_text(kind: str, refusals: list[tuple[str, Refusal]]) -> str:
    """Return the one text that names why each provider refused and what to do about it."""
    lines = [f"no provider can give {kind} here:"]
    for name, refusal in refusals:
        lines.append(f"  {name + ':':<10}{refusal.reason}")
        lines.append(f"  {'':<10}→ {refusal.remedy}")
    lines.append("`python -m pytest_testbed doctor` tells more of this machine")
    return "\n".join(lines)
