"""The guide's first example and its authentication flow: registration with its welcome mail, login, a protected resource."""

from __future__ import annotations

import smtplib

import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session

from pytest_testbed import Mailbox

from .accounts import AuthenticationService, Invalid, Mailer, SessionService, Unauthorized, UserService
from .models import Account, User


@pytest.fixture
def auth_service(pg_session: Session, mailbox: Mailbox) -> AuthenticationService:
    return AuthenticationService(pg_session, Mailer(*mailbox.address))


def test_who_registers_gets_a_welcome_mail(auth_service: AuthenticationService, pg_session: Session, mailbox: Mailbox) -> None:
    result = auth_service.register(email="test@example.com", password="password123", name="Test User")
    assert result.success
    assert pg_session.get(User, result.user_id) is not None
    mail = mailbox.expect(to="test@example.com", subject="Welcome", within=5)
    assert "your account is ready" in mail.text
    assert [each.name for each in mail.attachments] == ["terms.pdf"]


def test_who_cannot_register_gets_none(auth_service: AuthenticationService, mailbox: Mailbox) -> None:
    with pytest.raises(Invalid, match="email"):
        auth_service.register(email="invalid-email", password="password123")
    mailbox.expect_none()


def test_an_account_stays_where_the_mail_was_refused(
    auth_service: AuthenticationService, pg_session: Session, mailbox: Mailbox
) -> None:
    mailbox.refuse(to="full@example.com", code=552)
    with pytest.raises(smtplib.SMTPRecipientsRefused):
        auth_service.register(email="full@example.com", password="password123")
    assert pg_session.scalar(select(Account).join(User, User.id == Account.user_id)) is not None


def test_the_whole_way_in(auth_service: AuthenticationService, pg_session: Session) -> None:
    assert auth_service.register(email="auth_test@example.com", password="secure123").success

    login = auth_service.login(email="auth_test@example.com", password="secure123")
    assert login.success
    assert login.token is not None

    session = SessionService(pg_session).validate_token(login.token)
    assert session.is_valid
    assert session.user_email == "auth_test@example.com"

    assert UserService(pg_session).get_user_profile(token=login.token).email == "auth_test@example.com"


def test_the_wrong_password_leads_nowhere(auth_service: AuthenticationService, pg_session: Session) -> None:
    auth_service.register(email="auth_test@example.com", password="secure123")
    assert not auth_service.login(email="auth_test@example.com", password="secure124").success
    assert not SessionService(pg_session).validate_token(None).is_valid
    with pytest.raises(Unauthorized):
        UserService(pg_session).get_user_profile(token="made up")


def test_who_has_logged_out_is_nobody(auth_service: AuthenticationService, pg_session: Session) -> None:
    auth_service.register(email="auth_test@example.com", password="secure123")
    token = auth_service.login(email="auth_test@example.com", password="secure123").token
    assert token is not None
    SessionService(pg_session).end(token)
    assert not SessionService(pg_session).validate_token(token).is_valid
