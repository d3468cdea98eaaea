"""Registration, login, and who a token belongs to."""

from __future__ import annotations

import hashlib
import re
import secrets
from datetime import timedelta

from sqlalchemy import delete, func, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from .errors import InvalidInput
from .mail import Mailer
from .models import ONE_ADDRESS, LoginToken, User
from .passwords import hash_password, is_password
from .users import UserRepository

SHORTEST_PASSWORD = 8
LONGEST_EMAIL, LONGEST_NAME = 254, 100
LOGIN_LASTS = timedelta(days=30)
# as mails have them unquoted, but without "=" and "?": an encoded word in a header may stand for anything, even another header
ATOM = r"[\w!#$%&'*+/^`{|}~-]+"
ADDRESS = re.compile(rf"{ATOM}(\.{ATOM})*@{ATOM}(\.{ATOM})+")


class LoginFailed(Exception):
    """No user has this address and this password."""


class AccountService:
    """Registers users, and logs them in and out."""

    def __init__(self, session: Session, mailer: Mailer) -> None:
        self._session, self._mailer, self._users = session, mailer, UserRepository(session)

    def register(self, email: str, name: str, password: str) -> User:
        """Store a user, and send a welcome mail.

        Raises:
            InvalidInput: a field is wrong, or somebody has this address.
        """
        if errors := account_errors(email, name, password):
            raise InvalidInput(errors)
        try:
            user = self._users.create_user(email, name, hash_password(password))
        except IntegrityError as error:
            self._session.rollback()
            if ONE_ADDRESS in str(error.orig):
                raise InvalidInput({"email": "is taken"}) from None
            raise
        self._session.commit()
        # a name is for no header: what looks like an encoded word would be decoded there, with its line breaks
        self._mailer.send(user.email, "Welcome!", f"{user.name}, your account is ready.")
        return user

    def login(self, email: str, password: str) -> str:
        """Return a new token.

        Raises:
            LoginFailed: the address or the password is wrong, or the account is closed.
        """
        user = self._users.get_user_by_email(email)
        # asked for an unknown address as well: the time of an answer does not tell who has an account
        is_right = is_password(password, user.password_hash if user is not None else "")
        if user is None or not user.is_active or not is_right:
            raise LoginFailed(email)
        token = secrets.token_urlsafe(24)
        self._session.add(LoginToken(digest=_digest(token), user_id=user.id, expires_at=func.now() + LOGIN_LASTS))
        self._session.commit()
        return token

    def logout(self, token: str) -> None:
        """End a login."""
        self._session.execute(delete(LoginToken).where(LoginToken.digest == _digest(token)))
        self._session.commit()

    def user_of(self, token: str) -> User | None:
        """Return who is logged in with a token."""
        is_valid = (LoginToken.digest == _digest(token)) & (LoginToken.expires_at > func.now())
        return self._session.scalar(select(User).join(LoginToken).where(is_valid, User.is_active))


def account_errors(email: str, name: str, password: str) -> dict[str, str]:
    """Return what is wrong with an account that somebody wants, by field."""
    errors = {}
    if not ADDRESS.fullmatch(email):
        errors["email"] = "is not an e-mail address"
    elif len(email) > LONGEST_EMAIL:
        errors["email"] = f"has more than {LONGEST_EMAIL} characters"
    if not name.strip():
        errors["name"] = "is missing"
    elif len(name) > LONGEST_NAME:
        errors["name"] = f"has more than {LONGEST_NAME} characters"
    if len(password) < SHORTEST_PASSWORD:
        errors["password"] = f"has less than {SHORTEST_PASSWORD} characters"
    return errors


def _digest(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()
