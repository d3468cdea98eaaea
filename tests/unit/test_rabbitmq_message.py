"""Messages: which one is looked for, how one is shown, and the words for what a test has waited for in vain."""

from __future__ import annotations

from enum import IntEnum, StrEnum
from types import SimpleNamespace
from typing import Any
from unittest.mock import ANY

import pika
import pytest

from pytest_testbed.errors import BrokerError
from pytest_testbed.jsonpart import differences, holds
from pytest_testbed.rabbitmq import messages
from pytest_testbed.rabbitmq.message import Message, encoded, is_like, shown
from pytest_testbed.rabbitmq.messages import report
from pytest_testbed.rabbitmq.place import Sent
from pytest_testbed.rabbitmq.unmet import SHOWN, Unmet


class Status(StrEnum):
    DONE = "done"


class Level(IntEnum):
    HIGH = 3


def message(body: bytes, **more: Any) -> Message:
    facts = {"exchange": "", "routing_key": "orders", "queue": "orders", "properties": pika.BasicProperties(), **more}
    return Message(body, **facts)


# --- which one


@pytest.mark.parametrize(
    ("whole", "part"),
    [
        ({"a": 1, "b": 2}, {"a": 1}),
        ({"a": 1}, {}),
        ({"a": {"b": {"c": 1, "d": 2}, "e": 3}}, {"a": {"b": {"c": 1}}}),
        ({"a": [{"b": 1, "c": 2}, 3]}, {"a": [{"b": 1}, 3]}),
        ([1, 2], (1, 2)),
        ({"a": 1}, {"a": 1.0}),
        ({"a": 1.0}, {"a": 1}),
        ({"a": None}, {"a": None}),
        ({"a": True}, {"a": True}),
        ({"a": ""}, {"a": ""}),
        ({"a": []}, {"a": []}),
        (5, 5),
        ("x", "x"),
        ({"a": "done", "b": 3}, {"a": Status.DONE, "b": Level.HIGH}),
        ({"a": True, "b": {"c": 1}}, {"a": ANY, "b": ANY}),
        ({"a": 0.1 + 0.2}, {"a": pytest.approx(0.3)}),
    ],
)
def test_a_part_of_a_body_is_found(whole: object, part: object) -> None:
    assert holds(whole, part)
    assert list(differences(whole, part)) == []


@pytest.mark.parametrize(
    ("whole", "part", "difference"),
    [
        ({"a": 1}, {"b": 1}, "b is missing"),
        ({"a": None}, {"b": None}, "b is missing"),
        ({"a": 1}, {"a": 2}, "a is 1, not 2"),
        ({"a": True}, {"a": 1}, "a is True, not 1"),
        ({"a": 1}, {"a": True}, "a is 1, not True"),
        ({"a": 0}, {"a": False}, "a is 0, not False"),
        ({"a": 1}, {"a": "1"}, "a is 1, not '1'"),
        ({"a": None}, {"a": False}, "a is None, not False"),
        ({"a": None}, {"a": {}}, "a is None, not {}"),
        ({"a": {"b": 1}}, {"a": {"b": 2, "c": 3}}, "a.b is 1, not 2"),
        ({"a": [1, 2]}, {"a": [1]}, "a is [1, 2], not [1]"),
        ({"a": [2, 1]}, {"a": [1, 2]}, "a is [2, 1], not [1, 2]"),
        ({"a": [True]}, {"a": [1]}, "a is [True], not [1]"),
        ({"a": {"0": 1}}, {"a": [1]}, "a is {'0': 1}, not [1]"),
        ({"a": "xy"}, {"a": ["x", "y"]}, "a is 'xy', not ['x', 'y']"),
        ([{"a": 1}], {"a": 1}, "the body is [{'a': 1}], not {'a': 1}"),
    ],
)
def test_what_is_no_part_of_a_body_is_told(whole: object, part: object, difference: str) -> None:
    assert not holds(whole, part)
    assert next(differences(whole, part)) == difference


@pytest.mark.parametrize(
    ("body", "matching", "found"),
    [
        (b"anything", None, True),
        (b"plain", "plain", True),
        (b"plain", "pla", False),
        (b'{"a": 1}', '{"a": 1}', True),
        (b'{"a": 1}', '{"a":1}', False),
        ("grün".encode(), "grün", True),
        (b"\xff", b"\xff", True),
        (b"\xff", bytearray(b"\xff"), True),
        (b"\xff", {"a": 1}, False),
        (b"plain", {"a": 1}, False),
        (b"", {}, False),
        (b'"text"', {}, False),
        (b'[{"a": 1}]', [{"a": 1}], True),
        (b"x", lambda message: message.text == "x", True),
        (b"x", lambda message: 0, False),
    ],
)
def test_a_message_that_is_looked_for(body: bytes, matching: Any, found: bool) -> None:
    assert is_like(message(body), matching) is found


@pytest.mark.parametrize(
    ("body", "sent", "content_type"),
    [
        (b"\x00\xff", b"\x00\xff", "application/octet-stream"),
        (bytearray(b"ab"), b"ab", "application/octet-stream"),
        (memoryview(b"ab"), b"ab", "application/octet-stream"),
        ("grün", "grün".encode(), "text/plain"),
        ({"a": [1, None]}, b'{"a": [1, null]}', "application/json"),
        ([], b"[]", "application/json"),
        (None, b"null", "application/json"),
        (True, b"true", "application/json"),
        (0, b"0", "application/json"),
    ],
)
def test_a_body_is_sent_as_it_is_or_as_json(body: object, sent: bytes, content_type: str) -> None:
    assert encoded(body) == (sent, content_type)


# --- how it is shown

DEATH = {"queue": "orders", "reason": "rejected", "count": 2, "exchange": "", "routing-keys": ["orders", "o"]}


def test_a_dead_letter_tells_its_deaths() -> None:
    dead = message(b"x", properties=pika.BasicProperties(headers={"x-death": [DEATH, {}]}))
    first, second = dead.deaths
    assert (first.queue, first.reason, first.count, first.routing_keys) == ("orders", "rejected", 2, ("orders", "o"))
    assert (second.queue, second.count, second.routing_keys) == ("", 0, ())
    assert str(message(b"x")) == "x"


@pytest.mark.parametrize("said", ["yes", 1, None, {"queue": "orders"}, ["orders", None], [{"count": "many", "routing-keys": 5}]])
def test_a_header_of_a_client_in_the_brokers_name_breaks_nothing(said: Any) -> None:
    odd = message(b"x", properties=pika.BasicProperties(headers={"x-death": said}))
    assert all(death.count == 0 and death.routing_keys == () for death in odd.deaths)
    assert str(odd).startswith("x")
    assert messages.in_short({**LYING, "properties": {"headers": {"x-death": said}}}).startswith("{}")


def test_a_message_is_one_line() -> None:
    headers = {"tenant": 7, "x-death": [DEATH], "x-first-death-queue": "orders"}
    full = message(
        b'{"a": 1}',
        exchange="shop",
        routing_key="o.new",
        properties=pika.BasicProperties(headers=headers),
        redelivered=True,
    )
    facts = "exchange='shop' routing_key='o.new' headers={'tenant': 7} dead='rejected in orders' redelivered=True"
    assert str(full) == f'{{"a": 1}}  [{facts}]'
    assert full.headers["tenant"] == 7


@pytest.mark.parametrize(
    ("body", "text"),
    [
        ("grün".encode(), "grün"),
        (b"two\nlines", "'two\\nlines'"),
        (b"\xff\x00", "b'\\xff\\x00'"),
        (b"", ""),
        (b"x" * 301, "x" * 300 + "… (301 bytes)"),
    ],
)
def test_a_body_is_shown_in_one_line(body: bytes, text: str) -> None:
    assert shown(body) == text


# --- what did not come


def test_a_wait_in_vain_tells_what_was_wanted_and_what_was_there() -> None:
    seen = [message(b'{"a": 2, "b": 3, "c": 4, "d": 5}'), message(b"plain")]
    text = str(Unmet("orders", {"a": 1, "b": 1, "c": 1, "d": 1}, 5.0, seen, [("others", 2)]))
    assert text.splitlines() == [
        "no message that matches {'a': 1, 'b': 1, 'c': 1, 'd': 1} came to 'orders' within 5 s.",
        "  what is there (2):",
        '    {"a": 2, "b": 3, "c": 4, "d": 5}',
        "      a is 2, not 1",
        "      b is 3, not 1",
        "      c is 4, not 1",
        "    plain",
        "      its body is no JSON",
        "  other queues that hold messages: others (2)",
    ]


def is_urgent(message: Message) -> bool:
    return False


@pytest.mark.parametrize(
    ("matching", "words"),
    [
        (None, "no message came to 'orders' within 0.5 s."),
        ("x", "no message that matches 'x' came"),
        (is_urgent, "no message that matches is_urgent came"),
        (ANY.__eq__, "no message that matches __eq__ came"),
        (type("Any", (), {"__call__": is_urgent})(), "no message that matches a predicate came"),
    ],
)
def test_a_wait_in_vain_where_nothing_was(matching: Any, words: str) -> None:
    first, *others = str(Unmet("orders", matching, 0.5, [], [])).splitlines()
    assert first.startswith(words)
    assert others == ["  nothing is there."]


def test_of_many_messages_some_are_shown() -> None:
    text = str(Unmet("orders", None, 1, [message(b"x")] * (SHOWN + 3), [], "dead letter of 'orders'"))
    assert text.startswith("no dead letter of 'orders' came to 'orders'")
    assert text.count("    x\n") == SHOWN
    assert text.endswith("    … and 3 more")


# --- the report of a failed test

LYING: dict[str, Any] = {"payload": "{}", "payload_encoding": "string", "exchange": "", "properties": []}


def place(**more: Any) -> Any:
    return SimpleNamespace(**{"sent": [], "taken": [], "look": list, **more})


def test_a_report_where_nothing_was_done() -> None:
    assert report(place()) == "there is no queue."


def test_a_report_tells_what_was_sent_and_taken_and_what_lies_there() -> None:
    lying = [
        {"name": "audit", "count": 0, "messages": [], "fault": ""},
        {"name": "logs", "count": 0, "messages": [], "fault": "540 NOT_IMPLEMENTED"},
        {"name": "orders", "count": 1, "messages": [LYING], "fault": ""},
        {
            "name": "orders.dead",
            "count": 7,
            "messages": [
                {**LYING, "payload": "/wA=", "payload_encoding": "base64"},
                {**LYING, "exchange": "dlx", "properties": {"headers": {"x-death": [DEATH], "a": 1, "x-first-death-queue": "q"}}},
            ],
            "fault": "",
        },
    ]
    told = report(
        place(
            sent=[Sent("", "orders", b"{}"), Sent("shop", "o.new", b"\xff")],
            taken=[message(b"x", redelivered=True)],
            look=lambda: lying,
        )
    )
    assert told.splitlines() == [
        "published by the test (2):",
        "  orders: {}",
        "  shop → o.new: b'\\xff'",
        "taken by the test (1):",
        "  orders: x  [redelivered=True]",
        "in the queues now:",
        "  audit: empty",
        "  logs: (cannot be read: 540 NOT_IMPLEMENTED)",
        "  orders: 1 message",
        "    {}",
        "  orders.dead: 7 messages",
        "    b'\\xff\\x00'",
        "    {}  [exchange='dlx' headers={'a': 1} dead='rejected in orders']",
        "      … and 5 more",
    ]


def test_a_report_is_cut() -> None:
    queues = [{"name": f"q{number}", "count": 0, "messages": [], "fault": ""} for number in range(messages.MOST_QUEUES + 2)]
    told = report(
        place(sent=[Sent("", "q", b"x")] * (messages.MOST + 5), taken=[message(b"x")] * (messages.MOST + 1), look=lambda: queues)
    ).splitlines()
    assert [line for line in told if "more" in line] == ["  … and 5 more", "  … and 1 more", "  … and 2 more"]


def test_a_report_on_a_broker_that_does_not_answer() -> None:
    def look() -> list[dict[str, Any]]:
        raise BrokerError("it is gone")

    told = report(place(sent=[Sent("", "q", b"x")], look=look)).splitlines()
    assert told == ["published by the test (1):", "  q: x", "(what is in the queues cannot be read: it is gone)"]
