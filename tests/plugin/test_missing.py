"""A service that nobody can give: one error with each reason and each remedy, or the same text as a skip."""

from __future__ import annotations

import pytest

from .conftest import Project

TEXT = [
    "no provider can give alpha here:",
    "  one:      the stars stand wrong",
    "            → wait for spring",
    "`python -m pytest_testbed doctor` tells more of this machine",
]


@pytest.fixture(autouse=True)
def nothing_to_be_had(project: Project) -> None:
    project.kinds(
        """
def pytest_testbed_provider(name):
    return "pytest_testbed.testing:FakeProvider"
""",
        alpha={"provider": "one", "refuse": ["the stars stand wrong", "wait for spring"]},
    )
    project.write(test_it="def test_a(alpha): pass\ndef test_b(alpha): pass\ndef test_c(testbed): testbed.endpoint('alpha')")


def lines(result: pytest.RunResult) -> str:
    return result.stdout.str()


def test_it_fails_with_reason_and_remedy(project: Project) -> None:
    result = project.run("-rfE")
    result.assert_outcomes(errors=2, failed=1)
    assert "\nE       ".join(["E       pytest_testbed.errors.ServiceUnavailable: " + TEXT[0], *TEXT[1:]]) in lines(result)
    told = [line for line in result.outlines if line.endswith("ServiceUnavailable: no provider can give alpha here:")]
    assert len(told) == 3
    assert result.outlines.count("(told in full by test_it.py::test_a)") == 1, "the fixture's two tests"
    assert len([line for line in result.outlines if "the stars stand wrong" in line]) == 2
    assert "told in full by" not in lines(project.run("--full-trace"))
    assert "client.py" not in lines(result)
    assert "session.py" not in lines(result)


def test_none_of_our_hooks_is_in_the_traceback(project: Project) -> None:
    project.write(
        test_it="""
        import pytest
        from factory.alchemy import SQLAlchemyModelFactory

        @pytest.mark.budget(queries=1)
        def test_it(alpha, request): request.getfixturevalue("pg_session")
        @pytest.mark.budget(queries=1)
        def test_later(request): request.getfixturevalue("alpha")
        """
    )
    result = project.run("-p", "no:faker", "-o", "testbed_seed=1")
    result.assert_outcomes(errors=1, failed=1)
    assert "def pytest_fixture_setup" not in lines(result)


def test_built_in_providers_are_all_asked_and_all_named(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """No URL, no engine, no binaries: three reasons, three remedies, one error."""
    monkeypatch.setenv("DOCKER_HOST", f"unix://{project.path}/none.sock")
    project.write(conftest="", test_it="def test_it(pg_session): pass")
    arguments = ["-o", f"testbed_pg_bindir={project.path / 'nothing'}"]
    failed = project.run(*arguments)
    failed.assert_outcomes(errors=1)
    text = [line.removeprefix("E").strip() for line in failed.outlines]
    start = text.index("pytest_testbed.errors.ServiceUnavailable: no provider can give postgres here:")
    reasons, remedies = text[start + 1 : start + 7 : 2], text[start + 2 : start + 7 : 2]
    assert [reason.split(":")[0] for reason in reasons] == ["external", "docker", "local"]
    assert all(len(reason.split(":", 1)[1].strip()) > 5 for reason in reasons)
    assert all(remedy.startswith("→ ") and len(remedy) > 5 for remedy in remedies)
    assert "testbed_pg_url" in remedies[0]
    assert "nothing" in reasons[2]

    skipped = project.run("--testbed-missing=skip", "-rs", *arguments)
    skipped.assert_outcomes(skipped=1)
    for line in text[start + 1 : start + 7]:
        assert " ".join(line.split()) in " ".join(lines(skipped).split())


def test_it_skips_with_the_same_text(project: Project) -> None:
    project.pytester.makeini("[pytest]\ntestbed_missing = skip")
    result = project.run("-rs")
    result.assert_outcomes(skipped=3)
    assert result.outlines.count("testbed: alpha is missing, so tests that need it were skipped; -rs shows why") == 1
    for line in TEXT:
        assert line.strip() in lines(result)


def test_it_skips_only_what_is_missing(project: Project) -> None:
    """A server that does not come up is a fault, whatever the option says."""
    project.kinds(alpha={"exits": "exit code 1"})
    project.run("--testbed-missing=skip").assert_outcomes(errors=2, failed=1)


@pytest.mark.parametrize(
    ("ini", "args", "environment", "skips"),
    [
        ("testbed_missing = skip", [], {}, True),
        ("testbed_missing = skip", [], {"CI": "true"}, False),
        ("addopts = --testbed-missing=skip", [], {"CI": "true"}, False),
        ("", [], {"CI": "true", "TESTBED_MISSING": "skip"}, False),
        ("", [], {"CI": "true", "PYTEST_ADDOPTS": "--testbed-missing=skip"}, False),
        ("", ["--testbed-missing=skip"], {"CI": "true"}, True),
        ("", ["--testbed-missing", "skip"], {"CI": "true"}, True),
        ("", ["-o", "testbed_missing=skip"], {"CI": "true"}, True),
        ("testbed_missing = skip", ["--testbed-missing=fail"], {}, False),
    ],
)
def test_under_ci_only_the_command_line_may_skip(
    project: Project, monkeypatch: pytest.MonkeyPatch, ini: str, args: list[str], environment: dict[str, str], skips: bool
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    project.pytester.makeini(f"[pytest]\n{ini}")
    project.run(*args).assert_outcomes(**({"skipped": 3} if skips else {"errors": 2, "failed": 1}))


def test_a_test_that_sets_ci_does_not_change_that(project: Project) -> None:
    project.write(
        test_it="def test_it(monkeypatch, request):\n    monkeypatch.setenv('CI', '1')\n    request.getfixturevalue('alpha')"
    )
    project.pytester.makeini("[pytest]\ntestbed_missing = skip")
    project.run().assert_outcomes(skipped=1)


def test_xdist_s_workers_know_what_was_typed(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CI", "true")
    project.run_apart("-p", "xdist", "-n1", "--testbed-missing=skip").assert_outcomes(skipped=3)
    project.pytester.makeini("[pytest]\naddopts = --testbed-missing=skip")
    project.run_apart("-p", "xdist", "-n1").assert_outcomes(errors=2, failed=1)
