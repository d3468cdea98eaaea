"""What the host process owns: the services of one run or, where it is kept, of one run after another.

Only the standard library is loaded until a provider needs more.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path

from ..errors import HostError, ServiceDied, ServiceNotReady
from .ledger import DEFAULT_MAX_AGE, Lease, Ledger, sweep
from .model import Endpoint, LogMark, Running, ServiceSpec, resolve, sickness
from .places import private, remove_tree, state_directory
from .removers import REMOVERS
from .starting import PROVIDERS, Slot, Starter, await_ready
from .stock import Stock

__all__ = ["Host", "load_typing"]

CLOSE_TIMEOUT = 4.0
"""Seconds that the end of a host waits for a service that may be about to be launched; the pull of an image takes longer."""
LAUNCH_TIMEOUT = 12.0
"""Seconds that it waits for a launch: what the engine is asked for while nobody waits any more stays until the next run.

Less than what those who wait for the host's end allow: `HostClient.leave`, the command `stop`.
"""
LOOK_TIMEOUT = 3.0
"""Seconds in which a service that was kept must answer, or it is replaced."""


class Host:
    """Starts, hands out, checks and ends services; knows no sockets.

    Args:
        name: the host's identity, part of the name of all that it makes.
        owner: pid of the process for which it works; None where it is kept for whoever comes.
        settings: "cache" and "data", directories that the user chose, or ""; "project", where its tests lie;
            "max_age", seconds of silence after which a run that cannot be seen from here is dead.
        providers: name → reference of a provider class.
    """

    def __init__(
        self, name: str, owner: int | None, settings: Mapping[str, str], providers: Mapping[str, str] = PROVIDERS
    ) -> None:
        self.name = name
        self.kept = owner is None
        """Whether it outlives the runs that use it."""
        self._slots: dict[str, Slot] = {}
        self._lock = threading.Lock()
        self._ending = threading.Lock()
        self._closing = False
        self._tenants: dict[str, int] = {}
        self._held = 0
        self._idle_since = time.monotonic()
        state = state_directory()
        self._records = private(state / "runs") if state is not None else None
        lease = None if owner is None else Lease.of(owner)
        project = settings.get("project", "")
        self.ledger = Ledger(self._records, name, Lease.of(os.getpid()), lease, project=project, kept=self.kept)
        self._starter = Starter(name, settings, providers, self.ledger)
        self._late: list[str] = []
        self._max_age = float(settings.get("max_age") or DEFAULT_MAX_AGE)

    @property
    def directory(self) -> Path:
        """The directory for all that this host makes."""
        return self._starter.directory

    # --- runs that come and go

    def join(self, run: str, owner: int) -> bool:
        """Take a run in; tell whether it was not there yet."""
        with self._lock:
            if self._closing:
                raise HostError("the host process is ending its services.")
            if run in self._tenants:
                return False
            self._tenants[run] = owner
            self._tell()
            return True

    def leave(self, run: str) -> bool:
        """Let a run go; tell whether none is left. What it made on servers that stay is for `clear_after`."""
        with self._lock:
            if self._tenants.pop(run, None) is None:
                return False
            for slot in self._slots.values():
                slot.users.discard(run)
                if not self._tenants:
                    slot.notes.clear()
            self._idle_since = time.monotonic()
            self._tell()
            return not self._tenants

    def clear_after(self, run: str) -> None:
        """Drop what a run that has left made on servers that stay; the next run is told what resisted."""
        for slot in list(self._slots.values()):
            if (stock := slot.stocks.get(run)) is not None:
                stock.close()
            for address in self.ledger.owned(made_on(slot.spec.kind), run):
                try:
                    self._drop(slot, address)
                except Exception as error:
                    self._late.append(f"dropping {address}: {error}")
            slot.stocks.pop(run, None)

    def begin_to_close(self) -> bool:
        """Let nobody in any more, where nobody is in; tell whether that is so."""
        with self._lock:
            self._closing = self._closing or not (self._tenants or self._held)
            return self._closing

    def hold(self) -> None:
        """Do not close for want of runs until `let_go`: one that leaves has yet to hear that it has left."""
        with self._lock:
            self._held += 1

    def let_go(self) -> None:
        """Take back one `hold`."""
        with self._lock:
            self._held -= 1

    def is_closing(self) -> bool:
        """Tell whether everything is ended, or about to be."""
        return self._closing

    def look_ahead(self) -> None:
        """Let services that are kept make ready for the next run, as their probes do."""
        for slot in list(self._slots.values()):
            if slot.running is not None and slot.endpoint is not None and slot.endpoint.is_ours:
                with slot.lock, suppress(Exception):  # who asks for it next will look after it
                    resolve(slot.spec.probe)(slot.running.endpoint, LOOK_TIMEOUT)

    def idle(self) -> float:
        """Return for how many seconds no run has been here; 0.0 while one is."""
        with self._lock:
            return 0.0 if self._tenants else time.monotonic() - self._idle_since

    def keeps_anything(self) -> bool:
        """Tell whether a service runs, for which it is worth to stay."""
        return any(slot.running is not None for slot in self._slots.values())

    def late_faults(self) -> list[str]:
        """Return, once, what could not be removed after a run had left."""
        faults, self._late = self._late, []
        return faults

    def _tell(self) -> None:
        slots = [slot.facts() for slot in list(self._slots.values()) if slot.endpoint is not None and slot.running is not None]
        tenants = [{"run": run, "pid": pid} for run, pid in list(self._tenants.items())]
        self.ledger.tells(services=slots, tenants=tenants)

    # --- starting

    def start(self, spec: ServiceSpec, run: str) -> Slot:
        """Begin to start a kind where nobody has yet, and return its slot at once.

        One that runs is looked after when a new run asks for it: it may have been paused or removed since.
        """
        with self._lock:
            if self._closing:
                raise HostError("the host process is ending its services.")
            slot = self._slots.get(spec.kind)
            if slot is None:
                if self._slots:
                    load_typing()
                slot = self._slots[spec.kind] = Slot(spec)
                slot.starter = run
                self._in_background(self._fill, slot)
            elif slot.done.is_set() and run not in slot.users:
                slot.done.clear()
                self._in_background(self._look_after, slot, run)
            slot.users.add(run)
            return slot

    # --- things that are made ahead for tests

    def stock(self, kind: str, run: str) -> Stock:
        """Return what a run's tests take their things on a service from; it begins to make some when first asked for.

        Raises:
            HostError: the service is not there, tests need no things of their own on it, or the run has ended.
        """
        slot = self._slots.get(kind)
        if slot is None or slot.endpoint is None:
            raise HostError(f"{kind} has not been started.")
        with self._lock:
            if self._closing:
                raise HostError("the host process is ending its services.")
            if run not in self._tenants:
                raise HostError(f"{kind}: the run has ended.")  # nobody would remove what it makes now
            if run not in slot.stocks:
                slot.stocks[run] = self._begun(slot, slot.endpoint, run)
            return slot.stocks[run]

    def _begun(self, slot: Slot, endpoint: Endpoint, run: str) -> Stock:
        if not slot.spec.stock:
            raise HostError(f"there is nothing to be had for tests on {slot.spec.kind}.")
        make: type[Stock] = resolve(slot.spec.stock)
        stock = make(endpoint, run, slot.spec.options, slot.note)
        self._own(slot, stock)
        try:
            stock.begin()
        except RuntimeError as error:
            stock.close()
            self.ledger.disown(made_on(slot.spec.kind), address_of(stock))
            raise HostError(f"nothing can be made for tests on {slot.spec.kind}: {error}") from None
        return stock

    def _own(self, slot: Slot, stock: Stock) -> None:
        """Write all of a run's things to the ledger by one entry: what begins with that is the run's."""
        self.ledger.own(made_on(slot.spec.kind), address_of(stock), stock.run)

    def _begin_anew(self, slot: Slot) -> None:
        """Let all stocks know that the server was started anew, and has nothing of theirs."""
        assert slot.endpoint is not None
        for stock in list(slot.stocks.values()):
            before = address_of(stock)
            stock.forget(slot.endpoint)
            if address_of(stock) != before:
                self._own(slot, stock)
                self.ledger.disown(made_on(slot.spec.kind), before)

    def _in_background(self, action: Callable[..., None], slot: Slot, *more: str) -> None:
        threading.Thread(target=action, args=(slot, *more), name=f"start-{slot.spec.kind}", daemon=True).start()

    def _fill(self, slot: Slot) -> None:
        try:
            self._starter.fill(slot)
            if slot.error is None and slot.endpoint is not None:
                self._sweep_on(slot, slot.endpoint)
                self._begin_anew(slot)
                self._lay_in(slot, slot.starter)
            self._tell()
        finally:
            if self._closing and slot.running is not None:
                slot.running.stop()  # it came up after the end had looked
            slot.done.set()

    def _lay_in(self, slot: Slot, run: str) -> None:
        """Let the first things for a run's tests be made before one asks, who will be told where that cannot be done."""
        if slot.spec.stock and run:
            with suppress(Exception):
                self.stock(slot.spec.kind, run)

    def _look_after(self, slot: Slot, run: str) -> None:
        """Start a service anew that failed for an earlier run, or that does not answer any more."""
        with slot.lock:
            try:
                why = "" if slot.running is None else reason_against(slot)
                if slot.running is None or why:
                    self._replace(slot, run, why)
                    self._drop_of_gone(slot)
                slot.error = None if slot.running is not None else slot.error
                if slot.error is None and slot.endpoint is not None:
                    self._lay_in(slot, run)
            except Exception as error:  # a provider's own fault: show it, never hang the run
                slot.error = ServiceDied(f"{slot.spec.kind}, kept from an earlier run, could not be looked after: {error!r}")
            finally:
                slot.done.set()

    def _replace(self, slot: Slot, run: str, why: str) -> None:
        if slot.running is not None:
            slot.note(f"{slot.spec.kind}, kept from an earlier run, {why}: it was started anew")
            slot.end = (why, slot.running.logs(50))
        slot.generation += 1
        slot.starter = run
        if slot.running is None or not self._start_again(slot, slot.running):
            self._fill(slot)

    def _drop_of_gone(self, slot: Slot) -> None:
        """Drop what could not be dropped when its run left, as the server had ended: started again, it may have it still."""
        for address in self.ledger.owned(made_on(slot.spec.kind)):
            if not any(run in address for run in list(self._tenants)):
                with suppress(Exception):
                    self._drop(slot, address)

    def _start_again(self, slot: Slot, running: Running) -> bool:
        """Start a server again in its place, or end it where that cannot be done; tell which."""
        try:
            if running.exited() is not None or sickness(running) is not None:
                began = time.monotonic()
                running.restart()
                slot.endpoint = await_ready(slot.spec, running).with_(seconds=round(time.monotonic() - began, 3))
                slot.since = time.time()
                self._begin_anew(slot)
                return True
        except Exception as error:
            slot.note(f"{slot.spec.kind} could not be started again in its place: {error}")
        slot.running = None
        try:
            running.stop()
        except Exception as error:
            slot.note(f"the {slot.spec.kind} that was given up could not be removed: {error}")
        return False

    def stay(self) -> None:
        """Note that this host outlives its run."""
        self.kept = True
        self.ledger.keep()

    # --- handing out

    def check(self, kind: str, generation: int) -> Slot | None:
        """Look after a service that a test could not reach; start it again where it died.

        Args:
            kind: the service.
            generation: the one that the test knew.

        Returns:
            Its slot, whose `end` says how the test's server ended, and its last lines; None where it still runs.
        """
        slot = self._slots.get(kind)
        if slot is None:
            return None
        with slot.lock:
            if slot.generation > generation:
                return slot  # another worker was first
            if slot.running is None:
                return None
            if (end := slot.running.exited() or sickness(slot.running)) is None:
                return None
            slot.end = (end, slot.running.logs(50))
            slot.progress = f"starting {kind} again"
            slot.generation += 1
            try:
                slot.running.restart()
                endpoint = await_ready(slot.spec, slot.running)
                slot.endpoint = endpoint.with_(seconds=slot.endpoint.seconds if slot.endpoint else 0.0)
                slot.error = None
                self._begin_anew(slot)
            except Exception as error:
                slot.error = ServiceDied(f"{kind} ended during this run ({end}) and could not be started again: {error}")
            return slot

    def snapshot(self, kind: str) -> bool:
        """Let a service keep its data, as they are now, for the starts of later runs; tell whether it did.

        Everybody's connections to it end.

        Raises:
            ServiceNotReady: it did not come back.
        """
        slot = self._slots.get(kind)
        take = getattr(slot.running, "snapshot", None) if slot is not None else None
        if slot is None or take is None:
            return False
        with slot.lock:
            taken = bool(take())
            assert slot.running is not None
            await_ready(slot.spec, slot.running)
        return taken

    def logs(self, kind: str, lines: int, since: LogMark | None = None) -> str:
        """Return the last lines that a service wrote, after a mark if there is one."""
        slot = self._slots.get(kind)
        return slot.running.logs(lines, since) if slot is not None and slot.running is not None else ""

    def notes(self) -> list[str]:
        """Return what there is to tell of all services."""
        return [note for slot in self._slots.values() for note in slot.notes]

    # --- ending

    def close(self) -> list[str]:
        """End every service, and remove what this host made.

        Returns:
            One line for each thing that could not be ended or removed.
        """
        with self._lock:
            self._closing = True  # a request may still be on its way in
            slots = list(self._slots.values())
        with self._ending:  # who comes second finds nothing left to do
            faults = self._end(slots)
            self.ledger.close()
        return faults

    def _end(self, slots: list[Slot]) -> list[str]:
        faults: list[str] = []

        def attempt(what: str, action: Callable[[], object]) -> None:
            try:
                action()
            except Exception as error:
                faults.append(f"{what}: {error}")

        for slot in slots:
            for stock in list(slot.stocks.values()):  # a run may be leaving at the same time
                attempt(f"what was made on {slot.spec.kind}", stock.close)
        # first, as a provider of somebody else's may end its server with the run
        for slot in slots:
            for address in self.ledger.owned(made_on(slot.spec.kind)):
                if slot.endpoint is not None and slot.endpoint.is_ours:
                    self.ledger.disown(made_on(slot.spec.kind), address)  # it goes with its server
                else:
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
        return faults

    def drop(self, kind: str, address: str) -> None:
        """Drop a thing that a run has made on a service and does not need any more; what resists is dropped at the end."""
        with suppress(Exception):
            self._drop(self._slots[kind], address)

    def _drop(self, slot: Slot, address: str) -> None:
        assert slot.endpoint is not None
        drop(slot.spec, slot.endpoint, address)
        if any(stock.is_busy and address == address_of(stock) for stock in list(slot.stocks.values())):
            raise ServiceNotReady("something is still being made or removed there; the next run looks after it")
        self.ledger.disown(made_on(slot.spec.kind), address)

    def _sweep_on(self, slot: Slot, endpoint: Endpoint) -> None:
        """Drop what dead runs left on a server that is not ours, now that we know how to get in."""
        if not endpoint.is_ours and self._records is not None:
            removers = {made_on(slot.spec.kind): lambda address, run: drop(slot.spec, endpoint, address)}
            for fault in sweep(self._records, removers, max_age=self._max_age):
                slot.note(fault)

    def _remove(self, path: str) -> None:
        if os.path.lexists(path):
            remove_tree(Path(path))
        self.ledger.disown("directory", path)

    def sweep(self) -> list[str]:
        """Remove what dead runs left behind."""
        if self._records is None:
            return []
        return sweep(self._records, REMOVERS, max_age=self._max_age)


def load_typing() -> None:
    """Load `typing` before a second kind starts beside the first.

    dataclasses looks at a half loaded `typing` where two threads load packages at the same time.
    """
    import typing  # noqa: F401


def made_on(kind: str) -> str:
    """Return the ledger's word for things that were made on a server of a kind which may outlive their run."""
    return f"on {kind}"


def address_of(stock: Stock) -> str:
    """Return the ledger's word for all things of a stock: what their names begin with, and where."""
    return f"{stock.endpoint.host}:{stock.endpoint.port}/{stock.prefix}"


def drop(spec: ServiceSpec, endpoint: Endpoint, address: str) -> None:
    """Drop a thing named `host:port/name` from the server of that address.

    Raises:
        LookupError: it lies on another server.
    """
    server, _, name = address.rpartition("/")
    if server != f"{endpoint.host}:{endpoint.port}":
        raise LookupError(f"it lies on {server}")
    resolve(spec.drop)(endpoint, name)


def reason_against(slot: Slot) -> str:
    """Return why a service that was kept will not do any more; "" where it will."""
    running = slot.running
    assert running is not None
    if (end := running.exited()) is not None:
        return f"had ended ({end})"
    if (sick := sickness(running)) is not None:
        return f"was {sick}"
    try:
        await_ready(slot.spec, running, LOOK_TIMEOUT)
    except Exception as error:
        text = str(error).partition("\n")[0] if isinstance(error, ServiceNotReady) else repr(error)
        return f"did not answer ({text})"
    return ""


def stop(slot: Slot) -> None:
    """End one service, also one that is still on its way up: until it is launched there is nothing to end."""
    began = time.monotonic()
    while slot.running is None and not slot.done.wait(0.01):
        if time.monotonic() - began >= (LAUNCH_TIMEOUT if slot.launching else CLOSE_TIMEOUT):
            break
    if (running := slot.running) is not None:
        running.stop()
