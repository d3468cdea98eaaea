"""The migrations themselves."""

from __future__ import annotations

import pytest
from alembic import command
from alembic.config import Config
from sqlalchemy import Connection, Engine, inspect


@pytest.fixture
def alembic_config(pytestconfig: pytest.Config) -> Config:
    return Config(pytestconfig.rootpath / "alembic.ini")


def test_models_and_migrations_agree(alembic_config: Config, pg_connection: Connection) -> None:
    alembic_config.attributes["connection"] = pg_connection
    command.check(alembic_config)


@pytest.mark.pg(isolation="database")
def test_down_to_nothing_and_up_again(alembic_config: Config, pg_engine: Engine) -> None:
    command.downgrade(alembic_config, "base")
    assert inspect(pg_engine).get_table_names() == ["alembic_version"]

    command.upgrade(alembic_config, "head")
    assert "orders" in inspect(pg_engine).get_table_names()
