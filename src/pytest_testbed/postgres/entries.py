"""One entry of a schema or of the seeds: how its failure is told, and how a function is called."""

from __future__ import annotations

import inspect
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import Engine
from sqlalchemy.orm import Session

from ..errors import SchemaError

__all__ = ["call", "named"]

_ARGUMENTS = ("engine", "connection", "session")


@contextmanager
def named(what: str, entry: object, root: Path) -> Iterator[None]:
    """Give every failure of an entry what it is and its text. A script's `sys.exit` is a failure too.

    Raises:
        SchemaError: In place of whatever was raised.
    """
    try:
        yield
    except (Exception, SystemExit) as error:
        title = f"{what} ({_text(entry)}) could not be applied."
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


def call(function: Callable[..., Any], engine: Engine) -> None:
    """Call a function with those of engine, connection and session that it names, and commit the latter two.

    Raises:
        SchemaError: It wants something else, or is a coroutine function that wants anything.
    """
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
