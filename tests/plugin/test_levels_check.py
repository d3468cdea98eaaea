"""`--testbed-check-levels`: where folder, fixtures and marks disagree; nothing runs, nothing starts."""

from __future__ import annotations

import pytest

from .conftest import Project

CHECK = "--testbed-check-levels"
UNIT = """
import pytest
def test_sum(): raise RuntimeError("it runs")
@pytest.mark.parametrize("x", [1, 2])
def test_stored(pg_session, x): raise RuntimeError("it runs")
@pytest.mark.integration
def test_marked(pg_session): raise RuntimeError("it runs")
"""
MORE = """
import pytest
def test_alpha(alpha): raise RuntimeError("it runs")
@pytest.mark.unit
def test_queue(rabbitmq_url): raise RuntimeError("it runs")
@pytest.mark.unit
def test_mocked(http_mock): raise RuntimeError("it runs")
def test_plain(): raise RuntimeError("it runs")
"""
REPORT = """\
8 tests: 5 unit, 2 integration, 1 without a level

in tests/unit (unit), asks for pg_session (integration): 2 tests
    tests/unit/test_unit.py::test_stored (2)

marked integration, in tests/unit (unit): 1 test
    tests/unit/test_unit.py::test_marked

marked unit, asks for rabbitmq_url (integration): 1 test
    tests/test_more.py::test_queue

no mark, no folder and no fixture says a level: 1 test
    tests/test_more.py
"""


@pytest.fixture
def shop(project: Project) -> Project:
    """A project in which something disagrees, and services could be started."""
    project.kinds(alpha={}, postgres={}, rabbitmq={})
    (project.path / "tests" / "unit").mkdir(parents=True)
    (project.path / "tests" / "unit" / "test_unit.py").write_text(UNIT)
    (project.path / "tests" / "test_more.py").write_text(MORE)
    return project


def report(result: pytest.RunResult) -> str:
    """Return the report without the lines round it."""
    lines = result.stdout.str().partition(" levels ==")[2].splitlines()[1:]
    return "\n".join(line for line in lines if not line.endswith("==") and "no tests ran" not in line)


@pytest.mark.parametrize(
    "args",
    [
        (),
        ("-q",),
        ("-qq",),
        ("--strict-markers", "-o", "testbed_start=eager", "-o", "testbed_provider=fake"),
        ("-p", "xdist", "-n", "2"),
        ("--collect-only",),
        ("-p", "xdist", "-p", "randomly", "-n", "2", "--dist", "loadfile"),
    ],
    ids=" ".join,
)
def test_what_disagrees_is_told_and_nothing_runs(shop: Project, args: tuple[str, ...]) -> None:
    result = shop.run(CHECK, *(word.replace("randomly", "pytest_randomly") for word in args))
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    assert report(result).strip() == REPORT.strip()
    assert result.stdout.str().count(" levels =") == 1
    assert "it runs" not in result.stdout.str()
    assert shop.events == []


def test_the_variable_does_the_same(shop: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TESTBED_CHECK_LEVELS", "1")
    monkeypatch.setenv("CI", "1")
    result = shop.run("-q", "-p", "xdist", "-n", "2")
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    assert report(result).strip() == REPORT.strip()


@pytest.mark.parametrize(
    ("args", "head", "code"),
    [
        (("-m", "integration"), "2 tests: 2 integration", 1),
        (("-m", "unit", "-k", "mocked"), "1 test: 1 unit", 0),
        (("tests/test_more.py",), "4 tests: 2 unit, 1 integration, 1 without a level", 1),
        (("tests/test_more.py::test_plain",), "1 test: 1 without a level", 0),
        (("-k", "nothing"), "0 tests: none was selected", 5),
        (("-o", "testbed_level_folders=integration: tests/unit"), "8 tests: 2 unit, 5 integration, 1 without a level", 1),
        (("-o", "testbed_levels=off"), "8 tests: 5 unit, 2 integration, 1 without a level", 1),
    ],
    ids=str,
)
def test_what_is_selected_is_looked_at(shop: Project, args: tuple[str, ...], head: str, code: int) -> None:
    result = shop.run(CHECK, *args)
    assert report(result).splitlines()[0] == head
    assert result.ret == code
    assert ("nothing disagrees" in result.stdout.str()) is (code != 1)
    assert ("testbed_levels = off: folders and fixtures mark no test" in result.stdout.str()) is ("off" in args[-1])


def test_a_file_that_cannot_be_imported_is_told_as_ever(shop: Project) -> None:
    (shop.path / "tests" / "test_broken.py").write_text("import nothing_of_that_name")
    result = shop.run(CHECK)
    assert result.ret == pytest.ExitCode.INTERRUPTED
    result.stdout.fnmatch_lines(["*ModuleNotFoundError*", "8 tests: *", "*1 error*"])
    assert shop.run(CHECK, "--continue-on-collection-errors").ret == pytest.ExitCode.TESTS_FAILED
    assert shop.events == []


def test_where_nothing_was_looked_at_nothing_is_said(shop: Project) -> None:
    result = shop.run(CHECK, "tests/nowhere")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert "not found: tests/nowhere" in result.stdout.str() + result.stderr.str()
    result.stdout.no_fnmatch_line("*nothing disagrees*")


def test_marks_that_a_conftest_gives_to_the_whole_session_are_seen(project: Project) -> None:
    """The trap: a hook of a folder's conftest gets the tests of all folders, its pytestmark is nobody's."""
    for folder, text in {"unit": "", "integration": "def test_b(): pass", "functional": "def test_c(): pass"}.items():
        (project.path / "tests" / folder).mkdir(parents=True)
        (project.path / "tests" / folder / f"test_{folder}.py").write_text(text or "def test_a(): pass")
    hook = "def pytest_collection_modifyitems(items):\n    for item in items: item.add_marker('integration')\n"
    (project.path / "tests" / "integration" / "conftest.py").write_text(hook)
    pytestmark = "import pytest\npytestmark = [pytest.mark.integration, pytest.mark.skip]\n"
    (project.path / "tests" / "functional" / "conftest.py").write_text(pytestmark)
    result = project.run(CHECK)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines(
        [
            "marked integration, in tests/unit (unit): 1 test",
            "    tests/unit/test_unit.py::test_a",
            "tests/functional/conftest.py has a pytestmark (integration, skip), which does nothing there",
        ]
    )
    project.run("-m", "unit").assert_outcomes(deselected=3)


def test_addresses_are_exported_and_nothing_starts(project: Project) -> None:
    project.kinds(postgres={}, rabbitmq={})
    ini = "[pytest]\ntestbed_env =\n    A={pg.url}\n    B={rabbitmq.url}\ntestbed_start = eager\n"
    project.pytester.makeini(ini)
    project.write(test_it="import os\nassert os.environ['A'] and os.environ['B']\ndef test_it(): assert 0")
    for more in ((), ("-p", "xdist", "-n", "2")):
        result = project.run(CHECK, *more)
        assert result.ret == 0
        result.stdout.fnmatch_lines(["1 test: 1 without a level", "nothing disagrees"])
        result.stdout.no_fnmatch_line("*was ready after*")


def test_with_its_part_switched_off_the_flag_does_nothing(shop: Project) -> None:
    result = shop.run(CHECK, "-p", "no:pytest_testbed.plugins.levels", "-k", "plain")
    result.assert_outcomes(failed=1, deselected=7)
