"""The lexer of SQL files, without a server."""

from __future__ import annotations

from pathlib import Path

import pytest

from pytest_testbed.errors import SchemaError
from pytest_testbed.postgres.sqlfile import Statement, database_error, run, split


def texts(script: str) -> list[str]:
    return [statement.sql for statement in split(script)]


@pytest.mark.parametrize(
    "statement",
    [
        pytest.param("SELECT ';'", id="string"),
        pytest.param("SELECT 'it''s; fine'", id="doubled quote"),
        pytest.param(r"SELECT 'back\'", id="backslash is plain in a string"),
        pytest.param(r"SELECT E'a\';b'", id="escape string"),
        pytest.param(r"SELECT e'\\', E'it''s;'", id="escaped backslash"),
        pytest.param("SELECT E'a'\n  'b\\';c'", id="escape string continued on the next line"),
        pytest.param("SELECT nameE 'a\\'", id="a type whose name ends in E"),
        pytest.param('SELECT ";""; x"', id="identifier"),
        pytest.param("DO $$ BEGIN; END $$", id="dollar"),
        pytest.param("DO $a$ $$ ; $b$ ; $a$", id="dollar with a tag"),
        pytest.param("SELECT a$b, c$b$d, $1", id="dollar within an identifier"),
        pytest.param("SELECT /* ; /* ; */ ; */ 1", id="nested comment"),
        pytest.param("SELECT 1 -- ; '\n + 1", id="line comment"),
        pytest.param("CREATE RULE r AS ON INSERT TO t DO (SELECT 1; SELECT 2)", id="parentheses"),
        pytest.param("SELECT 'ä;', \"ö;\", $é$;$é$", id="letters outside ASCII"),
        pytest.param("SELECT 50 % 3 AS \"%s\", '%(x)s'", id="percent"),
        pytest.param(
            "CREATE FUNCTION f(a int) RETURNS int BEGIN ATOMIC SELECT CASE a WHEN 1 THEN 2 END; SELECT 3; END",
            id="begin atomic with a case",
        ),
        pytest.param("create or replace procedure p() begin atomic select 1; end", id="procedure"),
    ],
)
def test_a_statement_stays_whole(statement: str) -> None:
    assert texts(f"SELECT 'before';\n{statement};\nSELECT 'after';") == ["SELECT 'before'", statement, "SELECT 'after'"]


def test_begin_of_a_transaction_ends_at_its_semicolon() -> None:
    assert texts("BEGIN; SELECT 1; END;") == ["BEGIN", "SELECT 1", "END"]


def test_empty_statements_and_comments_are_dropped() -> None:
    assert texts(";; -- nothing;\n/* ; */ ;\n") == []


def test_last_statement_needs_no_semicolon() -> None:
    assert texts("SELECT 1;\nSELECT 2\n") == ["SELECT 1", "SELECT 2"]


@pytest.mark.parametrize("opening", ["'", "E'", '"', "$$", "/*", "$x$"])
def test_what_is_never_closed_is_left_to_the_server(opening: str) -> None:
    assert texts(f"SELECT 1;\nSELECT {opening}abc; def")[1] == f"SELECT {opening}abc; def"


def test_line_is_that_of_the_first_token() -> None:
    script = "-- head\n\nSELECT\n 1;SELECT 2;\n/* a\nb */ SELECT $$\n\n$$;\n\n  SELECT 4"
    assert [(s.line, s.sql.split()[1]) for s in split(script)] == [(3, "1"), (4, "2"), (6, "$$"), (10, "4")]


def test_copy_data_ends_at_backslash_dot() -> None:
    script = "COPY public.t (a, b) FROM stdin;\n1\tit's; $$\n2\t\\N\n\\.\n\nSELECT 1;"
    copied, after = split(script)
    assert copied == Statement("COPY public.t (a, b) FROM stdin", 1, "1\tit's; $$\n2\t\\N\n")
    assert after == Statement("SELECT 1", 6)


def test_copy_data_with_options_crlf_and_no_end() -> None:
    first, second = split("copy t from STDIN with (format csv);\r\n1,2\r\n\\.\r\nCOPY u FROM stdin;\n3")
    assert first.copy_data == "1,2\r\n"
    assert (second.line, second.copy_data) == (4, "3")


def test_copy_from_a_file_or_with_a_column_named_stdin_has_no_data() -> None:
    assert [s.copy_data for s in split("COPY t FROM '/x';\nCOPY t (\"from\", stdin) FROM '/x';\nSELECT 1;")] == [None] * 3


def test_text_after_copy_on_its_line_is_refused() -> None:
    with pytest.raises(SchemaError, match=r"line 1: .*COPY"):
        texts("COPY t FROM stdin; SELECT 1;\n\\.\n")


def test_restrict_of_pg_dump_is_skipped() -> None:
    assert texts("\\restrict a'b\nSELECT 1;\n\\unrestrict a'b\n") == ["SELECT 1"]


@pytest.mark.parametrize("command", ["\\i", "\\connect", "\\gset", "\\."])
def test_commands_of_psql_are_refused_with_their_line(command: str) -> None:
    with pytest.raises(SchemaError) as caught:
        texts(f"SELECT 1;\n\n{command} other.sql\n")
    assert "line 3" in str(caught.value)
    assert command in str(caught.value)


def test_large_literals_are_split_quickly() -> None:
    body = "it''s; " * 300_000
    assert len(texts(f"SELECT '{body}'; SELECT E'{body}'; SELECT $${body}$$;")) == 3


class Connection:
    """Records what would be executed."""

    def __init__(self) -> None:
        self.executed: list[str] = []
        self.info = type("Info", (), {"transaction_status": 0})

    def cursor(self) -> Connection:
        return self

    __enter__ = cursor

    def __exit__(self, *_: object) -> None: ...

    def execute(self, sql: str) -> None:
        self.executed.append(sql)


def test_byte_order_mark_is_no_part_of_the_first_statement(tmp_path: Path) -> None:
    file = tmp_path / "a.sql"
    file.write_bytes(b"\xef\xbb\xbfSELECT '\xc3\xa4';")
    connection = Connection()
    run(connection, file)
    assert connection.executed[1:] == ["SELECT 'ä'"]


def test_other_encodings_are_refused_with_their_line(tmp_path: Path) -> None:
    file = tmp_path / "latin.sql"
    file.write_bytes(b"SELECT 1;\n-- caf\xe9\n")
    with pytest.raises(SchemaError, match=r"latin\.sql:2: the file is not UTF-8 \(byte 0xe9\)"):
        run(Connection(), file)


def test_nothing_runs_when_the_file_has_a_psql_command(tmp_path: Path) -> None:
    file = tmp_path / "meta.sql"
    file.write_text("SELECT 1;\n\\i other.sql\n")
    connection = Connection()
    with pytest.raises(SchemaError, match=r"meta\.sql:2: \\i"):
        run(connection, file)
    assert connection.executed == []


def test_error_without_a_server_message_is_shown_as_it_is() -> None:
    assert database_error(ValueError("no server")) == "no server"
    assert database_error(ValueError()) == "ValueError"
