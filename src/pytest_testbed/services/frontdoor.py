"""The front door: a loopback port that the host holds for a service, known before the service is there.

Whoever connects starts the service or waits for it. What is sent is counted, can be held back between two
tests, and a connection can be cut, or moved to another backend where the protocol is known.
"""

from __future__ import annotations

import _socket  # the class below `socket.socket`, as everywhere in the host
import threading
import time
from contextlib import suppress
from select import POLLIN

from ..errors import TestbedError
from .board import GLANCE, PATIENCE, Board
from .model import resolve
from .visit import Visit, poll

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import Any

    from .host import Host
    from .model import Endpoint, ServiceSpec
    from .wire import Wire

__all__ = ["FrontDoor"]


class FrontDoor:
    """One port of one process of a run.

    Args:
        host: who starts the service.
        spec: the service.
        run: the run that the door belongs to.
        listener: the port, bound and listening.
        board: where the pytest process sees what goes on.
        facts: what the kind's `Visit` needs to know.
        witness: asked what the pytest process is like at the moment, where it can be.
        converse: lets another process that works for this door talk to the host as the run does.
    """

    def __init__(
        self,
        host: Host,
        spec: ServiceSpec,
        run: str,
        listener: _socket.socket,
        board: Board,
        facts: Mapping[str, Any],
        witness: Wire | None = None,
        converse: Callable[[FrontDoor, Wire], None] = lambda door, wire: None,
    ) -> None:
        self.host, self.spec, self.run, self.board, self.facts = host, spec, run, board, facts
        self.witness, self.converse = witness, converse
        self.notes: list[str] = []
        """What was done for a client that came before the tests."""
        self.bound: list[str] = []
        """Of the visits that were to be parked: who was not, and why."""
        self.at_close: list[Callable[[], object]] = []
        self._listener = listener
        self._is_made = False
        self._making = threading.Lock()
        self._fault = ""
        self.stand_in = ""
        """What clients are led to while that which they want is being made; "" where they have to wait."""
        self.maker = ""
        """The password by which the clients of another process are known that makes it: then they alone are led."""
        self._changed = threading.Condition()
        self._visit: Callable[[FrontDoor, _socket.socket], Visit] = resolve(spec.visit) if spec.visit else Visit
        self.visits: list[Visit] = []
        self._lock = threading.Lock()

    def serve(self) -> None:
        """Let clients in until the door is closed."""
        while True:
            try:
                file, _ = self._listener._accept()  # type: ignore[attr-defined]
            except OSError:
                if self._listener.fileno() < 0:
                    return
                time.sleep(0.1)  # too many open files, for one: that may pass
                continue
            client = _socket.socket(fileno=file)
            client.setblocking(True)
            visit = self._visit(self, client)
            with self._lock:
                self.visits.append(visit)
                self.board.note_visits(len(self.visits))
            try:
                threading.Thread(target=visit.run, name=f"visit-{self.spec.kind}", daemon=True).start()
            except RuntimeError:  # no more threads can be had: others may still be let in later
                self.leave(visit)
                client.close()

    def leave(self, visit: Visit) -> None:
        """Forget a visit that is over."""
        with self._lock, suppress(ValueError):
            self.visits.remove(visit)
            self.board.note_visits(len(self.visits))

    # --- what visits wait for

    def endpoint(self) -> Endpoint:
        """Return the running service; starts it, or waits for it.

        Raises:
            TestbedError: it cannot be had.
        """
        slot = self.host.start(self.spec, self.run)
        slot.done.wait()
        if slot.error is not None:
            raise slot.error.with_traceback(None)  # else it would keep the frames, and sockets, of all who met it before
        assert slot.endpoint is not None
        return slot.endpoint

    def await_made(self, make: Callable[[], None], *, is_makers: bool = False) -> str:
        """Wait until what the run itself makes on the service is made (its database), or make it where nobody does.

        The pytest process may be unable to: it waits for the very connection that waits here.

        Args:
            make: makes it.
            is_makers: whether it is a client of the process that makes it.

        Returns:
            What stands in for it meanwhile; "" where it is there.

        Raises:
            TestbedError: it could not be made.
        """
        if not self._is_made and self._making.acquire(blocking=False):
            fault = "it was not made."
            try:
                make()
                fault = ""
            except TestbedError as error:
                fault = str(error)
            except Exception as error:  # the kind's own, a driver's: the client is told, and a traceback of ours tells nobody
                fault = f"it was not made: {type(error).__name__}: {str(error).strip()}"
            finally:
                self.made(fault)
        with self._changed:
            self._changed.wait_for(lambda: self._is_made or (self.stand_in and (is_makers or not self.maker)))
            if not self._is_made:
                return self.stand_in
        if self._fault:
            raise TestbedError(self._fault)
        return ""

    def begin_to_make(self) -> bool:
        """Let new clients wait, as the pytest process makes anew what they want; tell whether it was there before."""
        self._making.acquire()
        there = self._is_made and not self._fault
        self._is_made, self.bound = False, []
        return there

    def made(self, fault: str = "") -> None:
        """Say that it is there, or why it is not."""
        with self._changed:
            self._fault, self._is_made = fault, True
            self._changed.notify_all()
        with suppress(RuntimeError):  # nobody was making it
            self._making.release()
        for visit in [] if fault else list(self.visits):
            visit.wake()

    def lead(self, stand_in: str) -> None:
        """Let clients in to something else while what they want is being made; the one who makes it may be among them.

        Args:
            stand_in: what that is; "" lets them wait again, those that were led as well.
        """
        with self._changed:
            self.stand_in = stand_in
            self._changed.notify_all()
        for visit in [] if stand_in else list(self.visits):
            if visit.is_led:
                visit.park()

    # --- what the pytest process asks for

    def do(self, what: str, backends: list[int]) -> list[Any]:
        """Let each visit of the given backends do something; return what those answer that could.

        Args:
            what: "park", "reset", "unlock", "silence" or "cut", methods of `Visit`.
            backends: process ids on the server; empty for all.
        """
        wanted = [visit for visit in list(self.visits) if not backends or visit.backend in backends]
        done = [visit.backend for visit in wanted if getattr(visit, what)()]
        if what == "park":
            self.bound = [visit.bound for visit in wanted if visit.bound]
        return done

    def end_late(self, since: int) -> list[int]:
        """Hang up on those who wait between two tests and came after that count of messages; return their backends.

        They belong to the test that is over. The others were there before it, and may go on.
        """
        late = [visit for visit in list(self.visits) if visit.is_late and visit.since >= since]
        return [visit.backend for visit in late if visit.dismiss()]

    def end_since(self, since: int, spared: Sequence[Sequence[int]] = ()) -> None:
        """Hang up on all who came after that count of messages, but for those who came between two counts that are spared.

        Returns when the service has let go of them, and has done what the others have said.
        """
        over = [
            visit
            for visit in list(self.visits)
            if visit.since >= since and not any(first <= visit.since < last for first, last in spared)
        ]
        for visit in over:
            visit.dismiss()
        for visit in over:
            visit.await_end()
        self.catch_up()
        staying = [visit for visit in list(self.visits) if visit not in over]
        for visit in staying:
            visit.inquire()
        for visit in staying:
            visit.await_answer()

    def catch_up(self) -> None:
        """Wait until all is passed on that clients have sent so far; not for long, as some may never pause."""
        deadline = time.monotonic() + PATIENCE
        for visit in list(self.visits):
            while visit in self.visits and poll(visit.client, POLLIN, 0) and time.monotonic() < deadline:
                time.sleep(GLANCE)
        while self.board.on_their_way and time.monotonic() < deadline:
            time.sleep(GLANCE)

    def needs(self) -> list[tuple[str, ...]]:
        """Return what must be on the service for the clients that are there, in the kind's own words."""
        return sorted({need for visit in list(self.visits) if not visit.is_over for need in set(visit.needs)})

    def close(self) -> None:
        """Let nobody in any more, and end all visits."""
        with suppress(OSError):
            self._listener.shutdown(_socket.SHUT_RDWR)  # wakes the thread that waits for clients
        self._listener.close()
        for action in self.at_close:
            action()
        for visit in list(self.visits):
            visit.cut()
