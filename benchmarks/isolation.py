"""What a test costs that commits for real: three inserts, a commit, a select; 20 tables, seeds in three of them."""

from __future__ import annotations

import json
import os
import statistics
from pathlib import Path

from measuring import OURS, Table, pytest_run
from onetest import BARE_BODY
from projects import TABLES, folder

TESTS, LIGHT_TESTS = 150, 600
"""How many there are in a run; of those that take less than a millisecond more, as the first hundred are slower."""
SEEDS = "; ".join(
    ["INSERT INTO thing (name) SELECT 'seed' || n FROM generate_series(1, 50) n"]
    + [f"INSERT INTO thing{n} (name, other) SELECT 'seed' || n, n FROM generate_series(1, 50) n" for n in (1, 2)]
)

SCHEMA = f"""
import pytest

@pytest.fixture(scope="session")
def pg_schema():
    def make(connection):
        connection.exec_driver_sql("{TABLES}")
    return [make]

@pytest.fixture(scope="session")
def pg_seed():
    def fill(connection):
        connection.exec_driver_sql("{SEEDS}")
    return [fill]
"""

BODY = f"""
import pytest
from sqlalchemy import text
{{head}}

@pytest.mark.parametrize("n", range({TESTS}))
def test_it({{fixture}}, n):
    with {{engine}}.connect() as connection:
        for number in range(3):
            connection.execute(text("INSERT INTO thing3 (name) VALUES (:name)"), {{{{"name": f"n{{{{number}}}}"}}}})
        connection.commit()
        assert len(connection.execute(text("SELECT name FROM thing3")).all()) == 3
"""

MARKED = "pytestmark = pytest.mark.pg(isolation='database')"

BY_ADDRESS = """
import os
from sqlalchemy import create_engine
engine = create_engine(os.environ["DATABASE_URL"].replace("postgresql://", "postgresql+psycopg2://"))
"""

BY_CLONE = f"""
import psycopg2, pytest
from sqlalchemy import create_engine
from sqlalchemy.pool import NullPool
makers = []

@pytest.fixture(scope="session")
def admin(pg_service):
    def connect(name):
        return psycopg2.connect(host=pg_service.socket, port=pg_service.port, user=pg_service.user, dbname=name)
    connection = connect("postgres")
    connection.autocommit = True
    connection.cursor().execute("CREATE DATABASE mould")
    mould = connect("mould")
    mould.cursor().execute("{TABLES}; {SEEDS}")
    mould.commit()
    mould.close()
    makers.append(connect)
    yield connection

@pytest.fixture
def engine(admin):
    admin.cursor().execute("CREATE DATABASE clone TEMPLATE mould")
    engine = create_engine("postgresql+psycopg2://", creator=lambda: makers[0]("clone"), poolclass=NullPool)
    yield engine
    engine.dispose()
    admin.cursor().execute("DROP DATABASE clone")
"""

TIMER = """
import json, os, time, pytest
times = []

@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item, nextitem):
    began = time.perf_counter()
    try:
        return (yield)
    finally:
        times.append(time.perf_counter() - began)

def pytest_unconfigure():
    with open(os.environ["BENCH_OUT"], "w") as file:  # the first tests pay for what is made once
        json.dump(times[5:-1], file)
"""

BARE, OWN, ADDRESS, LIGHT, IDLE, CLONE = (
    "bare pytest",
    "database isolation, pg_engine",
    "database isolation, an exported address",
    f"bare pytest, {LIGHT_TESTS} tests",
    f"an exported address, no test connects, {LIGHT_TESTS} tests",
    "hand-written: a clone for each test",
)


def isolation(rounds: int) -> None:
    """Measure what one test in database isolation costs, and one that does not connect."""
    ours = BODY.format(fixture="pg_engine", engine="pg_engine", head=MARKED)
    bare, light = BARE_BODY.format(tests=TESTS), BARE_BODY.format(tests=LIGHT_TESTS)
    projects: dict[str, tuple[Path, str, dict[str, str]]] = {
        BARE: (folder(conftest="", timer=TIMER, test_it=bare), "", {}),
        OWN: (folder(conftest=SCHEMA, timer=TIMER, test_it=ours), OURS, {}),
        ADDRESS: (
            folder(conftest=SCHEMA, timer=TIMER, test_it=BODY.format(fixture="request", engine="engine", head=BY_ADDRESS)),
            OURS,
            {"TESTBED_ENV": "DATABASE_URL={pg.url}"},
        ),
        LIGHT: (folder(conftest="", timer=TIMER, test_it=light), "", {}),
        IDLE: (folder(conftest=SCHEMA, timer=TIMER, test_it=light), OURS, {"TESTBED_ENV": "DATABASE_URL={pg.url}"}),
        CLONE: (
            folder(conftest=BY_CLONE, timer=TIMER, test_it=BODY.format(fixture="engine", engine="engine", head="")),
            OURS,
            {},
        ),
    }
    medians, high = Table("one test: 3 inserts, commit, select; 20 tables, seeds in 3"), Table("the same, 95th percentile")
    for turn in range(rounds):
        for name in projects if turn % 2 else reversed(projects):
            times = run(*projects[name])
            medians.add(name, statistics.median(times))
            high.add(name, statistics.quantiles(times, n=20)[-1])
    medians.show()
    high.show()
    for name in (OWN, ADDRESS):
        print(f"  → {name}: {medians.over(name, BARE):+.2f} ms over bare pytest   (target: at most 8), p95 ", end="")
        print(f"{high.median(name):.2f} ms   (target: at most 20)")
    print(f"  → {IDLE}: {medians.over(IDLE, LIGHT):+.3f} ms over bare pytest   (target: at most 0.1)")
    print(f"  → {CLONE}: {medians.over(CLONE, BARE):+.2f} ms over bare pytest")


def run(project: Path, plugin: str, variables: dict[str, str]) -> list[float]:
    """Run a project's tests; return their times in seconds."""
    out = project / "out"
    source = [path for path in [os.environ.get("PYTHONPATH", "")] if path]
    own = {"TESTBED_PROVIDER": "local", **variables} if plugin == OURS else {}
    pytest_run(
        project,
        *("-p", "timer"),
        plugin=plugin,
        **{"BENCH_OUT": str(out), "PYTHONPATH": os.pathsep.join([str(project), *source]), **own},
    )
    found: list[float] = json.loads(out.read_text())
    return found
