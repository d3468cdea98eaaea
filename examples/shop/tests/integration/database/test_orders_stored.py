"""Rules that the database keeps, whoever writes; and how often it is asked."""

from __future__ import annotations

import pytest
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from fixtures.factories import OrderFactory, OrderItemFactory
from pytest_testbed import Queries
from shop.models import Order, OrderItem, Product, User
from shop.orders import OrderRepository


def test_stock_is_never_negative(product: Product, pg_session: Session) -> None:
    product.stock = -1
    with pytest.raises(IntegrityError, match="stock_not_negative"):
        pg_session.commit()


def test_an_item_is_of_something(order: Order, product: Product, pg_session: Session) -> None:
    pg_session.add(OrderItem(order=order, product=product, quantity=0, price=100))
    with pytest.raises(IntegrityError, match="quantity_positive"):
        pg_session.commit()


def test_a_user_s_orders_take_two_statements(user: User, pg_session: Session, pg_queries: Queries) -> None:
    OrderItemFactory.create()  # somebody else's
    for order in OrderFactory.create_batch(5, user=user):
        OrderItemFactory.create_batch(2, order=order, price=150)
    user_id = user.id
    pg_session.expunge_all()
    pg_queries.clear()

    orders = OrderRepository(pg_session).of_user(user_id)

    assert [order.total for order in orders] == [300] * 5
    pg_queries.assert_max(2)
