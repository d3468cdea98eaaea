"""Seeds on a real server: CSV files, folders of them, SQL files and functions; and what is told of each mistake."""

from __future__ import annotations

import sys
import textwrap
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg2
import pytest
from sqlalchemy import URL, Connection, Engine, MetaData, make_url, text
from sqlalchemy.orm import Session

from pytest_testbed import Endpoint, Testbed
from pytest_testbed.errors import SchemaError
from pytest_testbed.postgres.schema import apply_schema
from tests.conftest import QUIET, Servers, options_for


class Target:
    """An empty database, and a project folder whose seeds are applied to it."""

    def __init__(self, url: URL, root: Path) -> None:
        self.url = url
        self.root = root

    def write(self, name: str, content: str | bytes) -> Path:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else textwrap.dedent(content).encode())
        return path

    def apply(self, *seeds: object, schema: str = "") -> None:
        if schema:
            self.write("schema.sql", schema)
        apply_schema(["schema.sql"] if schema else [], self.url, self.root, seeds)

    def refusal(self, *seeds: object, schema: str = "CREATE TABLE users (id int PRIMARY KEY, email text NOT NULL UNIQUE)") -> str:
        with pytest.raises(SchemaError) as caught:
            self.apply(*seeds, schema=schema)
        assert self.ask("SELECT count(*) FROM pg_stat_user_tables WHERE n_live_tup > 0") == [(0,)]
        return str(caught.value)

    def ask(self, sql: str) -> list[tuple[Any, ...]]:
        connection = psycopg2.connect(self.url.set(drivername="postgresql").render_as_string(hide_password=False))
        try:
            with connection, connection.cursor() as cursor:
                cursor.execute(sql)
                return cursor.fetchall() if cursor.description else []
        finally:
            connection.close()


@pytest.fixture(params=["psycopg2", "psycopg"])
def target(server: Endpoint, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Target]:
    name = f"seeds_{uuid.uuid4().hex[:8]}"
    admin = Target(make_url(server.url()), tmp_path)
    connection = psycopg2.connect(server.url())
    connection.autocommit = True
    with connection.cursor() as cursor:
        cursor.execute(f"CREATE DATABASE {name}")
        yield Target(admin.url.set(database=name, drivername=f"postgresql+{request.param}"), tmp_path)
        cursor.execute(f"DROP DATABASE {name} WITH (FORCE)")
    connection.close()


# --- what goes in


def test_a_file_fills_the_table_of_its_name(target: Target) -> None:
    target.write("users.csv", 'email,id,note\na@x,1,\n"b,""@x",2,""\n"two\nlines",3,x\n')
    target.apply("users.csv", schema="CREATE TABLE users (id int PRIMARY KEY, email text, note text)")
    assert target.ask("SELECT * FROM users ORDER BY 1") == [(1, "a@x", None), (2, 'b,"@x', ""), (3, "two\nlines", "x")]


@pytest.mark.parametrize(
    ("file", "table"),
    [
        ("sales.orders.csv", "sales.orders"),
        ("Order Items.csv", '"Order Items"'),
        ('"Order Items".csv', '"Order Items"'),
        ('sales."a.b".csv', 'sales."a.b"'),
        ("sales.Übung.CSV", 'sales."Übung"'),
    ],
)
def test_names_of_files(target: Target, file: str, table: str) -> None:
    target.write(file, "id\n7\n")
    target.apply(file, schema=f"CREATE SCHEMA sales; CREATE TABLE {table} (id int)")
    assert target.ask(f"SELECT id FROM {table}") == [(7,)]


def test_utf8_with_a_byte_order_mark_and_windows_lines(target: Target) -> None:
    target.write("users.csv", "id,name\r\n1,Jürgen\r\n".encode("utf-8-sig"))
    target.apply("users.csv", schema="CREATE TABLE users (id int, name text)")
    assert target.ask("SELECT * FROM users") == [(1, "Jürgen")]


SHOP = """
CREATE TABLE c_users (id int PRIMARY KEY, best_id int);
CREATE TABLE b_orders (id int PRIMARY KEY, user_id int NOT NULL REFERENCES c_users, parent_id int REFERENCES b_orders);
CREATE TABLE a_items (order_id int REFERENCES b_orders)
"""


def test_a_folder_is_loaded_in_the_order_of_the_foreign_keys(target: Target) -> None:
    target.write("seeds/a_items.csv", "order_id\n1\n")
    target.write("seeds/b_orders.csv", "id,user_id,parent_id\n2,5,1\n1,5,\n")
    target.write("seeds/c_users.csv", "id\n5\n")
    target.write("seeds/README.md", "not a seed")
    target.apply("seeds", schema=SHOP)
    assert target.ask("SELECT order_id FROM a_items") == [(1,)]


@pytest.mark.parametrize("constraint", ["DEFERRABLE", ""], ids=["deferrable", "that may be NULL"])
def test_a_circle(target: Target, constraint: str) -> None:
    target.write("seeds/c_users.csv", f"id,best_id\n5,{1 if constraint else ''}\n")
    target.write("seeds/b_orders.csv", "id,user_id\n1,5\n")
    target.apply("seeds/", schema=f"{SHOP}; ALTER TABLE c_users ADD FOREIGN KEY (best_id) REFERENCES b_orders {constraint}")
    assert target.ask("SELECT count(*) FROM b_orders") == [(1,)]


def test_deferrable_constraints_wait_for_the_last_of_several_files(target: Target) -> None:
    target.write("orders.csv", "user_id\n1\n")
    target.write("users.csv", "id\n1\n")
    target.write("more.sql", "SET search_path TO pg_catalog; INSERT INTO public.users VALUES (2); SET ROLE pg_monitor")
    target.apply(
        Path("orders.csv"),
        "more.sql",
        target.root / "users.csv",
        schema="CREATE TABLE users (id int PRIMARY KEY); CREATE TABLE orders (user_id int REFERENCES users DEFERRABLE)",
    )
    assert target.ask("SELECT id, user_id FROM users LEFT JOIN orders ON id = user_id ORDER BY 1") == [(1, 1), (2, None)]


def test_an_sql_file_may_make_the_tables_and_may_commit(target: Target) -> None:
    target.write("a.sql", "BEGIN; CREATE TABLE users (id int); INSERT INTO users VALUES (1); COMMIT;")
    target.write("users.csv", "id\n2\n")
    target.apply("a.sql", "users.csv")
    assert target.ask("SELECT id FROM users") == [(1,), (2,)]


def test_functions_see_what_files_have_loaded(target: Target, monkeypatch: pytest.MonkeyPatch) -> None:
    module = f"seeding_{uuid.uuid4().hex[:8]}"
    target.write("users.csv", "id\n1\n")
    target.write(
        f"{module}.py",
        """
        from sqlalchemy import text
        def more(engine, connection, session):
            with engine.begin() as own:
                own.execute(text("INSERT INTO users SELECT id + 1 FROM users"))
            connection.execute(text("INSERT INTO users VALUES (3)"))
            session.execute(text("INSERT INTO users VALUES (4)"))
        """,
    )
    monkeypatch.syspath_prepend(target.root)

    def last(session: Session) -> None:
        session.execute(text("INSERT INTO users SELECT max(id) + 1 FROM users"))

    target.apply("users.csv", f"{module}:more", last, schema="CREATE TABLE users (id int)")
    assert target.ask("SELECT id FROM users ORDER BY 1") == [(number,) for number in range(1, 6)]
    del sys.modules[module]


# --- sequences


def test_the_next_insert_does_not_collide(target: Target) -> None:
    target.write("s.users.csv", "id\n3\n40\n5\n")
    target.write("Big.csv", "id,n\n7,1\n")
    target.write("down.csv", "id\n-9\n")
    target.write("early.csv", "id\n9\n")
    target.write("without.csv", "name\nx\ny\n")
    target.write("beyond.csv", "id\n1000\n")
    target.apply(
        *("s.users.csv", "Big.csv", "down.csv", "early.csv", "without.csv", "beyond.csv"),
        schema="""
        CREATE SCHEMA s;
        CREATE TABLE s.users (id serial PRIMARY KEY);
        CREATE TABLE "Big" (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, n int);
        CREATE TABLE down (id int GENERATED BY DEFAULT AS IDENTITY (INCREMENT -1) PRIMARY KEY);
        CREATE TABLE early (id int GENERATED BY DEFAULT AS IDENTITY (START 100) PRIMARY KEY);
        CREATE TABLE without (id serial PRIMARY KEY, name text);
        CREATE TABLE beyond (id int GENERATED BY DEFAULT AS IDENTITY (MAXVALUE 100) PRIMARY KEY);
        CREATE TABLE empty (id serial PRIMARY KEY);
        """,
    )
    assert target.ask("INSERT INTO s.users DEFAULT VALUES RETURNING id") == [(41,)]
    assert target.ask('INSERT INTO "Big" (n) VALUES (1) RETURNING id') == [(8,)]
    assert target.ask("INSERT INTO down DEFAULT VALUES RETURNING id") == [(-10,)]
    assert target.ask("INSERT INTO early DEFAULT VALUES RETURNING id") == [(100,)]
    assert target.ask("INSERT INTO without DEFAULT VALUES RETURNING id") == [(3,)]
    assert target.ask("INSERT INTO beyond DEFAULT VALUES RETURNING id") == [(1,)]
    assert target.ask("INSERT INTO empty DEFAULT VALUES RETURNING id") == [(1,)]


def test_a_function_can_insert_after_a_file_and_may_say_ids_itself(target: Target) -> None:
    target.write("users.csv", "id\n1\n")

    def add(engine: Engine) -> None:
        with engine.begin() as connection:
            connection.execute(text("INSERT INTO users DEFAULT VALUES"))
            connection.execute(text("INSERT INTO users VALUES (50)"))

    target.apply("users.csv", add, schema="CREATE TABLE users (id serial PRIMARY KEY)")
    assert target.ask("INSERT INTO users DEFAULT VALUES RETURNING id") == [(51,)]
    assert target.ask("SELECT id FROM users ORDER BY 1") == [(1,), (2,), (50,), (51,)]


# --- what is wrong


def test_a_row_that_violates_the_schema(target: Target) -> None:
    path = target.write("users.csv", "id,email\n1,a\n2,b\n1,c\n")
    assert target.refusal("users.csv") == (
        "Seed 1 (users.csv) could not be applied.\n"
        f"{path}:4: a seed that violates the schema (table users, constraint users_pkey).\n"
        'ERROR: duplicate key value violates unique constraint "users_pkey"\n'
        "DETAIL: Key (id)=(1) already exists.\n"
        "CONTEXT: COPY users, line 4\n"
        "Two rows have this key: the other one is in a file before this, or was made by the schema's own entries."
    )


def test_a_missing_value(target: Target) -> None:
    path = target.write("users.csv", 'id,email\n1,""\n2,\n')
    message = target.refusal("users.csv")
    assert f"{path}:3: a seed that violates the schema (table users, column email)." in message
    assert 'An empty field is NULL; a quoted one ("") is an empty text.' in message


@pytest.mark.parametrize("deferred", ["", "DEFERRABLE"])
def test_a_row_that_refers_to_nothing(target: Target, deferred: str) -> None:
    target.write("users.csv", "id\n1\n")
    path = target.write("orders.csv", "user_id\n1\n9\n")
    message = target.refusal(
        *("users.csv", "orders.csv"),
        schema="CREATE TABLE users (id int PRIMARY KEY);"
        f"CREATE TABLE orders (user_id int CONSTRAINT buyer REFERENCES users {deferred})",
    )
    assert message.startswith("Seed 2 (orders.csv) could not be applied.\n")
    assert f"{path}: a seed that violates the schema (table orders, constraint buyer)." in message
    assert "DETAIL: Key (user_id)=(9) is not present" in message
    assert "list their file before this one" in message


def test_a_value_of_another_type(target: Target) -> None:
    path = target.write("users.csv", "id,email\nx,a\n")
    message = target.refusal("users.csv")
    assert f"{path}:2: ERROR: invalid input syntax for type integer" in message
    assert "Write the value as PostgreSQL reads the column's type." in message


@pytest.mark.parametrize(
    ("file", "content", "said"),
    [
        ("user.csv", "id\n1\n", "there is no table 'user'. Did you mean 'users'? Then call the file users.csv."),
        ("Users.csv", "id\n1\n", "there is no table 'Users'. Did you mean 'users'? Then call the file users.csv."),
        ("orders.csv", "id\n1\n", "there is no table 'orders'. Did you mean 'sales.orders'? Then call the file sales.ord"),
        ("zzz.csv", "id\n1\n", "there is no table 'zzz'. The file's name must be a table's; there are: users, sales.orders."),
        ("users.csv", "id,emial\n1,a\n", ":1: the table users has no column 'emial'. Did you mean 'email'?"),
        ("users.csv", "id,xxx\n1,a\n", ":1: the table users has no column 'xxx'. It has id, email, twice."),
        ("users.csv", "id;email\n1;a\n", "The columns of a CSV file are separated by commas."),
        ("users.csv", "id,twice\n1,2\n", ":1: the column 'twice' of users is generated and cannot be given;"),
        ("users.csv", "id,id\n1,1\n", ":1: the column 'id' is there twice."),
        ("users.csv", "id,\n1,\n", ":1: column 2 has no name."),
        ("users.csv", "", " is empty: its first line must have the names of the columns."),
        ("users.csv", b"id,email\n1,J\xfcrgen\n", ":2: the file is not UTF-8 (byte 0xfc); save it as UTF-8."),
        ("users.csv", "id,email\n1\n", ":2: ERROR: missing data for column"),
    ],
)  # fmt: skip
def test_mistakes_in_files(target: Target, file: str, content: str | bytes, said: str) -> None:
    path = target.write(file, content)
    message = target.refusal(
        file,
        schema="CREATE TABLE users (id int, email text, twice int GENERATED ALWAYS AS (id * 2) STORED);"
        "CREATE SCHEMA sales; CREATE TABLE sales.orders (id int)",
    )
    assert f"Seed 1 ({file}) could not be applied.\n{path}" in message
    assert said in message


def test_a_file_with_a_header_alone_has_no_rows(target: Target) -> None:
    target.write("users.csv", "id\n")
    target.apply("users.csv", schema="CREATE TABLE users (id int)")
    assert target.ask("SELECT count(*) FROM users") == [(0,)]


@pytest.mark.parametrize(
    ("seed", "said"),
    [
        ("user.csv", "There is no file {root}/user.csv. Did you mean 'users.csv'?"),
        ("missing.sql", "There is no file {root}/missing.sql."),
        ("no/such/folder", "{root}/no/such/folder is neither a CSV file, an SQL file nor a folder."),
        ("users.txt", "'users.txt' is none of the kinds of seeds, and there is no such folder."),
        ("shop.models", "'shop.models' is none of the kinds of seeds, and there is no such folder."),
        ("nowhere:fill", "There is no module 'nowhere' on sys.path."),
        ("os:sep", "'os:sep' is '/', none of the kinds of seeds."),
        (Path("folder"), "The folder {root}/folder has no CSV files."),
        (MetaData(), "MetaData() is none of the kinds of seeds."),
        (7, "7 is none of the kinds of seeds."),
    ],
    ids=str,
)
def test_what_is_no_seed(target: Target, seed: object, said: str) -> None:
    target.write("users.csv", "id\n1\n")
    target.write("folder/notes.txt", "")
    message = target.refusal(seed)
    assert message.startswith("Seed 1 (")
    assert said.format(root=target.root) in message


def test_a_line_of_an_sql_file_is_named(target: Target) -> None:
    path = target.write("more.sql", "INSERT INTO users VALUES (1, 'a');\nINSERT INTO users VALUES (1, 'b');\n")
    assert f"{path}:2: ERROR: duplicate key value" in target.refusal("more.sql")


def test_seeds_without_anything_that_makes_tables(target: Target) -> None:
    target.write("users.csv", "id\n1\n")
    assert "The schema is empty, so nothing makes tables: say what does in testbed_pg_schema" in target.refusal(
        "users.csv", schema=""
    )


def test_a_function_that_fails(target: Target) -> None:
    def fill(connection: Connection) -> None:
        connection.execute(text("INSERT INTO users VALUES (1, NULL)"))

    message = target.refusal(fill)
    assert "fill) could not be applied.\nERROR: null value in column" in message


# --- in runs


Run = Callable[..., pytest.RunResult]

TEST = """
import pytest
from sqlalchemy import text

@pytest.mark.parametrize("turn", [1, 2])
def test_rows(pg_session, turn):
    assert pg_session.scalars(text("SELECT name FROM users ORDER BY id")).all() == {names}
    pg_session.execute(text("DELETE FROM users"))
    pg_session.execute(text("INSERT INTO users (name) VALUES ('new')"))
    pg_session.commit()

@pytest.mark.pg(isolation="database")
def test_for_real(pg_session):
    assert pg_session.scalar(text("SELECT count(*) FROM users")) == {count}
"""


@pytest.fixture
def run(pytester: pytest.Pytester, servers: Servers, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run pytest in a process of its own on a local server, with a table and rows for it."""
    monkeypatch.delenv("DATABASE_URL", raising=False)
    (pytester.path / "schema.sql").write_text("CREATE TABLE users (id serial PRIMARY KEY, name text)")
    (pytester.path / "users.csv").write_text("id,name\n1,ann\n2,bob\n")
    pytester.makeini("[pytest]\ntestbed_pg_schema = schema.sql\ntestbed_pg_seed = users.csv\n")
    local = options_for(servers.any_local())
    return lambda *arguments: pytester.runpytest_subprocess(*QUIET, *local, *arguments)


def test_every_test_finds_the_rows(pytester: pytest.Pytester, run: Run) -> None:
    pytester.makepyfile(test_it=TEST.format(names=["ann", "bob"], count=2))
    run().assert_outcomes(passed=3)


def test_the_fixture_gives_objects(pytester: pytest.Pytester, run: Run) -> None:
    pytester.makeconftest(
        """
        from pathlib import Path
        import pytest
        from sqlalchemy import Column, Integer, MetaData, Table, Text, text

        metadata = MetaData()
        Table("users", metadata, Column("id", Integer, primary_key=True), Column("name", Text))

        def more(connection):
            connection.execute(text("INSERT INTO users (name) VALUES ('eve')"))

        @pytest.fixture(scope="session")
        def pg_schema():
            return [metadata]

        @pytest.fixture(scope="session")
        def pg_seed(tmp_path_factory):
            file = tmp_path_factory.mktemp("seeds") / "users.csv"
            file.write_text("id,name\\n7,zoe\\n")
            return [file, more]
        """
    )
    pytester.makepyfile(test_it=TEST.format(names=["zoe", "eve"], count=2))
    run().assert_outcomes(passed=3)


def test_one_run_has_one_set_of_seeds(pytester: pytest.Pytester, run: Run) -> None:
    pytester.makepyfile(test_it=TEST.format(names=["ann", "bob"], count=2))
    pytester.mkdir("other")
    (pytester.path / "other" / "test_other.py").write_text(
        "import pytest\n@pytest.fixture(scope='session')\ndef pg_seed(): return []\ndef test_it(pg_session): pass\n"
    )
    result = run("test_it.py", "other/test_other.py")
    result.assert_outcomes(passed=3, errors=1)
    result.stdout.fnmatch_lines(["ConfigurationError: pg_seed gives this test [[][]], * a run has one seed. Override pg_seed *"])


def test_a_text_is_no_list(pytester: pytest.Pytester, run: Run) -> None:
    pytester.makepyfile(
        "import pytest\n@pytest.fixture(scope='session')\ndef pg_seed(): return 'a'\ndef test_it(pg_session): pass\n"
    )
    run().stdout.fnmatch_lines(["ConfigurationError: pg_seed must give a list, not 'a'; write [[]'a'[]]."])


def test_an_error_is_shown_without_a_traceback(pytester: pytest.Pytester, run: Run) -> None:
    pytester.makepyfile(test_it=TEST.format(names=[], count=0))
    (pytester.path / "users.csv").write_text("id,nme\n1,ann\n")
    result = run()
    result.assert_outcomes(errors=3)
    result.stdout.fnmatch_lines(
        ["SchemaError: Seed 1 (users.csv) could not be applied.", "*no column 'nme'. Did you mean 'name'?"]
    )
    assert "seeds.py" not in result.stdout.str()


# --- the template


def test_a_changed_row_is_another_template(somewhere: Testbed, tmp_path: Path) -> None:
    from pytest_testbed.postgres.admin import Admin
    from pytest_testbed.postgres.templates import Templates

    (tmp_path / "schema.sql").write_text("CREATE TABLE users (id int)")
    (tmp_path / "seeds").mkdir()
    file = tmp_path / "seeds" / "users.csv"
    admin = Admin(somewhere)

    def template(*seeds: object) -> str:
        return Templates(admin, somewhere, ["schema.sql"], tmp_path, "psycopg2", "seeds", seeds=seeds).ensure()

    try:
        found = [template()]
        for text_of_file in ("id\n1\n", "id\n2\n"):
            file.write_text(text_of_file)
            found += [template("seeds"), template("seeds/users.csv")]
        file.write_text("id\n1\n")
        assert template("seeds") == found[1]
        assert template("seeds/users.csv") == found[2]
        assert len(set(found)) == 5
    finally:
        for name in set(found):
            admin.execute(f'DROP DATABASE IF EXISTS "{name}"')
        admin.close()
