"""Database: the session of a test is rolled back, so each may commit and all begin alike."""

from __future__ import annotations

import hashlib

import pytest
from sqlalchemy import select, text
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from shop.accounts import AccountService, LoginFailed
from shop.mail import Mailer
from shop.models import User
from shop.users import UserRepository


@pytest.fixture
def user_repo(pg_session: Session) -> UserRepository:
    return UserRepository(pg_session)


@pytest.fixture
def accounts(pg_session: Session) -> AccountService:
    return AccountService(pg_session, Mailer("localhost", 1))  # on that port nobody listens, and no mail is sent here


def test_create_and_retrieve_user(user_repo: UserRepository, pg_session: Session) -> None:
    user_id = user_repo.create_user(email="test@example.com", name="Test User").id
    pg_session.expunge_all()  # what follows comes from the database, not from the session

    found = user_repo.get_user_by_id(user_id)

    assert found is not None
    assert (found.email, found.name, found.role, found.is_active) == ("test@example.com", "Test User", "customer", True)


def test_an_address_is_taken_once_in_whatever_case(user_repo: UserRepository) -> None:
    user_repo.create_user(email="duplicate@example.com", name="User 1")

    with pytest.raises(IntegrityError, match="users_email_any_case"):
        user_repo.create_user(email="Duplicate@Example.com", name="User 2")


@pytest.mark.parametrize("turn", [1, 2])
def test_every_test_begins_with_the_administrator_alone(user_repo: UserRepository, pg_session: Session, turn: int) -> None:
    assert pg_session.scalars(select(User.email)).all() == ["admin@example.com"]
    user_repo.create_user(email="test@example.com", name="Test User")


def test_a_rule_of_the_database_that_is_not_about_the_address(accounts: AccountService, pg_session: Session) -> None:
    """It is not taken for an address that somebody has. Tables are put back as well as rows."""
    pg_session.execute(text("ALTER TABLE users ADD CONSTRAINT no_robots CHECK (name <> 'Robot')"))
    pg_session.commit()

    with pytest.raises(IntegrityError, match="no_robots"):
        accounts.register("robot@example.com", "Robot", "secure123")


def test_an_unknown_address_takes_a_login_as_long(accounts: AccountService, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its time tells nobody who has an account: a hash is made all the same, as expensive as that of a password."""
    costs: list[tuple[int, int, int]] = []

    def scrypt(password: bytes, *, salt: bytes, n: int, r: int, p: int) -> bytes:
        costs.append((n, r, p))
        return b""

    monkeypatch.setattr(hashlib, "scrypt", scrypt)

    with pytest.raises(LoginFailed):
        accounts.login("nobody@example.com", "secure123")

    assert costs == [(16384, 8, 5)]
