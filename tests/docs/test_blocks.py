"""Each code block of the documentation is a file that the tests run, or is checked in the way that is named here.

| language | what is checked of a block that is no file |
|---|---|
| `python` | a comment says why it is not run; it compiles, and its tests ask for fixtures that there are |
| `ini`, `toml` | each option is known, and takes the value |
| `yaml` | it can be read; each command in it is checked as in `sh` |
| `sh` | pytest, `python -m pytest_testbed`, pip, tox and our scripts understand the command |
| `sql` | PostgreSQL understands it; it is not executed |
| `json` | it can be read |
| `text`, `md` | nothing: it is output, a drawing, or Markdown |
"""

from __future__ import annotations

import ast
import json
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import psycopg2
import pytest
import yaml

from pytest_testbed import Testbed
from tests.docs.blocks import PAGES, ROOT, Block, blocks, loose, name_of
from tests.docs.commands import check_command, lines
from tests.docs.options import Fault, check_option, from_ini, from_toml

LANGUAGES = {"python", "ini", "toml", "yaml", "sh", "sql", "json", "csv", "text", "md"}
ONLY_FILES = {"csv"}
MADE_UP = {"shop"}
"""Packages of the reader's own, in blocks that are not run."""
COMMANDS = ("run", "script", "commands")
"""Keys of CI files below which commands stand."""


@pytest.fixture(scope="session")
def parse(pytestconfig: pytest.Config):
    """Pytest's own parser, with the options of all plugins that the tests run with."""
    return pytestconfig._parser.parse_known_and_unknown_args


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_blocks_have_a_language_and_a_check(page: Path) -> None:
    strange = [
        f"{block} {block.language!r}" for block in blocks(page) if not is_directive(block) and block.language not in LANGUAGES
    ]
    bare = [str(block) for block in blocks(page) if block.language in ONLY_FILES and not block.name]

    assert strange == [], "label the block; what is output or a drawing is text"
    assert bare == [], "name the file before the block, and run its project"


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_files_are_run(page: Path) -> None:
    idle = [f"{block} {block.name}" for block in blocks(page) if block.name and not block.run and not is_of_an_example(block)]

    if page.parent.name == "reference":  # made from docstrings: looked at as python that is not run
        idle = [block for block in idle if not block.endswith(".py")]
    assert idle == [], "no <!-- run: … --> follows, so nobody would notice if it were wrong"


def is_of_an_example(block: Block) -> bool:
    """Return whether a block is a file of an example, whose tests are run elsewhere."""
    return block.name.startswith("examples/") and (ROOT / block.name).read_text(encoding="utf-8") == block.text


def is_directive(block: Block) -> bool:
    """Return whether Sphinx makes something else of a block."""
    if block.language.startswith("{include} "):
        assert (block.page.parent / block.language.partition(" ")[2]).is_file()
        return True
    return False


@pytest.mark.parametrize("block", loose("python"), ids=str)
def test_python_that_is_not_run(block: Block) -> None:
    tree = ast.parse(block.text)

    # the reference is made from docstrings, where a comment would be in the way
    assert block.reason or block.page.parent.name == "reference", (
        "make it a file that is run, or say why not: <!-- not run: … -->"
    )
    compile(tree, str(block), "exec")
    assert [module for module in imported(tree) if module not in MADE_UP and find_spec(module) is None] == []


def imported(tree: ast.Module) -> set[str]:
    """Return the top-level packages that a block imports."""
    names = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    names |= {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.module}
    return {name.partition(".")[0] for name in names}


def test_python_that_is_not_run_asks_for_fixtures_that_there_are(pytester: pytest.Pytester) -> None:
    listed = pytester.runpytest_inprocess("--fixtures", "-q", "-p", "no:asyncio").stdout.lines
    known = {line.split()[0] for line in listed if line and not line[0].isspace() and " -- " in line}

    assert "pg_session" in known
    assert [f"{block} {name}" for block in loose("python") for name in sorted(asked(block) - known)] == []


def asked(block: Block) -> set[str]:
    """Return the fixtures that tests and fixtures of a block ask for and that it does not have itself."""
    functions = [node for node in ast.walk(ast.parse(block.text)) if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))]
    fixtures = {node.name for node in functions if "fixture" in "".join(map(ast.unparse, node.decorator_list))}
    tests = [node for node in functions if node.name.startswith("test_") or node.name in fixtures]
    return {argument.arg for node in tests for argument in node.args.args} - fixtures - {"self", "request"}


@pytest.mark.parametrize("block", loose("ini", "toml"), ids=str)
def test_options(block: Block, pytestconfig: pytest.Config) -> None:
    for key, value in from_ini(block.text) if block.language == "ini" else from_toml(block.text):
        check_option(key, value)
        if not key.startswith("testbed_"):
            pytestconfig.getini(key)  # raises where nobody has such an option


@pytest.mark.parametrize("block", loose("sh"), ids=str)
def test_commands(block: Block, parse) -> None:
    for line in lines(block.text):
        check_command(line, parse)


@pytest.mark.parametrize("block", loose("yaml"), ids=str)
def test_pipelines(block: Block, parse) -> None:
    for line in said(yaml.safe_load(block.text)):
        check_command(line, parse)


def said(value: object, is_command: bool = False) -> Iterator[str]:
    """Yield the commands in what a YAML file says, and the variables that it sets, as assignments."""
    if isinstance(value, dict):
        for key, below in value.items():
            if key in ("env", "variables") and isinstance(below, dict):
                yield from (f"{name}={text!r}" for name, text in below.items())
            yield from said(below, key in COMMANDS)
    elif isinstance(value, list):
        for below in value:
            yield from said(below, is_command)
    elif is_command:
        yield from lines(str(value))


def test_json() -> None:
    for block in loose("json"):
        json.loads(block.text)


def test_sql_that_is_not_run(somewhere: Testbed) -> None:
    with psycopg2.connect(somewhere.endpoint("postgres").url("postgres")) as connection, connection.cursor() as cursor:
        for block in loose("sql"):
            cursor.execute(unexecuted(block.text))
        with pytest.raises(psycopg2.errors.SyntaxError):
            cursor.execute(unexecuted("ALTER ROLE me CREATEDATABASE;"))


def unexecuted(text: str) -> str:
    """Return a statement that makes PostgreSQL read others, and not execute them."""
    return f"DO $unexecuted$ BEGIN RETURN; {text} END $unexecuted$"


# --- what these checks find


@pytest.mark.parametrize(
    "command",
    [
        "pytest --testbed-provdier local",
        "pytest --testbed-provider",
        "pytest -o testbed_pg_timeout=soon",
        "TESTBED_PG_URI=postgresql://localhost pytest",
        "TESTBED_PG_TIMEOUT=soon pytest",
        "pip install pytest-testbed[embeded]",
        "pip install /path/to/clone[embeded]",
        "pip install pytest-testbed-extras",
        "pip install --group tests",
        "python -m pytest_testbed prune --all",
        "python -m pytest_testbed prune [--all]",
        "tox -e py314",
        "./scripts/run-test",
        "python docs/generate.py",
        "python -c 'print('",
        "docker run python:3.13 sh -c 'pip install pytest-testbed && pytest --testbed-provdier docker'",
        "pystest",
    ],
)
def test_a_wrong_command_is_found(command: str, parse) -> None:
    with pytest.raises(Fault):
        check_command(command, parse)


@pytest.mark.parametrize(
    "text",
    [
        "testbed_pg_shema = shop:Base",
        "testbed_pg_timeout = soon",
        "testbed_pg_isolation = tests/api: databases",
        "testbed_env = DATABASE_URL={pg.uri}",
        "testbed_env = DATABASE_URL",
        "[pytests]\ntestbed_pg_timeout = 3",
    ],
)
def test_a_wrong_ini_line_is_found(text: str) -> None:
    with pytest.raises(Fault):
        for key, value in from_ini(text):
            check_option(key, value)


def test_a_wrong_table_is_found() -> None:
    with pytest.raises(Fault, match="testbed_pg_timeout"):
        for key, value in from_toml('[tool.pytest.ini_options]\ntestbed_pg_timeout = "soon"'):
            check_option(key, value)


def test_variables_and_commands_of_a_pipeline_are_found() -> None:
    job = {
        "env": {"TESTBED_PG_URL": "x"},
        "steps": [{"uses": "checkout"}, {"run": "pip install .\npytest"}],
        "script": ["pytest -x"],
    }

    assert list(said({"test": job})) == ["TESTBED_PG_URL='x'", "pip install .", "pytest", "pytest -x"]


def test_what_a_page_does_with_a_block_is_read(tmp_path: Path) -> None:
    from tests.docs.blocks import _found

    page = ROOT / "made-up.md"
    text = (
        "**`a.py`**\n```python\n1\n```\n<!-- run: passed=1 -->\n\n**`b.py`**\n\n```python\n2\n```\n"
        "<!-- new project -->\n**`c.py`**\n```python\n3\n```\n<!-- run with broker: passed=1 -->\n"
        "<!-- not run: it needs a telephone -->\n```python\n4\n```\n````md\n**`d.py`**\n```python\n5\n```\n````\n```\n6\n```\n"
    )

    found = [(block.name, block.language, block.run, block.reason, block.line) for block in _found(page, text)]

    assert found == [
        ("a.py", "python", True, "", 2),
        ("b.py", "python", False, "", 9),
        ("c.py", "python", True, "", 14),
        ("", "python", False, "it needs a telephone", 19),
        ("", "md", False, "", 22),
        ("", "", False, "", 28),
    ]
