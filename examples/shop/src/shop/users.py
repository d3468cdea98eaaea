"""Storing and finding users."""

from __future__ import annotations

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from .models import User


class UserRepository:
    """The users of the shop."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def create_user(self, email: str, name: str, password_hash: str = "") -> User:
        """Store a user; whoever calls commits.

        Raises:
            sqlalchemy.exc.IntegrityError: somebody has this address.
        """
        user = User(email=email, name=name, password_hash=password_hash)
        self._session.add(user)
        self._session.flush()
        return user

    def get_user_by_id(self, user_id: int) -> User | None:
        """Return the user with this id."""
        return self._session.get(User, user_id)

    def get_user_by_email(self, email: str) -> User | None:
        """Return the user with this address, in upper or lower case."""
        return self._session.scalar(select(User).where(func.lower(User.email) == email.lower()))
