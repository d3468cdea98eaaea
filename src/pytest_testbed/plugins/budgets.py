"""Budgets of tests: seconds, statements, HTTP calls and messages that one may use."""

from __future__ import annotations

from typing import Any

from ..settings import Section, option, positive


class BudgetSettings(Section, prefix=""):
    """Options of budgets."""

    budget: tuple[str, ...] = option(
        (), help="What tests may use, such as queries=50 or seconds=2; for some folders, as 'tests/unit: seconds=0.1'."
    )
    budget_ci: float = option(2.0, check=positive, help="What seconds of a budget are multiplied by under CI.")


SECTION = BudgetSettings
MARKS = (
    "budget(seconds=None, queries=None, http_calls=None, messages=None): what this test may use; it runs to its end, and fails "
    "then where it has used more",
)
ARGUMENTS: dict[str, Any] = {
    "seconds": float | None,
    "queries": int | None,
    "http_calls": int | None,
    "messages": int | None,
}
