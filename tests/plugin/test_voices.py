"""What is written to the terminal: header, waiting line, summary, help."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from contextlib import nullcontext
from pathlib import Path

import pytest

from .conftest import Project

FAR = "postgresql://me:geheim@db.example.com/shop"


def ours(result: pytest.RunResult) -> list[str]:
    return [line for line in result.outlines if line.startswith("testbed: ")]


def test_the_header_names_what_differs_and_where_it_was_said(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    project.kinds(alpha={})
    project.pytester.makeini("[pytest]\ntestbed_pg_url = postgresql://me:geheim@localhost/x\ntestbed_pg_driver = psycopg2")
    monkeypatch.setenv("TESTBED_PG_IMAGE", "postgres:17")
    project.write(test_it="def test_it(): pass")
    result = project.run("--testbed-start=lazy")
    assert ours(result) == [
        "testbed: testbed_start=lazy (from the command line), testbed_pg_image=postgres:17 (from environment "
        "TESTBED_PG_IMAGE), testbed_pg_url=postgresql://me:***@localhost/x (from tox.ini), "
        "testbed_pg_driver=psycopg2 (from tox.ini)"
    ]
    assert result.outlines.index(ours(result)[0]) < result.outlines.index("collected 1 item")


@pytest.mark.parametrize("flags", [[], ["-v"], ["-q"]])
def test_unused_it_says_nothing(project: Project, monkeypatch: pytest.MonkeyPatch, flags: list[str]) -> None:
    monkeypatch.setenv("DATABASE_URL", FAR)
    project.kinds(alpha={})
    project.write(test_it="def test_it(): pass\ndef test_postgres(pg_service): pass")
    result = project.run("-k", "test_it", "--deselect", "test_it.py::test_postgres", *flags)
    result.assert_outcomes(passed=1, deselected=1)
    assert "testbed" not in result.stdout.str().replace("plugins: ", "")
    assert project.hosts == []


def test_a_far_database_url_is_passed_over_and_said_to_be(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", FAR)
    project.write(test_it="def test_it(pg_service): pass")
    line = (
        "testbed: DATABASE_URL names the server db.example.com, which is not on this machine, and is passed over; "
        "set testbed_pg_url (or TESTBED_PG_URL) to use it"
    )
    result = project.run("--testbed-provider=external")
    result.assert_outcomes(errors=1)
    assert line in result.outlines
    assert "geheim" not in result.stdout.str()
    # the reason and the remedy in the error are true as well
    assert "→ DATABASE_URL names the server db.example.com, which" in result.stdout.str()
    assert line in project.run_apart("--testbed-provider=external", "-p", "xdist", "-n1").outlines
    assert line not in project.run("--testbed-provider=external", "-q").outlines
    monkeypatch.delenv("DATABASE_URL")
    assert "→ set testbed_pg_url (or DATABASE_URL)" in project.run("--testbed-provider=external").stdout.str()


def test_the_summary_tells_what_was_used(project: Project) -> None:
    project.kinds(alpha={"says": "3.7", "seconds": 0.1}, beta={}, gamma={"exits": "exit code 1"})
    project.write(test_it="def test_it(alpha): pass\ndef test_gamma(gamma): pass")
    result = project.run()
    result.assert_outcomes(passed=1, errors=1)
    assert len(ours(result)) == 2
    result.stdout.re_match_lines(
        [
            r"testbed: alpha 3\.7 \(fake, pretence\) was ready after \d\.[1-9]\d s",
            r"testbed: tests waited for alpha \d\.\d\d s",
            "=* short test summary.*",
        ]
    )
    assert ours(project.run("-q")) == []


def test_the_summary_of_xdist_s_workers(project: Project) -> None:
    project.kinds(alpha={"says": "3.7", "seconds": 0.1, "stop_fault": "it clings"})
    project.write(test_it="def test_it(alpha): pass")
    lines = ours(project.run_apart("-p", "xdist", "-n1"))
    assert lines[0].startswith("testbed: alpha 3.7 (fake, pretence) was ready after")
    assert lines[1].startswith("testbed: tests waited for alpha")
    assert lines[2] == "testbed: could not clean up: stopping alpha: it clings"


class Reporter:
    """As much of pytest's reporter as the waiting line needs."""

    def __init__(self) -> None:
        self.text = ""

    def ensure_newline(self) -> None:
        self.text += "\n"

    def write(self, text: str, flush: bool = False) -> None:
        assert flush
        self.text += text


def test_the_waiting_line_is_written_over_and_taken_away() -> None:
    from pytest_testbed.session import LiveLine

    reporter = Reporter()
    line = LiveLine(reporter, nullcontext)
    line.show("")
    assert reporter.text == ""
    line.show("starting alpha")
    line.show("ab")
    line.show("")
    first, second = "testbed: starting alpha …", "testbed: ab …"
    assert reporter.text == f"\n\r\r{first}\r{' ' * len(first)}\r{second}\r{' ' * len(second)}\r"


def on_a_terminal(path: Path, *args: str) -> str:
    """Run pytest on a terminal and return what it showed."""
    ours, theirs = os.openpty()
    process = subprocess.Popen([sys.executable, "-m", "pytest", *args], cwd=path, stdin=theirs, stdout=theirs, stderr=theirs)
    os.close(theirs)
    shown = b""
    try:
        while part := os.read(ours, 4096):
            shown += part
    except OSError:  # Linux's way to say that the other side is closed
        pass
    os.close(ours)
    assert process.wait(30) == 0, shown.decode()
    return shown.decode()


def test_who_waits_on_a_terminal_sees_for_what(project: Project) -> None:
    project.kinds(alpha={"gate": project.gate()})
    # the gate is opened by the progress line itself: no wait, no line; no line, no end
    project.write(
        test_it="""
        import pathlib

        def test_before(): pass

        def test_it(request, testbed, monkeypatch):
            progress = testbed._progress
            assert progress is not None
            def seen(text):
                progress(text)
                if "(fake)" in text:
                    pathlib.Path("gate").touch()
            monkeypatch.setattr(testbed, "_progress", seen)
            request.getfixturevalue("alpha")
        """,
    )
    shown = on_a_terminal(project.path, "--color=no")
    line = "testbed: starting alpha (fake) …"
    before, _, after = shown.partition("test_it.py .")
    assert before
    assert re.fullmatch(r"\r\n\r *\rtestbed: starting alpha.*", after.split("…")[0])  # not over the results of tests
    assert f"{line}\r{' ' * len(line)}\r" in after
    assert "starting" not in on_a_terminal(project.path, "-q", "--color=no", "-k", "before")


def test_a_pipe_shows_no_waiting_line(project: Project) -> None:
    project.kinds(alpha={"seconds": 0.3})
    project.write(test_it="def test_it(alpha): pass")
    result = project.run_apart()
    result.assert_outcomes(passed=1)
    assert "starting" not in result.stdout.str()


def test_help_and_fixtures_read_well(project: Project) -> None:
    project.kinds(alpha={})
    shown = " ".join(project.run("--help").stdout.str().split())
    assert "pytest-testbed: real services for integration tests:" in shown
    assert (
        "--testbed-start=prefetch|lazy|eager When services start: prefetch, together once collection has ended; lazy, when a "
        "test first asks; eager, with pytest itself, those that the configuration speaks of. Default: prefetch. "
        "Environment: TESTBED_START." in shown
    )
    shown = project.run("--markers").stdout.str()
    assert "@pytest.mark.pg(isolation='transaction', reset_sequences=False): how this test is kept apart" in shown
    assert "\n    isolation='database': it commits for real" in shown
    assert "@pytest.mark.integration: (level) a test of how parts work together" in shown
    shown = project.run("--fixtures").stdout.str()
    assert "pg_session -- " in shown
    assert "A SQLAlchemy ORM session of this test; whatever it commits is undone when the test ends." in shown
    assert project.hosts == []


def test_help_comes_also_to_who_mistyped_an_option(project: Project) -> None:
    project.pytester.makeini("[pytest]\ntestbed_pg_imgae = postgres:17\ntestbed_start = soon")
    result = project.run("--help")
    assert result.ret == 0
    assert "testbed_pg_image (string):" in result.stdout.str()


@pytest.mark.parametrize(
    ("key", "value", "wrong"),
    [
        ("testbed_start", "soon", "is not one of prefetch, lazy, eager."),
        ("testbed_missing", "skipp", "is not one of fail, skip; did you mean 'skip'?"),
        ("testbed_pg_driver", "psycopg3", "is not one of psycopg2, psycopg; did you mean 'psycopg'?"),
        ("testbed_pg_timeout", "0", "must be above 0."),
        ("testbed_pg_args", '-c "a=b', "No closing quotation."),
        ("testbed_pg_args", "-c port=5433", "holds 'port=5433', which is for the run to choose."),
        ("testbed_pg_args", "--listen-addresses=*", "holds '--listen-addresses=*', which is for the run to choose."),
        ("testbed_pg_args", "-p5433", "holds '-p5433', which is for the run to choose."),
        ("testbed_pg_tmpfs", "1gg", "is not a size such as 512m or 1g."),
        ("testbed_pg_version", "eighteen", "is not a version such as 17 or 17.2."),
        ("testbed_pg_tmpfs", "banana", "is not a size such as 512m or 1g."),
        ("testbed_pg_url", "mysql://x/y", "does not begin with postgresql://."),
        ("testbed_pg_environment", "LANG", "holds 'LANG', which is not of the form NAME=value."),
    ],
)
def test_a_bad_value_is_an_error_of_usage(project: Project, key: str, value: str, wrong: str) -> None:
    project.pytester.makeini(f"[pytest]\n{key} = {value}")
    result = project.run()
    assert result.ret == 4
    error = result.stderr.str().strip()
    assert error.startswith(f"ERROR: {key} = ")
    assert error.endswith(f"(from tox.ini) {wrong}")


def test_an_unknown_key_names_the_nearest(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    project.pytester.makeini("[pytest]\ntestbed_strat = lazy")
    monkeypatch.setenv("TESTBED_PG_IMGAE", "x")
    assert project.run().stderr.str().strip().splitlines() == [
        "ERROR: 'testbed_strat' (from tox.ini) is not an option of pytest-testbed; did you mean 'testbed_start'?",
        "'TESTBED_PG_IMGAE' (from the environment) is not an option of pytest-testbed; did you mean 'TESTBED_PG_IMAGE'?",
    ]


def test_what_is_being_started_is_told_to_who_wants_to_know(project: Project) -> None:
    project.kinds(alpha={}, beta={})
    project.write(test_it="def test_it(alpha): pass\ndef test_beta(beta): pass")
    assert "testbed: starting alpha, beta" in ours(project.run("-v"))
    assert "testbed: starting alpha, beta" not in ours(project.run())


def test_a_kept_host_is_told_of(project: Project) -> None:
    project.kinds(alpha={})
    project.write(test_it="def test_it(alpha): pass")
    reuse = ("--testbed-reuse", "-o", "testbed_reuse_ttl=5")
    assert "testbed: starting alpha" in ours(project.run_apart(*reuse))
    result = project.run_apart(*reuse)
    result.stdout.fnmatch_lines(["testbed: alpha: the host process of another run is there (pid *)"])
    result.stdout.fnmatch_lines(["testbed: alpha 1.0 (fake, pretence) was there, started by another run * s ago"])
    assert project.events.count("start alpha") == 1


def test_waits_that_nobody_felt_are_not_told() -> None:
    from types import SimpleNamespace
    from typing import Any

    from pytest_testbed.session import Run

    run: Any = SimpleNamespace(_waits={"alpha": [0.001, 0.002], "beta": [0.3]})
    assert Run.waits(run) == ["tests waited for beta 0.30 s"]
    run._waits.pop("beta")
    assert Run.waits(run) == []
