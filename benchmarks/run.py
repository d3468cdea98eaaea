"""The figures that the project promises, measured in pairs in one run; medians and ratios, no verdict.

    python benchmarks/run.py                 everything (some minutes; run it when nothing else runs)
    python benchmarks/run.py unused pertest  a part: unused, pertest, local, docker
    python benchmarks/run.py --rounds 5

Needs the test dependencies and pytest-postgresql (`pip install --group benchmarks`). Variants of one
comparison take turns, so that a machine that slows down slows them all.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from importlib.metadata import entry_points
from pathlib import Path

HERE = Path(__file__).parent
PLAIN = ["-p", "no:cacheprovider", "-q", "--no-header"]
OURS, PEERS = "testbed", "pytest_postgresql"


class Table:
    """Samples of several variants, in seconds."""

    def __init__(self, title: str) -> None:
        self.title = title
        self.samples: dict[str, list[float]] = {}

    def add(self, name: str, seconds: float) -> None:
        """Add one sample."""
        self.samples.setdefault(name, []).append(seconds)

    def median(self, name: str) -> float:
        """Return a variant's median in milliseconds."""
        return statistics.median(self.samples[name]) * 1e3

    def over(self, name: str, floor: str) -> float:
        """Return the median of the pairwise differences in milliseconds."""
        return statistics.median(a - b for a, b in zip(self.samples[name], self.samples[floor], strict=True)) * 1e3

    def show(self) -> None:
        """Print the medians."""
        print(f"\n{self.title}")
        for name, values in self.samples.items():
            low, high = min(values) * 1e3, max(values) * 1e3
            print(f"  {name:44} {self.median(name):9.2f} ms   (min {low:.2f}, max {high:.2f}, n {len(values)})")


def environment(**more: str) -> dict[str, str]:
    """Return an environment without anything that could steer pytest or us."""
    # byte code is cached as on any user's machine: else every start would compile what it loads
    others = ("DATABASE_URL", "PYTHONDONTWRITEBYTECODE")
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("TESTBED_", "PG", "PYTEST_")) and k not in others}
    return {**kept, **more}


def without_others(wanted: str) -> list[str]:
    """Return the arguments that block every installed plugin but one, in the way in which users load it."""
    names = {point.name for point in entry_points(group="pytest11")} - {wanted}
    return [part for name in sorted(names) for part in ("-p", f"no:{name}")]


def pytest_run(folder: Path, *arguments: str, plugin: str = "", **variables: str) -> float:
    """Run pytest with one installed plugin, in a process of its own; return its wall time in seconds."""
    command = [sys.executable, "-m", "pytest", *PLAIN, *without_others(plugin), *arguments]
    began = time.perf_counter()
    done = subprocess.run(command, cwd=folder, env=environment(**variables), capture_output=True, text=True, check=False)
    took = time.perf_counter() - began
    if done.returncode:
        sys.exit(f"{' '.join(command)}\n{done.stdout}{done.stderr}")
    return took


def folder(**files: str) -> Path:
    """Write a project into a new folder."""
    path = Path(tempfile.mkdtemp(prefix="testbed-benchmark-"))
    for name, text in files.items():
        (path / f"{name}.py").write_text(text.replace("@TABLES@", TABLES))
    return path


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

# a small project's schema; how many tables there are is felt by those who clone a database alone
TABLES = "; ".join(["CREATE TABLE thing (id serial PRIMARY KEY, name text)"] + [
    f"CREATE TABLE thing{n} (id serial PRIMARY KEY, name text, other int REFERENCES thing (id))" for n in range(1, 20)
])  # fmt: skip

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

OUR_SESSION = """
import pytest

@pytest.fixture(scope="session")
def pg_schema():
    def make(connection):
        connection.exec_driver_sql("@TABLES@")
    return [make]
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

BODY = """
import pytest
from sqlalchemy import Column, Integer, MetaData, Table, Text, insert, select
thing = Table("thing", MetaData(), Column("id", Integer, primary_key=True), Column("name", Text))

@pytest.mark.parametrize("n", range({tests}))
def test_it(session, n):
    session.execute(insert(thing).values(name=f"n{{n}}"))
    session.commit()
    assert session.scalars(select(thing.c.name)).all() == [f"n{{n}}"]
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
    table = Table("one test: insert, commit, select (set-up and teardown included), 20 tables")
    with Testbed([postgres_spec(provider="local")]) as testbed:
        server = testbed.endpoint("postgres")
        for _ in range(rounds):
            for name, (project, plugin) in variants.items():
                out = project / "out"
                variables = {
                    "BENCH_OUT": str(out), "BENCH_HOST": server.host, "BENCH_PORT": str(server.port),
                    "BENCH_PASSWORD": server.password, "PYTHONPATH": str(project), "TESTBED_PROVIDER": "local",
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


# --- the first query

FIRST = """
import os, time
from sqlalchemy import text

def test_it(pg_session):
    assert pg_session.scalar(text("SELECT 1")) == 1
    with open(os.environ["BENCH_OUT"], "w") as file:
        file.write(str(time.time()))
"""

FLOOR = """
import os, time
{imports}

def test_it():
    with open(os.environ["BENCH_OUT"], "w") as file:
        file.write(str(time.time()))
"""


def until_query(project: Path, plugin: str = "", **variables: str) -> float:
    """Return the seconds from the start of pytest to the first query's answer."""
    out = project / "out"
    began = time.time()
    pytest_run(project, plugin=plugin, BENCH_OUT=str(out), **variables)
    return float(out.read_text()) - began


def local(rounds: int) -> None:
    """Measure the first query on a local server: caches warm, and on a machine that never ran it."""
    from pytest_testbed.postgres.binaries import find_binaries
    from pytest_testbed.postgres.cluster import initdb_flags
    from pytest_testbed.services.providers.local import run_as, unprivileged_user

    bare = folder(test_it=FLOOR.format(imports=""))
    alike = folder(test_it=FLOOR.format(imports="from sqlalchemy import text"))
    project = folder(test_it=FIRST)
    cache = tempfile.mkdtemp(prefix="testbed-benchmark-")
    until_query(project, OURS, TESTBED_PROVIDER="local", TESTBED_CACHE_DIR=cache)
    table = Table("local: from the start of pytest to the first query's answer")
    for _ in range(rounds * 4):
        table.add("bare pytest, empty test", until_query(bare))
        table.add("bare pytest, test file imports sqlalchemy", until_query(alike))
        table.add("pg_session, caches warm", until_query(project, OURS, TESTBED_PROVIDER="local", TESTBED_CACHE_DIR=cache))
    binaries, _ = find_binaries("", None, None)
    assert binaries is not None
    user = unprivileged_user()
    for _ in range(rounds):
        base = Path(tempfile.mkdtemp(prefix="testbed-benchmark-", dir="/dev/shm" if os.path.isdir("/dev/shm") else None))
        base.chmod(0o777)
        command = [str(binaries.directory / "initdb"), "-D", str(base / "data"), *initdb_flags(binaries.major)]
        if user is not None and not os.access(binaries.directory, os.X_OK):
            break
        began = time.perf_counter()
        subprocess.run(command, check=True, capture_output=True, cwd=base, **run_as(user))  # type: ignore[call-overload]
        table.add("initdb alone", time.perf_counter() - began)
        shutil.rmtree(base)
        fresh = tempfile.mkdtemp(prefix="testbed-benchmark-")
        floor = until_query(alike)
        table.add(
            "first run ever, over bare", until_query(project, OURS, TESTBED_PROVIDER="local", TESTBED_CACHE_DIR=fresh) - floor
        )
    table.show()
    warm = "pg_session, caches warm"
    print(f"  → second run, over bare pytest: {table.over(warm, 'bare pytest, test file imports sqlalchemy'):.0f} ms where the")
    print(
        f"    test file imports sqlalchemy as any of its users does, {table.over(warm, 'bare pytest, empty test'):.0f} ms over an"
    )
    print("    empty test file   (target: at most 200)")
    ratio = statistics.median(
        a / b for a, b in zip(table.samples["first run ever, over bare"], table.samples["initdb alone"], strict=True)
    )
    print(f"  → first run ever / initdb: {ratio:.2f}   (target: at most 1.3)")


CONTAINER_DOCUMENTED = """
import warnings; warnings.simplefilter("ignore")
import time; began = time.perf_counter()
from testcontainers.postgres import PostgresContainer
import sqlalchemy
with PostgresContainer({image!r}) as postgres:
    engine = sqlalchemy.create_engine(postgres.get_connection_url())
    with engine.begin() as connection:
        connection.execute(sqlalchemy.text("select 1")).fetchone()
        print(time.perf_counter() - began)
    engine.dispose()
"""

CONTAINER_OURS = """
import time; began = time.perf_counter()
from pytest_testbed import Testbed
from pytest_testbed.postgres.service import postgres_spec
with Testbed([postgres_spec(provider="docker", image={image!r})]) as testbed:
    testbed.prefetch(["postgres"])
    import sqlalchemy
    engine = sqlalchemy.create_engine(testbed.endpoint("postgres").url(scheme="postgresql+psycopg2"))
    with engine.begin() as connection:
        connection.execute(sqlalchemy.text("select 1")).fetchone()
        print(time.perf_counter() - began)
    engine.dispose()
"""


def docker(rounds: int) -> None:
    """Measure the first query in a container, against testcontainers as its documentation shows it."""
    image = os.environ.get("TESTBED_PG_IMAGE", "postgres:18")
    table = Table(f"docker: from nothing to the first query's answer, {image}")
    quiet = environment(TESTCONTAINERS_RYUK_DISABLED="true")
    scripts: dict[str, str] = {
        "PostgresContainer as documented": CONTAINER_DOCUMENTED.format(image=image),
        "pytest-testbed": CONTAINER_OURS.format(image=image),
    }
    for turn in range(rounds + 1):
        for name, script in scripts.items():
            done = subprocess.run([sys.executable, "-c", script], env=quiet, capture_output=True, text=True, check=True)
            if turn:
                table.add(name, float(done.stdout))
    table.show()
    ratio = table.median("pytest-testbed") / table.median("PostgresContainer as documented")
    print(f"  → {ratio:.2f}   (target: at most 0.55)")


PARTS: dict[str, Callable[[int], None]] = {"unused": unused, "pertest": pertest, "local": local, "docker": docker}


def main() -> None:
    """Run what the command line names."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", choices=[*PARTS, []], help="what to measure; default: everything")
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    print(f"Python {sys.version.split()[0]}, {os.cpu_count()} processors, load {os.getloadavg()[0]:.1f}")
    for name in arguments.parts or PARTS:
        PARTS[name](arguments.rounds)


if __name__ == "__main__":
    main()
