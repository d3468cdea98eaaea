"""Stubs from mapping files in a real pytest: read before any test, the same for each test, told where they are wrong."""

from __future__ import annotations

import json
from typing import Any

import pytest

from .conftest import Project

XDIST = ("-p", "xdist")
ITEM = {"request": {"method": "GET", "urlPath": "/item"}, "response": {"jsonBody": {"id": 1}}}
ASK = """
import os
from http.client import HTTPConnection
from urllib.parse import urlsplit

def ask(url, path="/item", method="GET"):
    connection = HTTPConnection(urlsplit(url).netloc, timeout=10)
    connection.request(method, path)
    response = connection.getresponse()
    body = response.read().decode()
    connection.close()
    return response.status, body
"""


def write(project: Project, files: dict[str, Any], where: str = "stubs/shop") -> None:
    """Write mapping files."""
    for name, content in files.items():
        path = project.path / where / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content if isinstance(content, str) else json.dumps(content, indent=1))


@pytest.fixture(autouse=True)
def options(project: Project) -> None:
    project.write(ask=ASK)
    project.pytester.makeini("[pytest]\ntestbed_stubs = stubs\ntestbed_env = SHOP_URL={mock.shop.url}\npythonpath = .")


# --- in tests


def test_the_stubs_of_files_answer(project: Project) -> None:
    write(project, {"item.json": ITEM, "more.json": {"mappings": [{**ITEM, "request": {"urlPath": "/more"}}]}})
    write(project, {"pay.json": {**ITEM, "response": {"status": 402}}}, "stubs/bank")
    project.write(
        test_it="""
        from ask import ask

        def test_it(mock_service):
            shop = mock_service("shop")
            assert ask(shop.url) == (200, '{"id":1}')
            assert ask(shop.url, "/more") == (200, '{"id":1}')
            assert ask(mock_service("bank").url)[0] == 402
            shop.verify("GET", "/item", times=1)
        """
    )

    project.run().assert_outcomes(passed=1)


def test_a_stub_of_the_test_comes_before_those_of_files_until_it_begins_anew(project: Project) -> None:
    write(project, {"item.json": ITEM})
    project.write(
        test_it="""
        from ask import ask

        def test_it(mock_service):
            shop = mock_service("shop")
            shop.stub("GET", "/item", body="mine")
            assert ask(shop.url) == (200, "mine")
            shop.reset()
            assert ask(shop.url) == (200, '{"id":1}')
            assert len(shop.requests) == 1

        def test_another(mock_service):
            assert ask(mock_service("shop").url) == (200, '{"id":1}')

        def test_a_higher_priority(mock_service):
            mock_service("shop").stub("GET", "/item", body="mine", priority=6)
            assert ask(mock_service("shop").url) == (200, '{"id":1}')
        """
    )

    project.run().assert_outcomes(passed=3)


def test_scenarios_begin_anew_with_each_test(project: Project) -> None:
    states = [("Started", "first"), ("first", "second")]
    steps = [
        {**ITEM, "scenarioName": "s", "requiredScenarioState": old, "newScenarioState": new, "response": {"body": new}}
        for old, new in states
    ]
    write(project, {"item.json": {"mappings": steps}})
    project.write(
        test_it="""
        import pytest
        from ask import ask

        @pytest.mark.parametrize("turn", [1, 2])
        def test_it(mock_service, turn):
            shop = mock_service("shop")
            assert [ask(shop.url)[1] for _ in range(2)] == ["first", "second"]
            shop.reset()
            assert ask(shop.url)[1] == "first"
            assert len(shop.book.stubs[-1].requests) + len(shop.book.stubs[0].requests) == 1

        @pytest.mark.parametrize("turn", [1, 2])
        def test_without_the_fixture(turn):
            import os
            assert [ask(os.environ["SHOP_URL"])[1] for _ in range(2)] == ["first", "second"]
        """
    )

    project.run().assert_outcomes(passed=4)


def test_an_address_in_the_environment_answers_in_and_outside_of_tests(project: Project) -> None:
    write(project, {"item.json": ITEM})
    project.write(
        conftest="""
        import os
        import pytest
        from ask import ask

        @pytest.fixture(scope="session", autouse=True)
        def outside():
            assert ask(os.environ["SHOP_URL"]) == (200, '{"id":1}')
            yield
            assert ask(os.environ["SHOP_URL"]) == (200, '{"id":1}')
        """,
        test_it="""
        import os
        from ask import ask

        AT_IMPORT = ask(os.environ["SHOP_URL"])

        def test_without_the_fixture():
            assert AT_IMPORT == ask(os.environ["SHOP_URL"]) == (200, '{"id":1}')

        def test_with_it(mock_service):
            assert mock_service("shop").url == os.environ["SHOP_URL"]
            assert ask(os.environ["SHOP_URL"]) == (200, '{"id":1}')
            mock_service("shop").verify("GET", "/item", times=1)
        """,
    )

    result = project.run()

    result.assert_outcomes(passed=2)
    result.stdout.no_fnmatch_line("*outside of any test*")


def test_a_request_without_a_stub_names_the_file_and_line_of_the_nearest(project: Project) -> None:
    write(project, {"mappings/item.json": {"mappings": [{**ITEM, "name": "an item"}]}})
    project.write(
        test_it="""
        from ask import ask

        def test_it(mock_service):
            assert ask(mock_service("shop").url, "/items")[0] == 404
        """
    )

    result = project.run()

    result.assert_outcomes(passed=1, errors=1)
    result.stdout.fnmatch_lines(
        [
            "*no stub of mock service 'shop' matches GET /items. The only one:",
            "*GET /item (from shop/mappings/item.json:3, 'an item')",
        ]
    )


def test_workers_have_the_stubs_of_files(project: Project) -> None:
    write(project, {"item.json": ITEM})
    project.write(
        test_it="""
        import os
        import pytest
        from ask import ask

        @pytest.mark.parametrize("turn", range(4))
        def test_it(mock_service, turn):
            assert ask(mock_service("shop").url) == ask(os.environ["SHOP_URL"]) == (200, '{"id":1}')
        """
    )

    project.run_apart(*XDIST, "-n2").assert_outcomes(passed=4)


# --- where files are looked for


@pytest.mark.parametrize("said", ["stubs", "./stubs", "{root}/stubs"])
def test_a_path_begins_where_those_of_other_options_begin(project: Project, monkeypatch: pytest.MonkeyPatch, said: str) -> None:
    """The project's root, as for testbed_pg_schema and testbed_rabbitmq_definitions, wherever the run is started."""
    write(project, {"item.json": ITEM})
    project.pytester.makeini(f"[pytest]\npythonpath = .\ntestbed_stubs = {said.format(root=project.path)}")
    (project.path / "sub").mkdir()
    (project.path / "sub" / "test_it.py").write_text(
        "from ask import ask\ndef test_it(mock_service): assert ask(mock_service('shop').url)[0] == 200\n"
    )
    monkeypatch.chdir(project.path / "sub")

    project.run().assert_outcomes(passed=1)


def test_several_folders(project: Project) -> None:
    write(project, {"item.json": ITEM}, "one/shop")
    write(project, {"item.json": {**ITEM, "response": {"body": "two"}}}, "two/shop")
    project.write(
        test_it="""
        from ask import ask
        def test_it(mock_service): assert ask(mock_service("shop").url) == (200, "two")
        """
    )

    project.pytester.makeini("[pytest]\npythonpath = .\ntestbed_stubs =\n  one\n  two")

    project.run().assert_outcomes(passed=1)


# --- what is wrong

BAD = '{\n "request": {"ulr": "/item"},\n "response": {}\n}'


@pytest.fixture
def bad(project: Project) -> str:
    """A file with a key that there is not; returns what is said of it."""
    write(project, {"item.json": BAD})
    project.write(test_it="def test_it(): pass")
    path = project.path / "stubs" / "shop" / "item.json"
    return f"{path}, line 2: 'ulr' is not a key of 'request'; did you mean 'url'?"


@pytest.mark.parametrize(
    ("source", "args", "variable"),
    [
        ("tox.ini", (), None),
        ("-o on the command line", ("-o", "testbed_stubs=stubs"), None),
        ("environment TESTBED_STUBS", (), "stubs"),
    ],
)
def test_a_wrong_file_ends_the_run_before_any_test(
    project: Project, monkeypatch: pytest.MonkeyPatch, bad: str, source: str, args: tuple[str, ...], variable: str | None
) -> None:
    if variable is not None:
        monkeypatch.setenv("TESTBED_STUBS", variable)

    result = project.run(*args)

    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert f"ERROR: testbed_stubs (from {source}): {bad}" in result.stderr.str()
    assert "Traceback" not in result.stderr.str()


def test_a_wrong_file_ends_a_run_with_workers(project: Project, bad: str) -> None:
    result = project.run_apart(*XDIST, "-n2")

    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert bad in result.stderr.str()
    assert "Traceback" not in result.stderr.str()


@pytest.mark.usefixtures("bad")
@pytest.mark.parametrize("option", ["--help", "--version"])
def test_help_is_given_whatever_the_files_say(project: Project, option: str) -> None:
    assert project.run(option).ret == pytest.ExitCode.OK


@pytest.mark.usefixtures("bad")
def test_what_is_switched_off_reads_no_file(project: Project) -> None:
    project.run("-p", "no:pytest_testbed.plugins.http", "-o", "testbed_env=").assert_outcomes(passed=1)


@pytest.mark.parametrize(
    ("said", "words"),
    [("none", "none, which is not there."), ("tox.ini", "tox.ini, which is no directory."), (".", "has no mapping in it")],
)
def test_a_folder_that_is_none(project: Project, said: str, words: str) -> None:
    project.write(test_it="def test_it(): pass")

    result = project.run("-o", f"testbed_stubs={said}")

    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert "ERROR: testbed_stubs (from -o on the command line) names " in result.stderr.str()
    assert words in result.stderr.str()
