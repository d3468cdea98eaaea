"""What the emptying of a database must know of it: tables, sequences, views; and whether its definitions have changed."""

from __future__ import annotations

from typing import Any, NamedTuple

__all__ = ["COUNT", "SUMMARY", "Contents", "Sequence", "Table", "fingerprint", "read_contents"]

FIRST = 16384
"""The first oid that is not PostgreSQL's own."""

_SKIPPED = (
    "n.nspname NOT IN ('pg_catalog', 'information_schema', 'pg_toast') AND n.nspname !~ '^pg_(temp|toast_temp)_' AND NOT EXISTS "
    "(SELECT FROM pg_depend d WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e')"
)

TABLES = f"""SELECT c.oid::int8, format('%I.%I', n.nspname, c.relname), c.relkind::text,
  (SELECT string_agg(quote_ident(attname), ', ' ORDER BY attnum) FROM pg_attribute
   WHERE attrelid = c.oid AND attnum > 0 AND NOT attisdropped AND attgenerated = '')
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'p', 'm', 'S') AND {_SKIPPED} ORDER BY c.oid"""

REFERENCES = """SELECT conrelid::int8, confrelid::int8 FROM pg_constraint WHERE contype = 'f' AND conrelid <> confrelid"""

# by the column that an index leads with, so that PostgreSQL's own thousands of rows are not looked at
_CATALOGS = (
    ("pg_class", "oid"),
    ("pg_attribute", "attrelid"),
    ("pg_attrdef", "adrelid"),
    ("pg_constraint", "oid"),
    ("pg_index", "indexrelid"),
    ("pg_inherits", "inhrelid"),
    ("pg_sequence", "seqrelid"),
    ("pg_type", "oid"),
    ("pg_enum", "oid"),
    ("pg_proc", "oid"),
    ("pg_trigger", "oid"),
    ("pg_rewrite", "oid"),
    ("pg_policy", "oid"),
    ("pg_namespace", "oid"),
    ("pg_extension", "oid"),
    ("pg_collation", "oid"),
    ("pg_statistic_ext", "oid"),
    ("pg_event_trigger", "oid"),
    ("pg_publication", "oid"),
    ("pg_operator", "oid"),
    ("pg_cast", "oid"),
    ("pg_default_acl", "oid"),
    ("pg_foreign_data_wrapper", "oid"),
    ("pg_foreign_server", "oid"),
    ("pg_foreign_table", "ftrelid"),
    ("pg_depend", "objid"),
    ("pg_publication_rel", "oid"),
    ("pg_ts_config", "oid"),
    ("pg_ts_config_map", "mapcfg"),
    ("pg_ts_dict", "oid"),
    ("pg_largeobject_metadata", "oid"),
)
_WHICH = {
    # whatever its oid: rights on the schema public are a row of PostgreSQL's own, and a large object's oid may be chosen
    "pg_namespace": "oid >= 0",
    "pg_largeobject_metadata": "oid >= 0",
    # user mappings themselves are for superusers to see
    "pg_depend": "classid = 'pg_user_mapping'::regclass",
}


def _which(name: str, key: str) -> str:
    return _WHICH.get(name, f"{key} >= {FIRST}")


_DATABASE = "FROM pg_database d LEFT JOIN pg_db_role_setting r ON r.setdatabase = d.oid WHERE d.datname = current_database()"


def _every(columns: str, of_database: str) -> str:
    each = [f"SELECT {columns} FROM {name} WHERE {_which(name, key)}" for name, key in _CATALOGS]
    return " UNION ALL ".join([*each, f"SELECT {of_database} {_DATABASE}"])


_CHANGED = "age({}xmin) < testbed_age"
_SUMMARY = _every(
    f"count(*) n, bool_or({_CHANGED.format('')}) c",
    f"count(r.setdatabase), bool_or({_CHANGED.format('d.')} OR {_CHANGED.format('r.')})",
)
SUMMARY = f"SELECT sum(n), coalesce(bool_or(c), false) FROM ({_SUMMARY}) s"
"""How many rows the definitions have, and whether one was added or replaced in the last `testbed_age` transactions."""
COUNT = f"(SELECT sum(n)::int8 FROM ({_every('count(*) n', 'count(r.setdatabase)')}) s)"

_NOT_TEMPORARY = "(SELECT oid FROM pg_namespace WHERE nspname ~ '^pg_(temp|toast_temp|toast)')"
_STEADY = {
    # without what TRUNCATE, VACUUM, ANALYZE and REFRESH change
    "pg_class": "relname, relnamespace, reltype, reloftype, relowner, relam, reltablespace, relpersistence, relkind, relnatts, "
    " relchecks, relhasrules, relhastriggers, relrowsecurity, relforcerowsecurity, relreplident, relispartition, relacl, "
    "reloptions, relpartbound",
    "pg_attribute": "attrelid, attname, atttypid, attlen, attnum, atttypmod, attndims, attnotnull, atthasdef, attidentity, "
    "attgenerated, attisdropped, attislocal, attinhcount, attcollation, attacl, attoptions",
}
_OF_RELATION = {
    "pg_attribute": "attrelid",
    "pg_attrdef": "adrelid",
    "pg_constraint": "conrelid",
    "pg_index": "indrelid",
    "pg_inherits": "inhrelid",
    "pg_sequence": "seqrelid",
    "pg_trigger": "tgrelid",
    "pg_rewrite": "ev_class",
    "pg_policy": "polrelid",
}
_OF_NAMESPACE = {"pg_class": "relnamespace", "pg_type": "typnamespace", "pg_proc": "pronamespace", "pg_namespace": "oid"}


def _fingerprint_of(name: str, key: str) -> str:
    columns = _STEADY.get(name)
    row = f"ROW({key}, {columns})" if columns else "t"
    own = _which(name, key)
    if name in _OF_RELATION:
        own += f" AND {_OF_RELATION[name]} NOT IN (SELECT oid FROM pg_class WHERE relnamespace IN {_NOT_TEMPORARY})"
    if name in _OF_NAMESPACE:
        own += f" AND {_OF_NAMESPACE[name]} NOT IN {_NOT_TEMPORARY}"
    each = f"md5(({row})::text)"
    return f"SELECT '{name}', coalesce(md5(string_agg({each}, '' ORDER BY {each})), '') FROM {name} t WHERE {own}"


_SETTINGS = (
    "SELECT 'settings', md5(string_agg(concat_ws(' ', d.datdba, d.datacl, d.datconnlimit, r.setrole, r.setconfig), ',' "
    f"ORDER BY r.setrole)) {_DATABASE}"
)
FINGERPRINT = " UNION ALL ".join([*(_fingerprint_of(name, key) for name, key in _CATALOGS), _SETTINGS])


class Table(NamedTuple):
    """A table or partition: its oid, its name as SQL, and its columns that can be written."""

    oid: int
    name: str
    columns: str


class View(NamedTuple):
    """A materialised view: its oid, its name as SQL, and its number of rows; None where it was never filled."""

    oid: int
    name: str
    rows: int | None


class Sequence(NamedTuple):
    """A sequence and where it stands."""

    oid: int
    name: str
    last_value: int
    is_called: bool


class Contents(NamedTuple):
    """All relations that hold data; and the tables above partitions, which hold none."""

    tables: list[Table]
    views: list[View]
    sequences: list[Sequence]
    partitioned: list[Table]

    def shared_with(self, other: Contents) -> Contents:
        """Return these relations as far as the other has them too."""
        names = {table.name for table in (*other.tables, *other.partitioned)} | {view.name for view in other.views}
        return Contents(
            [table for table in self.tables if table.name in names],
            [view for view in self.views if view.name in names],
            [sequence for sequence in self.sequences if sequence.name in {each.name for each in other.sequences}],
            [table for table in self.partitioned if table.name in names],
        )

    def standing_as(self, other: Contents) -> Contents:
        """Return these relations with sequences and views where they stood in the other, as far as it has the same."""
        views = {view.oid: view for view in other.views}
        sequences = {each.oid: each for each in other.sequences}
        return self._replace(
            views=[view._replace(rows=views.get(view.oid, view).rows) for view in self.views],
            sequences=[sequences.get(each.oid, each)._replace(name=each.name) for each in self.sequences],
        )


def read_contents(cursor: Any) -> Contents:
    """Return what a database holds data in: not the tables of extensions, which are their own affair."""
    cursor.execute(TABLES)
    rows = cursor.fetchall()
    tables = [Table(oid, name, columns or "") for oid, name, kind, columns in rows if kind == "r"]
    partitioned = [Table(oid, name, columns or "") for oid, name, kind, columns in rows if kind == "p"]
    views = [_view(cursor, oid, name) for oid, name, kind, _ in rows if kind == "m"]
    names = [(oid, name) for oid, name, kind, _ in rows if kind == "S"]
    return Contents(tables, views, _where_they_stand(cursor, names), partitioned)


def _view(cursor: Any, oid: int, name: str) -> View:
    cursor.execute(f"SELECT relispopulated FROM pg_class WHERE oid = {oid}")
    if not cursor.fetchone()[0]:
        return View(oid, name, None)
    cursor.execute(f"SELECT count(*) FROM {name}")
    return View(oid, name, cursor.fetchone()[0])


def _where_they_stand(cursor: Any, names: list[tuple[int, str]]) -> list[Sequence]:
    if not names:
        return []
    cursor.execute(" UNION ALL ".join(f"SELECT {oid}, last_value, is_called FROM {name}" for oid, name in names))
    stand = {oid: (value, called) for oid, value, called in cursor.fetchall()}
    return [Sequence(oid, name, *stand[oid]) for oid, name in names]


def fingerprint(cursor: Any) -> dict[str, str]:
    """Return a hash for each kind of definition; it changes with what is defined, not with what is stored."""
    cursor.execute(FINGERPRINT)
    return dict(cursor.fetchall())


def references(cursor: Any) -> list[tuple[int, int]]:
    """Return the oids of tables that refer to others, with those."""
    cursor.execute(REFERENCES)
    return list(cursor.fetchall())
