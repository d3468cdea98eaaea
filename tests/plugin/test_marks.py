"""The mark `pg`: its arguments are checked before a test runs."""

from __future__ import annotations

import pytest

from .conftest import Project

WRONG = [
    (
        "pg(isolaton='database')",
        "@pytest.mark.pg(isolaton='database') on test_it.py::test_it: 'isolaton' is not an argument of it; "
        "did you mean 'isolation'?",
    ),
    (
        "pg(isolation='databse')",
        "@pytest.mark.pg(isolation='databse') on test_it.py::test_it: 'databse' is not one of 'transaction', 'database'; "
        "did you mean 'database'?",
    ),
    (
        "pg(isolation=None)",
        "@pytest.mark.pg(isolation=None) on test_it.py::test_it: None is not one of 'transaction', 'database'.",
    ),
    (
        "pg('database')",
        "@pytest.mark.pg('database') on test_it.py::test_it: arguments are given by name; there are: "
        "isolation=, reset_sequences=.",
    ),
    (
        "pg(reset_sequences='yes')",
        "@pytest.mark.pg(reset_sequences='yes') on test_it.py::test_it: 'yes' is not of type bool.",
    ),
]


def write(project: Project, mark: str) -> None:
    project.kinds(alpha={})
    project.write(
        test_it=f"""
        import pytest

        @pytest.mark.{mark}
        def test_it(): pass

        @pytest.mark.pg(isolation="database")
        def test_good(): pass
        """
    )


@pytest.mark.parametrize(("mark", "text"), WRONG)
def test_a_bad_argument_is_an_error_of_usage(project: Project, mark: str, text: str) -> None:
    write(project, mark)
    result = project.run()
    assert result.ret == 4
    assert result.stderr.str().strip() == f"ERROR: {text}"
    assert project.run("-k", "good").ret == 0


def test_each_fault_is_said_once(project: Project) -> None:
    project.write(
        test_it="""
        import pytest
        pytestmark = pytest.mark.pg(wrong=1)
        def test_a(): pass
        class TestB:
            @pytest.mark.pg(isolation=2)
            def test_b(self): pass
        """
    )
    errors = project.run().stderr.str().strip().splitlines()
    assert len(errors) == 2
    assert "wrong=1" in errors[0]
    assert "isolation=2" in errors[1]


def test_a_mark_that_a_conftest_adds_is_checked_too(project: Project) -> None:
    project.kinds("def pytest_collection_modifyitems(items):\n    items[0].add_marker(pytest.mark.pg(wrong=1))\n", alpha={})
    project.write(test_it="def test_it(): pass")
    assert project.run().ret == 4


@pytest.mark.parametrize(("mark", "text"), WRONG[:1])
def test_in_xdist_s_workers_the_test_fails(project: Project, mark: str, text: str) -> None:
    write(project, mark)
    result = project.run_apart("-p", "xdist", "-n2")
    result.assert_outcomes(errors=1, passed=1)
    assert text in result.outlines
    assert "INTERNALERROR" not in result.stdout.str()


def test_all_marks_are_known_to_strict_markers(project: Project) -> None:
    marks = [
        "unit",
        "integration",
        "e2e",
        "database",
        "messaging",
        "api",
        "external",
        "workflows",
        "contract",
        "performance",
        "pg",
    ]
    project.write(test_it="import pytest\n" + "".join(f"@pytest.mark.{mark}\n" for mark in marks) + "def test_it(): pass")
    for more in ([], ["-p", "no:pytest_testbed.plugins.postgres"]):
        project.run("--strict-markers", "-W", "error", *more).assert_outcomes(passed=1)
