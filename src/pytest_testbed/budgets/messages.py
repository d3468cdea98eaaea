"""Messages that this process publishes and receives: by pika, aio-pika and kombu (Celery)."""

from __future__ import annotations

import sys
from collections.abc import Callable, Generator
from contextlib import AbstractContextManager, ExitStack
from functools import wraps
from types import FrameType
from typing import Any

from ..callers import OURS, place_of, shown
from .taps import Ear, Taps, swap

__all__ = ["Posted", "recorded"]

BROKER = "pytest_testbed.rabbitmq.broker"
"""What the test itself says to the broker comes from there, and does not count."""
PASSED_OVER = frozenset(
    (
        *("pytest_testbed.rabbitmq.place", "pytest_testbed.rabbitmq.asynchronous", "pytest_testbed.rabbitmq.connect"),
        *(__name__, "pika", "aio_pika", "aiormq", "amqp", "kombu", "celery"),
    )
)
"""Modules and packages by which others publish and receive."""


class Posted:
    """One message that was published or received.

    Args:
        done: "published" or "received".
        exchange: where it went.
        key: its routing key.
        place: the line of the application; None where there is none.
    """

    __slots__ = ("done", "exchange", "key", "place")

    def __init__(self, done: str, exchange: str, key: str, place: Any) -> None:
        self.done, self.exchange, self.key, self.place = done, exchange, key, place

    @property
    def shape(self) -> str:
        """What was done, and the way."""
        return f"{self.done} {f'{self.exchange} → {self.key}' if self.exchange else self.key}"

    @property
    def where(self) -> str:
        """The line of the application."""
        return shown(self.place, messages.root)

    @property
    def milliseconds(self) -> float:
        """Nobody has measured it."""
        return 0.0


def _note(done: str, exchange: object, key: object, frame: FrameType | None) -> None:
    while frame is not None and _is_passed_over(frame):
        frame = frame.f_back
    if frame is not None and frame.f_globals.get("__name__") == BROKER:
        return
    place = place_of(frame)
    messages.add(Posted(done, str(exchange or ""), str(key or ""), None if place is OURS else place))


def _is_passed_over(frame: FrameType) -> bool:
    module = str(frame.f_globals.get("__name__", ""))
    return module in PASSED_OVER or module.partition(".")[0] in PASSED_OVER


def _before(note: Callable[..., None]) -> Callable[[Any, Ear], Any]:
    """Return what wraps a method so that something is noted before it."""

    def wrap(plain: Callable[..., Any], ear: Ear) -> Callable[..., Any]:
        @wraps(plain)
        def method(self: Any, *args: Any, **more: Any) -> Any:
            if ear.is_open:
                note(sys._getframe(1), self, *args, **more)
            return plain(self, *args, **more)

        return method

    return wrap


# --- pika


def _listen_to_pika(stack: ExitStack) -> None:
    from pika.adapters import blocking_connection
    from pika.channel import Channel

    def published(frame: Any, self: Any, exchange: str, routing_key: str, *args: Any, **more: Any) -> None:
        _note("published", exchange, routing_key, frame)

    def got(frame: Any, self: Any, method: Any, *args: Any) -> None:
        _note("received", method.method.exchange, method.method.routing_key, frame)

    def delivered(frame: Any, self: Any, method: Any, *args: Any) -> None:
        consumer = self._consumers.get(method.method.consumer_tag)
        if consumer is not None and not isinstance(getattr(consumer, "__self__", None), blocking_connection.BlockingChannel):
            _note("received", method.method.exchange, method.method.routing_key, frame)

    swap(stack, Channel, "basic_publish", _before(published))
    swap(stack, Channel, "_on_getok", _before(got))
    swap(stack, Channel, "_on_deliver", _before(delivered))
    # a blocking channel holds what is delivered until the application takes it: how much of it is there is a matter of luck
    swap(stack, blocking_connection.BlockingChannel, "consume", _consuming)
    swap(stack, getattr(blocking_connection, "_ConsumerInfo", blocking_connection), "on_message_callback", _handing_over)


def _consuming(plain: Callable[..., Any], ear: Ear) -> Callable[..., Any]:
    @wraps(plain)
    def consume(self: Any, *args: Any, **more: Any) -> Generator[Any, Any, None]:
        for got in plain(self, *args, **more):
            if ear.is_open and got[0] is not None:
                _note("received", got[0].exchange, got[0].routing_key, sys._getframe(1))
            yield got

    return consume


def _handing_over(slot: Any, ear: Ear) -> property:
    """Return a property in the place of a slot, whose value is a callback that is noted when it is called."""

    def get(self: Any) -> Any:
        callback = slot.__get__(self)
        if callback is None or not ear.is_open:
            return callback

        def handed(channel: Any, method: Any, *args: Any) -> Any:
            _note("received", method.exchange, method.routing_key, sys._getframe(1))
            return callback(channel, method, *args)

        return handed

    return property(get, slot.__set__)


# --- aiormq: what aio-pika is made of


def _listen_to_aiormq(stack: ExitStack) -> None:
    from aiormq.channel import Channel

    def published(frame: Any, self: Any, *args: Any, exchange: str = "", routing_key: str = "", **more: Any) -> None:
        _note("published", exchange, routing_key, frame)

    def delivered(frame: Any, self: Any, deliver: Any) -> None:
        if type(deliver).__name__ != "GetEmpty":
            _note("received", deliver.exchange, deliver.routing_key, None)  # read by a task of its own

    swap(stack, Channel, "basic_publish", _publishing)
    swap(stack, Channel, "_on_deliver_frame", _before(delivered))
    swap(stack, Channel, "_on_get_frame", _before(delivered))


def _publishing(plain: Callable[..., Any], ear: Ear) -> Callable[..., Any]:
    @wraps(plain)
    async def publish(self: Any, *args: Any, **more: Any) -> Any:
        if ear.is_open:
            _note("published", more.get("exchange"), more.get("routing_key"), sys._getframe(1))
        return await plain(self, *args, **more)

    return publish


# --- amqp: what kombu and Celery send by


def _listen_to_amqp(stack: ExitStack) -> None:
    channel = sys.modules["amqp.channel"].Channel

    def published(frame: Any, self: Any, msg: Any, exchange: str = "", routing_key: str = "", *args: Any, **more: Any) -> None:
        _note("published", exchange, routing_key, frame)

    def delivered(frame: Any, self: Any, tag: Any, number: Any, again: Any, exchange: str, routing_key: str, msg: Any) -> None:
        _note("received", exchange, routing_key, frame)

    def got(frame: Any, self: Any, number: Any, again: Any, exchange: str, routing_key: str, *args: Any) -> None:
        _note("received", exchange, routing_key, frame)

    for name in ("basic_publish", "_basic_publish"):  # two names of one function
        swap(stack, channel, name, _before(published))
    swap(stack, channel, "_on_basic_deliver", _before(delivered))
    swap(stack, channel, "_on_get_ok", _before(got))


messages = Taps({"pika": _listen_to_pika, "aiormq": _listen_to_aiormq, "amqp.channel": _listen_to_amqp})
"""The messages of this process, for whoever records them."""


def recorded(root: str = "") -> AbstractContextManager[list[Posted]]:
    """Give a list of messages that grows as long as the block lasts.

    Args:
        root: the directory that is left out where a file of the application is named.
    """
    return messages.recorded(root)
