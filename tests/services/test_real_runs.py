"""pytest as users call it, in a process of its own, on real servers."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable

import psycopg2
import pytest

from pytest_testbed import Testbed
from pytest_testbed.postgres.service import connection_parameters
from tests import leftovers
from tests.conftest import QUIET, Servers, options_for

TEST = """
from sqlalchemy import text

def test_first(pg_session):
    pg_session.execute(text("CREATE TABLE t (id int)"))
    pg_session.commit()
    assert pg_session.scalar(text("SELECT to_regclass('t')")) == "t"

def test_second_sees_nothing_of_the_first(pg_session):
    assert pg_session.scalar(text("SELECT to_regclass('t')")) is None
"""


@pytest.fixture
def run(pytester: pytest.Pytester, servers: Servers, monkeypatch: pytest.MonkeyPatch) -> Callable[..., pytest.RunResult]:
    """Run pytest in a process of its own on a local server."""
    monkeypatch.delenv("DATABASE_URL", raising=False)
    local = options_for(servers.any_local())

    def run(*arguments: str) -> pytest.RunResult:
        return pytester.runpytest_subprocess(*QUIET, *local, *arguments)

    return run


@pytest.mark.parametrize("driver", ["psycopg2", "psycopg"])
def test_one_file_without_conftest_and_ini(pytester: pytest.Pytester, everywhere: Testbed, driver: str) -> None:
    pytester.makepyfile(test_it=TEST)
    result = pytester.runpytest_subprocess(*QUIET, *options_for(everywhere), "-o", f"testbed_pg_driver={driver}")
    result.assert_outcomes(passed=2)
    result.stdout.fnmatch_lines(["testbed: postgres * was ready after *"])


def test_xdist(pytester: pytest.Pytester, run: Callable[..., pytest.RunResult]) -> None:
    pytester.makepyfile(test_it=TEST, test_that=TEST)
    run("-n", "2").assert_outcomes(passed=4)


def test_schema_of_every_kind_is_in_every_tests_database(pytester: pytest.Pytester, run: Callable[..., pytest.RunResult]) -> None:
    pytester.makepyfile(
        models="""
        from sqlalchemy import Column, Integer, MetaData, Table, Text
        metadata = MetaData()
        user = Table("users", metadata, Column("id", Integer, primary_key=True), Column("email", Text, unique=True))
        def fill(connection):
            connection.execute(user.insert().values(email="seed@example.com"))
        """,
        test_it="""
        from sqlalchemy import text
        def test_rows(pg_session):
            assert pg_session.scalars(text("SELECT email FROM users")).all() == ["seed@example.com"]
            pg_session.execute(text("DELETE FROM users"))
            pg_session.commit()
        def test_rows_are_there_again(pg_session):
            assert pg_session.scalar(text("SELECT count(*) FROM users")) == 1
        def test_view(pg_session):
            assert pg_session.scalar(text("SELECT n FROM number_of_users")) == 1
        """,
    )
    pytester.path.joinpath("views.sql").write_text("CREATE VIEW number_of_users AS SELECT count(*) AS n FROM users;\n")
    pytester.makeini("[pytest]\npythonpath = .\ntestbed_pg_schema =\n    models:metadata\n    views.sql\n    models:fill\n")
    run().assert_outcomes(passed=3)


def test_failing_schema_names_the_entry_and_the_line(pytester: pytest.Pytester, run: Callable[..., pytest.RunResult]) -> None:
    pytester.makepyfile(test_it=TEST)
    pytester.path.joinpath("bad.sql").write_text("CREATE TABLE a (id int);\n\nCREATE TABLE b (id nonsense);\n")
    pytester.makeini("[pytest]\ntestbed_pg_schema = bad.sql\n")
    result = run()
    result.assert_outcomes(errors=2)
    result.stdout.fnmatch_lines(["*bad.sql:3*", '*type "nonsense" does not exist*'])
    assert "another exception occurred" not in result.stdout.str()
    error = "SchemaError: Entry 1 of the schema (bad.sql) could not be applied."
    assert result.outlines.count(error) == 2, "each test names it"
    assert result.outlines[result.outlines.index("(told in full by test_it.py::test_first)") - 1] == error
    assert len([line for line in result.outlines if "bad.sql:3: " in line]) == 1, "one tells it whole"
    assert "Captured postgres log" not in result.stdout.str().partition("told in full by")[2]
    assert "told in full by" not in run("--full-trace").stdout.str()


def test_a_failed_test_shows_what_its_own_statements_made_the_server_say(
    pytester: pytest.Pytester, run: Callable[..., pytest.RunResult]
) -> None:
    """Neither the server's start nor the making of the template is the first test's."""
    pytester.makepyfile(
        test_it="""
        from sqlalchemy import text
        def test_fails(pg_session):
            pg_session.execute(text("DO $$ BEGIN RAISE WARNING 'in the test'; END $$"))
            assert 0
        """
    )
    pytester.path.joinpath("a.sql").write_text("DO $$ BEGIN RAISE WARNING 'in the template'; END $$;\n")
    pytester.makeini("[pytest]\ntestbed_pg_schema = a.sql\ntestbed_start = lazy\n")
    result = run("-o", f"testbed_cache_dir={pytester.path / 'cache'}")
    section = result.stdout.str().partition("Captured postgres log")[2]
    assert "in the test" in section
    assert "in the template" not in section
    assert "database system is ready" not in section


def test_server_killed_between_two_tests(pytester: pytest.Pytester, run: Callable[..., pytest.RunResult]) -> None:
    pytester.makepyfile(
        test_it="""
        import os, signal
        from pathlib import Path
        from sqlalchemy import text

        def test_before(pg_session, pg_admin_engine):
            pid = pg_session.scalar(text("SELECT pg_read_file('postmaster.pid')")).splitlines()[0]
            backend = pg_session.scalar(text("SELECT pg_backend_pid()"))
            Path("pids").write_text(f"{pid} {backend}")

        def test_kill():
            pids = Path("pids").read_text().split()
            os.kill(int(pids[0]), signal.SIGKILL)
            while any(os.path.exists(f"/proc/{pid}/fd/0") for pid in pids):  # a backend outlives its postmaster for a moment
                pass

        def test_that_finds_it_dead(pg_session):
            pg_session.execute(text("SELECT 1"))

        def test_after(pg_session):
            assert pg_session.scalar(text("SELECT 1")) == 1

        def test_admin_after(pg_admin_engine):
            with pg_admin_engine.connect() as connection:
                assert connection.scalar(text("SELECT 1")) == 1
        """
    )
    result = run()
    result.assert_outcomes(passed=4, errors=1)
    result.stdout.fnmatch_lines(
        [
            "*ERROR at setup of test_that_finds_it_dead*",
            "*ServiceDied: postgres ended during this run (killed by signal 9)*",
            "*ready to accept connections*",
        ]
    )


def test_server_that_dies_before_the_first_test_with_a_database(
    pytester: pytest.Pytester, run: Callable[..., pytest.RunResult]
) -> None:
    pytester.makepyfile(
        test_it="""
        import os, signal
        from pathlib import Path
        import psycopg2, pytest

        def test_kills(pg_service):
            pid_file = Path(pg_service.socket).parent / "data" / "postmaster.pid"
            pid = int(pid_file.read_text().split()[0])
            os.kill(pid, signal.SIGKILL)
            while os.path.exists(f"/proc/{pid}/fd/0"):
                pass

        @pytest.mark.parametrize("n", range(4))
        def test_after(pg_session, n): pass
        """
    )
    result = run()
    result.assert_outcomes(passed=5)
    result.stdout.fnmatch_lines(["testbed: postgres ended during this run (killed by signal 9); it has been started again*"])


def test_what_a_test_leaves_behind(pytester: pytest.Pytester, run: Callable[..., pytest.RunResult]) -> None:
    pytester.makepyfile(
        test_it="""
        import psycopg2, pytest
        from sqlalchemy import text
        from sqlalchemy.exc import DBAPIError, OperationalError

        left = []

        def test_aborted_transaction(pg_session):
            with pytest.raises(DBAPIError):
                pg_session.execute(text("SELECT 1/0"))

        def test_after_aborted(pg_session):
            assert pg_session.scalar(text("SELECT 1")) == 1

        def test_killed_backend(pg_session):
            with pytest.raises(OperationalError):
                pg_session.execute(text("SELECT pg_terminate_backend(pg_backend_pid())"))

        def test_after_killed_backend(pg_session):
            assert pg_session.scalar(text("SELECT 1")) == 1

        def test_idle_in_transaction(pg_admin_engine):
            with pg_admin_engine.begin() as connection:
                connection.execute(text("CREATE TABLE kept (id int)"))
            url = pg_admin_engine.url
            stray = psycopg2.connect(host=url.host, port=url.port, user=url.username, password=url.password,
                                     dbname=url.database, application_name="a stray")
            stray.cursor().execute("LOCK TABLE kept")
            left.append(stray)

        def test_who_blocks(pg_session):
            pg_session.execute(text("INSERT INTO kept VALUES (1)"))

        def test_our_own_engine_blocks(pg_session, pg_admin_engine):
            left.pop().close()
            with pg_admin_engine.connect() as connection:
                connection.execute(text("LOCK TABLE kept"))
                pg_session.execute(text("INSERT INTO kept VALUES (1)"))
        """
    )
    result = run("-o", "testbed_pg_lock_timeout=0.3")
    result.assert_outcomes(passed=5, failed=2)
    result.stdout.fnmatch_lines(["*pid * (pytest-testbed), idle in transaction, for * s: LOCK TABLE kept*"])
    result.stdout.fnmatch_lines(["*lock timeout*", "*pid * (a stray), idle in transaction, for * s: LOCK TABLE kept*"])


def test_real_commit_fails_the_test_that_did_it_alone(pytester: pytest.Pytester, run: Callable[..., pytest.RunResult]) -> None:
    pytester.makepyfile(
        test_it="""
        from sqlalchemy import text
        def test_text(pg_session):
            pg_session.execute(text("CREATE TABLE a (id int)"))
            pg_session.execute(text("COMMIT"))
        def test_driver(pg_session):
            pg_session.execute(text("CREATE TABLE b (id int)"))
            pg_session.connection().connection.dbapi_connection.commit()
        def test_clean(pg_session):
            assert pg_session.scalars(text("SELECT relname FROM pg_class WHERE relname IN ('a', 'b')")).all() == []
        """
    )
    result = run()
    result.assert_outcomes(passed=3, errors=2)
    result.stdout.fnmatch_lines(["*ERROR at teardown of test_text*", "*the statement 'COMMIT' ended the test's transaction*"])
    result.stdout.fnmatch_lines(["*ERROR at teardown of test_driver*", "*went past SQLAlchemy*ended the test's transaction*"])


def test_database_isolation_commits_for_real_and_leaves_nothing(
    pytester: pytest.Pytester, run: Callable[..., pytest.RunResult]
) -> None:
    pytester.makepyfile(
        test_it="""
        import pytest
        from sqlalchemy import create_engine, text

        @pytest.mark.pg(isolation="database")
        def test_seen_by_another_connection(pg_session, pg_admin_engine):
            pg_session.execute(text("CREATE TABLE a (id int)"))
            pg_session.commit()
            with pg_admin_engine.connect() as other:
                assert other.scalar(text("SELECT count(*) FROM a")) == 0

        def test_clean(pg_session):
            assert pg_session.scalar(text("SELECT to_regclass('a')")) is None
        """
    )
    run().assert_outcomes(passed=2)


@pytest.mark.parametrize("words", [(), ("fork",)], ids=["alone", "with a forked child"])
def test_killed_pytest_leaves_nothing(pytester: pytest.Pytester, everywhere: Testbed, words: tuple[str, ...]) -> None:
    pytester.makepyfile(
        test_it=f"""
        import os, time
        def test_it(pg_session, testbed):
            child = os.fork() if {bool(words)} else 0
            if {bool(words)} and not child:
                time.sleep(60)
                os._exit(0)
            print("RUN", testbed.run, child, flush=True)
            time.sleep(60)
        """
    )
    process = subprocess.Popen(
        [sys.executable, "-m", "pytest", "-s", *QUIET, *options_for(everywhere)],
        cwd=pytester.path, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout is not None
    match = None
    while match is None and (line := process.stdout.readline()):
        match = re.search(r"RUN (\w+) (\d+)", line)
    assert match is not None
    process.kill()
    process.wait(10)
    try:
        assert leftovers.gone(match[1]) == {}
    finally:
        if child := int(match[2]):
            os.kill(child, signal.SIGKILL)
        process.stdout.close()


def test_canary_database_stays_as_it_was(
    pytester: pytest.Pytester, run: Callable[..., pytest.RunResult], servers: Servers, monkeypatch: pytest.MonkeyPatch
) -> None:
    endpoint = servers.any_local().endpoint("postgres")
    admin = psycopg2.connect(**connection_parameters(endpoint))
    admin.autocommit = True
    cursor = admin.cursor()
    cursor.execute("CREATE DATABASE canary")
    try:
        pytester.makepyfile(test_it=TEST)
        pytester.makeini("[pytest]\ntestbed_pg_schema = alembic.ini\n")
        pytester.path.joinpath("alembic.ini").write_text("[alembic]\nscript_location = migrations\n")
        migrations = pytester.mkdir("migrations")
        migrations.joinpath("versions").mkdir()
        migrations.joinpath("script.py.mako").write_text("")
        migrations.joinpath("versions", "one.py").write_text(
            "from alembic import op\nrevision = 'one'\ndown_revision = None\n"
            "def upgrade():\n    op.execute('CREATE TABLE migrated (id int)')\n"
        )
        migrations.joinpath("env.py").write_text(
            "from alembic import context\nfrom sqlalchemy import create_engine\n"
            f"engine = create_engine({endpoint.url('canary')!r})\n"
            "with engine.connect() as connection:\n    context.configure(connection=connection)\n"
            "    with context.begin_transaction():\n        context.run_migrations()\n"
        )
        result = run()
        result.assert_outcomes(errors=2)
        result.stdout.fnmatch_lines(["*alembic.ini*", "*canary*"])
        assert endpoint.password not in result.stdout.str()
        canary = psycopg2.connect(**connection_parameters(endpoint, "canary"))
        with canary.cursor() as look:
            look.execute("SELECT count(*) FROM pg_class WHERE relnamespace = 'public'::regnamespace")
            assert look.fetchone() == (0,)
        canary.close()
    finally:
        cursor.execute("DROP DATABASE canary WITH (FORCE)")
        admin.close()


def test_one_schema_for_a_run(pytester: pytest.Pytester, run: Callable[..., pytest.RunResult]) -> None:
    for name in ("one", "two"):
        pytester.mkpydir(name).joinpath("conftest.py").write_text(
            "import pytest\nfrom sqlalchemy import text\n"
            f"def make(connection): connection.execute(text('CREATE TABLE {name} (id int)'))\n"
            "@pytest.fixture(scope='session')\ndef pg_schema(): return [make]\n"
        )
        pytester.path.joinpath(name, f"test_{name}.py").write_text(
            f"from sqlalchemy import text\ndef test_{name}(pg_session): pg_session.execute(text('SELECT id FROM {name}'))\n"
        )
    run("two").assert_outcomes(passed=1)
    result = run()
    result.assert_outcomes(passed=1, errors=1)
    result.stdout.fnmatch_lines(["ConfigurationError: pg_schema gives this test * a run has one schema. Override *"])


@pytest.mark.parametrize("given", ["'shop:Base'", "MetaData()"])
def test_a_schema_that_is_no_list(pytester: pytest.Pytester, run: Callable[..., pytest.RunResult], given: str) -> None:
    pytester.makeconftest(
        f"import pytest\nfrom sqlalchemy import MetaData\n@pytest.fixture(scope='session')\ndef pg_schema(): return {given}\n"
    )
    pytester.makepyfile("def test_it(pg_session): pass")
    result = run()
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines([f"ConfigurationError: pg_schema must give a list, not {given.replace('()', '')}*"])


def test_errors_of_a_schema_are_short_and_full_trace_shows_all(
    pytester: pytest.Pytester, run: Callable[..., pytest.RunResult]
) -> None:
    pytester.makefile(".sql", bad="CREATE TABLE a (id int);\n\nCREATE TABEL b (id int);\n")
    pytester.makepyfile("def test_it(pg_session): pass\ndef test_other(pg_session): pass")
    result = run("-o", "testbed_pg_schema=bad.sql")
    result.assert_outcomes(errors=2)
    result.stdout.fnmatch_lines(
        ["SchemaError: Entry 1 of the schema (bad.sql) could not be applied.", "*bad.sql:3: ERROR:*TABEL*"]
    )
    assert len(result.outlines) < 60
    assert "schema.py" in run("-o", "testbed_pg_schema=bad.sql", "--full-trace").stdout.str()


def test_a_data_directory_that_is_not_there(pytester: pytest.Pytester, run: Callable[..., pytest.RunResult]) -> None:
    pytester.makepyfile("def test_it(pg_session): pass")
    result = run("-o", f"testbed_data_dir={pytester.path / 'nowhere'}")
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(
        ["*ServiceUnavailable: the data directory *nowhere is not there: make it, or correct testbed_data_dir."]
    )
    assert not (pytester.path / "nowhere").exists()


def test_the_first_database_is_the_servers_spare(pytester: pytest.Pytester, run: Callable[..., pytest.RunResult]) -> None:
    pytester.makepyfile(
        """
        from sqlalchemy import text
        def test_it(pg_admin_engine):
            with pg_admin_engine.connect() as connection:
                names = connection.scalars(text("SELECT datname FROM pg_database WHERE NOT datistemplate ORDER BY oid")).all()
            assert names == ["postgres", pg_admin_engine.url.database]
        """
    )
    run().assert_outcomes(passed=1)
