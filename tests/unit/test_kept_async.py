"""What a kept connection of psycopg sends where no loop runs."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from pytest_testbed.postgres.kept_async import PsycopgKept

psycopg = pytest.importorskip("psycopg")


class Result:
    """An answer of libpq."""

    def __init__(self, status: Any) -> None:
        self.status = status

    def error_field(self, field: Any) -> bytes:
        return b"25P02" if field == psycopg.pq.DiagnosticField.SQLSTATE else b"it is aborted"

    def get_error_message(self, encoding: str = "utf-8") -> str:
        return "it is aborted"

    error_message = b"it is aborted"


def kept(status: Any) -> tuple[PsycopgKept, list[bytes]]:
    nothing: Any = None
    sent: list[bytes] = []
    made = PsycopgKept(nothing, nothing)
    made._driver = SimpleNamespace(pgconn=SimpleNamespace(exec_=lambda sql: (sent.append(sql), Result(status))[1]))
    return made, sent


@pytest.mark.parametrize("status", ["COMMAND_OK", "TUPLES_OK"])
def test_a_statement_is_sent_at_once(status: str) -> None:
    made, sent = kept(psycopg.pq.ExecStatus[status])
    made.execute("ROLLBACK")
    assert sent == [b"ROLLBACK"]


def test_a_statement_that_fails_is_the_drivers_error() -> None:
    made, _ = kept(psycopg.pq.ExecStatus.FATAL_ERROR)
    with pytest.raises(psycopg.errors.InFailedSqlTransaction, match="it is aborted"):
        made.execute("SELECT 1")
