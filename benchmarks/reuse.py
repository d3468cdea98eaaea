"""What a run pays that finds its services kept by an earlier one, with the schema unchanged."""

from __future__ import annotations

import os
import sys
import time

from measuring import OURS, TOLD, Table, engines, pytest_told, temporary, tidy, until_query
from projects import METADATA, MIGRATIONS, NO_QUERY, QUERY, modelled

SCHEMAS = {"20 tables by metadata": METADATA, "20 tables by 50 migrations": MIGRATIONS}
BARE = "bare pytest, the same imports"
LOADED = "bare pytest, dialect and driver too"


def reuse(rounds: int) -> None:
    """Measure the first query of a run on kept services, local and docker.

    The baseline is bare pytest with a test file that imports what the other does: SQLAlchemy and the models. The
    second baseline also imports SQLAlchemy's dialect and the driver, which whoever queries needs.
    """
    for provider in engines():
        kept(provider, rounds)


def kept(provider: str, rounds: int) -> None:
    """Measure one provider; its kept hosts are ended, and nobody else's: the ledger is the benchmark's own."""
    bare = modelled(NO_QUERY)
    loaded = modelled("import psycopg2, sqlalchemy.dialects.postgresql.psycopg2\n" + NO_QUERY)
    shared = {"XDG_STATE_HOME": str(temporary()), "TESTBED_CACHE_DIR": str(temporary()), "TESTBED_PROVIDER": provider}
    if image := os.environ.get("TESTBED_PG_IMAGE"):
        shared["TESTBED_PG_IMAGE"] = image
    projects = {name: modelled(QUERY) for name in SCHEMAS}
    table = Table(f"reuse: kept services, from the start of pytest to the first answer, {provider}")

    def run(name: str) -> float:
        began = time.time()
        told(name)
        return float((projects[name] / "out").read_text()) - began

    def told(name: str, *more: str) -> tuple[float, str]:
        variables = {**shared, "TESTBED_PG_SCHEMA": SCHEMAS[name], "BENCH_OUT": str(projects[name] / "out")}
        return pytest_told(projects[name], "--testbed-reuse", *filter(None, more), plugin=OURS, **variables)

    try:
        for name in SCHEMAS:
            run(name)
            found = told(name, TOLD)[1]
            if "started by another run" not in found or " was there" not in found:
                sys.exit(f"the second run did not find what the first one kept:\n{found}")
        for turn in range(rounds * 4 + 1):
            samples = {BARE: until_query(bare), LOADED: until_query(loaded), **{name: run(name) for name in SCHEMAS}}
            for name, took in samples.items():
                if turn:
                    table.add(name, took)
    finally:
        tidy(shared)
    table.show()
    for name in SCHEMAS:
        over, more = table.over(name, BARE), table.over(name, LOADED)
        print(
            f"  → {name}: {over:+.0f} ms over bare pytest (target: at most 100), {more:+.0f} ms over one with dialect and driver"
        )
