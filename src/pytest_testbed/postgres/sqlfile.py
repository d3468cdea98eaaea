"""SQL files run as psql would: split into statements, executed one by one, errors with their line."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import SchemaError

# The lexical rules are those of the server and of psql's psqlscan.l. Identifiers and white space
# are told apart by ASCII rules; every other character is a letter to PostgreSQL. The possessive
# quantifiers keep a megabyte of text in quotes linear, and \Z takes what was never closed, so
# that the server and not we complains about it.
_TOKEN = re.compile(
    r"""
    (?P<space>  \s++ | --[^\n]*+ )
  | (?P<block>  /\* )
  | (?P<quoted> [eE]'[^'\\]*+(?:(?:\\.|'')[^'\\]*+)*+(?:'|\Z)
                (?:\s*\n\s*'[^'\\]*+(?:(?:\\.|'')[^'\\]*+)*+(?:'|\Z))*+
              | '[^']*+(?:''[^']*+)*+(?:'|\Z)
              | "[^"]*+(?:""[^"]*+)*+(?:"|\Z) )
  | (?P<dollar> \$(?:[A-Za-z_\x80-\U0010ffff][\w\x80-\U0010ffff]*+)?\$ )
  | (?P<word>   [A-Za-z_\x80-\U0010ffff][\w$\x80-\U0010ffff]*+ )
  | (?P<meta>   \\[^\n]*+ )
  | (?P<end>    ; )
  | (?P<other>  \d\w*+ | . )
    """,
    re.VERBOSE | re.ASCII | re.DOTALL,
)
_BLOCK_EDGE = re.compile(r"/\*|\*/")
_COPY_END = re.compile(r"^\\\.\r?$", re.MULTILINE)
_COPY_LINE = re.compile(r"COPY .*?, line (\d+)")
_BODY_HEADS = ("create function", "create procedure", "create or replace function", "create or replace procedure")
_EXCERPT_LINES = 3


@dataclass(frozen=True, slots=True)
class Statement:
    """One statement of a script, without its semicolon.

    Attributes:
        sql: The text from its first token on.
        line: The 1-based line on which that token stands.
        copy_data: What follows a `COPY … FROM stdin`, up to the line with the backslash and dot.
    """

    sql: str
    line: int
    copy_data: str | None = None


class _Unsupported(SchemaError):
    """Something that only psql understands."""

    def __init__(self, line: int, problem: str) -> None:
        super().__init__(f"line {line}: {problem}")
        self.line = line
        self.problem = problem


def split(text: str) -> Iterator[Statement]:
    """Split a PostgreSQL script into its statements.

    Raises:
        SchemaError: The script has a psql command; names its line.
    """
    return iter(_Splitter(text))


class _Splitter:
    """Walks over the text once; holds what is known of the statement under the cursor."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._position = 0
        self._counted = 0
        self._line = 1
        self._reset()

    def _reset(self) -> None:
        self._start: int | None = None
        self._words: list[str] = []
        self._parens = 0
        self._begins = 0

    def __iter__(self) -> Iterator[Statement]:
        while match := _TOKEN.match(self._text, self._position):
            self._position = match.end()
            kind = match.lastgroup
            if kind == "space":
                continue
            if kind == "block":
                self._skip_block()
            elif kind == "meta":
                self._meta(match)
            elif kind == "end" and not self._parens and not self._begins:
                if self._start is not None:
                    yield self._statement(match.start())
                self._reset()
            else:
                self._part(match)
        if self._start is not None:  # psql too runs what has no semicolon at the end of a file
            yield self._statement(len(self._text))

    def _part(self, match: re.Match[str]) -> None:
        if self._start is None:
            self._start = match.start()
        kind, token = match.lastgroup, match.group()
        if kind == "word":
            self._word(token.lower())
        elif kind == "dollar":
            end = self._text.find(token, self._position)
            self._position = len(self._text) if end < 0 else end + len(token)
        elif token == "(":
            self._parens += 1
        elif token == ")":
            self._parens = max(0, self._parens - 1)

    def _word(self, word: str) -> None:
        if self._parens:
            return
        if len(self._words) < 4 or self._words[0] == "copy":
            self._words.append(word)
        # psql's own heuristic for SQL-standard function bodies: inside of them END closes a CASE or a BEGIN.
        if word == "begin" and " ".join(self._words).startswith(_BODY_HEADS):
            self._begins += 1
        elif self._begins and word in ("case", "end"):
            self._begins += 1 if word == "case" else -1

    def _skip_block(self) -> None:
        depth = 1
        while depth and (edge := _BLOCK_EDGE.search(self._text, self._position)):
            depth += 1 if edge.group() == "/*" else -1
            self._position = edge.end()
        if depth:
            self._position = len(self._text)

    def _meta(self, match: re.Match[str]) -> None:
        command = match.group().split()[0]
        if command in ("\\restrict", "\\unrestrict"):  # pg_dump writes them since August 2025
            return
        problem = f"{command} is a command of psql and not SQL; take it out, or list its file as an entry of its own."
        raise _Unsupported(self._line_at(match.start()), problem)

    def _statement(self, end: int) -> Statement:
        assert self._start is not None
        line = self._line_at(self._start)
        sql = self._text[self._start : end].rstrip()
        pairs = zip(self._words, self._words[1:], strict=False)
        if self._words[:1] == ["copy"] and ("from", "stdin") in pairs:
            return Statement(sql, line, self._copy_data())
        return Statement(sql, line)

    def _copy_data(self) -> str:
        newline = self._text.find("\n", self._position)
        begin = len(self._text) if newline < 0 else newline + 1
        rest = self._text[self._position : begin].strip()
        if rest and not rest.startswith("--"):
            raise _Unsupported(self._line_at(self._position), "nothing may follow COPY … FROM stdin; on its line.")
        end = _COPY_END.search(self._text, begin)
        self._position = end.end() if end else len(self._text)
        return self._text[begin : end.start() if end else len(self._text)]

    def _line_at(self, position: int) -> int:
        self._line += self._text.count("\n", self._counted, position)
        self._counted = position
        return self._line


def run(connection: Any, path: Path) -> None:
    """Run a file, statement by statement, as `psql -v ON_ERROR_STOP=1 -f` does.

    Args:
        connection: A DBAPI connection of psycopg2 or psycopg in autocommit, for this file alone:
            what the file sets (pg_dump empties `search_path`) stays set on it.
        path: The file, in UTF-8.

    Raises:
        SchemaError: With `path:line`, the statement and what the server said.
    """
    if hasattr(connection, "prepare_threshold"):
        connection.prepare_threshold = None  # psycopg would prepare what a file repeats
    with connection.cursor() as cursor:
        execute(cursor, path)
    if int(connection.info.transaction_status) != 0:  # libpq's PQTRANS_IDLE
        raise SchemaError(f"{path}: the file ends inside a transaction: a BEGIN has no COMMIT, so its changes were lost.")


def execute(cursor: Any, path: Path) -> None:
    """Run a file over a cursor, in whatever transaction that one is.

    Raises:
        SchemaError: With `path:line`, the statement and what the server said.
    """
    try:
        statements = list(split(read(path)))
    except _Unsupported as error:
        raise SchemaError(f"{path}:{error.line}: {error.problem}") from error
    cursor.execute("SET client_encoding TO 'UTF8'")
    for statement in statements:
        try:
            _execute(cursor, statement)
        except Exception as error:
            raise SchemaError(_report(path, statement, error)) from error


def database_error(error: BaseException) -> str:
    """What the server said: message, DETAIL, HINT and CONTEXT, a line each; else the error's own text."""
    origin = getattr(error, "orig", None) or error
    diag = getattr(origin, "diag", None)
    if diag is None or not diag.message_primary:
        return str(origin).strip() or type(origin).__name__
    labels = {"DETAIL": diag.message_detail, "HINT": diag.message_hint, "CONTEXT": diag.context}
    lines = [
        f"{diag.severity}: {diag.message_primary}",
        *(f"{label}: {said}" for label, said in labels.items() if said),
    ]
    return "\n".join(lines)


def copy_line(error: BaseException) -> int:
    """Return the line of its data at which the server gave up a COPY, 0 where it does not say."""
    row = _COPY_LINE.match(getattr(getattr(error, "diag", None), "context", None) or "")
    return int(row.group(1)) if row else 0


def read(path: Path) -> str:
    """Return the text of a file in UTF-8, without a byte order mark.

    Raises:
        SchemaError: It is in another encoding; names the line.
    """
    content = path.read_bytes()
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        byte = f"0x{content[error.start]:02x}"
        raise SchemaError(f"{path}:{line}: the file is not UTF-8 (byte {byte}); save it as UTF-8.") from error


def _execute(cursor: Any, statement: Statement) -> None:
    # No parameters are given, so that both drivers leave `%` alone.
    if statement.copy_data is None:
        cursor.execute(statement.sql)
    elif hasattr(cursor, "copy_expert"):
        cursor.copy_expert(statement.sql, io.StringIO(statement.copy_data))
    else:
        with cursor.copy(statement.sql) as copy:
            copy.write(statement.copy_data)


def _report(path: Path, statement: Statement, error: Exception) -> str:
    lines = statement.sql.split("\n")
    diag = getattr(error, "diag", None)
    position = int(getattr(diag, "statement_position", None) or 1)
    within = statement.sql.count("\n", 0, position - 1)
    shown = list(range(min(len(lines), _EXCERPT_LINES)))
    if within >= _EXCERPT_LINES:
        shown.append(within)
    line = statement.line + within
    if statement.copy_data is not None and (row := copy_line(error)):
        line = statement.line + len(lines) - 1 + row
    excerpt = "\n".join(f"{statement.line + index:>6} | {lines[index]}" for index in shown)
    return f"{path}:{line}: {database_error(error)}\n{excerpt}"
