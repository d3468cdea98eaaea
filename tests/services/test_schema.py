"""Every kind of schema entry on a real server, and the fence round it."""

from __future__ import annotations

import logging
import logging.config
import os
import subprocess
import sys
import textwrap
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from sqlalchemy import (
    URL,
    Column,
    Connection,
    Engine,
    Integer,
    MetaData,
    Table,
    create_engine,
    inspect,
    make_url,
    text,
)
from sqlalchemy.orm import DeclarativeBase, Session, declarative_base, mapped_column
from sqlalchemy.pool import NullPool

from pytest_testbed import Endpoint
from pytest_testbed.errors import SchemaError
from pytest_testbed.postgres.fence import Detour, guarded_process
from pytest_testbed.postgres.schema import apply_schema


@pytest.fixture
def scratch_url(server: Endpoint) -> Iterator[str]:
    """SQLAlchemy URL of an empty, freshly created database."""
    name = f"schema_{uuid.uuid4().hex[:8]}"
    admin = make_url(server.url())
    _administer(admin, f"CREATE DATABASE {name}")
    yield make_url(server.url(name)).render_as_string(hide_password=False)
    _administer(admin, f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture(params=["psycopg2", "psycopg"])
def url(scratch_url: str, request: pytest.FixtureRequest) -> URL:
    """The template, over each driver."""
    return make_url(scratch_url).set(drivername=f"postgresql+{request.param}")


@pytest.fixture
def canary(scratch_url: str) -> Iterator[URL]:
    """A developer's database, which must stay as it is: no table but its own."""
    template = make_url(scratch_url)
    name = f"canary_{uuid.uuid4().hex[:8]}"
    _administer(template, f"CREATE DATABASE {name}")
    canary = template.set(database=name, drivername="postgresql+psycopg2")
    _query(canary, "CREATE TABLE precious (id int)")
    yield canary
    tables = _tables(canary)
    _administer(template, f"DROP DATABASE {name} WITH (FORCE)")
    assert tables == ["precious"]


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Path]]:
    """Write files into the root directory; modules in it can be imported and are forgotten afterwards."""
    known = set(sys.modules)
    monkeypatch.syspath_prepend(tmp_path)

    def write(name: str, content: str = "") -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(content), encoding="utf-8")
        return path

    yield write
    for name in set(sys.modules) - known:
        origin = getattr(sys.modules[name], "__file__", None) or ""
        if origin.startswith(str(tmp_path)):
            del sys.modules[name]


def _administer(server: URL, statement: str) -> None:
    engine = create_engine(server, isolation_level="AUTOCOMMIT", poolclass=NullPool)
    with engine.connect() as connection:
        connection.execute(text(statement))


def _query(url: URL, statement: str) -> list[Any]:
    with create_engine(url, poolclass=NullPool).begin() as connection:
        result = connection.execute(text(statement))
        return list(result.scalars()) if result.returns_rows else []


def _tables(url: URL) -> list[str]:
    return sorted(inspect(create_engine(url, poolclass=NullPool)).get_table_names())


def _refusal(entry: object, url: URL, root: Path) -> str:
    with pytest.raises(SchemaError) as caught:
        apply_schema([entry], url, root)
    assert caught.value.__cause__ is not None
    return str(caught.value)


class TestKinds:
    MODELS = """
        from sqlalchemy.orm import Mapped, mapped_column
        from {base} import Base
        class User(Base):
            __tablename__ = "users"
            id: Mapped[int] = mapped_column(primary_key=True)
        """

    def test_base_after_its_models_module(self, project: Any, url: URL, tmp_path: Path) -> None:
        project("shop/__init__.py")
        project("shop/base.py", "from sqlalchemy.orm import DeclarativeBase\nclass Base(DeclarativeBase): ...\n")
        project("shop/models.py", self.MODELS.format(base="shop.base"))
        apply_schema(["shop.models", "shop.base:Base"], url, tmp_path)
        assert _tables(url) == ["users"]

    def test_base_without_its_models_says_what_to_list(self, project: Any, url: URL, tmp_path: Path) -> None:
        project("shop2.py", "from sqlalchemy.orm import declarative_base\nBase = declarative_base()\n")
        message = _refusal("shop2:Base", url, tmp_path)
        assert message.startswith("Entry 1 of the schema (shop2:Base) could not be applied.")
        assert "no tables" in message
        assert "shop.models" in message

    def test_metadata_by_path(self, project: Any, url: URL, tmp_path: Path) -> None:
        project("meta.py", "from sqlalchemy import *\nclass db:\n  m = MetaData()\nTable('t', db.m, Column('id', Integer))\n")
        apply_schema(["meta:db.m"], url, tmp_path)
        assert _tables(url) == ["t"]

    def test_objects(self, url: URL, tmp_path: Path) -> None:
        class Base(DeclarativeBase): ...

        class User(Base):
            __tablename__ = "users"
            id = mapped_column(Integer, primary_key=True)

        metadata = MetaData()
        Table("orders", metadata, Column("id", Integer))
        (tmp_path / "v.sql").write_text("CREATE VIEW v AS SELECT id FROM users;")

        def seed(connection: Connection) -> None:
            connection.execute(text("INSERT INTO users VALUES (7)"))

        apply_schema([Base, metadata, Path("v.sql"), seed], url, tmp_path)
        assert _tables(url) == ["orders", "users"]
        assert _query(url, "SELECT id FROM v") == [7]

    def test_order_is_kept_and_the_number_of_the_entry_is_named(self, url: URL, tmp_path: Path) -> None:
        (tmp_path / "table.sql").write_text("CREATE TABLE t (id int);")
        (tmp_path / "row.sql").write_text("INSERT INTO t VALUES (1);")
        with pytest.raises(SchemaError, match=r"^Entry 1 of the schema \(row\.sql\)"):
            apply_schema(["row.sql", "table.sql"], url, tmp_path)
        with pytest.raises(SchemaError, match=r"^Entry 3 of the schema \(gone\.sql\)") as caught:
            apply_schema(["table.sql", "row.sql", "gone.sql"], url, tmp_path)
        assert f"There is no file {tmp_path / 'gone.sql'}" in str(caught.value)
        assert _query(url, "SELECT id FROM t") == [1]

    @pytest.mark.parametrize("entry", ["shop/models.py:Base", "models.txt", 3, None, Path("a.txt"), "os:sep", sys])
    def test_what_is_none_of_the_kinds(self, entry: object, scratch_url: str, tmp_path: Path) -> None:
        message = _refusal(entry, make_url(scratch_url), tmp_path)
        assert "package.module:Base" in message or "no module 'models'" in message


class TestImportPaths:
    def test_missing_module(self, scratch_url: str, tmp_path: Path) -> None:
        message = _refusal("no_such_shop.models:Base", make_url(scratch_url), tmp_path)
        assert "no module 'no_such_shop'" in message
        assert "`pythonpath`" in message

    def test_missing_submodule(self, project: Any, scratch_url: str, tmp_path: Path) -> None:
        project("shop3/__init__.py")
        project("shop3/models.py")
        message = _refusal("shop3.modles:Base", make_url(scratch_url), tmp_path)
        assert "The package 'shop3' has no module 'modles'. Did you mean 'models'?" in message

    def test_missing_attribute(self, project: Any, scratch_url: str, tmp_path: Path) -> None:
        project("shop4.py", "Base = 1")
        message = _refusal("shop4:Bsae", make_url(scratch_url), tmp_path)
        assert "The module 'shop4' has no attribute 'Bsae'. Did you mean 'Base'?" in message

    def test_modules_alone_make_nothing(self, project: Any, scratch_url: str, tmp_path: Path) -> None:
        project("shop8.py")
        with pytest.raises(SchemaError, match=r"The schema \(shop8\) names modules alone"):
            apply_schema(["shop8"], make_url(scratch_url), tmp_path)

    def test_a_class_is_not_called(self, project: Any, scratch_url: str, tmp_path: Path) -> None:
        project("shop9.py", "class Service:\n    def __init__(self, engine): pass\n")
        assert "'Service' is a class without metadata" in _refusal("shop9:Service", make_url(scratch_url), tmp_path)

    def test_what_a_module_sets_at_its_import_stays_and_what_a_function_sets_does_not(
        self, project: Any, scratch_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("SHOP_SETTING", "before")
        project(
            "shop10.py",
            """
            import os
            os.environ["SHOP_SETTING"] = "imported"

            def make(connection):
                os.environ["SHOP_SETTING"] = "called"
                os.environ["SHOP_OTHER"] = "called"
            """,
        )
        apply_schema(["shop10:make"], make_url(scratch_url), tmp_path)
        assert os.environ["SHOP_SETTING"] == "imported"
        assert "SHOP_OTHER" not in os.environ

    def test_dot_for_colon(self, project: Any, scratch_url: str, tmp_path: Path) -> None:
        project("shop5.py", "Base = 1")
        assert "write shop5:Base" in _refusal("shop5.Base", make_url(scratch_url), tmp_path)

    def test_a_modules_own_import_error_is_shown_as_that(self, project: Any, scratch_url: str, tmp_path: Path) -> None:
        models = project("shop6.py", "\nimport sqlalchemyy\n")
        message = _refusal("shop6:Base", make_url(scratch_url), tmp_path)
        assert "ModuleNotFoundError: No module named 'sqlalchemyy'" in message
        assert "no module 'shop6'" not in message
        assert f"at {models}:2" in message


class TestSqlFiles:
    def test_syntax_error_names_the_line_within_the_statement(self, url: URL, tmp_path: Path) -> None:
        (tmp_path / "a.sql").write_text("SELECT 1;\n\nCREATE TABLE t (\n  id int,\n  name texxt,\n  x int\n  y int);\n")
        message = _refusal("a.sql", url, tmp_path)
        assert f'{tmp_path / "a.sql"}:7: ERROR: syntax error at or near "y"' in message
        assert "     3 | CREATE TABLE t (\n     4 |   id int,\n     5 |   name texxt,\n     7 |   y int)" in message

    def test_runtime_error_shows_detail(self, url: URL, tmp_path: Path) -> None:
        script = "CREATE TABLE t (id int PRIMARY KEY);\nINSERT INTO t VALUES (1);\n\nINSERT INTO t\nVALUES (1);\n"
        (tmp_path / "a.sql").write_text(script)
        message = _refusal("a.sql", url, tmp_path)
        assert f"{tmp_path / 'a.sql'}:4: ERROR: duplicate key value" in message
        assert "DETAIL: Key (id)=(1) already exists." in message

    def test_hint(self, url: URL, tmp_path: Path) -> None:
        (tmp_path / "a.sql").write_text("SELECT to_number(1);")
        assert "\nHINT: No function matches" in _refusal("a.sql", url, tmp_path)

    def test_copy_error_names_the_line_of_the_row(self, url: URL, tmp_path: Path) -> None:
        (tmp_path / "a.sql").write_text("CREATE TABLE t (id int);\nCOPY t\n FROM stdin;\n1\nx\n\\.\n")
        assert f"{tmp_path / 'a.sql'}:5: ERROR: invalid input syntax" in _refusal("a.sql", url, tmp_path)

    def test_statements_run_one_by_one_in_autocommit(self, url: URL, tmp_path: Path) -> None:
        script = """
            CREATE TABLE t (id int, note text);
            CREATE INDEX CONCURRENTLY i ON t (id);
            BEGIN; INSERT INTO t VALUES (1, '50%s'); ROLLBACK;
            BEGIN; INSERT INTO t VALUES (2, '100 % ü %(x)s {0}'); COMMIT;
            CREATE FUNCTION two() RETURNS int BEGIN ATOMIC SELECT CASE WHEN true THEN 1 END; SELECT 2; END;
            """
        (tmp_path / "a.sql").write_text(script, encoding="utf-8")
        apply_schema(["a.sql"], url, tmp_path)
        assert _query(url, "SELECT note FROM t WHERE id = two()") == ["100 % ü %(x)s {0}"]

    def test_a_repeated_statement_survives_a_changed_view(self, url: URL, tmp_path: Path) -> None:
        view = "CREATE OR REPLACE VIEW v AS SELECT 1 AS a"
        script = f"{view};{'SELECT * FROM v;' * 7}{view}, 2 AS b;SELECT * FROM v;"
        (tmp_path / "a.sql").write_text(script)
        apply_schema(["a.sql"], url, tmp_path)

    def test_a_begin_without_commit_is_not_lost_in_silence(self, url: URL, tmp_path: Path) -> None:
        (tmp_path / "a.sql").write_text("BEGIN; CREATE TABLE t (id int);")
        assert "BEGIN has no COMMIT" in _refusal("a.sql", url, tmp_path)

    @pytest.mark.parametrize("options", [(), ("--inserts",), ("--clean", "--if-exists")], ids=["copy", "inserts", "clean"])
    def test_output_of_pg_dump(self, server: Endpoint, url: URL, canary: URL, tmp_path: Path, options: tuple[str, ...]) -> None:
        _query(canary, "CREATE TABLE users (id serial PRIMARY KEY, name text, note text)")
        _query(canary, r"INSERT INTO users (name, note) VALUES (E'tab\tand ''quote''; \\. % ü', NULL), ('\.', E'a\nb')")
        _query(canary, "CREATE FUNCTION f() RETURNS text LANGUAGE plpgsql AS $$ BEGIN RETURN ';'; END $$")
        _query(canary, "CREATE FUNCTION g() RETURNS int LANGUAGE sql BEGIN ATOMIC SELECT 1; SELECT 2; END")
        _query(canary, "CREATE VIEW v AS SELECT id FROM users")
        rows = _query(canary, "SELECT users::text FROM users ORDER BY id")
        plain = canary.set(drivername="postgresql").render_as_string(hide_password=False)
        pg_dump = Path(server.source.rpartition(", ")[2], "pg_dump")  # of the server's own version
        subprocess.run([pg_dump, *options, "-f", tmp_path / "dump.sql", plain], check=True)
        _query(canary, "DROP TABLE users CASCADE")
        probe = "CREATE TABLE public.after AS SELECT 1;"  # search_path of the dump does not outlive its file
        (tmp_path / "after.sql").write_text(probe.replace("public.", ""))
        apply_schema(["dump.sql", "after.sql"], url, tmp_path)
        assert _query(url, "SELECT users::text FROM users ORDER BY id") == rows
        assert _query(url, "SELECT f() || g() || count(*) FROM v") == [";22"]
        assert _query(url, "SELECT nextval('users_id_seq')") == [3]


class TestFunctions:
    def test_forms(self, url: URL, tmp_path: Path) -> None:
        called: list[object] = []

        def none() -> None:
            called.append("none")

        def on_engine(engine: Engine, *_args: object, extra: int = 1, **_kwargs: object) -> None:
            with engine.begin() as connection:
                connection.execute(text("CREATE TABLE t (id int)"))

        def on_connection(connection: Connection) -> None:
            connection.execute(text("INSERT INTO t VALUES (1)"))

        class Row(declarative_base()):  # type: ignore[misc]  # a base class made by a call
            __tablename__ = "t"
            id = mapped_column(Integer, primary_key=True)

        def on_session(session: Session) -> None:
            session.add(Row(id=2))

        def on_both(session: Session, connection: Connection) -> None:
            session.execute(text("INSERT INTO t VALUES (3)"))
            connection.execute(text("INSERT INTO t VALUES (4)"))

        def commits_itself(connection: Connection) -> None:
            with connection.begin():
                connection.execute(text("INSERT INTO t VALUES (5)"))

        async def coroutine() -> None:
            called.append("coroutine")

        apply_schema([none, on_engine, on_connection, on_session, on_both, commits_itself, coroutine], url, tmp_path)
        assert called == ["none", "coroutine"]
        assert _query(url, "SELECT id FROM t ORDER BY id") == [1, 2, 3, 4, 5]

    def test_by_path_with_the_line_of_its_error(self, project: Any, url: URL, tmp_path: Path) -> None:
        file = project(
            "seeds.py", "from sqlalchemy import text\ndef load(session):\n    session.execute(text('SELECT * FROM nix'))\n"
        )
        message = _refusal("seeds:load", url, tmp_path)
        assert 'ERROR: relation "nix" does not exist' in message
        assert "| SELECT * FROM nix" in message
        assert f"at {file}:3, in load" in message

    def test_other_required_arguments_are_named(self, scratch_url: str, tmp_path: Path) -> None:
        def load(connection: object, cursor: object) -> None: ...

        message = _refusal(load, make_url(scratch_url), tmp_path)
        assert "wants 'cursor'" in message
        assert "load" in message.splitlines()[0]

    def test_coroutine_function_with_arguments(self, scratch_url: str, tmp_path: Path) -> None:
        async def load(session: object) -> None: ...

        assert "coroutine function with arguments (session) is not supported" in _refusal(load, make_url(scratch_url), tmp_path)

    def test_exit_is_a_failure_and_a_failed_function_leaves_nothing(self, url: URL, tmp_path: Path) -> None:
        def load(connection: Connection) -> None:
            connection.execute(text("CREATE TABLE half (id int)"))
            sys.exit(3)

        assert "SystemExit: 3" in _refusal(load, url, tmp_path)
        assert _tables(url) == []


ENV = """
    from logging.config import fileConfig
    from alembic import context
    from sqlalchemy import create_engine, engine_from_config, pool
    config = context.config
    fileConfig(config.config_file_name)
    def run(connection, **options):
        context.configure(connection=connection, **options)
        with context.begin_transaction():
            context.run_migrations()
    """
ENV_GIVEN = "run(config.attributes['connection'])"
ENV_STANDARD = """
    connectable = engine_from_config(config.get_section("alembic"), prefix="sqlalchemy.", poolclass=pool.NullPool)
    with connectable.connect() as connection:
        run(connection, version_table="migrated", version_table_schema="public")
    """
ENV_ASYNC = """
    import asyncio
    from sqlalchemy.ext.asyncio import async_engine_from_config
    async def main():
        engine = async_engine_from_config(config.get_section("alembic"), prefix="sqlalchemy.", poolclass=pool.NullPool)
        async with engine.connect() as connection:
            await connection.run_sync(run)
        await engine.dispose()
    asyncio.run(main())
    """
INI = """
    [alembic]
    script_location = migrations
    path_separator = os
    {url}
    [loggers]
    keys = root,alembic
    [handlers]
    keys = console
    [formatters]
    keys =
    [logger_root]
    level = ERROR
    handlers = console
    [logger_alembic]
    level = INFO
    handlers = console
    qualname = alembic
    [handler_console]
    class = StreamHandler
    args = (sys.stderr,)
    """
REVISION = """
    \"\"\"{doc}\"\"\"
    from alembic import op
    import sqlalchemy as sa
    revision, down_revision = {revision!r}, {down!r}
    def upgrade():
        op.create_table({revision!r}, sa.Column("id", sa.Integer))
    """


@pytest.fixture
def alembic(project: Callable[..., Path]) -> Callable[..., Path]:
    """Write an Alembic project in backend/, with one migration."""
    pytest.importorskip("alembic")

    def write(env: str, url: str = "") -> Path:
        project("backend/migrations/env.py", textwrap.dedent(ENV) + textwrap.dedent(env))
        project("backend/migrations/versions/one.py", REVISION.format(doc="First", revision="one", down=None))
        return project("backend/alembic.ini", INI.format(url=f"sqlalchemy.url = {url}" if url else ""))

    return write


class TestAlembic:
    @pytest.mark.parametrize("env", [ENV_GIVEN, ENV_STANDARD], ids=["attribute", "own engine and version table"])
    def test_upgrade(self, alembic: Any, url: URL, tmp_path: Path, env: str, capfd: pytest.CaptureFixture[str]) -> None:
        alembic(env, "driver://user:pass@localhost/dbname")
        apply_schema(["backend/alembic.ini"], url, tmp_path)
        assert "one" in _tables(url)
        assert "".join(capfd.readouterr()) == ""

    def test_asynchronous_env_keeps_its_driver(self, alembic: Any, scratch_url: str, tmp_path: Path) -> None:
        pytest.importorskip("greenlet")
        alembic(ENV_ASYNC, "postgresql+psycopg://u:p@nowhere/x")
        url = make_url(scratch_url).set(drivername="postgresql+psycopg2")
        apply_schema(["backend/alembic.ini"], url, tmp_path)
        assert "one" in _tables(url)

    def test_password_with_a_percent_sign(self, alembic: Any, url: URL, tmp_path: Path) -> None:
        ini = alembic(f"assert ':p%25%25%40@' in config.get_main_option('sqlalchemy.url')\n{ENV_GIVEN}")
        _administer(url, "CREATE ROLE percent LOGIN SUPERUSER PASSWORD 'p%%@'")
        try:
            apply_schema([ini], url.set(username="percent", password="p%%@"), tmp_path)
            assert "one" in _tables(url)
        finally:
            _query(url, "DROP OWNED BY percent CASCADE")
            _administer(url, "DROP ROLE percent")

    def test_in_pyproject(self, alembic: Any, project: Any, url: URL, tmp_path: Path) -> None:
        alembic(ENV_STANDARD)
        env = (tmp_path / "backend/migrations/env.py").read_text().replace("fileConfig(config", "# (")
        project("backend/migrations/env.py", env)
        project("backend/pyproject.toml", '[tool.alembic]\nscript_location = "%(here)s/migrations"\n')
        apply_schema(["backend/pyproject.toml"], url, tmp_path)
        assert "one" in _tables(url)

    def test_two_heads(self, alembic: Any, project: Any, url: URL, tmp_path: Path) -> None:
        alembic(ENV_GIVEN)
        project("backend/migrations/versions/b.py", REVISION.format(doc="Left", revision="left", down="one"))
        project("backend/migrations/versions/c.py", REVISION.format(doc="Right", revision="right", down="one"))
        message = _refusal("backend/alembic.ini", url, tmp_path)
        assert "left: Left" in message
        assert "right: Right" in message
        assert "alembic merge heads" in message

    def test_error_names_the_migration(self, alembic: Any, project: Any, url: URL, tmp_path: Path) -> None:
        alembic(ENV_GIVEN)
        file = project("backend/migrations/versions/bad.py", REVISION.format(doc="Bad", revision="bad", down="one"))
        file.write_text(file.read_text() + "    op.execute('SELECT nix')\n")
        message = _refusal("backend/alembic.ini", url, tmp_path)
        assert 'ERROR: column "nix" does not exist' in message
        assert f"at {file}:" in message
        assert _tables(url) == []

    @pytest.mark.parametrize("env", ["", "context.configure(url='postgresql://', as_sql=True)"], ids=["nothing", "offline"])
    def test_an_env_that_does_nothing(self, alembic: Any, url: URL, tmp_path: Path, env: str) -> None:
        alembic(env)
        assert "at no revision and not at one" in _refusal("backend/alembic.ini", url, tmp_path)

    def test_an_env_that_rolls_back(self, alembic: Any, url: URL, tmp_path: Path) -> None:
        alembic(f"given = config.attributes['connection']\ngiven.begin()\n{ENV_GIVEN}\ngiven.rollback()")
        assert "at no revision" in _refusal("backend/alembic.ini", url, tmp_path)

    def test_an_env_that_begins_no_transaction(self, alembic: Any, url: URL, tmp_path: Path) -> None:
        alembic("context.configure(connection=config.attributes['connection'])\ncontext.run_migrations()")
        apply_schema(["backend/alembic.ini"], url, tmp_path)
        assert "one" in _tables(url)

    @pytest.mark.parametrize("env", [ENV_GIVEN, ENV_STANDARD], ids=["attribute", "own engine"])
    def test_autocommit_block(self, alembic: Any, project: Any, url: URL, tmp_path: Path, env: str) -> None:
        alembic(env)
        file = project("backend/migrations/versions/two.py", REVISION.format(doc="Two", revision="two", down="one"))
        block = "    with op.get_context().autocommit_block():\n        op.execute('CREATE INDEX CONCURRENTLY i ON one (id)')\n"
        file.write_text(file.read_text() + block)
        apply_schema(["backend/alembic.ini"], url, tmp_path)
        assert _tables(url) == sorted(["one", "two", "migrated" if env is ENV_STANDARD else "alembic_version"])

    def test_an_env_with_its_own_url_is_refused(self, alembic: Any, url: URL, canary: URL, tmp_path: Path) -> None:
        own = canary.set(password="secret").render_as_string(hide_password=False)
        alembic(f"with create_engine({own!r}).connect() as c:\n    run(c)")
        message = _refusal("backend/alembic.ini", url, tmp_path)
        assert f":***@{canary.host}:{canary.port}/{canary.database} was refused" in message
        assert 'config.attributes.get("connection")' in message
        assert "secret" not in message

    def test_not_installed(self, alembic: Any, scratch_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        alembic(ENV_GIVEN)
        monkeypatch.setitem(sys.modules, "alembic", None)
        assert "pytest-testbed[alembic]" in _refusal("backend/alembic.ini", make_url(scratch_url), tmp_path)


def _sync(url: URL) -> object:
    return create_engine(url, poolclass=NullPool).connect()


def _psycopg2_dsn(url: URL) -> object:
    import psycopg2  # type: ignore[import-untyped]  # has no stubs

    return psycopg2.connect(url.set(drivername="postgresql").render_as_string(hide_password=False))


def _psycopg2_keywords(url: URL) -> object:
    from psycopg2 import connect

    return connect(host=url.host, port=url.port, dbname=url.database, user=url.username, password=url.password)


def _psycopg2_environment(url: URL) -> object:
    import psycopg2

    os.environ |= {
        "PGHOST": url.host or "",
        "PGPORT": str(url.port),
        "PGDATABASE": url.database or "",
        "PGUSER": url.username or "",
        "PGPASSWORD": url.password or "",
    }
    return psycopg2.connect("")


def _psycopg_keywords(url: URL) -> object:
    from psycopg import connect

    return connect(host=url.host, port=url.port, dbname=url.database, user=url.username, password=url.password)


def _psycopg_async(url: URL) -> object:
    import asyncio

    import psycopg

    async def connect() -> None:
        conninfo = url.set(drivername="postgresql").render_as_string(hide_password=False)
        async with await psycopg.AsyncConnection.connect(conninfo):
            pass

    return asyncio.run(connect())


def _sqlalchemy_async(url: URL) -> object:
    import asyncio

    pytest.importorskip("greenlet")
    from sqlalchemy.ext.asyncio import create_async_engine

    async def connect() -> None:
        engine = create_async_engine(url.set(drivername="postgresql+psycopg"))
        async with engine.connect():
            pass
        await engine.dispose()

    return asyncio.run(connect())


def _asyncpg(url: URL) -> object:
    import asyncio

    asyncpg = pytest.importorskip("asyncpg")

    async def connect() -> None:
        connection = await asyncpg.connect(url.set(drivername="postgresql").render_as_string(hide_password=False))
        await connection.close()

    return asyncio.run(connect())


def _database(connection: Any) -> object:
    raw = getattr(getattr(connection, "connection", None), "driver_connection", connection)
    with raw.cursor() as cursor:
        cursor.execute("SELECT current_database()")
        return cursor.fetchone()[0]


def _closed(connection: Any) -> None:
    if connection is not None:
        connection.close()


WAYS = [
    _sync,
    _psycopg2_dsn,
    _psycopg2_keywords,
    _psycopg2_environment,
    _psycopg_keywords,
    _psycopg_async,
    _sqlalchemy_async,
    _asyncpg,
]


class TestFence:
    @pytest.mark.parametrize("connect", WAYS)
    def test_every_way_leads_to_the_template_and_nowhere_else(self, connect: Any, scratch_url: str, canary: URL) -> None:
        template = make_url(scratch_url)
        with guarded_process(template):
            _closed(connect(template))
            with pytest.raises(SchemaError, match=f"/{canary.database} was refused"):
                connect(canary)
        _closed(connect(canary))

    @pytest.mark.parametrize("connect", WAYS)
    def test_every_way_to_an_exported_address_leads_to_the_template(self, connect: Any, scratch_url: str) -> None:
        template = make_url(scratch_url)
        nowhere = template.set(port=1, database="app", username="app", password="app")
        with guarded_process(template, Detour("host=127.0.0.1 port=1 dbname=app user=app password=app")):
            connection = connect(nowhere)
            assert connection is None or _database(connection) == template.database
            _closed(connection)
            for other in (nowhere.set(port=2), nowhere.set(database="other")):
                with pytest.raises(SchemaError, match="was refused"):
                    connect(other)

    def test_another_driver_may_not_go_to_an_exported_address(self, scratch_url: str) -> None:
        driver = SimpleNamespace(paramstyle="format", __version__="1.31", __name__="pg8000", Error=OSError)
        engine = create_engine("postgresql+pg8000://app:app@127.0.0.1:1/app", module=driver)
        exported = Detour("host=127.0.0.1 port=1 dbname=app")
        with (
            guarded_process(make_url(scratch_url), exported),
            pytest.raises(SchemaError, match="driver pg8000 was refused"),
        ):
            engine.connect()

    def test_an_applications_engine_connects_anew_afterwards(self, scratch_url: str, canary: URL) -> None:
        engine = create_engine(canary)
        exported = Detour(canary.set(drivername="postgresql").render_as_string(hide_password=False))
        with guarded_process(make_url(scratch_url), exported):
            with engine.connect() as connection:
                assert connection.scalar(text("SELECT current_database()")) == make_url(scratch_url).database
        with engine.connect() as connection:
            assert connection.scalar(text("SELECT current_database()")) == canary.database
        engine.dispose()

    @pytest.mark.parametrize(
        "change",
        [
            {"port": 1},
            {"host": "db.example"},
            {"query": {"hostaddr": "10.0.0.1"}},
            {"query": {"service": "dev"}},
            {"database": ""},
        ],
    )
    def test_any_other_part_is_refused(self, change: dict[str, Any], scratch_url: str) -> None:
        template = make_url(scratch_url)
        with guarded_process(template), pytest.raises(SchemaError):
            create_engine(template.set(**change)).connect()

    def test_other_names_of_loopback_are_the_same_place(self, scratch_url: str) -> None:
        template = make_url(scratch_url)
        with guarded_process(template.set(host="127.0.0.1")):
            create_engine(template.set(host="localhost"), poolclass=NullPool).connect().close()

    def test_variables_that_would_reroute_us_are_hidden(self, url: URL, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("PGHOSTADDR", "10.0.0.1")
        monkeypatch.setenv("PGSERVICE", "dev")
        apply_schema([lambda connection: connection.execute(text("CREATE TABLE t (id int)"))], url, tmp_path)
        assert os.environ["PGSERVICE"] == "dev"
        monkeypatch.undo()
        assert _tables(url) == ["t"]

    def test_a_connection_pooled_before_is_refused(self, scratch_url: str, canary: URL) -> None:
        engine = create_engine(canary)
        engine.connect().close()
        with guarded_process(make_url(scratch_url)), pytest.raises(SchemaError, match=f"/{canary.database} was refused"):
            engine.connect()
        engine.connect().close()
        engine.dispose()

    def test_sqlite(self, scratch_url: str, tmp_path: Path) -> None:
        pooled = create_engine("sqlite://")
        pooled.connect().close()
        with guarded_process(make_url(scratch_url)):
            create_engine("sqlite://").connect().close()
            pooled.connect().close()
            with pytest.raises(SchemaError, match=r"dev\.db"):
                create_engine(f"sqlite:///{tmp_path}/dev.db").connect()
        assert not (tmp_path / "dev.db").exists()

    def test_the_process_is_restored_after_a_failure(self, scratch_url: str, tmp_path: Path) -> None:
        child, stream = logging.getLogger("testbed.child"), logging.FileHandler(tmp_path / "log")
        logging.root.addHandler(stream)
        state = (Path.cwd(), dict(os.environ), list(sys.path), logging.root.level, list(logging.root.handlers))

        def spoil() -> None:
            os.chdir("/")
            os.environ["TESTBED_SPOILED"] = "1"
            del os.environ["PATH"]
            sys.path.insert(0, "/spoiled")
            logging.config.dictConfig({"version": 1, "root": {"level": "ERROR"}})
            child.setLevel(logging.CRITICAL)
            child.propagate = False
            child.addHandler(logging.NullHandler())
            raise ZeroDivisionError

        try:
            assert "ZeroDivisionError" in _refusal(spoil, make_url(scratch_url), tmp_path)
            assert state == (Path.cwd(), dict(os.environ), list(sys.path), logging.root.level, list(logging.root.handlers))
            assert (child.level, child.handlers, child.disabled, child.propagate) == (logging.NOTSET, [], False, True)
            assert stream.stream is not None, "dictConfig closed a handler that was not its own"
        finally:
            logging.root.removeHandler(stream)
            stream.close()

    def test_patches_are_gone_afterwards(self, scratch_url: str) -> None:
        import psycopg
        import psycopg2

        before = psycopg2._connect, psycopg.Connection._connect_gen.__func__  # type: ignore[attr-defined]  # both private
        with guarded_process(make_url(scratch_url)):
            pass
        assert before == (psycopg2._connect, psycopg.Connection._connect_gen.__func__)  # type: ignore[attr-defined]  # both private


LATE = """
import sys
from sqlalchemy import make_url
from pytest_testbed.errors import SchemaError
from pytest_testbed.postgres.fence import guarded_process

url = make_url(sys.argv[1])
elsewhere = {"host": "127.0.0.1", "port": 1, "user": "me", "password": "x"}

def refused(connect):
    try:
        connect()
    except SchemaError:
        return
    raise AssertionError("it was let through")

def with_asyncpg():
    import asyncio, asyncpg
    asyncio.run(asyncpg.connect(**elsewhere, database="there"))

def with_psycopg():
    import psycopg
    psycopg.connect(**elsewhere, dbname="there")

with guarded_process(url):
    assert "psycopg" not in sys.modules and "asyncpg" not in sys.modules
    refused(with_psycopg)
    refused(with_asyncpg)
    refused(with_psycopg)
import psycopg
try:
    psycopg.connect(**elsewhere, dbname="there")
except psycopg.OperationalError:
    print("the fence is gone")
assert not any(type(finder).__name__ == "_WhenImported" for finder in sys.meta_path)
"""


def test_drivers_that_are_imported_inside_the_fence_are_fenced_too(scratch_url: str) -> None:
    pytest.importorskip("psycopg")
    pytest.importorskip("asyncpg")
    url = make_url(scratch_url).set(drivername="postgresql+psycopg2").render_as_string(hide_password=False)
    done = subprocess.run([sys.executable, "-c", LATE, url], capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stdout) == (0, "the fence is gone\n"), done.stderr
