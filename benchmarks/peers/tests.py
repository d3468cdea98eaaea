"""What one of many small tests costs: rolled back, committed for real, with messages, with HTTP."""

from __future__ import annotations

from dataclasses import replace

from . import others, postgres
from .model import OURS, Comparison, Way
from .start import (
    BY_HAND,
    HTTPSERVER,
    MOCK_RESOURCES,
    MOCKS,
    NO_BROKER,
    OTHER_PLUGINS,
    POSTGRESQL,
    RABBITMQ,
    SQLA,
    STUBS,
    TC,
    TC_PLUGIN,
    VENV,
    by_hand,
    channel,
    channels,
    mock_resources,
    ours,
    postgresql,
    project,
    sqla,
)

LIGHT, HEAVY = 300, 30
"""How many tests there are in a run: of a few milliseconds, and of those that make a database each."""
NO_COMMITS = "real commits are not taken back"
NO_IDS = "ids go on from test to test"
SLOW = "a session is a clone of the database, not a transaction"
NOT_ALIKE = f"its databases are in its container: other settings; {SLOW}"
SAME_AS_BY_HAND = "its tests are the hand-written ones, on the container's server"


def committed(contender: str, venv: str, conftest: str, *needs: str, tests: int, form: str = "", lacks: str = "") -> Way:
    """Return a project whose tests commit on an engine."""
    return Way(contender, venv, project(postgres.commit("engine"), conftest), form=form, needs=needs, tests=tests, lacks=lacks)


TESTS = (
    Comparison(
        "test-rollback",
        "test",
        "A test in a transaction",
        "One test inserts, commits and selects by a SQLAlchemy session; the next one finds nothing of it. 20 tables, psycopg "
        "3, the same server for all but pytest-testcontainers, which takes none that is there. Plugins without "
        "transactions do it as they can.",
        (
            replace(ours("external"), tests=LIGHT),
            replace(ours("local"), form="its own local server", tests=LIGHT),
            replace(by_hand(postgres.GIVEN_URL, "database"), tests=LIGHT, lacks=f"{NO_IDS}; nothing tells if a test escapes"),
            replace(sqla(), tests=LIGHT, lacks=NO_IDS),
            replace(sqla(postgres.SQLA_POOLED, "with a pool"), tests=LIGHT, lacks=NO_IDS),
            replace(postgresql(postgres.POSTGRESQL_NOPROC, "server"), tests=HEAVY, lacks=SLOW),
            replace(mock_resources(postgres.MOCK_RESOURCES_GIVEN, "database"), tests=HEAVY, lacks=SLOW),
            Way(
                TC_PLUGIN,
                TC_PLUGIN,
                project(postgres.rollback("session"), postgres.TESTCONTAINERS),
                needs=("docker",),
                tests=HEAVY,
                lacks=f"tables are made for each test; {NOT_ALIKE}",
            ),
        ),
        first="one test",
        absent={TC: SAME_AS_BY_HAND},
        weight=0.6,
    ),
    Comparison(
        "test-commit",
        "test",
        "A test that commits for real",
        "One test inserts and commits by one connection and selects by another; the next one finds nothing of it. The same "
        "server for all but pytest-testcontainers.",
        (
            Way(
                OURS,
                OURS,
                project(postgres.commit("pg_engine", postgres.DATABASE), ini=postgres.OURS_INI),
                needs=("server",),
                variables={"TESTBED_PROVIDER": "external"},
                tests=LIGHT,
            ),
            committed(
                BY_HAND, VENV, postgres.by_hand(postgres.GIVEN_URL, postgres.DELETE), "database",
                form="DELETE from each table", tests=LIGHT, lacks=f"{NO_IDS}; seeds go, and changes of the schema stay",
            ),
            committed(
                BY_HAND, VENV, postgres.by_hand(postgres.GIVEN_URL, postgres.TRUNCATE), "database",
                form="TRUNCATE", tests=HEAVY, lacks="seeds go, and changes of the schema stay",
            ),
            committed(
                BY_HAND, VENV, postgres.by_hand(postgres.GIVEN_URL, postgres.CLONE), "database",
                form="a clone for each test", tests=HEAVY,
            ),
            committed(
                POSTGRESQL, POSTGRESQL,
                postgres.POSTGRESQL_HEAD + postgres.POSTGRESQL_NOPROC + postgres.POSTGRESQL_ENGINE, "server", tests=HEAVY,
            ),
            committed(MOCK_RESOURCES, MOCK_RESOURCES, postgres.MOCK_RESOURCES_GIVEN, "database", tests=HEAVY),
            committed(
                TC_PLUGIN, TC_PLUGIN, postgres.TESTCONTAINERS, "docker",
                tests=HEAVY, lacks="tables are made for each test; its container has other settings",
            ),
        ),
        first="one test",
        absent={SQLA: NO_COMMITS, TC: SAME_AS_BY_HAND},
        weight=0.6,
    ),
    Comparison(
        "test-message",
        "test",
        "A test with messages",
        "One test declares a queue, publishes and gets; the next one finds no queue. Ours and the hand-written fixtures are on "
        "the same broker; pytest-rabbitmq starts its own of the same binaries. Ours has a virtual host for each test.",
        (
            replace(channels("external", "broker"), tests=100),
            replace(
                channel(BY_HAND, VENV, others.BROKER_GIVEN, "broker"), form="deletes the queue that it knows", tests=100,
                lacks="what the tests declare besides stays",
            ),
            replace(
                channel(RABBITMQ, RABBITMQ, others.RABBITMQ.format(teardown=""), "rabbitmq"), tests=8,
                lacks="users, policies and virtual hosts stay",
            ),
            replace(
                channel(RABBITMQ, RABBITMQ, others.RABBITMQ.format(teardown=", teardown=tidy"), "rabbitmq"), tests=100,
                form="a teardown of one's own, as it advises", lacks="what the tests declare besides stays",
            ),
        ),
        first="one test",
        absent={TC_PLUGIN: "leaves the cleaning to the tests", TC: "the same", MOCK_RESOURCES: NO_BROKER, POSTGRESQL: NO_BROKER},
        weight=0.6,
    ),
    Comparison(
        "test-mock",
        "test",
        "A test with HTTP inside of the process",
        "One test stubs an answer, makes a request with requests, and reads it.",
        (
            replace(MOCKS[0], tests=LIGHT),
            replace(MOCKS[1], tests=LIGHT, lacks="clients other than requests"),
        ),
        first="one test",
        absent={HTTPSERVER: "is a server on a port: the next table", BY_HAND: "the fixture of `responses` is one"},
    ),
    Comparison(
        "test-stub",
        "test",
        "A test with an HTTP server on a port",
        "One test stubs an answer, asks for it with requests by a new connection, and reads it.",
        (
            replace(STUBS[0], tests=LIGHT),
            replace(STUBS[1], tests=LIGHT, lacks="priorities, states; it answers one request at a time"),
            replace(STUBS[2], tests=LIGHT, lacks="everything but the answer"),
        ),
        first="one test",
        absent={"responses": "no port", **OTHER_PLUGINS},
    ),
)  # fmt: skip
