"""Applications that connect when they are imported, before any fixture: they find their schema and seeds."""

from __future__ import annotations

import socket
import textwrap
import threading
from collections.abc import Callable

import pytest

from pytest_testbed.services.wire import Wire
from pytest_testbed.services.witness import Witness
from tests.conftest import QUIET, Servers, options_for

SCHEMA = "CREATE TABLE users (id serial PRIMARY KEY, name text NOT NULL);\n"
APP = """
import os
from sqlalchemy import create_engine, text

engine = create_engine(os.environ["DATABASE_URL"])


def names():
    with engine.connect() as connection:
        return list(connection.scalars(text("SELECT name FROM users ORDER BY id")))


def add(name):
    with engine.begin() as connection:
        connection.execute(text("INSERT INTO users (name) VALUES (:name)"), {"name": name})


AT_IMPORT = names()
add("at import")
"""
TEST = """
import pytest
from app import AT_IMPORT, add, names

@pytest.mark.parametrize("turn", [1, 2])
def test_it(turn):
    assert AT_IMPORT == names() == ["ada"]
    add("of a test")
    assert names() == ["ada", "of a test"]
"""
MADE = "testbed: postgres: a connection before the tests had the database made for it, in *"

Run = Callable[..., pytest.RunResult]


@pytest.fixture
def run(pytester: pytest.Pytester, servers: Servers, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run pytest on an application in a process of its own: what it imports is imported for the first time."""
    monkeypatch.delenv("DATABASE_URL", raising=False)
    write(pytester, "schema.sql", SCHEMA)
    write(pytester, "users.csv", "name\nada\n")
    write(pytester, "bad.sql", "SELECT nix;\n")
    options = options_for(servers.any_local())

    def run(
        *arguments: str, schema: str = "schema.sql", seed: str = "users.csv", env: str = "", more: str = "", **files: str
    ) -> pytest.RunResult:
        env = env or "DATABASE_URL={pg.url+psycopg2}"
        lines = ["[pytest]", f"testbed_env = {env}", f"testbed_pg_schema = {schema}", f"testbed_pg_seed = {seed}", more]
        write(pytester, "pytest.ini", "\n".join(lines) + "\n")
        for name, text in {"app": APP, "test_it": TEST, **files}.items():
            write(pytester, f"{name.replace('__', '/')}.py", text)
        return pytester.runpytest_subprocess(*QUIET, *options, "-v", *arguments, timeout=120)

    return run


def write(pytester: pytest.Pytester, name: str, text: str) -> None:
    path = pytester.path / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


# --- what it finds


def test_it_finds_schema_and_seeds_and_tests_do_not_find_what_it_has_written(run: Run) -> None:
    """Twice: the second run finds the template."""
    first = run()
    first.assert_outcomes(passed=2)
    first.stdout.fnmatch_lines(["testbed: postgres: template testbed_t_* was made in *", MADE])
    assert first.stdout.str().count("was made in") == 2  # and the database
    second = run()
    second.assert_outcomes(passed=2)
    second.stdout.fnmatch_lines(["testbed: postgres: template testbed_t_* was there", MADE])


def test_a_connection_of_a_conftest(run: Run) -> None:
    """What it has set in the environment, and added to `sys.path`, the schema finds as well."""
    conftest = "import os, sys\nos.environ['WHO'] = 'ada'\nsys.path.append('lib')\nfrom app import AT_IMPORT"
    rows = (
        "import os\nfrom sqlalchemy import text\n\n"
        "def add(connection):\n    connection.execute(text('INSERT INTO users (name) VALUES (:it)'), {'it': os.environ['WHO']})"
    )
    run(seed="rows:add", conftest=conftest, lib__rows=rows).assert_outcomes(passed=2)


ASYNC = """
import asyncio, os
import asyncpg


def ask(sql, *more):
    async def asked():
        connection = await asyncpg.connect(os.environ["DATABASE_URL"])
        try:
            return [row[0] for row in await connection.fetch(sql, *more)]
        finally:
            await connection.close()
    return asyncio.run(asked())


def names():
    return ask("SELECT name FROM users ORDER BY id")


def add(name):
    ask("INSERT INTO users (name) VALUES ($1) RETURNING id", name)


AT_IMPORT = names()
add("at import")
"""


def test_asyncpg(run: Run) -> None:
    run(app=ASYNC, env="DATABASE_URL={pg.url}").assert_outcomes(passed=2)


def test_workers(run: Run) -> None:
    """The controller imports the conftest too. One process makes the template, and the others' databases are copies."""
    result = run("-n", "2", "--dist=each", conftest="import app")
    result.assert_outcomes(passed=4)
    for worker in ("gw0", "gw1"):
        result.stdout.fnmatch_lines([f"testbed: {worker}: postgres: the template of another process of this run was copied"])


def test_connections_of_several_threads(run: Run) -> None:
    """One of them has the database made, and the others wait for it: none may see it half made."""
    app = APP.replace(
        "AT_IMPORT = names()",
        "from concurrent.futures import ThreadPoolExecutor\nwith ThreadPoolExecutor(5) as pool:\n"
        "    AT_IMPORT, *others = [each.result() for each in [pool.submit(names) for _ in range(5)]]\n"
        "assert others == [AT_IMPORT] * 4",
    )
    run(app=app, seed="\n    users.csv\n    rows:slow", rows="import time\ndef slow():\n    time.sleep(0.5)\n").assert_outcomes(
        passed=2
    )


def test_create_all_at_import(run: Run) -> None:
    """It finds the tables there; one more that it makes is not the tests'."""
    app = APP.replace("AT_IMPORT", "CREATE = 'CREATE TABLE IF NOT EXISTS '\nAT_IMPORT").replace(
        'add("at import")',
        'with engine.begin() as connection:\n    for name in ("users", "others"):\n'
        '        connection.execute(text(f"{CREATE} {name} (id int)"))',
    )
    test = TEST + "\ndef test_others():\n    with pytest.raises(Exception, match='others'):\n        ask('TABLE others')\n"
    app += "\n\ndef ask(sql):\n    with engine.begin() as connection:\n        return list(connection.execute(text(sql)))\n"
    run(app=app, test_it=test.replace("AT_IMPORT, add", "AT_IMPORT, add, ask")).assert_outcomes(passed=3)


def test_an_overridden_fixture(run: Run) -> None:
    """It cannot be known before the tests, which have what it says."""
    conftest = "import pytest\n@pytest.fixture(scope='session')\ndef pg_seed(): return []"
    test = "from app import AT_IMPORT, names\ndef test_it():\n    assert (AT_IMPORT, names()) == (['ada'], [])"
    run(conftest=conftest, test_it=test).assert_outcomes(passed=1)


def test_without_a_schema_everything_is_the_applications(run: Run) -> None:
    app = APP.replace("AT_IMPORT = names()", f'with engine.begin() as connection:\n    connection.execute(text("""{SCHEMA}"""))')
    test = "from app import add, names\ndef test_it():\n    assert names() == ['at import']\n"
    run(app=app, test_it=test, schema="", seed="").assert_outcomes(passed=1)


# --- a schema whose modules connect


MODELS = """
from sqlalchemy import text
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
{more}

class Base(DeclarativeBase):
    pass

class User(Base):
    __tablename__ = "users"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str]
"""
OPENS = """
import os
from sqlalchemy import create_engine, text

engine = create_engine(os.environ["DATABASE_URL"])
with engine.begin() as connection:
    connection.execute(text("CREATE TABLE IF NOT EXISTS users (id int)"))
kept = engine.connect()
"""


@pytest.mark.parametrize("first", ["shop.db", "shop.models", ""])
def test_the_module_of_the_models_connects_itself(run: Run, first: str) -> None:
    """Whoever imports it, the run or the one who makes the schema: it comes to the template that is being made."""
    test = """
    def test_it():
        from shop.db import engine, kept
        from sqlalchemy import text
        assert kept.scalar(text("SELECT current_database()")) == engine.url.database
        assert kept.execute(text("SELECT name FROM users")).all() == [("ada",)]
        kept.rollback()
    """
    test = "\n".join(line[4:] for line in test.splitlines())
    models = MODELS.format(more="from shop import db")
    files = {"shop____init__": "", "shop__db": OPENS, "shop__models": models, "conftest": f"import {first}" if first else ""}
    run(schema="shop.models:Base", test_it=test, **files).assert_outcomes(passed=1)


def test_a_server_that_is_not_ours(run: Run, servers: Servers, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its door passes on what it does not read: it can lead nobody, so drivers are led instead."""
    monkeypatch.setenv("DATABASE_URL", servers.any_local().endpoint("postgres").url())
    fresh = "from sqlalchemy.pool import NullPool"
    app = APP.replace('["DATABASE_URL"]', '["DATABASE_URL"], poolclass=NullPool').replace("import os", f"import os\n{fresh}")
    run("--testbed-provider=external", app=app).assert_outcomes(passed=2)
    models = MODELS.format(more="from shop import db")
    test = "from shop.db import engine\nfrom sqlalchemy import text\n\ndef test_it():\n    with engine.connect() as connection:\n"
    test += "        assert connection.execute(text('SELECT name FROM users')).all() == [('ada',)]\n"
    files = {
        "shop____init__": "",
        "shop__db": OPENS.replace("kept = engine.connect", "engine.dispose"),
        "shop__models": models,
        "test_it": test,
    }
    run("--testbed-provider=external", schema="shop.models:Base", **files).assert_outcomes(passed=1)


# --- a schema that uses the address


@pytest.mark.parametrize("said_by", ["option", "fixture"])
def test_a_connection_that_is_open_already(run: Run, said_by: str) -> None:
    """Django's, for one: what the schema sends by it reaches the template, and it leads to the tests' database again."""
    app = """
    import os, subprocess, sys
    import psycopg2
    from sqlalchemy import create_engine, text

    url = os.environ["DATABASE_URL"].replace("+psycopg2", "")
    kept = psycopg2.connect(url)
    engine = create_engine(url)
    with engine.connect() as connection:
        pass
    CHILD = "import psycopg2, sys; c = psycopg2.connect(sys.argv[1]); c.cursor().execute(sys.argv[2]); c.commit()"


    def make():
        with kept, kept.cursor() as cursor:
            cursor.execute("CREATE TABLE users (name text)")
        with engine.begin() as connection:
            connection.execute(text("INSERT INTO users VALUES ('by an engine')"))
        subprocess.run([sys.executable, "-c", CHILD, url, "INSERT INTO users VALUES ('by a child')"], check=True)
    """
    test = """
    import pytest
    from app import engine, kept
    from sqlalchemy import text

    @pytest.mark.parametrize("turn", [1, 2])
    def test_it(turn):
        with kept, kept.cursor() as cursor:
            cursor.execute("SELECT name FROM users")
            assert cursor.fetchall() == [("by an engine",), ("by a child",)]
            cursor.execute("INSERT INTO users VALUES ('by a test')")
        with engine.connect() as connection:
            assert connection.scalar(text("SELECT count(*) FROM users")) == 3
    """
    files = {"app": textwrap.dedent(app), "test_it": textwrap.dedent(test)}
    schema, fixture = "app:make", "import app, pytest\n\n@pytest.fixture(scope='session')\ndef pg_schema(): return [app.make]"
    if said_by == "fixture":
        files["conftest"], schema = fixture, ""
    run("--timeout=60", schema=schema, seed="", **files).assert_outcomes(passed=2)


# --- what goes wrong


def test_a_schema_that_fails(run: Run) -> None:
    """The application is told at once, and the tests too."""
    app = APP.replace("AT_IMPORT = names()\n", "try:\n    names()\nexcept Exception as error:\n    AT_IMPORT = str(error)\n")
    app = app.replace('add("at import")', "")
    result = run(app=app, seed="rows:add", rows="def add():\n    raise RuntimeError('no rows today')", test_it=TEST)
    result.assert_outcomes(errors=2)
    result.stdout.fnmatch_lines(["*SchemaError: Seed 1 (rows:add) could not be applied.", "*RuntimeError: no rows today"])
    result = run(app=APP, seed="rows:add", test_it=TEST)
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(
        ["*pytest-testbed: Seed 1 (rows:add) could not be applied.", "*RuntimeError: no rows today", "*rows.py:2, in add"]
    )


@pytest.mark.parametrize("driver", ["psycopg2", "psycopg", "asyncpg"])
@pytest.mark.parametrize("wrong", ["password", "port", "schema"])
def test_a_server_that_is_not_ours_and_what_goes_wrong(
    run: Run, servers: Servers, monkeypatch: pytest.MonkeyPatch, wrong: str, driver: str
) -> None:
    """The application is told, by an answer that it reads before it has logged in; pytest shows no traceback of ours."""
    endpoint = servers.any_local().endpoint("postgres")
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        changes = {"password": {"password": "guess"}, "port": {"port": nobody.getsockname()[1]}}.get(wrong, {})
        monkeypatch.setenv("DATABASE_URL", endpoint.with_(**changes).url())
        connect = f"import os, {driver}\n{driver}.connect(os.environ['DATABASE_URL'])"
        if driver == "asyncpg":
            connect = f"import asyncio, os, asyncpg\nasyncio.run({connect.splitlines()[1]})"
        more = "testbed_pg_timeout = 1"
        result = run("--testbed-provider=external", conftest=connect, env="DATABASE_URL={pg.url}", schema="bad.sql", more=more)
    assert result.ret != 0
    words = {
        "password": '*password authentication failed for user "postgres"*the user or the password is wrong*',
        "port": "*Connection refused*start it, or correct the URL*",
        "schema": "*pytest-testbed: Entry 1 of the schema (bad.sql) could not be applied*",
    }
    said = result.stderr.str()
    result.stderr.fnmatch_lines([words[wrong]])
    assert "pytest-testbed: " in said
    assert "Exception in thread" not in said


def test_a_process_that_dies_while_it_makes_the_schema(run: Run) -> None:
    rows = "import os, sys\ndef add():\n    print('the last words', flush=True)\n    os._exit(7)"
    result = run(seed="rows:add", rows=rows)
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*the process that makes the database has ended early (exit code 7).", "*the last words"])


# --- what the process is like


def test_a_witness_answers_while_the_main_thread_waits(monkeypatch: pytest.MonkeyPatch, tmp_path: object) -> None:
    import _socket
    import os

    monkeypatch.setenv("SAID_LATER", "before")
    before = threading.active_count()
    witness = Witness()
    host = Wire(_socket.socket(fileno=os.dup(witness.theirs)))
    witness.begin()
    monkeypatch.setenv("SAID_LATER", "after")
    monkeypatch.syspath_prepend(str(tmp_path))
    host.send({})
    now = host.receive()
    assert now["environ"]["SAID_LATER"] == "after"
    assert now["path"][0] == str(tmp_path)
    assert now["directory"] == os.getcwd()
    witness.close()
    witness.close()
    assert host.receive()["environ"]["SAID_LATER"] == "after"  # its last words
    with pytest.raises(EOFError):
        host.receive()
    assert threading.active_count() == before
    host.close()
