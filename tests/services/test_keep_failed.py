"""`--testbed-keep-failed`: what a failed test left can be looked at after the run."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg2
import pytest

from pytest_testbed.__main__ import main
from tests.conftest import QUIET, Servers, options_for

Run = Callable[..., pytest.RunResult]

HEAD = """
import pytest
from sqlalchemy import text

def add(session, name): session.execute(text("INSERT INTO t VALUES (:name)"), {"name": name})
"""


@pytest.fixture(autouse=True)
def own_state(tmp_path_factory: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Keep the hosts that outlive their runs apart from all others, and end them after the test."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path_factory.mktemp("state")))
    monkeypatch.delenv("DATABASE_URL", raising=False)
    yield
    assert main(["stop"]) == 0
    assert main(["prune"]) == 0  # one test kills a host, and no later run looks at this state


@pytest.fixture
def run(pytester: pytest.Pytester, servers: Servers) -> Run:
    """Run pytest in a process of its own on a local server, with a table to write to."""
    (pytester.path / "t.sql").write_text("CREATE TABLE t (name text UNIQUE DEFERRABLE INITIALLY DEFERRED)")
    pytester.makeini("[pytest]\ntestbed_pg_schema = t.sql\n")
    local = options_for(servers.any_local())

    def run(*arguments: str) -> pytest.RunResult:
        return pytester.runpytest_subprocess(*QUIET, *local, "--testbed-keep-failed", *arguments)

    return run


def kept(result: pytest.RunResult) -> dict[str, str]:
    """Return the URLs of the kept databases, by the test's name in them."""
    found = re.findall(r"^(postgresql://\S+/testbed_kept_(\w+)_[0-9a-f]{6}_\d+)$", result.stdout.str(), re.MULTILINE)
    return {test: url for url, test in found}


def rows(url: str) -> list[str]:
    connection = psycopg2.connect(url)
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT name FROM t ORDER BY name")
            return [row[0] for row in cursor.fetchall()]
    finally:
        connection.close()


def test_state_of_a_failed_test_is_there_after_the_run(pytester: pytest.Pytester, run: Run) -> None:
    pytester.makepyfile(
        test_it=HEAD
        + """
def test_fails(pg_session):
    add(pg_session, "committed")
    pg_session.commit()
    add(pg_session, "flushed")
    assert 0

def test_next_is_clean(pg_session):
    assert pg_session.scalar(text("SELECT count(*) FROM t")) == 0

@pytest.mark.pg(isolation="database")
def test_really(pg_session):
    add(pg_session, "really")
    pg_session.commit()
    assert 0

def test_after_that_too(pg_session):
    assert pg_session.scalar(text("SELECT count(*) FROM t")) == 0
"""
    )
    result = run()
    result.assert_outcomes(passed=2, failed=2)
    found = kept(result)
    assert rows(found["test_fails"]) == ["committed", "flushed"]
    assert rows(found["test_really"]) == ["really"]
    result.stdout.fnmatch_lines([f"psql {found['test_fails']}", "testbed: databases of failed tests are kept*"])


def test_after_a_statement_that_failed_the_committed_rows_are_kept(pytester: pytest.Pytester, run: Run) -> None:
    pytester.makepyfile(
        test_it=HEAD
        + """
def test_fails(pg_session):
    add(pg_session, "committed")
    pg_session.commit()
    pg_session.execute(text("SELECT 1/0"))

@pytest.fixture
def filled(pg_session):
    add(pg_session, "of the fixture")
    pg_session.flush()
    raise RuntimeError

def test_error_in_setup(filled): pass
"""
    )
    found = kept(run())
    assert rows(found["test_fails"]) == ["committed"]
    assert rows(found["test_error_in_setup"]) == ["of the fixture"]


def test_what_cannot_be_committed_is_said_and_the_next_test_is_clean(pytester: pytest.Pytester, run: Run) -> None:
    pytester.makepyfile(
        test_it=HEAD
        + """
def test_fails(pg_session):
    add(pg_session, "twice")
    add(pg_session, "twice")
    assert 0

def test_next_is_clean(pg_session):
    assert pg_session.scalar(text("SELECT count(*) FROM t")) == 0
"""
    )
    result = run()
    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines(["Not kept: *duplicate key*"])


def test_passed_and_expected_failures_keep_nothing_and_nobody(pytester: pytest.Pytester, run: Run) -> None:
    pytester.makepyfile(
        test_it=HEAD
        + """
def test_passes(pg_session): add(pg_session, "a")

@pytest.mark.xfail
def test_expected(pg_session):
    add(pg_session, "a")
    assert 0

def test_without(): assert 0
"""
    )
    result = run("-rA")
    result.assert_outcomes(passed=1, xfailed=1, failed=1)
    assert kept(result) == {}
    assert "kept" not in result.stdout.str()
    assert hosts() == []


def test_workers_keep_theirs(pytester: pytest.Pytester, run: Run) -> None:
    pytester.makepyfile(
        test_it=HEAD
        + """
@pytest.mark.parametrize("n", range(4))
def test_fails(pg_session, n):
    add(pg_session, f"of {n}")
    assert 0
"""
    )
    result = run("-p", "xdist", "-n2")
    result.assert_outcomes(failed=4)
    found = kept(result)
    assert sorted(name for url in found.values() for name in rows(url)) == ["of 0", "of 1", "of 2", "of 3"]


def test_no_more_are_kept_than_there_is_room_for(pytester: pytest.Pytester, run: Run) -> None:
    pytester.makepyfile(
        test_it=HEAD
        + """
@pytest.mark.parametrize("n", range(12))
def test_fails(pg_session, n): assert 0
"""
    )
    result = run("--tb=line")
    result.assert_outcomes(failed=12)
    assert len(kept(result)) == 10
    assert result.stdout.str().count("Not kept: 10 databases of failed tests are kept by now.") == 2


def hosts() -> list[str]:
    done = subprocess.run([sys.executable, "-m", "pytest_testbed", "ps", "--json"], capture_output=True, text=True, check=True)
    return re.findall(r'"run": "(\w+)"', done.stdout)


def test_what_is_left_behind_is_told_also_to_who_wants_it_quiet(pytester: pytest.Pytester, run: Run) -> None:
    pytester.makepyfile(test_it=HEAD + "def test_fails(pg_session): assert 0\n")
    run("-q", "--tb=no").stdout.fnmatch_lines(["testbed: databases of failed tests are kept*"])


def test_workers_tell_what_is_left_behind(pytester: pytest.Pytester, run: Run) -> None:
    pytester.makepyfile(test_it=HEAD + "def test_fails(pg_session): assert 0\n")
    run("-p", "xdist", "-n1").stdout.fnmatch_lines(["testbed: databases of failed tests are kept, and their servers for *"])


def test_nothing_stays_where_nothing_could_be_kept(pytester: pytest.Pytester, run: Run) -> None:
    pytester.makeconftest("import pytest_testbed.postgres.autopsy as autopsy\nautopsy.MOST = 0")
    pytester.makepyfile(test_it=HEAD + "def test_fails(pg_session): assert 0\n")
    result = run()
    result.stdout.fnmatch_lines(["Not kept: 0 databases of failed tests are kept by now."])
    result.stdout.no_fnmatch_line("testbed: databases of failed tests are kept*")
    assert hosts() == []


def test_the_server_stays_until_it_is_told_to_end(pytester: pytest.Pytester, run: Run) -> None:
    pytester.makepyfile(test_it=HEAD + "def test_fails(pg_session): assert 0\n")
    (url,) = kept(run()).values()
    assert rows(url) == []
    assert len(hosts()) == 1
    assert main(["stop"]) == 0
    assert hosts() == []
    with pytest.raises(psycopg2.OperationalError):
        rows(url)


def test_on_a_named_server_the_database_stays_and_its_password_is_not_shown(
    pytester: pytest.Pytester, servers: Servers, run: Run
) -> None:
    pytester.makepyfile(test_it=HEAD + "def test_fails(pg_session):\n    add(pg_session, 'a')\n    assert 0\n")
    external = servers.get("external")
    result = run(*options_for(external))
    result.assert_outcomes(failed=1)
    endpoint = external.endpoint("postgres")
    assert endpoint.password not in result.stdout.str()
    result.stdout.fnmatch_lines(["testbed: databases of failed tests are kept until somebody drops them: the server is not ours"])
    match = re.search(r"/(testbed_kept_test_fails_\w+)$", result.stdout.str(), re.MULTILINE)
    assert match is not None
    assert rows(endpoint.url(match[1])) == ["a"]
    connection = psycopg2.connect(endpoint.url())
    connection.autocommit = True
    with connection.cursor() as cursor:
        cursor.execute(f'DROP DATABASE "{match[1]}"')
        cursor.execute("SELECT datname FROM pg_database WHERE datname LIKE 'testbed\\_t\\_%'")
        for (name,) in cursor.fetchall():
            cursor.execute(f'DROP DATABASE "{name}"')
    connection.close()


def test_a_dead_host_is_told_and_the_session_goes_on(pytester: pytest.Pytester, run: Run) -> None:
    pytester.makepyfile(
        test_it=HEAD
        + """
import os, signal

def test_fails(pg_session, testbed):
    os.kill(testbed.client.pid, signal.SIGKILL)
    assert 0

def test_without(): pass
"""
    )
    result = run()
    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines(["Not kept: the host process of the services is gone*"])


def test_long_and_strange_names(tmp_path: Path) -> None:
    from pytest_testbed.postgres.autopsy import database_name

    assert (
        database_name("tests/test_it.py::TestA::test_ünder[a/b c-1]", "0123456789ab", 3)
        == "testbed_kept_test__nder_a_b_c_1_012345_3"
    )
    assert len(database_name("t.py::test_" + "x" * 100, "0123456789ab", 10)) <= 63
