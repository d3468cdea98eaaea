"""Rules that the database keeps, whoever writes; and how often it is asked."""

from __future__ import annotations

import pytest
from sqlalchemy import select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session, selectinload

from fixtures.factories import OrderFactory, OrderItemFactory
from pytest_testbed import Queries
from shop.models import Order, OrderItem, Product


def test_stock_is_never_negative(product: Product, pg_session: Session) -> None:
    product.stock = -1
    with pytest.raises(IntegrityError, match="stock_not_negative"):
        pg_session.commit()


def test_an_item_is_of_something(order: Order, product: Product, pg_session: Session) -> None:
    pg_session.add(OrderItem(order=order, product=product, quantity=0))
    with pytest.raises(IntegrityError, match="quantity_positive"):
        pg_session.commit()


def test_totals_of_many_orders_take_three_statements(pg_session: Session, pg_queries: Queries) -> None:
    for order in OrderFactory.create_batch(5):
        OrderItemFactory.create_batch(2, order=order, product__price=150)
    pg_session.commit()
    pg_session.expunge_all()

    pg_queries.clear()

    orders = pg_session.scalars(select(Order).options(selectinload(Order.items).selectinload(OrderItem.product)))
    assert [order.total for order in orders] == [300] * 5

    pg_queries.assert_max(3)
