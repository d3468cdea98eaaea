"""What a test has left open on the server at its end: transactions, locks, prepared transactions, running statements."""

from __future__ import annotations

import time
from typing import Any, NamedTuple

__all__ = ["CLEANER", "Stray", "end_prepared", "find", "prepare"]

CLEANER = "pytest-testbed (clean-up)"
"""The application name of the connection that looks, and puts the database back."""
SETTLING = 0.2
"""Seconds in which a statement that is about to end may do so."""
_LOCKS = "SELECT count(*) FROM pg_locks l WHERE l.pid = a.pid AND l.locktype = 'advisory' AND l.granted"
OPEN = f"""SELECT pid, application_name, state, extract(epoch FROM backend_start)::float8, extract(epoch FROM xact_start)::float8,
  backend_xid IS NOT NULL, ({_LOCKS}) > 0, left(query, 300)
FROM pg_stat_activity a
WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend'
  AND application_name <> '{CLEANER}' AND (xact_start IS NOT NULL OR ({_LOCKS}) > 0)"""
PREPARED = "SELECT gid FROM pg_prepared_xacts WHERE database = current_database()"
PREPARE = f"SET plan_cache_mode TO force_generic_plan; PREPARE testbed_open AS {OPEN}; PREPARE testbed_prepared AS {PREPARED}"
"""The views are joins of many: planning them after each test would take ten times as long as looking."""


class Stray(NamedTuple):
    """A connection with something open: times are in seconds by the server's clock, None where no transaction is open."""

    pid: int
    application: str
    state: str
    opened: float
    began: float | None
    has_written: bool
    holds_locks: bool
    statement: str

    @property
    def is_running(self) -> bool:
        """Whether a statement runs."""
        return self.state == "active"

    def describe(self) -> str:
        """Return what is worth telling."""
        what = {"active": "was still running", "idle": "held an advisory lock"}.get(self.state, "had a transaction open")
        if self.has_written and not self.is_running:
            what += " with changes that it had not committed"
        elif self.holds_locks and self.state != "idle":
            what += " and held an advisory lock"
        who = f"{self.application}, pid {self.pid}" if self.application else f"pid {self.pid}"
        return f"a connection ({who}) {what}; its last statement: {' '.join(self.statement.split())}"


def prepare(connection: Any) -> Any:
    """Let a new connection of psycopg2 know the questions of this file; return it."""
    with connection.cursor() as cursor:
        cursor.execute(PREPARE)
    connection.commit()
    return connection


def find(cursor: Any, since: float) -> list[Stray]:
    """Return the connections that a test has left with something open which may reach into the next test.

    A transaction that has only read is in nobody's way, and may be that of a fixture of a wider scope: it
    counts only on a connection that is as young as the test.

    Args:
        cursor: of a connection of ours to the database (`prepare`).
        since: when the test began, in seconds by the server's clock.
    """
    deadline = time.monotonic() + SETTLING
    while True:
        cursor.execute("EXECUTE testbed_open")
        strays = [stray for stray in map(Stray._make, cursor.fetchall()) if _counts(stray, since)]
        if not any(stray.is_running for stray in strays) or time.monotonic() > deadline:
            return strays
        time.sleep(0.002)


def _counts(stray: Stray, since: float) -> bool:
    young = stray.opened >= since
    began = stray.began is not None and stray.began >= since
    return young or (began and (stray.has_written or stray.is_running)) or (stray.holds_locks and stray.state == "idle")


def end_prepared(cursor: Any) -> list[str]:
    """Roll back transactions that were prepared and never ended; return their names."""
    cursor.execute("EXECUTE testbed_prepared")
    names = [name for (name,) in cursor.fetchall()]
    for name in names:
        cursor.execute("ROLLBACK PREPARED %s", (name,))
    return names
