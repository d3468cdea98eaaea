"""Where applications reach the database of this process: by a port that the host holds, chosen when first asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from .plugin import CoreSettings, configuration_error, run_of, worker_of
from .plugins.postgres import ADDRESS, PostgresSettings, find_given
from .settings import SETTINGS

if TYPE_CHECKING:
    from .postgres.address import DatabaseAddress
    from .postgres.database import Database
    from .session import Run

__all__ = ["database_address", "exported", "open_address"]


def exported(config: pytest.Config, run: Run) -> DatabaseAddress:
    """Choose the address before anything is imported; from then on each test is looked after, whatever it asks for."""
    from .apart import Everywhere

    config.pluginmanager.register(Everywhere(), "pytest_testbed.everywhere")
    return database_address(config, run, early=True)


def database_address(config: pytest.Config, run: Run, *, early: bool = False) -> DatabaseAddress:
    """Return the address, which is chosen when it is first asked for.

    Args:
        config: pytest's.
        run: that of this process.
        early: whether an application may connect before the tests do, when it is imported.

    Raises:
        ConfigurationError: the server's own address cannot be given away in another form.
    """
    if ADDRESS not in config.stash:
        from .postgres.address import DatabaseAddress

        find_given(config)
        spec = run.specs["postgres"]
        user = spec.container.user if spec.container is not None else ""
        database = f"testbed_{run.testbed.run}_{worker_of(config)}"
        url = spec.url if spec.provider in ("auto", "external") else None  # the others start a server of ours all the same
        patience = config.stash[SETTINGS][PostgresSettings].lock_timeout
        config.stash[ADDRESS] = address = DatabaseAddress(database, url or "", user or "postgres", patience)
        address.open(run.testbed, plan_of(config, address.form("dsn")) if early else {})
    return config.stash[ADDRESS]


def open_address(config: pytest.Config, database: Database) -> None:
    """Let whoever takes the URL of a test's engine come by an address that is looked after; what it leads to is there."""
    if ADDRESS not in config.stash:
        if database.endpoint.socket and not database.endpoint.is_ours:
            return  # the port would lead past the socket by which alone it may be reached
        from .postgres.waiting import waited_for

        try:
            address = database_address(config, run_of(config))
        except configuration_error():
            return  # the server's own address cannot be given away in another form: who asks for one will be told
        with waited_for(address.doorway):
            pass
    database.reached_by(config.stash[ADDRESS])


def plan_of(config: pytest.Config, dsn: str) -> dict[str, Any]:
    """Return how a database is made for an application that connects when it is imported; {} where it has no schema."""
    from .postgres.beforehand import plan

    mine, core = config.stash[SETTINGS][PostgresSettings], config.stash[SETTINGS][CoreSettings]
    reuse = core.reuse_ttl if core.reuse else None
    return plan(mine.schema, mine.seed, config.rootpath, mine, worker_of(config), dsn, reuse)
