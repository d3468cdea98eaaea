"""A message as tests see it, and whether it is the one that they wait for."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..jsonpart import holds

__all__ = ["Death", "Matching", "Message", "encoded", "is_like", "shown"]

Matching = Mapping[str, Any] | Sequence[Any] | str | bytes | Callable[["Message"], object] | None
"""What is looked for: a part of the JSON body, the whole body as text or bytes, a predicate, or None for any message."""
LONGEST = 300


@dataclass(frozen=True)
class Death:
    """One entry of a message's `x-death` header: it was dead-lettered.

    Source: RabbitMQ's dead letter exchanges.

    Args:
        queue: where it lay.
        reason: "rejected", "expired", "maxlen" or "delivery_limit".
        count: how many times.
        exchange: where it had been published to.
        routing_keys: by which.
    """

    queue: str
    reason: str
    count: int
    exchange: str
    routing_keys: tuple[str, ...]


@dataclass(frozen=True)
class Message:
    """A message that was got from a queue.

    Args:
        body: its bytes.
        exchange: where it was published to.
        routing_key: by which.
        properties: pika's `BasicProperties`.
        redelivered: whether it has been delivered before.
        queue: where it lay.
    """

    body: bytes
    exchange: str
    routing_key: str
    properties: Any = field(repr=False)
    redelivered: bool = False
    queue: str = ""

    @property
    def headers(self) -> dict[str, Any]:
        """Its headers."""
        return dict(self.properties.headers or {})

    @property
    def json(self) -> Any:
        """Its body as JSON.

        Raises:
            ValueError: it is no JSON.
        """
        return json.loads(self.body)

    @property
    def text(self) -> str:
        """Its body as text.

        Raises:
            UnicodeDecodeError: it is no UTF-8.
        """
        return self.body.decode()

    @property
    def deaths(self) -> list[Death]:
        """Where it was dead-lettered before, the last time first."""
        return [
            Death(
                str(entry.get("queue", "")),
                str(entry.get("reason", "")),
                count if isinstance(count := entry.get("count"), int) else 0,
                str(entry.get("exchange", "")),
                tuple(map(str, keys)) if isinstance(keys := entry.get("routing-keys"), list | tuple) else (),
            )
            for entry in deaths_in(self.headers)
        ]

    def __str__(self) -> str:
        """Return it in one line."""
        facts = [f"{name}={value!r}" for name, value in self._facts() if value]
        return f"{shown(self.body)}{'  [' + ' '.join(facts) + ']' if facts else ''}"

    def _facts(self) -> list[tuple[str, Any]]:
        headers = {
            name: value
            for name, value in self.headers.items()
            if not name.startswith(("x-death", "x-first-death-", "x-last-death-"))
        }
        deaths = ", ".join(f"{each.reason} in {each.queue}" for each in self.deaths)
        key = self.routing_key if self.exchange or self.routing_key != self.queue else ""
        return [
            ("exchange", self.exchange),
            ("routing_key", key),
            ("headers", headers),
            ("dead", deaths),
            ("redelivered", self.redelivered),
        ]


def shown(body: bytes) -> str:
    """Return a body for people, cut to a length."""
    try:
        text = body.decode()
        text = text if text.isprintable() else repr(text)
    except UnicodeDecodeError:
        text = repr(body)
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}… ({len(body)} bytes)"


def encoded(body: object) -> tuple[bytes, str]:
    """Return a body's bytes and its content type: bytes and text as they are, all else as JSON.

    Raises:
        TypeError: it cannot be said in JSON.
    """
    if isinstance(body, bytes | bytearray | memoryview):
        return bytes(body), "application/octet-stream"
    if isinstance(body, str):
        return body.encode(), "text/plain"
    return json.dumps(body).encode(), "application/json"


def is_like(message: Message, matching: Matching) -> bool:
    """Tell whether a message is one that is looked for."""
    if matching is None:
        return True
    if callable(matching):
        return bool(matching(message))
    if isinstance(matching, str):
        matching = matching.encode()
    if isinstance(matching, bytes | bytearray | memoryview):
        return message.body == matching
    try:
        return holds(message.json, matching)
    except ValueError:
        return False


def deaths_in(headers: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Return the entries of an `x-death` header; where a client has sent something else in that name, none."""
    said = headers.get("x-death")
    return [each for each in said if isinstance(each, Mapping)] if isinstance(said, list | tuple) else []
