"""An SMTP server in a thread of its own, with as many ports as tests want; light until the first client comes."""

from __future__ import annotations

import os
import selectors
import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING

from ..errors import ConfigurationError
from .box import Box

if TYPE_CHECKING:
    from .certificate import Certificate
    from .protocol import Reception

__all__ = ["HOST", "MailPort", "MailServer", "needs_aiosmtpd"]

HOST = "127.0.0.1"
BACKLOG = 1024
"""Clients that may wait to be accepted; a test may send hundreds of mails at once."""
END_SECONDS = 5.0


def needs_aiosmtpd(who: str) -> None:
    """See that the package of the server is there.

    Raises:
        ConfigurationError: it is not.
    """
    from importlib.util import find_spec

    if find_spec("aiosmtpd") is None:
        raise ConfigurationError(f"{who} needs the package aiosmtpd, which is not installed: pip install 'pytest-testbed[mail]'")


class MailPort:
    """A port that mail can be sent to from now on, and the box that it goes to.

    Args:
        box: the first one; may be replaced at any time.
    """

    def __init__(self, box: Box) -> None:
        self.box = box
        # with the protocol named, asyncio sends at once; without it, each dialogue waits 40 ms for an acknowledgement
        self.socket: socket.socket = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        try:
            self.socket.bind((HOST, 0))
            self.socket.listen(BACKLOG)
        except OSError:
            self.socket.close()
            raise
        self.number: int = self.socket.getsockname()[1]


class MailServer:
    """The server of a process."""

    def __init__(self) -> None:
        self._pid = os.getpid()
        self._lock = threading.Lock()
        self._reception: Reception | None = None
        self._ports: list[MailPort] = []
        self._thread: threading.Thread | None = None
        self._door: threading.Thread | None = None
        self._bell: tuple[socket.socket, socket.socket] | None = None
        """Two ends of a line that wakes the thread at the door."""
        self._is_closed = threading.Event()
        self._certificate: Certificate | None = None

    def open(self, box: Box) -> MailPort:
        """Give a box a port."""
        port = self._listening(box)
        self._serve(port)
        return port

    def open_idle(self, box: Box) -> MailPort:
        """Give a box a port, behind which the server is started when the first client connects: it costs 0.1 s."""
        port = self._listening(box)
        self._bell = socket.socketpair()
        self._door = begun("testbed-mail-door", self._doorman, port, self._bell[0])
        return port

    def offer_tls(self, box: Box) -> str:
        """Offer STARTTLS to those who connect from now on, and return the file of the certificate.

        Raises:
            ConfigurationError: it cannot be made.
        """
        from .certificate import Certificate

        with self._lock:
            self._certificate = self._certificate or Certificate()
        box.tls = self._certificate.context
        return str(self._certificate.path)

    def shut(self, port: MailPort) -> None:
        """Let nobody connect to a port any more that `open` has given; who is connected stays."""
        with self._lock:
            self._ports.remove(port)
        assert self._reception is not None  # `open` has started it
        self._reception.shut(port)

    def close(self) -> None:
        """End the server, with all connections."""
        if self._is_closed.is_set() or os.getpid() != self._pid:  # a child that was forked has none of the threads
            return
        self._is_closed.set()
        if self._bell is not None and self._door is not None:
            self._bell[1].send(b"x")
            self._door.join(END_SECONDS)  # it may be about to start the other
        if self._reception is not None and self._thread is not None:
            self._reception.stop()
            self._thread.join(END_SECONDS)
        for each in (*(port.socket for port in self._ports), *(self._bell or ())):
            each.close()
        if self._certificate is not None:
            self._certificate.remove()

    def _listening(self, box: Box) -> MailPort:
        port = MailPort(box)
        with self._lock:
            self._ports.append(port)
        return port

    def _serve(self, port: MailPort) -> None:
        """Accept what connects to a port; the first one starts the server."""
        with self._lock:
            if self._reception is None:
                from .protocol import Reception

                self._reception = reception = Reception()
                self._thread = begun("testbed-mail", reception.run)
        self._reception.serve(port)

    def _doorman(self, port: MailPort, bell: socket.socket) -> None:
        """Wait for the first client."""
        with selectors.DefaultSelector() as selector:
            selector.register(port.socket, selectors.EVENT_READ)
            selector.register(bell, selectors.EVENT_READ)
            selector.select()
        if self._is_closed.is_set():
            return
        try:
            self._serve(port)
        except BaseException:  # pytest tells of what a thread raises; clients must not wait for it
            with suppress(OSError):
                port.socket.close()
            raise


def begun(name: str, work: Callable[..., None], *arguments: object) -> threading.Thread:
    """Return a thread that works already, and does not hold up the process."""
    thread = threading.Thread(target=work, args=arguments, name=name, daemon=True)
    thread.start()
    return thread
