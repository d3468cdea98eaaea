"""The host process's outside: its start, the answers to its clients' requests, its end.

Started by `HostClient`, in a session of its own and without `site`. The first client's socket is
inherited; others come, with the key, to a socket in a private directory where the host has one.
"""

from __future__ import annotations

import _socket
import os
import select
import signal
import sys
import threading
import time
from _operator import _compare_digest as same_text  # what hmac has, without the import of OpenSSL
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ..errors import HostError, TestbedError
from .board import Board
from .death import wait_for_end
from .frontdoor import FrontDoor
from .host import Host, load_typing
from .ledger import BEAT
from .meeting import Door, Place, accept, somebody_waits
from .model import LogMark, ServiceSpec
from .starting import PROVIDERS, Slot
from .turns import Turns
from .wire import Wire

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["main"]

END, LOOK = b"x", b"?"
"""What wakes the main thread: for the end, or to look at the time anew."""
HELLO_TIMEOUT = 5
"""Seconds in which a client that connects must have said who it is."""


class Server:
    """One host process: its host, its clients, and what ends it.

    Args:
        boot: what the first client says of the host: "host", "settings", "providers", "keep" (seconds, or
            None), "listener" (a descriptor, or None), "place", "key".
    """

    def __init__(self, boot: dict[str, Any]) -> None:
        self.keep: float | None = boot["keep"]
        owner = None if self.keep is not None else boot["owner"]
        self.host = Host(boot["host"], owner, boot["settings"], {**PROVIDERS, **boot["providers"]})
        self.turns = Turns()
        self._key: str = boot["key"]
        self._place = Place(Path(boot["place"])) if boot["place"] else None
        self._listener = _socket.socket(fileno=boot["listener"]) if boot["listener"] is not None else None
        self._wake, self._waker = os.pipe()
        self._closed = threading.Event()
        self._beaten = time.monotonic()

    def run(self, first: Wire, boot: dict[str, Any]) -> None:
        """Serve until nobody is left, or a signal comes; then end everything."""
        for name in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(name, self.finish)
        self.enter(boot["run"], boot["owner"])
        start(self._talk, first, boot["run"])
        start(self.host.sweep)
        if self._listener is not None:
            self.host.ledger.write()  # so that it can be found, though it owns nothing yet
            start(self._listen, self._listener)
        while not self._is_over():
            self._beat()
        if not self._closed.is_set():
            self.close()

    def _beat(self) -> None:
        """Show now and then that this host lives."""
        if time.monotonic() - self._beaten >= BEAT:
            self._beaten = time.monotonic()
            self.host.ledger.beat()
            if self._place is not None:
                self._place.touch()

    def _is_over(self) -> bool:
        """Wait until there may be something to do; tell whether the end has come."""
        wait = BEAT if self.keep is None else max(0.0, min(BEAT, self.keep - self.host.idle()))
        if select.select([self._wake], [], [], wait)[0] and END in os.read(self._wake, 64):
            return True
        return self.keep is not None and self.host.idle() >= self.keep and self._leave_place()

    def _leave_place(self) -> bool:
        """Give the place up where nobody is here, or has just come; tell whether nobody can come any more."""
        if self._place is None or self._listener is None:
            return self.host.begin_to_close()
        with suppress(OSError), self._place.locked() as door:
            if self._listener.fileno() < 0:
                return True
            if somebody_waits(self._listener) or not self.host.begin_to_close():
                return False
            self._clear(door)
            self._listener.close()
        return True

    def _clear(self, door: Door) -> None:
        """Remove our socket, and not that of a host which came to this place after ours had been removed."""
        if door.key == self._key:
            door.clear()

    def stay(self, seconds: float) -> None:
        """Outlive the run by so many seconds: something is to be looked at."""
        self.keep = max(seconds, self.keep or 0.0)
        self.host.stay()
        os.write(self._waker, LOOK)
        nowhere = os.open(os.devnull, os.O_RDWR)
        os.dup2(nowhere, 1)  # whoever reads pytest's output must not wait for us
        os.dup2(nowhere, 2)

    def finish(self, *_: object) -> None:
        """Let the process come to its end; also a signal's handler."""
        os.write(self._waker, END)

    def close(self) -> list[str]:
        """End everything, and return what resisted."""
        if self._place is not None and self._listener is not None:
            with suppress(OSError), self._place.locked() as door:
                if self._listener.fileno() >= 0:
                    self._clear(door)
        return self.host.close()

    def closed(self) -> None:
        """Note that all is ended and said."""
        self._closed.set()
        self.finish()

    # --- clients

    def enter(self, run: str, owner: int) -> None:
        """Take a run in, and watch the process whose run it is."""
        if self.host.join(run, owner):
            start(self._watch, run, owner)

    def _watch(self, run: str, owner: int) -> None:
        never, _ = os.pipe()
        wait_for_end(owner, never)
        os.close(never)
        os.close(_)
        self.leave(run)

    def leave(self, run: str) -> None:
        """Let a run go without its word: its process has ended."""
        if self.keep is None:
            if self.host.leave(run):
                self.finish()
            return
        self.host.leave(run)
        self.host.clear_after(run)
        self.finish_where_nothing_is_kept()

    def finish_where_nothing_is_kept(self) -> None:
        """Let a kept host go for which it is not worth to stay."""
        if self.host.idle() and not self.host.keeps_anything() and self._leave_place():
            self.finish()

    def _listen(self, listener: _socket.socket) -> None:
        while True:
            try:
                start(self._welcome, Wire(accept(listener)))
            except OSError:
                if listener.fileno() < 0:
                    return  # the host ends
                time.sleep(0.1)  # too many open files, for one: that may pass

    def _welcome(self, wire: Wire) -> None:
        """Let a client in that has the key."""
        try:
            if not wire.waiting(HELLO_TIMEOUT):
                return
            hello = wire.receive()
            if not same_text(str(hello.get("key", "")), self._key):
                wire.send({"error": "HostError", "text": "the host process was not given the right key."})
                return
            self.enter(hello["run"], int(hello["owner"]))
            if self.keep is not None and hello["keep"] is not None:
                self.keep = float(hello["keep"])  # who comes last knows best
                os.write(self._waker, LOOK)
            wire.send({"host": self.host.name, "pid": os.getpid()})
            self._talk(wire, hello["run"])
        except (EOFError, TestbedError) as error:
            with suppress(Exception):
                wire.send({"error": named(error), "text": str(error)})
        finally:
            wire.close()

    def _talk(self, wire: Wire, run: str) -> None:
        try:
            Conversation(self, wire, run).serve()
        finally:
            self.turns.give_back(wire)

    def converse(self, door: FrontDoor, wire: Wire) -> None:
        """Answer a process that makes what the clients of a door want; the door is its run's, and stays when it leaves."""
        try:
            Conversation(self, wire, door.run, door).answer_all()
        finally:
            self.turns.give_back(wire)
            wire.close()


class Conversation:
    """Answers one client's messages by calling the host."""

    def __init__(self, server: Server, wire: Wire, run: str, door: FrontDoor | None = None) -> None:
        self._server = server
        self._host = server.host
        self._wire = wire
        self._run = run
        self._doors = {door.spec.kind: door} if door is not None else {}

    def serve(self) -> None:
        """Answer until the client leaves."""
        try:
            self.answer_all()
        finally:
            for door in self._doors.values():
                door.close()

    def answer_all(self) -> None:
        """Answer until the client leaves, whose doors may be somebody else's."""
        with suppress(EOFError, HostError):
            while True:
                message = self._wire.receive()
                try:
                    answer = self._answer(message)
                except TestbedError as error:
                    answer = {"error": named(error), "text": str(error)}
                except Exception as error:
                    answer = {"error": "HostError", "text": f"the host process failed: {error!r}"}
                with self._last_words(message):
                    self._wire.send({**answer, "number": message.get("number")})
                if message.get("do") == "leave":
                    return

    @contextmanager
    def _last_words(self, message: dict[str, Any]) -> Iterator[None]:
        """After a farewell do what is left to do, also where nobody hears its answer any more."""
        try:
            yield
        finally:
            if message.get("do") == "leave":
                self._left()

    def _answer(self, message: dict[str, Any]) -> dict[str, Any]:
        match message.get("do"):
            case "prefetch":
                if len(message["specs"]) > 1:
                    load_typing()
                for spec in message["specs"]:
                    self._host.start(ServiceSpec.from_json(spec), self._run)
                return {}
            case "acquire":
                return self._acquire(ServiceSpec.from_json(message["spec"]), message.get("number"))
            case "check":
                slot = self._host.check(message["kind"], message["generation"])
                if slot is not None and slot.error is not None:
                    raise slot.error.with_traceback(None)
                return {} if slot is None else {"end": slot.end[0], "log": slot.end[1], **handed_out(slot)}
            case "logs":
                since = message.get("since")
                return {"text": self._host.logs(message["kind"], message["lines"], since and LogMark(*since))}
            case "own":
                self._host.ledger.own(message["what"], message["name"], self._run)
                return {}
            case "disown":
                self._host.ledger.disown(message["what"], message["name"])
                return {}
            case "drop":
                start(self._host.drop, message["kind"], message["address"])
                return {}
            case "take":
                return self._take(message["kind"])
            case "give back":
                self._host.stock(message["kind"], self._run).give_back(message["name"])
                return {}
            case "call":
                return self._call(message)
            case "turn":
                return self._turn(message["name"], message.get("number"))
            case "turn over":
                self._server.turns.give_back(self._wire, message["name"])
                return {}
            case "snapshot":
                return {"taken": self._host.snapshot(message["kind"])}
            case "door":
                return self._open_door(ServiceSpec.from_json(message["spec"]), message["facts"])
            case "door is made" | "make at door" | "lead" | "visits" | "bound" | "late" | "hang up" | "catch up":
                return self._at_door(self._doors[message["kind"]], message)
            case "leave":
                return self._leave()
            case "stay":
                self._server.stay(message["seconds"])
                return {}
            case other:
                raise HostError(f"the host process does not know {other!r}.")

    def _take(self, kind: str) -> dict[str, Any]:
        stock = self._host.stock(kind, self._run)
        name = stock.take()
        if self._wire.waiting():  # the one who asked was interrupted, or is gone
            stock.give_back(name)
        return {"name": name}

    def _call(self, message: dict[str, Any]) -> dict[str, Any]:
        """Let the stock of a run do something that its kind can do."""
        stock = self._host.stock(message["kind"], self._run)
        if message["what"] not in stock.calls:
            raise HostError(f"{message['kind']} has nothing called {message['what']!r}.")
        with stock.under_way():
            return {"answer": getattr(stock, message["what"])(**message["arguments"])}

    def _open_door(self, spec: ServiceSpec, facts: dict[str, Any]) -> dict[str, Any]:
        """Take over a port that the client listens on, and the memory that it shares with us."""
        files, self._wire.files = self._wire.files, []
        if len(files) not in (2, 3):
            raise HostError("a front door needs its port and its board.")
        for file in files:
            os.set_inheritable(file, False)
        listener, board = _socket.socket(fileno=files[0]), Board(files[1])
        os.close(files[1])
        witness = Wire(_socket.socket(fileno=files[2])) if files[2:] else None
        converse = self._server.converse
        door = self._doors[spec.kind] = FrontDoor(self._host, spec, self._run, listener, board, facts, witness, converse)
        start(door.serve)
        return {}

    def _at_door(self, door: FrontDoor, message: dict[str, Any]) -> dict[str, Any]:
        match message["do"]:
            case "make at door":
                there, notes, door.notes = door.begin_to_make(), door.notes, []
                return {"there": there, "notes": notes}
            case "door is made":
                door.made(message["fault"])
                return {}
            case "lead":
                door.lead(message["to"])
                return {}
            case "bound":
                return {"bound": door.bound}
            case "hang up":
                door.end_since(message["since"], message["spared"])
                return {"needs": door.needs()}
            case "catch up":
                door.catch_up()
                return {}
            case "late":
                return {"backends": door.end_late(message["since"])}
            case _:
                return {"backends": door.do(message["what"], message["backends"])}

    def _turn(self, name: str, number: int | None) -> dict[str, Any]:
        told = False

        def gave_up() -> bool:
            nonlocal told
            if not told and not self._wire.waiting():
                told = True
                self._wire.send({"progress": f"waiting for another worker: {name}", "number": number})
            return self._wire.waiting()

        self._server.turns.take(name, self._wire, gave_up)
        return {}

    def _acquire(self, spec: ServiceSpec, number: int | None) -> dict[str, Any]:
        slot = self._host.start(spec, self._run)
        told = ""
        while not slot.done.wait(0.1):
            if self._wire.waiting():
                return {}  # the one who asked was interrupted, and asks for something else by now
            if slot.progress != told:
                told = slot.progress
                self._wire.send({"progress": told, "number": number})
        if slot.error is not None:
            raise slot.error.with_traceback(None)
        return handed_out(slot)

    def _leave(self) -> dict[str, Any]:
        """Let the run go; where nobody needs the services any more, they end before the answer is given.

        A host that is kept ends at any moment once it is without runs, but not before `_left`.
        """
        server = self._server
        self._host.hold()
        notes = self._host.notes()
        last = self._host.leave(self._run)
        if server.keep is None:
            return {"faults": server.close() if last else [], "notes": notes, "stays": not last}
        return {"faults": self._host.late_faults(), "notes": notes, "stays": True}

    def _left(self) -> None:
        """Do what is left to do when the run has got its answer."""
        self._host.let_go()
        if self._server.keep is not None:
            self._host.clear_after(self._run)
            self._server.finish_where_nothing_is_kept()
            self._host.look_ahead()
        elif self._host.is_closing():
            self._server.closed()


def named(error: BaseException) -> str:
    """Return the name under which the client knows an error: of a kind's own it knows what it is one of."""
    return next((each.__name__ for each in type(error).__mro__ if each.__module__ == TestbedError.__module__), "HostError")


def handed_out(slot: Slot) -> dict[str, Any]:
    """Return what a client is told of a service."""
    assert slot.endpoint is not None
    return {
        "endpoint": slot.endpoint.to_json(),
        "notes": list(slot.notes),
        "generation": slot.generation,
        "age": time.time() - slot.since,
        "starter": slot.starter,
    }


def start(action: Any, *arguments: object) -> None:
    """Run something in a thread that keeps nobody alive."""
    threading.Thread(target=action, args=arguments, name=action.__name__, daemon=True).start()


def scrub_environment() -> None:
    """Take out of this process what libpq reads from its caller's: it must see our parameters alone."""
    for name in list(os.environ):
        if name.startswith("PG"):
            del os.environ[name]


def main() -> None:
    """Serve until nobody is left, then clean up and leave."""
    first = Wire(_socket.socket(fileno=int(sys.argv[1])))
    boot = first.receive()
    sys.path[:] = boot["path"]
    scrub_environment()
    Server(boot).run(first, boot)
    os._exit(0)  # threads that wait for a server that never comes must not keep us
