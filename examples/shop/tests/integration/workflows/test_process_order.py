"""Workflows: several parts together, in the transaction of the test."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import requests
from sqlalchemy import func, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session, sessionmaker

from fixtures.factories import OrderFactory, OrderItemFactory, ProductFactory, UserFactory
from pytest_testbed import Mailbox, MockService, Queries
from shop.inventory import InventoryClient, OutOfStock
from shop.mail import Mailer
from shop.models import Order, Role
from shop.orders import OrderService
from shop.payments import PaymentProcessor
from shop.queue import QueueError
from shop.workflow import BusinessWorkflow, PaymentPending, UnknownOrder

Services = Callable[[str], MockService]


@pytest.fixture
def inventory(mock_service: Services) -> InventoryClient:
    return InventoryClient(mock_service("inventory").url)


@pytest.fixture
def workflow(
    pg_sessionmaker: sessionmaker[Session], inventory: InventoryClient, mock_service: Services, mailbox: Mailbox
) -> BusinessWorkflow:
    return BusinessWorkflow(pg_sessionmaker, inventory, PaymentProcessor(mock_service("payments").url), Mailer(*mailbox.address))


def test_complex_business_workflow(
    workflow: BusinessWorkflow, pg_session: Session, mailbox: Mailbox, mock_service: Services
) -> None:
    admin_user = UserFactory.create(role=Role.ADMIN)
    product = ProductFactory.create(price=100, stock=10)
    order = OrderFactory.create(user__role=Role.CUSTOMER)
    OrderItemFactory.create(order=order, product=product, quantity=2)

    result = workflow.process_order(order.id)

    assert result.success
    assert result.inventory_adjusted
    assert result.notifications_sent
    pg_session.expire_all()
    assert (product.stock, order.status, order.transaction_id) == (8, "PROCESSED", "ch_123")
    mock_service("payments").verify("POST", "/charges", json={"amount": 200, "source": "tok_visa"}, times=1)
    assert "is paid: 2.00" in mailbox.expect(to=order.user.email).text
    mailbox.expect(to=admin_user.email)


def test_a_card_that_is_declined(
    workflow: BusinessWorkflow, pg_session: Session, mailbox: Mailbox, mock_service: Services
) -> None:
    item = OrderItemFactory.create(order__card="tok_declined", product__stock=10, reservation_id="res-9")

    result = workflow.process_order(item.order.id)

    assert not result.success
    pg_session.expire_all()
    assert (item.product.stock, item.order.status) == (10, "REFUSED")
    mock_service("inventory").verify("DELETE", "/api/inventory/reservations/res-9", times=1)
    assert "is refused: card_declined" in mailbox.expect(to=item.order.user.email).text


def test_what_is_not_there_is_not_paid(
    workflow: BusinessWorkflow, pg_session: Session, mailbox: Mailbox, mock_service: Services
) -> None:
    """One product of two is short: neither is taken."""
    order = OrderFactory.create()
    enough = OrderItemFactory.create(order=order, product__stock=10)
    short = OrderItemFactory.create(order=order, product__stock=1, quantity=2)

    result = workflow.process_order(order.id)

    mock_service("payments").verify("POST", "/charges", times=0)
    pg_session.expire_all()
    assert (result.status, order.status) == ("REFUSED", "REFUSED")
    assert (enough.product.stock, short.product.stock) == (10, 1)
    assert "is refused: out of stock" in mailbox.expect(to=order.user.email).text


def test_the_database_subtracts(workflow: BusinessWorkflow, pg_queries: Queries) -> None:
    """So what another worker has taken meanwhile stays taken."""
    order_id = OrderItemFactory.create(product__stock=10, quantity=2).order_id

    workflow.process_order(order_id)

    pg_queries.assert_count(1, matching="UPDATE products SET stock=(products.stock - ")


def test_what_may_be_paid_is_sold_to_nobody_else(
    workflow: BusinessWorkflow, pg_session: Session, mailbox: Mailbox, mock_service: Services
) -> None:
    """The gateway may have charged when its answer is lost, so the first customer's two pieces stay hers."""
    product = ProductFactory.create(stock=2)
    first, second = OrderItemFactory.create_batch(2, product=product, quantity=2)
    mock_service("payments").stub("POST", "/charges", fault="reset", times=1)

    with pytest.raises(requests.RequestException):
        workflow.process_order(first.order_id)
    assert workflow.process_order(second.order_id).status == "REFUSED"
    assert workflow.process_order(first.order_id).status == "PROCESSED"

    pg_session.refresh(product)
    assert product.stock == 0
    mock_service("payments").verify("POST", "/charges", headers={"Idempotency-Key": f"order-{first.order_id}"}, times=2)
    assert "is paid" in mailbox.expect(to=first.order.user.email).text


def test_a_payment_that_is_pending_keeps_the_products(
    workflow: BusinessWorkflow, pg_session: Session, mailbox: Mailbox, mock_service: Services
) -> None:
    item = OrderItemFactory.create(product__stock=10)
    mock_service("payments").stub("POST", "/charges", json={"id": "ch_9", "status": "pending"})

    with pytest.raises(PaymentPending, match="ch_9"):
        workflow.process_order(item.order.id)

    pg_session.expire_all()
    assert (item.product.stock, item.order.status, item.order.transaction_id) == (9, "CHARGING", None)
    assert len(mailbox) == 0


def test_a_customer_pays_the_price_of_the_day_of_the_order(
    workflow: BusinessWorkflow, pg_session: Session, mock_service: Services
) -> None:
    item = OrderItemFactory.create(product__price=100, quantity=2)
    item.product.price = 500
    pg_session.commit()

    workflow.process_order(item.order.id)

    mock_service("payments").verify("POST", "/charges", json={"amount": 200}, times=1)


def test_an_order_that_nobody_has_placed(workflow: BusinessWorkflow) -> None:
    with pytest.raises(UnknownOrder):
        workflow.process_order(4711)


@pytest.fixture
def published() -> list[int]:
    """The orders that were handed on."""
    return []


@pytest.fixture
def orders(pg_sessionmaker: sessionmaker[Session], inventory: InventoryClient, published: list[int]) -> OrderService:
    return OrderService(pg_sessionmaker, inventory, published.append)


def test_create_order_integration(orders: OrderService, pg_session: Session, published: list[int]) -> None:
    user, product = UserFactory.create(), ProductFactory.create(price=250)

    order_id = orders.create_order(user.id, {product.id: 2}, "tok_visa")

    order = pg_session.get_one(Order, order_id)
    assert order.status == "CONFIRMED"
    assert [(item.price, item.reservation_id) for item in order.items] == [(250, "res-456")]
    assert published == [order_id]


def test_an_order_that_cannot_be_met_leaves_no_trace(
    orders: OrderService, pg_session: Session, published: list[int], mock_service: Services
) -> None:
    """Nor does one that the inventory service does not release keep the others."""
    user, lamp, desk, bed = UserFactory.create(), *ProductFactory.create_batch(3)
    stubs = mock_service("inventory")
    stubs.stub("POST", f"/api/inventory/{lamp.id}/reserve", json={"reservationId": "res-1"})
    stubs.stub("POST", f"/api/inventory/{bed.id}/reserve", status=409)
    stubs.stub("DELETE", "/api/inventory/reservations/res-1", status=500)

    with pytest.raises(OutOfStock):
        orders.create_order(user.id, {lamp.id: 1, desk.id: 1, bed.id: 1}, "tok_visa")

    stubs.verify("DELETE", "/api/inventory/reservations/res-456", times=1)
    assert pg_session.scalar(select(func.count()).select_from(Order)) == 0
    assert published == []


def test_an_order_that_cannot_be_stored_keeps_nothing_aside(orders: OrderService, mock_service: Services) -> None:
    product = ProductFactory.create()

    with pytest.raises(IntegrityError, match="orders_user_id_fkey"):
        orders.create_order(4711, {product.id: 1}, "tok_visa")

    mock_service("inventory").verify("DELETE", "/api/inventory/reservations/res-456", times=1)


@pytest.mark.parametrize(("status", "releases"), [("REFUSED", 1), ("CHARGING", 0), ("PROCESSED", 0)])
def test_an_order_that_cannot_be_handed_on(
    pg_session: Session, pg_sessionmaker: sessionmaker[Session], inventory: InventoryClient, mock_service: Services,
    status: str, releases: int,
) -> None:  # fmt: skip
    """It is refused; if the worker has it all the same, and only the broker's answer was lost, it stays as it is."""
    user, product = UserFactory.create(), ProductFactory.create()

    def publish(order_id: int) -> None:
        if status != "REFUSED":
            pg_session.get_one(Order, order_id).status = status
            pg_session.commit()
        raise QueueError("connection lost")

    with pytest.raises(QueueError):
        OrderService(pg_sessionmaker, inventory, publish).create_order(user.id, {product.id: 1}, "tok_visa")

    assert pg_session.scalars(select(Order.status)).all() == [status]
    mock_service("inventory").verify("DELETE", "/api/inventory/reservations/res-456", times=releases)
