"""No connection to a host that is not this machine, while a guard is on.

It listens to what Python itself reports of its sockets, so it holds whatever has replaced the functions of `socket`,
before it or while it is on, and there is nothing to put back. What connects without Python's sockets (libpq, uvloop, a
child process) is not heard; nor is the look-up of a name that is given to `socket.connect` itself, though the connection is.
"""

from __future__ import annotations

import socket
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from types import FrameType
from typing import Any

from ..errors import HostBlocked
from .callers import Caller, caller_of
from .exchange import Exchange, masked_url
from .machine import engine_hosts, is_of_containers, is_own_address, is_own_name
from .places import Place, Places, address_of

__all__ = ["Guard"]

LOOK_UPS = ("socket.getaddrinfo", "socket.gethostbyname", "socket.gethostbyaddr")
SENDS = ("socket.connect", "socket.sendto", "socket.sendmsg")
INTERNET = (socket.AF_INET, socket.AF_INET6)


class Guard:
    """Refuses connections and look-ups of names.

    Args:
        places: the hosts that are allowed, besides this machine.
        because: why there is a guard, for the error: "testbed_http_block, from pytest.ini".
    """

    current: Guard | None = None
    """The guard that is on, for all threads."""
    _listens = False

    def __init__(self, places: Places, because: str) -> None:
        self._places = places
        self._because = because
        self._engines = engine_hosts()
        self._busy = threading.local()
        self._names: set[str] = set()
        self._addresses: set[str] = set()
        self._tell: Callable[[Exchange], None] | None = None

    @classmethod
    def from_told(cls, told: Mapping[str, Any]) -> Guard:
        """Return the guard that another process has described: its allowed places, the hosts of services, the reason."""
        hosts = tuple(told["services"])
        return cls(Places(map(Place.from_text, told["allowed"]), lambda: hosts), told["because"])

    @contextmanager
    def on(self, tell: Callable[[Exchange], None] | None = None) -> Iterator[None]:
        """Refuse, from now to the end of the block.

        Args:
            tell: is called with each attempt that is refused, in the thread that made it.
        """
        listen()
        before, self._tell, Guard.current = Guard.current, tell, self
        try:
            with loops_guarded(self):
                yield
        finally:
            Guard.current, self._tell = before, None

    # --- what is asked

    def heard(self, event: str, args: tuple[Any, ...]) -> None:
        """Look at something that a socket is about to do.

        Raises:
            HostBlocked: it leads off this machine.
        """
        if getattr(self._busy, "now", False):
            return
        self._busy.now = True
        try:
            if event in LOOK_UPS:
                self.look_up(args[0], args[1] if len(args) > 1 else None, sys._getframe(2))
            else:
                self._send(event, args)
        finally:
            self._busy.now = False

    def look_up(self, host: object, port: object, frame: FrameType | None) -> None:
        """Allow or refuse that a name is looked up; one that is an address leads nowhere by itself."""
        name = text_of(host)
        number = port if isinstance(port, int) else int(port) if isinstance(port, str) and port.isdigit() else None
        if not name or address_of(name) is not None or is_own_name(name):
            return
        if not self._lets(name, number):
            raise self._refused(name, number, frame)
        self._names.add(name)

    def _send(self, event: str, args: tuple[Any, ...]) -> None:
        sock, target = args[0], args[1] if len(args) > 1 else None
        if sock.family not in INTERNET or not isinstance(target, tuple) or len(target) < 2:
            return
        if event == "socket.connect" and sock.type & 0xF == socket.SOCK_DGRAM:
            return  # it reaches nobody; programs learn their own address so
        host, port = text_of(target[0]), target[1]
        if host and host != "<broadcast>" and not self._lets(host, port):
            raise self._refused(host, port, sys._getframe(3))

    def _lets(self, host: str, port: int | None) -> bool:
        if self._places.has(host, port) or host in self._engines or host in self._addresses:
            return True
        address = address_of(host)
        if address is None:
            return is_own_name(host)
        return is_own_address(address) or is_of_containers(address) or self._is_of_names(host)

    def _is_of_names(self, host: str) -> bool:
        """Tell whether an address is one of the allowed names that were looked up: a look-up is heard before its answer."""
        for name in (*self._names, *self._engines):
            try:
                self._addresses.update(str(found[4][0]) for found in socket.getaddrinfo(name, None))
            except OSError:
                continue
        return host in self._addresses

    # --- what is said

    def _refused(self, host: str, port: int | None, frame: FrameType | None) -> HostBlocked:
        caller = caller_of(frame)
        place = f"[{host}]" if ":" in host else host
        place = f"{place}:{port}" if port else place
        if self._tell is not None:
            self._tell(
                Exchange(caller.package, caller.method or "connect", caller.url or place, note="refused: testbed_http_block")
            )
        return HostBlocked(self._text(caller, place))

    def _text(self, caller: Caller, place: str) -> str:
        # one line: clients put it into texts of their own, some of them as repr()
        wanted = f"{caller.method} {masked_url(caller.url)} ({place})" if caller.url else f"to reach {place}"
        named = ", ".join(each.text for each in self._places.allowed) or "nothing"
        return (
            f"{caller.package} tried {wanted}, which is not on this machine, and no test may go there ({self._because}). Allowed "
            f"are this machine, its containers' networks, the services of this run, and what is named: {named}. Give http_mock a "
            "stub, lead the code to a mock_service, or name the host in testbed_http_allow."
        )


def text_of(host: object) -> str:
    """Return a host as text; "" for none."""
    if isinstance(host, bytes | bytearray):
        return host.decode("ascii", "replace")
    return host if isinstance(host, str) else ""


def listen() -> None:
    """Have Python report to the guard that is on; once in a process, as it cannot be taken back."""
    if Guard._listens:
        return
    Guard._listens = True
    watched, guards = frozenset((*LOOK_UPS, *SENDS)), Guard  # names of a module are gone before the hook is

    def hook(event: str, args: tuple[Any, ...]) -> None:
        guard = guards.current
        if guard is not None and event in watched:
            guard.heard(event, args)

    sys.addaudithook(hook)


@contextmanager
def loops_guarded(guard: Guard) -> Iterator[None]:
    """Ask for the names that asyncio looks up where the client still stands on the stack: it does so in another thread.

    Nothing depends on it but the name of the client.
    """
    if "asyncio" not in sys.modules:
        yield
        return
    loop = sys.modules["asyncio"].BaseEventLoop
    before = loop.getaddrinfo

    async def getaddrinfo(self: Any, host: object, port: object, **more: Any) -> Any:
        if Guard.current is guard:
            guard.look_up(host, port, sys._getframe(1))
        return await before(self, host, port, **more)

    loop.getaddrinfo = getaddrinfo
    try:
        yield
    finally:
        if loop.getaddrinfo is getaddrinfo:
            loop.getaddrinfo = before
