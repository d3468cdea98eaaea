"""`--testbed-update-golden`: who may write golden trees, what is told of it, and that two tests cannot have the same."""

from __future__ import annotations

import pytest

from .conftest import Project

UPDATE = "--testbed-update-golden"
TEST = """
    def test_it(workdir):
        workdir.write({"report.txt": "line1\\n", "logo.png": b"\\0\\1"})
        workdir.assert_matches("golden/report")
    """


@pytest.fixture
def shop(project: Project) -> Project:
    """A project whose test has a golden tree that nobody has written yet."""
    project.write(test_it=TEST)
    return project


def test_from_nothing_to_a_golden_tree(shop: Project) -> None:
    result = shop.run("-q")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        ["E * there is no golden tree 'golden/report': looked for * `pytest --testbed-update-golden 'test_it.py*"]
    )
    result = shop.run("-q", UPDATE)
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(["testbed: golden golden/report written for test_it.py::test_it: 2 new"])
    result = shop.run("-q")
    result.assert_outcomes(passed=1)
    assert "golden" not in result.stdout.str()
    (shop.path / "golden/report/report.txt").write_text("other\n")
    result = shop.run("-q")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["E *-other", "E *+line1", "*Captured workdir*"])
    result = shop.run("-q", UPDATE)
    result.stdout.fnmatch_lines(["testbed: golden golden/report written for test_it.py::test_it: 1 changed"])
    assert "golden golden" not in shop.run("-q", UPDATE).stdout.str()


SHARED = """
    import pytest

    @pytest.mark.parametrize("number", range(4))
    def test_it(workdir, number):
        workdir.write({"report.txt": f"line{number}\\n"})
        workdir.assert_matches("golden/report")
    """


def test_two_tests_cannot_have_one_golden_tree(project: Project) -> None:
    project.write(test_it=SHARED)
    result = project.run("-q", UPDATE)
    result.assert_outcomes(passed=1, failed=3)
    result.stdout.fnmatch_lines(
        ["E * the golden tree golden/report was written for test_it.py::test_it[[]0] in this run, and here report.txt would be *"]
    )
    assert (project.path / "golden/report/report.txt").read_text() == "line0\n"
    result = project.run("-q", UPDATE, "-k", "2")
    result.assert_outcomes(passed=1, deselected=3)
    assert (project.path / "golden/report/report.txt").read_text() == "line2\n", "another run may write another"


def test_two_workers_cannot_either(project: Project) -> None:
    project.write(test_it=SHARED)
    result = project.run_apart("-q", UPDATE, "-p", "xdist.plugin", "-n", "2")
    result.assert_outcomes(passed=1, failed=3)
    result.stdout.fnmatch_lines(["testbed: golden golden/report written for test_it.py::test_it[[]?]: 1 new"])


def test_what_workers_have_written_is_told(project: Project) -> None:
    project.write(test_it=SHARED.replace('"golden/report"', 'f"golden/{number}"'))
    result = project.run_apart("-q", UPDATE, "-p", "xdist.plugin", "-n", "2")
    result.assert_outcomes(passed=4)
    told = sorted(line for line in result.stdout.lines if line.startswith("testbed: golden"))
    assert told == [f"testbed: golden golden/{each} written for test_it.py::test_it[{each}]: 1 new" for each in range(4)]
    project.run("-q").assert_outcomes(passed=4)


def test_a_failure_after_it_is_a_failure(shop: Project) -> None:
    shop.write(test_it=TEST + "    assert False")
    result = shop.run("-q", UPDATE)
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*golden golden/report written*"])


def test_nothing_is_written_outside_of_the_project(project: Project) -> None:
    (project.path / "suite").mkdir()
    (project.path / "suite/test_it.py").write_text(
        "def test_it(workdir):\n    workdir.write('a', 'x')\n    workdir.assert_matches('../outside')\n"
    )
    result = project.run("-q", UPDATE, "--rootdir", project.path / "suite", project.path / "suite")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["E * the golden tree * is not written: * is not a place below the rootdir *"])
    assert not (project.path / "outside").exists()


def test_reruns_may_write_the_same(project: Project) -> None:
    pytest.importorskip("pytest_rerunfailures")
    project.write(test_it="runs = []\n" + TEST.replace("\n    ", "\n") + "    runs.append(1)\n    assert len(runs) == 2\n")
    result = project.run("-q", UPDATE, "-p", "pytest_rerunfailures", "--reruns", "1")
    assert result.parseoutcomes() == {"passed": 1, "rerun": 1}


# --- where it is said


@pytest.mark.parametrize(("how", "source"), [("ini", "from *.ini"), ("environment", "from environment TESTBED_UPDATE_GOLDEN")])
def test_under_ci_it_must_be_typed(shop: Project, monkeypatch: pytest.MonkeyPatch, how: str, source: str) -> None:
    if how == "ini":
        shop.pytester.makeini("[pytest]\ntestbed_update_golden = true")
    else:
        monkeypatch.setenv("TESTBED_UPDATE_GOLDEN", "true")
    monkeypatch.setenv("CI", "true")
    result = shop.run("-q")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([f"ERROR: testbed_update_golden = true ({source}) would let every comparison * (CI is set)*"])
    assert shop.run("-q", "--help").ret == pytest.ExitCode.OK
    shop.run("-q", "--no-testbed-update-golden").assert_outcomes(failed=1)
    monkeypatch.delenv("CI")
    shop.run("-q").assert_outcomes(passed=1)


def test_under_ci_the_files_of_options_do_not_count(shop: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CI", "true")
    shop.pytester.makeini(f"[pytest]\naddopts = {UPDATE}")
    result = shop.run("-q")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["ERROR: testbed_update_golden = true (from addopts, or PYTEST_ADDOPTS) would let*"])
    shop.run("-q", UPDATE).assert_outcomes(passed=1)


@pytest.mark.parametrize("words", [(UPDATE,), ("-o", "testbed_update_golden=true")], ids=["flag", "override"])
def test_under_ci_the_command_line_counts(shop: Project, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...]) -> None:
    monkeypatch.setenv("CI", "true")
    shop.run("-q", *words).assert_outcomes(passed=1)


def test_workers_trust_their_controller(shop: Project) -> None:
    """Another machine may have the variable where ours has none; an error of usage would be one of pytest there."""
    shop.pytester.makeini("[pytest]\ntestbed_update_golden = true")
    shop.write(conftest="import os\ndef pytest_sessionstart(session): os.environ['CI'] = 'true'", test_it=TEST)
    shop.run_apart("-q", "-p", "xdist.plugin", "-n", "1").assert_outcomes(passed=1)
