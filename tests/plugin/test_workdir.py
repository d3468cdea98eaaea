"""`workdir` in pytest: whose it is, what a failure shows, that it can be deleted, and beside other plugins."""

from __future__ import annotations

import stat
from importlib.util import find_spec
from pathlib import Path

import pytest

from pytest_testbed.plugin import PARTS

from .conftest import Project

STRICT = ("-q", "-W", "error")


def needs(package: str) -> None:
    """Skip without a package; it is the inner run that imports it."""
    if find_spec(package) is None:
        pytest.skip(f"{package}: is not installed")


# --- the guide's cases


def test_the_guide_s_cases(project: Project) -> None:
    project.write(
        app="""
        import os, time

        def process_file(source, target):
            with open(source) as lines, open(target, "w") as output:
                output.writelines(f"PROCESSED: {line}" for line in lines)

        def cleanup_old_files(directory, days_old):
            for name in os.listdir(directory):
                path = os.path.join(directory, name)
                if time.time() - os.path.getmtime(path) >= days_old * 86_400:
                    os.unlink(path)
        """,
        test_it="""
        from app import cleanup_old_files, process_file

        def test_a_file_is_processed(workdir):
            workdir.write("input.txt", "line1\\nline2\\nline3\\n")
            process_file(workdir / "input.txt", workdir / "output.txt")
            assert workdir.lines("output.txt") == ["PROCESSED: line1", "PROCESSED: line2", "PROCESSED: line3"]

        def test_all_files_go(workdir):
            workdir.write("temporary.txt", "temporary content")
            cleanup_old_files(workdir, days_old=0)
            assert workdir.tree() == {}

        def test_old_files_go(workdir):
            workdir.write({"old.txt": "", "young.txt": ""})
            workdir.age("old.txt", days=7)
            workdir.age("young.txt", days=6, hours=23)
            cleanup_old_files(workdir, days_old=7)
            assert list(workdir.tree()) == ["young.txt"]
        """,
    )
    project.pytester.syspathinsert()
    project.run(*STRICT).assert_outcomes(passed=3)


def test_what_is_beside_the_test(project: Project) -> None:
    (project.path / "tests/orders").mkdir(parents=True)
    (project.path / "tests/orders/a.csv").write_text("near")
    (project.path / "orders").mkdir()
    (project.path / "orders/a.csv").write_text("another")
    (project.path / "shared").mkdir()
    (project.path / "shared/b.csv").write_text("far")
    (project.path / "tests/test_it.py").write_text(
        "def test_it(workdir):\n"
        "    workdir.write('orders')\n"
        "    workdir.write('shared')\n"
        "    assert workdir.tree() == {'a.csv': 'near', 'b.csv': 'far'}\n"
    )
    project.run(*STRICT, "--rootdir", project.path).assert_outcomes(passed=1)


# --- whose it is


def test_each_test_has_its_own(project: Project) -> None:
    project.write(
        test_it="""
        import unittest

        import pytest

        seen = []

        def used(workdir, tmp_path):
            assert workdir.tree() == {}
            assert workdir.path.parent == tmp_path
            assert workdir.path not in seen
            seen.append(workdir.path)
            workdir.write("a", "x")

        @pytest.mark.parametrize("number", range(3))
        def test_params(workdir, tmp_path, number):
            used(workdir, tmp_path)

        class TestInClass:
            def test_one(self, workdir, tmp_path): used(workdir, tmp_path)
            def test_two(self, workdir, tmp_path): used(workdir, tmp_path)

        class TestUnit(unittest.TestCase):
            @pytest.fixture(autouse=True)
            def _workdir(self, workdir, tmp_path):
                self.workdir, self.tmp_path = workdir, tmp_path

            def test_one(self): used(self.workdir, self.tmp_path)
            def test_two(self): used(self.workdir, self.tmp_path)

        def doctested():
            '''
            >>> workdir = getfixture("workdir")
            >>> workdir.write("a", "x").name
            'a'
            '''
        """
    )
    project.run(*STRICT, "--doctest-modules").assert_outcomes(passed=8)


def test_a_tmp_path_of_the_user_s_own(project: Project) -> None:
    """It may be the same for all tests, and no more than a text."""
    project.write(
        test_it="""
        import pytest

        @pytest.fixture
        def tmp_path(pytestconfig):
            return str(pytestconfig.rootpath / "mine")

        @pytest.mark.parametrize("number", range(3))
        def test_it(workdir, number):
            assert workdir.tree() == {}
            workdir.write("a", "x")
        """
    )
    project.run(*STRICT).assert_outcomes(passed=3)
    assert sorted(path.name for path in (project.path / "mine").iterdir()) == ["workdir", "workdir1", "workdir2"]


def test_a_user_s_own_fixture(project: Project) -> None:
    project.write(
        test_it="""
        import pytest

        @pytest.fixture
        def workdir():
            return "mine"

        def test_it(workdir):
            assert workdir == "mine"
            assert False
        """
    )
    result = project.run("-q")
    result.assert_outcomes(failed=1)
    assert "Captured workdir" not in result.stdout.str()


def test_switched_off(project: Project) -> None:
    project.write(test_it="def test_it(workdir): pass\ndef test_other(): pass")
    result = project.run("-q", "-p", "no:pytest_testbed.plugins.files", "--testbed-update-golden")
    result.assert_outcomes(errors=1, passed=1)
    result.stdout.fnmatch_lines(["*fixture 'workdir' not found*"])


def test_with_all_other_parts_off(project: Project) -> None:
    project.write(test_it="def test_it(workdir):\n    workdir.write('a', 'x')\n    assert False")
    off = [word for name in PARTS if not name.endswith(".files") for word in ("-p", f"no:{name}")]
    result = project.run("-q", *off)
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*Captured workdir*", "a  1 B"])


def test_reruns_begin_with_nothing(project: Project) -> None:
    needs("pytest_rerunfailures")
    project.write(
        test_it="""
        runs = []

        def test_it(workdir):
            runs.append(1)
            assert workdir.tree() == {}
            workdir.write("a", "x")
            assert len(runs) == 2
        """
    )
    result = project.run("-q", "-p", "pytest_rerunfailures", "--reruns", "1")
    assert result.parseoutcomes() == {"passed": 1, "rerun": 1}


def test_async_tests(project: Project) -> None:
    needs("pytest_asyncio")
    project.write(
        test_it="""
        import asyncio

        import pytest

        @pytest.mark.asyncio
        async def test_it(workdir):
            async def write():
                workdir.write("a", "x")

            writing = asyncio.create_task(write())
            path = await asyncio.to_thread(workdir.expect, "a")
            await writing
            assert path.read_text() == "x"
        """
    )
    loop = ("-p", "pytest_asyncio.plugin", "-o", "asyncio_default_fixture_loop_scope=function")
    project.run(*STRICT, *loop).assert_outcomes(passed=1)


def test_a_child_process_writes(project: Project) -> None:
    project.write(
        test_it="""
        import subprocess, sys

        def test_it(workdir):
            code = "import sys, time; time.sleep(0.1); open(sys.argv[1], 'w').write('done')"
            child = subprocess.Popen([sys.executable, "-c", code, workdir / "out.txt"])
            assert workdir.expect("out.txt", containing="done", within=30).name == "out.txt"
            assert child.wait(30) == 0
        """
    )
    project.run(*STRICT).assert_outcomes(passed=1)


@pytest.mark.parametrize("others", [("-p", "randomly"), ("-p", "xdist.plugin", "-n", "2")], ids=["randomly", "workers"])
def test_with_other_plugins(project: Project, others: tuple[str, ...]) -> None:
    needs("pytest_randomly")
    project.write(
        test_it="""
        import pytest

        @pytest.mark.parametrize("number", range(6))
        def test_it(workdir, number):
            assert workdir.tree() == {}
            workdir.write("a", str(number))
            assert number != 3
        """
    )
    result = project.run_apart(*STRICT, *others)
    result.assert_outcomes(passed=5, failed=1)
    result.stdout.fnmatch_lines(["*Captured workdir*", "*workdir", "a  1 B", "    3"])


# --- what a failure shows


def test_a_failure_shows_the_tree_once(project: Project) -> None:
    project.write(
        test_it="""
        import pytest

        @pytest.fixture
        def broken():
            yield
            raise KeyError("mine")

        def test_it(broken, workdir):
            workdir.write({"a.txt": "hello", "b": {}})
            assert False

        def test_good(workdir):
            workdir.write("secret", "x")
        """
    )
    result = project.run("-q")
    result.assert_outcomes(failed=1, passed=1, errors=1)
    result.stdout.fnmatch_lines(["*Captured workdir*", "*test_it0?workdir", "a.txt  5 B", "    hello", "b/  (empty)"])
    assert result.stdout.str().count("Captured workdir") == 1
    assert "secret" not in result.stdout.str()


def test_a_failure_at_the_end_shows_it_too(project: Project) -> None:
    project.write(
        test_it="""
        import pytest

        @pytest.fixture
        def broken(workdir):
            yield
            raise KeyError("mine")

        def test_it(broken, workdir):
            workdir.write("a.txt", "hello")
        """
    )
    result = project.run("-q")
    result.assert_outcomes(passed=1, errors=1)
    result.stdout.fnmatch_lines(["*Captured workdir*", "a.txt  5 B"])


@pytest.mark.skipif(not hasattr(pytest, "Subtests"), reason="this pytest has no subtests of its own")
def test_subtests(project: Project) -> None:
    project.write(
        test_it="""
        def test_it(subtests, workdir):
            with subtests.test("one"):
                workdir.write("a", "x")
            with subtests.test("two"):
                assert workdir.tree() == {}
        """
    )
    result = project.run("-q")
    result.stdout.fnmatch_lines(["*Captured workdir*", "a  1 B"])
    assert result.stdout.str().count("Captured workdir") == 1


def test_what_cannot_be_printed_breaks_no_report(project: Project) -> None:
    project.write(
        test_it="""
        import os

        def test_it(workdir):
            os.mkfifo(workdir / "pipe")
            os.close(os.open(os.path.join(os.fsencode(workdir), b"caf\\xe9"), os.O_CREAT, 0o600))
            assert False
        """
    )
    result = project.run_apart("-q")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*Captured workdir*", "'caf?udce9'  0 B", "pipe  (FIFO)"])


def test_a_wait_in_vain_shows_the_test_s_own_line(project: Project) -> None:
    project.write(
        test_it="""
        def test_it(workdir):
            workdir.expect("out.txt", within=0.01)

        def test_outside(workdir):
            workdir.write({"a": {"../../x": "1"}})
        """
    )
    result = project.run("-q")
    result.assert_outcomes(failed=2)
    result.stdout.fnmatch_lines(
        [
            '>*workdir.expect("out.txt", within=0.01)',
            "E * no file 'out.txt' came within 0.01 s*",
            "",
            "test_it.py:2: AssertionError",
        ]
    )
    result.stdout.fnmatch_lines(["E * ValueError: 'a/../../x' would lead out of the workdir*", "", "test_it.py:5: ValueError"])


# --- the end


def test_the_working_directory_is_put_back(project: Project) -> None:
    project.write(
        test_it="""
        import os
        import shutil

        before = os.getcwd()

        def test_it(workdir):
            workdir.chdir()
            open("a", "w").close()
            assert list(workdir.tree()) == ["a"]

        def test_gone(workdir):
            assert os.getcwd() == before
            workdir.chdir()
            shutil.rmtree(workdir)

        def test_back():
            assert os.getcwd() == before
        """
    )
    project.run(*STRICT).assert_outcomes(passed=3)


def test_the_working_directory_is_put_back_also_beside_monkeypatch(project: Project) -> None:
    project.write(
        test_it="""
        import os
        import pytest

        before = os.getcwd()

        @pytest.fixture(autouse=True)
        def as_before():
            yield
            assert os.getcwd() == before

        def first(workdir, monkeypatch):
            workdir.chdir()
            monkeypatch.chdir("/")

        def second(workdir, monkeypatch):
            monkeypatch.chdir(workdir.write("inner", {}))
            workdir.chdir()

        @pytest.mark.parametrize("change", [first, second])
        class TestOrders:
            def test_it(self, workdir, monkeypatch, change):
                change(workdir, monkeypatch)

            def test_the_other_way_round(self, monkeypatch, workdir, change):
                change(workdir, monkeypatch)
        """
    )
    project.run(*STRICT).assert_outcomes(passed=4)


FORBIDDING = """
    import os

    def test_it(workdir, request):
        workdir.write({"a/b/c": "x"})
        os.chmod(workdir / "a/b", 0)
        os.chmod(workdir / "a", 0)
        os.chmod(workdir, 0o555)
        print("PLACE", workdir)
        raise KeyError("mine")
    """


def test_forbidden_folders_do_not_hinder_who_deletes(project: Project) -> None:
    project.write(test_it=FORBIDDING)
    result = project.run(*STRICT)
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["E * KeyError: 'mine'", "*Captured workdir*"])
    (place,) = [Path(line.split()[1]) for line in result.stdout.lines if line.startswith("PLACE")]
    assert [stat.S_IMODE((place / name).stat().st_mode) & 0o700 for name in (".", "a", "a/b")] == [0o700] * 3


def test_nothing_is_loaded_that_nobody_uses(project: Project) -> None:
    project.write(
        test_it="""
        import sys

        def test_it(workdir):
            workdir.write("a", "x")
            names = {name.partition(".")[2] for name in sys.modules if name.startswith("pytest_testbed.")}
            assert "files.workdir" in names
            parts = ("http.", "mail", "rabbitmq", "postgres", "services", "session", "files.updates", "files.golden")
            assert not {name for name in names if name.startswith(parts)}
        """
    )
    project.run_apart(*STRICT).assert_outcomes(passed=1)
