"""Levels and areas that set themselves: `-m` selects tests that nobody has marked."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from tests.test_import_cost import LIGHT, loaded

from .conftest import Project

TREE = {
    "tests/unit/test_sums.py": "def test_sum(): pass",
    "tests/integration/database/test_users.py": "def test_stored(): pass",
    "tests/integration/external/test_mail.py": "def test_sent(): pass",
    "tests/e2e/test_shop.py": "def test_order(): pass",
    "tests/test_rows.py": "def test_rows(pg_session): pass\ndef test_plain(tmp_path): pass",
    "src/shop/database/test_models.py": "def test_model(): pass",
}
MARKS = """
import json
from pathlib import Path

def pytest_collection_finish(session):
    known = "unit integration e2e database messaging api external workflows contract performance".split()
    marks = {item.nodeid: [mark.name for mark in item.iter_markers() if mark.name in known] for item in session.items}
    for item in session.items:
        assert all(item.keywords[name].name == name for name in marks[item.nodeid])
    Path("marks.json").write_text(json.dumps(marks))
"""


def write(project: Project, tree: dict[str, str], ini: str = "") -> None:
    for name, text in {"pytest.ini": f"[pytest]\naddopts = --strict-markers\n{ini}", "telling.py": MARKS, **tree}.items():
        path = project.path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def marks_of(project: Project, *args: str) -> dict[str, str]:
    """Return the levels and areas of each test, by the last part of its name."""
    project.pytester.syspathinsert(project.path)
    result = project.run("-p", "telling", "--collect-only", "-q", *args)
    assert result.ret == 0, result.stdout.str()
    found = json.loads((project.path / "marks.json").read_text())
    return {nodeid.rpartition("::")[2]: " ".join(names) for nodeid, names in found.items()}


def chosen(project: Project, *args: str) -> list[str]:
    """Return the names of the tests that are selected."""
    return re.findall(r"::(\w+)$", project.run("--collect-only", "-q", *args).stdout.str(), re.MULTILINE)


# --- selection


@pytest.mark.parametrize(
    ("expression", "names"),
    [
        ("unit", ["test_sum"]),
        ("integration and database", ["test_stored", "test_rows"]),
        ("not e2e", ["test_model", "test_stored", "test_sent", "test_rows", "test_plain", "test_sum"]),
        ("not (unit or integration or e2e)", ["test_model", "test_plain"]),
    ],
)
def test_a_level_selects_tests_that_nobody_has_marked(project: Project, expression: str, names: list[str]) -> None:
    write(project, TREE)
    assert sorted(chosen(project, "-m", expression)) == sorted(names)


def test_a_level_selects_by_keyword_too(project: Project) -> None:
    write(project, TREE)
    assert chosen(project, "-k", "integration and rows") == ["test_rows"]


def test_from_a_folder_below_the_root_it_is_the_same(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    write(project, TREE)
    monkeypatch.chdir(project.path / "tests" / "integration")
    assert sorted(chosen(project, "-m", "integration", "--rootdir", "../..", ".")) == ["test_sent", "test_stored"]
    assert sorted(chosen(project, "-m", "unit", "../unit/test_sums.py")) == ["test_sum"]


def test_marks_run_the_same_tests_in_xdists_workers(project: Project) -> None:
    write(project, TREE)
    result = project.run_apart("-p", "xdist", "-n", "2", "-v", "-m", "integration and not database or unit")
    result.assert_outcomes(passed=2)
    assert sorted(re.findall(r"PASSED.*::(\w+)", result.stdout.str())) == ["test_sent", "test_sum"]


# --- what counts


def test_a_mark_by_hand_beats_the_folder_and_the_folder_the_fixtures(project: Project) -> None:
    unit = """
import pytest
def test_folder(): pass
def test_folder_and_fixture(pg_session): pass
@pytest.mark.integration
def test_hand(): pass
@pytest.mark.integration
class TestIt:
    def test_class(self): pass
    @pytest.mark.database
    def test_area(self): pass
@pytest.mark.parametrize("x", [1, pytest.param(2, marks=pytest.mark.e2e)])
def test_param(x): pass
"""
    write(
        project,
        {
            "tests/unit/test_a.py": unit,
            "tests/unit/api/test_b.py": "import pytest\npytestmark = pytest.mark.e2e\ndef test_module(pg_session): pass",
            "tests/more/test_c.py": "def test_fixture(pg_session): pass\ndef test_nothing(): pass",
            "tests/workflows/test_d.py": "import pytest\ndef test_place(pg_session, rabbitmq_broker): pass\n"
            "@pytest.mark.external\ndef test_area_by_hand(pg_session): pass",
        },
    )
    assert marks_of(project) == {
        "test_folder": "unit",
        "test_folder_and_fixture": "unit database",
        "test_hand": "integration",
        "test_class": "integration",
        "test_area": "database integration",
        "test_param[1]": "unit",
        "test_param[2]": "e2e",
        "test_module": "api e2e",
        "test_fixture": "integration database",
        "test_nothing": "",
        "test_place": "integration workflows",
        "test_area_by_hand": "external integration",
    }


ASKING = {
    "pg_session": "integration database",
    "pg_url": "integration database",
    "pg_async_session": "integration database",
    "pg_service": "integration database",
    "rabbitmq_broker": "integration messaging",
    "rabbitmq_url": "integration messaging",
    "http_mock": "integration external",
    "mock_service": "integration external",
    "mailbox": "integration external",
    "live_app": "integration api",
    "api_client": "integration api",
    "auth_headers": "integration api",
    "factories": "integration database",
    "testbed": "integration",
    "alpha": "integration",  # a stranger's kind
    "mine, other": "integration database messaging",
    "http_mock, pg_session, api_client": "integration database api external",
    "journal, tmp_path": "",
}


def test_fixtures_say_what_a_test_is_about(project: Project) -> None:
    more = "@pytest.fixture\ndef mine(pg_session): return pg_session\n@pytest.fixture\ndef other(rabbitmq_url): return 1\n"
    project.kinds(more, alpha={})
    tests = [f"def test_{number}({fixtures}): pass" for number, fixtures in enumerate(ASKING)]
    write(project, {"tests/test_it.py": "\n".join(tests)})
    assert list(marks_of(project).values()) == list(ASKING.values())


def test_a_fixture_of_the_project_under_one_of_our_names_says_nothing(project: Project) -> None:
    conftest = """
import pytest
@pytest.fixture
def pg_session(): return 1
@pytest.fixture
def mailbox(mailbox): return mailbox
@pytest.fixture
def rabbitmq_url(testbed): return testbed
"""
    tests = """
import pytest
def test_theirs(pg_session): pass
def test_extended(mailbox): pass
def test_on_ours(rabbitmq_url): pass
@pytest.mark.parametrize("mailbox", [1])
def test_parameter(mailbox): pass
class TestIt:
    @pytest.fixture
    def mailbox(self): return 2
    def test_in_class(self, mailbox): pass
"""
    write(project, {"tests/conftest.py": conftest, "tests/test_it.py": tests})
    assert marks_of(project) == {
        "test_theirs": "",
        "test_extended": "integration external",
        "test_on_ours": "integration",
        "test_parameter[1]": "",
        "test_in_class": "",
    }


def test_a_fixture_that_a_conftest_adds_to_a_test_counts(project: Project) -> None:
    conftest = """
def pytest_collection_modifyitems(items):
    items[0].fixturenames.append("testbed")
    items[1].fixturenames = ["pg_session", *items[1].fixturenames]
"""
    write(project, {"conftest.py": conftest, "test_it.py": "def test_a(): pass\ndef test_b(): pass\ndef test_c(): pass"})
    assert marks_of(project) == {"test_a": "integration", "test_b": "integration database", "test_c": ""}


def test_a_budget_is_about_performance_whatever_else(project: Project) -> None:
    tests = """
import pytest
@pytest.mark.budget(seconds=5)
def test_alone(): pass
@pytest.mark.budget(seconds=5)
def test_with_fixture(pg_session): pass
@pytest.mark.budget(seconds=5)
class TestIt:
    @pytest.mark.api
    def test_with_area(self): pass
    @pytest.mark.performance
    def test_by_hand(self): pass
"""
    write(project, {"tests/test_a.py": tests, "tests/performance/test_b.py": tests.replace("test_", "test_there_")})
    assert marks_of(project) == {
        "test_alone": "performance",
        "test_with_fixture": "integration database performance",
        "test_with_area": "api performance",
        "test_by_hand": "performance",
        "test_there_alone": "performance",
        "test_there_with_fixture": "integration performance",
        "test_there_with_area": "api performance",
        "test_there_by_hand": "performance",
    }


def test_a_budget_on_a_module_alone_is_seen(project: Project) -> None:
    write(project, {"test_a.py": "import pytest\npytestmark = pytest.mark.budget(seconds=5)\ndef test_it(): pass"})
    assert marks_of(project) == {"test_it": "performance"}


def test_fixtures_of_our_own_machinery_do_not_count(project: Project) -> None:
    """Where an application has an exported address, or is bound, each test gets a fixture of ours."""
    ini = "testbed_env =\n    A={pg.url}\n    B={rabbitmq.url}\n    C={app.url}\n    D={mail.port}\n    E={mock.one.url}\n"
    ini += "testbed_pg_bind = json:loads\ntestbed_app = json:loads\ntestbed_provider = fake\n"
    project.kinds(postgres={}, rabbitmq={})
    write(project, {"tests/test_it.py": "def test_it(): pass", "tests/unit/test_sum.py": "def test_sum(): pass"}, ini)
    assert marks_of(project) == {"test_it": "", "test_sum": "unit"}


# --- marks that others add


def test_marks_that_conftests_add_while_tests_are_collected_are_by_hand(project: Project) -> None:
    write(
        project,
        {
            "conftest.py": "def pytest_itemcollected(item):\n    if item.name == 'test_a': item.add_marker('e2e')",
            "tests/unit/conftest.py": "def pytest_collection_modifyitems(items):\n"
            "    [item.add_marker('integration') for item in items if item.name == 'test_b']",
            "tests/unit/test_it.py": "def test_a(): pass\ndef test_b(): pass\ndef test_c(): pass",
        },
    )
    assert marks_of(project) == {"test_a": "e2e", "test_b": "integration", "test_c": "unit"}
    assert chosen(project, "-m", "integration") == ["test_b"]


def test_what_a_conftest_does_with_its_own_marks_it_does_not_do_with_ours(project: Project) -> None:
    """The usual recipe, which skips what is marked: a plugin that is installed changes no outcome."""
    conftest = """
import pytest
def pytest_collection_modifyitems(items):
    for item in items:
        if item.get_closest_marker("integration"):
            item.add_marker(pytest.mark.skip("--slow runs it"))
"""
    write(
        project,
        {
            "conftest.py": conftest,
            "tests/functional/test_it.py": "import pytest\ndef test_a(): pass\n@pytest.mark.integration\ndef test_b(): pass",
        },
        "testbed_level_folders = integration: tests/functional\n",
    )
    project.run().assert_outcomes(passed=1, skipped=1)


# --- all sorts of tests


def test_all_sorts_of_tests(project: Project) -> None:
    conftest = """
import pytest
class YamlFile(pytest.File):
    def collect(self):
        yield YamlItem.from_parent(self, name="one")
class YamlItem(pytest.Item):
    def runtest(self): assert self.get_closest_marker("unit") and "unit" in self.keywords
def pytest_collect_file(file_path, parent):
    if file_path.suffix == ".yaml":
        return YamlFile.from_parent(parent, path=file_path)
@pytest.fixture(autouse=True)
def sees(request):
    assert request.node.get_closest_marker("unit") and "unit" in request.node.keywords
"""
    tests = '''
"""
>>> 1 + 1
2
"""
import asyncio, unittest, pytest
class TestCase(unittest.TestCase):
    def test_case(self):
        with self.subTest(n=1): pass
class TestClass:
    @pytest.mark.parametrize("x", [1, 2])
    def test_param(self, x): pass
@pytest.mark.asyncio
async def test_async(): await asyncio.sleep(0)
@pytest.mark.xfail(strict=True)
def test_xfail(): assert 0
@pytest.mark.skip
def test_skip(): pass
def test_subtests(subtests):
    with subtests.test(): pass
'''
    tests = tests if hasattr(pytest, "Subtests") else tests.partition("def test_subtests")[0]
    files = {"conftest.py": conftest, "test_it.py": tests, "test_text.txt": ">>> 1\n1\n", "test_it.yaml": "a: 1"}
    write(project, {f"tests/unit/{name}": text for name, text in files.items()})
    args = ("-p", "asyncio", "-o", "asyncio_default_fixture_loop_scope=function", "--doctest-modules", "-m", "unit")
    project.run(*args).assert_outcomes(passed=8 if "subtests" in tests else 7, xfailed=1, skipped=1)
    assert chosen(project, *args, "-m", "not unit") == []


@pytest.mark.parametrize("plugin", [("-p", "randomly"), ("-p", "rerunfailures", "--reruns", "1"), ("-p", "anyio")])
def test_beside_other_plugins(project: Project, plugin: tuple[str, ...]) -> None:
    names = {"randomly": "pytest_randomly", "rerunfailures": "pytest_rerunfailures", "anyio": "anyio.pytest_plugin"}
    tests = "count = []\ndef test_a(request):\n    count.append(1)\n    assert [*request.node.iter_markers('unit')] != []\n"
    tests += "    assert len([*request.node.iter_markers('unit')]) == 1\n"
    tests += "    assert len(count) == 2\n" if "rerunfailures" in plugin else ""
    write(project, {"tests/unit/test_a.py": tests})
    result = project.run(*(names.get(word, word) for word in plugin), "-m", "unit")
    assert result.parseoutcomes()["passed"] == 1


# --- the mapping


MAPPED = """testbed_level_folders =
    integration: tests/functional tests/more/test_one.py
    e2e: tests/functional/browser
    messaging: tests/functional
"""


def test_a_mapping_speaks_for_folders_and_files(project: Project) -> None:
    write(
        project,
        {
            "tests/functional/test_a.py": "def test_a(): pass",
            "tests/functional/browser/test_b.py": "def test_b(): pass",
            "tests/more/test_one.py": "def test_c(): pass",
            "tests/more/test_two.py": "def test_d(): pass",
        },
        MAPPED,
    )
    found = {"test_a": "integration messaging", "test_b": "e2e messaging", "test_c": "integration", "test_d": ""}
    assert marks_of(project) == found


def test_a_mapping_in_toml_and_in_the_environment(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    write(project, {"tests/functional/test_a.py": "def test_a(): pass"})
    (project.path / "pytest.ini").unlink()
    (project.path / "pyproject.toml").write_text("[tool.pytest.ini_options]\ntestbed_level_folders = ['unit: tests/functional']")
    assert marks_of(project) == {"test_a": "unit"}
    monkeypatch.setenv("TESTBED_LEVEL_FOLDERS", "e2e: tests/functional")
    assert marks_of(project) == {"test_a": "e2e"}


def test_areas_below_a_folder_of_testpaths(project: Project) -> None:
    write(project, {f"{each}/api/test_{each}.py": f"def test_{each}(): pass" for each in ("specs", "checks", "src", "others")})
    ini = "testpaths=specs che* src . nowhere **/api"
    assert marks_of(project, "-o", ini) == {"test_specs": "api", "test_checks": "api", "test_src": "", "test_others": ""}


@pytest.mark.parametrize(
    ("lines", "error"),
    [
        (
            "integratoin: tests/unit",
            "testbed_level_folders = ['integratoin: tests/unit'] (from pytest.ini) holds 'integratoin', which is not one of "
            "unit, integration, e2e, database, messaging, api, external, workflows, contract, performance; "
            "did you mean 'integration'?",
        ),
        (
            "databse: tests/unit",
            "testbed_level_folders = ['databse: tests/unit'] (from pytest.ini) holds 'databse', which is not one of *; "
            "did you mean 'database'?",
        ),
        (
            "tests/unit",
            "testbed_level_folders = ['tests/unit'] (from pytest.ini) holds 'tests/unit' without a folder: a line is of the "
            "form 'integration: tests/functional'.",
        ),
        (
            "unit:",
            "testbed_level_folders = ['unit:'] (from pytest.ini) holds 'unit' without a folder: a line is of the form "
            "'integration: tests/functional'.",
        ),
        (
            "unit: tests/unt",
            "testbed_level_folders (from pytest.ini) names the folder 'tests/unt', which is not there: */tests/unt; "
            "did you mean 'tests/unit'?",
        ),
        (
            "unit: /nowhere/at/all",
            "testbed_level_folders (from pytest.ini) names the folder '/nowhere/at/all', which is not there: /nowhere/at/all.",
        ),
        (
            "\n    unit: tests/unit\n    api: tests/unit\n    e2e: tests tests/../tests/unit",
            "testbed_level_folders (from pytest.ini) gives the folder 'tests/../tests/unit' two levels, in the lines "
            "'unit: tests/unit' and 'e2e: tests tests/../tests/unit'; a test has one. Take it out of one of them.",
        ),
    ],
)
def test_a_bad_mapping_is_an_error_of_usage(project: Project, lines: str, error: str) -> None:
    write(project, TREE, f"testbed_level_folders = {lines}\n")
    result = project.run()
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([f"ERROR: {error.replace('[', '[[]')}"])


def test_a_bad_mapping_is_told_by_xdists_controller(project: Project) -> None:
    write(project, TREE, "testbed_level_folders = unit: tests/unt\n")
    result = project.run("-p", "xdist", "-n", "2")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert len(result.stderr.lines) == 1 + (result.stderr.lines[-1] == "")
    assert project.run("--help").ret == 0


# --- off


@pytest.mark.parametrize(
    "how", [("-o", "testbed_levels=off"), ("-p", "no:pytest_testbed.plugins.levels")], ids=["option", "part"]
)
def test_switched_off_nothing_is_set_and_the_marks_are_known(project: Project, how: tuple[str, ...]) -> None:
    by_hand = {"tests/unit/test_more.py": "import pytest\n@pytest.mark.unit\n@pytest.mark.budget(seconds=5)\ndef test_m(): pass"}
    write(project, TREE | by_hand, "testbed_level_folders = unit: tests\n")
    assert set(marks_of(project, *how).values()) == {"", "unit"}
    assert chosen(project, *how, "-m", "unit or integration or database or performance") == ["test_m"]


def test_without_a_part_its_fixtures_say_nothing(project: Project) -> None:
    tests = "import pytest\n@pytest.fixture\ndef mailbox(): return 1\ndef test_it(mailbox): pass\ndef test_pg(pg_session): pass"
    write(project, {"test_it.py": tests})
    assert marks_of(project, "-p", "no:pytest_testbed.plugins.mail") == {"test_it": "", "test_pg": "integration database"}


# --- what is loaded


NEEDED = {"levelled", "levels", "levels.names", "levels.places", "errors", "nearest", "reading", "scheduling"}


@pytest.mark.parametrize(
    ("folder", "args", "more"),
    [
        ("more", (), set()),
        ("unit", (), NEEDED),
        ("unit", ("-o", "testbed_levels=off"), {"reading", "nearest"}),
        ("unit", ("-p", "no:pytest_testbed.plugins.levels"), set()),
    ],
    ids=["nothing said", "said by folder", "off", "part off"],
)
def test_a_run_loads_what_it_needs(tmp_path: Path, folder: str, args: tuple[str, ...], more: set[str]) -> None:
    root = tmp_path / "integration"  # of the folders above the root directory nobody speaks
    (root / folder).mkdir(parents=True)
    (root / "pytest.ini").write_text("[pytest]")
    (root / folder / "test_more.py").write_text("def test_more(): pass")
    ours = {name for name in loaded(root, "-p", "pytest_testbed.plugin", *args) if name.startswith("pytest_testbed")}
    assert ours - LIGHT == {f"pytest_testbed.{name}" for name in more}
