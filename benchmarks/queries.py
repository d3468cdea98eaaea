"""What `pg_queries` costs: a thousand inserts with and without it, and its own set-up."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any

from measuring import Table

INSERTS = 1000
MAKE = "CREATE TABLE thing (id serial PRIMARY KEY, name text)"


def queries(rounds: int) -> None:
    """Measure what recording costs those who ask for it, and those who do not."""
    from pytest_testbed import Testbed
    from pytest_testbed.postgres.recording import recorded
    from pytest_testbed.postgres.service import postgres_spec

    with Testbed([postgres_spec(provider="local")]) as testbed:
        for driver in ("psycopg2", "psycopg"):
            with inserting(testbed, driver) as insert:
                target = "   (target: at most 5 %)"
                pairs(f"{INSERTS} inserts on pg_session, a flush each ({driver})", rounds * 6, insert, recorded, target)
        url = testbed.endpoint("postgres").url()
        pairs(f"{INSERTS} inserts with psycopg alone, the server on this machine", rounds * 6, alone(url), recorded)
    setting_up(rounds, recorded)


def pairs(
    title: str, turns: int, insert: Callable[[], None], recorded: Callable[[], AbstractContextManager[Any]], target: str = ""
) -> None:
    """Let a run with and one without it take turns."""
    table = Table(title)
    insert()
    for turn in range(turns):
        both = [("without", nullcontext), ("with pg_queries", recorded)]
        for name, recording in both if turn % 2 else reversed(both):
            began = time.perf_counter()
            with recording():
                insert()
            table.add(name, time.perf_counter() - began)
    table.show()
    ratio = statistics.median(a / b for a, b in zip(table.samples["with pg_queries"], table.samples["without"], strict=True))
    print(f"  → {ratio - 1:+.1%} (median of the pairs){target}")


@contextmanager
def inserting(testbed: Any, driver: str) -> Iterator[Callable[[], None]]:
    """Give a function that makes a test's session insert objects, as an application's ORM does it."""
    from sqlalchemy import Column, Integer, Text
    from sqlalchemy.orm import Session, declarative_base

    from pytest_testbed.postgres.database import Database

    base = declarative_base()
    thing = type("Thing", (base,), {"__tablename__": "thing", "id": Column(Integer, primary_key=True), "name": Column(Text)})
    database = Database(testbed, worker=driver, schema=[base], root=Path.cwd(), driver=driver, lock_timeout=10.0)
    database.ensure()
    with database.guard() as guard:

        def insert() -> None:
            with guard.test() as engine, Session(engine) as session:
                for number in range(INSERTS):
                    session.add(thing(name=f"n{number}"))
                    session.flush()

        yield insert
    database.close()


def alone(url: str) -> Callable[[], None]:
    """Return a function that inserts with the driver alone: the most that recording can cost."""
    import psycopg

    connection = psycopg.connect(url)
    connection.execute(MAKE)

    def insert() -> None:
        cursor = connection.cursor()
        for number in range(INSERTS):
            cursor.execute("INSERT INTO thing (name) VALUES (%s)", (f"n{number}",))

    return insert


def setting_up(rounds: int, recorded: Callable[[], AbstractContextManager[Any]]) -> None:
    """Measure set-up and end of the recording, with all drivers imported."""
    table = Table("pg_queries without a statement: its set-up and its end")
    for _ in range(rounds * 20):
        began = time.perf_counter()
        with recorded():
            pass
        table.add("pg_queries", time.perf_counter() - began)
    table.show()
