"""The report on a failed test's messages: what it published, what lay where at its end."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ..errors import TestbedError
from .message import deaths_in, shown
from .place import Place

__all__ = ["report"]

MOST = 20
"""Messages that are shown of what a test has published, or taken."""
MOST_QUEUES = 30


def report(place: Place) -> str:
    """Return what there is to tell of a virtual host and of a test's doings there."""
    return "\n".join([*published(place), *taken(place), *lying(place)])


def published(place: Place) -> Iterator[str]:
    """Yield what the test has published itself."""
    if place.sent:
        yield f"published by the test ({len(place.sent)}):"
        for sent in place.sent[:MOST]:
            where = f"{sent.exchange} → {sent.routing_key}" if sent.exchange else sent.routing_key
            yield f"  {where}: {shown(sent.body)}"
        yield from left_out(len(place.sent) - MOST)


def taken(place: Place) -> Iterator[str]:
    """Yield what the test has taken out of queues."""
    if place.taken:
        yield f"taken by the test ({len(place.taken)}):"
        for message in place.taken[:MOST]:
            yield f"  {message.queue}: {message}"
        yield from left_out(len(place.taken) - MOST)


def lying(place: Place) -> Iterator[str]:
    """Yield what lies in each queue."""
    try:
        queues = place.look()
    except TestbedError as error:
        yield f"(what is in the queues cannot be read: {error})"
        return
    if not queues:
        yield "there is no queue."
        return
    yield "in the queues now:"
    for queue in queues[:MOST_QUEUES]:
        yield from of_queue(queue)
    yield from left_out(len(queues) - MOST_QUEUES)


def of_queue(queue: dict[str, Any]) -> Iterator[str]:
    """Yield the lines on one queue."""
    if queue["fault"]:
        is_exclusive = "RESOURCE_LOCKED" in queue["fault"] and "single active consumer" not in queue["fault"]
        yield f"  {queue['name']}: ({'exclusive to a connection' if is_exclusive else 'cannot be read: ' + queue['fault']})"
        return
    count = queue["count"]
    yield f"  {queue['name']}: {'1 message' if count == 1 else f'{count} messages' if count else 'empty'}"
    for message in queue["messages"]:
        yield f"    {in_short(message)}"
    yield from (f"    {line}" for line in left_out(count - len(queue["messages"])))


def in_short(message: dict[str, Any]) -> str:
    """Return a message that came by the management API in one line."""
    import base64

    payload = str(message["payload"])
    body = base64.b64decode(payload) if message["payload_encoding"] == "base64" else payload.encode()
    facts = [f"exchange={message['exchange']!r}"] if message["exchange"] else []
    properties = message.get("properties") or {}
    headers = properties.get("headers") or {}
    others = {
        name: value for name, value in headers.items() if not name.startswith(("x-death", "x-first-death-", "x-last-death-"))
    }
    facts += [f"headers={others!r}"] if others else []
    deaths = ", ".join(f"{each.get('reason', '')} in {each.get('queue', '')}" for each in deaths_in(headers))
    facts += [f"dead={deaths!r}"] if deaths else []
    return f"{shown(body)}{'  [' + ' '.join(facts) + ']' if facts else ''}"


def left_out(count: int) -> Iterator[str]:
    """Yield a line where something was left out."""
    if count > 0:
        yield f"  … and {count} more"
