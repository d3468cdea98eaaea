"""Connections to a broker with pika."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pika
from pika.exceptions import (
    AMQPError,
    ChannelClosed,
    ConnectionBlockedTimeout,
    ConnectionClosedByBroker,
    NackError,
    ProbableAccessDeniedError,
    ProbableAuthenticationError,
    UnroutableError,
)

from ..errors import ConfigurationError, ServiceDied, TestbedError
from ..services.model import Endpoint

if TYPE_CHECKING:
    from ..services.client import Testbed

__all__ = ["Connection", "connect", "died", "parameters"]

DYING_SECONDS = 0.5
"""Seconds in which the end of a broker is known that has hung up."""
BLOCKED_SECONDS = 3.0
"""Seconds that a broker may block who publishes before that is an error."""
SOCKET_SECONDS = 10.0
CLOSE_SECONDS = 2.0
"""Seconds in which another thread closes a connection on which it waits."""


def parameters(endpoint: Endpoint, vhost: str, **more: Any) -> pika.ConnectionParameters:
    """Return pika's parameters for a virtual host."""
    credentials = pika.PlainCredentials(endpoint.user, endpoint.password)
    if endpoint.query:
        given = from_url(endpoint)
        for name, value in {"credentials": credentials, "virtual_host": vhost, **more}.items():
            setattr(given, name, value)
        return given
    if endpoint.scheme == "amqps":
        import ssl

        more["ssl_options"] = pika.SSLOptions(ssl.create_default_context(), endpoint.host)
    return pika.ConnectionParameters(endpoint.host, endpoint.port, vhost, credentials, **more)


def from_url(endpoint: Endpoint) -> pika.URLParameters:
    """Return what an endpoint's address and parameters say to pika; those that are for other clients are left out.

    Raises:
        ConfigurationError: one has a value that pika cannot take.
    """
    from urllib.parse import urlencode

    place = endpoint.with_(user="", password="", query="")
    known: dict[str, str] = {}
    for name, value in endpoint.parameters().items():
        try:
            pika.URLParameters(place.with_(query=urlencode({name: value})).url("/"))
        except ValueError as error:
            if "Unknown URL parameter" not in str(error):
                raise ConfigurationError(f"pika cannot take {name}={value}, which the broker's URL says: {error}.") from None
        else:
            known[name] = value
    return pika.URLParameters(place.with_(query=urlencode(known)).url("/"))


class Connection(pika.BlockingConnection):  # type: ignore[misc]
    """A connection that can be closed while another thread waits on it, as an application's consumer may after a test.

    pika's connections are for one thread; to close one from another breaks both.
    """

    def __init__(self, parameters: pika.ConnectionParameters) -> None:
        self._reader: int | None = None
        super().__init__(parameters)

    def process_data_events(self, time_limit: float | None = 0) -> None:
        """Do what pika does; note which thread is in it."""
        before, self._reader = self._reader, threading.get_ident()
        try:
            super().process_data_events(time_limit)
        finally:
            self._reader = before

    def end(self) -> bool:
        """Close it, whatever has become of it; tell whether the broker was there to the end, as far as is known."""
        if not self.is_open:
            return True  # by the test, which knows why
        try:
            if self._reader in (None, threading.get_ident()):
                self.close()
            else:
                closed = threading.Event()
                self.add_callback_threadsafe(lambda: self._closed(closed))
                closed.wait(CLOSE_SECONDS)
        except (AMQPError, OSError):
            return False
        return True

    def _closed(self, closed: threading.Event) -> None:
        try:
            self.close()
        finally:
            closed.set()


def connect(testbed: Testbed, endpoint: Endpoint, vhost: str) -> Connection:
    """Return a connection to a virtual host.

    It has no heartbeat: a test that stops in a debugger, or works for minutes, must find it as it was.

    Raises:
        ServiceDied: the broker has ended; it is started again for the next test.
        AMQPError: it does not let in.
    """
    made: Connection = guarded(
        testbed,
        lambda: Connection(
            parameters(
                endpoint,
                vhost,
                heartbeat=0,
                blocked_connection_timeout=BLOCKED_SECONDS,
                socket_timeout=SOCKET_SECONDS,
            )
        ),
    )
    return made


def guarded(testbed: Testbed, action: Callable[[], Any]) -> Any:
    """Do something on a broker; where it fails because the broker has ended, say that.

    Raises:
        ServiceDied: it has; with its last words.
    """
    try:
        return action()
    except (AMQPError, OSError) as error:
        if not said_why(error) and (why := died(testbed)) is not None:
            raise why from error
        raise


def said_why(error: BaseException) -> bool:
    """Tell whether the broker itself has refused: then it lives."""
    refused = (ConnectionClosedByBroker, ConnectionBlockedTimeout, ChannelClosed, ProbableAccessDeniedError)
    return isinstance(error, (*refused, ProbableAuthenticationError, UnroutableError, NackError))


def died(testbed: Testbed) -> TestbedError | None:
    """Return the error to be told where the broker has ended, else None; it is started again."""
    deadline = time.monotonic() + DYING_SECONDS
    end = log = ""
    while not end and time.monotonic() < deadline:
        try:
            end, log = testbed.check("rabbitmq")
        except TestbedError as error:
            return error
        time.sleep(0 if end else 0.02)  # a container's end is known to its engine some time after that of its server
    if not end:
        return None
    last = "\n".join(f"    {line}" for line in log.strip().splitlines()[-20:])
    return ServiceDied(
        f"rabbitmq ended during this test ({end}), and was started again for the next."
        + (f"\n  the last lines that it wrote:\n{last}" if last else "")
    )
