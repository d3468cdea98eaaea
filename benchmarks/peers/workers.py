"""The same tests in one process and in pytest-xdist's workers."""

from __future__ import annotations

from dataclasses import replace

from . import postgres
from .model import Comparison, Way
from .start import (
    TC,
    TC_PLUGIN,
    by_hand,
    mock_resources,
    ours,
    postgresql,
    project,
    sqla,
)
from .tests import SAME_AS_BY_HAND, SLOW

COUNTS = {"one process": 0, "-n 2": 2, "-n 4": 4}
NUMBER = 40

WORKERS = (
    Comparison(
        "xdist",
        "workers",
        f"{NUMBER} tests, from the start of pytest to its end",
        "The tests of “A test in a transaction”, whole process, with what each contender does of itself for workers: one "
        "server or many, a database for each worker, or one for all.",
        (
            replace(ours("local"), form="local, one server", tests=NUMBER),
            replace(ours("docker"), form="docker, one container", tests=NUMBER),
            replace(by_hand(postgres.WORKER_URL, "database"), form="a given server, a database for each worker", tests=NUMBER),
            replace(
                sqla(), form="a given server, one database", tests=NUMBER, lacks="equal keys of two workers wait for each other"
            ),
            replace(
                postgresql(postgres.POSTGRESQL_PROC, "binaries"), form="local, a server for each worker", tests=NUMBER, lacks=SLOW
            ),
            replace(
                mock_resources(postgres.MOCK_RESOURCES_DOCKER, "docker"),
                form="docker, one container",
                arguments=("--pmr-multiprocess-safe",),
                tests=NUMBER,
                lacks=SLOW,
            ),
            Way(
                TC_PLUGIN,
                TC_PLUGIN,
                project(postgres.rollback("session"), postgres.TESTCONTAINERS),
                form="docker, a container for each worker",
                needs=("docker",),
                tests=NUMBER,
                lacks=SLOW,
            ),
        ),
        first="-n 4",
        unit="s",
        absent={TC: SAME_AS_BY_HAND},
        weight=0.4,
    ),
)
