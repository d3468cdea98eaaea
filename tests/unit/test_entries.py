"""How a function of a schema or of the seeds is called."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import Connection, create_engine, text
from sqlalchemy.orm import Session

from pytest_testbed.errors import SchemaError
from pytest_testbed.postgres.entries import call


def test_it_gets_what_it_names_and_that_is_committed(tmp_path: Any) -> None:
    engine = create_engine(f"sqlite:///{tmp_path}/it.db")

    def make(connection: Connection, *rest: Any, session: Session, count: int = 3, **more: Any) -> None:
        connection.execute(text("CREATE TABLE t (n int)"))
        session.execute(text("INSERT INTO t VALUES (:n)"), {"n": count})

    call(make, engine)
    with engine.connect() as connection:
        assert connection.scalar(text("SELECT n FROM t")) == 3
    engine.dispose()


def test_a_coroutine_function_without_arguments_is_run() -> None:
    done: list[str] = []

    async def make() -> None:
        await asyncio.sleep(0)
        done.append("it")

    call(make, create_engine("sqlite://"))
    assert done == ["it"]


async def with_a_session(session: Session) -> None: ...


def returns_one(session: Session) -> Any:
    return with_a_session(session)


def wants_more(cursor: Any, engine: Any) -> None: ...


@pytest.mark.parametrize(
    ("function", "problem"),
    [
        (with_a_session, r"A coroutine function with arguments \(session\) is not supported"),
        (returns_one, "The call returned a coroutine"),
        (wants_more, "The function wants 'cursor', which cannot be given; there are engine, connection, session"),
    ],
)
def test_what_cannot_be_called(function: Callable[..., Any], problem: str) -> None:
    with pytest.raises(SchemaError, match=problem):
        call(function, create_engine("sqlite://"))
