"""Whether somebody has written to a database since a moment: asked where it is not enough that somebody connected."""

from __future__ import annotations

from typing import Any

__all__ = ["has_written"]

NEWER = "age(xmin) <= age('{since}'::xid)"
# who waits for a table that is locked as a whole would wait for the test that asks
TABLES = """SELECT c.oid::regclass::text FROM pg_class c
WHERE c.relkind = 'r' AND c.oid >= 16384 AND c.relpersistence <> 't' AND NOT EXISTS (
  SELECT FROM pg_locks l WHERE l.relation = c.oid AND l.mode = 'AccessExclusiveLock' AND l.pid <> pg_backend_pid())"""
DEFINITIONS = "SELECT FROM pg_class WHERE oid >= 16384 AND relpersistence <> 't' AND {newer}"


def has_written(cursor: Any, since: int) -> bool:
    """Tell whether rows or relations are there which were made since a moment, and committed.

    The numbers of transactions alone do not tell it: other databases of the server use them up, too. Rows that were only
    deleted leave no trace.

    Args:
        cursor: of a connection to the database that is in no transaction.
        since: the number that the next writing transaction would have got.
    """
    newer = NEWER.format(since=since % 2**32)
    cursor.execute(TABLES)
    asked = [f"SELECT FROM ONLY {name} WHERE {newer}" for (name,) in cursor.fetchall()]
    cursor.execute(f"SELECT {' OR '.join(f'EXISTS ({each})' for each in [DEFINITIONS.format(newer=newer), *asked])}")
    return bool(cursor.fetchone()[0])
