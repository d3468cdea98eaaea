"""The schema of the tests: metadata, SQL files, Alembic and functions, applied to the template in order."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Engine, MetaData, create_engine
from sqlalchemy.pool import NullPool

from ..errors import SchemaError
from .entries import call, named
from .fence import Detour, guarded_process
from .imports import import_object

_IMPORT_PATH = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*(:[^\W\d]\w*(\.[^\W\d]\w*)*)?")
_KINDS = """An entry is one of:
  package.module:Base          a declarative base class, or any object with `.metadata`
  package.module:metadata      a MetaData
  package.module:function      called with those of engine, connection, session that it names
  package.module               imported only, so that its models register
  path/to/file.sql             run as psql would
  alembic.ini                  `upgrade head`
In Python code also the object itself: MetaData, base class, pathlib.Path or function."""


def apply_schema(
    entries: Sequence[object], url: URL, root: Path, seeds: Sequence[object] = (), exported: Detour | None = None
) -> None:
    """Apply the entries in their order to the database at `url`, and after them the seeds.

    Meanwhile no other database can be reached; working directory, environment, `sys.path` and
    logging are restored afterwards.

    Args:
        entries: Import paths, file paths or objects; the kinds are in `docs` and in the errors.
        url: The template, with the driver psycopg2 or psycopg.
        root: The folder from which relative file paths count.
        seeds: What `seeds.apply_seeds` takes.
        exported: An address that leads to `url` meanwhile: applications have it.

    Raises:
        SchemaError: An entry could not be applied; names it and shows the database's own error.
    """
    with loaded(entries, url, root, seeds, exported):
        engine = create_engine(url, poolclass=NullPool)
        for number, entry in enumerate(entries, start=1):
            with named(f"Entry {number} of the schema", entry, root):
                _apply(entry, engine, root)
        if seeds:
            from .seeds import apply_seeds

            apply_seeds(seeds, url, root, is_bare=not entries)
    if entries and all(map(_is_module, entries)):
        raise SchemaError(
            f"The schema ({', '.join(map(str, entries))}) names modules alone, which are only imported: nothing is made. "
            "Name the metadata too, such as shop.models:Base."
        )


@contextmanager
def loaded(
    entries: Sequence[object], url: URL, root: Path, seeds: Sequence[object] = (), exported: Detour | None = None
) -> Iterator[None]:
    """Import the modules of entries and seeds; give a process that reaches no database but the one at `url`, restored afterwards.

    Raises:
        SchemaError: A module cannot be imported; names the entry.
    """
    with guarded_process(url, exported) as keep_environment:
        for title, entry, module in _modules(entries, seeds):
            with named(title, entry, root):
                import_object(module)
        keep_environment()  # a module is imported once: what it has set there would not come back
        yield


def modules_of(entries: Sequence[object], seeds: Sequence[object] = ()) -> list[str]:
    """Return the modules that `loaded` imports."""
    return [module for _, _, module in _modules(entries, seeds)]


def _modules(entries: Sequence[object], seeds: Sequence[object]) -> Iterator[tuple[str, str, str]]:
    """Yield what each entry that names a module is called, its text, and the module."""
    titled = [
        *((f"Entry {number} of the schema", entry) for number, entry in enumerate(entries, start=1)),
        # without a colon it is a folder
        *((f"Seed {number}", seed) for number, seed in enumerate(seeds, start=1) if isinstance(seed, str) and ":" in seed),
    ]
    for title, entry in titled:
        if isinstance(entry, str) and _IMPORT_PATH.fullmatch(entry.strip()) and not _is_file(entry):
            yield title, entry, entry.strip().partition(":")[0]


def _is_file(entry: str) -> bool:
    return entry.strip().lower().endswith((".sql", ".ini", ".toml"))


def _is_module(entry: object) -> bool:
    return isinstance(entry, str) and ":" not in entry and not _is_file(entry)


def _apply(entry: object, engine: Engine, root: Path) -> None:
    if isinstance(entry, str):
        entry = _resolved(entry.strip())
        if entry is None:
            return
    if isinstance(entry, Path):
        _apply_file((root / entry).resolve(), engine)
    elif (metadata := _metadata_of(entry)) is not None:
        _create_tables(metadata, engine)
    elif inspect.isclass(entry):
        raise SchemaError(f"{entry.__qualname__!r} is a class without metadata, and no function.\n{_KINDS}")
    elif callable(entry):
        call(entry, engine)
    else:
        raise SchemaError(f"{entry!r} is none of the kinds of which a schema is made.\n{_KINDS}")


def _resolved(text: str) -> object:
    """What the text of an entry names; None for a module, which only had to be imported."""
    if _is_file(text):
        return Path(text)
    if not _IMPORT_PATH.fullmatch(text):
        raise SchemaError(f"{text!r} is none of the kinds of which a schema is made.\n{_KINDS}")
    found = import_object(text)
    if ":" not in text:
        return None
    if found is None or isinstance(found, str | Path):  # not to be read as an entry once more
        raise SchemaError(f"{text!r} is {found!r}, none of the kinds of which a schema is made.\n{_KINDS}")
    return found


def _apply_file(path: Path, engine: Engine) -> None:
    is_alembic = path.suffix.lower() == ".ini" or path.name == "pyproject.toml"
    if not is_alembic and path.suffix.lower() != ".sql":
        raise SchemaError(f"{path} is neither an SQL file nor a configuration of Alembic.\n{_KINDS}")
    if not path.is_file():
        raise SchemaError(f"There is no file {path}.")
    if is_alembic:
        from .migrations import upgrade

        upgrade(path, engine)
        return
    from . import sqlfile

    connection = engine.raw_connection()
    try:
        driver: Any = connection.driver_connection
        driver.autocommit = True
        sqlfile.run(driver, path)
    finally:
        connection.invalidate()


def _metadata_of(entry: object) -> MetaData | None:
    if isinstance(entry, MetaData):
        return entry
    metadata = getattr(entry, "metadata", None)
    return metadata if isinstance(metadata, MetaData) else None


def _create_tables(metadata: MetaData, engine: Engine) -> None:
    if not metadata.tables:
        raise SchemaError(
            "The metadata has no tables: the modules with the models were not imported. "
            "List them before it, each on a line of its own (for instance `shop.models`)."
        )
    metadata.create_all(engine)
