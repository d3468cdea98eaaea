"""The maintenance connection of a worker: makes and drops databases, waits out restarts of the server."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Protocol

from ..errors import ServiceDied, ServiceUnavailable
from ..services.model import Endpoint
from .connect import connect

__all__ = ["LOCK_NOT_AVAILABLE", "Admin", "Services", "sqlstate"]

STARTING = "57P03"  # cannot_connect_now: recovering after a crash of a backend
LOCK_NOT_AVAILABLE = "55P03"
STARTING_TIMEOUT = 10.0
TRIES = 2
CONNECT_TIMEOUT = "10"
"""Seconds: a paused container takes connections and says nothing."""


class Services(Protocol):
    """What is used of `Testbed`."""

    run: str
    notes: list[str]
    details: list[str]

    @property
    def outlives(self) -> bool:
        """Whether servers of ours go on after this run."""

    def endpoint(self, kind: str) -> Endpoint:
        """Return the running service."""

    def check(self, kind: str) -> tuple[str, str]:
        """Look after a service that could not be reached."""

    def own(self, what: str, name: str) -> None:
        """Write to the ledger."""

    def disown(self, what: str, name: str) -> None:
        """Take off the ledger."""

    def turn(self, name: str) -> Any:
        """Keep other processes of this run from doing the thing of that name meanwhile."""

    def drop_later(self, kind: str, address: str) -> None:
        """Let the host drop what a run has made on a service, when there is time."""

    def snapshot(self, kind: str) -> bool:
        """Let a service keep its data for later starts."""


class Admin:
    """A connection to the server's own database, made when needed; one thread at a time.

    `lost` is true after the server came back, perhaps without its data.

    Args:
        services: the engine's face.
    """

    def __init__(self, services: Services) -> None:
        self._services = services
        self._connection: Any = None
        self.lost = False
        self.endpoint = services.endpoint("postgres")

    def execute(self, sql: str, parameters: tuple[object, ...] | None = None) -> None:
        """Send a statement, in no transaction."""
        self._send(sql, parameters, lambda cursor: None)

    def rows(self, sql: str, parameters: tuple[object, ...] | None = None) -> list[tuple[Any, ...]]:
        """Return what a query gives."""
        rows: list[tuple[Any, ...]] = self._send(sql, parameters, lambda cursor: cursor.fetchall())
        return rows

    def _send(self, sql: str, parameters: tuple[object, ...] | None, fetch: Callable[[Any], Any]) -> Any:
        connection = self.reach(self._connect)
        try:
            with connection.cursor() as cursor:
                cursor.execute(sql, parameters)
                return fetch(cursor)
        except Exception as error:
            if connection.closed:
                self.close()
                self._after_end(error)
            raise

    def close(self) -> None:
        """Close the connection; the next statement opens one again."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def _connect(self) -> Any:
        if self._connection is None or self._connection.closed:
            # what we try in vain (a spare that is taken) is nothing to find in the log of a failed test
            options = {"log_min_messages": "fatal"} if self.endpoint.is_ours else {}
            name = self.endpoint.database
            self._connection = connect(self.endpoint, name, "psycopg2", options=options, connect_timeout=CONNECT_TIMEOUT)
            self._connection.autocommit = True
        return self._connection

    def reach(self, attempt: Callable[[], Any]) -> Any:
        """Connect; wait out a recovery, and see to a server that has died.

        Raises:
            ServiceDied: the server ended; by now it has been started again.
            ServiceUnavailable: it runs and cannot be reached.
        """
        deadline = time.monotonic() + STARTING_TIMEOUT
        tries = TRIES
        while True:
            try:
                return attempt()
            except Exception as error:
                if not _is_connection_error(error):
                    raise
                if _is_starting(error) and time.monotonic() < deadline:
                    time.sleep(0.01)
                    continue
                tries -= 1
                # the host looks after it once it is done with a snapshot, which was in our way then
                if not self._after_end(error) and not tries:
                    where = f"{self.endpoint.host}:{self.endpoint.port} ({self.endpoint.provider}, {self.endpoint.source})"
                    raise ServiceUnavailable(f"postgres at {where} cannot be reached: {error}") from error

    def _after_end(self, error: Exception) -> bool:
        """Tell of the server's end, if it has ended; return False where it runs.

        Raises:
            ServiceDied: it ended; by now it has been started again.
        """
        end, log = self._services.check("postgres")
        if not end:
            return False
        self.lost = True
        self.endpoint = self._services.endpoint("postgres")
        self.close()
        indented = "\n".join(f"    {line}" for line in log.splitlines())
        raise ServiceDied(
            f"postgres ended during this run ({end}); it has been started again for the tests that follow.\n"
            f"  the last lines that it wrote:\n{indented}"
        ) from error


def sqlstate(error: BaseException | None) -> str:
    """Return the SQLSTATE of a driver's error, "" where it has none."""
    return getattr(error, "pgcode", None) or getattr(error, "sqlstate", None) or ""


def _is_starting(error: Exception) -> bool:
    # libpq gives no SQLSTATE for a connection that was refused
    return sqlstate(error) == STARTING or "recovery mode" in str(error) or "starting up" in str(error)


def _is_connection_error(error: Exception) -> bool:
    return type(error).__name__ in ("OperationalError", "InterfaceError", "ConnectionTimeout")
