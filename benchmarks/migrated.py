"""How long the first query of a migrated project takes where nothing runs and its schema has been built before."""

from __future__ import annotations

import shutil
import sys

from measuring import OURS, TOLD, Table, pytest_told, temporary, until_query
from projects import MIGRATIONS, NO_QUERY, QUERY, folder, modelled

WITHOUT_SCHEMA = """
import os, time

def test_it(pg_session):
    with open(os.environ["BENCH_OUT"], "w") as file:
        file.write(str(time.time()))
"""

BARE, WARM, ANEW = "bare pytest, the same imports", "caches warm", "no snapshot of this schema yet"


def migrated(rounds: int) -> None:
    """Measure the first query on a local server, 20 tables by 50 migrations.

    The baseline is bare pytest with a test file that imports what the other does: SQLAlchemy and the models.
    "No snapshot" is the first run with this schema on a machine that has run others: each sample has a cache of
    its own, where one run without a schema has been before.
    """
    project, bare, other = modelled(QUERY), modelled(NO_QUERY), folder(test_it=WITHOUT_SCHEMA)
    cache = temporary()
    variables = {"TESTBED_PROVIDER": "local", "TESTBED_PG_SCHEMA": MIGRATIONS, "BENCH_OUT": str(project / "out")}
    for _ in range(2):
        told = pytest_told(project, TOLD, plugin=OURS, TESTBED_CACHE_DIR=str(cache), **variables)[1]
    if " was there" not in told:
        sys.exit(f"the second run did not find the first one's template:\n{told}")
    variables.pop("BENCH_OUT")
    until_query(bare)
    table = Table("migrated: from the start of pytest to the first query's answer, local, 20 tables by 50 migrations")
    for turn in range(rounds * 4):
        table.add(BARE, until_query(bare))
        table.add(WARM, until_query(project, OURS, TESTBED_CACHE_DIR=str(cache), **variables))
        if turn < rounds:
            fresh = temporary()
            until_query(other, OURS, TESTBED_PROVIDER="local", TESTBED_CACHE_DIR=str(fresh))
            table.add(ANEW, until_query(project, OURS, TESTBED_CACHE_DIR=str(fresh), **variables))
            shutil.rmtree(fresh, ignore_errors=True)
    table.show()
    print(f"  → over bare pytest: {table.over(WARM, BARE):.0f} ms   (target: at most 250)")
    print(f"  → the first run with the schema: {table.median(ANEW) - table.median(BARE):.0f} ms")
