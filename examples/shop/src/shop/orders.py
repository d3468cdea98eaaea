"""Placing orders."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from sqlalchemy import select
from sqlalchemy.orm import Session, sessionmaker

from .inventory import InventoryClient
from .models import Order, OrderItem, Product


class UnknownProduct(Exception):
    """Nothing is sold under this id."""


class OrderService:
    """Places orders.

    Args:
        sessions: makes database sessions.
        inventory: puts the products aside.
        publish: hands an order's id on to the worker.
    """

    def __init__(self, sessions: sessionmaker[Session], inventory: InventoryClient, publish: Callable[[int], None]) -> None:
        self._sessions, self._inventory, self._publish = sessions, inventory, publish

    def create_order(self, user_id: int, wanted: Mapping[int, int], card: str) -> int:
        """Have all products put aside, store the order, and hand it on; return its id.

        Args:
            user_id: who orders.
            wanted: product id → quantity.
            card: the payment gateway's token for it.

        Raises:
            UnknownProduct: one of them is not sold here.
            OutOfStock: there is too little of one: nothing is put aside, nothing was ordered.
        """
        with self._sessions() as session:
            known = set(session.scalars(select(Product.id).where(Product.id.in_(wanted))))
        if unknown := sorted(set(wanted) - known):
            raise UnknownProduct(unknown[0])
        items = self._reserve(wanted)
        with self._sessions.begin() as session:
            order = Order(user_id=user_id, card=card, items=items)
            session.add(order)
            session.flush()
            order_id = order.id
        self._publish(order_id)
        return order_id

    def _reserve(self, wanted: Mapping[int, int]) -> list[OrderItem]:
        items: list[OrderItem] = []
        try:
            for product_id, quantity in wanted.items():
                reservation = self._inventory.reserve(product_id, quantity)
                items.append(OrderItem(product_id=product_id, quantity=quantity, reservation_id=reservation))
        except Exception:
            for item in items:
                self._inventory.release(str(item.reservation_id))
            raise
        return items
