"""What the front door costs: statements on kept connections, through it and past it, both by TCP on loopback.

The floor is that of four wake-ups in place of two for each answer, and a wake-up costs what the machine makes of it: where
all run on one processor a relay in C that does nothing else was measured at 1.5 times the direct way, where a virtual
machine has to wake another processor each time at 2.8 to 5 times. So both are shown.
"""

from __future__ import annotations

import asyncio
import os
import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any

from measuring import Table

SMALL, LARGE = "SELECT 1", "SELECT n, md5(n::text), now() FROM generate_series(1, 10000) n"
STATEMENTS = 300
"""So many small statements are one sample; of the large ones five."""
WAYS = ("direct", "through the front door")


def frontdoor(rounds: int) -> None:
    """Measure what a client pays for coming by an exported address: as the machine has it, and on one processor."""
    compared(rounds, "")
    if hasattr(os, "sched_setaffinity"):
        before = os.sched_getaffinity(0)
        os.sched_setaffinity(0, {min(before)})  # what is started inherits it
        compared(rounds, "on one processor, ")
        os.sched_setaffinity(0, before)


def compared(rounds: int, where: str) -> None:
    """Let clients of each driver take both ways."""
    from pytest_testbed import Testbed
    from pytest_testbed.postgres.address import DatabaseAddress
    from pytest_testbed.postgres.service import connection_parameters, drop_database, postgres_spec

    with Testbed([postgres_spec(provider="local")]) as testbed:
        address = DatabaseAddress(f"testbed_{testbed.run}_benchmark")
        address.open(testbed)
        door = {"host": address.doorway.host, "port": address.doorway.port, "user": address.user, "password": address.password}
        direct = connection_parameters(testbed.endpoint("postgres"), "")
        direct = {**{name: direct[name] for name in door}, "host": testbed.endpoint("postgres").host}
        by_way = {name: {**way, "database": address.database} for name, way in zip(WAYS, (door, direct)[::-1], strict=True)}
        for driver, opened in (("psycopg2", psycopg2), ("asyncpg", asyncpg)):
            with opened(by_way) as runs:
                for sql, count in ((SMALL, STATEMENTS), (LARGE, 5)):
                    in_turns(f"{where}{driver}: {sql}", rounds * 8, count, {name: run(sql, count) for name, run in runs.items()})
        drop_database(testbed.endpoint("postgres"), address.database)


def in_turns(title: str, turns: int, count: int, runs: Mapping[str, Callable[[], None]]) -> None:
    """Let the ways take turns; show the time of one statement and the ratio."""
    table = Table(title)
    for turn in range(turns + 1):
        for name, run in runs.items() if turn % 2 else reversed(runs.items()):
            began = time.perf_counter()
            run()
            if turn:
                table.add(name, (time.perf_counter() - began) / count)
    table.show()
    ratio = statistics.median(a / b for a, b in zip(table.samples[WAYS[1]], table.samples[WAYS[0]], strict=True))
    least = min(table.samples[WAYS[1]]) / min(table.samples[WAYS[0]])
    print(f"  → {ratio:.2f} (median of the pairs), {least:.2f} (of the minima)   (target: at most 1.5)")


Run = Callable[[str, int], Callable[[], None]]
Ways = Mapping[str, dict[str, Any]]


@contextmanager
def psycopg2(ways: Ways) -> Iterator[dict[str, Run]]:
    """Give functions that send statements by psycopg2, by each way."""
    import psycopg2 as driver

    def opened(way: dict[str, Any]) -> Any:
        connection = driver.connect(**way)
        connection.autocommit = True
        return connection

    def sending(cursor: Any, sql: str, count: int) -> Callable[[], None]:
        def run() -> None:
            for _ in range(count):
                cursor.execute(sql)
                cursor.fetchall()

        return run

    connections = {name: opened(way) for name, way in reversed(ways.items())}  # the door makes the database
    yield {name: partial(sending, connection.cursor()) for name, connection in connections.items()}
    for connection in connections.values():
        connection.close()


@contextmanager
def asyncpg(ways: Ways) -> Iterator[dict[str, Run]]:
    """Give functions that send statements by asyncpg, by each way."""
    import asyncpg as driver

    loop = asyncio.new_event_loop()

    def sending(connection: Any, sql: str, count: int) -> Callable[[], None]:
        async def all_of_them() -> None:
            for _ in range(count):
                await connection.fetch(sql)

        return lambda: loop.run_until_complete(all_of_them())

    connections = {name: loop.run_until_complete(driver.connect(**way, ssl=False)) for name, way in reversed(ways.items())}
    yield {name: partial(sending, connection) for name, connection in connections.items()}
    for connection in connections.values():
        loop.run_until_complete(connection.close())
    loop.close()
