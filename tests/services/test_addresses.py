"""`testbed_env` and database isolation in runs of pytest, on real servers: applications as they are."""

from __future__ import annotations

import os
import textwrap
from collections.abc import Callable

import pytest

from pytest_testbed import Testbed
from tests.conftest import QUIET, Servers, options_for

SCHEMA = """
CREATE TABLE users (id serial PRIMARY KEY, name text NOT NULL);
CREATE TABLE orders (id serial PRIMARY KEY, user_id int REFERENCES users);
"""
APP = """
import os
from sqlalchemy import create_engine, text
from sqlalchemy.orm import sessionmaker

engine = create_engine(os.environ["DATABASE_URL"])
Session = sessionmaker(engine)


def add(name):
    with Session.begin() as session:
        return session.scalar(text("INSERT INTO users (name) VALUES (:name) RETURNING id"), {"name": name})


def names():
    with Session() as session:
        return list(session.scalars(text("SELECT name FROM users ORDER BY id")))


def do(sql):
    with engine.begin() as connection:
        connection.execute(text(sql))
"""

Run = Callable[..., pytest.RunResult]


@pytest.fixture
def project(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
    """An application that takes its database's address from the environment when it is imported."""
    monkeypatch.delenv("DATABASE_URL", raising=False)
    pytester.makepyfile(app=APP)
    pytester.path.joinpath("schema.sql").write_text(SCHEMA)
    write_ini(pytester)
    return pytester


def write_ini(pytester: pytest.Pytester, *more: str, env: str = "DATABASE_URL={pg.url+psycopg2}") -> None:
    lines = ["[pytest]", "pythonpath = .", "testbed_pg_schema = schema.sql", "testbed_env =", f"    {env}", *more]
    pytester.path.joinpath("pytest.ini").write_text("\n".join(lines) + "\n")


@pytest.fixture
def run(project: pytest.Pytester, servers: Servers) -> Run:
    options = options_for(servers.any_local())

    def run(*arguments: str, **files: str) -> pytest.RunResult:
        if files:
            project.makepyfile(**files)
        return project.runpytest_inprocess(*QUIET, *options, *arguments)

    return run


# --- addresses


def test_an_application_with_its_own_conftest(project: pytest.Pytester, everywhere: Testbed) -> None:
    """Its conftest connects when it is imported, keeps a pool, and makes its engine from the environment."""
    project.makeconftest("from app import names\nassert isinstance(names.__globals__['engine'].url.port, int)")
    project.makepyfile(
        test_it="""
        from app import add, names

        def test_first():
            assert names() == []
            assert add("a") == 1

        def test_second():
            assert names() == []
            assert add("b") == 1
        """
    )
    result = project.runpytest_inprocess(*QUIET, *options_for(everywhere))
    result.assert_outcomes(passed=2)


def test_every_form_and_driver(project: pytest.Pytester, run: Run) -> None:
    forms = ["url", "url+asyncpg", "url+psycopg", "dsn", "host", "port", "user", "password", "database"]
    env = "\n    ".join(f"X_{form.upper().replace('+', '_')}={{pg.{form}}}" for form in forms)
    write_ini(project, env=env + "\n    BOTH={pg.host}:{pg.port} {{as it is}}")
    run(
        test_it="""
        import asyncio, os, subprocess, sys
        import asyncpg, psycopg, psycopg2
        from sqlalchemy import create_engine, make_url, text
        from sqlalchemy.ext.asyncio import create_async_engine

        X = {name[2:]: value for name, value in os.environ.items() if name.startswith("X_")}
        DATABASE = "SELECT current_database()"

        def test_forms():
            url = make_url(X["URL"])
            assert (url.drivername, url.host, str(url.port)) == ("postgresql", X["HOST"], X["PORT"])
            assert (url.username, url.password, url.database) == (X["USER"], X["PASSWORD"], X["DATABASE"])
            assert make_url(X["URL_ASYNCPG"]).drivername == "postgresql+asyncpg"
            assert os.environ["BOTH"] == f"{X['HOST']}:{X['PORT']} {{as it is}}"

        def test_drivers():
            for connect, address in ((psycopg2.connect, X["DSN"]), (psycopg.connect, X["DSN"]), (psycopg.connect, X["URL"])):
                connection = connect(address)
                cursor = connection.cursor()
                cursor.execute(DATABASE)
                assert cursor.fetchone() == (X["DATABASE"],)
                connection.close()

        def test_asyncio():
            async def ask():
                connection = await asyncpg.connect(X["URL"])
                engine = create_async_engine(X["URL_ASYNCPG"])
                async with engine.connect() as other:
                    found = await connection.fetchval(DATABASE), await other.scalar(text(DATABASE))
                await engine.dispose()
                await connection.close()
                return found
            assert asyncio.run(ask()) == (X["DATABASE"],) * 2

        def test_parts():
            connection = psycopg2.connect(
                host=X["HOST"], port=X["PORT"], user=X["USER"], password=X["PASSWORD"], dbname=X["DATABASE"]
            )
            connection.close()

        def test_children():
            sql = "INSERT INTO users (name) VALUES (1)"
            code = f"import os, psycopg2; c = psycopg2.connect(os.environ['X_DSN']); c.cursor().execute('{sql}'); c.commit()"
            subprocess.run([sys.executable, "-c", code], check=True)

        def test_what_a_child_has_written_is_gone():
            engine = create_engine(X["URL_PSYCOPG"])
            with engine.connect() as connection:
                assert connection.scalar(text("SELECT count(*) FROM users")) == 0
            engine.dispose()
        """,
    ).assert_outcomes(passed=6)


PARAMETERS = "sslmode=disable&connect_timeout=7&application_name=theirs"


@pytest.mark.parametrize("query", ["", f"?{PARAMETERS}"])
def test_a_text_that_goes_on_behind_a_url(project: pytest.Pytester, servers: Servers, query: str) -> None:
    """It gives one query, whether the server's own URL has one or not; a parameter that both have is the text's."""
    url = servers.any_local().endpoint("postgres").url() + query
    lines = [
        "DATABASE_URL={pg.url+psycopg2}?application_name=reports",
        "BY_AND={pg.url}&application_name=reports&options=-c%20search_path%3D{pg.database}",
        "TWO={pg.url}?application_name=reports {pg.url+psycopg}?connect_timeout=9",
        "OTHERS={pg.dsn}?{pg.port}&{pg.url}",
        "BARE={pg.url}?",
    ]
    write_ini(project, env="\n    ".join(lines))
    project.makepyfile(
        test_it=f"""
        import os
        import psycopg, psycopg2, pytest
        from psycopg.conninfo import conninfo_to_dict
        from app import engine
        from sqlalchemy import make_url, text

        HAS = bool({query!r})
        one, two = os.environ["TWO"].split()

        @pytest.mark.parametrize("connect", [psycopg2.connect, psycopg.connect])
        @pytest.mark.parametrize("url", [os.environ["BY_AND"], one])
        def test_drivers(connect, url):
            connection = connect(url)
            cursor = connection.cursor()
            cursor.execute("SHOW application_name")
            assert cursor.fetchone() == ("reports",)
            connection.close()

        def test_sqlalchemy():
            with engine.connect() as connection:
                assert connection.scalar(text("SHOW application_name")) == "reports"

        def test_the_servers_own_stay():
            timeout = conninfo_to_dict(one).get("connect_timeout")
            assert (timeout, conninfo_to_dict(os.environ["BARE"]).get("connect_timeout")) == (("7", "7") if HAS else (None, None))
            assert conninfo_to_dict(os.environ["BY_AND"])["options"] == f"-c search_path={{engine.url.database}}"
            theirs = {{"sslmode": "disable", "application_name": "theirs"}} if HAS else {{}}
            assert dict(make_url(two).query) == {{**theirs, "connect_timeout": "9"}}

        def test_what_is_no_url_stays():
            dsn, _, rest = os.environ["OTHERS"].partition("?")
            port, _, url = rest.partition("&")
            assert conninfo_to_dict(dsn)["port"] == port == conninfo_to_dict(url)["port"]
        """
    )
    project.runpytest_subprocess(*QUIET, "-o", f"testbed_pg_url={url}").assert_outcomes(passed=7)


def test_asyncpg_on_a_server_with_parameters(project: pytest.Pytester, servers: Servers) -> None:
    url = servers.any_local().endpoint("postgres").url() + f"?{PARAMETERS}"
    write_ini(project, env="DATABASE_URL={pg.url+asyncpg}\n    SAID={pg.url+asyncpg}?ssl=prefer")
    project.makepyfile(
        test_it="""
        import asyncio, os
        import pytest
        from sqlalchemy import make_url, text
        from sqlalchemy.ext.asyncio import create_async_engine

        @pytest.mark.parametrize(("name", "ssl"), [("DATABASE_URL", "disable"), ("SAID", "prefer")])
        def test_it(name, ssl):
            url = make_url(os.environ[name])
            assert dict(url.query) == {"ssl": ssl}

            async def ask():
                engine = create_async_engine(url)
                async with engine.connect() as connection:
                    found = await connection.scalar(text("SELECT current_database()"))
                await engine.dispose()
                return found

            assert asyncio.run(ask()) == url.database
        """
    )
    project.runpytest_subprocess(*QUIET, "-o", f"testbed_pg_url={url}").assert_outcomes(passed=2)


@pytest.mark.parametrize("more", [(), ("-n", "1")])
def test_what_cannot_be_said_to_asyncpg_is_told_before_any_test(project: pytest.Pytester, more: tuple[str, ...]) -> None:
    """Nothing has been set then, and nothing stays."""
    write_ini(project, env="OTHER={pg.url}\n    ADDRESS={pg.url+asyncpg}")
    project.makepyfile(test_it="def test_it(): pass")
    url = "testbed_pg_url=postgresql://me@127.0.0.1:1/postgres?sslmode=verify-ca&sslrootcert=/ca.pem"
    result = project.runpytest_inprocess(*QUIET, "-o", url, *more)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(
        [
            "ERROR: testbed_env (from pytest.ini): ADDRESS={pg.url+asyncpg} cannot be exported: the server's URL has "
            "sslrootcert=/ca.pem, *"
        ]
    )
    assert not {"OTHER", "ADDRESS", "_PYTEST_TESTBED_PARTY"} & os.environ.keys()


def test_the_environment_is_as_before(project: pytest.Pytester, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WAS_THERE", "before")
    write_ini(project, env="WAS_THERE={pg.url}\n    WAS_NOT={pg.host}")
    run(test_it="import os\ndef test_it(): assert os.environ['WAS_NOT'] == '127.0.0.1'").assert_outcomes(passed=1)
    assert os.environ["WAS_THERE"] == "before"
    assert "WAS_NOT" not in os.environ


def test_it_stays_the_same_and_is_known_before_collection(run: Run) -> None:
    """An application may connect while modules are collected; the same connection goes on in the tests."""
    run(
        test_it="""
        import os
        from app import do, engine, names
        AT_IMPORT = os.environ["DATABASE_URL"]
        with engine.connect():
            pass

        def test_it():
            assert os.environ["DATABASE_URL"] == AT_IMPORT
            assert names() == []
        """,
    ).assert_outcomes(passed=1)


def test_a_schema_that_is_overridden_in_one_module_is_refused_there_alone(run: Run) -> None:
    plain = "from app import names\ndef test_one(): assert names() == []\ndef test_two(): assert names() == []"
    other = """
        import pytest

        @pytest.fixture(scope="session")
        def pg_schema():
            return ["other.sql"]

        def test_one(): pass
        def test_two(): pass
        """
    result = run(test_a=plain, test_b=other, test_c=plain)
    result.assert_outcomes(passed=4, errors=2)
    result.stdout.fnmatch_lines(["*ConfigurationError: pg_schema gives this test ?'other.sql'?*"])


def test_a_test_that_does_not_ask_has_one_small_fixture_more(run: Run) -> None:
    result = run("--setup-show", test_it="def test_one(): pass")
    result.assert_outcomes(passed=1)
    names = [line.split()[2] for line in result.outlines if line.lstrip().startswith("SETUP    F")]
    assert [name for name in names if "pg_" in name] == ["_pg_everywhere"]


def test_nothing_is_started_for_unit_tests(run: Run) -> None:
    result = run(
        "-v",
        test_it="""
        import pytest

        @pytest.mark.unit
        def test_it(testbed):
            assert testbed.started == {}
        """,
    )
    result.assert_outcomes(passed=1)
    result.stdout.no_fnmatch_line("*was ready after*")


@pytest.mark.parametrize("option", ["--collect-only", "--fixtures", "--setup-plan", "--markers", "--help"])
def test_calls_that_run_no_tests(run: Run, option: str) -> None:
    result = run(option, test_it="import app\ndef test_it(): pass", conftest="import os\nos.environ.get('DATABASE_URL')")
    assert result.ret == 0
    result.stdout.no_fnmatch_line("*was ready after*")


def test_a_conftest_that_cannot_be_imported(run: Run) -> None:
    result = run(conftest="raise RuntimeError('the user made a mistake')")
    assert result.ret != 0
    result.stderr.fnmatch_lines(["*the user made a mistake*"])
    assert "DATABASE_URL" not in os.environ


def test_xdist(project: pytest.Pytester, servers: Servers) -> None:
    project.makeconftest("import os, app\nURL = os.environ['DATABASE_URL']")
    names = " or ".join(f"test_{number}" for number in range(8))
    assert names
    project.makepyfile(
        test_it="""
        import os, pytest
        from app import add, engine, names

        @pytest.mark.parametrize("number", range(8))
        def test_it(number, testbed):
            assert engine.url.database == f"testbed_{testbed.run}_{os.environ['PYTEST_XDIST_WORKER']}"
            assert names() == []
            assert add(str(number)) == 1
            assert not [name for name in os.environ if name.startswith("_PYTEST_TESTBED")]
        """
    )
    result = project.runpytest_subprocess(*QUIET, *options_for(servers.any_local()), "-n", "2")
    result.assert_outcomes(passed=8)
    result.stdout.fnmatch_lines(["testbed: postgres * was ready after *"])


def test_a_server_of_our_own_though_the_variable_names_another(
    project: pytest.Pytester, servers: Servers, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The address has the login of the server that is used, not of the one that is named."""
    monkeypatch.setenv("DATABASE_URL", "postgresql://somebody@127.0.0.1:1/mine")
    project.makepyfile(test_it="from app import add, names\ndef test_it():\n    add('x')\n    assert names() == ['x']")
    result = project.runpytest_subprocess(*QUIET, *options_for(servers.any_local()))
    result.assert_outcomes(passed=1)


def test_a_server_that_is_named_by_the_variable_itself(project: pytest.Pytester, servers: Servers) -> None:
    """DATABASE_URL names a server, as in CI, and is replaced by the address of the run's own database on it."""
    url = servers.any_local().endpoint("postgres").url()
    project.makepyfile(
        test_it="""
        from app import add, engine, names
        def test_it():
            assert engine.url.database.startswith("testbed_")
            add("x")
        """
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DATABASE_URL", url)
        for more in ((), ("-n", "1")):
            result = project.runpytest_subprocess(*QUIET, *more)
            result.assert_outcomes(passed=1)
            result.stdout.fnmatch_lines(["testbed: postgres * (external, *"])


@pytest.mark.parametrize(
    ("env", "words"),
    [
        ("X={pg.urk}", "names {pg.urk}, which there is not; did you mean 'pg.url'?"),
        (
            "X={pg.url+}",
            "names {pg.url+}, which there is not; name a driver of SQLAlchemy after the plus sign, such as *",
        ),
        ("X={pg.url+psycopg3}", "names {pg.url+psycopg3}, which there is not; SQLAlchemy's name of psycopg 3 is psycopg: *"),
        ("X={pg.url+asyncp}", "names {pg.url+asyncp}, which there is not; did you mean 'pg.url+asyncpg'?"),
        ("X={pg.url+psycog2}", "names {pg.url+psycog2}, which there is not; did you mean 'pg.url+psycopg2'?"),
        ("X=${pg.url}", "X=${pg.url} has a dollar sign before {pg.url}, which would become a part of the value; leave it out."),
        ("X={pg.port+asyncpg}", "names {pg.port+asyncpg}, which there is not*"),
        ("X={rabbit.url}", "names {rabbit.url}, which there is not*"),
        ("X={}", "names {}, which there is not; there are: {pg.url}, {pg.dsn}, *"),
        ("X={pg.url", "has a brace without its counterpart*"),
        ("just a text", "holds 'just a text', which is not of the form NAME=text*"),
        ("X={pg.url}\n    Y=1\n    X = {pg.dsn}", "sets X twice: X={pg.url} and X={pg.dsn}; leave one of them out."),
        ("1X={pg.url}", "holds '1X={pg.url}', which is not of the form NAME=text*"),
    ],
)
def test_a_bad_line(project: pytest.Pytester, run: Run, env: str, words: str) -> None:
    write_ini(project, env=env)
    result = run(test_it="def test_it(): pass")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([f"ERROR: testbed_env (from pytest.ini)*{words.replace('[', '[[]')}"])


def test_a_driver_of_somebodys_own(project: pytest.Pytester, run: Run) -> None:
    """One that an installed distribution names may be almost like another; one that is like none may come at import."""
    entries = project.mkdir("theirs-1.dist-info")
    entries.joinpath("METADATA").write_text("Metadata-Version: 2.1\nName: theirs\nVersion: 1\n")
    entries.joinpath("entry_points.txt").write_text("[sqlalchemy.dialects]\npostgresql.asyncpgx = theirs:Dialect\n")
    project.syspathinsert()
    write_ini(project, env="A={pg.url+asyncpgx}\n    B={pg.url+psycopg2_pooled}\n    C={pg.url+psycopg_async}")
    test = "import os\ndef test_it(): print(*(os.environ[name].partition(':')[0] for name in 'ABC'))"
    result = run("-s", test_it=test)
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(["*postgresql+asyncpgx postgresql+psycopg2_pooled postgresql+psycopg_async*"])
    write_ini(project, env="A={pg.url+asynpgx}")
    result = run()
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["ERROR: *names {pg.url+asynpgx}, which there is not; did you mean 'pg.url+asyncpgx'?"])


def test_it_may_be_said_by_the_environment_and_the_command_line(
    project: pytest.Pytester, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    project.makeini("[pytest]\npythonpath = .")
    test = "import os\ndef test_it(): assert os.environ['PLACE'] == '127.0.0.1'"
    run("-o", "testbed_env=PLACE={pg.host}", test_it=test).assert_outcomes(passed=1)
    monkeypatch.setenv("TESTBED_ENV", "PLACE={pg.host}")
    run(test_it=test).assert_outcomes(passed=1)


def test_the_header_says_how_tests_are_kept_apart(run: Run) -> None:
    result = run(test_it="def test_it(): pass")
    result.stdout.fnmatch_lines(["testbed: DATABASE_URL from PostgreSQL; tests commit for real (isolation: database)"])


@pytest.mark.parametrize("first", ["", "pg_session", "pg_engine"])
def test_an_address_without_any_export(project: pytest.Pytester, run: Run, first: str) -> None:
    """The database is there before its address is; what is done by that is looked after, and other tests stay as they were."""
    project.path.joinpath("pytest.ini").write_text("[pytest]\ntestbed_pg_schema = schema.sql\n")
    run(
        test_it=f"""
        import psycopg2, pytest
        from contextlib import closing
        from sqlalchemy import text
        from pytest_testbed.isolation import mode_of

        @pytest.mark.pg(isolation="database")
        def test_before({first}):
            pass

        @pytest.mark.parametrize("address", ["pg_dsn", "pg_url"])
        @pytest.mark.parametrize("turn", [1, 2])
        def test_commits(request, address, turn, pg_database):
            given = request.getfixturevalue(address).replace("postgresql+psycopg2:", "postgresql:")
            with closing(psycopg2.connect(given)) as connection, connection.cursor() as cursor:
                cursor.execute("SELECT current_database()")
                assert cursor.fetchone() == (pg_database.name,)
                cursor.execute("INSERT INTO users (name) VALUES ('ada') RETURNING id")
                assert cursor.fetchone() == (1,)
                connection.commit()

        def test_others_are_in_a_transaction(request, pg_session):
            assert mode_of(request.node) == "transaction"
            assert pg_session.scalar(text("SELECT count(*) FROM users")) == 0
            pg_session.execute(text("INSERT INTO users (name) VALUES ('grace')"))
            pg_session.commit()
        """,
    ).assert_outcomes(passed=6)


@pytest.mark.parametrize("driver", ["psycopg2", "psycopg"])
def test_the_database_itself(project: pytest.Pytester, run: Run, driver: str) -> None:
    """Its address in each form, an engine and sessions; a session that the test leaves open is closed without a word."""
    project.path.joinpath("pytest.ini").write_text(f"[pytest]\ntestbed_pg_schema = schema.sql\ntestbed_pg_driver = {driver}\n")
    run(
        test_it="""
        import psycopg2, pytest
        from sqlalchemy import create_engine, text
        from pytest_testbed import RealDatabase

        def add(session, name):
            session.execute(text("INSERT INTO users (name) VALUES (:name)"), {"name": name})
            session.commit()
            return session

        def names(execute):
            return [name for (name,) in execute("SELECT name FROM users ORDER BY id")]

        @pytest.mark.parametrize("turn", [1, 2])
        def test_it(pg_database, pg_url, pg_dsn, pg_engine, turn):
            assert isinstance(pg_database, RealDatabase) and str(pg_database) == pg_database.name
            assert pg_database.engine is pg_engine
            assert (pg_database.url, pg_database.dsn) == (pg_url, pg_dsn)
            assert pg_database.uri not in repr(pg_database)
            with pg_database.session() as session:
                add(session, "ada")
            left_open = add(pg_database.session(), "grace")
            left_open.execute(text("SELECT 1"))
            for address in (pg_database.uri, pg_dsn):
                connection = psycopg2.connect(address)
                with connection, connection.cursor() as cursor:
                    cursor.execute("SELECT name FROM users ORDER BY id")
                    assert cursor.fetchall() == [("ada",), ("grace",)]
                connection.close()
            engine = create_engine(pg_url)
            assert engine.driver == DRIVER
            with engine.connect() as connection:
                assert connection.scalar(text("SELECT count(*) FROM users")) == 2
            engine.dispose()
        """.replace("DRIVER", repr(driver)),
    ).assert_outcomes(passed=2, warnings=0)


@pytest.mark.parametrize("address", ["pg_dsn", "pg_url", "pg_database"])
def test_an_address_that_a_running_test_asks_for(project: pytest.Pytester, run: Run, address: str) -> None:
    """Such a test commits for real, too, be it past the front door; not where it has a transaction, or its mark says so."""
    project.path.joinpath("pytest.ini").write_text("[pytest]\ntestbed_pg_schema = schema.sql\n")
    result = run(
        test_it=f"""
        import psycopg2, pytest
        from contextlib import closing
        from sqlalchemy import create_engine, text

        @pytest.fixture
        def connect(request, pg_service):
            def pg_service_url(database):
                return pg_service.url(database.name)

            def connect():
                given = request.getfixturevalue({address!r})
                ways = {{"pg_dsn": str, "pg_url": lambda url: url.replace("+psycopg2", ""), "pg_database": pg_service_url}}
                return closing(psycopg2.connect(ways[{address!r}](given)))
            return connect

        def write(connect):
            with connect() as connection, connection.cursor() as cursor:
                cursor.execute("INSERT INTO users (name) VALUES ('ada')")
                connection.commit()

        def test_commits(connect):
            write(connect)

        def test_engine_after_it(connect, request):
            write(connect)
            with request.getfixturevalue("pg_engine").connect() as other:
                assert other.scalar(text("SELECT count(*) FROM users")) == 1

        def test_in_a_transaction_before(pg_session, connect):
            pg_session.execute(text("INSERT INTO users (name) VALUES ('grace')"))
            with pytest.raises(pytest.fail.Exception, match="begun in a transaction.*Name the fixture as an argument"):
                connect()

        @pytest.mark.pg(isolation="transaction")
        def test_marked(connect):
            with pytest.raises(pytest.fail.Exception, match="marked pg.isolation='transaction'"):
                connect()

        def test_nothing_is_left(pg_session):
            assert pg_session.scalar(text("SELECT count(*) FROM users")) == 0
        """,
    )
    result.assert_outcomes(passed=5, warnings=0)


def test_another_plugin_whose_fixtures_come_before_ours(project: pytest.Pytester, run: Run) -> None:
    """What it does at its end is part of the test, and its first fixture may be one that ours are made of."""
    project.makepyfile(
        neighbour="""
        import os, pytest
        from sqlalchemy import create_engine, text

        @pytest.fixture(autouse=True, scope="session")
        def _early(pytestconfig):
            pass

        @pytest.fixture(autouse=True)
        def _flushes():
            engine = create_engine(os.environ["DATABASE_URL"])
            connection = engine.connect()
            connection.execute(text("INSERT INTO users (name) VALUES ('in a transaction')"))
            yield
            connection.rollback()
            with connection.begin():
                connection.execute(text("TRUNCATE users CASCADE"))
            connection.close()
            engine.dispose()
        """
    )
    project.path.joinpath("schema.sql").write_text(SCHEMA + "INSERT INTO users (name) VALUES ('seed');")
    run(
        "-p",
        "neighbour",
        "-W",
        "error::pytest.PytestWarning",
        test_it="""
        import pytest
        from app import names

        @pytest.mark.parametrize("turn", [1, 2])
        def test_seed(turn):
            assert names() == ["seed"]
        """,
    ).assert_outcomes(passed=2)


def test_what_the_server_said_to_an_application(run: Run) -> None:
    """Its tests have no fixture of ours that they would name."""
    result = run(test_it="from app import do\ndef test_it(): do('SELECT nix')")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*Captured postgres log*", '*ERROR:  column "nix" does not exist*', "*STATEMENT:  SELECT nix"])


def test_an_application_with_a_role_of_its_own(project: pytest.Pytester, run: Run) -> None:
    """It has fewer rights, and row security is for it; its pool outlives a database that takes the place of another."""
    project.path.joinpath("schema.sql").write_text(
        "CREATE ROLE shop_app LOGIN PASSWORD 'its own';"
        "CREATE TABLE users (id serial PRIMARY KEY, name text NOT NULL, tenant text);"
        "ALTER TABLE users ENABLE ROW LEVEL SECURITY;"
        "CREATE POLICY one ON users USING (tenant = current_setting('app.tenant'));"
        "GRANT SELECT, INSERT ON users TO shop_app; GRANT USAGE ON users_id_seq TO shop_app;"
    )
    app = APP.replace(
        '(os.environ["DATABASE_URL"])', '(make_url(os.environ["DATABASE_URL"]).set(username=ROLE, password="its own"))'
    )
    app = app.replace("import create_engine, text", "import create_engine, make_url, text").replace(
        "engine =", "ROLE = 'shop_app'\nengine ="
    )
    run(
        app=app,
        test_it="""
        import pytest
        from app import do, engine
        from sqlalchemy import text

        @pytest.mark.parametrize("turn", [1, 2, 3])
        def test_it(turn, pg_session):
            pg_session.execute(text("INSERT INTO users (name, tenant) VALUES ('ada', 'a'), ('bob', 'b')"))
            pg_session.commit()
            with engine.connect() as connection:
                connection.execute(text("SELECT set_config('app.tenant', 'a', false)"))
                connection.execute(text("INSERT INTO users (name, tenant) VALUES ('eve', 'a')"))
                connection.commit()
                assert list(connection.scalars(text("SELECT name FROM users ORDER BY id"))) == ["ada", "eve"]
            with pytest.raises(Exception, match="permission denied"):
                do("DELETE FROM users")
            pg_session.execute(text(f"CREATE TABLE t{turn} (id int)"))  # the next test has another database
            pg_session.commit()
        """,
    ).assert_outcomes(passed=3)


# --- locks


@pytest.mark.parametrize("mode", ["database", "transaction"])
def test_an_application_that_waits_for_a_lock_of_its_test(project: pytest.Pytester, servers: Servers, mode: str) -> None:
    """It would wait for ever: the test goes on when the application does. The server's log says who blocks."""
    project.path.joinpath("schema.sql").write_text(SCHEMA + "CREATE UNIQUE INDEX one ON users (name);")
    write_ini(project, "testbed_pg_lock_timeout = 1.5", "testbed_pg_isolation = " + mode)
    project.makepyfile(
        test_it="""
        from app import add
        from sqlalchemy import text

        def test_it(pg_session):
            pg_session.execute(text("INSERT INTO users (name) VALUES ('ada')"))
            print("the test is process", pg_session.scalar(text("SELECT pg_backend_pid()")))
            add("ada")
        """
    )
    result = project.runpytest_subprocess(*QUIET, *options_for(servers.any_local()), timeout=30)
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        ["*LockNotAvailable*canceling statement due to lock timeout", "the test is process *", "*Captured postgres log*"]
    )
    blocker = next(line.split()[-1] for line in result.outlines if line.startswith("the test is process"))
    result.stdout.fnmatch_lines(
        [
            "*LOG:  process * still waiting for ShareLock on transaction * after 1* ms",
            f"*DETAIL:  Process holding the lock: {blocker}. *",
            "*STATEMENT:  INSERT INTO users (name) VALUES ('ada') RETURNING id",
        ]
    )


# --- a schema that reads the address

ENV = """
import os
from alembic import context
from sqlalchemy import create_engine

with create_engine(os.environ["DATABASE_URL"]).begin() as connection:
    context.configure(connection=connection)
    context.run_migrations()
"""
REVISION = """
from alembic import op

revision, down_revision = "one", None


def upgrade():
    op.execute("CREATE TABLE users (id serial PRIMARY KEY, name text)")
"""


def test_migrations_that_have_their_url_from_the_environment(project: pytest.Pytester, run: Run) -> None:
    """So has almost every env.py that is in use; and a function may use the application's own engine."""
    pytest.importorskip("alembic")
    project.mkdir("migrations").joinpath("versions").mkdir()
    project.path.joinpath("migrations/env.py").write_text(ENV)
    project.path.joinpath("migrations/versions/one.py").write_text(REVISION)
    project.path.joinpath("alembic.ini").write_text("[alembic]\nscript_location = migrations\npath_separator = os\n")
    project.makepyfile(rows="from app import add\n\ndef first():\n    add('of the schema')")
    write_ini(project)
    ini = project.path.joinpath("pytest.ini")
    ini.write_text(ini.read_text().replace("= schema.sql", "=\n    alembic.ini\n    rows:first"))
    run(
        test_it="""
        import pytest
        from app import add, names

        @pytest.mark.parametrize("turn", [1, 2])
        def test_it(turn):
            assert names() == ["of the schema"]
            add("of the test")
        """
    ).assert_outcomes(passed=2)


def test_a_schema_that_fails_is_told_by_each_test(project: pytest.Pytester, run: Run) -> None:
    """The first fixture of the first test is not to blame, and is set up as new in the next one."""
    project.path.joinpath("schema.sql").write_text("SELECT nix;")
    result = run(
        conftest="""
        import pytest

        @pytest.fixture(scope="session", autouse=True)
        def first():
            return 1
        """,
        test_it="""
        import pytest

        def test_one(): pass

        def test_two(): pass

        @pytest.mark.unit
        def test_unit(first): assert first == 1
        """,
    )
    result.assert_outcomes(errors=2, passed=1)
    result.stdout.fnmatch_lines(["*at setup of test_one*", "SchemaError: *", "*at setup of test_two*", "SchemaError: *"])


# --- which way a test is kept apart


def test_mark_fixture_folder_and_default(project: pytest.Pytester, run: Run) -> None:
    write_ini(project, "testbed_pg_isolation =", "    transaction", "    database: tests/api tests/web/real", env="A={pg.host}")
    for folder in ("tests/api/deep", "tests/api", "tests/web/real", "tests/web"):
        (project.path / folder).mkdir(parents=True, exist_ok=True)
        name = folder.replace("/", "_")
        real = folder != "tests/web"
        (project.path / folder / f"test_{name}.py").write_text(
            textwrap.dedent(f"""
            import pytest
            from pytest_testbed.isolation import mode_of

            def test_folder(request):
                assert mode_of(request.node) == {"database" if real else "transaction"!r}

            @pytest.mark.pg(isolation="transaction")
            def test_mark(request):
                assert mode_of(request.node) == "transaction"

            def test_fixture(request, pg_url):
                assert mode_of(request.node) == "database"
            """)
        )
    run("tests").assert_outcomes(passed=12)


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("databse", "holds 'databse', which is not one of transaction, database; did you mean 'database'?"),
        ("rollback: tests", "holds 'rollback', which is not one of transaction, database."),
    ],
)
def test_a_bad_isolation(project: pytest.Pytester, run: Run, value: str, words: str) -> None:
    write_ini(project, "testbed_pg_isolation =", f"    {value}")
    result = run(test_it="def test_it(): pass")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([f"ERROR: testbed_pg_isolation = *{words}"])


def test_a_folder_that_is_not_there(project: pytest.Pytester, run: Run) -> None:
    project.mkdir("functional")
    write_ini(project, "testbed_pg_isolation =", "    database: functionl")
    result = run(test_it="def test_it(): pass")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["ERROR: testbed_pg_isolation * names the folder 'functionl', which is not there*'functional'?"])
