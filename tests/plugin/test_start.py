"""`testbed_start`: what is started, when, and when nothing is."""

from __future__ import annotations

import pytest

from .conftest import Project


def test_prefetch_starts_what_the_selected_tests_want_together_and_before_they_run(project: Project) -> None:
    gate = project.gate()
    project.kinds(alpha={"gate": gate}, beta={"gate": gate}, gamma={})
    project.write(
        test_it=f"""
        from pathlib import Path

        def test_quiet(journal):
            journal.wait_for("start alpha")
            journal.wait_for("start beta")
            journal.write("test")
            Path({gate!r}).touch()

        def test_alpha(alpha): pass
        def test_beta(beta): pass
        """
    )
    project.run().assert_outcomes(passed=3)
    assert project.started == ["alpha", "beta"]
    assert project.events.index("test") == 2


def test_prefetch_starts_only_what_is_selected(project: Project) -> None:
    project.kinds(alpha={}, beta={}, gamma={})
    project.write(
        test_it="""
        import pytest

        def test_alpha(alpha): pass
        def test_beta(beta): pass

        @pytest.mark.parametrize("name", ["gamma"])
        def test_late(request, name): request.getfixturevalue(name)
        """
    )
    project.run("-k", "alpha").assert_outcomes(passed=1, deselected=2)
    assert project.started == ["alpha"]


def test_a_kind_that_nothing_foretold_is_started_when_it_is_asked_for(project: Project) -> None:
    project.kinds(alpha={}, beta={})
    project.write(
        test_it="""
        def test_alpha(alpha): pass
        def test_late(request): assert request.getfixturevalue("beta").kind == "beta"
        def test_by_hand(testbed): assert testbed.endpoint("beta").kind == "beta"
        """
    )
    project.run().assert_outcomes(passed=3)
    assert project.events.count("start beta") == 1
    assert len(project.hosts) == 1


def test_lazy_starts_a_service_when_it_is_asked_for(project: Project) -> None:
    project.kinds(alpha={}, beta={})
    project.write(
        test_it="""
        def test_beta(beta, journal):
            journal.write("beta is there")  # what was told to the host before it, the host has done by now

        def test_alpha(alpha): pass
        """
    )
    project.run("--testbed-start=lazy").assert_outcomes(passed=2)
    assert project.events[:4] == ["start beta", "ready beta", "beta is there", "start alpha"]


def test_lazy_starts_the_host_before_the_first_test(project: Project) -> None:
    project.kinds(alpha={})
    project.write(
        test_it="""
        from pytest_testbed.services import client

        def never(*args, **more):
            raise AssertionError("what a test does must not reach the start of the host")

        def test_quiet():
            client.HostClient = never  # set back by the test of this test

        def test_alpha(alpha): pass
        """
    )
    project.run("--testbed-start=lazy").assert_outcomes(passed=2)
    assert len(project.hosts) == 1


def test_who_asks_for_the_testbed_itself_has_the_host_before_the_first_test(project: Project) -> None:
    project.kinds(alpha={})
    project.write(
        test_it="""
        from pytest_testbed.services import client

        def test_quiet():
            client.HostClient = None

        def test_alpha(testbed): testbed.endpoint("alpha")
        """
    )
    project.run().assert_outcomes(passed=2)


def test_eager_starts_kinds_with_pytest_itself(project: Project) -> None:
    """Those of somebody's own, and of ours those that an option speaks of."""
    project.kinds(alpha={}, beta={}, postgres={})
    project.pytester.makeini("[pytest]\ntestbed_pg_timeout = 20")
    project.write(
        test_it="""
        from conftest import Journal

        journal = Journal()
        journal.wait_for("start alpha")
        journal.wait_for("start beta")
        journal.write("collection")

        def test_it(): pass
        """
    )
    project.run("--testbed-start=eager").assert_outcomes(passed=1)
    assert project.started == ["alpha", "beta", "postgres"]


def test_eager_starts_nothing_that_nobody_speaks_of(project: Project) -> None:
    project.kinds(postgres={}, rabbitmq={})
    project.write(test_it="def test_it(): pass")
    project.run("--testbed-start=eager").assert_outcomes(passed=1)
    assert project.started == []
    project.run("--testbed-start=eager", "-o", "testbed_rabbitmq_plugins=rabbitmq_shovel").assert_outcomes(passed=1)
    assert project.started == ["rabbitmq"]


NOTHING = {
    "--collect-only": ["--collect-only"],
    "--fixtures": ["--fixtures"],
    "--fixtures-per-test": ["--fixtures-per-test"],
    "--setup-plan": ["--setup-plan"],
    "--markers": ["--markers"],
    "--version": ["--version", "--version"],
    "--cache-show": ["--cache-show"],
    "--help": ["--help"],
}


@pytest.mark.parametrize("start", ["prefetch", "lazy", "eager"])
@pytest.mark.parametrize("args", NOTHING.values(), ids=NOTHING.keys())
def test_nothing_is_started_where_pytest_runs_no_test(project: Project, args: list[str], start: str) -> None:
    project.kinds(alpha={})
    project.write(test_it="def test_alpha(alpha): pass")
    assert project.run(f"--testbed-start={start}", *args).ret == 0
    assert project.hosts == []


@pytest.mark.parametrize("start", ["prefetch", "lazy"])
@pytest.mark.parametrize(
    ("args", "ret"),
    [
        (["-k", "nothing"], 5),
        (["-m", "e2e"], 5),
        (["--deselect", "test_it.py::test_alpha", "-k", "alpha"], 5),
        (["-k", "quiet"], 0),
        (["test_broken.py", "test_it.py"], 2),
        (["test_missing.py"], 4),
    ],
)
def test_nothing_is_started_where_no_selected_test_wants_it(project: Project, args: list[str], ret: int, start: str) -> None:
    project.kinds(alpha={})
    project.write(test_it="def test_alpha(alpha): pass\ndef test_quiet(): pass", test_broken="import no_such_module")
    paths = [] if args[0].startswith("test") else ["test_it.py"]
    assert project.run(f"--testbed-start={start}", *paths, *args).ret == ret
    assert project.hosts == []


def test_with_collection_errors_that_are_to_be_borne_services_start(project: Project) -> None:
    project.kinds(alpha={"gate": project.gate()})
    project.write(
        test_it=f"""
        from pathlib import Path

        def test_quiet(journal):
            journal.wait_for("start alpha")
            Path({project.gate()!r}).touch()

        def test_alpha(alpha): pass
        """,
        test_broken="import no_such_module",
    )
    project.run("--continue-on-collection-errors").assert_outcomes(passed=2, errors=1)


# --- whose fixture it is


def test_a_fixture_of_the_user_under_our_name_is_the_user_s(project: Project) -> None:
    project.kinds(
        "@pytest.fixture\ndef pg_session(): return 'mine'\n",
        "@pytest.fixture(scope='session')\ndef pg_service(): return 'my own server'\n",
        postgres={},
        alpha={},
    )
    project.write(
        test_it="""
        def test_session(pg_session): assert pg_session == "mine"
        def test_service(pg_service, testbed): assert pg_service == "my own server"
        def test_alpha(alpha): pass
        """
    )
    project.run().assert_outcomes(passed=3)
    assert project.started == ["alpha"]


def test_a_fixture_of_a_module_stands_in_for_ours_there_alone(project: Project) -> None:
    project.kinds(postgres={})
    project.write(
        test_mine="""
        import pytest

        @pytest.fixture(scope="module")
        def pg_service(): return "mine"

        def test_it(pg_service, testbed): assert pg_service == "mine"
        """,
        test_ours="def test_it(pg_service): assert pg_service.kind == 'postgres'",
    )
    project.run("test_mine.py").assert_outcomes(passed=1)
    assert project.started == []
    project.run().assert_outcomes(passed=2)
    assert project.started == ["postgres"]


def test_a_fixture_that_extends_ours_wants_the_service(project: Project) -> None:
    project.kinds(
        """
@pytest.fixture(scope="session")
def pg_service(pg_service, testbed):
    return pg_service.with_(database="shop")
""",
        postgres={"gate": project.gate()},
    )
    project.write(
        test_it=f"""
        from pathlib import Path

        def test_quiet(journal):
            journal.wait_for("start postgres")
            Path({project.gate()!r}).touch()

        def test_it(pg_service): assert pg_service.database == "shop"
        """
    )
    project.run().assert_outcomes(passed=2)


def test_a_fixture_named_testbed_of_the_user_is_the_user_s(project: Project) -> None:
    project.kinds("@pytest.fixture\ndef testbed(): return 'a field'\n", alpha={})
    project.write(test_it="def test_it(testbed): assert testbed == 'a field'")
    project.run().assert_outcomes(passed=1)
    assert project.hosts == []


@pytest.mark.parametrize("how", ["usefixtures", "autouse", "class", "doctest", "indirect"])
def test_every_way_to_want_a_service_counts(project: Project, how: str) -> None:
    wants = {
        "usefixtures": "@pytest.mark.usefixtures('alpha')\ndef test_it(): pass",
        "autouse": "@pytest.fixture(autouse=True)\ndef all_tests(alpha): pass\ndef test_it(): pass",
        "class": "class TestIt:\n    @pytest.fixture\n    def mine(self, alpha): return alpha\n    def test_it(self, mine): pass",
        "doctest": "def function():\n    '''\n    >>> getfixture('alpha').kind\n    'alpha'\n    '''\n"
        "@pytest.fixture(autouse=True)\ndef doctests(alpha): pass",
        "indirect": "@pytest.fixture\ndef mine(request, alpha): return request.param\n"
        "@pytest.mark.parametrize('mine', [1], indirect=True)\ndef test_it(mine): pass",
    }
    project.kinds(alpha={"gate": project.gate()})
    # the first module opens the gate when it sees that the service is being started ahead
    project.write(
        test_a=f"""
        from pathlib import Path

        def test_quiet(journal):
            journal.wait_for("start alpha")
            Path({project.gate()!r}).touch()
        """,
        test_b="import pytest\n" + wants[how],
    )
    result = project.run("--doctest-modules")
    assert result.ret == 0, result.stdout.str()
