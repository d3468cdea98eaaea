"""The virtual host in which a test is: its own, or its worker's."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

from ..errors import BrokerError, ConfigurationError
from ..services.model import Endpoint
from .connect import Connection, connect, died

if TYPE_CHECKING:
    import pika

    from ..services.client import Testbed
    from .asynchronous import AsyncConnection
    from .message import Message

__all__ = ["Place", "Sent"]


class Sent(NamedTuple):
    """What a test has published: where, and what."""

    exchange: str
    routing_key: str
    body: bytes


class Place:
    """A virtual host, and what a test has done in it.

    Args:
        testbed: the engine's face.
        endpoint: the broker.
        name: the virtual host's.
        url: its address for code outside; None: that of the broker itself.
    """

    def __init__(self, testbed: Testbed, endpoint: Endpoint, name: str, url: str | None = None) -> None:
        self.testbed = testbed
        self.endpoint = endpoint
        self.name = name
        self.url: str = url or endpoint.url(name)
        self.sent: list[Sent] = []
        self.taken: list[Message] = []

    def connect(self) -> Connection:
        """Return a connection to it.

        Raises:
            ServiceDied: the broker has ended.
        """
        return connect(self.testbed, self.endpoint, self.name)

    @contextmanager
    def connection(self) -> Iterator[pika.BlockingConnection]:
        """Give a connection, and close it afterwards, whatever has become of it."""
        connection = self.connect()
        try:
            yield connection
        finally:
            self.end(connection)

    def end(self, connection: Connection) -> None:
        """Close a connection of the test's own; where the broker did not hear that, it may have ended."""
        if not connection.end() and (why := died(self.testbed)) is not None:
            self.testbed.notes.append(str(why).partition("\n")[0])

    @contextmanager
    def async_connection(self) -> Iterator[AsyncConnection]:
        """Give a connection of aio-pika that opens when it is first used, and close it afterwards.

        Raises:
            ConfigurationError: aio-pika is not installed.
        """
        need_aio_pika()
        from .asynchronous import AsyncConnection

        connection = AsyncConnection(self)
        try:
            yield connection
        finally:
            connection.end()

    def declare(self, definitions: Mapping[str, Any]) -> None:
        """Declare what checked definitions say."""
        self._call("declare", vhost=self.name, definitions=definitions)

    def definitions(self) -> dict[str, Any]:
        """Return what there is, in the definitions format."""
        found: dict[str, Any] = self._call("definitions", vhost=self.name)
        return found

    def queues(self) -> list[str]:
        """Return the names of all queues."""
        return list(self._call("queues", vhost=self.name))

    def alarms(self) -> list[str]:
        """Return the resources for which the broker blocks who publishes."""
        return list(self._call("alarms"))

    def look(self) -> list[dict[str, Any]]:
        """Return each queue with the count of what waits in it, and its first messages."""
        # for reports: that a broker has ended is for the test to tell
        return list(self.testbed.call("rabbitmq", "look", vhost=self.name))

    def _call(self, what: str, **arguments: Any) -> Any:
        """Let the host do something; where that fails because the broker has ended, say that.

        Raises:
            ServiceDied: it has, and was started again.
        """
        __tracebackhide__ = True
        try:
            return self.testbed.call("rabbitmq", what, **arguments)
        except BrokerError as error:
            if (why := died(self.testbed)) is not None:
                raise why from error
            raise

    def record(self, channel: Any) -> Any:
        """Let a channel tell us what is published on it; return it."""
        plain = channel.basic_publish

        def basic_publish(exchange: str, routing_key: str, body: Any, *args: Any, **more: Any) -> Any:
            self.sent.append(Sent(exchange, routing_key, body.encode() if isinstance(body, str) else bytes(body)))
            return plain(exchange, routing_key, body, *args, **more)

        channel.basic_publish = basic_publish
        return channel


def need_aio_pika() -> None:
    """See to it that aio-pika can be used.

    Raises:
        ConfigurationError: it is not installed.
    """
    from importlib.util import find_spec

    if find_spec("aio_pika") is None:
        raise ConfigurationError(
            "rabbitmq_async_connection needs aio-pika, which is not installed: pip install 'pytest-testbed[async]'."
        )
