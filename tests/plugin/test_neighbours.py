"""Other plugins, other ways to run: all of it works beside them."""

from __future__ import annotations

from importlib.util import find_spec

import pytest

from .conftest import Project


def needs(module: str) -> pytest.MarkDecorator:
    return pytest.mark.skipif(find_spec(module) is None, reason=f"{module} is not installed")


def test_warnings_that_are_errors(project: Project) -> None:
    project.kinds(alpha={}, beta={}, gamma={"imports": ["loud_module"]})
    project.write(
        loud_module="import warnings\nwarnings.warn('of a library', DeprecationWarning)",
        test_it="""
        import gc

        def test_alpha(alpha): gc.collect()
        def test_late(request): request.getfixturevalue("beta")
        def test_gamma(gamma):
            import loud_module
        """,
    )
    result = project.run_apart("-W", "error", "--strict-markers", "--strict-config", "-p", "no:cacheprovider")
    result.assert_outcomes(passed=3)
    assert "warnings summary" not in result.stdout.str()
    assert result.stderr.str() == ""


def test_a_module_that_fails_while_it_is_loaded_ahead_is_no_error_of_pytest(project: Project) -> None:
    project.kinds(alpha={"imports": ["broken_module", "no_such_module"]})
    project.write(broken_module="raise SystemError('no')", test_it="def test_it(alpha): pass")
    project.run().assert_outcomes(passed=1)


@needs("xdist")
def test_xdist(project: Project) -> None:
    project.kinds(alpha={})
    project.write(
        test_it="""
        import pytest
        @pytest.mark.parametrize("n", range(6))
        def test_it(alpha, n, worker_id): assert alpha.kind == "alpha"
        """,
        test_quiet="def test_it(): pass",
    )
    result = project.run_apart("-p", "xdist", "-n2", "-W", "error")
    result.assert_outcomes(passed=7)
    assert project.events.count("start alpha") == project.events.count("stop alpha") == 1
    result.stdout.fnmatch_lines(["testbed: alpha 1.0 (fake, pretence) was ready after *"])


@needs("xdist")
def test_xdist_unused(project: Project) -> None:
    project.kinds(alpha={})
    project.write(test_it="def test_it(): pass")
    result = project.run_apart("-p", "xdist", "-n1")
    result.assert_outcomes(passed=1)
    assert project.events == []


@needs("xdist")
def test_xdist_s_controller_starts_nothing_of_its_own(project: Project) -> None:
    project.kinds(alpha={})
    project.write(test_it="def test_it(alpha): pass")
    project.run_apart("-p", "xdist", "-n1", "--testbed-start=eager").assert_outcomes(passed=1)
    assert project.started == ["alpha"]


@needs("xdist")
def test_xdist_is_there_and_not_in_use(project: Project) -> None:
    project.kinds(alpha={})
    project.write(test_it="def test_it(alpha): pass")
    project.run("-p", "xdist", "-n0").assert_outcomes(passed=1)
    project.run("-p", "xdist").assert_outcomes(passed=1)


@needs("pytest_rerunfailures")
def test_rerunfailures(project: Project) -> None:
    project.kinds(alpha={})
    project.write(
        test_it="""
        tries = []

        def test_it(alpha, request):
            tries.append(alpha.port)
            assert len(tries) > 1
            assert len(set(tries)) == 1
        """
    )
    project.run("-p", "pytest_rerunfailures", "--reruns=2").assert_outcomes(passed=1)
    assert project.started == ["alpha"]


@needs("pytest_cov")
@pytest.mark.usefixtures("unmeasured")
def test_coverage_measures_the_tests_and_not_the_host(project: Project) -> None:
    project.kinds(alpha={})
    (project.path / ".coveragerc").write_text("[run]\npatch = subprocess\nparallel = true\n")
    project.write(
        code="def called(): return 1",
        test_it="""
        from pathlib import Path
        import subprocess, sys
        from code_under_test import called

        def test_it(testbed, alpha):
            assert called() == 1
            environ = Path(f"/proc/{testbed.client.pid}/environ")
            assert not environ.exists() or b"COVERAGE_PROCESS" not in environ.read_bytes()
        """,
        code_under_test="def called(): return 1",
    )
    result = project.run_apart(
        "-p", "pytest_cov", "--cov=code_under_test", "--cov=pytest_testbed.services.host", "-p", "no:cacheprovider"
    )
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(["code_under_test.py *100%"])
    assert "host.py" not in result.stdout.str()
    assert [path.name for path in project.path.glob(".coverage.*")] == []


@needs("pytest_asyncio")
def test_asyncio_tests(project: Project) -> None:
    project.kinds("@pytest.fixture\nasync def mine(alpha): return alpha.kind\n", alpha={})
    project.pytester.makeini("[pytest]\nasyncio_mode = auto\nasyncio_default_fixture_loop_scope = function")
    project.write(test_a="async def test_it(mine): assert mine == 'alpha'", test_b="async def test_it(): pass")
    result = project.run_apart("-p", "pytest_asyncio.plugin", "-v")
    result.assert_outcomes(passed=2)
    passed = [line.split("::")[0] for line in result.outlines if "PASSED" in line]
    assert passed == ["test_b.py", "test_a.py"]


@needs("anyio")
def test_anyio_tests(project: Project) -> None:
    project.kinds(alpha={})
    project.write(
        test_it="""
        import pytest

        @pytest.fixture
        def anyio_backend(): return "asyncio"

        @pytest.mark.anyio
        async def test_it(alpha): assert alpha.kind == "alpha"
        """
    )
    project.run_apart("-p", "anyio.pytest_plugin").assert_outcomes(passed=1)


def test_pytest_inside_pytest(project: Project) -> None:
    """A run in this very process, with a testbed of its own; the outer one's lives on."""
    project.kinds("pytest_plugins = ['pytester']\n", alpha={})
    project.write(
        test_it="""
        CONFTEST = '''
        import pytest
        from pytest_testbed.testing import fake_spec
        def pytest_testbed_services(config): return [fake_spec("inner", fixtures=["conftest:inner"], says="inner")]
        def pytest_testbed_provider(name): return "pytest_testbed.testing:FakeProvider"
        @pytest.fixture(scope="session")
        def inner(testbed): return testbed.endpoint("inner")
        '''

        def test_it(pytester, testbed, alpha):
            pytester.makeconftest(CONFTEST)
            kinds = ['inner', 'postgres', 'rabbitmq']
            pytester.makepyfile(test_inner=f"def test_it(inner, testbed): assert testbed.kinds == {kinds}")
            result = pytester.runpytest_inprocess("-p", "no:cacheprovider")
            result.assert_outcomes(passed=1)
            result.stdout.fnmatch_lines(["testbed: inner inner (fake, pretence) was ready*"])
            assert testbed.kinds == ["alpha", "postgres", "rabbitmq"]
            assert testbed.logs("alpha") == ""
            assert testbed.endpoint("alpha") is alpha
        """
    )
    result = project.run_apart()
    result.assert_outcomes(passed=1)
    assert project.started == ["alpha"]
