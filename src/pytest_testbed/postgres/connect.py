"""Connections of our own: each parameter is said, none is taken from the caller's environment."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from ..services.model import Endpoint
from .service import connection_parameters

__all__ = ["APPLICATION", "connect", "engine_url"]


@contextmanager
def _without_pg_environment() -> Iterator[None]:
    """Hide the caller's `PG*` variables, and with them its `~/.pgpass`, for the time of one connect."""
    hidden = {name: os.environ.pop(name) for name in list(os.environ) if name.startswith("PG")}
    os.environ["PGPASSFILE"] = os.devnull
    try:
        yield
    finally:
        del os.environ["PGPASSFILE"]
        os.environ.update(hidden)


@contextmanager
def _as_it_is() -> Iterator[None]:
    yield


APPLICATION = "pytest-testbed"


def connect(
    endpoint: Endpoint,
    database: str,
    driver: str = "psycopg2",
    *,
    options: Mapping[str, str] | None = None,
    **more: Any,
) -> Any:
    """Open a DBAPI connection.

    Args:
        endpoint: the server.
        database: the database on it.
        driver: "psycopg2" or "psycopg".
        options: server settings for the whole connection; a rollback returns to them.
        more: further arguments of the driver's own `connect`.
    """
    parameters = {"application_name": APPLICATION, **connection_parameters(endpoint, database), **more}
    parameters["options"] = " ".join(f"-c {name}={value}" for name, value in (options or {}).items())
    # a server that the user named may be reached by his own PGSSLMODE or ~/.pgpass; ours may not
    shield = _as_it_is if endpoint.provider == "external" else _without_pg_environment
    with shield():
        if driver == "psycopg":
            import psycopg

            # a prepared plan would break after a rolled back ALTER TABLE on this kept connection
            return psycopg.connect(**parameters, prepare_threshold=None)
        import psycopg2

        return psycopg2.connect(**parameters)


def engine_url(endpoint: Endpoint, database: str, driver: str, query: Mapping[str, str] | None = None) -> Any:
    """Return the `sqlalchemy.URL` of a database, over TCP, as applications see it."""
    from sqlalchemy import URL

    return URL.create(
        f"postgresql+{driver}",
        endpoint.user,
        endpoint.password or None,
        endpoint.host,
        endpoint.port,
        database,
        query=dict(query or {}),
    )
