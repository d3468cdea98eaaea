"""The tables of the shop, as the application sees them."""

from __future__ import annotations

from sqlalchemy import ForeignKey, String
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column


class Base(DeclarativeBase):
    """What all tables of the shop have in common."""


class Country(Base):
    """A country to which the shop delivers."""

    __tablename__ = "countries"

    code: Mapped[str] = mapped_column(String(2), primary_key=True)


class User(Base):
    """Somebody who may place orders."""

    __tablename__ = "users"

    id: Mapped[int] = mapped_column(primary_key=True)
    email: Mapped[str] = mapped_column(String(254))
    country: Mapped[str] = mapped_column(String(2), ForeignKey("countries.code"))
