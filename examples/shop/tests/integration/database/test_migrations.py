"""The migrations themselves."""

from __future__ import annotations

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from sqlalchemy import CheckConstraint, Connection, Engine, inspect

from shop.models import Base


@pytest.fixture
def alembic_config(pytestconfig: pytest.Config) -> Config:
    return Config(pytestconfig.rootpath / "alembic.ini")


def test_models_and_migrations_agree(pg_connection: Connection) -> None:
    """As `alembic check` does, and in the defaults of columns, too."""
    context = MigrationContext.configure(pg_connection, opts={"compare_server_default": True})
    assert compare_metadata(context, Base.metadata) == []


@pytest.mark.parametrize("table", sorted(Base.metadata.tables))
def test_models_and_migrations_check_the_same(pg_connection: Connection, table: str) -> None:
    """Alembic does not compare these."""
    wanted = {each.name for each in Base.metadata.tables[table].constraints if isinstance(each, CheckConstraint)}
    assert {each["name"] for each in inspect(pg_connection).get_check_constraints(table)} == wanted


@pytest.mark.pg(isolation="database")
def test_down_to_nothing_and_up_again(alembic_config: Config, pg_engine: Engine) -> None:
    command.downgrade(alembic_config, "base")
    assert inspect(pg_engine).get_table_names() == ["alembic_version"]

    command.upgrade(alembic_config, "head")
    assert "orders" in inspect(pg_engine).get_table_names()
