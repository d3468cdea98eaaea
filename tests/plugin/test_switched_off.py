"""`-p no:testbed` and `-p no:pytest_testbed.plugins.postgres`."""

from __future__ import annotations

from importlib import import_module

import pytest

from pytest_testbed.plugin import PARTS
from tests.conftest import QUIET

from .conftest import PLUGIN, Project

NO_POSTGRES = ["-p", "no:pytest_testbed.plugins.postgres"]


def test_without_the_plugin_nothing_of_it_is_there(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PYTEST_PLUGINS")
    monkeypatch.delenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD")
    project.write(test_it="def test_it(request): request.getfixturevalue('testbed')")
    others = [*QUIET, "-p", "no:xdist"]
    result = project.run_apart("-p", "no:testbed", *others)
    result.assert_outcomes(failed=1)
    assert "fixture 'testbed' not found" in result.stdout.str()
    assert "testbed" not in project.run_apart("-p", "no:testbed", *others, "--help").stdout.str()
    # as it is installed, the name of the entry is the switch, and it is on
    project.run_apart(*others, "--fixtures").stdout.fnmatch_lines(["testbed [[]session scope]*"])


def test_without_postgres_the_rest_works(project: Project) -> None:
    project.kinds(alpha={})
    project.write(test_it="def test_it(testbed, alpha): assert testbed.kinds == ['alpha', 'rabbitmq']")
    project.run(*NO_POSTGRES).assert_outcomes(passed=1)
    assert "pg_session" not in project.run(*NO_POSTGRES, "--fixtures").stdout.str()


def test_without_postgres_its_keys_and_its_mark_stay_known(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TESTBED_PG_IMAGE", "postgres:17")
    project.pytester.makeini("[pytest]\ntestbed_pg_image = postgres:16\ntestbed_pg_timeout = x")
    project.write(test_it="import pytest\n@pytest.mark.pg(isolation='database')\ndef test_it(): pass")
    result = project.run("--strict-markers", "--strict-config", "-W", "error", *NO_POSTGRES)
    result.assert_outcomes(passed=1)
    assert "testbed_pg_image (string):" in project.run("--help", *NO_POSTGRES).stdout.str()
    assert project.run("-o", "testbed_pg_imgae=x", *NO_POSTGRES).ret == 4


@pytest.mark.parametrize(
    ("form", "words"),
    [
        (
            "pg.url",
            "and the part that gives it is switched off (-p no:pytest_testbed.plugins.postgres); switch it on, or leave *",
        ),
        ("pg.url+asyncpg", "and the part that gives it is switched off (-p no:pytest_testbed.plugins.postgres); switch it on, *"),
        ("rabbit.url", "which there is not; did you mean 'rabbitmq.url'?"),
    ],
)
def test_without_postgres_its_address_cannot_be_exported(project: Project, form: str, words: str) -> None:
    project.pytester.makeini(f"[pytest]\ntestbed_env = A={{{form}}}")
    project.write(test_it="def test_it(): pass")
    result = project.run(*NO_POSTGRES)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([f"ERROR: testbed_env (from tox.ini): A={{{form}}} names {{{form}}}, {words}"])


NO_RABBITMQ = ["-p", "no:pytest_testbed.plugins.rabbitmq"]


def test_without_rabbitmq_the_rest_works(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    project.kinds(alpha={})
    monkeypatch.setenv("TESTBED_RABBITMQ_TIMEOUT", "x")
    project.pytester.makeini("[pytest]\ntestbed_rabbitmq_image = rabbitmq:3")
    project.write(
        test_it="""
        import pytest
        @pytest.mark.rabbitmq(vhost='nonsense')
        def test_it(testbed, alpha): assert testbed.kinds == ['alpha', 'postgres']
        """
    )
    project.run("--strict-markers", "--strict-config", *NO_RABBITMQ).assert_outcomes(passed=1)
    assert "rabbitmq_channel" not in project.run(*NO_RABBITMQ, "--fixtures").stdout.str()
    monkeypatch.delenv("TESTBED_RABBITMQ_TIMEOUT")
    result = project.run("-o", "testbed_env=A={rabbitmq.url}", *NO_RABBITMQ)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*{rabbitmq.url}, and the part that gives it is switched off (-p no:*plugins.rabbitmq)*"])


def test_without_any_part_nothing_can_be_exported(project: Project) -> None:
    project.write(test_it="def test_it(): pass")
    off = [word for name in PARTS for word in ("-p", f"no:{name}")]
    result = project.run("-o", "testbed_env=A={pq.url}", *off)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    parts = " ".join(f"-p no:{name}" for name in PARTS if hasattr(import_module(name), "EXPORTS"))
    result.stderr.fnmatch_lines([f"*which there is not; all parts that have some are switched off ({parts})."])


def test_it_can_be_loaded_by_name(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PYTEST_PLUGINS")
    project.write(test_it="def test_it(testbed): assert testbed.kinds == ['postgres', 'rabbitmq']")
    project.run("-p", "testbed").assert_outcomes(passed=1)
    project.run("-p", PLUGIN).assert_outcomes(passed=1)
