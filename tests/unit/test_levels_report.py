"""Where folder, fixtures and marks disagree on a level, and how it is told."""

from __future__ import annotations

import pytest

from pytest_testbed.levels.report import Report, Views, disagreement

NAME = "tests/test_a.py::test_it"
UNIT = {"folder": "unit", "by": "tests/unit"}
INTEGRATION = {"folder": "integration", "by": "tests/integration"}


@pytest.mark.parametrize(
    "views",
    [
        Views(NAME),
        Views(NAME, **UNIT),
        Views(NAME, ["unit"], **UNIT),
        Views(NAME, ["unit"]),
        Views(NAME, fixtures=["pg_session"]),
        Views(NAME, fixtures=["pg_session"], **INTEGRATION),
        Views(NAME, ["e2e"], fixtures=["pg_session"]),  # it may talk to anything
        Views(NAME, folder="e2e", by="e2e", fixtures=["pg_session"]),
        Views(NAME, ["integration"], **INTEGRATION),
        Views(NAME, ["unit"], fixtures=["http_mock"]),  # it stays in the process
        Views(NAME, fixtures=["http_mock"], **UNIT),
    ],
)
def test_what_agrees(views: Views) -> None:
    assert disagreement(views) == ""


@pytest.mark.parametrize(
    ("views", "text"),
    [
        (Views(NAME, ["e2e"], **INTEGRATION), "marked e2e, in tests/integration (integration)"),
        (Views(NAME, ["unit", "e2e"]), "marked unit and e2e"),
        (Views(NAME, ["unit"], fixtures=["rabbitmq_broker"]), "marked unit, asks for rabbitmq_broker (integration)"),
        (
            Views(NAME, fixtures=["pg_session", "http_mock"], **UNIT),
            "in tests/unit (unit), asks for pg_session (integration)",
        ),
        (
            Views(NAME, ["unit"], fixtures=["pg_session"], **INTEGRATION),
            "marked unit, in tests/integration (integration), asks for pg_session (integration)",
        ),
        (Views(NAME, ["integration"], fixtures=["pg_session"], **UNIT), "marked integration, in tests/unit (unit)"),
        (Views(NAME, ["unit"], fixtures=["pg_session"], **UNIT), "marked unit, asks for pg_session (integration)"),
    ],
)
def test_what_disagrees(views: Views, text: str) -> None:
    assert disagreement(views) == text


def test_what_differs_alike_is_told_once() -> None:
    report = Report(
        [
            *(Views(f"tests/unit/test_a.py::test_a[{n}]", fixtures=["pg_session"], **UNIT) for n in range(3)),
            Views("tests/unit/test_a.py::test_b", fixtures=["pg_session"], **UNIT),
            Views("tests/unit/test_c.py::test_c", ["e2e"], **UNIT),
            Views("tests/test_d.py::test_d"),
            Views("tests/test_d.py::TestE::test_e"),
            Views("tests/test_f.py::test_f", ["integration"]),
        ]
    )
    assert report.disagreeing == 5
    assert "\n".join(report.lines()) == (
        "8 tests: 4 unit, 1 integration, 1 e2e, 2 without a level\n"
        "\n"
        "in tests/unit (unit), asks for pg_session (integration): 4 tests\n"
        "    tests/unit/test_a.py::test_a (3)\n"
        "    tests/unit/test_a.py::test_b\n"
        "\n"
        "marked e2e, in tests/unit (unit): 1 test\n"
        "    tests/unit/test_c.py::test_c\n"
        "\n"
        "no mark, no folder and no fixture says a level: 2 tests\n"
        "    tests/test_d.py (2)"
    )


def test_of_many_some_are_shown() -> None:
    report = Report(Views(f"tests/test_{n}.py::test") for n in range(9))
    lines = list(report.lines())
    assert lines[3:] == [*(f"    tests/test_{n}.py" for n in range(5)), "    … and 4 more (-v shows all)"]
    assert list(report.lines(whole=True))[3:] == [f"    tests/test_{n}.py" for n in range(9)]


def test_of_one_more_than_some_all_are_shown() -> None:
    assert len(list(Report(Views(f"tests/test_{n}.py::test") for n in range(6)).lines())) == 9


def test_of_no_tests_there_is_nothing_to_say() -> None:
    assert list(Report(()).lines()) == ["0 tests: none was selected"]
