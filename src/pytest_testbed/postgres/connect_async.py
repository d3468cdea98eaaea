"""Connections of our own on async drivers; as for others, no parameter is taken from the environment as it is by now."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec
from typing import Any
from urllib.parse import urlencode

from ..errors import ConfigurationError
from ..services.model import Endpoint
from .connect import APPLICATION, engine_url, libpq_parameters, without_pg_environment
from .parameters import IN_ASYNCPG

__all__ = ["async_url", "connect_async", "need_driver"]

TLS = (
    "sslmode",
    "sslcert",
    "sslkey",
    "sslrootcert",
    "sslcrl",
    "sslpassword",
    "ssl_min_protocol_version",
    "ssl_max_protocol_version",
)
"""Parameters of a URL that asyncpg reads as libpq does."""
SECONDS = 10.0
"""How long a connection may take: a paused container says nothing."""


def need_driver(driver: str) -> None:
    """See to it that an async driver can be used.

    Raises:
        ConfigurationError: it is not installed, or greenlet, without which SQLAlchemy can use none.
    """
    missing = [name for name in (driver, "greenlet") if find_spec(name) is None]
    if missing:
        extras = "async" if driver == "asyncpg" else f"async,{driver}"
        raise ConfigurationError(
            f"testbed_pg_async_driver = {driver!r} needs {' and '.join(missing)}, which is not installed: "
            f"pip install 'pytest-testbed[{extras}]'."
        )


async def connect_async(
    endpoint: Endpoint,
    database: str,
    driver: str,
    *,
    options: Mapping[str, str] | None = None,
    application_name: str = APPLICATION,
    context: Any = None,
) -> Any:
    """Open a connection of an async driver.

    Args:
        endpoint: the server.
        database: the database on it.
        driver: "asyncpg" or "psycopg".
        options: server settings for the whole connection; a rollback returns to them.
        application_name: what the server shows of it.
        context: what SQLAlchemy tells psycopg of its types.
    """
    with without_pg_environment(ours=endpoint.is_ours):
        if driver == "psycopg":
            import psycopg

            more = {"application_name": application_name, "connect_timeout": str(round(SECONDS))}
            parameters = libpq_parameters(endpoint, database, options, **more)
            # a prepared plan would break after a rolled back ALTER TABLE on a kept connection
            return await psycopg.AsyncConnection.connect(**parameters, prepare_threshold=None, context=context)
        import asyncpg

        return await asyncpg.connect(**asyncpg_arguments(endpoint, database, options or {}, application_name))


def async_url(endpoint: Endpoint, database: str, driver: str) -> Any:
    """Return the `sqlalchemy.URL` of a database for an async driver; for asyncpg in the words that it has."""
    url = engine_url(endpoint, database, driver)
    if driver != "asyncpg":
        return url
    words = {"host": "host", "port": "port", **IN_ASYNCPG}
    return url.set(query={words[name]: value for name, value in url.query.items() if name in words})


def asyncpg_arguments(endpoint: Endpoint, database: str, options: Mapping[str, str], application_name: str) -> dict[str, Any]:
    """Return the arguments for `asyncpg.connect`; what only libpq has is left out."""
    said = endpoint.parameters()
    tls = {name: said[name] for name in TLS if name in said}
    settings = {"application_name": application_name, **options}
    if "options" in said:
        settings["options"] = said["options"]
    return {
        "dsn": f"postgresql://?{urlencode(tls)}",
        "host": endpoint.socket or endpoint.host,
        "port": endpoint.port,
        "user": endpoint.user,
        "password": endpoint.password or None,
        "database": database,
        "server_settings": settings,
        "timeout": SECONDS,
        **({} if tls or not endpoint.is_ours else {"ssl": False}),
    }
