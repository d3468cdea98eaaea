"""What is done with an order once it is placed."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.orm import Session, sessionmaker

from .inventory import InventoryClient
from .mail import Mailer
from .models import Order, User
from .payments import PaymentError, PaymentProcessor


class UnknownOrder(Exception):
    """There is no order with this id."""


@dataclass(frozen=True)
class Outcome:
    """What has become of an order."""

    order_id: int
    status: str
    inventory_adjusted: bool = False
    notifications_sent: bool = False

    @property
    def success(self) -> bool:
        """Whether the customer gets it."""
        return self.status == "PROCESSED"


class BusinessWorkflow:
    """Charges an order, takes its products from the stock, and tells the customer and the administrators."""

    def __init__(
        self, sessions: sessionmaker[Session], inventory: InventoryClient, payments: PaymentProcessor, mailer: Mailer
    ) -> None:
        self._sessions, self._inventory, self._payments, self._mailer = sessions, inventory, payments, mailer

    def process_order(self, order_id: int) -> Outcome:
        """Process an order; one that was processed before stays as it is, as messages may come twice.

        Raises:
            UnknownOrder: there is none with this id.
        """
        with self._sessions() as session:
            order = session.get(Order, order_id, with_for_update=True)
            if order is None:
                raise UnknownOrder(order_id)
            if order.status != "CONFIRMED":
                return Outcome(order.id, order.status)
            try:
                payment = self._payments.charge(order.total, order.card)
            except PaymentError as error:
                return self._refuse(session, order, str(error))
            order.transaction_id, order.status = payment.transaction_id, "PROCESSED"
            for item in order.items:
                item.product.stock -= item.quantity
            session.commit()
            sent = self._tell(session, order, f"is paid: {order.total / 100:.2f}")
            return Outcome(order.id, order.status, inventory_adjusted=True, notifications_sent=sent)

    def _refuse(self, session: Session, order: Order, reason: str) -> Outcome:
        for item in order.items:
            if item.reservation_id is not None:
                self._inventory.release(item.reservation_id)
        order.status = "REFUSED"
        session.commit()
        sent = self._tell(session, order, f"cannot be paid: {reason}")
        return Outcome(order.id, order.status, notifications_sent=sent)

    def _tell(self, session: Session, order: Order, what: str) -> bool:
        administrators = session.scalars(select(User.email).where(User.role == "admin", User.is_active)).all()
        sent = [
            self._mailer.send(each, f"Order {order.id}", f"Order {order.id} {what}.")
            for each in [order.user.email, *administrators]
        ]
        return all(sent)
