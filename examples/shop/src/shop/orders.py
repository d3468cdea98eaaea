"""Placing orders, and finding them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from sqlalchemy import select
from sqlalchemy.orm import Session, selectinload, sessionmaker

from .inventory import InventoryClient
from .models import Order, OrderItem, OrderStatus, Product


class UnknownProduct(Exception):
    """Nothing is sold under this id."""


class OrderRepository:
    """The orders of the shop."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def of_user(self, user_id: int) -> Sequence[Order]:
        """Return a user's orders, the first one first, with their items: two statements, however many there are."""
        found = select(Order).where(Order.user_id == user_id).order_by(Order.id)
        return self._session.scalars(found.options(selectinload(Order.items))).all()


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

        Where that fails, what was put aside is put back. What the inventory service has put aside without saying so, as its
        answer came too late, stays there: nobody here knows its id. An order that cannot be handed on is stored as REFUSED.

        Args:
            user_id: who orders.
            wanted: product id → quantity.
            card: the payment gateway's token for it.

        Raises:
            UnknownProduct: one of them is not sold here.
            OutOfStock: there is too little of one: nothing was ordered.
            InventoryError: the inventory service did not answer, or not as it should: nothing was ordered.
            QueueError: the order cannot be handed on.
        """
        with self._sessions() as session:
            prices = {each.id: each.price for each in session.scalars(select(Product).where(Product.id.in_(wanted)))}
        if unknown := sorted(set(wanted) - set(prices)):
            raise UnknownProduct(unknown[0])
        reservations: dict[int, str] = {}
        order_id = None
        try:
            for product_id, quantity in wanted.items():
                reservations[product_id] = self._inventory.reserve(product_id, quantity)
            order_id = self._store(user_id, wanted, card, prices, reservations)
            self._publish(order_id)
        except Exception:
            if order_id is None or self._refuse(order_id):
                self._inventory.release_all(reservations.values())
            raise
        return order_id

    def _store(
        self, user_id: int, wanted: Mapping[int, int], card: str, prices: Mapping[int, int], reservations: Mapping[int, str]
    ) -> int:
        items = [
            OrderItem(product_id=each, quantity=quantity, price=prices[each], reservation_id=reservations[each])
            for each, quantity in wanted.items()
        ]
        with self._sessions.begin() as session:
            order = Order(user_id=user_id, card=card, items=items)
            session.add(order)
            session.flush()
            return order.id

    def _refuse(self, order_id: int) -> bool:
        """Tell whether an order is refused now: the worker may have it all the same, if only the broker's answer was lost."""
        with self._sessions.begin() as session:
            order = session.get_one(Order, order_id, with_for_update=True)
            if order.status == OrderStatus.CONFIRMED:
                order.status = OrderStatus.REFUSED
                return True
            return False
