"""The making of a run's database for a client that comes before the tests do. Runs in the host process."""

from __future__ import annotations

from contextlib import suppress

from ..services.frontdoor import FrontDoor

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from ..services.model import Endpoint

__all__ = ["make"]

TIMEOUT = 10.0


def make(door: FrontDoor) -> None:
    """Make the database that a door's clients want, with its schema where it has one.

    Raises:
        TestbedError: it could not be made.
    """
    endpoint, name = door.endpoint(), door.facts["database"]
    host = door.host
    if host.kept or not endpoint.is_ours:
        host.ledger.own(f"on {door.spec.kind}", f"{endpoint.host}:{endpoint.port}/{name}", door.run)
    execute = _executor(endpoint)
    from .service import SPARE

    if endpoint.is_ours:
        with suppress(Exception):
            execute(f'ALTER DATABASE "{SPARE}" RENAME TO "{name}"')
            return
    execute(f'CREATE DATABASE "{name}"')


def _executor(endpoint: Endpoint) -> Callable[[str], None]:
    """Return a function that sends a statement to the server."""
    if endpoint.provider == "local":
        from .spares import enter

        return enter(endpoint, TIMEOUT).execute
    import psycopg2

    from .service import connection_parameters

    connection = psycopg2.connect(**{**connection_parameters(endpoint), "connect_timeout": int(TIMEOUT)})
    connection.autocommit = True
    return lambda sql: connection.cursor().execute(sql)
