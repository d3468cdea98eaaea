"""Workflows: several parts together, in the transaction of the test."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from sqlalchemy import func, select
from sqlalchemy.orm import Session, sessionmaker

from fixtures.factories import OrderFactory, OrderItemFactory, ProductFactory, UserFactory
from pytest_testbed import Mailbox, MockService
from shop.inventory import InventoryClient, OutOfStock
from shop.mail import Mailer
from shop.models import Order
from shop.orders import OrderService
from shop.payments import PaymentProcessor
from shop.workflow import BusinessWorkflow, UnknownOrder

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
    admin_user = UserFactory.create(role="admin")
    product = ProductFactory.create(price=100, stock=10)
    order = OrderFactory.create(user__role="customer")
    OrderItemFactory.create(order=order, product=product, quantity=2)
    pg_session.commit()

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
    pg_session.commit()

    result = workflow.process_order(item.order.id)

    assert not result.success
    pg_session.expire_all()
    assert (item.product.stock, item.order.status) == (10, "REFUSED")
    mock_service("inventory").verify("DELETE", "/api/inventory/reservations/res-9", times=1)
    assert "cannot be paid: card_declined" in mailbox.expect(to=item.order.user.email).text


def test_an_order_that_nobody_has_placed(workflow: BusinessWorkflow) -> None:
    with pytest.raises(UnknownOrder):
        workflow.process_order(4711)


def test_create_order_integration(
    pg_session: Session, pg_sessionmaker: sessionmaker[Session], inventory: InventoryClient
) -> None:
    user, product = UserFactory.create(), ProductFactory.create()
    pg_session.commit()
    published: list[int] = []

    order_id = OrderService(pg_sessionmaker, inventory, published.append).create_order(user.id, {product.id: 2}, "tok_visa")

    order = pg_session.get_one(Order, order_id)
    assert order.status == "CONFIRMED"
    assert [item.reservation_id for item in order.items] == ["res-456"]
    assert published == [order_id]


def test_an_order_that_cannot_be_met_leaves_no_trace(
    pg_session: Session, pg_sessionmaker: sessionmaker[Session], inventory: InventoryClient, mock_service: Services
) -> None:
    user, lamp, desk = UserFactory.create(), ProductFactory.create(), ProductFactory.create()
    pg_session.commit()
    published: list[int] = []
    stubs = mock_service("inventory")
    stubs.stub("POST", f"/api/inventory/{desk.id}/reserve", status=409)

    with pytest.raises(OutOfStock):
        OrderService(pg_sessionmaker, inventory, published.append).create_order(user.id, {lamp.id: 1, desk.id: 1}, "tok_visa")

    stubs.verify("DELETE", "/api/inventory/reservations/res-456", times=1)
    assert pg_session.scalar(select(func.count()).select_from(Order)) == 0
    assert published == []
