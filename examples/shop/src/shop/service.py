"""Placing orders."""

from __future__ import annotations

from collections.abc import Mapping

from sqlalchemy import select
from sqlalchemy.orm import Session, sessionmaker

from .models import Order, OrderLine, Product
from .pricing import order_total


class OutOfStock(Exception):
    """There is less of a product than was ordered."""


class OrderService:
    """Places orders, each in a transaction of its own."""

    def __init__(self, sessions: sessionmaker[Session]) -> None:
        self._sessions = sessions

    def place(self, user_id: int, wanted: Mapping[int, int]) -> int:
        """Place an order and take its products from the stock; return the id of the order.

        Args:
            user_id: who orders.
            wanted: product id → quantity.

        Raises:
            OutOfStock: nothing was ordered, and no stock was changed.
        """
        with self._sessions.begin() as session:
            statement = select(Product).where(Product.id.in_(wanted)).order_by(Product.id).with_for_update()
            products = session.scalars(statement).all()
            order = Order(user_id=user_id)
            session.add(order)
            for product in products:
                quantity = wanted[product.id]
                if product.stock < quantity:
                    raise OutOfStock(f"{product.name}: {quantity} wanted, {product.stock} left")
                product.stock -= quantity
                order.lines.append(OrderLine(product=product, quantity=quantity))
            order.total_cents = order_total((line.product.price_cents, line.quantity) for line in order.lines)
            session.flush()
            return order.id
