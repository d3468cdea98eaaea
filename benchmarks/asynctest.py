"""What one async test costs: insert, commit, select, on a loop for the whole run."""

from __future__ import annotations

import os
import statistics

from measuring import OURS, Table, pytest_run
from onetest import TIMER
from projects import OUR_SESSION, folder

HAND_WRITTEN = """
import os, pytest_asyncio
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine

@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def kept(pg_service):
    async def connect():
        if os.environ["BENCH_DRIVER"] == "asyncpg":
            import asyncpg
            return await asyncpg.connect(
                host=pg_service.socket, port=pg_service.port, user=pg_service.user, database="postgres")
        import psycopg
        return await psycopg.AsyncConnection.connect(
            host=pg_service.socket, port=pg_service.port, user=pg_service.user, dbname="postgres", prepare_threshold=None)
    engine = create_async_engine("postgresql+" + os.environ["BENCH_DRIVER"] + "://", async_creator=connect)
    async with engine.connect() as connection:
        for statement in filter(None, "@TABLES@".split(";")):
            await connection.exec_driver_sql(statement)
        await connection.commit()
        yield connection
    await engine.dispose()

@pytest_asyncio.fixture(loop_scope="session")
async def session(kept):
    transaction = await kept.begin()
    async with AsyncSession(kept, join_transaction_mode="create_savepoint") as session:
        yield session
    await transaction.rollback()
"""

BODY = """
import pytest
from sqlalchemy import Column, Integer, MetaData, Table, Text, insert, select
thing = Table("thing", MetaData(), Column("id", Integer, primary_key=True), Column("name", Text))

@pytest.mark.asyncio(loop_scope="{scope}")
@pytest.mark.parametrize("n", range({tests}))
async def test_it(session, n):
    await session.execute(insert(thing).values(name=f"n{{n}}"))
    await session.commit()
    assert (await session.scalars(select(thing.c.name))).all() == [f"n{{n}}"]
"""
ASYNCIO = ("-p", "pytest_asyncio.plugin", "-o", "asyncio_default_fixture_loop_scope=function")


def async_(rounds: int) -> None:
    """Measure what one async test costs."""
    ours = BODY.replace("session, n", "pg_async_session, n").replace("session.", "pg_async_session.")
    many, few = {"scope": "session", "tests": 300}, {"scope": "function", "tests": 40}
    projects = {
        "hand-written create_savepoint": folder(conftest=HAND_WRITTEN, timer=TIMER, test_it=BODY.format(**many)),
        "pg_async_session": folder(conftest=OUR_SESSION, timer=TIMER, test_it=ours.format(**many)),
        "pg_async_session, a loop for each test": folder(conftest=OUR_SESSION, timer=TIMER, test_it=ours.format(**few)),
    }
    source = [path for path in [os.environ.get("PYTHONPATH", "")] if path]
    table = Table("one async test: insert, commit, select (set-up and teardown included), 20 tables")
    for _ in range(rounds):
        for driver in ("asyncpg", "psycopg"):
            for name, project in projects.items():
                out = project / "out"
                variables = {
                    "BENCH_OUT": str(out), "BENCH_DRIVER": driver, "TESTBED_PG_ASYNC_DRIVER": driver,
                    "TESTBED_PROVIDER": "local", "PYTHONPATH": os.pathsep.join([str(project), *source]),
                }  # fmt: skip
                pytest_run(project, *ASYNCIO, "-p", "timer", plugin=OURS, **variables)
                table.add(f"{name}, {driver}", float(out.read_text()))
    table.show()
    for driver in ("asyncpg", "psycopg"):
        hand, own = (table.samples[f"{name}, {driver}"] for name in ("hand-written create_savepoint", "pg_async_session"))
        ratio = statistics.median(a / b for a, b in zip(own, hand, strict=True))
        print(f"  → pg_async_session / hand-written, {driver}: {ratio:.3f}   (target: at most 1.2)")
