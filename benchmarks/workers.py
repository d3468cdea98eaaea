"""What a test costs where xdist's workers share one server, and what each worker costs."""

from __future__ import annotations

import os
import re
import statistics
import sys
from pathlib import Path

from measuring import PLAIN, TOLD, Table, temporary, timed
from projects import OUR_SESSION, folder

TESTS = 400
COUNTS = (1, 2, 4)
"""Processes that run tests; 1 is pytest without xdist."""
OURS, BARE = "pg_session", "bare"
COST = re.compile(r"database \S+ was made in ([0-9.]+) s")

BODY = """
import os
from pathlib import Path
import pytest
from sqlalchemy import Column, Integer, MetaData, Table, Text, insert, select, text
thing = Table("thing", MetaData(), Column("id", Integer, primary_key=True), Column("name", Text))

@pytest.mark.parametrize("n", range(int(os.environ["BENCH_TESTS"])))
"""

WITH_SESSION = (
    BODY
    + """
def test_it(pg_session, n):
    pg_session.execute(insert(thing).values(name=f"n{n}"))
    pg_session.commit()
    assert pg_session.scalars(select(thing.c.name)).all() == [f"n{n}"]
"""
)

EMPTY = (
    BODY
    + """
def test_it(n):
    pass
"""
)

WHICH_SERVER = (
    BODY
    + """
def test_it(pg_session, n):
    found = pg_session.scalar(text("SELECT pg_postmaster_start_time() || ' ' || current_setting('port')"))
    Path(os.environ["BENCH_OUT"], os.environ.get("PYTEST_XDIST_WORKER", "main")).write_text(found)
"""
)


def ran(project: Path, ours: bool, processes: int, tests: int, *arguments: str, **variables: str) -> tuple[float, str]:
    """Run that many tests in that many processes; return the wall time and what pytest wrote.

    Plugins are named by a variable, which xdist's workers inherit: they would load what `-p no:` only
    takes out again.
    """
    plugins = [*(["pytest_testbed.plugin"] if ours else []), *(["xdist.plugin"] if processes > 1 else [])]
    environment = {
        "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "PYTEST_PLUGINS": ",".join(plugins), "BENCH_TESTS": str(tests), **variables,
    }  # fmt: skip
    if ours:
        environment["TESTBED_PROVIDER"] = "local"
    many = ["-n", str(processes)] if processes > 1 else []
    return timed([sys.executable, "-m", "pytest", *PLAIN, *many, *arguments], project, environment)


def servers(cache: str, processes: int) -> tuple[int, int]:
    """Return how many servers a run's workers have met, and how many workers had a test."""
    out = temporary()
    project = folder(conftest=OUR_SESSION, test_it=WHICH_SERVER)
    for count in (1, processes):  # the first makes the template
        ran(project, True, count, 10 * processes, TESTBED_CACHE_DIR=cache, BENCH_OUT=str(out))
    found = [path.read_text() for path in out.glob("gw*")]
    return len(set(found)), len(found)


def workers(rounds: int) -> None:
    """Measure `-n 2` and `-n 4` against one process: per test, and per worker.

    The cost of a test in n processes is

        (wall time of 400 tests - wall time of n tests, one a worker) / (400 - n) * min(n, processors)

    Start-up falls out by the difference. What remains is the time of one processor: where n processes have k
    processors to themselves, k times the wall time has been spent. With one process it is the plain wall time
    of a test. So the ratio of the two says how much of the machine is lost by sharing the server, on the same
    processors. It holds xdist's own cost of handing tests out and gathering reports, which one process has not;
    the same figures are therefore taken of a suite without us, with the same imports and as many empty tests,
    and the ratio is also shown with the empty tests' cost taken from both sides.

    The price of a worker is (wall time of n tests - wall time of n empty tests with the same imports) / n. As the
    server's start is in it, the price of each further worker, from 2 to 4, is shown beside it, and what the run
    itself tells of the time that making a worker's database took.
    """
    cache = str(temporary())
    processors = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    projects = {OURS: folder(conftest=OUR_SESSION, test_it=WITH_SESSION), BARE: folder(conftest="", test_it=EMPTY)}
    for count in COUNTS:
        for side, project in projects.items():
            ran(project, side == OURS, count, count, TESTBED_CACHE_DIR=cache)
    table = Table(f"workers: insert, commit, select on one local server; whole process, {processors} processors")
    clones: dict[int, list[float]] = {count: [] for count in COUNTS}
    for _ in range(rounds):
        for count in COUNTS:
            for tests in (count, TESTS):
                for side, project in projects.items():
                    took, told = ran(
                        project, side == OURS, count, tests, *([TOLD] if tests == count else []), TESTBED_CACHE_DIR=cache
                    )
                    table.add(row(side, count, tests), took)
                    clones[count] += [float(seconds) for seconds in COST.findall(told)]
    table.show()
    for count in COUNTS[1:]:
        met, alive = servers(cache, count)
        print(f"  → -n {count}: {met} server(s) for {alive} workers   (target: one start per kind)")
    costs = {(side, count): per_test(table, side, count, processors) for side in projects for count in COUNTS}
    show_costs(costs)
    show_prices(table, clones)


def row(side: str, count: int, tests: int) -> str:
    """Return the name of a variant."""
    return f"{side}, {'one process' if count == 1 else f'-n {count}'}, {tests} test{'s' if tests > 1 else ''}"


def per_test(table: Table, side: str, count: int, processors: int) -> list[float]:
    """Return each round's cost of one test, in milliseconds of one processor."""
    many, few = (table.samples[row(side, count, tests)] for tests in (TESTS, count))
    return [(a - b) / (TESTS - count) * min(count, processors) * 1e3 for a, b in zip(many, few, strict=True)]


def show_costs(costs: dict[tuple[str, int], list[float]]) -> None:
    """Print what a test costs, alone and in company."""
    one = {side: costs[side, 1] for side in (OURS, BARE)}
    print(f"  → a test in one process: {statistics.median(one[OURS]):.2f} ms, an empty one {statistics.median(one[BARE]):.2f} ms")
    for count in COUNTS[1:]:
        ours, bare = costs[OURS, count], costs[BARE, count]
        ratio = statistics.median(a / b for a, b in zip(ours, one[OURS], strict=True))
        apart = statistics.median((a - b) / (c - d) for a, b, c, d in zip(ours, bare, one[OURS], one[BARE], strict=True))
        print(
            f"  → -n {count}: {statistics.median(ours):.2f} ms, an empty one {statistics.median(bare):.2f} ms; "
            f"ratio to one process {ratio:.2f}   (target: at most 1.3), without the empty tests' {apart:.2f}"
        )


def show_prices(table: Table, clones: dict[int, list[float]]) -> None:
    """Print what a worker costs."""
    extra = {count: table.over(row(OURS, count, count), row(BARE, count, count)) for count in COUNTS}
    print(f"  → one process, server's start and one database: {extra[1]:.0f} ms over bare pytest")
    for count in COUNTS[1:]:
        each = f"{extra[count] / count:.0f} ms a worker with the server's start"
        print(f"  → -n {count}: {extra[count]:.0f} ms over bare xdist, {each}")
    print(f"  → each further worker, from 2 to 4: {(extra[4] - extra[2]) / 2:.0f} ms of wall time")
    for count, seconds in clones.items():
        if seconds:
            told = f"median {statistics.median(seconds) * 1e3:.1f} ms, max {max(seconds) * 1e3:.1f} ms"
            print(f"  → a worker's database, {count} at once: {told}, n {len(seconds)}")
