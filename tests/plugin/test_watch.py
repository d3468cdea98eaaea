"""Around each test with services: who is billed for the waiting, and what a failure shows."""

from __future__ import annotations

import re

import pytest

from .conftest import Project


def durations(result: pytest.RunResult) -> dict[str, float]:
    """Return seconds by phase and test, of `--durations=0 -vv`."""
    found = (re.fullmatch(r"(\d+\.\d+)s (setup|call|teardown) +(\S+)", line) for line in result.outlines)
    return {f"{match[2]} {match[3].rpartition('::')[2]}": float(match[1]) for match in found if match}


def test_the_wait_for_a_service_is_billed_to_no_test(project: Project) -> None:
    project.kinds(alpha={"seconds": 0.5})
    project.write(test_it="def test_it(alpha): pass")
    result = project.run("--durations=0", "-vv")
    result.assert_outcomes(passed=1)
    (line,) = [line for line in result.outlines if line.startswith("testbed: tests waited for alpha ")]
    waited = float(line.split()[-2])
    assert waited > 0.3
    assert max(durations(result).values()) < waited


def test_no_time_out_of_a_test_watches_the_wait(project: Project) -> None:
    pytest.importorskip("pytest_timeout")
    project.kinds(alpha={"seconds": 0.8})
    project.write(test_it="def test_it(alpha): pass")
    project.run("-p", "pytest_timeout", "--timeout=0.3").assert_outcomes(passed=1)


def test_lazy_waits_inside_the_test_that_asks(project: Project) -> None:
    project.kinds(alpha={"seconds": 0.3})
    project.write(test_it="def test_it(alpha): pass")
    result = project.run("--durations=0", "-vv", "--testbed-start=lazy")
    assert durations(result)["setup test_it"] >= 0.25


@pytest.mark.parametrize("mark", ["skip", "skipif(True, reason='so')"])
def test_nobody_waits_for_a_test_that_is_skipped(project: Project, mark: str) -> None:
    project.kinds(alpha={"never": True, "timeout": 20.0})
    project.write(
        test_it=f"""
        import pytest

        @pytest.mark.{mark}
        def test_it(alpha): pass
        """
    )
    result = project.run()
    result.assert_outcomes(skipped=1)
    assert "waited" not in result.stdout.str()


def test_a_start_that_fails_is_told_by_the_fixture(project: Project) -> None:
    project.kinds(alpha={"exits": "exit code 7", "log": "the disk is full"})
    project.write(test_it="def test_it(alpha): pass")
    result = project.run()
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*alpha (fake, pretence) ended while it was starting: exit code 7.", "*the disk is full"])


SAYS = """
from pathlib import Path
import pytest

def say(text):
    with Path("log").open("a") as file:
        file.write(text + "\\n")
"""


def sections(result: pytest.RunResult, name: str = "alpha") -> list[list[str]]:
    """Return the lines of each section with a service's log."""
    found: list[list[str]] = []
    inside = False
    for line in result.outlines:
        if line.strip("- ") == f"Captured {name} log":
            found.append([])
            inside = True
        elif line.startswith(("---", "===", "___", "testbed:")):
            inside = False
        elif inside:
            found[-1].append(line)
    return found


@pytest.fixture
def logging(project: Project) -> Project:
    """A project with a service that writes what tests tell it to."""
    project.kinds(alpha={"log_file": str(project.path / "log")})
    (project.path / "log").write_text("from its start\n")
    return project


def test_a_failure_shows_what_was_written_during_that_test(logging: Project) -> None:
    logging.write(
        test_it=SAYS
        + """
def test_passes(alpha): say("of the first")
def test_fails(alpha):
    say("of the second")
    assert 0
def test_passes_too(alpha): say("of the third")
"""
    )
    assert sections(logging.run()) == [["of the second"]]


def test_each_phase_shows_its_own_part(logging: Project) -> None:
    logging.write(
        test_it=SAYS
        + """
@pytest.fixture
def around(alpha):
    say("before")
    yield
    say("after")
    assert 0

def test_fails(around):
    say("between")
    assert 0
"""
    )
    assert sorted(sections(logging.run())) == [["after"], ["before", "between"]]


def test_a_failed_setup_shows_it_too_and_silence_has_no_section(logging: Project) -> None:
    logging.write(
        test_it=SAYS
        + """
@pytest.fixture
def broken(alpha):
    say("in setup")
    assert 0

def test_broken(broken): pass
def test_silent(alpha): assert 0
def test_without(): assert 0
"""
    )
    assert sections(logging.run()) == [["in setup"]]


def test_expected_failures_and_passed_tests_show_nothing(logging: Project) -> None:
    logging.write(
        test_it=SAYS
        + """
@pytest.mark.xfail
def test_expected(alpha):
    say("x")
    assert 0
"""
    )
    result = logging.run("-rA")
    result.assert_outcomes(xfailed=1)
    assert sections(result) == []


def test_long_logs_are_cut_and_say_so(logging: Project) -> None:
    logging.write(
        test_it=SAYS
        + """
def test_fails(alpha):
    for n in range(80): say(f"line {n}")
    assert 0
"""
    )
    ((first, *rest),) = sections(logging.run())
    assert first == "… 30 lines before these are left out"
    assert rest == [f"line {n}" for n in range(30, 80)]


def test_sections_come_from_workers_too(logging: Project) -> None:
    logging.write(test_it=SAYS + "def test_fails(alpha):\n    say('of a worker')\n    assert 0\n")
    assert sections(logging.run_apart("-p", "xdist", "-n1")) == [["of a worker"]]
