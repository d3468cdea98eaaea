"""What is sent to fill a new database with the rows of another; a server's own answers are in tests/services."""

from __future__ import annotations

from typing import Any

import pytest

from pytest_testbed.postgres.definitions import Contents, Sequence, Table, View
from pytest_testbed.postgres.refilling import refill

USERS, ORDERS = Table(1, "public.users", "id, name"), Table(2, "public.orders", "id")
NOTHING = Contents([], [], [], [])


class Cursor:
    """Takes down what is sent."""

    def __init__(self, fails: str = "") -> None:
        self.sent: list[str] = []
        self._fails = fails

    def execute(self, sql: str, arguments: Any = None) -> None:
        self.sent.append(sql)
        if self._fails and sql.startswith(self._fails):
            raise LookupError(sql)

    def copy_expert(self, sql: str, file: Any) -> None:
        self.sent.append(f"{sql} {file.read().decode()}")

    def fetchall(self) -> list[tuple[str, str]]:
        if "pg_trigger" in self.sent[-1]:
            return [("ALTER TABLE public.users DISABLE TRIGGER t", "ALTER TABLE public.users ENABLE TRIGGER t")]
        return []


def sent(contents: Contents, rows: dict[int, bytes], *, may_replicate: bool) -> list[str]:
    cursor = Cursor()
    refill(cursor, contents, rows, may_replicate=may_replicate)
    return [sql for sql in cursor.sent if not sql.startswith("SELECT format")]


def test_a_superuser_replaces_rows() -> None:
    assert sent(NOTHING._replace(tables=[USERS, ORDERS]), {1: b"1\tAnn"}, may_replicate=True) == [
        "BEGIN",
        "DELETE FROM ONLY public.users",
        "DELETE FROM ONLY public.orders",
        "COPY public.users (id, name) FROM STDIN 1\tAnn",
        "COMMIT",
    ]


def test_another_role_empties_all_tables_at_once_and_keeps_triggers_quiet() -> None:
    assert sent(NOTHING._replace(tables=[USERS, ORDERS]), {1: b"1\tAnn"}, may_replicate=False) == [
        "BEGIN",
        "TRUNCATE ONLY public.users, ONLY public.orders CASCADE",
        "ALTER TABLE public.users DISABLE TRIGGER t",
        "SET CONSTRAINTS ALL DEFERRED",
        "COPY public.users (id, name) FROM STDIN 1\tAnn",
        "SET CONSTRAINTS ALL IMMEDIATE",
        "ALTER TABLE public.users ENABLE TRIGGER t",
        "COMMIT",
    ]


def test_without_tables_nothing_is_emptied() -> None:
    contents = NOTHING._replace(sequences=[Sequence(3, "public.numbers", 7, True)])
    found = sent(contents, {}, may_replicate=False)
    assert not [sql for sql in found if sql.startswith("TRUNCATE")]
    assert "SELECT setval(3, 7, True)" in found


def test_a_view_that_was_never_filled_stays_unfilled() -> None:
    views = [View(4, "public.never", None), View(5, "public.empty", 0), View(6, "public.some", 2)]
    found = sent(NOTHING._replace(views=views), {}, may_replicate=True)
    assert found == [
        "BEGIN",
        "REFRESH MATERIALIZED VIEW public.empty",
        "REFRESH MATERIALIZED VIEW public.some",
        "COMMIT",
    ]


def test_a_failure_leaves_nothing() -> None:
    cursor = Cursor(fails="REFRESH")
    with pytest.raises(LookupError):
        refill(cursor, NOTHING._replace(views=[View(4, "public.some", 1)]), {}, may_replicate=True)
    assert cursor.sent[-1] == "ROLLBACK"
