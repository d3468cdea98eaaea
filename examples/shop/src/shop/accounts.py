"""Registration, login, and who a token belongs to."""

from __future__ import annotations

import hashlib
import re
import secrets

from sqlalchemy import select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from .mail import Mailer
from .models import LoginToken, User
from .passwords import hash_password, is_password
from .users import UserRepository

SHORTEST_PASSWORD = 8


class InvalidAccount(Exception):
    """An account that cannot be; `errors` has what is wrong, by field."""

    def __init__(self, errors: dict[str, str]) -> None:
        super().__init__(str(errors))
        self.errors = errors


class LoginFailed(Exception):
    """No user has this address and this password."""


class AccountService:
    """Registers users, and logs them in."""

    def __init__(self, session: Session, mailer: Mailer) -> None:
        self._session, self._mailer, self._users = session, mailer, UserRepository(session)

    def register(self, email: str, name: str, password: str) -> User:
        """Store a user, and send a welcome mail.

        Raises:
            InvalidAccount: a field is wrong, or somebody has this address.
        """
        if errors := account_errors(email, name, password):
            raise InvalidAccount(errors)
        try:
            user = self._users.create_user(email, name, hash_password(password))
        except IntegrityError:
            self._session.rollback()
            raise InvalidAccount({"email": "is taken"}) from None
        self._mailer.send(user.email, f"Welcome, {user.name}!", "Your account is ready.")
        return user

    def login(self, email: str, password: str) -> str:
        """Return a new token.

        Raises:
            LoginFailed: the address or the password is wrong, or the account is closed.
        """
        user = self._users.get_user_by_email(email)
        if user is None or not user.is_active or not is_password(password, user.password_hash):
            raise LoginFailed(email)
        token = secrets.token_urlsafe(24)
        self._session.add(LoginToken(digest=_digest(token), user_id=user.id))
        self._session.commit()
        return token

    def user_of(self, token: str) -> User | None:
        """Return who has logged in with a token."""
        return self._session.scalar(select(User).join(LoginToken).where(LoginToken.digest == _digest(token), User.is_active))


def account_errors(email: str, name: str, password: str) -> dict[str, str]:
    """Return what is wrong with an account that somebody wants, by field."""
    errors = {}
    if not re.fullmatch(r"[^@\s]+@[^@\s]+\.[^@\s]+", email):
        errors["email"] = "is not an e-mail address"
    if not name.strip():
        errors["name"] = "is missing"
    if len(password) < SHORTEST_PASSWORD:
        errors["password"] = f"has less than {SHORTEST_PASSWORD} characters"
    return errors


def _digest(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()
