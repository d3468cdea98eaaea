"""The chapter "Message Queue Integration Testing" of the guide: publish, process, acknowledge, verify, on a real broker."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import pytest

from .orders import DONE, ORDERS, TOPOLOGY, OrderProcessor, OrderWorker, OutOfStock, ProcessedOrder

if TYPE_CHECKING:
    from pika.adapters.blocking_connection import BlockingChannel

    from pytest_testbed import Broker

pytestmark = [pytest.mark.integration, pytest.mark.messaging]
ORDER = {"orderId": "order-123", "productId": "prod-456", "quantity": 2}


class TestOrderFlow:
    """Each step of the guide by a plain channel, with nothing before and nothing to clean up."""

    QUEUE = "test_orders"

    @pytest.fixture
    def channel(self, rabbitmq_channel: BlockingChannel) -> BlockingChannel:
        """The guide's fixture, without a host name and without a close."""
        rabbitmq_channel.queue_declare(queue=self.QUEUE, durable=True)
        return rabbitmq_channel

    @pytest.mark.parametrize("time_", ["first", "second"])
    def test_publish_process_acknowledge_verify(self, channel: BlockingChannel, time_: str) -> None:
        channel.confirm_delivery()
        channel.basic_publish(exchange="", routing_key=self.QUEUE, body=json.dumps(ORDER))

        method, _, body = channel.basic_get(queue=self.QUEUE)
        assert method is not None, "with confirms the message is there when it was published"
        processed = OrderProcessor().process_order(json.loads(body))
        assert (processed.order_id, processed.status) == ("order-123", "PROCESSED")
        channel.basic_ack(method.delivery_tag)

        assert channel.queue_declare(self.QUEUE, passive=True).method.message_count == 0
        assert channel.basic_get(queue=self.QUEUE)[0] is None


@pytest.fixture
def broker(rabbitmq_broker: Broker) -> Broker:
    """A broker with the application's queues."""
    rabbitmq_broker.declare(TOPOLOGY)
    return rabbitmq_broker


def test_a_worker_processes_an_order(broker: Broker) -> None:
    with OrderWorker(broker.url):
        broker.publish(ORDERS, ORDER)
        done = broker.expect(DONE, matching={"orderId": "order-123"})
    assert done.json["status"] == "PROCESSED"
    assert broker.count(ORDERS) == 0
    broker.expect_none(DONE)


def test_a_bad_order_is_dead_lettered(broker: Broker) -> None:
    with OrderWorker(broker.url):
        broker.publish(ORDERS, {**ORDER, "quantity": 0}, headers={"tenant": "a"})
        dead = broker.expect_dead_letter(ORDERS, matching={"orderId": "order-123"}, reason="rejected")
    assert dead.headers["tenant"] == "a"
    assert [(death.queue, death.count) for death in dead.deaths] == [(ORDERS, 1)]
    broker.expect_none(DONE)


def test_an_order_that_is_rejected_comes_again(broker: Broker) -> None:
    tries: list[Mapping[str, Any]] = []

    def in_stock_the_third_time(order: Mapping[str, Any]) -> ProcessedOrder:
        tries.append(order)
        if len(tries) < 3:
            raise OutOfStock(order["orderId"])
        return ProcessedOrder(str(order["orderId"]), "PROCESSED")

    with OrderWorker(broker.url, in_stock_the_third_time):
        broker.publish(ORDERS, ORDER)
        broker.expect(DONE, matching={"orderId": "order-123"})
    assert tries == [ORDER] * 3
    assert broker.count(ORDERS) == 0


def test_a_message_that_was_given_back_says_so(rabbitmq_channel: BlockingChannel, broker: Broker) -> None:
    broker.publish(ORDERS, ORDER)
    method, _, _ = rabbitmq_channel.basic_get(ORDERS)
    assert method is not None
    assert method.redelivered is False
    rabbitmq_channel.basic_nack(method.delivery_tag, requeue=True)
    assert broker.expect(ORDERS).redelivered is True


@pytest.mark.parametrize("prefetch", [1, 3])
def test_a_worker_holds_no_more_than_its_prefetch(broker: Broker, rabbitmq_channel: BlockingChannel, prefetch: int) -> None:
    for number in range(5):
        broker.publish(ORDERS, {**ORDER, "orderId": f"order-{number}"})
    held: list[int] = []
    rabbitmq_channel.basic_qos(prefetch_count=prefetch)
    rabbitmq_channel.basic_consume(ORDERS, lambda _, method, __, ___: held.append(method.delivery_tag))
    while len(held) < prefetch:
        rabbitmq_channel.connection.process_data_events(5)
    assert broker.count(ORDERS) == 5 - prefetch

    rabbitmq_channel.basic_ack(held[0])
    while len(held) < prefetch + 1:
        rabbitmq_channel.connection.process_data_events(5)
    assert broker.count(ORDERS) == 5 - prefetch - 1


def test_competing_workers_share_the_orders(broker: Broker) -> None:
    together = threading.Barrier(2, timeout=10)

    def process(order: Mapping[str, Any]) -> ProcessedOrder:
        if order["first"]:
            together.wait()  # so that neither has done all of them before the other has begun
        return ProcessedOrder(str(order["orderId"]), "PROCESSED")

    with OrderWorker(broker.url, process, name="a"), OrderWorker(broker.url, process, name="b"):
        for number in range(20):
            broker.publish(ORDERS, {**ORDER, "orderId": f"order-{number}", "first": number < 2})
        done = [broker.expect(DONE).json for _ in range(20)]
    assert Counter(each["orderId"] for each in done) == Counter(f"order-{number}" for number in range(20))
    assert {each["by"] for each in done} == {"a", "b"}
    broker.expect_none(DONE)


CONSUMER = """
import sys
import pika

connection = pika.BlockingConnection(pika.URLParameters(sys.argv[1]))
channel = connection.channel()
channel.basic_consume("orders", lambda *_: print("held", flush=True))
channel.start_consuming()
"""


def test_an_order_whose_consumer_dies_is_not_lost(broker: Broker) -> None:
    broker.publish(ORDERS, ORDER)
    with subprocess.Popen([sys.executable, "-c", CONSUMER, broker.url], stdout=subprocess.PIPE, text=True) as consumer:
        assert consumer.stdout is not None
        assert consumer.stdout.readline() == "held\n"
        assert broker.count(ORDERS) == 0
        os.kill(consumer.pid, signal.SIGKILL)
    again = broker.expect(ORDERS, matching={"orderId": "order-123"})
    assert again.redelivered is True


def test_the_next_test_finds_nothing_of_all_that(rabbitmq_channel: BlockingChannel) -> None:
    # with other arguments, which a queue that is there would not take
    assert rabbitmq_channel.queue_declare(ORDERS, durable=True).method.message_count == 0
