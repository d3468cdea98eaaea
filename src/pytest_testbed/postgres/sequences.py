"""Sequences are no part of a transaction: what was taken from them stays taken. They can be set back in one, though.

`ALTER SEQUENCE … RESTART` gives a sequence a new file, which a rollback throws away; `setval` is not undone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from .statements import quoted

__all__ = ["Values", "read", "set_back"]

Values = Mapping[tuple[str, str], int]
"""What each sequence, by schema and name, will give next."""

LIST = """SELECT n.nspname, c.relname, format('%I.%I', n.nspname, c.relname), s.seqincrement
FROM pg_sequence s JOIN pg_class c ON c.oid = s.seqrelid JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relpersistence <> 't' AND pg_has_role(c.relowner, 'USAGE')"""
NEXT = "last_value::numeric + CASE WHEN is_called THEN {step} ELSE 0 END"

# only where it must be: each restart makes a file
SET_BACK = """DO $testbed$ DECLARE it record; found numeric; BEGIN
FOR it IN SELECT format('%I.%I', n.nspname, c.relname) AS name, wanted.next, s.seqincrement AS step
  FROM (VALUES {values}) wanted (schema, name, next)
  JOIN pg_namespace n ON n.nspname = wanted.schema
  JOIN pg_class c ON c.relnamespace = n.oid AND c.relname = wanted.name
  JOIN pg_sequence s ON s.seqrelid = c.oid AND wanted.next BETWEEN s.seqmin AND s.seqmax
LOOP
  EXECUTE format('SELECT last_value::numeric + CASE WHEN is_called THEN %s ELSE 0 END FROM %s', it.step, it.name) INTO found;
  IF found <> it.next THEN EXECUTE format('ALTER SEQUENCE %s RESTART WITH %s', it.name, it.next); END IF;
END LOOP; END $testbed$"""


def read(rows: Callable[[str], list[Any]]) -> dict[tuple[str, str], int]:
    """Return what the sequences of a database will give next.

    Args:
        rows: asks the database.
    """
    listed = rows(LIST)
    if not listed:
        return {}
    parts = [f"SELECT {number}, {NEXT.format(step=step)} FROM {name}" for number, (_, _, name, step) in enumerate(listed)]
    return {listed[number][:2]: int(value) for number, value in rows(" UNION ALL ".join(parts))}


def set_back(wanted: Values) -> str:
    """Return what lets each sequence that was used go on with the value that is wanted; "" where there is none."""
    values = [f"({quoted(schema)}, {quoted(name)}, {value}::numeric)" for (schema, name), value in sorted(wanted.items())]
    return SET_BACK.format(values=", ".join(values)) if values else ""
