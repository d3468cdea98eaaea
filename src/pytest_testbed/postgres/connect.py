"""Connections of our own: each parameter is said, none is taken from the caller's environment as it is by now."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from ..services.model import Endpoint
from .service import connection_parameters

__all__ = ["APPLICATION", "connect", "engine_url", "libpq_parameters", "without_pg_environment"]


@contextmanager
def without_pg_environment(*, ours: bool) -> Iterator[None]:
    """Hide the caller's `PG*` variables for the time of one connect, and from a server of ours its `~/.pgpass`."""
    hidden = {name: os.environ.pop(name) for name in list(os.environ) if name.startswith("PG")}
    if ours:
        os.environ["PGPASSFILE"] = os.devnull
    try:
        yield
    finally:
        os.environ.pop("PGPASSFILE", None)
        os.environ.update(hidden)


APPLICATION = "pytest-testbed"


def libpq_parameters(endpoint: Endpoint, database: str, options: Mapping[str, str] | None, **more: Any) -> dict[str, Any]:
    """Return libpq's parameters for a connection of ours; the arguments are those of `connect`."""
    parameters = {**connection_parameters(endpoint, database), "application_name": APPLICATION, **more}
    ours = (f"-c {name}={value}" for name, value in (options or {}).items())
    parameters["options"] = " ".join(filter(None, (parameters.get("options"), *ours)))  # of two the later counts
    return parameters


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
    parameters = libpq_parameters(endpoint, database, options, **more)
    # a named server's endpoint has what its user's variables said when the run began; ~/.pgpass it may need still
    with without_pg_environment(ours=endpoint.is_ours):
        if driver == "psycopg":
            import psycopg

            # a prepared plan would break after a rolled back ALTER TABLE on this kept connection
            return psycopg.connect(**parameters, prepare_threshold=None)
        import psycopg2

        return psycopg2.connect(**parameters)


def engine_url(endpoint: Endpoint, database: str, driver: str, query: Mapping[str, str] | None = None) -> Any:
    """Return the `sqlalchemy.URL` of a database as applications see it: over TCP, or by a named server's socket."""
    from sqlalchemy import URL

    by_socket = bool(endpoint.socket) and not endpoint.is_ours
    place = {"host": endpoint.socket, "port": str(endpoint.port)} if by_socket else {}
    return URL.create(
        f"postgresql+{driver}",
        endpoint.user,
        endpoint.password or None,
        None if by_socket else endpoint.host,
        None if by_socket else endpoint.port,
        database,
        query={**endpoint.parameters(), **place, **(query or {})},
    )
