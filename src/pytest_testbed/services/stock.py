"""Things on a service that tests need one of, each for itself: made ahead, handed out, removed behind them.

It lives in the host process, so that the making and the removing of them cost tests nothing.
"""

from __future__ import annotations

import threading
from collections import deque
from contextlib import contextmanager

from ..errors import HostError, ServiceNotReady, TestbedError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from typing import Any

    from .model import Endpoint

__all__ = ["BACKLOG", "Stock"]

AHEAD = 2
"""How many things wait for tests at least."""
MOST_AHEAD = 8
BACKLOG = 8
"""How many may be left to be removed before that is done beside the making of others for which somebody waits.

At twice this number nobody gets another one before some are gone.
"""
TAKE_TIMEOUT = 30.0
CLOSE_TIMEOUT = 3.0


class Stock:
    """Makes things for one run ahead of its tests, and removes them behind; a kind's own subclass says how.

    Args:
        endpoint: the service.
        run: the run, whose identity is part of all names.
        options: the options of the kind's spec.
        note: tells something worth a line in the run's summary.
    """

    calls: tuple[str, ...] = ()
    """Further methods that a run may call, by name, with arguments and answers that are JSON."""

    def __init__(self, endpoint: Endpoint, run: str, options: Mapping[str, Any], note: Callable[[str], None]) -> None:
        self.endpoint: Endpoint = endpoint
        self.run = run
        self.options = options
        self.note = note
        self._changed = threading.Condition()
        self._ready: deque[str] = deque()
        self._used: deque[str] = deque()
        self._resisted: list[str] = []
        """What could not be removed, or not be made as a whole: tried again on a server that was started again."""
        self._out: set[str] = set()
        self._waiting = self._count = self._era = self._under_way = 0
        self._fault: TestbedError | None = None
        self._faults = 0
        self._rests = False
        """After a fault nothing is tried before somebody asks again."""
        self._resists = False
        self._closed = False
        self._threads: list[threading.Thread] = []

    # --- for the kind

    def make(self, name: str) -> None:
        """Make the thing of that name; called by several threads.

        Raises:
            Exception: it cannot be made; who waits for it is told.
        """
        raise NotImplementedError

    def remove(self, name: str) -> None:
        """Remove the thing of that name; harmless when it is gone."""
        raise NotImplementedError

    # --- for the host

    @property
    def prefix(self) -> str:
        """What the names of all things of this run begin with."""
        return f"testbed_{self.run}_"

    @property
    def is_busy(self) -> bool:
        """Whether something is being made, removed, or done by a run's call."""
        return self._under_way > 0

    def begin(self) -> None:
        """Begin to make things ahead.

        Raises:
            RuntimeError: no thread can be had.
        """
        for each in (self._keep_making, self._keep_removing):
            thread = threading.Thread(target=each, name=f"stock-{self.endpoint.kind}", daemon=True)
            thread.start()
            self._threads.append(thread)

    @contextmanager
    def under_way(self) -> Iterator[None]:
        """Let the end wait for what is done in here: it removes what is there, and nothing may come after.

        Raises:
            HostError: the end has come.
        """
        with self._changed:
            if self._closed:
                raise HostError(f"{self.endpoint.kind}: the run has ended.")
            self._under_way += 1
        try:
            yield
        finally:
            with self._changed:
                self._under_way -= 1
                self._changed.notify_all()

    def take(self) -> str:
        """Return the name of a thing that nobody else has, or will have.

        Raises:
            TestbedError: it could not be made.
        """
        with self._changed:
            self._waiting += 1
            self._rests = False
            known = self._faults  # who comes later may not keep us from being told of ours
            self._changed.notify_all()
            try:
                self._changed.wait_for(lambda: self._closed or self._can_give() or self._has_failed(known), TAKE_TIMEOUT)
                if self._closed or not self._can_give():
                    raise self._why_not(known)
                name = self._ready.popleft()
                self._out.add(name)
                return name
            finally:
                self._waiting -= 1
                self._changed.notify_all()

    def _can_give(self) -> bool:
        return bool(self._ready and len(self._used) < 2 * BACKLOG)

    def _has_failed(self, known: int) -> bool:
        return self._fault is not None and self._faults > known

    def _why_not(self, known: int) -> TestbedError:
        kind = self.endpoint.kind
        if self._closed:
            return HostError(f"{kind}: the run has ended.")
        if self._fault is not None and self._has_failed(known):
            return self._fault.with_traceback(None)
        if self._ready:
            return ServiceNotReady(
                f"{kind}: in {TAKE_TIMEOUT:g} s none of the {len(self._used)} things was removed that tests have given back; "
                "this test gets none before."
            )
        return ServiceNotReady(f"{kind}: nothing could be made for this test in {TAKE_TIMEOUT:g} s.")

    def give_back(self, name: str) -> None:
        """Let a thing be removed that was taken."""
        with self._changed:
            if name in self._out:
                self._out.discard(name)
                self._used.append(name)
                self._changed.notify_all()

    def forget(self, endpoint: Endpoint) -> None:
        """Hand out nothing more of what was made: the server has ended, and another one or itself was started anew.

        What it may still have, as its data were kept, is removed as if tests had given it back; what tests hold, when they
        do so.
        """
        with self._changed:
            self.endpoint = endpoint
            self._used.extend((*self._resisted, *self._ready))
            self._resisted.clear()
            self._ready.clear()
            self._era += 1
            self._fault, self._rests = None, False
            self._changed.notify_all()

    def close(self) -> None:
        """Make and remove nothing any more; returns when what is under way is done, or after a while: see `is_busy`."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
            self._changed.wait_for(lambda: not self.is_busy, CLOSE_TIMEOUT)
            is_idle = not self.is_busy
        for thread in self._threads if is_idle else ():
            thread.join()

    # --- its two threads

    def _keep_making(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(self._should_make)
                if self._closed:
                    return
                self._count += 1
                name, era = f"{self.prefix}{self._count}", self._era
            fault = self._attempt(self.make, name)
            with self._changed:
                if era != self._era:
                    self._used.append(name)  # it may have been made on the new server
                elif fault is None:
                    self._ready.append(name)
                else:
                    self._fault, self._rests = fault, True
                    self._faults += 1
                    self._resisted.append(name)  # it may be there all the same
                self._changed.notify_all()

    def _should_make(self) -> bool:
        if self._closed or self._rests:
            return self._closed
        ahead = max(AHEAD, self._waiting, min(MOST_AHEAD, 1 + len(self._out)))
        return len(self._ready) < ahead

    def _keep_removing(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(self._should_remove)
                if self._closed:
                    return
                name, era = self._used[0], self._era
            fault = self._attempt(self.remove, name)
            with self._changed:
                if era == self._era and not self._closed:
                    self._used.popleft()
                    if fault is not None:
                        self._resisted.append(name)
                    if fault is not None and not self._resists:  # one line will do; the end tries once more, and tells
                        self._resists = True
                        self.note(f"{self.endpoint.kind}: {name} could not be removed while tests ran: {fault}")
                self._changed.notify_all()

    def _should_remove(self) -> bool:
        return self._closed or bool(self._used and (not self._waiting or self._ready or len(self._used) >= BACKLOG))

    def _attempt(self, action: Callable[[str], None], name: str) -> TestbedError | None:
        try:
            with self.under_way():
                action(name)
        except TestbedError as error:
            return error
        except Exception as error:  # the kind's own: it is told, and the thread goes on
            return ServiceNotReady(f"{self.endpoint.kind}: {error!r}")
        return None
