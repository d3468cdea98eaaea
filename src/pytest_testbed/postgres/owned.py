"""The database of a test that commits for real, with all that leads to it: what `pg_database` gives."""

from __future__ import annotations

from contextlib import ExitStack
from functools import cached_property
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sqlalchemy import Engine
    from sqlalchemy.orm import Session

    from .address import DatabaseAddress
    from .real import RealCommits

__all__ = ["RealDatabase"]


class RealDatabase:
    """A database in which a test commits for real, and which is put back after it.

    Args:
        address: how it is reached by whoever connects by himself.
        real: what puts it back.
        driver: SQLAlchemy's name of the driver.
        until: what is closed with the test.
    """

    def __init__(self, address: DatabaseAddress, real: RealCommits, driver: str, until: ExitStack) -> None:
        self._address, self._real, self._driver, self._until = address, real, driver, until

    @property
    def name(self) -> str:
        """Its name on the server."""
        self._real.use()  # who has it may come past the front door, by the server's own address
        return self._address.database

    @property
    def url(self) -> str:
        """Its URL for SQLAlchemy, with the driver (postgresql+psycopg2://…)."""
        return self._address.form(f"url+{self._driver}")

    @property
    def uri(self) -> str:
        """Its address as PostgreSQL's own clients and drivers take it (postgresql://…)."""
        return self._address.form("url")

    @property
    def dsn(self) -> str:
        """The same in libpq's keyword form (host=… port=… user=… password=… dbname=…)."""
        return self._address.form("dsn")

    @cached_property
    def engine(self) -> Engine:
        """A plain SQLAlchemy engine on it, the same as `pg_engine` has in this test."""
        engine: Engine = self._until.enter_context(self._real.test())
        return engine

    def session(self) -> Session:
        """Return a new ORM session on it; where the test does not close it, its end does."""
        session: Session = self._until.enter_context(self._real.closing(self._real.sessionmaker(self.engine)()))
        return session

    def __str__(self) -> str:
        return self.name

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._address.database}>"  # no password where pytest shows arguments
