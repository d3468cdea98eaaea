"""Faults while services start, run and end: shown, never hiding the tests' own, and nothing is left."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from pytest_testbed.services.client import Testbed
from pytest_testbed.testing import fake_spec

from .conftest import Project

PROVIDERS = {"fake": "pytest_testbed.testing:FakeProvider"}


# --- the end of services


def test_a_fault_at_the_end_is_shown_and_hides_nothing(project: Project) -> None:
    project.kinds(alpha={"stop_fault": "it clings"}, beta={})
    project.write(test_it="def test_it(alpha, beta): assert 1 == 2\ndef test_good(alpha): pass")
    result = project.run()
    result.assert_outcomes(failed=1, passed=1)
    assert result.ret == 1
    result.stdout.fnmatch_lines(
        ["E   assert 1 == 2", "testbed: could not clean up: stopping alpha: it clings", "FAILED test_it.py*"]
    )
    assert "stop beta" in project.events


def test_a_fault_at_the_end_is_shown_to_who_wants_it_quiet_and_does_not_fail_the_run(project: Project) -> None:
    project.kinds(alpha={"stop_fault": "it clings"})
    project.write(test_it="def test_it(alpha): pass")
    result = project.run("-q")
    assert result.ret == 0
    assert "testbed: could not clean up: stopping alpha: it clings" in result.outlines


def test_a_host_that_cannot_be_started_is_told_by_the_tests_that_need_it(project: Project) -> None:
    project.kinds("import sys\nsys.executable = '/nonexistent/python'\n", alpha={})
    project.write(test_it="def test_it(alpha): pass\ndef test_other(): pass")
    result = project.run_apart()
    result.assert_outcomes(passed=1, errors=1)
    result.stdout.fnmatch_lines(["*HostError: the host process of the services could not be started: /nonexistent/python: *"])


def test_folders_of_the_project_do_not_shadow_what_the_host_needs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from pytest_testbed.services.connection import host_path

    before = host_path("")
    monkeypatch.syspath_prepend(tmp_path)  # as pytest does it for a folder of tests, with its `docker` and its `http`
    path = host_path("")
    installed = [
        index for index, entry in enumerate(path) if entry.endswith("site-packages") or entry == os.path.dirname(os.__file__)
    ]
    assert len(installed) >= 2
    assert path.index(str(tmp_path)) > max(installed)
    assert [entry for entry in path if entry != str(tmp_path)] == before


NEXT_RUN = """
import time
from pathlib import Path

def test_it(alpha):
    records = Path.home() / ".local/state/pytest-testbed/runs"
    killed = Path("killed").read_text()
    deadline = time.monotonic() + 5
    while (left := [*records.glob(f"{killed}*"), *Path("/dev/shm").glob(f"testbed-{killed}")]):
        assert time.monotonic() < deadline, left
        time.sleep(0.01)
"""


def test_a_host_that_is_gone_is_one_clear_error(project: Project) -> None:
    project.kinds(alpha={}, beta={})
    project.write(
        test_it="""
        import os, signal
        from pathlib import Path

        def test_kill(testbed, alpha):
            os.kill(testbed.client.pid, signal.SIGKILL)
            Path("killed").write_text(testbed.run)

        def test_beta(testbed):
            testbed.endpoint("beta")
        """
    )
    result = project.run()
    result.assert_outcomes(passed=1, failed=1)
    text = "E       pytest_testbed.errors.HostError: the host process of the services is gone (exit code -9)."
    assert text in result.outlines
    text = "the host process ended too early (exit code -9); the next run removes what it left"
    assert f"testbed: could not clean up: {text}" in result.outlines
    project.write(test_next=NEXT_RUN)
    project.run("test_next.py").assert_outcomes(passed=1)


def test_services_end_also_where_a_session_fixture_fails_at_its_end(project: Project) -> None:
    project.kinds("@pytest.fixture(scope='session')\ndef late(alpha):\n    yield\n    raise OSError('too late')\n", alpha={})
    project.write(test_it="def test_it(late): raise ValueError('first')")
    result = project.run("-x")
    assert "first" in result.stdout.str()
    assert "too late" in result.stdout.str()
    assert project.events[-1] == "stop alpha"
    result.stdout.fnmatch_lines(["testbed: alpha 1.0 *"])


def test_services_end_where_pytest_is_told_to_exit(project: Project) -> None:
    project.kinds(alpha={})
    project.write(test_it="import pytest\ndef test_it(alpha): pytest.exit('enough', returncode=7)")
    assert project.run().ret == 7
    assert project.events[-1] == "stop alpha"


def test_services_end_after_an_internal_error(project: Project) -> None:
    project.kinds("def pytest_runtest_logfinish(): raise RuntimeError('of a plugin')\n", alpha={})
    project.write(test_it="def test_it(alpha): pass")
    assert project.run().ret == 3
    assert project.events[-1] == "stop alpha"


# --- Ctrl-C


def with_mark(mark: str) -> list[int]:
    """Return the living processes with a variable of this value in their environment."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                if mark.encode() in (entry / "environ").read_bytes().split(b"\0"):
                    found.append(int(entry.name))
            except OSError:  # gone, or not ours
                continue
    return found


def wait_until(condition: Callable[[], object], what: str, seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"{what} did not happen"
        time.sleep(0.005)


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
@pytest.mark.parametrize(
    ("test", "args"),
    [
        ("def test_it(alpha): pass", []),
        ("def test_it(alpha): pass", ["--testbed-start=lazy"]),
        ("def test_quiet(journal):\n    import time\n    time.sleep(60)\ndef test_it(alpha): pass", []),
        ("import time\ntime.sleep(60)", ["--testbed-start=eager"]),
    ],
    ids=["a fixture waits", "a lazy fixture waits", "nobody waits", "at collection"],
)
def test_ctrl_c_while_a_service_starts(project: Project, test: str, args: list[str]) -> None:
    project.kinds(alpha={"never": True, "timeout": 60})
    project.write(test_it=test)
    mark = f"TESTED_IN={project.path}"
    process = subprocess.Popen(
        [sys.executable, "-m", "pytest", *args],
        cwd=project.path,
        env={**os.environ, "TESTED_IN": str(project.path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    wait_until(lambda: "start alpha" in project.events, "the start")
    assert len(with_mark(mark)) == 2  # pytest and the host: the test of the end can see them
    process.send_signal(signal.SIGINT)
    shown, _ = process.communicate(timeout=20)
    assert process.returncode == 2, shown
    assert "KeyboardInterrupt" in shown
    assert "Traceback (most recent call last)" not in shown
    assert "could not clean up" not in shown
    assert project.events == ["start alpha", "stop alpha"]
    wait_until(lambda: not with_mark(mark), "the end of the host")


# --- a wait that is broken off


class Interruption(Exception):
    """What a signal's handler raises, as pytest-timeout's does."""


def interrupt(*_: object) -> None:
    raise Interruption


def test_answers_are_not_mixed_up_after_waits_that_were_broken_off(monkeypatch: pytest.MonkeyPatch) -> None:
    """Long logs make long messages, so that many interruptions come in the middle of one."""
    logs = {kind: "\n".join([f"{kind} " * 200] * 200) for kind in ("alpha", "beta")}
    specs = [fake_spec(kind, log=log) for kind, log in logs.items()]
    before = signal.signal(signal.SIGALRM, interrupt)
    broken_off = 0
    try:
        with Testbed(specs, providers=PROVIDERS) as testbed:
            for kind in logs:
                testbed.endpoint(kind)
            began = time.perf_counter()
            assert testbed.logs("alpha", 200) == logs["alpha"]
            usual = time.perf_counter() - began
            for step in range(200):
                try:
                    signal.setitimer(signal.ITIMER_REAL, usual * (step + 1) / 200)
                    testbed.logs("alpha", 200)
                    signal.setitimer(signal.ITIMER_REAL, 0)
                except Interruption:
                    broken_off += 1
                assert testbed.logs("beta", 200) == logs["beta"]
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert broken_off > 20


def test_a_time_out_of_pytest_timeout_while_a_service_starts(project: Project) -> None:
    pytest.importorskip("pytest_timeout")
    project.kinds(alpha={"gate": project.gate(), "timeout": 60, "log": "alpha's"}, beta={"log": "beta's", "says": "2"})
    project.write(
        test_it=f"""
        from pathlib import Path
        import pytest

        @pytest.mark.timeout(0.2, method="signal")
        def test_waits(testbed): testbed.endpoint("alpha")

        def test_goes_on(testbed):
            Path({project.gate()!r}).touch()
            assert testbed.endpoint("beta").version == "2"
            assert (testbed.logs("beta"), testbed.logs("alpha")) == ("beta's", "alpha's")
            assert testbed.endpoint("alpha").kind == "alpha"
        """
    )
    result = project.run("-p", "pytest_timeout")
    result.assert_outcomes(failed=1, passed=1)
    assert "Timeout" in result.stdout.str()
    assert "could not clean up" not in result.stdout.str()
    assert sorted(project.events[-2:]) == ["stop alpha", "stop beta"]
