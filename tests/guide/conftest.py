"""The guide's chapters use the plugin as its users do: with nothing but the fixtures that it gives."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from sqlalchemy.orm import Session

from . import workflow  # noqa: F401  # its tables are in the schema, whichever chapter is run
from .models import Base, UserRepository


@pytest.fixture(scope="session")
def pg_schema() -> Sequence[object]:
    """What every test's database has."""
    return [Base]


@pytest.fixture
def database_session(pg_session: Session) -> Session:
    """The guide's own name for it."""
    return pg_session


@pytest.fixture
def user_repo(database_session: Session) -> UserRepository:
    return UserRepository(database_session)
