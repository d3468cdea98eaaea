"""What pytest pays for the plugin, and what one test costs: insert, commit, select."""

from __future__ import annotations

import os
import statistics
from pathlib import Path

from measuring import OURS, PEERS, Table, pytest_run
from projects import BODY, OUR_SESSION, folder

# --- the plugin, loaded and unused


def unused(rounds: int) -> None:
    """Measure what a run that needs no service pays."""
    project = folder(test_it="def test_it():\n    pass\n")
    table = Table("plugin loaded and unused: one empty test, whole process")
    for turn in range(rounds * 8 + 2):
        for name, plugin in (("-p no:testbed", ""), ("with the plugin", OURS)):
            took = pytest_run(project, plugin=plugin)
            if turn >= 2:
                table.add(name, took)
    table.show()
    extra = table.over("with the plugin", "-p no:testbed")
    print(f"  → {extra:+.2f} ms, {extra / table.median('-p no:testbed'):+.1%}   (target: at most 5 ms and 2 %)")


# --- one test

HAND_WRITTEN = """
import os, pytest
from sqlalchemy import create_engine
from sqlalchemy.orm import Session

@pytest.fixture(scope="session")
def kept(pg_service):
    import psycopg2
    engine = create_engine("postgresql+psycopg2://", creator=lambda: psycopg2.connect(
        host=pg_service.socket, port=pg_service.port, user=pg_service.user, dbname="postgres"))
    with engine.connect() as connection:
        connection.exec_driver_sql("@TABLES@")
        connection.commit()
        yield connection
    engine.dispose()

@pytest.fixture
def session(kept):
    transaction = kept.begin()
    with Session(kept, join_transaction_mode="create_savepoint") as session:
        yield session
    transaction.rollback()
"""

PEER = """
import os, pytest
from sqlalchemy import create_engine
from sqlalchemy.orm import Session
from pytest_postgresql import factories

def load(**kwargs):
    import psycopg
    with psycopg.connect(**kwargs) as connection:
        connection.execute("@TABLES@")

postgresql_noproc = factories.postgresql_noproc(
    host=os.environ["BENCH_HOST"], port=int(os.environ["BENCH_PORT"]), user="postgres", password=os.environ["BENCH_PASSWORD"],
    load=[load])
postgresql = factories.postgresql("postgresql_noproc")
"""

PEER_BODY = """
import pytest

@pytest.mark.parametrize("n", range({tests}))
def test_it(postgresql, n):
    with postgresql.cursor() as cursor:
        cursor.execute("INSERT INTO thing (name) VALUES (%s)", (f"n{{n}}",))
        postgresql.commit()
        assert cursor.execute("SELECT name FROM thing").fetchall() == [(f"n{{n}}",)]
"""

BARE_BODY = """
import pytest

@pytest.mark.parametrize("n", range({tests}))
def test_it(n):
    assert {{n: n}}[n] == n
"""

TIMER = """
import os, statistics, time, pytest
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
        file.write(str(statistics.median(times[5:-1])))
"""


def pertest(rounds: int) -> None:
    """Measure what one test costs: insert, commit, select."""
    from pytest_testbed import Testbed
    from pytest_testbed.postgres.service import postgres_spec

    tests = 300
    body = BODY.format(tests=tests)
    ours = body.replace("session", "pg_session")
    variants: dict[str, tuple[Path, str]] = {
        "bare pytest": (folder(conftest="", timer=TIMER, test_it=BARE_BODY.format(tests=tests)), ""),
        "hand-written create_savepoint": (folder(conftest=HAND_WRITTEN, timer=TIMER, test_it=body), OURS),
        "pg_session": (folder(conftest=OUR_SESSION, timer=TIMER, test_it=ours), OURS),
        "pg_session, psycopg 3": (folder(conftest=OUR_SESSION, timer=TIMER, test_it=ours), OURS),
        "pytest-postgresql's postgresql": (
            folder(conftest=PEER, timer=TIMER, test_it=PEER_BODY.format(tests=60)),
            PEERS,
        ),
    }
    source = [path for path in [os.environ.get("PYTHONPATH", "")] if path]
    table = Table("one test: insert, commit, select (set-up and teardown included), 20 tables")
    with Testbed([postgres_spec(provider="local")]) as testbed:
        server = testbed.endpoint("postgres")
        for _ in range(rounds):
            for name, (project, plugin) in variants.items():
                out = project / "out"
                variables = {
                    "BENCH_OUT": str(out), "BENCH_HOST": server.host, "BENCH_PORT": str(server.port),
                    "BENCH_PASSWORD": server.password, "PYTHONPATH": os.pathsep.join([str(project), *source]),
                    "TESTBED_PROVIDER": "local",
                    "TESTBED_PG_DRIVER": "psycopg" if "psycopg 3" in name else "psycopg2",
                }  # fmt: skip
                if plugin != OURS:
                    variables = {k: v for k, v in variables.items() if not k.startswith("TESTBED")}
                pytest_run(project, "-p", "timer", plugin=plugin, **variables)
                table.add(name, float(out.read_text()))
    table.show()
    ratio = statistics.median(
        a / b for a, b in zip(table.samples["pg_session"], table.samples["hand-written create_savepoint"], strict=True)
    )
    peer = table.over("pytest-postgresql's postgresql", "bare pytest") / table.over("pg_session", "bare pytest")
    print(f"  → pg_session / hand-written: {ratio:.3f}   (target: at most 1.05)")
    print(f"  → over bare pytest, pytest-postgresql / pg_session: {peer:.1f}   (target: at least 25)")
