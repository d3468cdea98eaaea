"""What a test has left open on the server at its end: transactions, locks, prepared transactions, running statements."""

from __future__ import annotations

import time
from collections.abc import Container
from typing import Any, NamedTuple

__all__ = ["CLEANER", "NEXT", "Moment", "Stray", "end_backends", "end_prepared", "find", "now", "prepare"]

CLEANER = "pytest-testbed (clean-up)"
"""The application name of the connection that looks, and puts the database back."""
SETTLING = 0.2
"""Seconds in which a statement that is about to end may do so."""
LEAVING = 0.05
"""Seconds in which the backend of a connection that was closed may find that out."""
NEXT = "pg_snapshot_xmax(pg_current_snapshot())::text::int8"
"""The number that the server's next writing transaction will get."""
_LOCKS = "SELECT FROM pg_locks l WHERE l.pid = a.pid AND l.granted AND"
_ADVISORY = f"EXISTS ({_LOCKS} l.locktype = 'advisory')"
# which those who only read or write rows do not have; LOCK TABLE gives no transaction a number
_TABLES = f"EXISTS ({_LOCKS} l.locktype = 'relation' AND l.mode NOT IN ('AccessShareLock', 'RowShareLock', 'RowExclusiveLock'))"
# always one row at least
OPEN = f"""SELECT {NEXT}, pid, application_name, state, extract(epoch FROM backend_start)::float8,
  extract(epoch FROM xact_start)::float8, extract(epoch FROM state_change)::float8, backend_xid::text::int8,
  {_ADVISORY}, xact_start IS NOT NULL AND {_TABLES}, left(query, 300)
FROM (VALUES (0)) always LEFT JOIN pg_stat_activity a
ON datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend'
  AND application_name <> '{CLEANER}' AND (xact_start IS NOT NULL OR {_ADVISORY})"""
PREPARED = "SELECT gid FROM pg_prepared_xacts WHERE database = current_database()"
PREPARE = f"SET plan_cache_mode TO force_generic_plan; PREPARE testbed_open AS {OPEN}; PREPARE testbed_prepared AS {PREPARED}"
"""The views are joins of many: planning them after each test would take ten times as long as looking."""


class Moment(NamedTuple):
    """A moment on the server: in seconds by its clock, and the number that the next writing transaction would get."""

    time: float
    number: int


class Stray(NamedTuple):
    """A connection with something open: times are in seconds by the server's clock.

    `began` is None where no transaction is open, `number` where it has written nothing.
    """

    pid: int
    application: str
    state: str
    opened: float
    began: float | None
    changed: float
    number: int | None
    has_advisory_locks: bool
    has_table_locks: bool
    statement: str

    @property
    def is_running(self) -> bool:
        """Whether a statement runs."""
        return self.state == "active"

    @property
    def holds_locks(self) -> bool:
        """Whether it holds locks other than those of who reads or writes rows."""
        return self.has_advisory_locks or self.has_table_locks

    @property
    def is_worth_telling(self) -> bool:
        """Whether it has done more than to read, and to forget that."""
        return self.number is not None or self.is_running or self.holds_locks

    def describe(self) -> str:
        """Return what is worth telling."""
        what = {"active": "was still running", "idle": "held an advisory lock"}.get(self.state, "had a transaction open")
        if self.number is not None and not self.is_running:
            what += " with changes that it had not committed"
        elif self.holds_locks and self.state != "idle":
            what += f" and held {'an advisory lock' if self.has_advisory_locks else 'a lock on a table'}"
        who = f"{self.application}, pid {self.pid}" if self.application else f"pid {self.pid}"
        return f"a connection ({who}) {what}; its last statement: {' '.join(self.statement.split())}"


def prepare(connection: Any) -> Any:
    """Let a new connection of psycopg2 know the questions of this file; return it."""
    with connection.cursor() as cursor:
        cursor.execute(PREPARE)
    connection.commit()
    return connection


def now(cursor: Any) -> Moment:
    """Return the present moment."""
    cursor.execute(f"SELECT extract(epoch FROM clock_timestamp())::float8, {NEXT}")
    return Moment(*cursor.fetchone())


def find(cursor: Any, since: Moment, ours: Container[int] = ()) -> tuple[list[Stray], int]:
    """Return the connections that a test has left with something open which may reach into the next test.

    What a fixture of a wider scope has open since before the test stays, as long as the test does not write in it.

    Args:
        cursor: of a connection of ours to the database (`prepare`).
        since: when the test began.
        ours: backends whose transaction we have begun, after that of an earlier test.

    Returns:
        them, and the number that the next writing transaction would get.
    """
    deadline = time.monotonic() + SETTLING
    while True:
        cursor.execute("EXECUTE testbed_open")
        rows = cursor.fetchall()
        strays = [stray for stray in (Stray(*row[1:]) for row in rows if row[1]) if _counts(stray, since, ours)]
        if not any(stray.is_running for stray in strays) or time.monotonic() > deadline:
            return strays, rows[0][0]
        time.sleep(0.002)


def _counts(stray: Stray, since: Moment, ours: Container[int]) -> bool:
    if stray.opened >= since.time:
        return True
    if stray.began is None or stray.is_running:
        return stray.changed >= since.time
    has_written = stray.number is not None and stray.number >= since.number
    has_begun = stray.began >= since.time or (stray.pid in ours and stray.changed >= since.time)
    return has_written or has_begun


def end_backends(cursor: Any, strays: list[Stray]) -> set[int]:
    """End connections, and wait until they are gone with their locks; return those that did not leave by themselves."""
    wanted = [stray.pid for stray in strays]
    deadline = time.monotonic() + LEAVING
    while wanted:
        cursor.execute("SELECT pid FROM pg_stat_activity WHERE pid = ANY(%s)", (wanted,))
        wanted = [pid for (pid,) in cursor.fetchall()]
        if time.monotonic() > deadline or all(stray.is_running for stray in strays if stray.pid in wanted):
            break
        time.sleep(0.002)
    for pid in wanted:
        cursor.execute("SELECT pg_terminate_backend(%s, 5000)", (pid,))
    return set(wanted)


def end_prepared(cursor: Any) -> list[str]:
    """Roll back transactions that were prepared and never ended; return their names. The connection went through `prepare`."""
    cursor.execute("EXECUTE testbed_prepared")
    names = [name for (name,) in cursor.fetchall()]
    for name in names:
        cursor.execute("ROLLBACK PREPARED %s", (name,))
    return names
