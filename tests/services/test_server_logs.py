"""What real servers of ours write, and what of it belongs to one database."""

from __future__ import annotations

import time
from contextlib import closing

import psycopg2
import pytest

from pytest_testbed import Testbed
from pytest_testbed.postgres.service import connection_parameters, postgres_spec
from pytest_testbed.services.logs import of_database
from tests.conftest import Servers

NAMES = ("testbed_logs_one", "testbed_logs_two")
ONE, TWO = NAMES


def execute(testbed: Testbed, database: str, *statements: str) -> None:
    connection = psycopg2.connect(**connection_parameters(testbed.endpoint("postgres"), database))
    connection.autocommit = True
    with closing(connection), connection.cursor() as cursor:
        for statement in statements:
            cursor.execute(statement)


def log_with(testbed: Testbed, word: str) -> str:
    """Return the log once the word is in it: a container's arrives a moment later."""
    deadline = time.monotonic() + 5
    while word not in (log := testbed.logs("postgres", 500)):
        assert time.monotonic() < deadline, log
        time.sleep(0.01)
    return log


def fail(testbed: Testbed, database: str, word: str) -> None:
    with pytest.raises(psycopg2.Error):
        execute(testbed, database, f"SELECT 1\n  /\x0c 0 -- {word}\n\n  AS one")


@pytest.fixture(params=["local-wheel", "local-system", "docker"])
def ours(request: pytest.FixtureRequest, servers: Servers) -> Testbed:
    return servers.get(request.param)


def test_a_servers_log_is_told_apart_by_database(ours: Testbed) -> None:
    execute(ours, "postgres", *(f"CREATE DATABASE {name}" for name in NAMES))
    try:
        fail(ours, ONE, "of-one")
        fail(ours, TWO, "of-two")
        with pytest.raises(psycopg2.Error):
            execute(ours, "postgres", "SELECT 'of-nobodys-test' / 0")
        log = log_with(ours, "of-nobodys-test")
        assert f"postgres@{ONE} ERROR:  division by zero" in log
        assert f"postgres@{TWO} ERROR:  division by zero" in log
        found = of_database(log, ONE)
        assert f"postgres@{ONE} STATEMENT:  SELECT 1\n\t  /\x0c 0 -- of-one\n\t\n\t  AS one\n" in found
        assert "of-two" not in found
        assert TWO not in found
        assert "of-nobodys-test" in found
        theirs = of_database(log, TWO)
        assert "of-one" not in theirs
        assert "-- of-two\n\t\n\t  AS one\n" in theirs
    finally:
        execute(ours, "postgres", *(f"DROP DATABASE {name}" for name in NAMES))


@pytest.mark.parametrize("provider", ["local", "docker"])
def test_a_users_own_format_wins(provider: str, servers: Servers) -> None:
    (servers.any_local if provider == "local" else lambda: servers.get("docker"))()
    args = ["-c", "log_line_prefix=%d says "]
    with Testbed([postgres_spec(provider=provider, args=args)]) as testbed:
        fail(testbed, "postgres", "mine")
        log = log_with(testbed, "mine")
        assert "\npostgres says ERROR:  division by zero" in log
        assert of_database(log, "testbed_x") == log


def test_the_log_of_a_local_server_is_a_file_for_everybody(servers: Servers) -> None:
    path = servers.any_local().endpoint("postgres").log
    with open(path) as log:
        assert "database system is ready" in log.read()


def test_the_log_of_a_container_is_no_file(servers: Servers) -> None:
    assert servers.get("docker").endpoint("postgres").log == ""


def test_a_worker_sees_its_own_lines_and_those_of_nobody() -> None:
    from types import SimpleNamespace
    from typing import Any

    from pytest_testbed.postgres.database import Database

    log = "\n".join(
        [
            "2026-11-23 02:40:18.269 UTC [1] postgres@testbed_a_0 WARNING:  there is already a transaction in progress",
            "2026-11-23 02:40:18.280 UTC [1] postgres@testbed_a_0 ERROR:  mine",
            "2026-11-23 02:40:18.280 UTC [2] postgres@testbed_a_1 ERROR:  another's",
            "2026-11-23 02:40:18.281 UTC [3] LOG:  the server's",
        ]
    )
    worker: Any = SimpleNamespace(name="testbed_a_0")
    found = Database.own_lines(worker, log)
    assert [line.rpartition("  ")[2] for line in found.splitlines()] == ["mine", "the server's"]
