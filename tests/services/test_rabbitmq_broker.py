"""What a test says to a broker: publishing, waiting for messages, and the words for what went wrong."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import docker
import pika
import pytest
from pika.exceptions import ChannelClosedByBroker

from pytest_testbed import Broker, BrokerError, ConfigurationError, ServiceDied, Testbed
from pytest_testbed.rabbitmq.messages import report
from pytest_testbed.rabbitmq.place import Place
from pytest_testbed.rabbitmq.service import rabbitmq_spec
from pytest_testbed.services.ledger import MARK
from tests.conftest import Brokers

QUEUES = {"queues": [{"name": "orders"}, {"name": "orders.done"}]}


@pytest.fixture
def place(broker_somewhere: Testbed) -> Iterator[Place]:
    """A virtual host with nothing in it."""
    name = broker_somewhere.take("rabbitmq")
    yield Place(broker_somewhere, broker_somewhere.endpoint("rabbitmq"), name)
    broker_somewhere.give_back("rabbitmq", name)


@pytest.fixture
def broker(place: Place) -> Iterator[Broker]:
    """A test's broker."""
    broker = Broker(place)
    yield broker
    broker.close()


@pytest.fixture
def application(place: Place) -> Iterator[pika.adapters.blocking_connection.BlockingChannel]:
    """A channel of somebody else's in the same virtual host."""
    connection = pika.BlockingConnection(pika.URLParameters(place.url))
    yield connection.channel()
    if connection.is_open:
        connection.close()


@contextmanager
def beside(action: Callable[[pika.adapters.blocking_connection.BlockingChannel], object], url: str) -> Iterator[None]:
    """Do something with a channel in another thread; what it fails with is raised at the end."""
    faults: list[BaseException] = []

    def run() -> None:
        try:
            connection = pika.BlockingConnection(pika.URLParameters(url))
            action(connection.channel())
            connection.close()
        except BaseException as error:
            faults.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        thread.join()
    if faults:
        raise faults[0]


# --- publishing


def test_a_dict_goes_as_json(broker: Broker, application: Any) -> None:
    broker.declare(QUEUES)
    broker.publish("orders", {"orderId": "order-123", "quantity": 2}, headers={"tries": 1}, correlation_id="c-1")
    _, properties, body = application.basic_get("orders", auto_ack=True)
    assert json.loads(body) == {"orderId": "order-123", "quantity": 2}
    assert properties.content_type == "application/json"
    assert properties.headers == {"tries": 1}
    assert properties.correlation_id == "c-1"


@pytest.mark.parametrize(("body", "sent"), [(b"\x00\xff", b"\x00\xff"), ("grüße", "grüße".encode()), (None, b"null"), (3, b"3")])
def test_bytes_and_text_go_as_they_are(broker: Broker, body: object, sent: bytes) -> None:
    broker.declare(QUEUES)
    broker.publish("orders", body)
    assert broker.expect("orders").body == sent


def test_the_content_type_can_be_another(broker: Broker) -> None:
    broker.declare(QUEUES)
    broker.publish("orders", "<order/>", content_type="text/xml")
    assert broker.expect("orders").properties.content_type == "text/xml"


def test_what_no_queue_gets_is_an_error_that_names_the_nearest(broker: Broker) -> None:
    broker.declare(QUEUES)
    with pytest.raises(BrokerError, match=r"^no queue got the message for 'order': .* did you mean 'orders'\?$"):
        broker.publish("order", {"n": 1})
    assert [message.json for message in broker.returned] == [{"n": 1}]
    broker.publish("orders", {"n": 2})
    assert broker.count("orders") == 1


def test_what_an_exchange_does_not_route_is_an_error_that_names_its_bindings(broker: Broker) -> None:
    broker.declare(
        {
            **QUEUES,
            "exchanges": [{"name": "shop", "type": "topic"}, {"name": "empty"}],
            "bindings": [{"source": "shop", "destination": "orders", "routing_key": "order.*"}],
        }
    )
    broker.publish("order.created", 1, exchange="shop")
    assert broker.expect("orders").routing_key == "order.created"
    with pytest.raises(BrokerError, match=r"nothing wants that routing key \('order\.\*' → orders\)\.$"):
        broker.publish("user.created", 1, exchange="shop")
    with pytest.raises(BrokerError, match="nothing is bound to the exchange 'empty'"):
        broker.publish("x", 1, exchange="empty")
    broker.publish("x", 1, exchange="empty", mandatory=False)


def test_an_exchange_that_is_not_there(broker: Broker) -> None:
    broker.declare(QUEUES)
    with pytest.raises(BrokerError, match=r"^publishing to 'x' by exchange 'nope': .* 404 NOT_FOUND - no exchange 'nope'"):
        broker.publish("x", 1, exchange="nope")
    broker.publish("orders", 1)  # on a channel anew


def test_a_message_that_the_broker_refuses(broker: Broker) -> None:
    arguments = {"x-max-length": 1, "x-overflow": "reject-publish"}
    broker.declare({"queues": [{"name": "narrow", "arguments": arguments}]})
    broker.publish("narrow", 1)
    with pytest.raises(BrokerError, match=r"the broker refused the message for 'narrow' \(basic.nack\): is the queue full\?"):
        broker.publish("narrow", 2)


def test_a_body_that_json_cannot_say(broker: Broker) -> None:
    with pytest.raises(TypeError, match="not JSON serializable"):
        broker.publish("orders", object())
    with pytest.raises(TypeError, match="colour"):
        broker.publish("orders", 1, colour="red")


# --- waiting


def test_a_message_that_is_there(broker: Broker) -> None:
    broker.declare(QUEUES)
    broker.publish("orders", {"orderId": "order-123", "items": [1, 2]})
    message = broker.expect("orders", matching={"orderId": "order-123"}, within=0)
    assert message.json["items"] == [1, 2]
    assert broker.count("orders") == 0


def test_a_message_that_comes_later_from_a_queue_that_comes_later(broker: Broker) -> None:
    go = threading.Event()

    def work(channel: Any) -> None:
        go.wait(5)
        channel.queue_declare("later", durable=True)
        channel.basic_publish("", "later", b'{"n": 1}')

    with beside(work, broker.url):
        go.set()
        assert broker.expect("later", matching={"n": 1}, within=5).json == {"n": 1}


def test_a_wait_for_a_queue_does_not_fill_the_log(broker: Broker, caplog: pytest.LogCaptureFixture) -> None:
    """Each look by AMQP at a queue that is not there costs a channel, and pika warns of it."""
    with pytest.raises(BrokerError, match="there is no queue 'later'"):
        broker.expect("later", within=0.3)
    assert len(caplog.records) <= 2


def test_a_consumer_in_another_thread(broker: Broker) -> None:
    broker.declare(QUEUES)

    def work(channel: Any) -> None:
        for method, _, body in channel.consume("orders", inactivity_timeout=5):
            channel.basic_publish("", "orders.done", json.dumps({**json.loads(body), "status": "PROCESSED"}))
            channel.basic_ack(method.delivery_tag)
            return

    with beside(work, broker.url):
        broker.publish("orders", {"orderId": "order-1"})
        assert broker.expect("orders.done", matching={"orderId": "order-1"}).json["status"] == "PROCESSED"


def test_what_does_not_match_stays_in_its_order(broker: Broker) -> None:
    broker.declare(QUEUES)
    for number in range(5):
        broker.publish("orders", {"n": number})
    assert broker.expect("orders", matching={"n": 3}).json == {"n": 3}
    assert broker.count("orders") == 4
    assert [message.json["n"] for message in broker.drain("orders")] == [0, 1, 2, 4]


def test_messages_that_arrive_at_once_are_all_there(broker: Broker) -> None:
    broker.declare(QUEUES)

    def work(channel: Any) -> None:
        channel.tx_select()
        for number in range(3):
            channel.basic_publish("", "orders", json.dumps({"n": number}))
        channel.tx_commit()

    with beside(work, broker.url):
        assert broker.expect("orders").json == {"n": 0}
    assert broker.count("orders") == 2
    assert [broker.expect("orders").json["n"] for _ in range(2)] == [1, 2]


def test_what_arrives_and_does_not_match_stays_too(broker: Broker) -> None:
    broker.declare(QUEUES)

    def work(channel: Any) -> None:
        for number in range(3):
            channel.basic_publish("", "orders", json.dumps({"n": number}))

    with beside(work, broker.url):
        broker.expect("orders", matching={"n": 2})
    assert [message.json["n"] for message in broker.drain("orders")] == [0, 1]


@pytest.mark.parametrize(
    ("matching", "found"),
    [
        (None, True),
        ({}, True),
        ({"a": {"b": 1}}, True),
        ({"a": {"b": 2}}, False),
        ({"x": None}, False),
        ('{"a": {"b": 1, "c": 2}}', True),
        (b'{"a": {"b": 1, "c": 2}}', True),
        ("other", False),
        (lambda message: message.json["a"]["c"] == 2, True),
        (lambda message: False, False),
    ],
)
def test_what_is_looked_for(broker: Broker, matching: Any, found: bool) -> None:
    broker.declare(QUEUES)
    broker.publish("orders", {"a": {"b": 1, "c": 2}})
    if found:
        broker.expect("orders", matching=matching, within=0)
    else:
        with pytest.raises(AssertionError):
            broker.expect("orders", matching=matching, within=0)
        broker.expect_none("orders", matching=matching)
        assert broker.count("orders") == 1


def test_a_wait_in_vain_shows_what_came(broker: Broker) -> None:
    broker.declare(QUEUES)
    broker.publish("orders.done", {"orderId": "order-123", "status": "FAILED", "tries": {"count": 3}})
    broker.publish("orders.done", "no JSON")
    broker.publish("orders", {"orderId": "order-9"})
    with pytest.raises(AssertionError) as caught:
        broker.expect("orders.done", matching={"status": "PROCESSED", "tries": {"count": 1}, "by": "x"}, within=0.05)
    assert str(caught.value).splitlines() == [
        "no message that matches {'status': 'PROCESSED', 'tries': {'count': 1}, 'by': 'x'} came to 'orders.done' within 0.05 s.",
        "  what is there (2):",
        '    {"orderId": "order-123", "status": "FAILED", "tries": {"count": 3}}',
        "      status is 'FAILED', not 'PROCESSED'",
        "      tries.count is 3, not 1",
        "      by is missing",
        "    no JSON",
        "      its body is no JSON",
        "  other queues that hold messages: orders (1)",
    ]
    assert broker.count("orders.done") == 2


def test_a_wait_in_vain_where_nothing_came(broker: Broker) -> None:
    broker.declare(QUEUES)
    with pytest.raises(AssertionError, match=r"^no message came to 'orders' within 0 s\.\n  nothing is there\.$"):
        broker.expect("orders", within=0)


def test_a_wait_ends_at_its_deadline(broker: Broker) -> None:
    broker.declare(QUEUES)
    began = time.monotonic()
    with pytest.raises(AssertionError):
        broker.expect("orders", within=0.3)
    assert 0.3 <= time.monotonic() - began < 2


@pytest.mark.parametrize("action", ["expect", "expect_none", "drain", "count"])
def test_a_queue_that_is_not_there(broker: Broker, action: str) -> None:
    broker.declare(QUEUES)
    more = {"within": 0} if action.startswith("expect") else {}
    with pytest.raises(BrokerError, match=r"^there is no queue 'order'; did you mean 'orders'\?$"):
        getattr(broker, action)("order", **more)
    broker.expect_none("orders")


def test_a_message_that_must_not_come(broker: Broker) -> None:
    broker.declare(QUEUES)
    broker.expect_none("orders", within=0.05)
    broker.publish("orders", {"n": 1})
    broker.expect_none("orders", matching={"n": 2})
    with pytest.raises(AssertionError, match=r"^there is a message that matches {'n': 1} in 'orders':\n  {.n.: 1}"):
        broker.expect_none("orders", matching={"n": 1})
    assert broker.count("orders") == 1


def test_a_message_that_comes_while_none_must(broker: Broker) -> None:
    broker.declare(QUEUES)
    with beside(lambda channel: channel.basic_publish("", "orders", b"1"), broker.url):
        with pytest.raises(AssertionError, match="there is a message in 'orders'"):
            broker.expect_none("orders", within=5)


def test_a_queue_that_is_deleted_meanwhile(broker: Broker) -> None:
    broker.declare(QUEUES)
    broker.publish("orders", {"n": 1})

    def delete_it(channel: Any) -> None:
        while channel.queue_declare("orders", passive=True).method.message_count:
            channel.connection.sleep(0.005)  # until the test has looked at what is there
        channel.queue_delete("orders")

    with beside(delete_it, broker.url):
        with pytest.raises(BrokerError, match="the queue 'orders' was deleted while the test waited"):
            broker.expect("orders", matching={"n": 2}, within=5)


def test_a_quorum_queue_is_counted_after_a_look(broker: Broker) -> None:
    broker.declare({"queues": [{"name": "quorum", "arguments": {"x-queue-type": "quorum", "x-delivery-limit": 1000}}]})
    broker.publish("quorum", "stays")
    for _ in range(40):
        broker.expect_none("quorum", matching="other")
        assert broker.count("quorum") == 1


def test_a_wait_in_vain_does_not_touch_other_queues(broker: Broker) -> None:
    broker.declare(QUEUES)
    broker.publish("orders", 1)
    with pytest.raises(AssertionError, match=r"other queues that hold messages: orders \(1\)"):
        broker.expect("orders.done", within=0)
    assert broker.expect("orders").redelivered is False


@pytest.mark.parametrize(
    "arguments",
    [
        {"auto_delete": True},
        {"arguments": {"x-single-active-consumer": True}},
        {"arguments": {"x-queue-type": "quorum"}},
        {"arguments": {"x-max-priority": 3}},
    ],
    ids=str,
)
def test_looking_leaves_no_trace(broker: Broker, arguments: dict[str, Any]) -> None:
    broker.declare({"queues": [{"name": "special", **arguments}]})
    for number in range(3):
        broker.publish("special", {"n": number})
    with pytest.raises(AssertionError, match=r"what is there \(3\)"):
        broker.expect("special", matching={"n": 9}, within=0.05)
    assert broker.expect("special", matching={"n": 1}).json == {"n": 1}
    left = [message.json["n"] for message in broker.drain("special")]
    assert (sorted(left) if "quorum" in str(arguments) else left) == [0, 2]  # it puts what is given back at its end


def test_a_queue_that_somebody_has_for_himself(broker: Broker, application: Any) -> None:
    application.queue_declare("mine", exclusive=True)
    with pytest.raises(BrokerError, match=r"'mine': the broker closed the channel: 405 RESOURCE_LOCKED"):
        broker.expect("mine", within=0)


# --- dead letters

REJECTING = {
    "queues": [
        {"name": "orders", "arguments": {"x-dead-letter-exchange": "dead"}},
        {"name": "orders.dead"},
        {"name": "plain"},
        {"name": "direct", "arguments": {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": "orders.dead"}},
        {"name": "by.policy"},
    ],
    "exchanges": [{"name": "dead", "type": "fanout"}],
    "bindings": [{"source": "dead", "destination": "orders.dead"}],
    "policies": [
        {"name": "low", "pattern": "^by", "definition": {"dead-letter-exchange": "nowhere"}, "priority": 1},
        {"name": "high", "pattern": "^by", "definition": {"dead-letter-exchange": "dead"}, "priority": 2, "apply-to": "queues"},
    ],
}


ROUTED = {
    "exchanges": [{"name": "dead", "type": "direct"}, {"name": "further", "type": "topic"}],
    "queues": [
        {"name": "a", "arguments": {"x-dead-letter-exchange": "dead"}},
        {"name": "b", "arguments": {"x-dead-letter-exchange": "dead", "x-dead-letter-routing-key": "far.away"}},
        {"name": "a.dead"},
        {"name": "other.dead"},
        {"name": "far.dead"},
    ],
    "bindings": [
        {"source": "dead", "destination": "other.dead", "routing_key": "other"},
        {"source": "dead", "destination": "a.dead", "routing_key": "a"},
        {"source": "dead", "destination": "further", "destination_type": "exchange", "routing_key": "far.away"},
        {"source": "further", "destination": "far.dead", "routing_key": "far.#"},
    ],
}


@pytest.mark.parametrize(("queue", "lies_in"), [("a", "a.dead"), ("b", "far.dead")])
def test_a_dead_letter_is_found_wherever_its_exchange_leads_it(broker: Broker, queue: str, lies_in: str) -> None:
    broker.declare(ROUTED)
    broker.publish(queue, {"n": 1}, expiration="1")
    assert broker.expect_dead_letter(queue, matching={"n": 1}).queue == lies_in
    with pytest.raises(AssertionError, match="came to 'a.dead or far.dead or other.dead' within 0.05 s"):
        broker.expect_dead_letter(queue, within=0.05)


@pytest.mark.parametrize("queue", ["orders", "direct", "by.policy"])
def test_a_rejected_message_is_a_dead_letter(broker: Broker, application: Any, queue: str) -> None:
    broker.declare(REJECTING)
    broker.publish(queue, {"n": 1})
    while (got := application.basic_get(queue))[0] is None:
        pass
    application.basic_reject(got[0].delivery_tag, requeue=False)
    message = broker.expect_dead_letter(queue, matching={"n": 1}, reason="rejected")
    assert [(each.queue, each.reason, each.count) for each in message.deaths] == [(queue, "rejected", 1)]


def test_a_reason_that_there_is_not(broker: Broker) -> None:
    broker.declare(REJECTING)
    with pytest.raises(BrokerError, match="'expire' is no reason of a dead letter; did you mean 'expired'"):
        broker.expect_dead_letter("orders", reason="expire")


def test_an_expired_message_is_a_dead_letter(broker: Broker) -> None:
    broker.declare(REJECTING)
    broker.publish("orders", {"n": 1}, expiration="1")
    assert broker.expect_dead_letter("orders", reason="expired").deaths[0].exchange == ""


def test_a_dead_letter_that_does_not_come(broker: Broker) -> None:
    broker.declare(REJECTING)
    broker.publish("direct", {"n": 1}, expiration="1")
    broker.expect_dead_letter("direct")
    broker.publish("direct", {"n": 2}, expiration="1")
    with pytest.raises(
        AssertionError, match=r"(?s)^no dead letter of 'orders' \(rejected\) came to 'orders.dead'.*dead='expired in direct'"
    ):
        broker.expect_dead_letter("orders", reason="rejected", within=0.3)


def test_a_queue_without_dead_letters(broker: Broker) -> None:
    broker.declare(REJECTING)
    with pytest.raises(BrokerError, match="'plain' has no dead letter exchange"):
        broker.expect_dead_letter("plain")
    with pytest.raises(BrokerError, match="there is no queue 'plian'; did you mean 'plain'"):
        broker.expect_dead_letter("plian")


# --- topology


def test_definitions_from_a_file(broker: Broker, tmp_path: Path) -> None:
    (tmp_path / "topology.json").write_text(json.dumps({"rabbit_version": "3.13", "users": [], **QUEUES}))
    broker.declare(tmp_path / "topology.json")
    assert broker.count("orders") == 0


def test_definitions_that_the_broker_refuses(broker: Broker) -> None:
    with pytest.raises(BrokerError, match=r"refused POST .*definitions.*400"):
        broker.declare({"exchanges": [{"name": "x", "type": "no-such-type"}]})


def test_definitions_that_are_none(broker: Broker) -> None:
    with pytest.raises(ConfigurationError, match=r"^declare\(\): 'queue' is not a key of definitions; did you mean 'queues'\?$"):
        broker.declare({"queue": [{"name": "orders"}]})


# --- what a test leaves


def leave_a_consumer(channel: Any) -> None:
    channel.queue_declare("orders")
    channel.basic_consume("orders", lambda *_: None)


def leave_a_transaction(channel: Any) -> None:
    channel.queue_declare("orders")
    channel.tx_select()
    channel.basic_publish("", "orders", b"x")


def leave_messages(channel: Any) -> None:
    channel.queue_declare("orders", durable=True)
    for _ in range(10_000):
        channel.basic_publish("", "orders", b"x" * 100)


def leave_an_unacked_message(channel: Any) -> None:
    channel.queue_declare("orders")
    channel.basic_publish("", "orders", b"x")
    while channel.basic_get("orders")[0] is None:
        pass


@pytest.mark.parametrize("leave", [leave_a_consumer, leave_a_transaction, leave_messages, leave_an_unacked_message])
def test_the_next_test_sees_nothing(broker_somewhere: Testbed, leave: Callable[[Any], None]) -> None:
    endpoint = broker_somewhere.endpoint("rabbitmq")
    first = broker_somewhere.take("rabbitmq")
    connection = pika.BlockingConnection(pika.URLParameters(endpoint.url(first)))
    leave(connection.channel())
    broker_somewhere.give_back("rabbitmq", first)
    second = Place(broker_somewhere, endpoint, broker_somewhere.take("rabbitmq"))
    assert second.name != first
    assert second.look() == []
    # the broker hangs up on who has stayed
    with pytest.raises(pika.exceptions.ConnectionClosedByBroker, match="CONNECTION_FORCED"):
        while True:
            connection.process_data_events(5)
    broker_somewhere.give_back("rabbitmq", second.name)


def test_a_durable_queue_with_a_policy_is_gone(broker_somewhere: Testbed) -> None:
    endpoint = broker_somewhere.endpoint("rabbitmq")
    names = [broker_somewhere.take("rabbitmq") for _ in range(2)]
    first, second = (Place(broker_somewhere, endpoint, name) for name in names)
    Broker(first).declare(REJECTING)  # by the management API, so nothing is to be closed
    assert first.definitions()["policies"]
    assert not any(second.definitions().values())
    for name in names:
        broker_somewhere.give_back("rabbitmq", name)


def test_a_channel_that_the_broker_closes_says_why(place: Place) -> None:
    with place.connection() as connection:
        channel = connection.channel()
        channel.queue_declare("orders", durable=True)
        with pytest.raises(ChannelClosedByBroker, match=r"406.*PRECONDITION_FAILED - inequivalent arg 'durable'"):
            channel.queue_declare("orders", durable=False, exclusive=False, auto_delete=True)
        with pytest.raises(ChannelClosedByBroker, match=r"404.*NOT_FOUND - no queue 'nope'"):
            connection.channel().basic_get("nope")


# --- the report of a failure


def test_the_report_shows_what_lies_where(place: Place, broker: Broker, application: Any) -> None:
    broker.declare(REJECTING)
    place.record(application)
    application.basic_publish("", "orders", b'{"n": 1}')
    broker.publish("plain", b"\xff\x00", headers={"tries": 2})
    for number in range(7):
        broker.publish("direct", number)
    broker.expect("direct")
    text = report(place)
    assert text.splitlines() == [
        "published by the test (9):",
        '  orders: {"n": 1}',
        "  plain: b'\\xff\\x00'",
        *(f"  direct: {number}" for number in range(7)),
        "taken by the test (1):",
        "  direct: 0",
        "in the queues now:",
        "  by.policy: empty",
        "  direct: 6 messages",
        *(f"    {number}" for number in range(1, 6)),
        "      … and 1 more",
        "  orders: 1 message",
        '    {"n": 1}',
        "  orders.dead: empty",
        "  plain: 1 message",
        "    b'\\xff\\x00'  [headers={'tries': 2}]",
    ]
    assert broker.count("direct") == 6


def test_the_report_of_a_queue_that_cannot_be_read(place: Place, application: Any) -> None:
    application.queue_declare("log", durable=True, arguments={"x-queue-type": "stream"})
    application.queue_declare("mine", exclusive=True)
    assert report(place).startswith("in the queues now:\n  log: (cannot be read: ")
    assert report(place).endswith("\n  mine: (exclusive to a connection)")


# --- a broker of its own, which comes to harm


@pytest.fixture(scope="module")
def mortal() -> Iterator[Testbed]:
    """A broker that a test may kill."""
    with Testbed([rabbitmq_spec(provider="local")]) as testbed:
        testbed.endpoint("rabbitmq")
        yield testbed


def server_of(run: str) -> int:
    """Return the pid of a run's broker."""
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            is_it = f"{MARK}={run}".encode() in (entry / "environ").read_bytes().split(b"\0")
            if is_it and (entry / "comm").read_text().startswith("beam"):
                return int(entry.name)
        except OSError:
            continue
    raise LookupError(run)


def test_a_broker_that_is_killed_while_a_test_waits(mortal: Testbed) -> None:
    place = Place(mortal, mortal.endpoint("rabbitmq"), mortal.take("rabbitmq"))
    broker = Broker(place)  # what it fails with has closed its connection
    broker.declare(QUEUES)
    ready = threading.Event()

    def kill() -> None:
        ready.wait(5)
        os.kill(server_of(mortal.run), signal.SIGKILL)

    killer = threading.Thread(target=kill)
    killer.start()
    began = time.monotonic()
    ready.set()
    with pytest.raises(ServiceDied, match=r"^rabbitmq ended during this test \(killed by signal 9\), and was started again"):
        broker.expect("orders", within=60)
    killer.join()
    assert time.monotonic() - began < 30  # the time of its new start; not that of the wait
    after = Place(mortal, mortal.endpoint("rabbitmq"), mortal.take("rabbitmq"))
    assert after.name != place.name
    assert after.look() == []
    with after.connection() as connection:
        connection.channel()


def test_a_broker_that_is_killed_before_a_test_declares(mortal: Testbed) -> None:
    place = Place(mortal, mortal.endpoint("rabbitmq"), mortal.take("rabbitmq"))
    os.kill(server_of(mortal.run), signal.SIGKILL)
    with pytest.raises(ServiceDied, match="killed by signal 9"):
        Broker(place).declare(QUEUES)
    Broker(Place(mortal, mortal.endpoint("rabbitmq"), mortal.take("rabbitmq"))).declare(QUEUES)


def test_a_broker_that_is_killed_late_in_a_test_is_there_for_the_next(mortal: Testbed) -> None:
    place = Place(mortal, mortal.endpoint("rabbitmq"), mortal.take("rabbitmq"))
    broker = Broker(place)
    broker.declare(QUEUES)
    broker.publish("orders", 1)
    os.kill(server_of(mortal.run), signal.SIGKILL)
    broker.close()
    assert mortal.notes[-1].startswith("rabbitmq ended during this test (killed by signal 9)")
    Broker(Place(mortal, mortal.endpoint("rabbitmq"), mortal.take("rabbitmq"))).declare(QUEUES)


def test_a_broker_that_blocks_publishers(brokers: Brokers) -> None:
    testbed = brokers.get("docker")
    place = Place(testbed, testbed.endpoint("rabbitmq"), testbed.take("rabbitmq"))
    with closing(Broker(place)) as broker:
        broker.declare(QUEUES)
        broker.publish("orders", 1)
        with alarm(testbed):
            with pytest.raises(
                BrokerError, match=r"(?s)^publishing to 'orders': the broker has blocked all .* short of memory\."
            ):
                broker.publish("orders", 2)
        broker.publish("orders", 3)
        assert broker.count("orders") >= 2
    testbed.give_back("rabbitmq", place.name)


@contextmanager
def alarm(testbed: Testbed) -> Iterator[None]:
    """Let the broker in a container have too little memory."""
    container = docker.from_env().containers.get(f"testbed-{testbed.run}-rabbitmq")

    def limit(*words: str) -> None:
        code, output = container.exec_run(["rabbitmqctl", "set_vm_memory_high_watermark", *words], user="rabbitmq")
        assert code == 0, output

    limit("absolute", "1MB")
    try:
        yield
    finally:
        limit("0.4")
