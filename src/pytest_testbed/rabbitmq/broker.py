"""What a test says to a broker: publish, expect, count, declare; with errors that show what there was."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pika
from pika.exceptions import (
    AMQPError,
    ChannelClosedByBroker,
    ConnectionBlockedTimeout,
    ConnectionClosedByBroker,
    NackError,
    UnroutableError,
)

from ..errors import BrokerError, ServiceDied, TestbedError
from .connect import BLOCKED_SECONDS, Connection, died
from .deadletters import reachable, route
from .message import Matching, Message, encoded, is_like
from .place import Place, Sent
from .topology import checked, nearest, read_file
from .unmet import Unmet

if TYPE_CHECKING:
    from os import PathLike

    from pika.adapters.blocking_connection import BlockingChannel

__all__ = ["Broker"]

WITHIN = 5.0
"""Seconds for which `expect` waits if nobody says."""
GLANCE = 0.005
"""Seconds between two looks for a message, or for a queue that is not there yet."""
GIVEN_BACK = 0.2
"""Seconds in which a broker must have what was given back; a consumer may have taken it."""
MOST_ELSEWHERE = 50
"""Queues that are looked at besides the one in which nothing came."""
REASONS = ("rejected", "expired", "maxlen", "delivery_limit")
"""Why a broker dead-letters messages."""
NOT_FOUND = 404
SHUTDOWN = 320
"""AMQP's code for a connection that is closed because the broker, or its virtual host, ends."""


class Broker:
    """A broker with nothing in it, as a test talks to it; for one thread.

    It has a connection of its own, so an application's consumers and publishers work beside it, in whatever
    thread or process.
    """

    def __init__(self, place: Place) -> None:
        self._place = place
        self._connection: Connection | None = None
        self._channels: dict[str, BlockingChannel] = {}
        self.returned: list[Message] = []
        """What the broker gave back of what was published, as it could not be routed."""

    @property
    def url(self) -> str:
        """The address of this virtual host, for the application."""
        return self._place.url

    @property
    def vhost(self) -> str:
        """The name of this virtual host."""
        return self._place.name

    # --- publishing

    def publish(self, to: str, body: object = b"", *, exchange: str = "", mandatory: bool = True, **properties: Any) -> None:
        """Publish a message, and return when the broker has it.

        Args:
            to: the queue; with an exchange, the routing key.
            body: bytes or text as they are; all else is said in JSON, with its content type.
            exchange: where to publish; default: the exchange that leads to the queue of the name `to`.
            mandatory: whether it is an error that no queue gets it.
            **properties: of the message, as pika's `BasicProperties` has them: headers, content_type, reply_to,
                correlation_id, expiration, priority, delivery_mode, …

        Raises:
            BrokerError: no queue gets it, there is no such exchange, the broker refused it or blocks publishers.
            TypeError: the body cannot be said in JSON, or there is no such property.
        """
        __tracebackhide__ = True
        data, content_type = encoded(body)
        made = pika.BasicProperties(**{"content_type": content_type, **properties})
        self._place.sent.append(Sent(exchange, to, data))
        with self._told(f"publishing to {to!r}" + (f" by exchange {exchange!r}" if exchange else "")):
            channel = self._channel("publish", confirms=True)
            try:
                channel.basic_publish(exchange, to, data, made, mandatory)
            except UnroutableError as error:
                self.returned += [Message(data, exchange, to, made) for _ in error.messages]
                raise BrokerError(f"no queue got the message for {to!r}{self._why_unroutable(exchange, to)}") from None
            except NackError:
                raise BrokerError(f"the broker refused the message for {to!r} (basic.nack): is the queue full?") from None

    def _why_unroutable(self, exchange: str, to: str) -> str:
        if not exchange:
            return f": there is no queue of that name{nearest(to, self._place.queues())}"
        bound = [each for each in self._place.definitions()["bindings"] if each["source"] == exchange]
        if not bound:
            return f": nothing is bound to the exchange {exchange!r}."
        keys = ", ".join(f"{each['routing_key']!r} → {each['destination']}" for each in bound)
        return f": of what is bound to the exchange {exchange!r}, nothing wants that routing key ({keys})."

    # --- receiving

    def expect(self, queue: str, *, matching: Matching = None, within: float = WITHIN) -> Message:
        """Wait for a message in a queue and take it; the others stay there.

        They keep their order, but in a quorum queue, which puts at its end what is given back. On RabbitMQ
        before 4.3 each look at a message of such a queue counts towards its x-delivery-limit (20 on 4.0, if nobody says another).

        Args:
            queue: its name; it may be declared by somebody else meanwhile.
            matching: a part of its JSON body ({"orderId": "order-123"}), its whole body as text or bytes, a
                predicate of the `Message`; None takes the next.
            within: seconds.

        Raises:
            AssertionError: none came; shows what did.
            BrokerError: there is no such queue, or it cannot be consumed from.
            ServiceDied: the broker ended meanwhile.
        """
        __tracebackhide__ = True
        seen = []
        with self._told(f"waiting for a message in {queue!r}", queue), self._arriving(queue, within) as arriving:
            for message in arriving:
                if is_like(message, matching):
                    arriving.take(message)
                    return message
                seen.append(message)
        raise AssertionError(str(Unmet(queue, matching, within, seen, self._elsewhere(queue))))

    def expect_none(self, queue: str, *, matching: Matching = None, within: float = 0.0) -> None:
        """See to it that no such message is in a queue, or comes in so many seconds.

        Raises:
            AssertionError: there is one; it stays in the queue.
            BrokerError: there is no such queue.
        """
        __tracebackhide__ = True
        with self._told(f"looking for messages in {queue!r}", queue), self._arriving(queue, within) as arriving:
            for message in arriving:
                if is_like(message, matching):
                    wanted = "a message" if matching is None else f"a message that matches {matching!r}"
                    raise AssertionError(f"there is {wanted} in {queue!r}:\n  {message}")

    def expect_dead_letter(self, queue: str, *, matching: Matching = None, reason: str = "", within: float = WITHIN) -> Message:
        """Wait for a message that was dead-lettered from a queue, and take it from where its exchange has led it.

        Args:
            queue: where it lay before.
            matching: see `expect`.
            reason: "rejected", "expired", "maxlen" or "delivery_limit"; "" for any.
            within: seconds.

        Raises:
            AssertionError: none came; shows what did.
            BrokerError: the queue has no dead letter exchange, or that leads nowhere; there is no such reason.
            ServiceDied: the broker ended meanwhile.
        """
        __tracebackhide__ = True
        if reason not in ("", *REASONS):
            raise BrokerError(f"{reason!r} is no reason of a dead letter{nearest(reason, REASONS)}")
        targets = self._dead_letter_queues(queue)

        def is_wanted(message: Message) -> bool:
            died = [each for each in message.deaths if each.queue == queue and reason in ("", each.reason)]
            return bool(died) and is_like(message, matching)

        seen = []
        where = " or ".join(targets)
        with self._told(f"waiting for a dead letter in {where}", where), ExitStack() as stack:
            looks = [stack.enter_context(self._arriving(target, within)) for target in targets]
            while True:
                for arriving in looks:
                    for message in arriving.now():
                        if is_wanted(message):
                            arriving.take(message)
                            return message
                        seen.append(message)
                if not looks[0].pause():
                    break
        what = f"dead letter of {queue!r}" + (f" ({reason})" if reason else "")
        raise AssertionError(str(Unmet(where, matching, within, seen, self._elsewhere(*targets), what)))

    def drain(self, queue: str) -> list[Message]:
        """Take all messages that are in a queue now, and return them in their order.

        Raises:
            BrokerError: there is no such queue.
        """
        __tracebackhide__ = True
        with self._told(f"draining {queue!r}", queue):
            channel, found = self._channel("read"), []
            while (got := channel.basic_get(queue, auto_ack=True))[0] is not None:
                found.append(received(queue, *got))
        self._place.taken += found
        return found

    def count(self, queue: str) -> int:
        """Return how many messages wait in a queue: exactly, unlike the management API, whose counts are seconds old.

        What a consumer holds and has not acknowledged does not wait.

        Raises:
            BrokerError: there is no such queue.
        """
        __tracebackhide__ = True
        with self._told(f"counting the messages of {queue!r}", queue):
            return int(self._channel("read").queue_declare(queue, passive=True).method.message_count)

    # --- topology

    def declare(self, topology: Mapping[str, Any] | str | PathLike[str]) -> None:
        """Declare queues, exchanges, bindings, policies and parameters.

        Args:
            topology: in the broker's definitions format, {"queues": [{"name": "orders"}], …}, or a file of it.
                Of each object only the name need be said: queues and exchanges are durable then.

        Raises:
            ConfigurationError: it is no JSON, or has a key that definitions do not have.
            BrokerError: the broker refused it.
        """
        __tracebackhide__ = True
        given = checked(topology) if isinstance(topology, Mapping) else read_file(Path(topology))
        self._place.declare(given)

    def _dead_letter_queues(self, queue: str) -> list[str]:
        __tracebackhide__ = True
        there = self._place.definitions()
        found = next((each for each in there["queues"] if each["name"] == queue), None)
        if found is None:
            raise BrokerError(f"there is no queue {queue!r}{nearest(queue, self._place.queues())}")
        exchange, key = route(found, there["policies"])
        if exchange is None:
            raise BrokerError(
                f"{queue!r} has no dead letter exchange, so what is rejected or expires there is gone; declare it with the "
                'argument "x-dead-letter-exchange" ("" leads to the queue that "x-dead-letter-routing-key" names).'
            )
        if not exchange:
            return [key or queue]
        if not (queues := reachable(there["bindings"], exchange)):
            raise BrokerError(f"no queue is bound to {exchange!r}, the dead letter exchange of {queue!r}.")
        return queues

    # --- the way there

    def close(self) -> None:
        """Hang up."""
        connection, self._connection = self._connection, None
        self._channels.clear()
        if connection is not None:
            self._place.end(connection)

    def _channel(self, purpose: str, *, confirms: bool = False) -> BlockingChannel:
        if self._connection is None or not self._connection.is_open:
            self._channels.clear()
            self._connection = self._place.connect()
        channel = self._channels.get(purpose)
        if channel is None or not channel.is_open:
            channel = self._channels[purpose] = self._connection.channel()
            if confirms:
                channel.confirm_delivery()
        return channel

    def _told(self, what: str, queue: str = "") -> Told:
        return Told(self._place, what, queue)

    def _arriving(self, queue: str, within: float) -> Arriving:
        return Arriving(queue, lambda: self._channel("read"), within, self._place)

    def _elsewhere(self, *queues: str) -> list[tuple[str, int]]:
        """Return what waits in other queues, without a look at a message of theirs."""
        counts = []
        with suppress(TestbedError, AMQPError, OSError):
            for name in [each for each in self._place.queues() if each not in queues][:MOST_ELSEWHERE]:
                with suppress(ChannelClosedByBroker):  # it is somebody's alone, or has gone
                    counts.append((name, int(self._channel("count").queue_declare(name, passive=True).method.message_count)))
        return [(name, count) for name, count in counts if count]


class Told:
    """Tells what the broker has against something in its own words, and what there is instead.

    A class, so that no frame of a library stands between a test and its error.

    Args:
        place: the virtual host.
        what: what is done, for the error.
        queue: the queue that it is about, whose lack is told in another way; "" for none.
    """

    def __init__(self, place: Place, what: str, queue: str) -> None:
        self._place, self._what, self._queue = place, what, queue

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        __tracebackhide__ = True
        if isinstance(error, AMQPError | OSError) and (told := self._said(error)) is not None:
            raise told from (error if isinstance(told, ServiceDied) else None)

    def _said(self, error: BaseException) -> TestbedError | None:
        match error:
            case ChannelClosedByBroker(reply_code=code) if self._queue and code == NOT_FOUND:
                return BrokerError(f"there is no queue {self._queue!r}{nearest(self._queue, self._place.queues())}")
            case ChannelClosedByBroker(reply_code=code, reply_text=text):
                return BrokerError(f"{self._what}: the broker closed the channel: {code} {text}")
            case ConnectionClosedByBroker(reply_code=code, reply_text=text) if code != SHUTDOWN:
                return BrokerError(f"{self._what}: the broker closed the connection: {code} {text}")
            case ConnectionBlockedTimeout():
                alarms = " and ".join(self._place.alarms()) or "a resource"
                return BrokerError(
                    f"{self._what}: the broker has blocked all who publish for {BLOCKED_SECONDS:g} s, for it has an alarm: it is "
                    f"short of {alarms}. Free some, or raise the broker's limit (vm_memory_high_watermark, disk_free_limit)."
                )
        return died(self._place.testbed)


class Arriving:
    """The messages of a queue as they arrive, until a deadline; those that nobody takes go back.

    They are got one by one. A consumer would be told of each, but who looks must leave no trace: a queue that deletes
    itself goes with its last consumer, and one with a single active consumer would give it to us.

    Args:
        queue: its name.
        channel: returns an open channel.
        within: seconds.
        place: the virtual host.
    """

    def __init__(self, queue: str, channel: Callable[[], BlockingChannel], within: float, place: Place) -> None:
        self._queue, self._open, self._place = queue, channel, place
        self._deadline = time.monotonic() + within
        self._held: list[tuple[int, Message]] = []

    def __enter__(self) -> Arriving:
        __tracebackhide__ = True
        self._channel = self._open()
        return self

    def __exit__(self, *error: object) -> None:
        __tracebackhide__ = True
        self._close()

    def take(self, message: Message) -> None:
        """Take a message for good."""
        tag, _ = self._held.pop(next(at for at, (_, held) in enumerate(self._held) if held is message))
        self._channel.basic_ack(tag)
        self._place.taken.append(message)

    def __iter__(self) -> Iterator[Message]:
        self._wait_for_queue()
        yield from self.now()
        while self.pause():
            try:
                yield from self.now()
            except ChannelClosedByBroker as error:
                if error.reply_code != NOT_FOUND:
                    raise
                raise BrokerError(f"the queue {self._queue!r} was deleted while the test waited for a message in it.") from None

    def now(self) -> Iterator[Message]:
        """Yield the messages that are there."""
        while (got := self._channel.basic_get(self._queue))[0] is not None:
            yield self._hold(got)

    def pause(self) -> bool:
        """Wait a moment, in which the broker's end is seen at once; tell whether there is time left."""
        left = self._deadline - time.monotonic()
        if left > 0:
            self._channel.connection.process_data_events(min(GLANCE, left))
        return left > 0

    def _wait_for_queue(self) -> None:
        while True:
            try:
                self._channel.queue_declare(self._queue, passive=True)
            except ChannelClosedByBroker as error:
                if error.reply_code != NOT_FOUND or time.monotonic() >= self._deadline:
                    raise
                self._channel = self._open()
                self._glance()
            else:
                return

    def _glance(self) -> None:
        """Wait until the queue is there, or the deadline: by the API, as each look by AMQP would cost a channel and a warning."""
        with suppress(TestbedError):  # the next look by AMQP tells what is wrong
            while self._queue not in self._place.queues() and time.monotonic() < self._deadline:
                time.sleep(GLANCE)

    def _hold(self, got: tuple[Any, Any, bytes]) -> Message:
        message = received(self._queue, *got)
        self._held.append((got[0].delivery_tag, message))
        return message

    def _close(self) -> None:
        """Let go of the queue and of all messages that nobody took."""
        if not self._channel.is_open:
            return
        with suppress(AMQPError, OSError):
            for tag, _ in self._held:
                self._channel.basic_nack(tag, requeue=True)
            self._await_given_back()

    def _await_given_back(self) -> None:
        """Wait until the broker counts what was given back: a quorum queue takes a moment. Somebody else may take it."""
        deadline = time.monotonic() + GIVEN_BACK
        while self._held and time.monotonic() < deadline:
            if self._channel.queue_declare(self._queue, passive=True).method.message_count >= len(self._held):
                return
            time.sleep(0.002)


def received(queue: str, method: Any, properties: Any, body: bytes) -> Message:
    """Return a message as tests see it."""
    return Message(body, method.exchange, method.routing_key, properties, bool(method.redelivered), queue)
