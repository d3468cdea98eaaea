"""What a client has declared, read from what it says in whatever pieces."""

from __future__ import annotations

from collections.abc import Iterable

import pytest
from pika import BasicProperties, spec
from pika.frame import Body, Header, Heartbeat, Method

from pytest_testbed.rabbitmq.declared import Declared

SAID = [
    Method(1, spec.Channel.Open()),
    Method(1, spec.Exchange.Declare(exchange="shop", type="topic", durable=True, arguments={"alternate-exchange": "other"})),
    Heartbeat(),
    Method(1, spec.Queue.Declare(queue="örders", durable=True, arguments={"x-max-length": 3})),
    Method(1, spec.Queue.Declare(queue="only looked at", passive=True)),
    Method(1, spec.Exchange.Declare(exchange="only looked at", type="direct", passive=True)),
    Method(1, spec.Queue.Bind(queue="örders", exchange="shop", routing_key="order.*")),
    Method(1, spec.Basic.Publish(exchange="shop", routing_key="order.1")),
    Header(1, 100_000, BasicProperties()),
    Body(1, Method(1, spec.Queue.Declare(queue="a body")).marshal() + b"\xce" * 99_000),
    Method(2, spec.Exchange.Bind(destination="all", source="shop")),
]
DECLARED = {
    ("exchanges", "shop"),
    ("queues", "örders"),
    ("bindings", "shop", "örders", "order.*"),
    ("bindings", "shop", "all", ""),
}


def declared(pieces: Iterable[bytes]) -> set[tuple[str, ...]]:
    found: set[tuple[str, ...]] = set()
    follower = Declared(found)
    for piece in pieces:
        follower.follow(piece)
    return found


@pytest.mark.parametrize("size", [1, 3, 7, 8, 64, 1000, 1 << 16, 1 << 20])
def test_what_is_declared_in_pieces_of_a_size(size: int) -> None:
    said = b"".join(frame.marshal() for frame in SAID)
    assert declared(said[at : at + size] for at in range(0, len(said), size)) == DECLARED


def test_who_takes_leave_needs_nothing() -> None:
    said = b"".join(frame.marshal() for frame in [*SAID, Method(0, spec.Connection.Close(200, "", 0, 0))])
    assert declared([said]) == set()


@pytest.mark.parametrize(
    "method",
    [
        b"",
        b"\x00",
        b"\x00\x32\x00\x0a",
        b"\x00\x32\x00\x0a\x00\x00",
        b"\x00\x32\x00\x14\x00\x00\x09abc",
        b"\x00\x28\x00\x0a\x00\x00\x01a",
    ],
)
def test_a_method_that_is_cut_short_does_no_harm(method: bytes) -> None:
    frame = b"\x01\x00\x01" + len(method).to_bytes(4) + method + b"\xce"
    assert ("queues", "later") in declared([frame, Method(1, spec.Queue.Declare(queue="later")).marshal()])
