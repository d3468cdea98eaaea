"""What a schema is made of, as one short text: who finds a template of that name need not build it."""

from __future__ import annotations

import hashlib
import inspect
import os
import re
import sys
import tomllib
from collections.abc import Callable, Iterable, Iterator, Sequence
from configparser import Error as ConfigParserError
from configparser import RawConfigParser
from functools import partial
from pathlib import Path
from types import MethodType, ModuleType

from sqlalchemy import DDL, MetaData, Table, create_mock_engine
from sqlalchemy.schema import DDLElement

from .callables import Code, Parts, Unknown
from .imports import import_object
from .sources import files_below, import_closure, is_of_project

FORMAT = 1  # another one where what is looked at changes
_MISSING = b"missing"
_ADDRESS = re.compile(r" at 0x[0-9a-fA-F]+")
_DDL_EVENTS = ("before_create", "after_create")
_ALEMBIC_PLACES = ("script_location", "version_locations", "prepend_sys_path")


def schema_key(entries: Sequence[object], root: Path, *more: str, seeds: Sequence[object] = ()) -> str | None:
    """Return 16 hex digits that change with whatever the schema is made of; None where that cannot be known.

    What import paths name is imported, as `apply_schema` does it: call it inside the fence.

    Args:
        entries: As for `apply_schema`.
        root: The folder from which relative file paths count.
        more: What else makes a template another one, such as the server's version.
        seeds: As for `apply_schema`.
    """
    digest = hashlib.sha256()
    try:
        for name, content in [("format", str(FORMAT).encode()), *(("more", text.encode()) for text in more)]:
            _feed(digest.update, name, content)
        found = [_found(entry) for entry in entries]  # all of them, before any metadata is complete
        for text, entry in found:
            _feed(digest.update, "entry", text.encode("utf-8", "surrogateescape"))
            for name, content in _evidence(entry, text, root):
                _feed(digest.update, name, content)
        for seed in seeds:
            _feed(digest.update, "seed", str(seed if isinstance(seed, str | Path) else "").encode("utf-8", "surrogateescape"))
            for name, content in _seed(seed, root):
                _feed(digest.update, name, content)
    except Unknown:
        return None
    return digest.hexdigest()[:16]


def _feed(update: Callable[[bytes], None], name: str, content: bytes) -> None:
    key = name.encode("utf-8", "surrogateescape")
    update(b"%d %d " % (len(key), len(content)) + key + content)


def _found(entry: object) -> tuple[str, object]:
    """The entry's text, "" for an object, and what it names."""
    if isinstance(entry, Path):
        return str(entry), entry
    if not isinstance(entry, str):
        return "", entry
    text = entry.strip()
    if text.lower().endswith((".sql", ".ini", ".toml")):
        return text, Path(text)
    try:
        found = import_object(text)
    except (Exception, SystemExit) as error:  # apply_schema says it better
        raise Unknown from error
    if isinstance(found, ModuleType) == (":" in text):
        raise Unknown
    return text, found


def _evidence(entry: object, text: str, root: Path) -> Parts:
    metadata = entry if isinstance(entry, MetaData) else getattr(entry, "metadata", None)
    if isinstance(entry, ModuleType):
        return
    if isinstance(entry, Path):
        yield from _file(Path(os.path.abspath(root / entry)), root)
    elif isinstance(metadata, MetaData):
        try:
            yield from _ddl(metadata)
        except Exception:  # a listener asked the database, or wanted the driver's connection
            yield from _sources_of(metadata, root)
    elif callable(entry) and not inspect.isclass(entry):
        yield from Code(root).of(entry)
        if sources := getattr(entry, "sources", None):  # of ours, which knows what it finds by itself
            yield from _found_by(sources, root)
    else:
        raise Unknown(text)


def _found_by(sources: Callable[[], Iterable[str]], root: Path) -> Parts:
    try:
        files = sorted(sources())
    except Exception as error:  # apply_schema says it better
        raise Unknown from error
    yield from _closure(files, root)


def _seed(seed: object, root: Path) -> Parts:
    from .seeds import csv_files, resolve

    try:
        found = resolve(seed, root)
        files = [found] if isinstance(found, Path) and found.suffix.lower() == ".sql" else None
        if files is None and isinstance(found, Path):
            files = csv_files(found)
    except (Exception, SystemExit) as error:  # apply_seeds says it better
        raise Unknown from error
    if files is None:
        yield from Code(root).of(found)
    for file in files or ():
        yield os.path.relpath(file, root), _bytes(file)


# --- metadata


def _ddl(metadata: MetaData) -> Parts:
    """What `create_all` would send. Indexes and constraints come from sets: their statements are sorted."""
    sorted_ones: list[str] = []
    others: list[str] = []

    def record(element: object, parameters: object = None, **_options: object) -> None:
        compiled = element if isinstance(element, str) else element.compile(dialect=engine.dialect)  # type: ignore[attr-defined]
        text = f"{compiled} {getattr(compiled, 'params', None)!r} {parameters!r}"
        if _ADDRESS.search(text):
            raise Unknown(text)
        ordered = isinstance(element, DDL) or not isinstance(element, DDLElement)
        (others if ordered else sorted_ones).append(text)

    engine = create_mock_engine("postgresql+psycopg2://", record)
    engine.exec_driver_sql = record  # type: ignore[attr-defined]
    tables = sorted(metadata.tables.values(), key=lambda table: table.key)
    metadata.create_all(engine, tables, checkfirst=False)
    for text in [*sorted(sorted_ones), *others]:
        yield "ddl", text.encode("utf-8", "surrogateescape")


def _sources_of(metadata: MetaData, root: Path) -> Parts:
    """The sources of the modules in which the tables and the listeners are."""
    code = Code(root)
    for schema_item in (metadata, *metadata.tables.values()):
        for event in _DDL_EVENTS:
            for listener in getattr(schema_item.dispatch, event):
                function = listener.func if isinstance(listener, partial) else listener
                target = function.__self__ if isinstance(function, MethodType) else function
                module = str(getattr(function, "__module__", ""))
                if module.startswith("sqlalchemy.") and not module.startswith("sqlalchemy.event"):
                    if isinstance(target, DDL):
                        code.texts.append(repr(target.statement))
                    continue
                code.look(listener)
    for holders in _holders(metadata).values():
        closures = [(name, import_closure([name], root)) for name in sorted(holders)]
        # who only imports a table reaches more than the module that makes it
        code.files.add(min(closures, key=lambda closure: len(closure[1]))[0])
    yield from code.parts()


def _holders(metadata: MetaData) -> dict[str, set[str]]:
    """For each table the files of the modules that have it, or its class, as a global name."""
    found: dict[str, set[str]] = {key: set() for key in metadata.tables}
    for module in list(sys.modules.values()):
        file = vars(module).get("__file__") if isinstance(module, ModuleType) else None
        if not file or not is_of_project(file):
            continue
        for value in list(vars(module).values()):
            table = value if isinstance(value, Table) else vars(value).get("__table__") if isinstance(value, type) else None
            if not isinstance(table, Table) or table.metadata is not metadata:
                continue
            found[table.key].add(file)
    if not found or not all(found.values()):
        raise Unknown("tables whose module is not known")
    return found


# --- files


def _file(path: Path, root: Path) -> Parts:
    content = _bytes(path)
    yield os.path.relpath(path, root), content
    if content is _MISSING or path.suffix.lower() == ".sql":
        return
    given = _settings(path, content)
    folders = {folder for name in _ALEMBIC_PLACES[:2] for folder in _folders(given.get(name, ""), path.parent)}
    if not folders:
        raise Unknown("no script_location")
    files = sorted({file for folder in folders for file in files_below(folder)})
    for file in files:
        if not file.endswith(".py"):
            yield os.path.relpath(file, root), _bytes(Path(file))
    paths = [*_folders(given.get("prepend_sys_path", ""), path.parent), str(path.parent)]
    yield from _closure([file for file in files if file.endswith(".py")], root, paths)


def _settings(path: Path, content: bytes) -> dict[str, str]:
    """Alembic's own settings of an ini or of pyproject.toml, lists with a line for each item."""
    text = content.decode("utf-8-sig", "replace")
    here = str(path.parent)
    try:
        if path.suffix.lower() == ".toml":
            section = tomllib.loads(text).get("tool", {}).get("alembic", {})
        else:
            parser = RawConfigParser()
            parser.read_string(text)
            section = dict(parser["alembic"]) if parser.has_section("alembic") else parser.defaults()
    except (ConfigParserError, tomllib.TOMLDecodeError) as error:
        raise Unknown(str(path)) from error
    if any("%(" in str(section.get(name, "")).replace("%(here)s", "") for name in _ALEMBIC_PLACES):
        raise Unknown(f"{path} has values that are put in later")
    joined = {name: value if isinstance(value, str) else "\n".join(map(str, value)) for name, value in section.items() if value}
    return {name: value.replace("%(here)s", here) for name, value in joined.items() if name in _ALEMBIC_PLACES}


def _folders(text: str, here: Path) -> Iterator[str]:
    """Whatever of a setting is a folder, split by each of the separators that Alembic knows."""
    for separator in (r"\n", r"[\s,;]+", r"[\s,;:]+"):
        for name in filter(None, map(str.strip, re.split(separator, text))):
            package, _, rest = name.partition(":")
            candidates = [here / name, *(Path(entry, *package.split("."), *rest.split(":")) for entry in sys.path if rest)]
            yield from (os.path.normpath(candidate) for candidate in candidates if candidate.is_dir())


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return _MISSING


def _closure(files: Iterable[str], root: Path, paths: Iterable[str] = ()) -> Parts:
    yield from sorted(import_closure(files, root, paths).items())
