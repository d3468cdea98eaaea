"""What the server's catalog tells of the tables that seeds are loaded into: names, columns, order, sequences."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import Any

from ..errors import SchemaError

__all__ = ["SET_SEQUENCES", "Table", "find_table", "in_order", "tables"]

TABLES = """SELECT c.oid::int8, n.nspname, c.relname, pg_table_is_visible(c.oid), c.oid::regclass::text
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'p', 'f') AND c.relpersistence <> 't'
AND n.nspname NOT IN ('pg_catalog', 'information_schema', 'pg_toast') ORDER BY 2, 3"""
COLUMNS = "SELECT attname, attgenerated <> '' FROM pg_attribute WHERE attrelid = %s AND attnum > 0 AND NOT attisdropped"
# a column that may be NULL may well be so in all rows that are loaded
REFERENCES = """SELECT conrelid::int8, confrelid::int8, condeferrable, EXISTS (SELECT FROM pg_attribute
  WHERE attrelid = conrelid AND attnum = ANY (conkey) AND NOT attnotnull)
FROM pg_constraint WHERE contype = 'f' AND conrelid <> confrelid AND conrelid = ANY (%s) AND confrelid = ANY (%s)"""

# deptype: 'a' for serial columns, 'i' for identity columns; sequences that count down are set below the least value
SET_SEQUENCES = """DO $testbed$ DECLARE it record; extreme numeric; BEGIN
FOR it IN SELECT d.objid::regclass AS sequence, d.refobjid::regclass AS loaded, a.attname, s.seqincrement AS step,
    s.seqmin, s.seqmax FROM pg_depend d
  JOIN pg_sequence s ON s.seqrelid = d.objid
  JOIN pg_attribute a ON a.attrelid = d.refobjid AND a.attnum = d.refobjsubid
  WHERE d.classid = 'pg_class'::regclass AND d.refclassid = 'pg_class'::regclass AND d.deptype IN ('a', 'i')
  AND a.atttypid IN ('int2'::regtype, 'int4'::regtype, 'int8'::regtype, 'numeric'::regtype)
LOOP
  CONTINUE WHEN NOT has_sequence_privilege(it.sequence, 'SELECT') OR NOT has_sequence_privilege(it.sequence, 'UPDATE')
    OR NOT has_table_privilege(it.loaded, 'SELECT');
  EXECUTE format('SELECT %s(%I) FROM %s', CASE WHEN it.step > 0 THEN 'max' ELSE 'min' END, it.attname, it.loaded) INTO extreme;
  CONTINUE WHEN extreme IS NULL OR extreme NOT BETWEEN it.seqmin AND it.seqmax;
  EXECUTE format('SELECT setval(%L, %s) FROM %s WHERE (%s - last_value) * sign(%s) >= CASE WHEN is_called THEN 1 ELSE 0 END',
    it.sequence, trunc(extreme), it.sequence, extreme, it.step);
END LOOP; END $testbed$"""

_PART = r'"(?:[^"]|"")+"|[^".]+'
_NAME = re.compile(rf"(?:({_PART})\.)?({_PART})")


@dataclass(frozen=True)
class Table:
    """A table that rows can be loaded into."""

    oid: int
    schema: str
    name: str
    is_visible: bool
    quoted: str

    @property
    def stem(self) -> str:
        """What a CSV file for it is called, without its ending."""
        return _stem(self.name) if self.is_visible else f"{_stem(self.schema)}.{_stem(self.name)}"

    def check_columns(self, cursor: Any, given: Sequence[str], path: Path) -> None:
        """Refuse columns that the table does not have, or makes by itself.

        Raises:
            SchemaError: names file, column and table, and what is near.
        """
        cursor.execute(COLUMNS, (self.oid,))
        is_generated: dict[str, bool] = dict(cursor.fetchall())
        for name in given:
            if name not in is_generated:
                near = get_close_matches(name, is_generated, n=1)
                hint = f"Did you mean {near[0]!r}?" if near else f"It has {', '.join(is_generated)}."
                if len(given) == 1 and any(sign in name for sign in ";\t|"):
                    hint = "The columns of a CSV file are separated by commas."
                raise SchemaError(f"{path}:1: the table {self.quoted} has no column {name!r}. {hint}")
            if is_generated[name]:
                raise SchemaError(
                    f"{path}:1: the column {name!r} of {self.quoted} is generated and cannot be given; leave it out of the file."
                )


def tables(cursor: Any) -> list[Table]:
    """Return all tables of a database but the system's own."""
    cursor.execute(TABLES)
    return [Table(*row) for row in cursor.fetchall()]


def find_table(path: Path, known: Sequence[Table], *, is_bare: bool = False) -> Table:
    """Return the table that a file is named after: `users.csv`, `sales.orders.csv`, `"with.dots".csv`.

    Upper and lower case count, as in the table's own name; quotes are needed only round dots and quotes.

    Args:
        path: the file.
        known: the database's tables.
        is_bare: whether there was no schema that could have made them.

    Raises:
        SchemaError: there is none; names what is near.
    """
    stem = path.name[: -len(".csv")]
    match = _NAME.fullmatch(stem)
    schema, name = (_unquoted(match[1]), _unquoted(match[2])) if match else ("", stem)
    for table in known:
        if table.name == name and (table.schema == schema if schema else table.is_visible):
            return table
    said = f"{schema}.{name}" if schema else name
    raise SchemaError(f"{path}: there is no table {said!r}. {_hint(stem, name, known, is_bare=is_bare)}")


def _hint(stem: str, name: str, known: Sequence[Table], *, is_bare: bool) -> str:
    if not known:
        return (
            "The schema is empty, so nothing makes tables: say what does in testbed_pg_schema (or pg_schema)."
            if is_bare
            else "The database has no tables: does testbed_pg_schema name all that makes them?"
        )
    elsewhere = [table.stem for table in known if table.name == name]
    stems = {table.stem.lower(): table.stem for table in known}
    near = elsewhere or [stems[found] for found in get_close_matches(stem.lower(), stems, n=1)]
    if near:
        return f"Did you mean {near[0]!r}? Then call the file {near[0]}.csv."
    return f"The file's name must be a table's; there are: {', '.join(stems.values())}."


def _stem(name: str) -> str:
    return name if re.fullmatch(r'[^".]+', name) else '"' + name.replace('"', '""') + '"'


def _unquoted(part: str | None) -> str:
    if part and part.startswith('"'):
        return part[1:-1].replace('""', '"')
    return part or ""


def in_order(cursor: Any, chosen: Iterable[Table]) -> list[Table]:
    """Return tables so that each comes after those that it refers to.

    In a circle, references that are deferrable do not count; nor, if that is not enough, those that may be NULL.
    """
    by_oid = {table.oid: table for table in sorted(chosen, key=lambda table: table.quoted)}
    if len(by_oid) == 1:
        return list(by_oid.values())
    cursor.execute(REFERENCES, (list(by_oid), list(by_oid)))
    references = cursor.fetchall()
    strict = [row for row in references if not row[2]]
    for rows in (references, strict, [row for row in strict if not row[3]]):
        try:
            return [by_oid[oid] for oid in _sorted(by_oid, rows)]
        except CycleError:
            continue
    return list(by_oid.values())  # the server says which constraint it is


def _sorted(oids: Iterable[int], references: Iterable[Sequence[Any]]) -> list[int]:
    sorter: TopologicalSorter[int] = TopologicalSorter(dict.fromkeys(oids, ()))
    for referring, referred, *_ in references:
        sorter.add(referring, referred)
    sorter.prepare()
    position = {oid: index for index, oid in enumerate(oids)}
    found: list[int] = []
    while sorter.is_active():
        ready = sorted(sorter.get_ready(), key=position.__getitem__)
        found += ready
        sorter.done(*ready)
    return found
