"""Database: the session of a test is rolled back, so each may commit and all begin alike."""

from __future__ import annotations

import pytest
from sqlalchemy import func, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from shop.models import User
from shop.users import UserRepository


@pytest.fixture
def user_repo(pg_session: Session) -> UserRepository:
    return UserRepository(pg_session)


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


@pytest.mark.budget(queries=1_001, seconds=60)
def test_bulk_insert_performance(user_repo: UserRepository, pg_session: Session) -> None:
    """Statements are counted, which is the same on each machine; seconds are for what hangs."""
    for number in range(1_000):
        user_repo.create_user(email=f"user{number}@example.com", name=f"User {number}")

    assert pg_session.scalar(select(func.count()).select_from(User)) == 1_000 + 1
