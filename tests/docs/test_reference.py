"""The reference is what the code says: every page is up to date, everything is on one, and every link leads somewhere."""

from __future__ import annotations

import re
import runpy
import sys
from pathlib import Path
from typing import Any

import pytest

import pytest_testbed
from pytest_testbed import hookspecs
from pytest_testbed.commands.line import parser

ROOT = Path(__file__).resolve().parents[2]
REFERENCE = ROOT / "docs" / "reference"
SOURCES = sorted((ROOT / "src" / "pytest_testbed").rglob("*.py"))
SCRIPT = runpy.run_path(str(ROOT / "docs" / "generate_reference.py"))
PARTS = [(page, part) for page, parts in SCRIPT["PAGES"].items() for part in parts]


def text_of(name: str) -> str:
    return (REFERENCE / f"{name}.md").read_text(encoding="utf-8")


def heading(name: str) -> re.Pattern[str]:
    return re.compile(rf"^#+ `{name}`$", re.MULTILINE)


# --- the script


@pytest.mark.parametrize("page", SCRIPT["PAGES"])
def test_a_page_is_up_to_date(page: str) -> None:
    is_stale = (ROOT / page).read_text(encoding="utf-8") != SCRIPT["renewed"](page)
    assert not is_stale, "run python docs/generate_reference.py"


@pytest.fixture
def script(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The script, on copies of the pages."""
    found = runpy.run_path(str(ROOT / "docs" / "generate_reference.py"))
    monkeypatch.setitem(found["main"].__globals__, "ROOT", tmp_path)
    monkeypatch.setattr(sys, "argv", ["generate_reference.py", "--check"])
    for page in found["PAGES"]:
        (tmp_path / page).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / page).write_text((ROOT / page).read_text(encoding="utf-8"), encoding="utf-8")
    return found


@pytest.mark.parametrize(("page", "part"), PARTS)
def test_a_stale_part_is_noticed_and_written_anew(
    script: dict[str, Any],
    tmp_path: Path,
    page: str,
    part: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    path = tmp_path / page
    before = path.read_text(encoding="utf-8")
    path.write_text(before.replace(f"<!-- {part}: begin -->\n", f"<!-- {part}: begin -->\nwritten by hand\n"), encoding="utf-8")
    only = {page: {part: script["PAGES"][page][part]}}
    monkeypatch.setitem(script["main"].__globals__, "PAGES", only)

    with pytest.raises(SystemExit) as checked:
        script["main"]()
    assert checked.value.code == 1
    assert capsys.readouterr().err == f"{page} is not up to date: run python docs/generate_reference.py\n"

    monkeypatch.setattr(sys, "argv", ["generate_reference.py"])
    with pytest.raises(SystemExit) as written:
        script["main"]()
    assert written.value.code == 0
    assert path.read_text(encoding="utf-8") == before


def test_a_page_without_the_marks_is_refused(script: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "docs/reference/marks.md").write_text("# Marks\n", encoding="utf-8")
    with pytest.raises(SystemExit, match=r"docs/reference/marks.md must have the lines <!-- marks: begin -->"):
        script["main"]()


# --- everything is there


def shown(pytester: pytest.Pytester, *options: str) -> list[str]:
    others = ("asyncio", "postgresql", "rabbitmq", "httpserver", "respx", "faker", "randomly", "django")
    return pytester.runpytest_inprocess(*options, *(word for name in others for word in ("-p", f"no:{name}"))).stdout.lines


def test_every_fixture_is_there_as_pytest_shows_it(pytester: pytest.Pytester) -> None:
    """Each has one short line in `pytest --fixtures`; the page has that sentence and the scope below the name."""
    lines = shown(pytester, "--fixtures")
    page = text_of("fixtures")
    found = 0
    for number, line in enumerate(lines):
        if match := re.match(r"(\w+)(?: \[(\w+) scope\])? -- .*pytest_testbed", line):
            found += 1
            assert lines[number + 2] == "", f"{match[1]} has more than one line"
            assert len(lines[number + 1]) <= 104
            entry = heading(match[1]).split(page)[1].split("\n#")[0]
            assert re.sub(r"\[(`\w+`)\]\([^)]*\)", r"\1", entry).strip().startswith(lines[number + 1].strip())
            assert f"\n- scope: {match[2] or 'function'}\n" in entry
            assert f"| [`{match[1]}`](#{match[1]}) | {match[2] or 'function'} |" in page
    assert found == len(SCRIPT["fixtures"].fixtures()) > 30


def test_the_whole_docstring_is_shown_with_v(pytester: pytest.Pytester) -> None:
    assert any("It is made by `pg_sessionmaker` on `pg_engine`" in line for line in shown(pytester, "--fixtures", "-v"))


def test_every_mark_is_there(pytester: pytest.Pytester) -> None:
    def marks(*options: str) -> set[str]:
        return {match[1] for line in shown(pytester, "--markers", *options) if (match := re.match(r"@pytest\.mark\.(\w+)", line))}

    names = marks() - marks("-p", "no:testbed")
    page = text_of("marks")

    assert {"pg", "unit"} < names
    assert [name for name in sorted(names) if not heading(name).search(page) and f"| `{name}` |" not in page] == []


def test_every_hook_is_there() -> None:
    names = [name for name in vars(hookspecs) if name.startswith("pytest_")]

    assert names
    assert [name for name in names if not heading(name).search(text_of("hooks"))] == []


def test_every_public_class_is_there() -> None:
    page = text_of("classes")

    assert [name for name in pytest_testbed.__all__ if not heading(name).search(page) and f"| `{name}` |" not in page] == []


def test_every_command_and_argument_is_there() -> None:
    page = text_of("commands")
    commands = next(action.choices for action in parser()._actions if isinstance(action.choices, dict))

    assert {"ps", "doctor", "init"} < set(commands)
    for name, command in commands.items():
        entry = heading(name).split(page)[1].split("\n## ")[0]
        assert [
            word for action in command._actions for word in action.option_strings if f"`{word}`" not in entry and len(word) > 2
        ] == ["--help"]


def test_every_command_and_argument_is_explained() -> None:
    commands = next(action.choices for action in parser()._actions if isinstance(action.choices, dict))

    for name, command in commands.items():
        assert command.description, name
        assert command.description.rstrip()[-1:] != ":"
        assert [action.dest for action in command._actions if len(str(action.help or "")) < 10] == []
        assert [line for line in command.description.splitlines() if len(line) > 104] == []


# --- links


def slugs(path: Path) -> set[str]:
    text = re.sub(r"^```.*?^```", "", path.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    return {re.sub(r"[^\w\- ]", "", each.lower()).replace(" ", "-") for each in re.findall(r"^#+ (.+)$", text, re.MULTILINE)}


def test_pages_that_docstrings_name_are_there() -> None:
    """Fixtures, marks and errors tell in a terminal where more is said."""
    named = {
        (path.name, found)
        for path in SOURCES
        for found in re.findall(r"\bdocs/[\w./-]+\.md(?:#[\w-]+)?", path.read_text(encoding="utf-8"))
    }

    assert len(named) > 15
    assert [each for each in named if not (ROOT / each[1].partition("#")[0]).is_file()] == []
    missing = [
        each for each in named if "#" in each[1] and each[1].partition("#")[2] not in slugs(ROOT / each[1].partition("#")[0])
    ]
    assert missing == []


@pytest.mark.parametrize("page", sorted(REFERENCE.glob("*.md")), ids=lambda path: path.stem)
def test_links_of_the_reference_lead_to_a_heading(page: Path) -> None:
    targets = set(re.findall(r"\]\((?!https?:)([^)#\s]*)#([\w-]+)\)", page.read_text(encoding="utf-8")))

    assert [(name, anchor) for name, anchor in targets if anchor not in slugs((page.parent / name) if name else page)] == []
