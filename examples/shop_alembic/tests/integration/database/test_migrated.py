from __future__ import annotations

import pytest
from sqlalchemy import select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from shop_alembic.models import Country, User

pytestmark = [pytest.mark.integration, pytest.mark.database]


def test_the_rows_of_the_migrations_are_there(pg_session: Session) -> None:
    assert pg_session.scalars(select(Country.code).order_by(Country.code)).all() == ["DE", "FR"]


def test_a_rule_that_only_the_migration_knows(pg_session: Session) -> None:
    pg_session.add(User(email="ada@example.com", country="DE"))
    pg_session.commit()

    pg_session.add(User(email="ADA@example.com", country="FR"))
    with pytest.raises(IntegrityError, match="users_email_any_case"):
        pg_session.commit()


def test_no_delivery_to_an_unknown_country(pg_session: Session) -> None:
    pg_session.add(User(email="ada@example.com", country="XX"))
    with pytest.raises(IntegrityError, match="users_country_fkey"):
        pg_session.commit()
