"""The making of a run's database for a client that comes before the tests do. Runs in the host process."""

from __future__ import annotations

from contextlib import contextmanager, suppress

from ..services.frontdoor import FrontDoor

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

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
    from .service import SPARE

    with _session(endpoint) as execute:
        if endpoint.is_ours:
            with suppress(Exception):
                execute(f'ALTER DATABASE "{SPARE}" RENAME TO "{name}"')
                return
        execute(f'CREATE DATABASE "{name}"')


@contextmanager
def _session(endpoint: Endpoint) -> Iterator[Callable[[str], None]]:
    """Give a function that sends a statement to the server."""
    if endpoint.provider == "local":
        from .spares import enter

        session = enter(endpoint, TIMEOUT)
        try:
            yield session.execute
        finally:
            session.close()
        return
    import psycopg2

    from .service import connection_parameters

    connection = psycopg2.connect(**{**connection_parameters(endpoint), "connect_timeout": int(TIMEOUT)})
    try:
        connection.autocommit = True
        yield connection.cursor().execute
    finally:
        connection.close()
