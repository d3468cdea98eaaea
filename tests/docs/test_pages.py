"""The documentation: its code compiles, what is marked as a project runs, the reference is complete."""

from __future__ import annotations

import re
import runpy
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
import sqlalchemy.dialects.postgresql.psycopg2  # pytester forgets what its run imports, and this cannot be imported twice
import sqlalchemy.orm  # noqa: F401

from pytest_testbed import Testbed
from tests.conftest import broker_options
from tests.docs.blocks import PAGES, ROOT, name_of

REFERENCE = {page.stem: page for page in (ROOT / "docs" / "reference").glob("*.md")}
# A page tells the project that its code blocks make: a line with a file's name in bold, then its block. Where the tests
# are run, and where an empty folder begins, stands in comments that a reader does not see.
STEP = re.compile(
    r"^(?:\*\*`(?P<file>[^`\s]+)`\*\*\n\n?```\w+\n(?P<text>.*?)^```$"
    r"|<!-- run(?: with (?P<more>[\w ]+))?: (?P<run>[^>]*) -->$|(?P<script><!-- run as a script -->$)"
    r"|(?P<new><!-- new project(?: with (?P<kept>[^>]+))? -->$))",
    re.MULTILINE | re.DOTALL,
)
RUN_PAGES = [page for page in PAGES if "<!-- run" in page.read_text(encoding="utf-8")]


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_lead_somewhere(page: Path) -> None:
    targets = re.findall(r"\]\((?!https?:)([^)#\s]+)", page.read_text(encoding="utf-8"))

    assert [target for target in targets if not (page.parent / target).exists()] == []


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_names_of_files_are_visible(page: Path) -> None:
    assert "<!-- file:" not in page.read_text(encoding="utf-8"), "write the name in bold on a line before the block"


@pytest.fixture
def on_local(somewhere: Testbed, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let pytest in a subprocess use local binaries, whatever the machine's variables say; skip where there are none."""
    for name in ("CI", "DATABASE_URL", "PYTEST_ADDOPTS", "RABBITMQ_URL", "TESTBED_PG_URL", "TESTBED_RABBITMQ_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TESTBED_PROVIDER", "local")
    monkeypatch.setenv("DJANGO_SETTINGS_MODULE", "")  # pytest-django sets it for good: now it will be put back
    monkeypatch.delenv("DJANGO_SETTINGS_MODULE")
    for name in [name for name in sys.modules if name.partition(".")[0] == "django"]:
        # factory_boy imports it; and pytester forgets what its run imports alone: a second run would find the first one's models
        monkeypatch.delitem(sys.modules, name)


MORE = {
    "apart": (),  # in a process of its own, for what leaves something open
    "asyncio": ("-p", "pytest_asyncio.plugin"),  # by its module, as it is blocked by its name
    "missing": ("--testbed-missing", "skip"),  # for services that are not here: all is read but the service itself
}
"""What the words of "run with …" stand for. With `broker` or `server` it is one that is there already, named by its URL."""
# some versions of Starlette want another package than httpx for their client, and warn
CLIENT = ("-W", "ignore:Using `httpx` with `starlette.testclient`")
UNUSED = ("randomly", "asyncio", "postgresql", "rabbitmq", "httpserver", "respx", "faker")
"""Plugins whose import takes longer than all the rest of a run's start."""
QUIET = (*(word for name in UNUSED for word in ("-p", f"no:{name}")), "-W", "error::pytest.PytestWarning", *CLIENT)


@pytest.mark.usefixtures("on_local")
@pytest.mark.parametrize("page", RUN_PAGES, ids=name_of)
def test_projects_run(page: Path, pytester: pytest.Pytester, request: pytest.FixtureRequest) -> None:
    def options(word: str) -> Sequence[str]:
        if word not in ("broker", "server"):
            return MORE[word]
        url = request.getfixturevalue("somewhere").endpoint("postgres").url("postgres")
        database = ("-o", f"testbed_pg_url={url}")  # with a broker as well: one provider is named for both
        if word == "server":
            return ("--testbed-provider", "external", *database)
        return (*broker_options(request.getfixturevalue("broker_somewhere")), *database)

    project, path = pytester.path, Path()
    for number, step in enumerate(STEP.finditer(page.read_text(encoding="utf-8"))):
        if step["new"]:
            project = begun(pytester.mkdir(f"project{number}"), project, (step["kept"] or "").split(", "))
        elif step["text"] is not None:
            path = project / (step["file"])
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(step["text"], encoding="utf-8")
        elif step["script"]:
            runpy.run_path(str(path), run_name="__main__")
        else:
            wanted = {key: int(value) for key, value in (part.split("=") for part in step["run"].split())}
            words = (step["more"] or "").split()
            more = [option for word in words for option in options(word)]
            run = pytester.runpytest_subprocess if "apart" in words else pytester.runpytest_inprocess
            result = run(*QUIET, *more, "--rootdir", project, project)
            result.assert_outcomes(**wanted)


def begun(project: Path, before: Path, kept: Sequence[str]) -> Path:
    """Begin a project with some files of the one before it, and return it."""
    for name in filter(None, kept):
        shutil.copy(before / name, project / name)
    return project


def test_the_fixtures_of_the_readme_are_there(pytester: pytest.Pytester) -> None:
    """It has the main ones, and says where the others are."""
    listed = pytester.runpytest_inprocess("--fixtures", "-p", "no:asyncio").stdout.lines
    names = [line.split()[0] for line in listed if re.match(r"\w+ .*-- .*pytest_testbed", line)]
    table = (ROOT / "README.md").read_text(encoding="utf-8").partition("\n| fixture | gives |\n")[2].partition("\n\n")
    told = re.findall(r"^\| `(\w+)` \|", table[0], re.MULTILINE)

    assert "pg_session" in told
    assert [name for name in told if name not in names] == []
    assert table[2].startswith("[All fixtures](docs/reference/fixtures.md)")


def test_the_first_command_of_the_readme_runs_the_shop() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")

    assert text.partition("\n```sh\n")[2].startswith("./scripts/try-example\n```\n")
