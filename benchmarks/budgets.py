"""What a budget costs a test: of seconds, of statements, of all four; and what is paid where another test has one."""

from __future__ import annotations

import json
import statistics

from measuring import OURS, Table, pytest_run
from projects import folder

TESTS = 1000
TIMER = """
import json, os, time
starts = []

def pytest_runtest_logstart():  # from one to the next, all is in between
    starts.append(time.perf_counter())

def pytest_unconfigure():
    times = [after - before for before, after in zip(starts, starts[1:])]
    with open(os.environ["BENCH_OUT"], "w") as file:  # the first tests pay for what is made once
        json.dump(times[20:], file)
"""
BODY = """
import pytest
{head}

@pytest.mark.parametrize("n", range({tests}))
def test_it(n):
    pass
"""
LOADED = "import sqlalchemy, psycopg2, requests, httpx, pika"
NONE, OTHER, MARKED, SECONDS, NONE_LOADED, SECONDS_LOADED, QUERIES, ALL = (
    "no budget",
    "no budget, but another test has one",
    "a mark of seconds",
    "testbed_budget: seconds",
    "no budget; drivers and clients loaded",
    "testbed_budget: seconds; loaded",
    "testbed_budget: queries; loaded",
    "testbed_budget: all four; loaded",
)
LINES = {SECONDS: "seconds=5", SECONDS_LOADED: "seconds=5", QUERIES: "queries=5"}
LINES[ALL] = "seconds=5 queries=5 http_calls=5 messages=5"


def budgets(rounds: int) -> None:
    """Measure an empty test with and without budgets."""
    last = "\n@pytest.mark.budget(seconds=5)\ndef test_last(): pass\n"
    marked = BODY.replace("@pytest.mark.param", "@pytest.mark.budget(seconds=5)\n@pytest.mark.param")
    projects = {
        NONE: BODY.format(head="", tests=TESTS),
        OTHER: BODY.format(head="", tests=TESTS) + last,
        MARKED: marked.format(head="", tests=TESTS),
        SECONDS: BODY.format(head="", tests=TESTS),
        **{name: BODY.format(head=LOADED, tests=TESTS) for name in (NONE_LOADED, SECONDS_LOADED, QUERIES, ALL)},
    }
    made = {name: folder(conftest="", timer=TIMER, test_it=body) for name, body in projects.items()}
    table = Table(f"an empty test, of {TESTS}")
    for turn in range(rounds):
        for name in made if turn % 2 else reversed(made):
            out = made[name] / "out"
            variables = {"TESTBED_BUDGET": LINES[name]} if name in LINES else {}
            pytest_run(made[name], "-p", "timer", plugin=OURS, PYTHONPATH=str(made[name]), BENCH_OUT=str(out), **variables)
            table.add(name, statistics.median(json.loads(out.read_text())))
    table.show()
    for floor, names in ((NONE, (OTHER, MARKED, SECONDS)), (NONE_LOADED, (SECONDS_LOADED, QUERIES, ALL))):
        for name in names:
            print(f"  → {name}: {table.over(name, floor) * 1e3:+.0f} µs over none")
