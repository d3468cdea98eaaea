"""A level that a folder has set changes nothing else: the test is isolated, and what it uses is started, as before."""

from __future__ import annotations

import pytest

from tests.conftest import QUIET, Servers, options_for

INI = """
[pytest]
pythonpath = .
testbed_pg_schema = schema.sql
testbed_env = DATABASE_URL={pg.url+psycopg2}
"""
APP = """
import os
from sqlalchemy import create_engine, text

def add(name):
    engine = create_engine(os.environ["DATABASE_URL"])
    with engine.begin() as connection:
        connection.execute(text("INSERT INTO users (name) VALUES (:name)"), {"name": name})
        names = list(connection.scalars(text("SELECT name FROM users")))
    engine.dispose()
    return names
"""
TESTS = """
import pytest
from app import add

def test_one(request):
    assert request.node.get_closest_marker("unit")
    assert add("one") == ["one"]

def test_two():
    assert add("two") == ["two"]

{mark}
def test_started(testbed):
    assert bool(testbed.started) is {started}
"""


@pytest.fixture
def project(pytester: pytest.Pytester) -> pytest.Pytester:
    pytester.makefile(".ini", pytest=INI)
    pytester.makefile(".sql", schema="CREATE TABLE users (name text NOT NULL)")
    pytester.makepyfile(app=APP)
    return pytester


def write(project: pytest.Pytester, mark: str, *, started: bool) -> None:
    folder = project.path / "tests" / "unit"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "test_it.py").write_text(TESTS.format(mark=mark, started=started))


def test_a_test_in_a_folder_called_unit_is_isolated_and_its_service_started(project: pytest.Pytester, servers: Servers) -> None:
    options = (*QUIET, *options_for(servers.any_local()), "-m", "unit")
    write(project, "", started=True)
    project.runpytest_inprocess(*options).assert_outcomes(passed=3)
    project.runpytest_inprocess(*options, "-k", "started").assert_outcomes(passed=1, deselected=2)

    write(project, "@pytest.mark.unit", started=False)
    result = project.runpytest_inprocess(*options, "-k", "started")
    result.assert_outcomes(passed=1, deselected=2)
    result.stdout.no_fnmatch_line("*was ready after*")
