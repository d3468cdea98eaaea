"""The order in which tables are filled, by what refers to what."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from pytest_testbed.postgres.catalog import in_order


class Cursor:
    """Tells who refers to whom: referring, referred, whether that is deferrable, whether it may be NULL."""

    def __init__(self, *references: tuple[int, int, bool, bool]) -> None:
        self._references = list(references)

    def execute(self, sql: str, arguments: Any) -> None:
        pass

    def fetchall(self) -> list[tuple[int, int, bool, bool]]:
        return self._references


@pytest.mark.parametrize(
    ("references", "order"),
    [
        ([], [1, 2, 3]),
        ([(1, 2, False, False)], [2, 3, 1]),
        ([(1, 2, False, False), (2, 3, False, False)], [3, 2, 1]),
        ([(1, 2, False, False), (2, 1, True, False)], [2, 3, 1]),
        ([(1, 2, False, False), (2, 1, False, True)], [2, 3, 1]),
        ([(1, 2, True, False), (2, 1, False, True), (1, 3, False, False)], [3, 1, 2]),
        ([(1, 2, False, False), (2, 1, False, False), (1, 3, False, False)], [1, 2, 3]),
    ],
    ids=["none", "one", "a row", "a deferrable circle", "a circle with NULL", "a circle of both", "a circle without a way out"],
)
def test_a_table_comes_after_what_it_refers_to(references: list[tuple[int, int, bool, bool]], order: list[int]) -> None:
    tables: Any = [SimpleNamespace(oid=oid, quoted=f"table {oid}") for oid in (3, 1, 2)]
    assert [table.oid for table in in_order(Cursor(*references), tables)] == order


def test_one_table_needs_no_question() -> None:
    table: Any = SimpleNamespace(oid=1, quoted="it")
    assert in_order(None, [table]) == [table]
