"""Putting a database back in place after real commits: what was written is emptied, seeds and sequences are restored.

A clone per test costs many times as much (docs/explanation/isolation.md has the figures). The work is done
by one function on the server, in one round trip: it looks into each table for rows that are not as they
were, and touches only those tables. It lives in the temporary schema of a connection of ours, so that nobody
finds it in the database; so do the copies of the rows that must be there.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from select import POLLIN, poll
from typing import Any, NamedTuple, TypeVar

from .admin import LOCK_NOT_AVAILABLE, sqlstate
from .definitions import COUNT, SUMMARY, Contents, Table, View, fingerprint, read_contents, references
from .refilling import refill

__all__ = ["CatalogChanged", "Emptier"]

SESSION = "SET plan_cache_mode TO force_generic_plan; SET jit TO off; SET lock_timeout TO '5s'; SET client_min_messages TO error"
"""The function's statements are always the same: planning them each time would take as long as the rest."""
NEVER_IDLE = "SELECT set_config(name, '0', false) FROM pg_settings WHERE name = 'idle_session_timeout'"
"""A server of somebody else's may end who is silent for long, and with our connection go the copies of rows."""
AS_REPLICA = "SET session_replication_role TO replica; SET row_security TO off"
"""For the whole session, not for the time of the function: whenever the role changes, the server forgets all plans."""
SHARED = """SELECT string_agg(quote_ident(attname), ', ' ORDER BY attnum) FROM pg_attribute WHERE attrelid = %s::regclass
AND attnum > 0 AND attname IN (SELECT attname FROM pg_attribute WHERE attrelid = %s AND attnum > 0 AND NOT attisdropped
AND attgenerated = '')"""
"""Which columns of a copy its table still has."""
SCOPE = "testbed_variables"
"""What names of ours stand behind where a column of the user's might be called the same."""
BASE = "testbed.base"
"""A setting of our connection: the transaction after which a row is not as it was."""


T = TypeVar("T")
ENDED = (
    "the connection by which the database is put back was ended (pg_terminate_backend on all connections of the database, "
    "for instance; let a test end its own)"
)
DROPPED = (
    "the database was dropped (DROP DATABASE) while fixtures of a wider scope had written to it. Let the fixture that drops it "
    "be set up before those that write"
)
STAYS = "What the database has now stays in it."
MISSING = "Rows that fixtures of a wider scope had written may be missing, and tests that need them will fail."


class CatalogChanged(Exception):
    """The database's definitions are not what they were, or what it had is not known any more: it cannot be put back in place."""


class Layer(NamedTuple):
    """A state to which the database is put back."""

    number: int
    definitions: dict[str, str]
    objects: int
    seeded: dict[int, str]
    contents: Contents
    references: list[tuple[int, int]]
    is_added: bool
    base: str = ""
    is_gone: bool = False
    """Whether its function and rows went with the connection that had them."""
    is_dropped: bool = False
    """Whether they went with the whole database, of which the user has been told."""

    @property
    def function(self) -> str:
        """The function that puts it back."""
        return f"pg_temp.testbed_restore_{self.number}"


class Emptier:
    """Keeps a database as it was when `capture` was called.

    Args:
        connect: opens a DBAPI connection of psycopg2 to the database; it is this object's alone.
    """

    def __init__(self, connect: Callable[[], Any]) -> None:
        self._connect = connect
        self._connection: Any = None
        self._layers: list[Layer] = []
        self._incoming = poll()
        self._told: list[str] = []
        self._may_replicate = True
        self._count = 0
        self._database = 0
        """The oid of the database that the states belong to."""

    @property
    def is_ready(self) -> bool:
        """Whether there is a state to go back to."""
        return bool(self._layers)

    @property
    def is_dropped(self) -> bool:
        """Whether the state to go back to went with its database."""
        return bool(self._layers) and self._layers[-1].is_dropped

    def close(self) -> None:
        """Close the connection, and forget all states."""
        connection, self._connection = self._connection, None
        self._layers.clear()
        if connection is not None:
            with suppress(Exception):
                connection.close()

    def take_told(self) -> list[str]:
        """Return, once, what has happened to the states that the user must know of."""
        told, self._told = self._told, []
        return told

    # --- states

    def definitions(self) -> dict[str, str]:
        """Return the fingerprint of the definitions as they are now."""
        return fingerprint(self.cursor())

    def capture(self, *, is_added: bool) -> None:
        """Take the database as it is now for the state to go back to, in place of the last one."""
        self.cursor()  # if the old connection has ended, the last state is to know of it
        is_first = not self._layers
        self.push(is_added=is_added)  # where that fails, the last one stays
        if not is_first:
            self._forget(self._layers.pop(-2))
            self._mark(self.cursor())

    def push(self, *, is_added: bool, under: Layer | None = None) -> None:
        """Take the database as it is now for the state to go back to, until `pop`.

        Args:
            is_added: whether it has what a new database of the worker does not have.
            under: a state that knew only a part of what is there by now: its definitions are the right ones for it.
        """
        cursor = self.cursor()
        self._count += 1
        number = self._count
        cursor.execute("BEGIN")
        try:
            contents = read_contents(cursor)
            if under is not None:
                contents = contents.shared_with(under.contents)
            seeded = self._copy(cursor, number, contents)
            definitions = fingerprint(cursor) if under is None else under.definitions
            layer = Layer(number, definitions, 0, seeded, contents, references(cursor), is_added)
            cursor.execute(self._source(layer))
            self._layers.append(layer)
            self._mark(cursor)
            if under is not None:  # when it is gone back to, its definitions are looked at one by one
                self._layers[-1] = self._layers[-1]._replace(objects=-1)
            cursor.execute("COMMIT")
        except BaseException:
            self._layers[:] = [each for each in self._layers if each.number != number]
            cursor.execute("ROLLBACK")
            raise

    def pop(self) -> None:
        """Go back to the state before the last `push`: `restore` will do that."""
        self.has_ended()  # if it has, none is opened for that: the database may be gone
        self._forget(self._layers.pop())
        if self._layers and not self._layers[-1].is_gone:
            # what was changed since then, by whoever came between, is not as that state wants it
            self.cursor().execute(f"SELECT set_config('{BASE}', %s, false)", (self._layers[-1].base,))

    def _forget(self, layer: Layer) -> None:
        if layer.is_gone:
            return
        cursor = self.cursor()
        cursor.execute(f"DROP FUNCTION IF EXISTS {layer.function}(boolean, bigint)")
        for copy in layer.seeded.values():
            cursor.execute(f"DROP TABLE IF EXISTS {copy}")

    def recognise(self) -> bool:
        """Take the definitions as they are now for the right ones, as they cannot be brought back; rows are, where they fit.

        Returns:
            whether they are others than before: a role that is no superuser comes here for rows alone.
        """
        self.cursor()
        before = self._layers[-1]
        if before.is_gone:
            self._told.append(f"{ENDED}. {STAYS}")
            self.capture(is_added=before.is_added)
            return True
        try:
            return self._adopt(before)
        except Exception as error:
            if self._connection.closed or sqlstate(error) == LOCK_NOT_AVAILABLE:
                raise
            text = " ".join(str(error).split())
            self._told.append(f"after a change of the schema the rows of before could not be put back: {text}. {STAYS}")
            self.capture(is_added=before.is_added)
            return True

    def _adopt(self, before: Layer) -> bool:
        """Let the last state have the definitions of now, with its own rows as far as tables and columns are still there.

        Returns:
            whether they are others than it had.

        Raises:
            Exception: the driver's, where the rows do not fit.
        """
        cursor = self.cursor()
        self._count += 1
        number = self._count
        cursor.execute("BEGIN")
        try:
            contents, seeded = self._copy_again(cursor, number, before)
            layer = Layer(number, fingerprint(cursor), 0, seeded, contents, references(cursor), before.is_added)
            cursor.execute(self._source(layer))
            self._layers[-1] = layer
            dirty = self._call(cursor, layer, look=False)
            self._forget(before)
            self._mark(cursor)
            cursor.execute("COMMIT")
        except BaseException:
            self._layers[-1] = before
            with suppress(Exception):
                cursor.execute("ROLLBACK")
            raise
        if dirty and not self._may_replicate:
            refill(cursor, contents, self._rows(layer), may_replicate=False)
            self._mark(cursor)
        return layer.definitions != before.definitions

    def _copy_again(self, cursor: Any, number: int, before: Layer) -> tuple[Contents, dict[int, str]]:
        """Copy a state's copies of rows to what their tables are by now; return the contents, and the new copies' names."""
        contents = read_contents(cursor).standing_as(before.contents)
        tables, seeded = [], {}
        for table in contents.tables:
            if old := before.seeded.get(table.oid):
                cursor.execute(SHARED, (old, table.oid))
                columns = cursor.fetchone()[0] or ""
                table = table._replace(columns=columns)
                if columns:
                    seeded[table.oid] = copy = f"pg_temp.testbed_seed_{number}_{table.oid}"
                    cursor.execute(f"CREATE TEMP TABLE {copy.partition('.')[2]} AS SELECT {columns} FROM {old}")
            tables.append(table)
        return contents._replace(tables=tables), seeded

    def _mark(self, cursor: Any) -> None:
        """Let our own changes of definitions count as none."""
        cursor.execute(f"SELECT {COUNT}, set_config('{BASE}', pg_current_xact_id()::xid::text, false)")
        objects, base = cursor.fetchone()
        self._layers[-1] = self._layers[-1]._replace(objects=objects, base=base)

    def _copy(self, cursor: Any, number: int, contents: Contents) -> dict[int, str]:
        """Copy the rows of all tables that have some; return the copies' names by the tables' oids."""
        if not contents.tables:
            return {}
        cursor.execute(
            " UNION ALL ".join(f"SELECT {table.oid} WHERE EXISTS (SELECT FROM ONLY {table.name})" for table in contents.tables)
        )
        filled = {oid for (oid,) in cursor.fetchall()}
        seeded = {}
        for table in contents.tables:
            if table.oid in filled and table.columns:
                seeded[table.oid] = copy = f"pg_temp.testbed_seed_{number}_{table.oid}"
                cursor.execute(f"CREATE TEMP TABLE {copy.partition('.')[2]} AS SELECT {table.columns} FROM ONLY {table.name}")
        return seeded

    # --- going back

    def restore(self) -> list[str]:
        """Put the database back; return the names of the tables and sequences that were not as they were.

        Raises:
            CatalogChanged: its definitions are others, or the connection that knew the rows has ended.
        """
        if self.is_dropped:
            raise CatalogChanged
        cursor = self.cursor()
        layer = self._layers[-1]
        if layer.is_gone:
            raise CatalogChanged
        dirty = self._call(cursor, layer, look=True)
        if dirty is None:
            if fingerprint(cursor) != layer.definitions:
                raise CatalogChanged
            # a temporary table, a TRUNCATE: nothing that has to be undone
            dirty = self._call(cursor, layer, look=False) or []
            self._mark(cursor)
        if dirty and not self._may_replicate:
            self._truncate(cursor, layer, dirty)
        return dirty

    def tables_among(self, names: list[str]) -> list[str]:
        """Return which of the names that `restore` gave are those of tables."""
        tables = {table.name for table in self._layers[-1].contents.tables} if self._layers else set()
        return [name for name in names if name in tables]

    def _truncate(self, cursor: Any, layer: Layer, dirty: list[str]) -> None:
        """Empty tables as a role that is no superuser can: with all that refer to them, and where none must have rows.

        Raises:
            CatalogChanged: one must have rows. To put them back without setting off triggers is for superusers.
        """
        oids = {table.oid for table in layer.contents.tables if table.name in dirty}
        while more := {source for source, target in layer.references if target in oids} - oids:
            oids |= more
        if oids & layer.seeded.keys():
            raise CatalogChanged
        names = [f"ONLY {table.name}" for table in layer.contents.tables if table.oid in oids]
        names += [table.name for table in layer.contents.partitioned if table.oid in oids]
        if names:
            cursor.execute(f"TRUNCATE {', '.join(names)}")
            self._mark(cursor)

    def _call(self, cursor: Any, layer: Layer, *, look: bool) -> list[str] | None:
        cursor.execute(f"SELECT {layer.function}(%s, %s)", (look, layer.objects))
        found: list[str] | None = cursor.fetchone()[0]
        return found

    def carry_over(self, replace: Callable[[], None], *, is_new: bool = True) -> None:
        """Replace the database by a new one, and bring all states that fixtures have added to it over.

        Args:
            replace: does it; nobody may be connected meanwhile.
            is_new: whether it gives a new database; if not, the old one stays, with all that the last state has.
        """
        if not self.is_dropped:
            self.cursor()
        layers = self._layers[:]
        # without a new database there is nothing to bring for one state, and for several there is to take apart
        brought = {each.number for each in layers if not each.is_gone and (each.is_added if is_new else len(layers) > 1)}
        rows = {each.number: self._rows(each) for each in layers if each.number in brought}
        if is_new and any(layer.is_gone and not layer.is_dropped for layer in layers):
            missing = f" {MISSING}" if any(layer.is_gone and layer.is_added for layer in layers) else ""
            self._told.append(f"{ENDED}: the database was made anew.{missing}")
        self.close()
        replace()
        for layer in layers:
            is_there = layer.number in brought and self._bring(layer, rows[layer.number])
            is_added = layer.is_added and (is_there or not is_new)
            self.push(is_added=is_added, under=None if layer is layers[-1] else layer)
            if not is_new and not is_there and len(layers) > 1:
                self._layers[-1] = self._layers[-1]._replace(is_gone=True, is_dropped=layer.is_dropped)

    def _bring(self, layer: Layer, rows: dict[int, bytes]) -> bool:
        """Fill the new database with what a state had; tell the user where that cannot be done."""
        try:
            refill(self.cursor(), layer.contents, rows, may_replicate=self._may_replicate)
        except Exception as error:
            text = " ".join(str(error).split())
            self._told.append(f"a new database took the place of the old one, and could not be filled: {text}. {MISSING}")
            return False
        return True

    def _rows(self, layer: Layer) -> dict[int, bytes]:
        """Return the rows that tables must have, as the server writes them."""
        from io import BytesIO

        rows = {}
        for oid, copy in layer.seeded.items():
            stream = BytesIO()
            self.cursor().copy_expert(f"COPY {copy} TO STDOUT", stream)
            rows[oid] = stream.getvalue()
        return rows

    # --- the connection

    def ask(self, question: Callable[[Any], T]) -> T:
        """Return what a question gives that can be asked twice: a connection may be ended while it is being asked.

        Args:
            question: is called with a cursor.
        """
        try:
            return question(self.cursor())
        except Exception:
            if self._connection is None or not self._connection.closed:
                raise
            return question(self.cursor())

    def has_ended(self) -> bool:
        """Whether somebody has ended the connection, with all that it knew. It is opened again when it is needed."""
        if self._connection is not None and self._is_ended():
            self._connection = None
            self._layers[:] = [layer._replace(is_gone=True) for layer in self._layers]
        return self._connection is None

    def note_drop(self) -> None:
        """Note that the database of the states was dropped: a new one has nothing of what fixtures have added to it."""
        if any(layer.is_added and not layer.is_dropped for layer in self._layers):
            self._told.append(f"{DROPPED}. {MISSING}")
        self._layers[:] = [layer._replace(is_added=False, is_gone=True, is_dropped=True) for layer in self._layers]

    def cursor(self) -> Any:
        """Return a cursor of the connection that puts the database back; a transaction is what one statement does."""
        if self.has_ended():
            self._connection = self._open()
        return self._connection.cursor()

    def _is_ended(self) -> bool:
        """Whether the server has ended the connection. Without a trip: it says so, and we have asked nothing."""
        if not self._connection.closed and self._incoming.poll(0):
            with suppress(Exception):
                self._connection.cursor().execute("SELECT")
        return bool(self._connection.closed)

    def _open(self) -> Any:
        connection = self._connect()
        connection.autocommit = True
        cursor = connection.cursor()
        cursor.execute(SESSION)
        cursor.execute(NEVER_IDLE)
        cursor.execute(
            "SELECT rolsuper, (SELECT oid::int8 FROM pg_database WHERE datname = current_database()) FROM pg_roles "
            "WHERE rolname = current_user"
        )
        self._may_replicate, database = cursor.fetchone()
        if database != self._database and self._layers:
            self.note_drop()  # and made again by whoever has dropped it
        self._database = database
        if self._may_replicate:
            cursor.execute(AS_REPLICA)
        self._incoming = poll()
        self._incoming.register(connection.fileno(), POLLIN)
        return connection

    # --- the function on the server

    def _source(self, layer: Layer) -> str:
        parts = [
            *(self._table(table, layer.seeded.get(table.oid)) for table in layer.contents.tables),
            *(_sequence(*each) for each in layer.contents.sequences),
            *(_view(view) for view in layer.contents.views),
        ]
        body = "\n".join(parts)
        return f"""CREATE FUNCTION {layer.function}(testbed_look boolean, testbed_objects bigint) RETURNS text[] LANGUAGE plpgsql
AS $testbed$
#variable_conflict use_column
<<{SCOPE}>>
DECLARE testbed_dirty text[] := '{{}}'; testbed_age int := age(current_setting('{BASE}')::xid);
testbed_count bigint; testbed_flag boolean;
BEGIN
IF testbed_look THEN
{SUMMARY.replace(" FROM (", " INTO testbed_count, testbed_flag FROM (", 1)};
IF testbed_flag OR testbed_count <> testbed_objects THEN RETURN NULL; END IF;
END IF;
{body}
IF testbed_dirty <> '{{}}' THEN PERFORM set_config('{BASE}', pg_current_xact_id()::xid::text, false); END IF;
RETURN testbed_dirty;
END $testbed$"""

    def _table(self, table: Table, copy: str | None) -> str:
        note, empty, fill = noted(table.name), f"DELETE FROM ONLY {table.name}; ", ""
        condition = f"EXISTS (SELECT FROM ONLY {table.name})"
        if copy is not None:
            condition = (
                f"(SELECT count(*) FROM ONLY {table.name}) <> (SELECT count(*) FROM {copy}) "
                f"OR EXISTS (SELECT FROM ONLY {table.name} WHERE age(xmin) < {SCOPE}.testbed_age)"
            )
            fill = f"INSERT INTO {table.name} ({table.columns}) OVERRIDING SYSTEM VALUE SELECT {table.columns} FROM {copy}; "
        if not self._may_replicate:
            empty = fill = ""
        return f"IF {condition} THEN {empty}{fill}{note} END IF;"


def _sequence(oid: int, name: str, last_value: int, is_called: bool) -> str:
    return (
        f"SELECT last_value, is_called INTO testbed_count, testbed_flag FROM {name}; "
        f"IF testbed_count <> {last_value} OR testbed_flag <> {is_called} THEN "
        f"PERFORM setval({oid}, {last_value}, {is_called}); {noted(name)} END IF;"
    )


def _view(view: View) -> str:
    """Refresh a materialised view that is not as it was: its tables are, by now."""
    filled = f"(SELECT relispopulated FROM pg_class WHERE oid = {view.oid})"
    if view.rows is None:
        return f"IF {filled} THEN REFRESH MATERIALIZED VIEW {view.name} WITH NO DATA; {noted(view.name)} END IF;"
    return (
        f"testbed_flag := NOT {filled}; IF NOT testbed_flag THEN "
        f"testbed_flag := (SELECT count(*) FROM {view.name}) <> {view.rows} "
        f"OR EXISTS (SELECT FROM {view.name} WHERE age(xmin) < {SCOPE}.testbed_age); END IF; "
        f"IF testbed_flag THEN REFRESH MATERIALIZED VIEW {view.name}; {noted(view.name)} END IF;"
    )


def noted(name: str) -> str:
    """Return the statement that notes a relation which was not as it was."""
    text = name.replace("'", "''")
    return f"testbed_dirty := testbed_dirty || '{text}'::text;"
