"""pytest-xdist: one host for all workers, whatever becomes of them."""

from __future__ import annotations

import pytest

from .conftest import Project

XDIST = ("-p", "xdist")
SAY_PORT = """
@pytest.fixture(scope="session")
def note(alpha, journal, worker_id):
    journal.write(f"port {alpha.port} of {worker_id}")
"""
TESTS = """
import pytest

@pytest.mark.parametrize("n", range(8))
def test_it(note, n): pass
"""


def ports(project: Project) -> set[str]:
    """Return the ports at which workers found the service."""
    return {event.split()[1] for event in project.events if event.startswith("port ")}


@pytest.mark.parametrize("number", [0, 1, 2, 4, 8])
def test_a_service_is_started_once_for_any_number_of_workers(project: Project, number: int) -> None:
    project.kinds(SAY_PORT, alpha={"seconds": 0.1})
    project.write(test_it=TESTS)
    project.run_apart(*XDIST, f"-n{number}").assert_outcomes(passed=8)
    assert project.started == ["alpha"]
    assert project.events.count("stop alpha") == 1
    assert len(ports(project)) == 1


@pytest.mark.parametrize("dist", ["load", "loadscope", "loadfile", "loadgroup", "worksteal", "each"])
def test_every_way_to_hand_out_tests(project: Project, dist: str) -> None:
    project.kinds(SAY_PORT, alpha={})
    project.write(test_it=TESTS, test_that=TESTS)
    project.run_apart(*XDIST, "-n2", f"--dist={dist}").assert_outcomes(passed=32 if dist == "each" else 16)
    assert project.started == ["alpha"]


@pytest.mark.parametrize("start", ["prefetch", "lazy", "eager"])
def test_every_time_to_start(project: Project, start: str) -> None:
    project.kinds(SAY_PORT, alpha={}, beta={})
    project.write(test_it=TESTS)
    project.run_apart(*XDIST, "-n2", f"--testbed-start={start}").assert_outcomes(passed=8)
    assert project.started == (["alpha", "beta"] if start == "eager" else ["alpha"])


def test_what_workers_want_is_started_before_the_first_test_that_wants_it(project: Project) -> None:
    project.kinds(alpha={})
    project.write(
        test_it="""
        def test_quiet(journal):
            journal.wait_for("ready alpha")
            journal.write("quiet")

        def test_alpha(alpha, journal): journal.write("alpha")
        """
    )
    project.run_apart(*XDIST, "-n1").assert_outcomes(passed=2)
    assert project.events == ["start alpha", "ready alpha", "quiet", "alpha", "stop alpha"]


@pytest.mark.parametrize("option", ["-x", "--maxfail=1"])
def test_run_that_stops_early_ends_its_services(project: Project, option: str) -> None:
    project.kinds(alpha={})
    project.write(
        test_it="""
        import pytest

        @pytest.mark.parametrize("n", range(20))
        def test_it(alpha, n): assert n != 3
        """
    )
    result = project.run_apart(*XDIST, "-n2", option)
    assert result.ret == pytest.ExitCode.INTERRUPTED
    assert project.started == ["alpha"]
    assert project.events[-1] == "stop alpha"


@pytest.mark.parametrize("how", ["os._exit(3)", "os.kill(os.getpid(), signal.SIGKILL)", "os.abort()"])
def test_replacement_of_a_crashed_worker_goes_on_with_the_same_servers(project: Project, how: str) -> None:
    project.kinds(SAY_PORT, alpha={})
    project.write(
        test_it=f"""
        import os, signal
        import pytest

        @pytest.mark.parametrize("n", range(6))
        def test_it(note, n):
            if n == 2:
                {how}
        """
    )
    result = project.run_apart(*XDIST, "-n1")
    result.assert_outcomes(passed=5, failed=1)
    assert len([event for event in project.events if event.startswith("port ")]) == 2, "two workers, one after the other"
    assert len(ports(project)) == 1
    assert project.started == ["alpha"]
    assert project.events[-1] == "stop alpha"


def test_a_run_with_workers_leaves_a_kept_host(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    import json
    import subprocess
    import sys

    monkeypatch.setenv("XDG_STATE_HOME", str(project.path / "state"))
    project.kinds(alpha={})
    project.write(test_it="def test_it(alpha): pass")
    code = (
        "import pytest, subprocess, sys\n"
        "options = ['-p', 'xdist', '-n2', '--testbed-reuse', '-o', 'testbed_reuse_ttl=5']\n"
        "assert pytest.main(options) == pytest.main(options) == 0\n"
        "done = subprocess.run([sys.executable, '-m', 'pytest_testbed', 'ps', '--json'], capture_output=True, check=True)\n"
        "print(); print('PS', done.stdout.decode().replace('\\n', ' '))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=project.path)
    (told,) = (json.loads(line.removeprefix("PS ")) for line in done.stdout.splitlines() if line.startswith("PS "))
    assert [run["owner"] for run in told["runs"]] == ["kept, idle"], "neither run is there any more"
    assert project.started == ["alpha"]


def test_nothing_is_started_where_no_test_wants_it(project: Project) -> None:
    project.kinds(alpha={})
    project.write(test_it="def test_it(): pass")
    result = project.run_apart(*XDIST, "-n2")
    result.assert_outcomes(passed=1)
    assert project.events == []
    assert "testbed" not in result.stdout.str().replace("testbed-", "").replace("pytest_testbed", "")


def test_worker_that_is_done_leaves_the_services_to_the_others(project: Project) -> None:
    project.kinds(
        """
@pytest.hookimpl(trylast=True)
def pytest_unconfigure(config):
    if getattr(config, "workerinput", {}).get("workerid") and not hasattr(pytest, "waiting"):
        Journal().write("a worker is over")
""",
        alpha={},
        beta={},
    )
    project.write(
        test_quick="def test_quick(alpha): pass",
        test_long="""
        import pytest

        def test_long(alpha, testbed, journal):
            pytest.waiting = True
            journal.wait_for("a worker is over")
            assert testbed.endpoint("beta").kind == "beta"
        """,
    )
    project.run_apart(*XDIST, "-n2", "--dist=loadfile").assert_outcomes(passed=2)
    assert project.events.count("start alpha") == 1


def test_waits_of_workers_are_one_line(project: Project) -> None:
    gate = project.path / "gate"
    project.kinds(alpha={"gate": str(gate)})
    project.write(
        test_it=f"""
        import threading
        from pathlib import Path

        import pytest

        @pytest.mark.parametrize("n", range(2))
        def test_it(request, journal, n):
            journal.write(f"asks {{n}}")
            if n == 0:  # the service comes up some time after both have asked
                journal.wait_for("asks 1")
                threading.Timer(0.1, Path({str(gate)!r}).touch).start()
            request.getfixturevalue("alpha")
        """
    )
    result = project.run_apart(*XDIST, "-n2", "--testbed-start=lazy")
    result.assert_outcomes(passed=2)
    result.stdout.fnmatch_lines(["testbed: tests waited for alpha * s (2 workers, * s at most)"])


def test_fault_in_a_kind_is_told_by_each_test_of_a_worker(project: Project) -> None:
    project.kinds("def pytest_testbed_services(config): return ['nonsense']", alpha={})
    project.write(test_it="def test_it(alpha): pass")
    result = project.run_apart(*XDIST, "-n2")
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*must return a list of ServiceSpec, not *nonsense*"])


def test_state_directory_that_cannot_be_written(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", "/proc/1/nowhere")
    project.kinds(SAY_PORT, alpha={})
    project.write(test_it=TESTS)
    project.run_apart(*XDIST, "-n2").assert_outcomes(passed=8)
    assert project.started == ["alpha"]


def test_worker_whose_host_cannot_be_met_has_one_of_its_own(project: Project) -> None:
    project.kinds(
        """
        @pytest.hookimpl(optionalhook=True, trylast=True)
        def pytest_configure_node(node):
            node.workerinput["testbed_party"][2] = "/nowhere/at/all.sock"
        """.replace("\n        ", "\n"),
        SAY_PORT,
        alpha={},
    )
    project.write(test_it=TESTS)
    result = project.run_apart(*XDIST, "-n2", "--dist=each")
    result.assert_outcomes(passed=16)
    assert project.started == ["alpha", "alpha"]
    assert project.events.count("stop alpha") == 2
    result.stdout.fnmatch_lines(["testbed: the host process at /nowhere/at/all.sock cannot be used (*"])
