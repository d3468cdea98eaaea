"""The host process's outside: its start, the answers to its owner's requests, its end.

Started by `HostClient`, in a session of its own and without `site`. It speaks over a socket that its
owner made and that it inherited, so nobody else can connect.
"""

from __future__ import annotations

import _socket
import os
import signal
import sys
import threading
from collections.abc import Callable
from contextlib import suppress

from ..errors import HostError, TestbedError
from .death import wait_for_end
from .host import PROVIDERS, Host, load_typing
from .model import ServiceSpec
from .wire import Wire

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["main"]


class Server:
    """Answers one client's messages by calling the host."""

    def __init__(self, host: Host, wire: Wire, finish: Callable[[], None]) -> None:
        self._host = host
        self._wire = wire
        self._finish = finish

    def serve(self) -> None:
        """Answer until the client leaves."""
        with suppress(EOFError, HostError):
            while True:
                message = self._wire.receive()
                try:
                    answer = self._answer(message)
                except TestbedError as error:
                    answer = {"error": type(error).__name__, "text": str(error)}
                except Exception as error:
                    answer = {"error": "HostError", "text": f"the host process failed: {error!r}"}
                self._wire.send({**answer, "number": message.get("number")})
                if message.get("do") == "stop":
                    self._finish()
                    return

    def _answer(self, message: dict[str, Any]) -> dict[str, Any]:
        match message.get("do"):
            case "prefetch":
                if len(message["specs"]) > 1:
                    load_typing()
                for spec in message["specs"]:
                    self._host.start(ServiceSpec.from_json(spec))
                return {}
            case "acquire":
                return self._acquire(ServiceSpec.from_json(message["spec"]), message.get("number"))
            case "check":
                end, log = self._host.check(message["kind"])
                return {"end": end, "log": log}
            case "logs":
                return {"text": self._host.logs(message["kind"], message["lines"])}
            case "own":
                self._host.ledger.own(message["what"], message["name"])
                return {}
            case "disown":
                self._host.ledger.disown(message["what"], message["name"])
                return {}
            case "stop":
                faults = self._host.close()
                return {"faults": faults, "notes": self._host.notes()}
            case other:
                raise HostError(f"the host process does not know {other!r}.")

    def _acquire(self, spec: ServiceSpec, number: int | None) -> dict[str, Any]:
        slot = self._host.start(spec)
        told = ""
        while not slot.done.wait(0.1):
            if self._wire.waiting():
                return {}  # the one who asked was interrupted, and asks for something else by now
            if slot.progress != told:
                told = slot.progress
                self._wire.send({"progress": told, "number": number})
        with slot.lock:
            if slot.error is not None:
                raise slot.error
            assert slot.endpoint is not None
            return {"endpoint": slot.endpoint.to_json(), "notes": slot.notes}


def scrub_environment() -> None:
    """Take out of this process what libpq reads from its caller's: it must see our parameters alone."""
    for name in list(os.environ):
        if name.startswith("PG"):
            del os.environ[name]


def main() -> None:
    """Serve one owner until it says stop or ends, then clean up and leave."""
    hello = Wire(_socket.socket(fileno=int(sys.argv[1])))
    first = hello.receive()
    sys.path[:] = first["path"]
    owner = int(first["owner"])
    scrub_environment()
    host = Host(first["run"], owner, first["settings"], {**PROVIDERS, **first.get("providers", {})})
    wake, waker = os.pipe()

    def finish(*_: object) -> None:
        os.write(waker, b"x")

    for name in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(name, finish)
    stopped = threading.Event()

    def leave() -> None:
        stopped.set()
        finish()

    threading.Thread(target=Server(host, hello, leave).serve, name="serve", daemon=True).start()
    threading.Thread(target=host.sweep, name="sweep", daemon=True).start()
    wait_for_end(owner, wake)
    if not stopped.is_set():
        host.close()
    os._exit(0)  # threads that wait for a server that never comes must not keep us
