"""Accounts of the small application: registration, login, sessions, profiles, the welcome mail."""

from __future__ import annotations

import hashlib
import secrets
import smtplib
from dataclasses import dataclass
from email.message import EmailMessage

from sqlalchemy import select
from sqlalchemy.orm import Session

from .models import Account, EmailTaken, LoginSession, User, UserRepository

ROUNDS = 1_000


class Unauthorized(Exception):
    """Nobody who may do that."""


class Invalid(Exception):
    """What was given cannot be an account; has an error for each field."""

    def __init__(self, errors: dict[str, str]) -> None:
        super().__init__(str(errors))
        self.errors = errors


@dataclass(frozen=True)
class Result:
    success: bool
    user_id: int | None = None
    token: str | None = None


@dataclass(frozen=True)
class Validity:
    is_valid: bool
    user_email: str | None = None


def faults(email: object, name: object, password: object) -> dict[str, str]:
    """Return what is wrong with an account that somebody wants, by field."""
    found = {}
    local, at, host = str(email).partition("@")
    if not (local and at and "." in host):
        found["email"] = "is no address"
    if not name:
        found["name"] = "is missing"
    if len(str(password or "")) < 8:
        found["password"] = "has less than 8 letters"
    return found


def hashed(password: str, salt: str) -> str:
    return hashlib.pbkdf2_hmac("sha256", password.encode(), salt.encode(), ROUNDS).hex()


class Mailer:
    """Sends the application's mails."""

    def __init__(self, host: str, port: int) -> None:
        self._address = (host, port)

    def send_welcome(self, user: User) -> None:
        mail = EmailMessage()
        mail["From"], mail["To"], mail["Subject"] = "shop@example.com", user.email, f"Welcome, {user.name}!"
        mail.set_content(f"Dear {user.name},\n\nyour account is ready.\n")
        mail.add_attachment(b"%PDF-1.4 terms", maintype="application", subtype="pdf", filename="terms.pdf")
        self._post(mail)

    def send(self, user: User, subject: str) -> None:
        mail = EmailMessage()
        mail["From"], mail["To"], mail["Subject"] = "shop@example.com", user.email, subject
        mail.set_content(f"Dear {user.name},\n\nsee your account.\n")
        self._post(mail)

    def _post(self, mail: EmailMessage) -> None:
        with smtplib.SMTP(*self._address, timeout=5) as smtp:
            smtp.send_message(mail)


class AuthenticationService:
    """Registers users and logs them in."""

    def __init__(self, session: Session, mailer: Mailer | None = None) -> None:
        self._session, self._mailer = session, mailer

    def register(self, email: str, password: str, name: str = "Somebody") -> Result:
        if errors := faults(email, name, password):
            raise Invalid(errors)
        try:
            user = UserRepository(self._session).register(email, name)
        except EmailTaken:
            raise Invalid({"email": "is taken"}) from None
        salt = secrets.token_hex(8)
        self._session.add(Account(user_id=user.id, salt=salt, password_hash=hashed(password, salt)))
        self._session.commit()
        if self._mailer is not None:
            self._mailer.send_welcome(user)
        return Result(True, user.id)

    def login(self, email: str, password: str) -> Result:
        found = self._session.execute(
            select(Account).join(User, User.id == Account.user_id).where(User.email == email)
        ).scalar_one_or_none()
        if found is None or not secrets.compare_digest(found.password_hash, hashed(password, found.salt)):
            return Result(False)
        token = secrets.token_urlsafe(16)
        self._session.add(LoginSession(token=token, user_id=found.user_id))
        self._session.commit()
        return Result(True, found.user_id, token)


class SessionService:
    """Knows who is logged in."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def validate_token(self, token: str | None) -> Validity:
        user = self.user_of(token)
        return Validity(user is not None, user.email if user is not None else None)

    def user_of(self, token: str | None) -> User | None:
        return self._session.scalar(select(User).join(LoginSession).where(LoginSession.token == token))

    def end(self, token: str) -> None:
        if (found := self._session.get(LoginSession, token)) is not None:
            self._session.delete(found)
            self._session.commit()


class UserService:
    """What users may see of themselves."""

    def __init__(self, session: Session) -> None:
        self._sessions = SessionService(session)

    def get_user_profile(self, token: str | None) -> User:
        user = self._sessions.user_of(token)
        if user is None:
            raise Unauthorized
        return user
