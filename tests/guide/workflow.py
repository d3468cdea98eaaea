"""The small application's business workflow: an order takes stock, is paid for by its customer, and tells people."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from sqlalchemy import ForeignKey, select
from sqlalchemy.orm import Mapped, Session, mapped_column, relationship

from .models import Base, User


class Product(Base):
    """Something for sale."""

    __tablename__ = "products"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]
    price: Mapped[int]
    stock: Mapped[int]


class PlacedOrder(Base):
    """What a customer wants to have."""

    __tablename__ = "placed_orders"

    id: Mapped[int] = mapped_column(primary_key=True)
    user_id: Mapped[int] = mapped_column(ForeignKey("users.id"))
    status: Mapped[str] = mapped_column(default="NEW")
    total: Mapped[int] = mapped_column(default=0)
    user: Mapped[User] = relationship()
    items: Mapped[list[OrderItem]] = relationship(back_populates="order", order_by="OrderItem.id")


class OrderItem(Base):
    """So many of one product."""

    __tablename__ = "order_items"

    id: Mapped[int] = mapped_column(primary_key=True)
    order_id: Mapped[int] = mapped_column(ForeignKey("placed_orders.id"))
    product_id: Mapped[int] = mapped_column(ForeignKey("products.id"))
    quantity: Mapped[int]
    order: Mapped[PlacedOrder] = relationship(back_populates="items")
    product: Mapped[Product] = relationship()


class Tells(Protocol):
    """Whoever tells users something."""

    def send(self, user: User, subject: str) -> None: ...


@dataclass(frozen=True)
class Outcome:
    success: bool
    inventory_adjusted: bool = False
    notifications_sent: int = 0
    reason: str = ""


class BusinessWorkflow:
    """Processes orders. It commits by itself, and opens a savepoint for what may fail."""

    def __init__(self, session: Session, mailer: Tells) -> None:
        self._session, self._mailer = session, mailer

    def process_order(self, order_id: int) -> Outcome:
        order = self._session.get(PlacedOrder, order_id)
        if order is None or not order.items:
            return Outcome(False, reason="nothing to do")
        lacking = self._take_stock(order)
        if lacking is not None:
            self._session.rollback()
            order.status = "REJECTED"
            self._session.commit()
            return Outcome(False, reason=f"not enough of {lacking}")
        order.total = sum(item.quantity * item.product.price for item in order.items)
        order.status = "PROCESSED"
        self._session.commit()
        return Outcome(True, True, self._tell(order))

    def _take_stock(self, order: PlacedOrder) -> str | None:
        """Take what was ordered; return the name of what there is too little of."""
        for item in order.items:
            product = self._session.scalars(select(Product).where(Product.id == item.product_id).with_for_update()).one()
            if product.stock < item.quantity:
                return product.name
            product.stock -= item.quantity
        return None

    def _tell(self, order: PlacedOrder) -> int:
        self._mailer.send(order.user, f"Order {order.id} is on its way")
        admins = self._session.scalars(select(User).where(User.role == "admin").order_by(User.id)).all()
        for admin in admins:
            self._mailer.send(admin, f"Order {order.id} was processed")
        return 1 + len(admins)
