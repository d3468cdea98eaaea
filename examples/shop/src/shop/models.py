"""The tables of the shop. Alembic makes them, in `migrations`."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum

from sqlalchemy import CheckConstraint, DateTime, ForeignKey, Index, MetaData, String, func, true
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship

from .pricing import order_total

ONE_ADDRESS = "users_email_any_case"


class Role(StrEnum):
    """What a user may do: an administrator sees everything."""

    CUSTOMER = "customer"
    ADMIN = "admin"


class OrderStatus(StrEnum):
    """What has become of an order."""

    CONFIRMED = "CONFIRMED"
    CHARGING = "CHARGING"
    PROCESSED = "PROCESSED"
    REFUSED = "REFUSED"


class Base(DeclarativeBase):
    """What all tables of the shop have in common: names of constraints, as PostgreSQL would choose them."""

    metadata = MetaData(
        naming_convention={
            "pk": "%(table_name)s_pkey",
            "fk": "%(table_name)s_%(column_0_name)s_fkey",
            "uq": "%(table_name)s_%(column_0_name)s_key",
            "ix": "%(table_name)s_%(column_0_name)s_idx",
        }
    )


class User(Base):
    """Somebody who has an account; upper and lower case of an address are the same."""

    __tablename__ = "users"

    id: Mapped[int] = mapped_column(primary_key=True)
    email: Mapped[str] = mapped_column(String(254))
    name: Mapped[str] = mapped_column(String(100))
    role: Mapped[str] = mapped_column(String(20), server_default=Role.CUSTOMER)
    is_active: Mapped[bool] = mapped_column(server_default=true())
    password_hash: Mapped[str] = mapped_column(String(200), server_default="")


Index(ONE_ADDRESS, func.lower(User.email), unique=True)


class LoginToken(Base):
    """A login, until it expires. Only a digest is stored: who reads the table cannot log in with it."""

    __tablename__ = "login_tokens"

    digest: Mapped[str] = mapped_column(String(64), primary_key=True)
    user_id: Mapped[int] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), index=True)
    expires_at: Mapped[datetime] = mapped_column(DateTime(timezone=True))


class Product(Base):
    """Something that is sold; its price in cents, and how many of it lie in the shop."""

    __tablename__ = "products"
    __table_args__ = (
        CheckConstraint("price >= 0", name="price_not_negative"),
        CheckConstraint("stock >= 0", name="stock_not_negative"),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    sku: Mapped[str] = mapped_column(String(40), unique=True)
    name: Mapped[str] = mapped_column(String(100))
    price: Mapped[int]
    stock: Mapped[int] = mapped_column(server_default="0")


class Order(Base):
    """What one user ordered at one time: CONFIRMED, CHARGING once its stock is taken, and at last PROCESSED or REFUSED."""

    __tablename__ = "orders"

    id: Mapped[int] = mapped_column(primary_key=True)
    user_id: Mapped[int] = mapped_column(ForeignKey("users.id"), index=True)
    status: Mapped[str] = mapped_column(String(20), server_default=OrderStatus.CONFIRMED)
    card: Mapped[str] = mapped_column(String(100), server_default="")
    transaction_id: Mapped[str | None] = mapped_column(String(100))

    user: Mapped[User] = relationship()
    items: Mapped[list[OrderItem]] = relationship(back_populates="order")

    @property
    def total(self) -> int:
        """What it costs, in cents."""
        return order_total((item.price, item.quantity) for item in self.items)


class OrderItem(Base):
    """One product of an order, its price when it was ordered, and what the inventory service has put aside for it."""

    __tablename__ = "order_items"
    __table_args__ = (CheckConstraint("quantity > 0", name="quantity_positive"),)

    order_id: Mapped[int] = mapped_column(ForeignKey("orders.id"), primary_key=True)
    product_id: Mapped[int] = mapped_column(ForeignKey("products.id"), primary_key=True)
    quantity: Mapped[int]
    price: Mapped[int]
    reservation_id: Mapped[str | None] = mapped_column(String(100))

    order: Mapped[Order] = relationship(back_populates="items")
    product: Mapped[Product] = relationship()
