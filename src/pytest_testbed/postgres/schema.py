"""The schema of the tests: metadata, SQL files, Alembic and functions, applied to the template in order."""

from __future__ import annotations

import inspect
import re
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Engine, MetaData, create_engine
from sqlalchemy.orm import Session
from sqlalchemy.pool import NullPool

from ..errors import SchemaError
from .fence import guarded_process
from .imports import import_object

_IMPORT_PATH = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*(:[^\W\d]\w*(\.[^\W\d]\w*)*)?")
_ARGUMENTS = ("engine", "connection", "session")
_KINDS = """An entry is one of:
  package.module:Base          a declarative base class, or any object with `.metadata`
  package.module:metadata      a MetaData
  package.module:function      called with those of engine, connection, session that it names
  package.module               imported only, so that its models register
  path/to/file.sql             run as psql would
  alembic.ini                  `upgrade head`
In Python code also the object itself: MetaData, base class, pathlib.Path or function."""


def apply_schema(entries: Sequence[object], url: URL, root: Path) -> None:
    """Apply the entries in their order to the database at `url`.

    Meanwhile no other database can be reached; working directory, environment, `sys.path` and
    logging are restored afterwards.

    Args:
        entries: Import paths, file paths or objects; the kinds are in `docs` and in the errors.
        url: The template, with the driver psycopg2 or psycopg.
        root: The folder from which relative file paths count.

    Raises:
        SchemaError: An entry could not be applied; names it and shows the database's own error.
    """
    with loaded(entries, url, root):
        engine = create_engine(url, poolclass=NullPool)
        for number, entry in enumerate(entries, start=1):
            with _named(number, entry, root):
                _apply(entry, engine, root)
    if entries and all(map(_is_module, entries)):
        raise SchemaError(
            f"The schema ({', '.join(map(str, entries))}) names modules alone, which are only imported: nothing is made. "
            "Name the metadata too, such as shop.models:Base."
        )


@contextmanager
def loaded(entries: Sequence[object], url: URL, root: Path) -> Iterator[None]:
    """Import the entries' modules and give a process that reaches no database but the one at `url`, restored afterwards.

    Raises:
        SchemaError: A module cannot be imported; names the entry.
    """
    with guarded_process(url) as keep_environment:
        for number, entry in enumerate(entries, start=1):
            if isinstance(entry, str) and _IMPORT_PATH.fullmatch(entry.strip()) and not _is_file(entry):
                with _named(number, entry, root):
                    import_object(entry.strip().partition(":")[0])
        keep_environment()  # a module is imported once: what it has set there would not come back
        yield


def _is_file(entry: str) -> bool:
    return entry.strip().lower().endswith((".sql", ".ini", ".toml"))


def _is_module(entry: object) -> bool:
    return isinstance(entry, str) and ":" not in entry and not _is_file(entry)


@contextmanager
def _named(number: int, entry: object, root: Path) -> Iterator[None]:
    """Give every failure of an entry its number and text. A script's `sys.exit` is a failure too."""
    try:
        yield
    except (Exception, SystemExit) as error:
        title = f"Entry {number} of the schema ({_text(entry)}) could not be applied."
        if isinstance(error, SchemaError):
            problem, cause = str(error), error.__cause__ or error
        else:
            problem, cause = _problem(error), error
        place = _place(error, root)
        raise SchemaError("\n".join(filter(None, (title, problem, place)))) from cause


def _text(entry: object) -> str:
    if isinstance(entry, str | Path):
        return str(entry)
    name = getattr(entry, "__qualname__", None)
    return f"{getattr(entry, '__module__', '?')}:{name}" if name else repr(entry)


def _problem(error: BaseException) -> str:
    if getattr(error, "orig", None) is None and getattr(error, "diag", None) is None:
        return f"{type(error).__name__}: {error}"
    from . import sqlfile

    statement = str(getattr(error, "statement", None) or "").strip()
    excerpt = "\n".join(f"  | {line}" for line in statement.split("\n")[:3] if line)
    return "\n".join(filter(None, (sqlfile.database_error(error), excerpt)))


def _place(error: BaseException, root: Path) -> str:
    """The project's own line in the traceback: which migration, which function."""
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        file = Path(frame.filename)
        foreign = file.parent == Path(__file__).parent or "site-packages" in file.parts
        if file.is_relative_to(root) and not foreign:
            return f"at {frame.filename}:{frame.lineno}, in {frame.name}"
    return ""


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
        _call(entry, engine)
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


def _call(function: Callable[..., Any], engine: Engine) -> None:
    wanted = _arguments(function)
    if inspect.iscoroutinefunction(function):
        if wanted:
            raise SchemaError(
                f"A coroutine function with arguments ({', '.join(wanted)}) is not supported: make it a plain function, "
                "or one without arguments."
            )
        import asyncio

        asyncio.run(function())
        return
    with engine.connect() as connection, Session(bind=connection) as session:
        available = {"engine": engine, "connection": connection, "session": session}
        result = function(**{name: available[name] for name in wanted})
        if inspect.iscoroutine(result):
            result.close()
            raise SchemaError("The call returned a coroutine; write an `async def` function without arguments.")
        session.commit()
        connection.commit()


def _arguments(function: Callable[..., Any]) -> list[str]:
    """Those of our arguments that the function names."""
    variadic = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    parameters = [parameter for parameter in inspect.signature(function).parameters.values() if parameter.kind not in variadic]
    unknown = [p.name for p in parameters if p.name not in _ARGUMENTS and p.default is inspect.Parameter.empty]
    if unknown:
        raise SchemaError(
            f"The function wants {', '.join(map(repr, unknown))}, which cannot be given; there are {', '.join(_ARGUMENTS)}."
        )
    return [parameter.name for parameter in parameters if parameter.name in _ARGUMENTS]
