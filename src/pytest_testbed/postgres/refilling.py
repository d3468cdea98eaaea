"""Filling a database that was made anew with the rows, sequences and views of a state that was kept."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from io import BytesIO
from typing import Any

from .definitions import Contents

__all__ = ["refill"]

TRIGGERS = """SELECT format('ALTER TABLE %%s DISABLE TRIGGER %%I', tgrelid::regclass, tgname),
  format('ALTER TABLE %%s ENABLE %%s TRIGGER %%I', tgrelid::regclass, CASE tgenabled WHEN 'A' THEN 'ALWAYS' ELSE '' END, tgname)
FROM pg_trigger WHERE NOT tgisinternal AND tgenabled IN ('O', 'A') AND tgrelid = ANY (%s::oid[])"""
# a partition's own constraint follows that of the table above it
CONSTRAINTS = """SELECT format('ALTER TABLE %%s ALTER CONSTRAINT %%I DEFERRABLE', conrelid::regclass, conname),
  format('ALTER TABLE %%s ALTER CONSTRAINT %%I NOT DEFERRABLE', conrelid::regclass, conname)
FROM pg_constraint WHERE contype = 'f' AND NOT condeferrable AND conparentid = 0
AND (conrelid = ANY (%s::oid[]) OR conrelid IN (SELECT pg_partition_root(oid) FROM unnest(%s::oid[]) oid))"""


def refill(cursor: Any, contents: Contents, rows: Mapping[int, bytes], *, may_replicate: bool) -> None:
    """Let each table have just the rows that are given, and each sequence stand where it stood.

    Args:
        cursor: of a connection without an open transaction, whose user may write to all of it.
        contents: tables, sequences and views as they were.
        rows: as `COPY` gave them, by the oids of tables; the others are emptied.
        may_replicate: whether triggers and foreign keys are off on this connection, as a superuser can have it.

    Raises:
        Exception: the driver's; nothing was changed then.
    """
    cursor.execute("BEGIN")
    try:
        if may_replicate:
            for table in contents.tables:
                cursor.execute(f"DELETE FROM ONLY {table.name}")
            _fill(cursor, contents, rows)
        else:
            _truncate(cursor, contents)
            with _unchecked(cursor, sorted(rows)):
                _fill(cursor, contents, rows)
        _set(cursor, contents)
        cursor.execute("COMMIT")
    except BaseException:
        with suppress(Exception):
            cursor.execute("ROLLBACK")
        raise


def _truncate(cursor: Any, contents: Contents) -> None:
    """Empty all tables at once: one by one, foreign keys forbid it.

    Tables of a later state may refer to them. They are emptied as well, and filled when it is that state's turn.
    """
    names = [f"ONLY {table.name}" for table in contents.tables] + [table.name for table in contents.partitioned]
    if names:
        cursor.execute(f"TRUNCATE {', '.join(names)} CASCADE")


@contextmanager
def _unchecked(cursor: Any, oids: list[int]) -> Iterator[None]:
    """Let triggers not fire and foreign keys be checked at the end only, by what the owner of tables may do."""
    back = []
    for question, arguments in ((TRIGGERS, (oids,)), (CONSTRAINTS, (oids, oids))):
        cursor.execute(question, arguments)
        for there, and_back in cursor.fetchall():
            cursor.execute(there)
            back.append(and_back)
    cursor.execute("SET CONSTRAINTS ALL DEFERRED")
    yield
    cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")
    for statement in back:
        cursor.execute(statement)


def _fill(cursor: Any, contents: Contents, rows: Mapping[int, bytes]) -> None:
    for table in contents.tables:
        if table.oid in rows:
            cursor.copy_expert(f"COPY {table.name} ({table.columns}) FROM STDIN", BytesIO(rows[table.oid]))


def _set(cursor: Any, contents: Contents) -> None:
    for sequence in contents.sequences:
        cursor.execute(f"SELECT setval({sequence.oid}, {sequence.last_value}, {sequence.is_called})")
    for view in contents.views:
        if view.rows is not None:
            cursor.execute(f"REFRESH MATERIALIZED VIEW {view.name}")
