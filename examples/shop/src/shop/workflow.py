"""What is done with an order once it is placed."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session, sessionmaker

from .inventory import InventoryClient
from .mail import Mailer
from .models import Order, OrderStatus, Product, Role, User
from .payments import Payment, PaymentError, PaymentProcessor


class UnknownOrder(Exception):
    """There is no order with this id."""


class PaymentPending(Exception):
    """The gateway has taken an order's payment, and has not decided yet."""


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
        return self.status == OrderStatus.PROCESSED


class BusinessWorkflow:
    """Takes an order's products from the stock, charges it, and tells the customer and the administrators."""

    def __init__(
        self, sessions: sessionmaker[Session], inventory: InventoryClient, payments: PaymentProcessor, mailer: Mailer
    ) -> None:
        self._sessions, self._inventory, self._payments, self._mailer = sessions, inventory, payments, mailer

    def process_order(self, order_id: int) -> Outcome:
        """Process an order; one that was processed before stays as it is, as messages may come twice.

        The stock is taken before the payment: nobody pays for what is not there. It stays taken as long as nobody knows
        whether the gateway has charged; then the order is CHARGING, and the next call goes on from there.

        Raises:
            UnknownOrder: there is none with this id.
            PaymentPending: it may be paid later; asking once more charges nobody twice.
            requests.RequestException: likewise: the gateway is out of order.
        """
        with self._sessions() as session:
            order = self._locked(session, order_id)
            if order.status == OrderStatus.CONFIRMED and not self._take_from_stock(session, order):
                return self._refuse(session, order, "out of stock")
            if order.status != OrderStatus.CHARGING:
                return Outcome(order.id, order.status)
            amount, card = order.total, order.card
            session.commit()  # nothing is locked while the gateway thinks

            payment = self._charge(order_id, amount, card)

            order = self._locked(session, order_id)
            if order.status != OrderStatus.CHARGING:  # the message came twice, and the other one was quicker
                return Outcome(order.id, order.status)
            if isinstance(payment, PaymentError):
                self._put_back(order)
                return self._refuse(session, order, str(payment))
            order.transaction_id, order.status = payment.transaction_id, OrderStatus.PROCESSED
            session.commit()
            sent = self._tell(session, order, f"is paid: {order.total / 100:.2f}")
            return Outcome(order.id, order.status, inventory_adjusted=True, notifications_sent=sent)

    def _locked(self, session: Session, order_id: int) -> Order:
        order = session.get(Order, order_id, with_for_update=True)
        if order is None:
            raise UnknownOrder(order_id)
        return order

    def _take_from_stock(self, session: Session, order: Order) -> bool:
        """Tell whether there was enough of everything; else nothing is taken."""
        try:
            with session.begin_nested():  # what fails in it leaves the order locked
                for item in order.items:  # the database subtracts, as others may do so meanwhile
                    item.product.stock = Product.stock - item.quantity
                session.flush()  # in the order of the products' ids, so no two orders wait for each other
        except IntegrityError:
            return False
        order.status = OrderStatus.CHARGING
        return True

    def _put_back(self, order: Order) -> None:
        for item in order.items:
            item.product.stock = Product.stock + item.quantity

    def _charge(self, order_id: int, amount: int, card: str) -> Payment | PaymentError:
        """Return what the gateway has decided; with the order's key it decides once."""
        try:
            payment = self._payments.charge(amount, card, key=f"order-{order_id}")
        except PaymentError as error:
            return error
        if not payment.success:
            raise PaymentPending(payment.transaction_id)
        return payment

    def _refuse(self, session: Session, order: Order, reason: str) -> Outcome:
        order.status = OrderStatus.REFUSED
        session.commit()
        self._inventory.release_all(item.reservation_id for item in order.items)
        sent = self._tell(session, order, f"is refused: {reason}")
        return Outcome(order.id, order.status, notifications_sent=sent)

    def _tell(self, session: Session, order: Order, what: str) -> bool:
        administrators = session.scalars(select(User.email).where(User.role == Role.ADMIN, User.is_active)).all()
        sent = [
            self._mailer.send(each, f"Order {order.id}", f"Order {order.id} {what}.")
            for each in [order.user.email, *administrators]
        ]
        return all(sent)
