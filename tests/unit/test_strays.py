"""What is told of connections that a test has left, and how long they are waited for; without a server."""

from __future__ import annotations

from typing import Any

import pytest

from pytest_testbed.postgres import strays
from pytest_testbed.postgres.strays import Moment, Stray, end_backends, find

OPEN = Stray(7, "", "idle in transaction", 1, 1, 1, None, False, False, "SELECT\n  1")


class Cursor:
    """Gives one answer after the other, and the last one for ever."""

    def __init__(self, *answers: list[tuple[object, ...]]) -> None:
        self.answers, self.sent = list(answers), []  # type: ignore[var-annotated]

    def execute(self, sql: str, arguments: Any = None) -> None:
        self.sent.append((sql, arguments))

    def fetchall(self) -> list[tuple[object, ...]]:
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({}, "had a transaction open"),
        ({"state": "active"}, "was still running"),
        ({"state": "idle", "began": None, "has_advisory_locks": True}, "held an advisory lock"),
        ({"number": 3}, "had a transaction open with changes that it had not committed"),
        ({"has_table_locks": True}, "had a transaction open and held a lock on a table"),
        ({"has_advisory_locks": True}, "had a transaction open and held an advisory lock"),
    ],
)
def test_what_is_told(changes: dict[str, Any], what: str) -> None:
    assert OPEN._replace(**changes).describe() == f"a connection (pid 7) {what}; its last statement: SELECT 1"
    assert OPEN._replace(application="shop", **changes).describe().startswith(f"a connection (shop, pid 7) {what};")


def test_a_statement_that_is_about_to_end_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(strays, "SETTLING", 60)
    running = OPEN._replace(state="active")
    cursor = Cursor([(5, *running)], [(5, *running)], [(6, None)])
    assert find(cursor, Moment(0, 0)) == ([], 6)


def test_a_statement_that_does_not_end_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(strays, "SETTLING", 0)
    running = OPEN._replace(state="active")
    assert find(Cursor([(5, *running)]), Moment(0, 0)) == ([running], 5)


def test_who_leaves_by_himself_is_not_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(strays, "LEAVING", 60)
    cursor = Cursor([(7,)], [(7,)], [])
    assert end_backends(cursor, [OPEN]) == set()
    assert [sql for sql, _ in cursor.sent if "terminate" in sql] == []


def test_who_stays_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(strays, "LEAVING", 0)
    cursor = Cursor([(7,)])
    assert end_backends(cursor, [OPEN]) == {7}
    assert cursor.sent[-1] == ("SELECT pg_terminate_backend(%s, 5000)", (7,))


def test_whose_statement_runs_is_ended_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(strays, "LEAVING", 60)
    cursor = Cursor([(7,)])
    assert end_backends(cursor, [OPEN._replace(state="active")]) == {7}
    assert len(cursor.sent) == 2
