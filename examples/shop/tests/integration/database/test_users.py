from __future__ import annotations

import pytest
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from shop.repository import UserRepository

pytestmark = [pytest.mark.integration, pytest.mark.database]


@pytest.fixture
def users(pg_session: Session) -> UserRepository:
    return UserRepository(pg_session)


def test_a_stored_user_is_found(users: UserRepository, pg_session: Session) -> None:
    user_id = users.add("ada@example.com", "Ada").id

    pg_session.expunge_all()  # what follows comes from the database and not from the session
    found = users.get(user_id)

    assert found is not None
    assert (found.email, found.name) == ("ada@example.com", "Ada")


def test_an_address_is_taken_once(users: UserRepository, pg_session: Session) -> None:
    users.add("ada@example.com", "Ada")

    with pytest.raises(IntegrityError, match="users_email_key"):
        users.add("ada@example.com", "Another Ada")

    pg_session.rollback()
    assert users.count() == 1


@pytest.mark.parametrize("turn", [1, 2])
def test_every_test_begins_without_users(users: UserRepository, turn: int) -> None:
    assert users.count() == 0

    users.add("ada@example.com", "Ada")

    assert users.count() == 1


def test_a_thousand_users_are_stored_at_once(users: UserRepository) -> None:
    users.add_many((f"user{number}@example.com", f"User {number}") for number in range(1000))

    assert users.count() == 1000
    last = users.by_email("user999@example.com")
    assert last is not None
    assert last.name == "User 999"
