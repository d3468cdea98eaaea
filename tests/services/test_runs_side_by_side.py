"""Several runs at once: in one checkout, in two worktrees, on one server of somebody's, one inside another."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import psycopg2
import pytest

from pytest_testbed.postgres.service import connection_parameters
from tests.conftest import QUIET, Servers, options_for

TEST = """
import os
import pytest
from sqlalchemy import text

ME = os.environ["NAME_OF_RUN"]

@pytest.mark.parametrize("n", range(6))
def test_transaction(pg_session, n):
    assert pg_session.scalars(text("SELECT name FROM t")).all() == []
    pg_session.execute(text("INSERT INTO t VALUES (:me)"), {"me": ME})
    pg_session.commit()
    assert pg_session.scalars(text("SELECT name FROM t")).all() == [ME]

@pytest.mark.pg(isolation="database")
@pytest.mark.parametrize("n", range(2))
def test_database(pg_session, n):
    assert pg_session.scalars(text("SELECT name FROM t")).all() == []
    pg_session.execute(text("INSERT INTO t VALUES (:me)"), {"me": ME})
    pg_session.commit()
    assert pg_session.scalars(text("SELECT name FROM t")).all() == [ME]
"""
RUNS = 4


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project whose tests commit, and fail where they see another run's rows."""
    monkeypatch.delenv("DATABASE_URL", raising=False)
    return laid_out(tmp_path / "checkout")


def laid_out(folder: Path) -> Path:
    folder.mkdir()
    (folder / "test_it.py").write_text(TEST)
    (folder / "t.sql").write_text("CREATE TABLE t (name text);\n")
    (folder / "pytest.ini").write_text("[pytest]\ntestbed_pg_schema = t.sql\n")
    return folder


def run_all(folders: Sequence[Path], *options: str) -> list[str]:
    """Run pytest in all folders at once, on two workers each, and return what they printed; each must be green."""
    import os

    command = [sys.executable, "-m", "pytest", *QUIET, "-p", "xdist", "-n2", "-v", *options]
    runs = [
        subprocess.Popen(
            command,
            cwd=folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env={**os.environ, "NAME_OF_RUN": f"run {number}"},
        )
        for number, folder in enumerate(folders)
    ]
    outputs = [run.communicate(timeout=120)[0] for run in runs]
    for run, output in zip(runs, outputs, strict=True):
        assert run.returncode == 0, output
        assert "8 passed" in output
        assert "could not clean up" not in output
    return outputs


def databases(servers: Servers) -> set[str]:
    connection = psycopg2.connect(**connection_parameters(servers.get("external").endpoint("postgres")))
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT datname FROM pg_database")
            return {row[0] for row in cursor.fetchall()}
    finally:
        connection.close()


def drop_templates(servers: Servers) -> None:
    connection = psycopg2.connect(**connection_parameters(servers.get("external").endpoint("postgres")))
    connection.autocommit = True
    with connection.cursor() as cursor:
        for name in databases(servers):
            if name.startswith("testbed_t_"):
                cursor.execute(f'DROP DATABASE "{name}"')
    connection.close()


def test_in_one_checkout(project: Path, servers: Servers) -> None:
    outputs = run_all([project] * 2, *options_for(servers.any_local()))
    assert len({name for output in outputs for name in re.findall(r"testbed_([0-9a-f]{12})_gw", output)}) == 2


def test_in_one_checkout_with_reuse(project: Path, servers: Servers) -> None:
    options = [*options_for(servers.any_local()), "--testbed-reuse", "-o", "testbed_reuse_ttl=0.5"]
    outputs = run_all([project] * 2, *options)
    assert sum("was ready after" in output for output in outputs) >= 1


def test_in_two_worktrees(project: Path, servers: Servers, tmp_path: Path) -> None:
    other = laid_out(tmp_path / "worktree")
    (other / "t.sql").write_text("CREATE TABLE t (name text, more int);\nCREATE TABLE of_this_branch ();\n")
    (other / "test_it.py").write_text(TEST.replace("VALUES (:me)", "VALUES (:me, 1)"))
    run_all([project, other], *options_for(servers.any_local()))


@pytest.mark.parametrize("reuse", [False, True], ids=["plain", "reuse"])
def test_on_one_named_server(project: Path, servers: Servers, reuse: bool) -> None:
    before = databases(servers)
    more = ["--testbed-reuse", "-o", "testbed_reuse_ttl=0.5"] if reuse else []
    outputs = run_all([project] * RUNS, *options_for(servers.get("external")), *more)
    made = [line for output in outputs for line in output.splitlines() if "template" in line and "was made in" in line]
    assert len(made) == 1, "one template for all runs"
    deadline = time.monotonic() + (10 if reuse else 0)  # a kept host clears up behind its run
    while (left := {name for name in databases(servers) - before if not name.startswith("testbed_t_")}) and (
        time.monotonic() < deadline
    ):
        time.sleep(0.05)
    assert left == set()
    drop_templates(servers)


def test_pytester_inside_a_run_has_services_of_its_own(project: Path, servers: Servers) -> None:
    (project / "conftest.py").write_text("pytest_plugins = ['pytester']\n")
    (project / "test_it.py").write_text(
        TEST
        + """

def test_inner(pg_session, pg_service, pytester, monkeypatch, request):
    pg_session.execute(text("INSERT INTO t VALUES ('outer')"))
    pg_session.commit()
    # as an application under test would export it
    monkeypatch.setenv("DATABASE_URL", pg_service.url(request.getfixturevalue("_pg_database").name))
    pytester.makepyfile('''
        from sqlalchemy import text
        def test_it(pg_session, pg_service):
            assert pg_service.provider == "local"
            assert pg_service.port != %d
            assert pg_session.scalar(text("SELECT to_regclass('t')")) is None
            pg_session.execute(text("CREATE TABLE t ()"))
            pg_session.commit()
    ''' % pg_service.port)
    options = request.config.invocation_params.args
    mine = [option for option in options if "testbed" in str(option)]
    more = [each for option in mine if str(option).startswith("testbed") for each in ("-o", option)]
    for run in (pytester.runpytest_inprocess, pytester.runpytest_subprocess):
        run("-p", "no:xdist", *more, "--testbed-provider=local").assert_outcomes(passed=1)
    assert pg_session.scalars(text("SELECT name FROM t")).all() == ["outer"]
"""
    )
    import os

    command = [sys.executable, "-m", "pytest", *QUIET, "-p", "xdist", "-n1", *options_for(servers.any_local())]
    done = subprocess.run(
        command, cwd=project, capture_output=True, text=True, check=False, env={**os.environ, "NAME_OF_RUN": "outer"}
    )
    assert done.returncode == 0, done.stdout
    assert "9 passed" in done.stdout
