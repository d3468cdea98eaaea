"""Messaging: a real broker, the worker in a thread, and waiting for what happens instead of sleeping."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session

from fixtures.factories import OrderItemFactory
from pytest_testbed import Broker, Mailbox, MockService
from shop.models import OrderItem, OrderStatus
from shop.parts import Parts
from shop.payments import Payment, PaymentProcessor
from shop.queue import ORDERS, PROCESSED, OrderQueue, OrderWorker, QueueError
from shop.settings import Settings
from shop.workflow import BusinessWorkflow, Outcome, UnknownOrder


@contextmanager
def running(worker: OrderWorker) -> Iterator[None]:
    """Let a worker work; it ends with the block, whatever happens there."""
    thread = threading.Thread(target=worker.run)
    thread.start()
    try:
        yield
    finally:
        worker.stop()
        thread.join(timeout=10)
        assert not thread.is_alive(), "the worker does not stop"


@pytest.fixture
def handled() -> list[int]:
    """The orders that the worker was asked to process."""
    return []


@pytest.fixture
def worker(rabbitmq_url: str, handled: list[int]) -> Iterator[None]:
    """A worker that processes orders without a shop; order 13 has bad luck, and 404 is nobody's."""

    def process(order_id: int) -> Outcome:
        handled.append(order_id)
        if order_id == 13:
            raise ValueError("the payment gateway answers with HTML")
        if order_id == 404:
            raise UnknownOrder(order_id)
        return Outcome(order_id, OrderStatus.PROCESSED)

    with running(OrderWorker(rabbitmq_url, process)):
        yield


@pytest.fixture
def shop_worker(rabbitmq_url: str) -> Iterator[None]:
    """A worker with all that it has in production, and less patience."""
    with running(OrderWorker(rabbitmq_url, Parts(Settings.from_environment()).workflow.process_order, pause=0.1)):
        yield


@pytest.fixture
def two_of_ten(pg_session: Session) -> OrderItem:
    """An order of two pieces; ten of them are there."""
    item: OrderItem = OrderItemFactory.create(product__stock=10, quantity=2)
    return item


def test_order_processing_flow(worker: None, rabbitmq_broker: Broker, rabbitmq_url: str) -> None:
    OrderQueue(rabbitmq_url).publish(123)

    done = rabbitmq_broker.expect(PROCESSED, matching={"orderId": 123})

    assert done.json["status"] == "PROCESSED"
    assert rabbitmq_broker.count(ORDERS) == 0


@pytest.mark.parametrize("body", ["no JSON", {"order": 1}, [1], {"orderId": "1"}, {"orderId": 1.5}])
def test_what_is_no_order_is_put_aside(worker: None, rabbitmq_broker: Broker, handled: list[int], body: object) -> None:
    rabbitmq_broker.publish(ORDERS, body)

    assert rabbitmq_broker.expect_dead_letter(ORDERS, reason="rejected").deaths[0].count == 1
    assert handled == []


def test_an_unknown_order_is_put_aside(worker: None, rabbitmq_broker: Broker, handled: list[int]) -> None:
    rabbitmq_broker.publish(ORDERS, {"orderId": 404})

    rabbitmq_broker.expect_dead_letter(ORDERS, matching={"orderId": 404}, reason="rejected")
    assert handled == [404]


def test_a_failure_is_tried_once_more(worker: None, rabbitmq_broker: Broker, handled: list[int]) -> None:
    rabbitmq_broker.publish(ORDERS, {"orderId": 13})
    rabbitmq_broker.publish(ORDERS, {"orderId": 14})

    rabbitmq_broker.expect_dead_letter(ORDERS, matching={"orderId": 13}, reason="rejected")
    rabbitmq_broker.expect(PROCESSED, matching={"orderId": 14})
    assert handled.count(13) == 2
    rabbitmq_broker.expect_none(PROCESSED)


def test_an_order_that_comes_twice_is_charged_once(
    shop_worker: None, two_of_ten: OrderItem, pg_session: Session, rabbitmq_broker: Broker,
    mock_service: Callable[[str], MockService],
) -> None:  # fmt: skip
    for _ in range(2):
        rabbitmq_broker.publish(ORDERS, {"orderId": two_of_ten.order_id})
        rabbitmq_broker.expect(PROCESSED, matching={"orderId": two_of_ten.order_id, "status": "PROCESSED"})

    mock_service("payments").verify("POST", "/charges", times=1)
    pg_session.refresh(two_of_ten.product)
    assert two_of_ten.product.stock == 8


def test_a_gateway_that_hangs_up_is_asked_again_for_the_same(
    shop_worker: None, two_of_ten: OrderItem, pg_session: Session, rabbitmq_broker: Broker,
    mock_service: Callable[[str], MockService],
) -> None:  # fmt: skip
    """Nobody knows whether it has charged: with the same key it does so once, and the stock is taken once."""
    payments = mock_service("payments")
    payments.stub("POST", "/charges", fault="reset", times=1)

    rabbitmq_broker.publish(ORDERS, {"orderId": two_of_ten.order_id})

    rabbitmq_broker.expect(PROCESSED, matching={"orderId": two_of_ten.order_id, "status": "PROCESSED"})
    payments.verify("POST", "/charges", headers={"Idempotency-Key": f"order-{two_of_ten.order_id}"}, times=2)
    pg_session.refresh(two_of_ten.product)
    assert two_of_ten.product.stock == 8


def test_a_payment_that_is_pending_is_asked_for_until_it_is_decided(
    shop_worker: None, two_of_ten: OrderItem, pg_session: Session, rabbitmq_broker: Broker,
    mock_service: Callable[[str], MockService],
) -> None:  # fmt: skip
    payments = mock_service("payments")
    payments.stub("POST", "/charges", json={"id": "ch_123", "status": "pending"}, times=3)

    rabbitmq_broker.publish(ORDERS, {"orderId": two_of_ten.order_id})

    rabbitmq_broker.expect(PROCESSED, matching={"orderId": two_of_ten.order_id, "status": "PROCESSED"})
    payments.verify("POST", "/charges", headers={"Idempotency-Key": f"order-{two_of_ten.order_id}"}, times=4)
    pg_session.refresh(two_of_ten.product)
    assert two_of_ten.product.stock == 8


@pytest.mark.parametrize(("card", "status", "left"), [("tok_visa", "PROCESSED", 8), ("tok_declined", "REFUSED", 10)])
def test_an_order_that_comes_again_while_it_is_charged(
    two_of_ten: OrderItem, pg_session: Session, mailbox: Mailbox, card: str, status: str, left: int
) -> None:
    """A slow gateway locks no row; and what it says twice is done once."""
    two_of_ten.order.card = card
    pg_session.commit()
    parts = Parts(Settings.from_environment())
    told: list[str] = []

    class Gateway(PaymentProcessor):
        def charge(self, *arguments: Any, **more: Any) -> Payment:
            if not told:
                with parts.sessions() as other:
                    locking = select(OrderItem).join(OrderItem.order).join(OrderItem.product).with_for_update(nowait=True)
                    assert other.scalar(locking) is not None
                told.append("first")
                told.append(parts.workflow.process_order(two_of_ten.order_id).status)
            return super().charge(*arguments, **more)

    slow = Gateway(Settings.from_environment().payment_url)
    outcome = BusinessWorkflow(parts.sessions, parts.inventory, slow, parts.mailer).process_order(two_of_ten.order_id)

    assert [*told, outcome.status] == ["first", status, status]
    pg_session.refresh(two_of_ten.product)
    assert two_of_ten.product.stock == left
    assert len(mailbox) == 2  # the customer's and the administrator's


def test_a_broker_that_says_nothing() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        host, port = server.getsockname()
        with pytest.raises(QueueError):
            OrderQueue(f"amqp://{host}:{port}", timeout=0.1).publish(1)


def test_a_broker_whose_name_nobody_knows(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*arguments: object, **more: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)

    with pytest.raises(QueueError):
        OrderQueue("amqp://broker.example.com").publish(1)
