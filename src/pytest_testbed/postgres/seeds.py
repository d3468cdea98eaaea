"""Seeds: rows that every test finds. CSV files go in by the server's own COPY, SQL files and functions as in a schema."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Engine, MetaData, create_engine
from sqlalchemy.pool import NullPool

from ..errors import SchemaError
from . import sqlfile
from .admin import sqlstate
from .catalog import SET_SEQUENCES, Table, find_table, in_order, tables
from .entries import call, named
from .imports import import_object

__all__ = ["apply_seeds", "csv_files", "resolve"]

KINDS = """A seed is one of:
  path/to/users.csv            rows of the table users; sales.orders.csv for a table of the schema sales
  path/to/folder               its CSV files, in the order of the foreign keys
  path/to/file.sql             run as psql would
  package.module:function      called with those of engine, connection, session that it names
In Python code also the object itself: pathlib.Path or function."""
AGAIN = "SET CONSTRAINTS ALL DEFERRED"
# what a file has set for itself: pg_dump empties search_path
RESET = "RESET SESSION AUTHORIZATION; RESET ROLE; RESET ALL"
IDLE = 0

REMEDIES = {
    "23502": 'Give the column a value. An empty field is NULL; a quoted one ("") is an empty text.',
    "23503": "The rows that it refers to must be there first: list their file before this one, put both into one folder and "
    "name that, or make the constraint DEFERRABLE.",
    "23505": "Two rows have this key: the other one is in a file before this, or was made by the schema's own entries.",
    "23514": "Correct the row; or the constraint, where the row is right.",
    "22": "Write the value as PostgreSQL reads the column's type. An empty field is NULL.",
}


def apply_seeds(seeds: Sequence[object], url: URL, root: Path, *, is_bare: bool = False) -> None:
    """Apply seeds in their order to the database at `url`; to be called inside the fence of `schema.loaded`.

    Files that follow one another are one transaction, in which deferrable constraints are deferred. A
    function comes after what the files before it have committed. Sequences are set behind the largest value.

    Args:
        seeds: paths and functions, as text or as objects.
        url: the template.
        root: the folder from which relative paths count.
        is_bare: whether the schema is empty, for the error on a table that is not there.

    Raises:
        SchemaError: a seed could not be applied; names it, its line where the server knows it, and what to do.
    """
    engine = create_engine(url, poolclass=NullPool)
    with _Files(url, is_bare=is_bare) as files:
        for number, seed in enumerate(seeds, start=1):
            with named(f"Seed {number}", seed, root):
                found = resolve(seed, root)
            if not isinstance(found, Path):
                files.commit()
            with named(f"Seed {number}", seed, root):
                if not isinstance(found, Path):
                    call(found, engine)
                    files.set_sequences()
                elif found.suffix.lower() == ".sql":
                    files.run(found, seed, number)
                else:
                    files.load(csv_files(found), seed, number)
        files.commit()


def resolve(seed: object, root: Path) -> Any:
    """Return what a seed names: a path that exists, absolute, or a function.

    Raises:
        SchemaError: it is none of the kinds, or is not there.
    """
    if isinstance(seed, str):
        text = seed.strip()
        is_folder = bool(text) and (root / text).is_dir()
        is_path = text.lower().endswith((".sql", ".csv")) or ("/" in text and ":" not in text)
        seed = Path(text) if is_folder or is_path else _imported(text)
    if isinstance(seed, Path):
        return _path((root / seed).resolve())
    if isinstance(seed, type | MetaData) or not callable(seed):
        raise SchemaError(f"{seed!r} is none of the kinds of seeds.\n{KINDS}")
    return seed


def _imported(text: str) -> object:
    module, _, name = text.partition(":")
    if not name or not all(part.isidentifier() for part in (*module.split("."), *name.split("."))):
        raise SchemaError(f"{text!r} is none of the kinds of seeds, and there is no such folder.\n{KINDS}")
    found = import_object(text)
    if isinstance(found, str | Path):  # not to be read as a seed once more
        raise SchemaError(f"{text!r} is {found!r}, none of the kinds of seeds.\n{KINDS}")
    return found


def _path(path: Path) -> Path:
    if path.is_dir():
        return path
    if path.suffix.lower() not in (".sql", ".csv"):
        raise SchemaError(f"{path} is neither a CSV file, an SQL file nor a folder.\n{KINDS}")
    if not path.is_file():
        near = get_close_matches(path.name, _names_in(path.parent), n=1)
        raise SchemaError(f"There is no file {path}.{f' Did you mean {near[0]!r}?' if near else ''}")
    return path


def _names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []


def csv_files(path: Path) -> list[Path]:
    """Return a CSV file, or those of a folder by their names.

    Raises:
        SchemaError: the folder has none.
    """
    if not path.is_dir():
        return [path]
    found = [path / name for name in _names_in(path) if name.lower().endswith(".csv") and not name.startswith(".")]
    if not found:
        raise SchemaError(f"The folder {path} has no CSV files.")
    return found


class _Files:
    """Loads files over one connection, in one transaction until `commit`.

    The connection is psycopg2's whatever the tests' driver is: its COPY takes a file.
    """

    def __init__(self, url: URL, *, is_bare: bool) -> None:
        url = url.set(drivername="postgresql+psycopg2")
        self._engine: Engine = create_engine(url, poolclass=NullPool, connect_args={"client_encoding": "UTF8"})
        self._is_bare = is_bare
        self._connection: Any = None
        self._driver: Any = None
        self._loaded: dict[int, list[Path]] = {}
        self._title: tuple[str, object] = ("", "")

    def __enter__(self) -> _Files:
        self._connection = self._engine.raw_connection()
        self._driver = self._connection.driver_connection
        self._driver.autocommit = True
        return self

    def __exit__(self, *error: object) -> None:
        self._connection.invalidate()

    @contextmanager
    def _transaction(self, seed: object, number: int) -> Iterator[Any]:
        self._title = (f"Seed {number}", seed)
        with self._driver.cursor() as cursor:
            if self._driver.info.transaction_status == IDLE:
                cursor.execute("BEGIN")
            cursor.execute(AGAIN)
            yield cursor

    def run(self, path: Path, seed: object, number: int) -> None:
        """Run an SQL file; it may commit by itself."""
        with self._transaction(seed, number) as cursor:
            sqlfile.execute(cursor, path)
            cursor.execute(RESET)

    def load(self, paths: Sequence[Path], seed: object, number: int) -> None:
        """Load CSV files into the tables of their names."""
        with self._transaction(seed, number) as cursor:
            known = tables(cursor)
            targets = [(find_table(path, known, is_bare=self._is_bare), path) for path in paths]
            for table in in_order(cursor, {table for table, _ in targets}):
                for path in (path for target, path in targets if target == table):
                    self._loaded.setdefault(table.oid, []).append(path)
                    _copy(cursor, table, path)

    def set_sequences(self) -> None:
        """Set each sequence that a column owns behind the column's largest value."""
        with self._driver.cursor() as cursor:
            cursor.execute(SET_SEQUENCES)

    def commit(self) -> None:
        """End the transaction, where one was begun."""
        if self._driver.info.transaction_status == IDLE:
            return
        try:
            self.set_sequences()
            with self._driver.cursor() as cursor:
                cursor.execute("COMMIT")
        except Exception as error:
            # what was deferred is refused now, and belongs to whichever file filled that table
            with named(*self._title, Path()):
                raise SchemaError(self._refused_at_commit(error)) from error
        self._loaded.clear()

    def _refused_at_commit(self, error: Exception) -> str:
        name = getattr(getattr(error, "diag", None), "table_name", None)
        with self._driver.cursor() as cursor:
            cursor.execute("ROLLBACK")
            of_table = [path for table in tables(cursor) if table.name == name for path in self._loaded.get(table.oid, [])]
        return _violation(", ".join(map(str, of_table)) or "at the commit of the seeds", error)


def _copy(cursor: Any, table: Table, path: Path) -> None:
    content = _content(path)
    columns = _header(path, content.decode())
    table.check_columns(cursor, columns, path)
    names = ", ".join('"' + name.replace('"', '""') + '"' for name in columns)
    try:
        cursor.copy_expert(f"COPY {table.quoted} ({names}) FROM STDIN (FORMAT csv, HEADER true)", io.BytesIO(content))
    except Exception as error:
        line = sqlfile.copy_line(error)
        raise SchemaError(_violation(f"{path}:{line}" if line else str(path), error)) from error


def _content(path: Path) -> bytes:
    """Return what is in a file, as UTF-8 without a byte order mark."""
    return sqlfile.read(path).encode()


def _header(path: Path, text: str) -> list[str]:
    if not text.strip():
        raise SchemaError(f"{path} is empty: its first line must have the names of the columns.")
    names = next(csv.reader(io.StringIO(text, newline="")))
    if "" in names:
        raise SchemaError(f"{path}:1: column {names.index('') + 1} has no name.")
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise SchemaError(f"{path}:1: the column {twice!r} is there twice.")
    return names


def _violation(place: str, error: Exception) -> str:
    code, diag = sqlstate(error), getattr(error, "diag", None)
    remedy = REMEDIES.get(code) or REMEDIES.get(code[:2], "")
    said = sqlfile.database_error(error)
    if code[:2] != "23":
        return "\n".join(filter(None, (f"{place}: {said}", remedy)))
    parts = [f"table {diag.table_name}"] if diag and diag.table_name else []
    parts += [f"column {diag.column_name}"] if diag and diag.column_name else []
    parts += [f"constraint {diag.constraint_name}"] if diag and diag.constraint_name else []
    return "\n".join(filter(None, (f"{place}: a seed that violates the schema ({', '.join(parts)}).", said, remedy)))
