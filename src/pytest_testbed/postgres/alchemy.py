"""What SQLAlchemy sends, on whatever engine, by its events."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import Any

from .callers import OURS, place_of
from .sent import begin, end, fail, now

__all__ = ["listen"]

SAVEPOINTS = ("SAVEPOINT sa_savepoint_", "RELEASE SAVEPOINT sa_savepoint_", "ROLLBACK TO SAVEPOINT sa_savepoint_")
"""How its own statements of a nested transaction begin; like BEGIN and COMMIT they are not the test's."""
NOTE = "_testbed_query"
"""Under this name the context of an execution has its query, and when that began."""
MARK: Any = 1
"""Says that there are listeners, as True does; so it is seen whether somebody else has said so meanwhile."""


def listen(stack: ExitStack) -> None:
    """Listen to every engine of this process, those that are made later among them."""
    from sqlalchemy import Dialect, Engine, event

    from .traits import UNHEARD

    unmarked = [target for target in (Engine, Dialect) if getattr(target, "_has_events", None) is False]
    stack.callback(_unmark, unmarked)
    options = {"before_cursor_execute": {"retval": True}}  # without it SQLAlchemy wraps the function once more
    listeners: dict[str, Callable[..., Any]] = {
        "before_cursor_execute": _before,
        "after_cursor_execute": _after,
        "handle_error": _failed,
    }
    for name, listener in listeners.items():
        setattr(listener, UNHEARD, True)
        event.listen(Engine, name, listener, **options.get(name, {}))
        stack.callback(event.remove, Engine, name, listener)
    for target in unmarked:
        target._has_events = MARK


def _unmark(targets: Sequence[Any]) -> None:
    for target in targets:
        if target._has_events is MARK:
            target._has_events = False


def _before(connection: Any, cursor: Any, statement: str, parameters: Any, context: Any, executemany: bool) -> tuple[str, Any]:
    dialect = connection.dialect
    if dialect.name != "postgresql" or statement.startswith(SAVEPOINTS) or is_of_dialect(connection):
        return statement, parameters
    place = place_of(sys._getframe(1))
    if place is not OURS and context is not None:
        noted = vars(context).get(NOTE)
        query = begin(
            statement,
            parameters,
            place,  # type: ignore[arg-type]
            dialect.driver,
            sets=len(parameters) if executemany and isinstance(parameters, list) else 1,
            engine=connection.engine,
            goes_on=noted is not None and executemany,
        )
        setattr(context, NOTE, (query, now()))
    return statement, parameters


def is_of_dialect(connection: Any) -> bool:
    """Tell whether SQLAlchemy has made the connection for its own questions, when it gets to know a server."""
    return type(connection._dbapi_connection).__name__ == "_AdhocProxiedConnection"


def _after(connection: Any, cursor: Any, statement: str, parameters: Any, context: Any, executemany: bool) -> None:
    noted = vars(context).get(NOTE) if context is not None else None
    if noted is not None and not noted[0].finished:
        query, began = noted
        end(query, began, cursor.rowcount)
        query.statement, query.parameters = statement, parameters  # other listeners may have changed them
        if type(parameters) is tuple and context.compiled is not None:
            query.names = context.compiled.positiontup


def _failed(context: Any) -> None:
    execution = context.execution_context
    noted = vars(execution).get(NOTE) if execution is not None else None
    if noted is not None and not noted[0].finished:
        fail(noted[0], noted[1], context.original_exception)
