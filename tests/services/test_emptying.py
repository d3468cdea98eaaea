"""Putting a database back in place: whatever a test wrote is gone, whatever it found is there again."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import count
from typing import Any

import psycopg2
import pytest

from pytest_testbed import Endpoint
from pytest_testbed.postgres.emptying import CatalogChanged, Emptier
from pytest_testbed.postgres.service import connection_parameters

NUMBERS = count()


class Scene:
    """A database with a connection of a test, and what puts it back."""

    def __init__(self, connect: Callable[..., Any]) -> None:
        self.connect = connect
        self.cursor = connect().cursor()
        self.emptier = Emptier(connect)

    def do(self, *statements: str) -> None:
        for statement in statements:
            self.cursor.execute(statement)

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        self.cursor.execute(query)
        return self.cursor.fetchall()

    def capture(self) -> None:
        self.emptier.capture(is_added=False)

    def end_the_others(self) -> None:
        self.do(
            "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity "
            "WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )

    def restore(self) -> list[str]:
        found = self.emptier.restore()
        assert self.emptier.restore() == [], "what was put back is as it was"
        return found


@pytest.fixture
def scene(server: Endpoint) -> Iterator[Scene]:
    name = f"emptying_{next(NUMBERS)}"
    opened = []

    def connect(database: str = name, **more: Any) -> Any:
        connection = psycopg2.connect(**{**connection_parameters(server, database), **more})
        connection.autocommit = True
        opened.append(connection)
        return connection

    admin = connect("postgres").cursor()
    admin.execute(f"CREATE DATABASE {name}")
    scene = Scene(connect)
    yield scene
    scene.emptier.close()
    for connection in opened[1:]:
        connection.close()
    admin.execute(f"DROP DATABASE {name} WITH (FORCE)")


def test_nothing_to_do(scene: Scene) -> None:
    scene.do("CREATE TABLE t (id serial PRIMARY KEY)", "INSERT INTO t DEFAULT VALUES")
    scene.capture()
    assert scene.restore() == []
    scene.rows("SELECT * FROM t")
    assert scene.restore() == []


def test_an_empty_database(scene: Scene) -> None:
    scene.capture()
    assert scene.restore() == []


def test_rows_and_sequences(scene: Scene) -> None:
    scene.do("CREATE TABLE a (id serial PRIMARY KEY)", "CREATE TABLE b (id serial PRIMARY KEY)")
    scene.capture()
    scene.do("INSERT INTO a DEFAULT VALUES")
    assert scene.restore() == ["public.a", "public.a_id_seq"]
    assert scene.rows("INSERT INTO a DEFAULT VALUES RETURNING id") == [(1,)]


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE t SET name = 'other' WHERE id = 2",
        "DELETE FROM t WHERE id = 2",
        "DELETE FROM t",
        "INSERT INTO t (name) VALUES ('new')",
        "DELETE FROM t WHERE id = 1; INSERT INTO t VALUES (1, 'other')",
        "TRUNCATE t RESTART IDENTITY",
        "UPDATE t SET id = id + 10",
    ],
)
def test_seeds_come_back(scene: Scene, change: str) -> None:
    scene.do("CREATE TABLE t (id serial PRIMARY KEY, name text)", "INSERT INTO t (name) VALUES ('one'), ('two')")
    scene.capture()
    for _ in range(2):
        scene.do(change)
        assert "public.t" in scene.restore()
        assert scene.rows("SELECT * FROM t ORDER BY id") == [(1, "one"), (2, "two")]
        assert scene.rows("SELECT nextval('t_id_seq')") == [(3,)]
        assert scene.restore() == ["public.t_id_seq"]


def test_a_rolled_back_change_is_none(scene: Scene) -> None:
    scene.do("CREATE TABLE t (id int)", "INSERT INTO t VALUES (1)")
    scene.capture()
    scene.do("BEGIN", "DELETE FROM t", "INSERT INTO t VALUES (2)", "ALTER TABLE t ADD COLUMN x int", "ROLLBACK")
    assert scene.restore() == []


def test_circular_foreign_keys(scene: Scene) -> None:
    scene.do(
        "CREATE TABLE chicken (id int PRIMARY KEY, egg int)",
        "CREATE TABLE egg (id int PRIMARY KEY, chicken int NOT NULL REFERENCES chicken)",
        "ALTER TABLE chicken ADD FOREIGN KEY (egg) REFERENCES egg DEFERRABLE INITIALLY DEFERRED",
        "INSERT INTO chicken VALUES (1)",
        "INSERT INTO egg VALUES (1, 1)",
        "UPDATE chicken SET egg = 1",
    )
    scene.capture()
    scene.do("INSERT INTO chicken VALUES (2)", "INSERT INTO egg VALUES (2, 2)", "UPDATE chicken SET egg = 2")
    assert scene.restore() == ["public.chicken", "public.egg"]
    assert scene.rows("SELECT * FROM chicken") == [(1, 1)]
    assert scene.rows("SELECT * FROM egg") == [(1, 1)]
    with pytest.raises(psycopg2.IntegrityError):
        scene.do("DELETE FROM egg")


def test_partitions(scene: Scene) -> None:
    scene.do(
        "CREATE TABLE log (id bigserial, day date NOT NULL, PRIMARY KEY (id, day)) PARTITION BY RANGE (day)",
        "CREATE TABLE log_old PARTITION OF log FOR VALUES FROM ('2020-01-01') TO ('2021-01-01')",
        "CREATE TABLE log_rest PARTITION OF log DEFAULT",
        "INSERT INTO log (day) VALUES ('2020-05-05'), ('2022-02-02')",
    )
    scene.capture()
    scene.do("UPDATE log SET day = '2023-03-03' WHERE id = 1", "INSERT INTO log (day) VALUES ('2020-06-06')")
    assert scene.restore() == ["public.log_old", "public.log_rest", "public.log_id_seq"]
    assert scene.rows("SELECT id, day::text FROM log ORDER BY id") == [(1, "2020-05-05"), (2, "2022-02-02")]


def test_inheritance(scene: Scene) -> None:
    scene.do("CREATE TABLE parent (id int)", "CREATE TABLE child (more int) INHERITS (parent)", "INSERT INTO child VALUES (1, 2)")
    scene.capture()
    scene.do("INSERT INTO parent VALUES (7)", "UPDATE parent SET id = 5")
    scene.restore()
    assert scene.rows("SELECT tableoid::regclass::text, id FROM parent") == [("child", 1)]


def test_identity_and_generated_columns(scene: Scene) -> None:
    scene.do(
        "CREATE TABLE t (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, n int, twice int GENERATED ALWAYS AS (n * 2) STORED)",
        "INSERT INTO t (n) VALUES (4)",
    )
    scene.capture()
    scene.do("DELETE FROM t", "INSERT INTO t (n) VALUES (5)")
    scene.restore()
    assert scene.rows("SELECT * FROM t") == [(1, 4, 8)]
    assert scene.rows("INSERT INTO t (n) VALUES (6) RETURNING id") == [(2,)]


def test_the_server_keeps_the_plans_of_the_function(scene: Scene) -> None:
    """A change of session_replication_role throws all plans of a session away: three times the cost of a test."""
    scene.do("CREATE TABLE t (id int)")
    scene.capture()
    own = scene.emptier.cursor()
    own.execute("SELECT proconfig FROM pg_proc WHERE proname LIKE 'testbed_restore%'")
    assert own.fetchall() == [(None,)]
    for _ in range(2):
        scene.do("INSERT INTO t VALUES (1)")
        assert scene.restore() == ["public.t"]
        own.execute("SHOW session_replication_role")
        assert own.fetchone() == ("replica",)


def test_triggers_and_rules_are_not_set_off(scene: Scene) -> None:
    scene.do(
        "CREATE TABLE t (id int)",
        "CREATE TABLE audit (what text)",
        "CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS "
        "$$ BEGIN INSERT INTO audit VALUES (TG_OP); RETURN coalesce(NEW, OLD); END $$",
        "CREATE TRIGGER note BEFORE INSERT OR UPDATE OR DELETE ON t FOR EACH ROW EXECUTE FUNCTION note()",
        "CREATE TABLE kept (id int)",
        "CREATE RULE never AS ON DELETE TO kept DO INSTEAD NOTHING",
        "INSERT INTO t VALUES (1)",
    )
    scene.capture()
    scene.do("UPDATE t SET id = 2", "INSERT INTO kept VALUES (1)")
    assert scene.restore() == ["public.t", "public.audit", "public.kept"]
    assert scene.rows("SELECT * FROM audit") == [("INSERT",)]
    assert scene.rows("SELECT * FROM kept") == []
    assert scene.rows("SELECT * FROM t") == [(1,)]


def test_row_security(scene: Scene) -> None:
    scene.do(
        "CREATE TABLE t (id int)",
        "ALTER TABLE t ENABLE ROW LEVEL SECURITY",
        "ALTER TABLE t FORCE ROW LEVEL SECURITY",
        "CREATE POLICY nobody ON t USING (false)",
    )
    scene.capture()
    scene.do("INSERT INTO t VALUES (1)")
    assert scene.restore() == ["public.t"]


def test_views(scene: Scene) -> None:
    scene.do(
        "CREATE TABLE t (id int)",
        "INSERT INTO t VALUES (1)",
        "CREATE VIEW v AS SELECT * FROM t",
        "CREATE MATERIALIZED VIEW filled AS SELECT * FROM t",
        "CREATE UNIQUE INDEX ON filled (id)",
        "CREATE MATERIALIZED VIEW on_top AS SELECT count(*) FROM filled",
        "CREATE MATERIALIZED VIEW empty AS SELECT * FROM t WITH NO DATA",
    )
    scene.capture()
    changes = (
        "REFRESH MATERIALIZED VIEW filled",
        "REFRESH MATERIALIZED VIEW CONCURRENTLY filled",
        "REFRESH MATERIALIZED VIEW filled WITH NO DATA",
    )
    for change in changes:
        scene.do("INSERT INTO v VALUES (2)", change, "REFRESH MATERIALIZED VIEW empty")
        assert scene.restore() == ["public.t", "public.filled", "public.empty"]
        assert scene.rows("SELECT * FROM filled") == [(1,)]
        assert scene.rows("SELECT relispopulated FROM pg_class WHERE relname = 'empty'") == [(False,)]
    scene.do("DELETE FROM t", "REFRESH MATERIALIZED VIEW filled", "REFRESH MATERIALIZED VIEW on_top")
    scene.restore()
    assert scene.rows("SELECT count FROM on_top") == [(1,)]


def test_unlogged_tables_schemas_and_strange_names(scene: Scene) -> None:
    scene.do(
        'CREATE SCHEMA "Größe & \'so"',
        'CREATE UNLOGGED TABLE "Größe & \'so"."select" ("value" text, "testbed_age" int, "from" serial)',
        'INSERT INTO "Größe & \'so"."select" VALUES (\'x\', 1)',
        'CREATE TABLE "x""y" (id int)',
    )
    scene.capture()
    scene.do('UPDATE "Größe & \'so"."select" SET value = \'y\'', 'INSERT INTO "x""y" VALUES (1)')
    assert scene.restore() == ['"Größe & \'so"."select"', 'public."x""y"']
    assert scene.rows('SELECT * FROM "Größe & \'so"."select"') == [("x", 1, 1)]


def test_types_that_are_not_plain(scene: Scene) -> None:
    scene.do(
        "CREATE TYPE mood AS ENUM ('good', 'bad')",
        "CREATE DOMAIN small AS int CHECK (VALUE < 10)",
        "CREATE TABLE t (m mood, s small, j jsonb, b bytea, a text[], r int4range, i interval)",
        "INSERT INTO t VALUES ('good', 3, '{\"a\": null}', '\\x00ff', ARRAY['a,b', NULL], '[1,3)', '1 day')",
    )
    scene.capture()
    before = scene.rows("SELECT t::text FROM t")
    scene.do("DELETE FROM t")
    scene.restore()
    assert scene.rows("SELECT t::text FROM t") == before


@pytest.mark.parametrize(
    "change",
    [
        "DROP TABLE t",
        "ALTER TABLE t ADD COLUMN more int",
        "ALTER TABLE t DROP COLUMN name",
        "ALTER TABLE t ALTER COLUMN name SET DEFAULT 'x'",
        "ALTER TABLE t ADD CHECK (id > 0)",
        "ALTER TYPE mood ADD VALUE 'ugly'",
        "CREATE TABLE new (id int)",
        "CREATE INDEX ON t (name)",
        "DROP INDEX by_name",
        "CREATE VIEW w AS SELECT 1",
        "CREATE OR REPLACE VIEW v AS SELECT 2 AS one",
        "CREATE OR REPLACE FUNCTION f() RETURNS int LANGUAGE sql AS 'SELECT 2'",
        "DROP FUNCTION f()",
        "CREATE SCHEMA other",
        "ALTER SEQUENCE t_id_seq INCREMENT BY 7",
        "GRANT SELECT ON t TO public",
        "ALTER TABLE t DISABLE TRIGGER ALL",
        "ALTER TABLE t RENAME TO u",
        "ALTER TABLE t OWNER TO pg_monitor",
        "CREATE EXTENSION hstore",
        "CREATE STATISTICS s ON id, name FROM t",
        "ALTER TABLE t ENABLE ROW LEVEL SECURITY",
        "DROP TABLE t; CREATE TABLE t (id serial PRIMARY KEY, name text, m mood)",
        "ALTER DATABASE {database} SET work_mem TO '8MB'",
        "ALTER DATABASE {database} RESET ALL",
        "ALTER ROLE CURRENT_USER IN DATABASE {database} SET work_mem TO '8MB'",
        "GRANT CREATE ON DATABASE {database} TO public",
        "GRANT CREATE ON SCHEMA public TO pg_monitor",
        "CREATE FOREIGN DATA WRAPPER w",
        "CREATE SERVER s FOREIGN DATA WRAPPER elsewhere",
        "ALTER SERVER far OPTIONS (host 'x')",
        "ALTER FOREIGN TABLE distant OPTIONS (x 'y')",
        "CREATE USER MAPPING FOR public SERVER far",
        "DROP USER MAPPING FOR CURRENT_USER SERVER far",
        "CREATE TEXT SEARCH CONFIGURATION c (COPY = simple)",
        "ALTER TEXT SEARCH CONFIGURATION own ALTER MAPPING FOR word WITH english_stem",
        "CREATE TEXT SEARCH DICTIONARY d (TEMPLATE = simple)",
        "ALTER PUBLICATION p ADD TABLE t",
        "SELECT lo_create(0)",
        "SELECT lo_unlink(4711)",
    ],
)
def test_changed_definitions_are_seen(scene: Scene, change: str) -> None:
    scene.do(
        "CREATE TYPE mood AS ENUM ('good')",
        "CREATE TABLE t (id serial PRIMARY KEY, name text, m mood)",
        "CREATE INDEX by_name ON t (name)",
        "CREATE VIEW v AS SELECT 1 AS one",
        "CREATE FUNCTION f() RETURNS int LANGUAGE sql AS 'SELECT 1'",
        "CREATE TABLE other_t (t int REFERENCES t)",
        "CREATE FOREIGN DATA WRAPPER elsewhere",
        "CREATE SERVER far FOREIGN DATA WRAPPER elsewhere",
        "CREATE FOREIGN TABLE distant (id int) SERVER far",
        "CREATE USER MAPPING FOR CURRENT_USER SERVER far",
        "CREATE TEXT SEARCH CONFIGURATION own (COPY = simple)",
        "CREATE PUBLICATION p",
        "SELECT lo_create(4711)",
    )
    database = scene.rows("SELECT current_database()")[0][0]
    scene.do(f"ALTER DATABASE {database} SET geqo TO off")
    scene.capture()
    scene.do(change.replace("DROP TABLE t", "DROP TABLE t CASCADE").replace("{database}", database))
    with pytest.raises(CatalogChanged):
        scene.emptier.restore()


@pytest.mark.parametrize(
    "change",
    [
        "TRUNCATE t",
        "VACUUM FULL t",
        "ANALYZE",
        "REINDEX TABLE t",
        "CREATE TEMP TABLE temporary (id serial PRIMARY KEY, t text)",
        "CREATE TEMP TABLE temporary (id int); DROP TABLE temporary",
        "CREATE TABLE passing (id int); DROP TABLE passing",
    ],
)
def test_what_changes_no_definition_is_none(scene: Scene, change: str) -> None:
    scene.do("CREATE TABLE t (id serial PRIMARY KEY, name text)", "INSERT INTO t (name) VALUES ('one')")
    scene.capture()
    for statement in change.split("; "):
        scene.do(statement)
    scene.emptier.restore()
    assert scene.rows("SELECT * FROM t") == [(1, "one")]
    assert scene.restore() == []


def test_states_upon_one_another(scene: Scene) -> None:
    scene.do("CREATE TABLE t (id int)", "INSERT INTO t VALUES (1)")
    scene.capture()
    scene.do("INSERT INTO t VALUES (2)")
    scene.emptier.push(is_added=True)
    scene.do("INSERT INTO t VALUES (3)", "DELETE FROM t WHERE id = 1")
    assert scene.restore() == ["public.t"]
    assert scene.rows("SELECT id FROM t ORDER BY id") == [(1,), (2,)]
    scene.emptier.pop()
    assert scene.restore() == ["public.t"]
    assert scene.rows("SELECT id FROM t") == [(1,)]


def test_states_are_brought_over_to_a_new_database(scene: Scene) -> None:
    scene.do("CREATE TABLE a (id serial, t text)", "CREATE TABLE b (id int)")
    scene.capture()
    scene.do("INSERT INTO a (t) VALUES (E'back\\\\slash\\ttab'), (NULL)")
    scene.emptier.push(is_added=True)
    scene.do("INSERT INTO a (t) VALUES ('of the test')", "INSERT INTO b VALUES (1)")

    def replace() -> None:
        scene.do("TRUNCATE a, b RESTART IDENTITY")  # as in a new clone

    scene.emptier.carry_over(replace)
    assert scene.rows("SELECT * FROM a ORDER BY id") == [(1, "back\\slash\ttab"), (2, None)]
    assert scene.rows("SELECT * FROM b") == []
    assert scene.restore() == []
    assert scene.rows("SELECT nextval('a_id_seq')") == [(3,)]
    scene.emptier.pop()
    scene.restore()
    assert scene.rows("SELECT * FROM a") == []


def test_states_are_taken_apart_in_a_database_that_stays(scene: Scene) -> None:
    """A fixture has written and made a table, which a copy is made of to begin with later; it drops the table at its end."""
    scene.do("CREATE TABLE t (id int)", "INSERT INTO t VALUES (1)")
    scene.capture()
    scene.do("INSERT INTO t VALUES (2)", "CREATE TABLE more (id int)", "INSERT INTO more VALUES (1)")
    scene.emptier.push(is_added=True)
    scene.emptier.carry_over(lambda: None, is_new=False)
    assert scene.rows("SELECT id FROM t ORDER BY id") == [(1,), (2,)]
    assert scene.rows("SELECT id FROM more") == [(1,)]
    scene.do("DROP TABLE more")
    scene.emptier.pop()
    assert scene.restore() == ["public.t"]
    assert scene.rows("SELECT id FROM t") == [(1,)]


def test_nothing_of_ours_is_seen_by_others(scene: Scene) -> None:
    scene.do("CREATE TABLE t (id int)", "INSERT INTO t VALUES (1)")
    scene.capture()
    assert scene.rows("SELECT table_name FROM information_schema.tables WHERE table_schema !~ '^(pg_|info)'") == [("t",)]
    assert scene.rows("SELECT count(*) FROM pg_proc p WHERE pronamespace = 'public'::regnamespace") == [(0,)]


class TestWithoutSuperuser:
    """On a server of somebody else's: triggers cannot be kept from firing, so tables are truncated."""

    @pytest.fixture(autouse=True)
    def role(self, scene: Scene) -> Iterator[None]:
        name = scene.rows("SELECT current_database()")[0][0]
        scene.do(f"CREATE ROLE {name}_role LOGIN PASSWORD 'x'", f"ALTER DATABASE {name} OWNER TO {name}_role")
        scene.do(f"SET ROLE {name}_role", "SET search_path TO mine", "CREATE SCHEMA mine")

        def connect() -> Any:
            connection = scene.connect()
            connection.cursor().execute(f"SET SESSION AUTHORIZATION {name}_role")
            return connection

        scene.emptier = Emptier(connect)
        yield
        scene.do("RESET ROLE", f"REASSIGN OWNED BY {name}_role TO CURRENT_USER", f"DROP OWNED BY {name}_role")
        scene.emptier.close()
        scene.do(f"DROP ROLE {name}_role")

    def test_tables_are_emptied_with_those_that_refer_to_them(self, scene: Scene) -> None:
        scene.do("CREATE TABLE a (id serial PRIMARY KEY)", "CREATE TABLE b (a int REFERENCES a)", "CREATE TABLE c (id int)")
        scene.capture()
        scene.do("INSERT INTO a DEFAULT VALUES", "INSERT INTO c VALUES (1)")
        assert scene.restore() == ["mine.a", "mine.c", "mine.a_id_seq"]
        assert scene.rows("INSERT INTO a DEFAULT VALUES RETURNING id") == [(1,)]

    def test_sequences_alone(self, scene: Scene) -> None:
        scene.do("CREATE SEQUENCE s", "CREATE TABLE t (id int)")
        scene.capture()
        scene.do("SELECT nextval('s')")
        assert scene.restore() == ["mine.s"]
        assert scene.rows("SELECT nextval('s')") == [(1,)]

    def test_seeds_want_a_new_clone(self, scene: Scene) -> None:
        scene.do("CREATE TABLE a (id int PRIMARY KEY)", "CREATE TABLE b (a int REFERENCES a)", "INSERT INTO a VALUES (1)")
        scene.capture()
        scene.do("INSERT INTO b VALUES (1)")
        assert scene.restore() == ["mine.b"]
        scene.do("INSERT INTO a VALUES (2)")
        with pytest.raises(CatalogChanged):
            scene.emptier.restore()

    def test_partitions_that_refer_to_a_table_are_emptied_with_it(self, scene: Scene) -> None:
        scene.do(
            "CREATE TABLE a (id int PRIMARY KEY)",
            "CREATE TABLE b (a int REFERENCES a) PARTITION BY LIST (a)",
            "CREATE TABLE b_rest PARTITION OF b DEFAULT",
        )
        scene.capture()
        scene.do("INSERT INTO a VALUES (1)", "INSERT INTO b VALUES (1)")
        assert scene.restore() == ["mine.a", "mine.b_rest"]

    def test_rows_under_foreign_keys_and_triggers_are_brought_to_a_new_database(self, scene: Scene) -> None:
        """Neither can be switched off: in a circle, no order of the tables is the right one."""
        scene.do(
            "CREATE TABLE child (id int PRIMARY KEY, parent int NOT NULL, other int REFERENCES child ON DELETE RESTRICT)",
            "CREATE TABLE parent (id int PRIMARY KEY, child int REFERENCES child)",
            "ALTER TABLE child ADD FOREIGN KEY (parent) REFERENCES parent DEFERRABLE INITIALLY DEFERRED",
            "CREATE TABLE log (id int, parent int REFERENCES parent, PRIMARY KEY (id)) PARTITION BY LIST (id)",
            "CREATE TABLE log_1 PARTITION OF log FOR VALUES IN (1)",
            "CREATE TABLE audit (id int REFERENCES log)",
            "CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS "
            "$$ BEGIN INSERT INTO mine.audit VALUES (NULL); RETURN NEW; END $$",
            "CREATE TRIGGER note AFTER INSERT OR DELETE ON parent FOR EACH ROW EXECUTE FUNCTION note()",
            "CREATE RULE kept AS ON DELETE TO audit DO INSTEAD NOTHING",
        )
        rows = ["BEGIN", "INSERT INTO child VALUES (1, 1, 1)", "INSERT INTO parent VALUES (1, 1)", "COMMIT"]
        rows += ["INSERT INTO log VALUES (1, 1)", "INSERT INTO audit VALUES (1)"]
        every = "SELECT (SELECT count(*) FROM child), (SELECT count(*) FROM parent), (SELECT count(*) FROM audit)"
        scene.do(*rows)
        scene.capture()
        scene.do("INSERT INTO parent VALUES (2, 1)")
        scene.emptier.push(is_added=True)
        definitions = scene.emptier.definitions()

        def replace() -> None:
            scene.do("TRUNCATE child CASCADE", *rows)  # as in a new clone

        scene.do("DELETE FROM parent WHERE id = 2")
        scene.emptier.carry_over(replace)
        assert scene.rows(every) == [(1, 2, 3)]
        assert scene.emptier.definitions() == definitions
        with pytest.raises(psycopg2.IntegrityError):
            scene.do("DELETE FROM child")

    def test_a_later_state_may_refer_to_an_earlier_one(self, scene: Scene) -> None:
        scene.do("CREATE TABLE a (id int PRIMARY KEY)")
        scene.capture()
        scene.do("INSERT INTO a VALUES (1)")
        scene.emptier.push(is_added=True)
        scene.do("CREATE TABLE b (a int REFERENCES a)", "INSERT INTO b VALUES (1)")
        scene.emptier.push(is_added=True)
        scene.emptier.carry_over(lambda: None, is_new=False)
        scene.emptier.carry_over(lambda: scene.do("TRUNCATE a CASCADE", "INSERT INTO a VALUES (1)", "INSERT INTO b VALUES (1)"))
        assert scene.emptier.take_told() == []
        assert scene.rows("SELECT a.id, b.a FROM a, b") == [(1, 1)]

    def test_rows_that_cannot_be_brought_to_a_new_database_are_told_of(self, scene: Scene) -> None:
        scene.do("CREATE TABLE a (id int)", "INSERT INTO a VALUES (1)")
        scene.emptier.capture(is_added=True)
        scene.emptier.carry_over(lambda: scene.do("TRUNCATE a", "ALTER TABLE a ADD CHECK (id > 1)"))
        (text,) = scene.emptier.take_told()
        assert "a_id_check" in text
        assert "may be missing" in text
        scene.do("INSERT INTO a VALUES (2)")
        assert scene.restore() == ["mine.a"]


class TestEndedConnection:
    """With the connection that puts the database back go its copies of rows."""

    def test_a_new_one_does_not_know_what_was_there(self, scene: Scene) -> None:
        scene.do("CREATE TABLE t (id int)", "INSERT INTO t VALUES (1)")
        scene.capture()
        scene.do("INSERT INTO t VALUES (2)")
        scene.end_the_others()
        with pytest.raises(CatalogChanged):
            scene.emptier.restore()
        scene.emptier.carry_over(lambda: scene.do("DELETE FROM t WHERE id = 2"))  # as in a new clone
        (text,) = scene.emptier.take_told()
        assert "was ended" in text
        assert "may be missing" not in text
        scene.do("INSERT INTO t VALUES (3)")
        assert scene.restore() == ["public.t"]
        assert scene.rows("SELECT * FROM t") == [(1,)]
        assert scene.emptier.take_told() == []

    def test_rows_of_fixtures_are_missed(self, scene: Scene) -> None:
        scene.do("CREATE TABLE t (id int)")
        scene.capture()
        scene.do("INSERT INTO t VALUES (1)")
        scene.emptier.push(is_added=True)
        scene.end_the_others()
        with pytest.raises(CatalogChanged):
            scene.emptier.restore()
        scene.emptier.carry_over(lambda: scene.do("TRUNCATE t"))
        assert "may be missing" in scene.emptier.take_told()[0]
        scene.emptier.pop()
        assert scene.restore() == []

    def test_what_is_taken_after_it_is_known(self, scene: Scene) -> None:
        """Between two tests, with nothing of a test in the database: states above the lost ones are good."""
        scene.do("CREATE TABLE t (id int)")
        scene.capture()
        scene.end_the_others()
        scene.do("INSERT INTO t VALUES (1)")
        scene.emptier.push(is_added=True)
        scene.do("INSERT INTO t VALUES (2)")
        assert scene.restore() == ["public.t"]
        assert scene.rows("SELECT * FROM t") == [(1,)]
        scene.emptier.pop()
        with pytest.raises(CatalogChanged):
            scene.emptier.restore()

    def test_the_last_state_is_replaced_by_what_is_there(self, scene: Scene) -> None:
        scene.do("CREATE TABLE t (id int)", "INSERT INTO t VALUES (1)")
        scene.capture()
        scene.end_the_others()
        scene.capture()
        scene.do("DELETE FROM t")
        assert scene.restore() == ["public.t"]

    def test_definitions_that_cannot_be_brought_back_are_taken_as_they_are(self, scene: Scene) -> None:
        scene.do("CREATE TABLE t (id int)")
        scene.capture()
        scene.end_the_others()
        scene.emptier.recognise()
        assert "stays in it" in scene.emptier.take_told()[0]
        assert scene.restore() == []

    def test_what_is_not_known_stays_unknown_in_a_database_that_stays(self, scene: Scene) -> None:
        scene.do("CREATE TABLE t (id int)")
        scene.capture()
        scene.end_the_others()
        scene.do("INSERT INTO t VALUES (1)")
        scene.emptier.push(is_added=True)
        scene.emptier.carry_over(lambda: None, is_new=False)
        assert scene.emptier.take_told() == []
        assert scene.restore() == []
        scene.emptier.pop()
        with pytest.raises(CatalogChanged):
            scene.emptier.restore()

    def test_it_may_end_while_it_is_used(self, scene: Scene) -> None:
        scene.capture()
        answers = []

        def question(cursor: Any) -> int:
            if not answers:
                scene.end_the_others()
            answers.append(1)
            cursor.execute("SELECT 7")
            (answer,) = cursor.fetchone()
            assert isinstance(answer, int)
            return answer

        assert scene.emptier.ask(question) == 7
        assert len(answers) == 2
        with pytest.raises(psycopg2.errors.DivisionByZero):
            scene.emptier.ask(lambda cursor: cursor.execute("SELECT 1 / 0"))

    def test_a_message_that_nobody_asked_for_is_no_end(self, scene: Scene) -> None:
        scene.do("CREATE TABLE t (id int)")
        own = scene.emptier.cursor()
        own.execute("LISTEN news")
        scene.capture()
        scene.do("NOTIFY news", "INSERT INTO t VALUES (1)")
        assert scene.restore() == ["public.t"]
        assert scene.emptier.cursor().connection is own.connection

    def test_a_server_does_not_end_it_for_being_idle(self, scene: Scene) -> None:
        name = scene.rows("SELECT current_database()")[0][0]
        scene.do(f"ALTER DATABASE {name} SET idle_session_timeout TO '1min'")
        scene.capture()
        own = scene.emptier.cursor()
        own.execute("SHOW idle_session_timeout")
        assert own.fetchone() == ("0",)


def test_rows_that_were_changed_above_a_state_are_as_they_were_below_it(scene: Scene) -> None:
    scene.do("CREATE TABLE t (id int PRIMARY KEY, name text)", "INSERT INTO t VALUES (1, 'seed')")
    scene.capture()
    scene.do("UPDATE t SET name = 'of a module'")
    scene.emptier.push(is_added=True)
    scene.do("UPDATE t SET name = 'of a test'")
    scene.restore()
    assert scene.rows("SELECT name FROM t") == [("of a module",)]
    scene.emptier.pop()
    scene.restore()
    assert scene.rows("SELECT name FROM t") == [("seed",)]


def test_a_table_that_has_other_columns_than_before_keeps_no_row_of_before(scene: Scene) -> None:
    scene.do("CREATE TABLE t (id int)", "INSERT INTO t VALUES (1)")
    scene.capture()
    scene.do("ALTER TABLE t ADD name text", "ALTER TABLE t DROP id", "INSERT INTO t VALUES ('Ann')")
    assert scene.emptier.recognise()
    assert scene.rows("SELECT * FROM t") == []
    scene.do("INSERT INTO t VALUES ('Bob')")
    assert scene.restore() == ["public.t"]
    assert scene.rows("SELECT * FROM t") == []


def test_tables_that_are_gone_when_a_state_ends_are_noticed(scene: Scene) -> None:
    """A fixture has made tables and rows, and drops the tables at its end."""
    scene.do("CREATE TABLE t (id serial PRIMARY KEY)")
    scene.capture()
    scene.do("INSERT INTO t DEFAULT VALUES")
    scene.emptier.push(is_added=True)
    scene.do("DROP TABLE t")
    scene.emptier.pop()
    with pytest.raises(CatalogChanged):
        scene.emptier.restore()
