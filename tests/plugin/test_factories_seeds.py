"""Test data that repeat: which numbers a test has, and where they are told."""

from __future__ import annotations

import re

import factory.alchemy  # it stays loaded: each inner run would import it anew
import factory.random
import pytest
from faker.generator import Generator, Sentinel

from pytest_testbed.factory_seeds import without_group

from .conftest import Project

DATA = """
    import factory
    import factory.fuzzy
    from faker import Faker
    fake = Faker()

    class Thing(factory.Factory):
        class Meta:
            model = dict
        name = factory.Faker("name")
        size = factory.fuzzy.FuzzyInteger(10**9)

    def values():
        return f"{Thing()} {fake.email()}"
"""
TESTS = """
    import pytest
    from data import values

    def note(name):
        with open("values", "a") as file:
            file.write(f"{name}: {values()}\\n")

    @pytest.fixture(scope="module")
    def wide():
        note("wide")

    def test_a(): note("a")
    def test_b(wide): note("b")
    @pytest.mark.parametrize("n", [1, 2])
    def test_c(wide, n): note(f"c{n}")
    class TestD:
        def test_d(self): note("d")
"""


@pytest.fixture
def data(project: Project, monkeypatch: pytest.MonkeyPatch) -> Project:
    for owner, name, value in (
        (Generator, "_global_seed", Sentinel),
        (Generator, "_is_seeded", False),
        (factory.random.randgen, "state_set", False),
    ):
        monkeypatch.setattr(owner, name, value)  # as inner runs may set it, in this process
    project.write(data=DATA, test_it=TESTS)
    project.pytester.makeini("[pytest]\npythonpath = .\nfilterwarnings = error")
    return project


def noted(project: Project, *args: str, apart: bool = False) -> dict[str, str]:
    """Return the values that each test had."""
    path = project.path / "values"
    path.unlink(missing_ok=True)
    result = project.run_apart(*args) if apart else project.run(*args)
    assert result.ret == 0
    return dict(line.split(": ", 1) for line in path.read_text().splitlines())


def test_a_seed_repeats_each_test_whatever_runs_before_it(data: Project) -> None:
    first = noted(data, "--testbed-seed=5")
    assert len(set(first.values())) == 6  # each its own
    assert noted(data, "--testbed-seed=5") == first
    assert noted(data, "-o", "testbed_seed=5", "test_it.py::test_c") == {name: first[name] for name in ("wide", "c1", "c2")}
    assert noted(data, "--testbed-seed=5", "test_it.py::TestD", "test_it.py::test_b") == {n: first[n] for n in ("d", "wide", "b")}
    assert not set(first.values()) & set(noted(data, "--testbed-seed=6").values())


@pytest.mark.parametrize("name", ["test_a.py::test_it", "a@b/test_a.py::test_it", "test_a.py::test_it[a@b]"])
def test_a_group_of_xdist_is_no_part_of_a_test_s_id(name: str) -> None:
    assert without_group(f"{name}@group_one") == without_group(name) == name


def test_workers_of_xdist_have_the_seed_of_the_controller(data: Project) -> None:
    result = data.run_apart("-p", "xdist", "-n1")
    (line,) = told(result)
    seed = line.removeprefix("testbed: test data from --testbed-seed=")
    path = data.path / "values"
    found = dict(each.split(": ", 1) for each in path.read_text().splitlines())
    assert noted(data, f"--testbed-seed={seed}") == found


def test_by_chance_each_run_has_others_and_tells_its_seed(data: Project) -> None:
    values, seeds = [], []
    for _ in range(2):
        (data.path / "values").unlink(missing_ok=True)
        result = data.run()
        seeds.append(re.findall(r"^testbed: test data from --testbed-seed=(\d+)$", result.stdout.str(), re.M))
        values.append((data.path / "values").read_text())
    assert [len(each) for each in seeds] == [1, 1]
    assert values[0] != values[1]
    noted(data, f"--testbed-seed={seeds[0][0]}")
    assert (data.path / "values").read_text() == values[0]


FAILING = """
    from data import values
    def test_fails():
        values()
        assert False
    def test_fails_without():
        assert False
"""


def told(result: pytest.RunResult) -> list[str]:
    return [line for line in result.stdout.lines if "--testbed-seed" in line]


def test_a_failure_with_such_data_tells_the_seed(data: Project) -> None:
    data.write(test_it=FAILING)
    assert told(data.run("-q", "--testbed-seed=7")) == [
        "testbed: failed tests had data from a seed: --testbed-seed=7 makes them again"
    ]
    assert told(data.run("-q", "--testbed-seed=0", "-k", "without")) == []


def test_a_failure_in_a_worker_is_told_by_the_controller(data: Project) -> None:
    data.write(test_it=FAILING)
    result = data.run_apart("-p", "xdist", "-n1")
    result.assert_outcomes(failed=2)
    (line,) = told(result)
    assert re.fullmatch(r"testbed: failed tests had data from a seed: --testbed-seed=\d+ makes them again", line)


def test_a_test_that_is_run_again_has_the_same_data(data: Project) -> None:
    data.write(
        test_it="""
        from data import values
        seen = []
        def test_it():
            seen.append(values())
            assert len(seen) > 1 and len(set(seen)) == 1
        """
    )
    data.run("-p", "pytest_rerunfailures", "--reruns=1").assert_outcomes(passed=1)


def test_where_pytest_randomly_is_all_is_left_to_it(data: Project) -> None:
    data.write(
        test_it="""
        def test_it(request):
            assert not request.config.pluginmanager.hasplugin("pytest_testbed.factory_seeds")
        """
    )
    result = data.run("-p", "pytest_randomly")
    result.assert_outcomes(passed=1)
    assert told(result) == []
    data.write(test_it="def test_it(): pass")
    result = data.run("-p", "pytest_randomly", "--testbed-seed=3")
    result.stdout.fnmatch_lines(["testbed: testbed_seed does not count, as pytest-randomly seeds the test data: *"])


@pytest.mark.parametrize(
    "by",
    [
        "Faker.seed(3)",
        "factory.random.reseed_random(3)",
        "@pytest.fixture(scope='session', autouse=True)\ndef all(): Faker.seed(3)",
    ],
)
def test_a_project_that_seeds_itself_is_left_alone(data: Project, by: str) -> None:
    seeding = f"import factory.random, pytest\nfrom faker import Faker\nimport data\n{by}"
    data.write(conftest=seeding)
    first, _ = noted(data), data.write(conftest="")
    del first["wide"]
    data.write(conftest=seeding)
    again = noted(data)
    del again["wide"]
    assert {name: value.partition(" 'size'")[0] for name, value in again.items()} == {
        name: value.partition(" 'size'")[0] for name, value in first.items()
    }


def test_fakers_own_fixture_is_left_alone(data: Project) -> None:
    data.write(
        test_it="""
        def test_a(faker):
            faker.seed_instance(0)
            assert faker.random.random() == __import__("random").Random(0).random()
        """
    )
    data.run("-p", "faker.contrib.pytest.plugin", "--testbed-seed=3").assert_outcomes(passed=1)


def test_a_seed_that_is_no_number(data: Project) -> None:
    result = data.run("--testbed-seed=x")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["ERROR: testbed_seed = 'x' (from the command line) is not a whole number."])


def test_the_seed_of_the_environment(data: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    first = noted(data, "--testbed-seed=5")
    monkeypatch.setenv("TESTBED_SEED", "5")
    assert noted(data) == first


def test_faker_that_is_imported_while_a_test_runs(data: Project) -> None:
    data.write(test_it=TESTS.replace("from data import values", "def values(): import data; return data.values()"))
    first = noted(data, "--testbed-seed=5")
    assert noted(data, "--testbed-seed=5", apart=True) == first
