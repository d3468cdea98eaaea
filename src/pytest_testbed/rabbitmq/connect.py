"""Connections to a broker with pika."""

from __future__ import annotations

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

from ..errors import ServiceDied, TestbedError
from ..services.model import Endpoint

if TYPE_CHECKING:
    from ..services.client import Testbed

__all__ = ["connect", "died", "parameters"]

DYING_SECONDS = 0.5
"""Seconds in which the end of a broker is known that has hung up."""
BLOCKED_SECONDS = 3.0
"""Seconds that a broker may block who publishes before that is an error."""
SOCKET_SECONDS = 10.0


def parameters(endpoint: Endpoint, vhost: str, **more: Any) -> pika.ConnectionParameters:
    """Return pika's parameters for a virtual host."""
    if endpoint.query:
        from urllib.parse import urlencode

        said = {name: value for name, value in endpoint.parameters().items() if name != "management"}
        given = pika.URLParameters(f"{endpoint.with_(query='').url(vhost)}{'?' if said else ''}{urlencode(said)}")
        for name, value in more.items():
            setattr(given, name, value)
        return given
    if endpoint.scheme == "amqps":
        import ssl

        more["ssl_options"] = pika.SSLOptions(ssl.create_default_context(), endpoint.host)
    credentials = pika.PlainCredentials(endpoint.user, endpoint.password)
    return pika.ConnectionParameters(endpoint.host, endpoint.port, vhost, credentials, **more)


def connect(testbed: Testbed, endpoint: Endpoint, vhost: str) -> pika.BlockingConnection:
    """Return a connection to a virtual host.

    It has no heartbeat: a test that stops in a debugger, or works for minutes, must find it as it was.

    Raises:
        ServiceDied: the broker has ended; it is started again for the next test.
        AMQPError: it does not let in.
    """
    return guarded(
        testbed,
        lambda: pika.BlockingConnection(
            parameters(
                endpoint,
                vhost,
                heartbeat=0,
                blocked_connection_timeout=BLOCKED_SECONDS,
                socket_timeout=SOCKET_SECONDS,
            )
        ),
    )


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
