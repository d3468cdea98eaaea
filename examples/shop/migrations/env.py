"""Runs the migrations: on the connection that it is given, or on one to the shop's own database."""

from __future__ import annotations

from alembic import context
from sqlalchemy import Connection, create_engine

from shop.models import Base
from shop.settings import Settings


def migrate(connection: Connection) -> None:
    context.configure(connection=connection, target_metadata=Base.metadata)
    with context.begin_transaction():
        context.run_migrations()


given = context.config.attributes.get("connection")
if given is not None:
    migrate(given)
else:
    engine = create_engine(Settings.from_environment().database_url)
    with engine.connect() as own:
        migrate(own)
    engine.dispose()
