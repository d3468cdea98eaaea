"""The guide's layout of tests and its commands, in a project that has neither a conftest nor a mark."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from pytest_testbed import Endpoint

FILES = {
    "src/shop/__init__.py": "",
    "src/shop/users.py": """
        from sqlalchemy import text

        def greeting(name):
            return f"Welcome, {name}!"

        def store(connection, name):
            connection.execute(text("CREATE TABLE users (name text)"))
            connection.execute(text("INSERT INTO users VALUES (:name)"), {"name": name})
            return connection.scalar(text("SELECT count(*) FROM users"))
    """,
    "tests/unit/test_greeting.py": """
        from shop.users import greeting

        def test_greeting():
            assert greeting("Ada") == "Welcome, Ada!"
    """,
    "tests/integration/database/test_store.py": """
        import pytest
        from shop.users import store

        @pytest.mark.parametrize("name", ["Ada", "Grace"])
        def test_store(pg_connection, name):
            assert store(pg_connection, name) == 1
    """,
    "tests/integration/external/test_payment.py": """
        import requests

        def test_payment(http_mock):
            http_mock.get("https://api.example.com/", json={"ok": True})
            assert requests.get("https://api.example.com/", timeout=5).json()["ok"]
    """,
    "tests/integration/workflows/test_order.py": """
        from shop.users import greeting, store

        def test_order(pg_connection):
            assert store(pg_connection, greeting("Ada")) == 1
    """,
    "tests/e2e/test_shop.py": """
        def test_shop(): pass
    """,
    "tests/test_elsewhere.py": """
        def test_database_by_its_fixture(pg_connection):
            assert not pg_connection.closed
    """,
    "pytest.ini": """
        [pytest]
        testpaths = tests
        pythonpath = src
        addopts = --strict-markers --strict-config
    """,
}
PLUGIN = "pytest_testbed.plugin"


@pytest.fixture
def shop(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
    """The project, and nothing around it."""
    for name in [*os.environ]:
        if name.startswith(("TESTBED_", "PYTEST_XDIST", "COV")) or name in ("PYTEST_ADDOPTS", "CI", "DATABASE_URL"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    monkeypatch.setenv("PYTEST_PLUGINS", PLUGIN)
    for name, text in FILES.items():
        path: Path = pytester.path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        lines = text.strip("\n").splitlines()
        path.write_text("\n".join(line.removeprefix("        ") for line in lines) + "\n")
    return pytester


SELECTIONS = {
    ("-m", "unit"): {"test_greeting"},
    ("-m", "integration"): {
        "test_store[Ada]",
        "test_store[Grace]",
        "test_payment",
        "test_order",
        "test_database_by_its_fixture",
    },
    ("-m", "integration and database"): {
        "test_store[Ada]",
        "test_store[Grace]",
        "test_database_by_its_fixture",
    },
    ("-m", "workflows"): {"test_order"},
    ("-m", "external"): {"test_payment"},
    ("-m", "e2e"): {"test_shop"},
    ("-m", "not integration and not e2e"): {"test_greeting"},
    ("tests/integration/", "-m", "not database"): {"test_payment", "test_order"},
}


@pytest.mark.parametrize("words", SELECTIONS, ids=" ".join)
def test_levels_and_areas_select(shop: pytest.Pytester, words: tuple[str, ...]) -> None:
    result = shop.runpytest_inprocess("--collect-only", "-q", *words)
    found = {line.rpartition("::")[2] for line in result.outlines if "::" in line}
    assert found == SELECTIONS[words]


def test_a_folder_with_a_database_named_by_a_variable(
    shop: pytest.Pytester, server: Endpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATABASE_URL", server.url())
    result = shop.runpytest_inprocess("tests/integration/", "-v")
    result.assert_outcomes(passed=4)
    result.stdout.fnmatch_lines(
        ["*test_store.py::test_store?Ada? PASSED*", "testbed: postgres * (external, * from environment DATABASE_URL) *"]
    )


def test_marks_with_a_database_named_by_a_variable(
    shop: pytest.Pytester, server: Endpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATABASE_URL", server.url())
    shop.runpytest_inprocess("-m", "integration and database", "--tb=short").assert_outcomes(passed=3, deselected=4)


@pytest.mark.usefixtures("unmeasured")
def test_coverage(shop: pytest.Pytester, server: Endpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", server.url())
    options = ("-p", "pytest_cov.plugin", "--cov=src", "--cov-report=html", "--cov-report=term-missing")
    result = shop.runpytest_subprocess("tests/integration/", *options)
    result.assert_outcomes(passed=4)
    result.stdout.fnmatch_lines(["src/shop/users.py * 100%*"])
    assert (shop.path / "htmlcov" / "index.html").is_file()


def test_no_service_is_named(shop: pytest.Pytester) -> None:
    """The guide's commands need no variable either; the unit tests need no server at all."""
    shop.runpytest_inprocess("tests/unit", "--testbed-provider=external").assert_outcomes(passed=1)
