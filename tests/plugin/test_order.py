"""Modules that need no service run first, while the services of the others start; else the order is the user's."""

from __future__ import annotations

import pytest

from .conftest import Project

FILES = {
    "test_a": """
        import pytest

        class TestLoud:
            def test_z(self, alpha): pass
            def test_y(self): pass

        def test_x(): pass
    """,
    "test_b": """
        import pytest

        @pytest.fixture(scope="module", params=[1, 2])
        def number(request): return request.param

        def test_d(number): pass
        def test_c(number): pass

        @pytest.mark.parametrize("letter", "ba")
        def test_b(letter): pass
    """,
    "test_c": "def test_it(testbed): pass",
    "test_d": "def test_it(): pass",
}
A = ["test_a.py::TestLoud::test_z", "test_a.py::TestLoud::test_y", "test_a.py::test_x"]
B = [f"test_b.py::{name}" for name in ("test_d[1]", "test_c[1]", "test_d[2]", "test_c[2]", "test_b[b]", "test_b[a]")]
C = ["test_c.py::test_it"]
D = ["test_d.py::test_it"]
FIRST = B + D + A + C
UNTOUCHED = A + B + C + D


@pytest.fixture(autouse=True)
def files(project: Project) -> None:
    project.kinds(alpha={})
    project.write(**FILES)


def order(project: Project, *args: str, apart: bool = False) -> list[str]:
    """Return the ids of tests in the order in which they would run."""
    result = (project.run_apart if apart else project.run)("--collect-only", "-q", *args)
    return [line for line in result.outlines if "::" in line]


def ran(result: pytest.RunResult) -> list[str]:
    return [line.split(" ")[0] for line in result.outlines if "::" in line]


def test_quiet_modules_go_first(project: Project) -> None:
    assert order(project) == FIRST
    result = project.run("-v")
    result.assert_outcomes(passed=11)
    assert ran(result) == FIRST


def test_the_order_of_the_command_line_holds_among_them(project: Project) -> None:
    assert order(project, "test_c.py", "test_a.py", "test_d.py", "test_b.py") == D + B + C + A


@pytest.mark.parametrize("flag", ["--ff", "--nf", "--sw", "--sw-skip", "--lf", "--testbed-start=lazy", "--testbed-start=eager"])
def test_who_asks_for_an_order_gets_it(project: Project, flag: str) -> None:
    assert order(project, flag) == (D + C + B + A if flag == "--nf" else UNTOUCHED)


def test_failed_tests_go_first(project: Project) -> None:
    project.write(
        test_a="def test_it(alpha, request): assert request.config.getoption('failedfirst')", test_e="def test_it(): pass"
    )
    project.run("test_a.py", "test_e.py").assert_outcomes(failed=1, passed=1)
    assert ran(project.run("--ff", "-v", "test_a.py", "test_e.py"))[0] == "test_a.py::test_it"


@pytest.mark.parametrize("name", ["pytest_order", "random_order", "pytest_reverse", "randomly"])
def test_a_plugin_that_orders_is_left_alone(project: Project, name: str) -> None:
    """The names under which the plugins' entry points are registered; of these pytest-randomly alone is at hand."""
    project.kinds(
        f"class Orders: pass\ndef pytest_configure(config): config.pluginmanager.register(Orders(), {name!r})",
        alpha={},
    )
    assert order(project) == UNTOUCHED


def test_tests_of_a_package_with_a_fixture_stay_together(project: Project) -> None:
    fixture = "import pytest\n@pytest.fixture(scope='package')\ndef shared(): pass\n"
    project.write(test_d=f"{fixture}def test_it(shared): pass")
    assert order(project) == UNTOUCHED


def test_pytest_randomly_itself(project: Project) -> None:
    pytest.importorskip("pytest_randomly")

    def shuffled(seed: int, start: str) -> list[str]:
        return order(project, "-p", "randomly", f"--randomly-seed={seed}", f"--testbed-start={start}")

    orders = [shuffled(seed, "prefetch") for seed in (4, 8)]
    assert orders == [shuffled(seed, "lazy") for seed in (4, 8)]
    assert any(each[-1] in B + D for each in orders)  # else nothing would be seen here


@pytest.mark.parametrize("when", ["tryfirst=True", "trylast=True", "wrapper=True"])
def test_a_conftest_that_sorts_modules_is_left_alone(project: Project, when: str) -> None:
    body = "    result = yield\n" if "wrapper" in when else "    result = None\n"
    project.kinds(
        f"@pytest.hookimpl({when})\ndef pytest_collection_modifyitems(items):\n{body}"
        "    items.sort(key=lambda item: item.path.name, reverse=True)\n    return result\n",
        alpha={},
    )
    assert order(project) == D + C + B + A


def test_a_conftest_that_sorts_within_a_module_does_not_hinder(project: Project) -> None:
    project.kinds(
        "def pytest_collection_modifyitems(items):\n    items.sort(key=lambda item: (item.path.name, item.name))\n", alpha={}
    )
    assert order(project) == sorted(B) + D + sorted(A, key=lambda name: name.rpartition(":")[2]) + C


def test_a_session_s_parameters_keep_tests_of_modules_together(project: Project) -> None:
    project.kinds("@pytest.fixture(scope='session', params=[1, 2])\ndef big(request): return request.param\n", alpha={})
    project.write(test_a="def test_it(big, alpha): pass", test_b="def test_it(big): pass")
    wanted = ["test_a.py::test_it[1]", "test_b.py::test_it[1]", "test_a.py::test_it[2]", "test_b.py::test_it[2]"]
    assert order(project, "test_a.py", "test_b.py") == wanted


def test_deselected_tests_do_not_make_a_module_loud(project: Project) -> None:
    quiet = A[-1:] + [test for test in B if "_d[" in test or "_c[" in test] + D
    assert order(project, "-k", "test_x or test_d or test_c") == quiet + C


def test_doctests_and_items_of_other_kinds(project: Project) -> None:
    project.kinds(
        """
class Line(pytest.Item):
    def runtest(self): pass

class File(pytest.File):
    def collect(self):
        yield Line.from_parent(self, name="one")
        yield Line.from_parent(self, name="two")

def pytest_collect_file(file_path, parent):
    return File.from_parent(parent, path=file_path) if file_path.suffix == ".lines" else None
""",
        alpha={},
    )
    (project.path / "z.lines").touch()
    project.write(
        mod_loud="def f():\n    '''\n    >>> getfixture('alpha').kind\n    'alpha'\n    '''\n",
        mod_quiet="def f():\n    '''\n    >>> 1\n    1\n    '''\n",
        test_a="def test_it(alpha): pass",
    )
    arguments = ["test_a.py", "mod_loud.py", "mod_quiet.py", "z.lines", "--doctest-modules", "-v"]
    result = project.run(*arguments)
    result.assert_outcomes(passed=5)
    quiet = ["mod_loud.py::mod_loud.f", "mod_quiet.py::mod_quiet.f", "z.lines::one", "z.lines::two"]  # a doctest asks late
    assert ran(result) == [*quiet, "test_a.py::test_it"]


def test_xdist_keeps_it_with_dist_load_alone(project: Project) -> None:
    project.write(
        test_a="import pytest\n@pytest.mark.parametrize('n', range(3))\ndef test_it(alpha, n): pass",
        test_b="import pytest\n@pytest.mark.parametrize('n', range(3))\ndef test_it(n): pass",
    )
    arguments = ["-p", "xdist", "-n1", "-v", "test_a.py", "test_b.py"]

    def modules(*more: str) -> list[str]:
        lines = project.run_apart(*arguments, *more).outlines
        return [line.split("::")[0].rpartition(" ")[2] for line in lines if "PASSED" in line]

    assert modules("--dist", "load") == ["test_b.py"] * 3 + ["test_a.py"] * 3
    assert modules("--dist", "loadfile") == ["test_a.py"] * 3 + ["test_b.py"] * 3
