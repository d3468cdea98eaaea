"""What SQLAlchemy sends, on whatever engine, by the events of its dialects."""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import ExitStack
from types import FrameType
from typing import Any

from ..callers import OURS, place_of
from .queries import Query
from .sent import begin, end, fail, now, taken_already

__all__ = ["listen"]

SAVEPOINTS = ("SAVEPOINT sa_savepoint_", "RELEASE SAVEPOINT sa_savepoint_", "ROLLBACK TO SAVEPOINT sa_savepoint_")
"""How its own statements of a nested transaction begin; like BEGIN and COMMIT they are not the test's."""
BATCH = "_testbed_batch"
"""An execution context has this once a statement of it was sent: what follows are batches of one bulk insert."""
MARK: Any = 1
"""Says that there are listeners, as True does; so it is seen whether somebody else has said so meanwhile."""


def listen(stack: ExitStack) -> None:
    """Listen to every engine of this process, those that are made later among them.

    Not by the events round a cursor: with these, all others are called for each statement, too, which costs thrice as
    much as what is done here.
    """
    from sqlalchemy import Dialect, Engine, event

    from .traits import UNHEARD

    unmarked = getattr(Dialect, "_has_events", None) is False  # listening sets it, and nothing unsets it
    if unmarked:
        stack.callback(_unmark, Dialect)
    for name, listener in _LISTENERS.items():
        setattr(listener, UNHEARD, True)
        event.listen(Engine, name, listener)
        stack.callback(event.remove, Engine, name, listener)
    if unmarked:
        Dialect._has_events = MARK


def _unmark(dialect: Any) -> None:
    if dialect._has_events is MARK:
        dialect._has_events = False


def _execute(cursor: Any, statement: str, parameters: Any, context: Any) -> bool:
    """Send a statement in SQLAlchemy's stead, and take it down; return False where SQLAlchemy shall do it."""
    __tracebackhide__ = True
    if (query := _begun(statement, parameters, context, sys._getframe(3))) is None:
        return False
    dialect = context.dialect
    began = now()
    try:
        # what SQLAlchemy does: the first listener that sends it ends it, else the dialect sends it
        for listener in dialect.dispatch.do_execute:
            if listener is not _execute and _is_sent_by(listener, cursor, statement, parameters, context):
                break
        else:
            dialect.do_execute(cursor, statement, parameters, context)
    except BaseException as error:
        fail(query, began, error)
        raise
    end(query, began, cursor.rowcount)
    return True


def _executemany(cursor: Any, statement: str, parameters: Any, context: Any) -> bool:
    """Do the same with many sets of parameters."""
    __tracebackhide__ = True
    if (query := _begun(statement, parameters, context, sys._getframe(3))) is None:
        return False
    query.sets = len(parameters)
    dialect = context.dialect
    began = now()
    try:
        for listener in dialect.dispatch.do_executemany:
            if listener is not _executemany and _is_sent_by(listener, cursor, statement, parameters, context):
                break
        else:
            dialect.do_executemany(cursor, statement, parameters, context)
    except BaseException as error:
        fail(query, began, error)
        raise
    end(query, began, cursor.rowcount)
    return True


def _execute_no_params(cursor: Any, statement: str, context: Any) -> bool:
    """Do the same with none (the execution option `no_parameters`)."""
    __tracebackhide__ = True
    if (query := _begun(statement, None, context, sys._getframe(3))) is None:
        return False
    dialect = context.dialect
    began = now()
    try:
        for listener in dialect.dispatch.do_execute_no_params:
            if listener is not _execute_no_params and _is_sent_by(listener, cursor, statement, context):
                break
        else:
            dialect.do_execute_no_params(cursor, statement, context)
    except BaseException as error:
        fail(query, began, error)
        raise
    end(query, began, cursor.rowcount)
    return True


_LISTENERS: dict[str, Callable[..., bool]] = {
    "do_execute": _execute,
    "do_executemany": _executemany,
    "do_execute_no_params": _execute_no_params,
}


def _begun(statement: str, parameters: Any, context: Any, frame: FrameType) -> Query | None:
    """Take down a statement that is about to be sent; return None where it is not the test's."""
    dialect = context.dialect
    if dialect.name != "postgresql" or statement.startswith(SAVEPOINTS) or _is_of_dialect(context.root_connection):
        return None
    place = place_of(frame)
    if place is OURS:
        return None
    query = begin(statement, parameters, place, dialect.driver, context.engine)
    if hasattr(context, BATCH):  # not its `__dict__`: after a look at that, all that SQLAlchemy reads there is read slower
        query.goes_on = True
    else:
        context._testbed_batch = True
    if parameters.__class__ is tuple and context.compiled is not None:
        query.names = context.compiled.positiontup
    return query


def _is_sent_by(listener: Callable[..., Any], *arguments: Any) -> bool:
    """Ask somebody else's listener, who may use the driver by himself."""
    with taken_already():
        return bool(listener(*arguments))


def _is_of_dialect(connection: Any) -> bool:
    """Tell whether SQLAlchemy has made the connection for its own questions, when it gets to know a server."""
    return type(connection._dbapi_connection).__name__ == "_AdhocProxiedConnection"
