"""How long the first query takes where nothing runs yet: a local server, and a container."""

from __future__ import annotations

import os
import shutil
import statistics
import subprocess
import sys
import time

from measuring import OURS, Table, environment, temporary, until_query
from projects import folder

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


def local(rounds: int) -> None:
    """Measure the first query on a local server: caches warm, and on a machine that never ran it."""
    from pytest_testbed.postgres.binaries import find_binaries
    from pytest_testbed.postgres.cluster import initdb_flags
    from pytest_testbed.services.providers.local import run_as, unprivileged_user

    bare = folder(test_it=FLOOR.format(imports=""))
    alike = folder(test_it=FLOOR.format(imports="from sqlalchemy import text"))
    project = folder(test_it=FIRST)
    cache = str(temporary())
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
        base = temporary("/dev/shm" if os.path.isdir("/dev/shm") else None)
        base.chmod(0o777)
        command = [str(binaries.directory / "initdb"), "-D", str(base / "data"), *initdb_flags(binaries.major)]
        if user is not None and not os.access(binaries.directory, os.X_OK):
            break
        began = time.perf_counter()
        subprocess.run(command, check=True, capture_output=True, cwd=base, **run_as(user))
        table.add("initdb alone", time.perf_counter() - began)
        shutil.rmtree(base)
        fresh = str(temporary())
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
