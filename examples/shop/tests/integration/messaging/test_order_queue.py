"""Messaging: a real broker, the worker in a thread, and waiting for what happens instead of sleeping."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest
from sqlalchemy.orm import Session

from fixtures.factories import OrderItemFactory
from pytest_testbed import Broker
from shop.parts import Parts
from shop.queue import ORDERS, PROCESSED, OrderQueue, OrderWorker
from shop.settings import Settings
from shop.workflow import Outcome


@pytest.fixture
def handled() -> list[int]:
    """The orders that the worker was asked to process."""
    return []


@pytest.fixture
def worker(rabbitmq_url: str, handled: list[int]) -> Iterator[None]:
    """A worker that processes orders without a shop; order 13 has bad luck."""

    def process(order_id: int) -> Outcome:
        handled.append(order_id)
        if order_id == 13:
            raise ConnectionError("the payment gateway is out of order")
        return Outcome(order_id, "PROCESSED")

    yield from running(OrderWorker(rabbitmq_url, process))


def running(worker: OrderWorker) -> Iterator[None]:
    thread = threading.Thread(target=worker.run)
    thread.start()
    yield
    worker.stop()
    thread.join()


def test_order_processing_flow(worker: None, rabbitmq_broker: Broker, rabbitmq_url: str) -> None:
    OrderQueue(rabbitmq_url).publish(123)

    done = rabbitmq_broker.expect(PROCESSED, matching={"orderId": 123})

    assert done.json["status"] == "PROCESSED"
    assert rabbitmq_broker.count(ORDERS) == 0


@pytest.mark.parametrize("body", ["no JSON", {"order": 1}, [1], {"orderId": "x"}])
def test_what_is_no_order_is_put_aside(worker: None, rabbitmq_broker: Broker, handled: list[int], body: object) -> None:
    rabbitmq_broker.publish(ORDERS, body)

    assert rabbitmq_broker.expect_dead_letter(ORDERS, reason="rejected").deaths[0].count == 1
    assert handled == []


def test_a_failure_is_tried_once_more(worker: None, rabbitmq_broker: Broker, handled: list[int]) -> None:
    rabbitmq_broker.publish(ORDERS, {"orderId": 13})
    rabbitmq_broker.publish(ORDERS, {"orderId": 14})

    rabbitmq_broker.expect_dead_letter(ORDERS, matching={"orderId": 13}, reason="rejected")
    rabbitmq_broker.expect(PROCESSED, matching={"orderId": 14})
    assert handled.count(13) == 2
    rabbitmq_broker.expect_none(PROCESSED)


def test_an_order_that_comes_twice_is_charged_once(pg_session: Session, rabbitmq_broker: Broker, rabbitmq_url: str) -> None:
    order = OrderItemFactory.create(product__stock=10, quantity=2).order
    pg_session.commit()
    worker = running(OrderWorker(rabbitmq_url, Parts(Settings.from_environment()).workflow.process_order))
    next(worker)

    for _ in range(2):
        rabbitmq_broker.publish(ORDERS, {"orderId": order.id})
        rabbitmq_broker.expect(PROCESSED, matching={"orderId": order.id, "status": "PROCESSED"})

    next(worker, None)
    pg_session.refresh(order.items[0].product)
    assert order.items[0].product.stock == 8
