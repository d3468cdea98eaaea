"""A small application: what the chapters of the guide are told with."""

from __future__ import annotations

from collections.abc import Iterable

from sqlalchemy import ForeignKey, String, func, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column


class Base(DeclarativeBase):
    pass


class User(Base):
    __tablename__ = "users"

    id: Mapped[int] = mapped_column(primary_key=True)
    email: Mapped[str] = mapped_column(String(254), unique=True)
    name: Mapped[str]
    role: Mapped[str] = mapped_column(server_default="customer")


class EmailTaken(Exception):
    """Somebody else has this address."""


class UserRepository:
    """Users in a database. It commits by itself, as application code does."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def create_user(self, email: str, name: str) -> User:
        user = User(email=email, name=name)
        self._session.add(user)
        self._session.commit()
        return user

    def register(self, email: str, name: str) -> User:
        """Create a user; an address that is taken is the application's own error."""
        try:
            return self.create_user(email, name)
        except IntegrityError as error:
            self._session.rollback()
            raise EmailTaken(email) from error

    def import_users(self, users: Iterable[User]) -> None:
        self._session.add_all(users)
        self._session.commit()

    def get_user_by_id(self, user_id: int) -> User | None:
        return self._session.get(User, user_id)

    def count(self) -> int:
        return self._session.scalar(select(func.count()).select_from(User)) or 0


class Account(Base):
    """What a user logs in with."""

    __tablename__ = "accounts"

    user_id: Mapped[int] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"), primary_key=True)
    salt: Mapped[str]
    password_hash: Mapped[str]


class LoginSession(Base):
    """A user who is logged in."""

    __tablename__ = "login_sessions"

    token: Mapped[str] = mapped_column(primary_key=True)
    user_id: Mapped[int] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"))
