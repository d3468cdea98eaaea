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


class OutOfProducts(Exception):
    """Less of a product lies in the shop than was ordered."""


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

        Raises:
            UnknownOrder: there is none with this id.
            PaymentPending: it may be paid later; asking once more charges nobody twice.
            requests.RequestException: likewise: the gateway is out of order.
        """
        with self._sessions() as session:
            order = session.get(Order, order_id, with_for_update=True)
            if order is None:
                raise UnknownOrder(order_id)
            if order.status != OrderStatus.CONFIRMED:
                return Outcome(order.id, order.status)
            try:
                with session.begin_nested():  # a refusal puts the stock back, and the order stays locked
                    self._take_from_stock(session, order)
                    payment = self._charge(order)
            except (OutOfProducts, PaymentError) as error:
                return self._refuse(session, order, str(error))
            order.transaction_id, order.status = payment.transaction_id, OrderStatus.PROCESSED
            session.commit()
            sent = self._tell(session, order, f"is paid: {order.total / 100:.2f}")
            return Outcome(order.id, order.status, inventory_adjusted=True, notifications_sent=sent)

    def _take_from_stock(self, session: Session, order: Order) -> None:
        """Before the payment: nobody pays for what is not there. The database subtracts, as others may do so meanwhile."""
        for item in order.items:
            item.product.stock = Product.stock - item.quantity
        try:
            session.flush()  # in the order of the products' ids, so no two orders wait for each other
        except IntegrityError as error:
            raise OutOfProducts("out of stock") from error

    def _charge(self, order: Order) -> Payment:
        payment = self._payments.charge(order.total, order.card, key=f"order-{order.id}")
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
