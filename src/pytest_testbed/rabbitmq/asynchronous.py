"""Connections to a broker with aio-pika that open when they are first used, on the event loop that runs then.

The fixtures are synchronous, so that they serve every plugin that runs async tests; none of those says which
event loop a test will have, and aio-pika's classes want to know it from their beginning. They are the plain
ones: the robust ones would wait and connect again, and a test must hear that its broker is gone.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Generator
from contextlib import suppress
from inspect import iscoroutinefunction
from typing import TYPE_CHECKING, Any, Self

import aio_pika
from aio_pika.abc import AbstractMessage, TimeoutType, UnderlayChannel, UnderlayConnection
from aio_pika.connection import make_url
from aio_pika.exceptions import AMQPError, AuthenticationError, ConnectionClosed, ProbableAuthenticationError

from ..errors import ConfigurationError, TestbedError
from .connect import SOCKET_SECONDS, died, parameters
from .place import Sent

if TYPE_CHECKING:
    from ssl import SSLContext

    from aiormq.abc import AbstractChannel as AbstractUnderlay

    from .place import Place

__all__ = ["AsyncChannel", "AsyncConnection"]

NAME = "rabbitmq_async_connection"
CLOSING_SECONDS = 5.0
HEARTBEAT = 65534
"""Seconds: what comes nearest to none. With none aiormq takes a connection that was quiet for 3 s for a dead one, and
hangs up without a word."""
NO_LOOP = (
    f"{NAME} needs a running event loop of asyncio, which aio-pika is written for; none runs here. "
    'A fixture in conftest.py keeps tests that anyio runs from trio: def anyio_backend(): return "asyncio".'
)
OTHER_LOOP = (
    f"{NAME} was used on two event loops (or threads) in one test, and a connection belongs to one. Give the test and its async "
    "fixtures the same loop_scope; an application that runs on a loop of its own connects by rabbitmq_url."
)
FAILED = (AMQPError, OSError, RuntimeError)
"""What aio-pika raises where a connection is lost."""
REFUSED = (AuthenticationError, ProbableAuthenticationError, ConnectionClosed)
"""What it raises where the broker itself has refused: then it lives."""


def current_loop() -> asyncio.AbstractEventLoop | None:
    """Return the event loop that runs in this thread, if one does."""
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


class Lazy:
    """Something of aio-pika's whose own constructor is called on the event loop that first uses it.

    Whoever asks for an attribute that is not there yet has it called as well.
    """

    _home: asyncio.AbstractEventLoop | None = None

    def _construct(self) -> None:
        raise NotImplementedError

    def _enter(self) -> None:
        """See to it that all is there, and that the loop is the one that it was before.

        Raises:
            ConfigurationError: no event loop of asyncio runs here, or another one.
        """
        __tracebackhide__ = True
        loop = current_loop()
        if loop is None:
            raise ConfigurationError(NO_LOOP)
        if self._home is None:
            self._home = loop
            self._opening = asyncio.Lock()
            self._construct()
        elif self._home is not loop:
            raise ConfigurationError(OTHER_LOOP)

    def __getattr__(self, name: str) -> Any:
        if self._home is not None or name.startswith("__"):
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}", name=name, obj=self)
        if current_loop() is None:
            raise AttributeError(f"{name!r} is not there yet: {NO_LOOP}", name=name, obj=self)
        self._enter()
        return getattr(self, name)


class AsyncExchange(aio_pika.Exchange):
    """An exchange that notes what is published to it, for the report on the test."""

    channel: AsyncChannel

    async def publish(self, message: AbstractMessage, routing_key: str, **options: Any) -> Any:
        """Publish a message."""
        __tracebackhide__ = True
        connection = self.channel.connection
        connection.place.sent.append(Sent(self.name, routing_key, message.body))
        return await connection.told(super().publish(message, routing_key, **options))


class AsyncChannel(Lazy, aio_pika.Channel):
    """A channel that opens, and lets its connection open, when it is first used.

    Args:
        connection: whose it is.
        options: as for aio-pika's own.
    """

    EXCHANGE_CLASS = AsyncExchange
    _channel: UnderlayChannel | None = None
    _channel_number: int | None = None

    def __init__(self, connection: AsyncConnection, *options: Any) -> None:
        self.connection, self._options = connection, options
        self.default_exchange = self.EXCHANGE_CLASS(self, "")  # it may be asked for before the channel opens

    def _construct(self) -> None:
        super().__init__(self.connection, *self._options)

    @property
    def is_closed(self) -> bool:
        """Whether it has been closed: one that is not open yet has not."""
        return self.is_initialized and super().is_closed

    async def initialize(self, timeout: TimeoutType = None) -> None:
        """Open it, unless it has been opened already."""
        __tracebackhide__ = True
        await self.connection.connect()
        self._enter()
        async with self._opening:
            if not self.is_initialized:
                await self.connection.told(super().initialize(timeout))

    async def get_underlay_channel(self) -> Any:
        """Return what all calls go through; open the channel before."""
        __tracebackhide__ = True
        self._enter()
        if not self.is_initialized:  # what opens it comes by as well
            await self.initialize()
        return Calls(self.connection, await super().get_underlay_channel())

    def __del__(self) -> None:
        if self._home is not None:
            super().__del__()


class Calls:
    """A channel of aiormq, whose errors are told with their true reason.

    Args:
        connection: whose it is.
        channel: aiormq's.
    """

    def __init__(self, connection: AsyncConnection, channel: AbstractUnderlay) -> None:
        self._connection, self._channel = connection, channel

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._channel, name)
        if not iscoroutinefunction(found):
            return found

        async def call(*arguments: Any, **options: Any) -> Any:
            __tracebackhide__ = True
            return await self._connection.told(found(*arguments, **options))

        return call


class AsyncConnection(Lazy, aio_pika.Connection):
    """A connection to the virtual host of a test; it opens when it is first used.

    Args:
        place: the virtual host.
    """

    CHANNEL_CLASS = AsyncChannel
    transport: UnderlayConnection | None = None

    def __init__(self, place: Place) -> None:
        self.place = place
        said = parameters(place.endpoint, place.name)
        self.tls: SSLContext | None = said.ssl_options.context if said.ssl_options else None
        self.url = make_url(
            host=said.host,
            port=said.port,
            login=said.credentials.username,
            password=said.credentials.password,
            virtualhost=said.virtual_host,
            ssl=self.tls is not None,
            heartbeat=HEARTBEAT,
        )
        self._life: AsyncGenerator[None, None] | None = None
        self._end: TestbedError | None = None
        self._is_closed = False

    def _construct(self) -> None:
        super().__init__(self.url, ssl_context=self.tls)

    # --- opening

    async def connect(self, timeout: TimeoutType = SOCKET_SECONDS) -> None:
        """Open it, unless it has been opened already.

        Raises:
            ServiceDied: the broker has ended; it is started again for the next test.
            AMQPError: it does not let in.
            RuntimeError: the test has closed the connection.
            ConfigurationError: no event loop of asyncio runs here, or another than before.
        """
        __tracebackhide__ = True
        self._enter()
        async with self._opening:
            if self._end is not None:
                raise self._end
            if self.transport is not None:
                if self.transport.connection.is_closed:  # some versions of aio-pika would wait for ever
                    raise self._end_of_broker() or ConnectionError(f"the broker has closed {NAME}.")
                return
            if self._is_closed:
                raise RuntimeError(f"{NAME} was closed by the test, and cannot be used any more.")
            if self._life is None:
                self._life = self._until_loop_ends()
                await anext(self._life)  # from now on the loop knows it
            try:
                await super().connect(timeout)
            except (AMQPError, OSError) as error:
                if not isinstance(error, REFUSED) and (why := self._end_of_broker()) is not None:
                    raise why from error
                raise

    def __await__(self) -> Generator[Any, Any, Self]:
        yield from self.connect().__await__()
        return self

    async def __aenter__(self) -> Self:
        __tracebackhide__ = True
        await self.connect()
        return self

    async def ready(self) -> None:
        """Open it, and return when it can be used."""
        await self.connect()
        await super().ready()

    def channel(
        self, channel_number: int | None = None, publisher_confirms: bool = True, on_return_raises: bool = False
    ) -> AsyncChannel:
        """Return a new channel, which opens when it is first used."""
        return self.CHANNEL_CLASS(self, channel_number, publisher_confirms, on_return_raises)

    # --- the broker's end

    async def told(self, doing: Awaitable[Any]) -> Any:
        """Do something; where it fails because the broker has ended, say that.

        Raises:
            ServiceDied: it has; with its last words.
        """
        __tracebackhide__ = True
        try:
            return await doing
        except FAILED as error:
            if self.transport is not None and self.transport.connection.is_closed and (why := self._end_of_broker()) is not None:
                raise why from error
            raise

    def _end_of_broker(self) -> TestbedError | None:
        self._end = self._end or died(self.place.testbed)  # kept: who looks again sees the next broker
        return self._end

    # --- closing

    @property
    def is_closed(self) -> bool:
        """Whether it has been closed: one that is not open yet has not."""
        return self._is_closed

    async def close(self, *reason: Any) -> None:
        """Close it, for good."""
        self._is_closed = True
        if self._home is not None:
            await super().close(*reason)

    async def _until_loop_ends(self) -> AsyncGenerator[None, None]:
        """Close the connection at the end.

        Whoever closes a loop in the usual ways (`asyncio.run`, `asyncio.Runner`) first closes the async generators
        that were begun on it.
        """
        try:
            yield
        finally:
            with suppress(*FAILED):
                async with asyncio.timeout(CLOSING_SECONDS):
                    await super().close()

    def end(self) -> None:
        """Close it after a test, from outside of its loop; where that is closed, the connection has been closed before."""
        loop, life = self._home, self._life
        if loop is None or life is None or loop.is_closed():
            return
        if loop.is_running() and loop is not current_loop():
            with suppress(TimeoutError):
                asyncio.run_coroutine_threadsafe(ended(life), loop).result(2 * CLOSING_SECONDS)
        elif current_loop() is None:
            loop.run_until_complete(life.aclose())

    def __del__(self) -> None:
        pass  # it is closed by then


async def ended(life: AsyncGenerator[None, None]) -> None:
    """End an async generator."""
    await life.aclose()
