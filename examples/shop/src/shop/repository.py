"""Storing and finding users."""

from __future__ import annotations

from collections.abc import Iterable

from sqlalchemy import func, insert, select
from sqlalchemy.orm import Session

from .models import User


class UserRepository:
    """The users of the shop; each method that changes something commits."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def add(self, email: str, name: str) -> User:
        """Store a user."""
        user = User(email=email, name=name)
        self._session.add(user)
        self._session.commit()
        return user

    def add_many(self, people: Iterable[tuple[str, str]]) -> None:
        """Store many users, given their e-mail addresses and names."""
        self._session.execute(insert(User), [{"email": email, "name": name} for email, name in people])
        self._session.commit()

    def get(self, user_id: int) -> User | None:
        """Return the user with this id."""
        return self._session.get(User, user_id)

    def by_email(self, email: str) -> User | None:
        """Return the user with this e-mail address."""
        return self._session.scalar(select(User).where(User.email == email))

    def count(self) -> int:
        """Return how many users there are."""
        return self._session.scalar(select(func.count()).select_from(User)) or 0
