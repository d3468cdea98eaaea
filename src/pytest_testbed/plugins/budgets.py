"""Budgets of tests: seconds, statements, HTTP calls and messages that one may use."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from ..settings import SETTINGS, Section, option, positive


def budget_lines(lines: Sequence[str]) -> None:
    """Check the lines of `testbed_budget`; that its folders exist is seen later."""
    from ..budgets.limits import read_lines

    read_lines(lines)


class BudgetSettings(Section, prefix=""):
    """Options of budgets."""

    budget: tuple[str, ...] = option(
        (),
        check=budget_lines,
        help="What each test may use, such as queries=50 or seconds=2; for some folders only, as 'tests/unit: seconds=0.1'.",
    )
    budget_ci: float = option(2.0, check=positive, help="Factor by which the seconds of a budget are multiplied under CI.")


SECTION = BudgetSettings
MARKS = (
    """\
budget(seconds=None, queries=None, http_calls=None, messages=None): the most that this test may use.
    The test runs to its end, and fails then where it has used more. None lifts a budget that a class, a module or testbed_budget
    gives: see docs/how-to/budgets.md.
    seconds=2: seconds of the test function, above 0; under CI they are multiplied by testbed_budget_ci.
    queries=50: statements to PostgreSQL.
    http_calls=3: HTTP requests of this process, those of api_client excepted.
    messages=10: messages to and from RabbitMQ, those of rabbitmq_broker excepted.
""",
)
ARGUMENTS: dict[str, Any] = {
    "seconds": float | None,
    "queries": int | None,
    "http_calls": int | None,
    "messages": int | None,
}


@pytest.hookimpl(trylast=True)
def pytest_configure(config: pytest.Config) -> None:
    """Refuse a folder of `testbed_budget` that is not there."""
    settings = config.stash.get(SETTINGS, None)
    if settings is not None and settings[BudgetSettings].budget:
        from ..budgeted import check_folders

        check_folders(config)


@pytest.hookimpl(wrapper=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> Iterator[None]:
    """Look after tests that have a budget, where there are any."""
    result = yield
    if config.stash[SETTINGS][BudgetSettings].budget or is_marked(items):
        from ..budgeted import prepare

        prepare(config, items)
    return result


def is_marked(items: list[pytest.Item]) -> bool:
    """Tell whether any test has a budget by mark: each class and module is looked at once, as most runs have none."""
    nodes: set[pytest.Item | pytest.Collector] = set(items)
    above: set[Any] = nodes
    while above := {node.parent for node in above} - {None}:
        nodes |= above
    return any(mark.name == "budget" for node in nodes for mark in node.own_markers)
