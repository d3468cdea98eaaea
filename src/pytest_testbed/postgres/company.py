"""Who else is connected to a database of ours, or has left something open in it: to be named, waited for, or thrown out."""

from __future__ import annotations

import time
from contextlib import closing, suppress

from .admin import CONNECT_TIMEOUT, Admin
from .connect import APPLICATION, connect
from .strays import CLEANER, end_prepared, prepare

__all__ = ["THE_TEST", "connected", "describe", "evict", "somebody_stays"]

THE_TEST = f"{APPLICATION} (the test)"
"""The application name of the connection that has the test's transaction."""
LEAVING = 0.2
"""Seconds in which the backends of connections that were closed may find that out."""
# a worker of autovacuum has no user, and does not count
STAYING = "SELECT FROM pg_stat_activity WHERE datname = %s AND application_name <> %s AND usesysid IS NOT NULL"
CONNECTED = "SELECT pid, application_name, usename FROM pg_stat_activity WHERE datname = %s"

BYSTANDERS = """
SELECT pid, application_name, state, coalesce(extract(epoch FROM now() - xact_start), 0), left(query, 200)
FROM pg_stat_activity WHERE datname = %s AND pid <> pg_backend_pid() AND xact_start IS NOT NULL ORDER BY xact_start
"""
PREPARED = "SELECT gid, extract(epoch FROM now() - prepared) FROM pg_prepared_xacts WHERE database = %s ORDER BY prepared"


def connected(admin: Admin, database: str) -> str:
    """Return who is connected to a database, "" where nobody is."""
    rows = admin.rows(CONNECTED, (database,))
    return ", ".join(f"pid {pid} ({application or 'no application name'}, {user})" for pid, application, user in rows)


def describe(admin: Admin, database: str, but: str) -> str:
    """Describe who has a transaction open in a database, besides connections of the application `but`; "" for nobody."""
    with suppress(Exception):
        rows = admin.rows(BYSTANDERS, (database,))
        lines = [
            f"  pid {pid} ({application or 'no application name'}), {state}, for {age:.1f} s: {' '.join(query.split())}"
            for pid, application, state, age, query in rows
            if application != but
        ]
        prepared = admin.rows(PREPARED, (database,))
        lines += [f"  prepared (PREPARE TRANSACTION) for {age:.1f} s, and not ended: {name!r}" for name, age in prepared]
        if lines:
            return "\n".join(["other transactions open in this test's database, one of which holds the lock:", *lines])
    return ""


def somebody_stays(admin: Admin, database: str) -> bool:
    """Whether somebody stays connected to a database; who has just closed his connection is given time to be gone."""
    deadline = time.monotonic() + LEAVING
    while admin.rows(STAYING, (database, CLEANER)):
        if time.monotonic() > deadline:
            return True
        time.sleep(0.01)
    return False


def evict(admin: Admin, database: str) -> None:
    """Throw out whoever is connected to a database, roll back what was prepared in it, and let nobody in any more."""
    _throw_out(admin, database)
    while admin.rows(PREPARED, (database,)):
        # they belong to nobody who could be thrown out
        admin.execute(f'ALTER DATABASE "{database}" WITH ALLOW_CONNECTIONS true')
        with closing(connect(admin.endpoint, database, connect_timeout=CONNECT_TIMEOUT)) as connection:
            connection.autocommit = True
            end_prepared(prepare(connection).cursor())
        _throw_out(admin, database)


def _throw_out(admin: Admin, database: str) -> None:
    admin.execute(f'ALTER DATABASE "{database}" WITH ALLOW_CONNECTIONS false')
    admin.rows("SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = %s", (database,))
