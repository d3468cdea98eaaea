"""Templates: named by what they are made of, found again, never stale, not for everybody's eyes."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psycopg2
import pytest

from pytest_testbed import Testbed
from pytest_testbed.errors import SchemaError, ServiceDied
from pytest_testbed.postgres.admin import Admin
from pytest_testbed.postgres.database import worker_database
from pytest_testbed.postgres.service import connection_parameters, postgres_spec, probe, spare_of
from pytest_testbed.postgres.templates import KEPT, MOST, OLD, Templates, create, superfluous
from pytest_testbed.services.death import gone_within
from tests.conftest import QUIET, Servers, options_for

Run = Callable[..., pytest.RunResult]


# --- which ones may go


def test_the_last_used_ones_stay_and_the_others_go() -> None:
    some = [(day, f"t{day}") for day in range(100, 110)]
    assert superfluous(some, 109) == [f"t{day}" for day in range(106, 99, -1)]
    assert len(some) - len(superfluous(some, 109)) == KEPT


def test_what_was_used_today_stays_up_to_a_bound() -> None:
    some = [(100, f"t{number:02}") for number in range(MOST + 2)]
    assert superfluous(some, 100) == ["t01", "t00"]


def test_old_ones_go_even_where_they_are_few() -> None:
    assert superfluous([(100, "old")], 100 + OLD) == []
    assert superfluous([(100, "old")], 101 + OLD) == ["old"]


# --- on a server


@pytest.fixture
def database(somewhere: Testbed, tmp_path: Path) -> Iterator[Callable[..., Templates]]:
    """Make the templates of a schema as a worker does; what they make is dropped after the test."""
    admins: list[Admin] = []
    before = names(somewhere)

    def make(*schema: object, worker: str = "main") -> Templates:
        admin = Admin(somewhere)
        admins.append(admin)
        return Templates(admin, somewhere, schema, tmp_path, "psycopg2", worker)

    yield make
    for admin in admins:
        admin.close()
    for name in names(somewhere) - before:
        execute(somewhere, f'DROP DATABASE IF EXISTS "{name}"')


def execute(testbed: Testbed, sql: str, *, name: str = "") -> list[tuple[Any, ...]]:
    connection = psycopg2.connect(**connection_parameters(testbed.endpoint("postgres"), name or None))
    try:
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute(sql)
            return cursor.fetchall() if cursor.description else []
    finally:
        connection.close()


def names(testbed: Testbed) -> set[str]:
    return {row[0] for row in execute(testbed, "SELECT datname FROM pg_database WHERE datname LIKE 'testbed%'")}


def test_a_template_is_made_once_and_found_again(database: Callable[..., Templates], tmp_path: Path, somewhere: Testbed) -> None:
    (tmp_path / "a.sql").write_text("CREATE TABLE a (id int)")
    first = database("a.sql").ensure()
    assert re.fullmatch(r"testbed_t_[0-9a-f]{16}(_[0-9a-f]{8})?", first)
    assert database("a.sql").ensure() == first
    assert not any(name.endswith("_template") for name in names(somewhere))


def test_a_change_is_another_template_and_the_way_back_is_the_old_one(database: Callable[..., Templates], tmp_path: Path) -> None:
    file = tmp_path / "a.sql"
    file.write_text("CREATE TABLE a (id int)")
    first = database("a.sql").ensure()
    file.write_text("CREATE TABLE a (id int, name text)")
    second = database("a.sql").ensure()
    assert second != first
    file.write_text("CREATE TABLE a (id int)")
    assert database("a.sql").ensure() == first


def test_a_data_file_that_a_seed_reads_is_part_of_it(database: Callable[..., Templates], tmp_path: Path) -> None:
    (tmp_path / "users.json").write_text('["one"]')
    (tmp_path / "seeds_of_this_test.py").write_text(
        "import json\nfrom pathlib import Path\nfrom sqlalchemy import text\n"
        "def fill(connection):\n"
        "    connection.execute(text('CREATE TABLE users (name text)'))\n"
        "    for name in json.loads(Path(__file__).with_name('users' + '.json').read_text()):\n"
        "        connection.execute(text('INSERT INTO users VALUES (:name)'), {'name': name})\n"
    )
    sys.path.insert(0, str(tmp_path))
    try:
        first = database("seeds_of_this_test:fill").ensure()
        assert database("seeds_of_this_test:fill").ensure() == first
        (tmp_path / "users.json").write_text('["one", "two"]')
        second = database("seeds_of_this_test:fill").ensure()
        assert second != first
        assert second.rpartition("_")[0] == first.rpartition("_")[0]
    finally:
        sys.path.remove(str(tmp_path))
        del sys.modules["seeds_of_this_test"]


def test_one_that_cannot_be_recognised_is_this_runs_own(database: Callable[..., Templates], somewhere: Testbed) -> None:
    namespace: dict[str, Any] = {}
    exec("def make(connection): pass", namespace)  # no source that could be looked at
    assert database(namespace["make"]).ensure() == f"testbed_{somewhere.run}_shared"


def test_arguments_of_the_server_are_part_of_it(somewhere: Testbed, database: Callable[..., Templates], tmp_path: Path) -> None:
    (tmp_path / "a.sql").write_text("CREATE TABLE a AS SELECT current_setting('TimeZone')")
    admin = Admin(somewhere)
    names = [
        Templates(admin, somewhere, ["a.sql"], tmp_path, "psycopg2", "main", server).ensure()
        for server in ((), ("-c", "TimeZone=Asia/Tokyo"), ())
    ]
    admin.close()
    assert names[0] == names[2] != names[1]
    database("a.sql")


@pytest.mark.parametrize("option", ["args", "initdb_args", "environment"])
def test_what_a_user_says_of_the_server_is_part_of_a_workers_template(
    option: str, somewhere: Testbed, database: Callable[..., Templates], tmp_path: Path
) -> None:
    (tmp_path / "a.sql").write_text("CREATE TABLE said (id int)")
    database("a.sql")  # clears the templates away
    found = []
    for words in ((), ("a", "word")):
        options: Any = SimpleNamespace(driver="psycopg2", lock_timeout=1.0, args=(), initdb_args=(), environment=())
        setattr(options, option, words)
        with worker_database(somewhere, ["a.sql"], tmp_path, options, "said") as made:
            found.append(made.template)
            execute(somewhere, f'DROP DATABASE "{made.name}" WITH (FORCE)')
    assert found[0] != found[1]


def test_container_that_is_looked_after_has_a_clone_of_the_newest_template_ready(servers: Servers, tmp_path: Path) -> None:
    docker = servers.get("docker")
    (tmp_path / "a.sql").write_text("CREATE TABLE ready (id int)")
    admin = Admin(docker)
    name = Templates(admin, docker, ["a.sql"], tmp_path, "psycopg2", "main").ensure()
    try:
        probe(docker.endpoint("postgres"), 5.0)
        assert spare_of(name) in names(docker)
    finally:
        for each in (spare_of(name), name):
            admin.execute(f'DROP DATABASE IF EXISTS "{each}"')
        admin.close()


def test_statement_on_a_server_that_has_ended_says_so_and_the_next_one_works(servers: Servers) -> None:
    bindir = servers.any_local()._specs["postgres"].process.options["bindir"]  # type: ignore[union-attr]
    with Testbed([postgres_spec(provider="local", bindir=bindir)]) as testbed:
        admin = Admin(testbed)
        assert admin.rows("SELECT 1") == [(1,)]
        (data,) = (Path(row[0]) for row in admin.rows("SHOW data_directory"))
        server = int((data / "postmaster.pid").read_text().split()[0])
        os.kill(server, signal.SIGKILL)
        assert gone_within(server, 10)
        with pytest.raises(ServiceDied, match="killed by signal 9"):
            admin.rows("SELECT 1")
        assert admin.rows("SELECT 2") == [(2,)]
        admin.close()


def test_second_try_of_a_faulty_schema_tells_the_same_fault(
    database: Callable[..., Templates], tmp_path: Path, somewhere: Testbed
) -> None:
    (tmp_path / "a.sql").write_text("CREATE TABLE broken (id nonsense)")
    for _ in range(2):
        with pytest.raises(SchemaError, match="nonsense"):
            database("a.sql").ensure()


def test_nobody_can_connect_to_it(database: Callable[..., Templates], tmp_path: Path, somewhere: Testbed) -> None:
    (tmp_path / "a.sql").write_text("CREATE TABLE closed (id int)")
    name = database("a.sql").ensure()
    with pytest.raises(psycopg2.OperationalError, match="not currently accepting connections"):
        execute(somewhere, "SELECT 1", name=name)


def test_a_half_made_one_is_never_taken(database: Callable[..., Templates], tmp_path: Path, somewhere: Testbed) -> None:
    file = tmp_path / "a.sql"
    file.write_text("CREATE TABLE half (id int);\nCREATE TABLE broken (id nonsense);\n")
    for worker in ("one", "two"):
        with pytest.raises(SchemaError, match="nonsense"):
            database("a.sql", worker=worker).ensure()
    assert not any(name.startswith("testbed_t_") for name in names(somewhere) if "half" in name)


def test_two_runs_that_make_one_at_the_same_instant_on_a_named_server(servers: Servers, tmp_path: Path) -> None:
    url = servers.get("external")._specs["postgres"].url
    assert url is not None
    (tmp_path / "a.sql").write_text(f"CREATE TABLE at_once_{os.getpid()} (id int); SELECT pg_sleep(0.3);")
    (tmp_path / "pytest.ini").write_text("[pytest]\ntestbed_pg_schema = a.sql\n")
    (tmp_path / "test_it.py").write_text("def test_it(pg_session): pass\n")
    command = [sys.executable, "-m", "pytest", *QUIET, "-v", "--testbed-provider=external", "-o", f"testbed_pg_url={url}"]
    runs = [subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    outputs = [run.communicate(timeout=60)[0] for run in runs]
    assert [run.returncode for run in runs] == [0, 0, 0], outputs
    assert sum("was made in" in line and "template" in line for output in outputs for line in output.splitlines()) == 1
    made = re.search(r"template (testbed_t_\w+)", "".join(outputs))
    assert made is not None
    execute(servers.get("external"), f'DROP DATABASE "{made[1]}"')


def test_somebody_connected_to_a_template_is_named(
    database: Callable[..., Templates], tmp_path: Path, somewhere: Testbed
) -> None:
    from pytest_testbed.postgres.database import Database

    (tmp_path / "a.sql").write_text("CREATE TABLE looked_at (id int)")
    name = database("a.sql").ensure()
    while spare_of(name) not in names(somewhere):  # it is made in the background, and would serve
        time.sleep(0.01)
    execute(somewhere, f'DROP DATABASE "{spare_of(name)}"')
    execute(somewhere, f'ALTER DATABASE "{name}" WITH ALLOW_CONNECTIONS true')
    visitor = psycopg2.connect(**connection_parameters(somewhere.endpoint("postgres"), name), application_name="psql")
    execute(somewhere, f'ALTER DATABASE "{name}" WITH ALLOW_CONNECTIONS false')
    mine = Database(somewhere, worker="visited", schema=["a.sql"], root=tmp_path, driver="psycopg2", lock_timeout=5.0)
    try:
        with pytest.raises(SchemaError, match=rf"{name} cannot be copied .*pid {visitor.info.backend_pid} \(psql, postgres\)"):
            mine.ensure()
        visitor.close()
        mine.ensure()
    finally:
        visitor.close()
        mine.close()


def test_one_that_is_dropped_between_look_and_copy_is_made_again(
    database: Callable[..., Templates], tmp_path: Path, somewhere: Testbed, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pytest_testbed.postgres import clone
    from pytest_testbed.postgres.database import Database

    (tmp_path / "a.sql").write_text("CREATE TABLE dropped (id int)")
    dropped: list[str] = []

    def drop_first(admin: Admin, services: Testbed, name: str, template: str | None = None) -> None:
        if template is not None and not dropped:
            dropped.append(template)
            execute(somewhere, f'DROP DATABASE "{template}"')
        create(admin, services, name, template)

    monkeypatch.setattr(clone, "create", drop_first)
    mine = Database(somewhere, worker="late", schema=["a.sql"], root=tmp_path, driver="psycopg2", lock_timeout=5.0)
    try:
        mine.ensure()
        assert dropped
        assert execute(somewhere, "SELECT to_regclass('dropped')::text", name=mine.name) == [("dropped",)]
    finally:
        mine.close()


def test_superfluous_ones_are_dropped_and_strangers_are_not(
    database: Callable[..., Templates], tmp_path: Path, somewhere: Testbed
) -> None:
    facts = {"files": {}, "project": str(tmp_path), "used": 1}
    strange = {**facts, "project": "/another"}
    for name, comment in (
        ("testbed_t_aaaaaaaaaaaaaaaa", json.dumps(facts)),
        ("testbed_t_bbbbbbbbbbbbbbbb", json.dumps(strange)),
        ("testbed_t_cccccccccccccccc", "of somebody else"),
    ):
        execute(somewhere, f'CREATE DATABASE "{name}" WITH ALLOW_CONNECTIONS false')
        execute(somewhere, f"COMMENT ON DATABASE \"{name}\" IS '{comment}'")
    (tmp_path / "a.sql").write_text("CREATE TABLE pruner (id int)")
    mine = database("a.sql").ensure()
    left = names(somewhere)
    assert "testbed_t_aaaaaaaaaaaaaaaa" not in left
    assert {"testbed_t_bbbbbbbbbbbbbbbb", "testbed_t_cccccccccccccccc", mine} <= left


# --- over the life of runs


@pytest.fixture
def run(pytester: pytest.Pytester, servers: Servers, monkeypatch: pytest.MonkeyPatch, tmp_path_factory: Any) -> Run:
    """Run pytest in a process of its own on a local server, with a cache and a state of the test's own."""
    monkeypatch.delenv("DATABASE_URL", raising=False)
    monkeypatch.setenv("TESTBED_CACHE_DIR", str(tmp_path_factory.mktemp("cache")))
    local = options_for(servers.any_local())

    def run(*arguments: str) -> pytest.RunResult:
        return pytester.runpytest_subprocess(*QUIET, *local, "-v", *arguments)

    return run


USES_TABLE = """
from sqlalchemy import text
def test_it(pg_session): pg_session.execute(text("SELECT * FROM a"))
"""


def is_made(result: pytest.RunResult) -> bool:
    return any("template" in line and "was made in" in line for line in result.outlines)


def test_a_cold_second_run_starts_migrated(pytester: pytest.Pytester, run: Run) -> None:
    pytester.makepyfile(test_it=USES_TABLE)
    schema = pytester.path / "a.sql"
    schema.write_text("CREATE TABLE a (id int)")
    pytester.makeini("[pytest]\ntestbed_pg_schema = a.sql\n")
    first = run()
    first.assert_outcomes(passed=1)
    assert is_made(first)
    second = run()
    second.assert_outcomes(passed=1)
    assert not is_made(second)
    second.stdout.fnmatch_lines(["testbed: postgres: template testbed_t_* was there"])
    schema.write_text("CREATE TABLE a (id int, more text)")
    third = run()
    third.assert_outcomes(passed=1)
    assert is_made(third)
    assert not is_made(run("-p", "xdist", "-n2"))


@pytest.mark.parametrize(
    "more", ["CREATE ROLE left_over", "ALTER ROLE postgres SET work_mem = '9MB'", "ALTER SYSTEM SET work_mem = '9MB'"]
)
def test_what_belongs_to_no_database_keeps_the_next_start_as_it_was(pytester: pytest.Pytester, run: Run, more: str) -> None:
    pytester.makepyfile(test_it=USES_TABLE)
    (pytester.path / "a.sql").write_text(f"CREATE TABLE a (id int);\n{more};\n")
    pytester.makeini("[pytest]\ntestbed_pg_schema = a.sql\n")
    assert is_made(run())
    second = run()
    second.assert_outcomes(passed=1)
    assert is_made(second), "else the second CREATE ROLE would find the first one's"


def test_many_workers_share_one_template(pytester: pytest.Pytester, run: Run) -> None:
    pytester.makepyfile(
        test_it="""
        import pytest
        from sqlalchemy import text

        @pytest.mark.parametrize("n", range(8))
        def test_it(pg_session, n):
            assert pg_session.scalar(text("SELECT count(*) FROM a")) == 0
            pg_session.execute(text("INSERT INTO a VALUES (1)"))
            pg_session.commit()
        """
    )
    (pytester.path / "a.sql").write_text("CREATE TABLE a (id int)")
    pytester.makeini("[pytest]\ntestbed_pg_schema = a.sql\n")
    result = run("-p", "xdist", "-n4")
    result.assert_outcomes(passed=8)
    assert sum("template" in line and "was made in" in line for line in result.outlines) == 1
