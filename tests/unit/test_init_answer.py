"""What `init` says of bad input, and into which file its lines go."""

from __future__ import annotations

import ast
import io
import os
import sys
import threading
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from pytest_testbed.commands import init as init_module
from pytest_testbed.commands.line import main
from pytest_testbed.commands.looking import answer as answer_module
from pytest_testbed.commands.looking import tree as tree_module
from pytest_testbed.commands.looking.configured import above
from pytest_testbed.commands.looking.findings import look
from pytest_testbed.commands.looking.tree import Place
from tests.init_projects import APP, active, lay, said

Capture = pytest.CaptureFixture[str]


@pytest.fixture
def usual_depth() -> Iterator[None]:
    """The depth that Python comes with: mypy, in another test, lets this process have much more."""
    before = sys.getrecursionlimit()
    sys.setrecursionlimit(1000)
    yield
    sys.setrecursionlimit(before)


# --- bad input


def test_an_empty_folder(tmp_path: Path, capsys: Capture) -> None:
    out = said(tmp_path, capsys)

    assert out.startswith(f"{tmp_path}: nothing that lines could be suggested for.\n")
    assert "Looked for: dependencies" in out
    assert "def test_first(pg_session):" in out


def test_a_directory_that_is_not_there(tmp_path: Path, capsys: Capture) -> None:
    assert main(["init", str(tmp_path / "no")]) == 2
    assert capsys.readouterr().err == f"init: {tmp_path / 'no'} is not there.\n"


def test_a_file(tmp_path: Path, capsys: Capture) -> None:
    lay(tmp_path, {"a.py": ""})
    assert main(["init", str(tmp_path / "a.py")]) == 2
    assert capsys.readouterr().err == f"init: {tmp_path / 'a.py'} is a file; name the project's folder.\n"


def test_a_directory_that_may_not_be_read(tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "iterdir", refuse)
    assert main(["init", str(tmp_path)]) == 2
    assert capsys.readouterr().err == f"init: {tmp_path} cannot be read: Permission denied.\n"


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (b"import os\ndef broken(:\n", "tests/conftest.py:2: is no Python"),
        (b"x = 1\n\x00", "tests/conftest.py"),
        (b"# coding: no-such-code\n", "tests/conftest.py"),
        (b"x = '\xff'\n", "tests/conftest.py"),
        (b"x = " + b"(" * 3000 + b")" * 3000, "tests/conftest.py"),
        (b"if x:\n    y\n" + b"elif x:\n    y\n" * 1200, "tests/conftest.py: cannot be parsed"),
    ],
)
@pytest.mark.usefixtures("usual_depth")
def test_a_broken_conftest_is_named_and_gone_on_from(tmp_path: Path, capsys: Capture, text: bytes, why: str) -> None:
    lay(tmp_path, {**APP, "tests/conftest.py": ""}).joinpath("tests/conftest.py").write_bytes(text)

    out = said(tmp_path, capsys)

    assert f"Not read:\n  {why}" in out
    assert "testbed_pg_schema = shop.db:Base" in out


@pytest.mark.usefixtures("usual_depth")
def test_what_is_nested_too_deeply(tmp_path: Path, capsys: Capture) -> None:
    lay(tmp_path, {"pyproject.toml": f"x = {'[' * 2000}{']' * 2000}"})
    assert main(["init", str(tmp_path)]) == 2
    assert capsys.readouterr().err == f"init: a file below {tmp_path} is nested too deeply to be read.\n"


class Terminal(io.StringIO):
    """A terminal that tells when something was written to it."""

    def __init__(self) -> None:
        super().__init__()
        self.written = threading.Event()

    def isatty(self) -> bool:
        return True

    def write(self, text: str) -> int:
        self.written.set()
        return super().write(text)


@pytest.mark.parametrize("fails", [False, True])
def test_long_work_tells_a_terminal_that_it_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, fails: bool) -> None:
    terminal = Terminal()

    def answer(root: Path) -> str:
        assert terminal.written.wait(10)
        if fails:
            raise RecursionError
        return "a word\n"

    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setattr(answer_module, "answer", answer)
    monkeypatch.setattr(init_module, "PATIENCE", 0.01)
    assert main(["init", str(tmp_path)]) == (2 if fails else 0)
    told, after = terminal.getvalue()[1:].rsplit("\r", 1)
    assert told.startswith("init: reading the project … 0 s")
    assert told.rsplit("\r", 1)[1].isspace()
    assert after == (f"init: a file below {tmp_path} is nested too deeply to be read.\n" if fails else "")


def test_short_work_tells_a_terminal_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setattr(init_module, "PATIENCE", 60)
    assert main(["init", str(tmp_path)]) == 0
    assert terminal.getvalue() == ""


def test_names_that_are_no_text_and_a_pipe_that_knows_ascii_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / os.fsdecode(b"\xff.py")).write_text("def broken(:\n")
    (tmp_path / "größe.py").write_text("def broken(:\n")
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding="ascii", write_through=True))

    assert main(["init", str(tmp_path)]) == 0
    assert b"  gr??e.py:1: is no Python" in raw.getvalue()
    assert b"  ?.py:1: is no Python" in raw.getvalue()


@pytest.mark.parametrize("error", [RecursionError("too deep"), MemoryError(), ValueError("null bytes")])
def test_whatever_the_parser_raises(tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    def fail(data: bytes) -> ast.Module:
        raise error

    monkeypatch.setattr(ast, "parse", fail)

    assert "Not read:\n  a.py: cannot be parsed" in said(tmp_path, capsys, {"a.py": ""})


def test_a_file_of_another_encoding_or_with_a_mark_is_read(tmp_path: Path, capsys: Capture) -> None:
    lay(tmp_path, APP)
    tmp_path.joinpath("shop/db.py").write_bytes(b"\xef\xbb\xbf" + APP["shop/db.py"].replace("\n", "\r\n").encode())
    tmp_path.joinpath("shop/web.py").write_bytes(b"# coding: latin-1\nfrom flask import Flask\nx = '\xe4'\napp = Flask(x)\n")
    tmp_path.joinpath("requirements.txt").write_bytes("﻿flask  # für alle\n".encode() + b"\xff\n")

    out = said(tmp_path, capsys)

    assert "testbed_app = shop.web:app" in out
    assert "testbed_pg_schema = shop.db:Base" in out
    assert "1 dependencies" in out
    assert "Not read" not in out


def test_files_that_cannot_be_read(tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    lay(tmp_path, {**APP, "large.py": "x = 1\n" * 400})
    (tmp_path / "gone.py").symlink_to("nowhere.py")
    (tmp_path / "round").symlink_to(tmp_path)
    os.mkfifo(tmp_path / "pipe.py")
    monkeypatch.setattr(tree_module, "LARGEST", 2000)

    out = said(tmp_path, capsys)

    assert "  gone.py: no such file or directory\n" in out
    assert "  large.py: larger than 2 kB\n" in out
    assert "2 Python files read" in out


def test_a_folder_that_may_not_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lay(tmp_path, {**APP, "data/large.py": ""})
    plain = os.scandir

    def scandir(path: str) -> object:
        if Path(path).name == "data":
            raise PermissionError(13, "Permission denied", path)
        return plain(path)

    monkeypatch.setattr(os, "scandir", scandir)
    seen = look(tmp_path)

    assert seen.tree.unread == {Place("data"): "permission denied"}
    assert [base.entry for base in seen.bases] == ["shop.db:Base"]


def test_more_files_than_are_looked_at(tmp_path: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tree_module, "MOST_FILES", 2)

    assert "more than 2 files: the rest was not looked at" in said(tmp_path, capsys, {**APP, "z.py": ""})


def test_what_is_installed_or_made_is_left_out(tmp_path: Path) -> None:
    skipped = ("node_modules", ".git", ".venv", "build", "x.egg-info", "own-env", "a/site-packages")
    lay(tmp_path, {f"{folder}/web.py": "from flask import Flask\napp = Flask('a')\n" for folder in skipped})
    lay(tmp_path, {"own-env/pyvenv.cfg": ""})

    assert look(tmp_path).sources == {}


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("pyproject.toml", "[tool.pytest.ini_options]\nx = [\n"),
        ("pytest.ini", "[pytest]\nx = 1\nno key\n"),
        ("setup.cfg", "[tool:pytest]\nx = 1\nx = 2\n"),
        ("pytest.toml", "[pytest\n"),
    ],
)
def test_settings_that_cannot_be_read(tmp_path: Path, capsys: Capture, name: str, text: str) -> None:
    out = said(tmp_path, capsys, {**APP, name: text})

    assert f"{name} cannot be read, by pytest neither; mend it first:" in out
    assert "shop.db:Base" in out


def test_settings_in_a_file_that_is_not_there(tmp_path: Path, capsys: Capture) -> None:
    (tmp_path / "pytest.ini").symlink_to("nowhere.ini")

    out = said(tmp_path, capsys, {**APP, "tox.ini": "[pytest]\n"})

    assert "Into tox.ini, below [pytest] (line 1):" in out
    assert "Not read:\n  pytest.ini: no such file or directory\n" in out


# --- where lines go

ENV = "DATABASE_URL={pg.url+psycopg2}"
TOML_LINE = f'testbed_env = ["{ENV}"]'


@pytest.mark.parametrize(
    ("name", "text", "where", "line"),
    [
        ("pytest.ini", "[pytest]\naddopts = -ra\n", "Into pytest.ini, below [pytest] (line 1):", f"testbed_env = {ENV}"),
        ("pytest.ini", "", "pytest.ini has no [pytest] yet. Add this at its end:\n\n[pytest]", f"testbed_env = {ENV}"),
        (".pytest.ini", "\n[pytest]\n", "Into .pytest.ini, below [pytest] (line 2):", f"testbed_env = {ENV}"),
        ("tox.ini", "[tox]\n\n[pytest]\n", "Into tox.ini, below [pytest] (line 3):", f"testbed_env = {ENV}"),
        ("setup.cfg", "[tool:pytest]\n", "Into setup.cfg, below [tool:pytest] (line 1):", f"testbed_env = {ENV}"),
        ("tox.ini", "[tox]\n", "Save this as pytest.ini:\n\n[pytest]", f"testbed_env = {ENV}"),
        ("pyproject.toml", "[tool.pytest]\nstrict = true\n", "Into pyproject.toml, below [tool.pytest] (line 1):", TOML_LINE),
        ("pyproject.toml", "[tool.pytest.ini_options]\n", "below [tool.pytest.ini_options] (line 1):", TOML_LINE),
        ("pyproject.toml", "[tool.ruff]\n", "Add this at its end:\n\n[tool.pytest.ini_options]", TOML_LINE),
        ("pytest.toml", "[pytest]\n", "Into pytest.toml, below [pytest] (line 1):", TOML_LINE),
        ("pyproject.toml", "x = 1\n[ tool . 'pytest' ]\nstrict = true\n", "below [tool.pytest] (line 2):", TOML_LINE),
        (".pytest.toml", "", ".pytest.toml has no [pytest] yet. Add this at its end:\n\n[pytest]", TOML_LINE),
    ],
)
def test_lines_are_for_the_file_that_is_there(
    tmp_path: Path, capsys: Capture, name: str, text: str, where: str, line: str
) -> None:
    out = said(tmp_path, capsys, {**APP, name: text})

    assert where in out
    assert f"\n{line}\n" in out


DOTTED = """\
[tool.ruff]
line-length = 99
[tool]
pytest.ini_options.addopts = "-ra"
pytest.ini_options.testpaths = [
  "tests",
]
"""


@pytest.mark.parametrize(
    ("text", "line", "prefix"),
    [
        (DOTTED, 4, "pytest.ini_options."),
        ('tool.pytest.ini_options.addopts = "-ra"\n', 1, "tool.pytest.ini_options."),
        ("tool.'pytest'.strict = true\n[tool.ruff]\n", 1, "tool.'pytest'."),
    ],
)
def test_lines_for_settings_that_say_their_section_themselves(
    tmp_path: Path, capsys: Capture, text: str, line: int, prefix: str
) -> None:
    out = said(tmp_path, capsys, {**APP, "pyproject.toml": text})

    assert f"Into pyproject.toml, above line {line}:" in out
    assert f"\n{prefix}{TOML_LINE}\n" in out
    lines = text.splitlines()
    lines.insert(line - 1, prefix + TOML_LINE)
    tool = tomllib.loads("\n".join(lines))["tool"]["pytest"]
    assert "testbed_env" in tool.get("ini_options", tool)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ('[tool.ruff]\n[tool.pytest]\nini_options = { addopts = "-ra" }\n', 3),
        ('tool.pytest = { ini_options = { addopts = "-ra" } }\n', 1),
        ('[tool]\npytest.ini_options = { addopts = "-ra" }\n', 2),
        ('[tool]\n\npytest = { ini_options = { addopts = "-ra" } }\n', 3),
        ("[tool.pytest]\nini_options = {}\n", 2),
    ],
)
def test_settings_in_braces_are_to_be_written_otherwise_first(tmp_path: Path, capsys: Capture, text: str, line: int) -> None:
    out = said(tmp_path, capsys, {**APP, "pyproject.toml": text})

    assert f"pyproject.toml:{line} has [tool.pytest.ini_options] in braces, which lines cannot be added to." in out
    assert "\n\n[tool.pytest.ini_options]\n" in out
    assert f"\n{TOML_LINE}\n" in out


def test_the_first_of_several_files_counts(tmp_path: Path, capsys: Capture) -> None:
    out = said(tmp_path, capsys, {**APP, "setup.cfg": "[tool:pytest]\n", "pyproject.toml": "[tool.pytest.ini_options]\n"})

    assert "Settings for pytest in setup.cfg do not count: pyproject.toml comes first." in out


def test_lines_that_are_there_already(tmp_path: Path, capsys: Capture) -> None:
    ini = "[pytest]\npythonpath = .\ntestbed_env =\n    OTHER={pg.host}\ntestbed_pg_schema = shop.db:Base\n"
    out = said(tmp_path, capsys, {**APP, "pytest.ini": ini})

    assert f"  pytest.ini:3: testbed_env is there; add to it:\n    {ENV}   # shop/db.py:4: read" in out
    assert "  pytest.ini:5: testbed_pg_schema is there.\n" in out
    assert "\ntestbed_pg_schema = " not in out


def test_all_is_there(tmp_path: Path, capsys: Capture) -> None:
    ini = f"[pytest]\npythonpath = .\ntestbed_env = {ENV}\ntestbed_pg_schema = shop.db:Base\ntestbed_pg_bind = shop.db:engine\n"

    assert "No line is missing." in said(tmp_path, capsys, {**APP, "pytest.ini": ini})


def test_another_value_is_there(tmp_path: Path, capsys: Capture) -> None:
    files = {"web.py": "from flask import Flask\napp = Flask('a')\n", "pytest.toml": '[pytest]\ntestbed_app = "site:app"\n'}

    assert "pytest.toml:2: testbed_app is site:app; web:app was seen (web.py:2" in said(tmp_path, capsys, files)


@pytest.mark.parametrize("there", ["web:app", "web:create_app()"])
def test_a_value_that_was_seen_is_there(tmp_path: Path, capsys: Capture, there: str) -> None:
    web = "from flask import Flask\ndef create_app():\n    return Flask('a')\napp = create_app()\n"
    out = said(tmp_path, capsys, {"web.py": web, "pytest.ini": f"[pytest]\npythonpath = .\ntestbed_app = {there}\n"})

    assert "  pytest.ini:3: testbed_app is there.\n" in out
    assert "No line is missing." in out


def test_settings_of_a_folder_above(tmp_path: Path, capsys: Capture) -> None:
    lay(tmp_path, {"pytest.ini": "[pytest]\n"})
    (tmp_path / "part").mkdir()

    assert f"takes its settings from {tmp_path / 'pytest.ini'}." in " ".join(said(tmp_path / "part", capsys, APP).split())


@pytest.mark.parametrize("name", ["pyproject.toml", "tox.ini", "setup.cfg"])
def test_a_file_above_without_settings_for_pytest(tmp_path: Path, capsys: Capture, name: str) -> None:
    lay(tmp_path, {"pytest.ini": "[pytest]\n", f"middle/{name}": "[tool.ruff]\n[tox]\n[flake8]\n"})

    out = " ".join(said(tmp_path / "middle" / "part", capsys, APP).split())

    assert f"takes its settings from {tmp_path / 'pytest.ini'}." in out


def test_settings_above_that_may_not_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lay(tmp_path, {"pytest.ini": "[pytest]\n", "middle/setup.cfg": "[tool:pytest]\n"})
    plain = Path.read_text

    def read_text(path: Path, **how: str) -> str:
        if path.name == "setup.cfg":
            raise PermissionError(13, "Permission denied", str(path))
        return plain(path, **how)

    monkeypatch.setattr(Path, "read_text", read_text)

    assert above(tmp_path / "middle" / "part") == str(tmp_path / "pytest.ini")


def test_a_part_of_the_project_with_settings_of_other_tools(tmp_path: Path) -> None:
    lay(tmp_path, {**APP, "shop/pyproject.toml": "[tool.ruff]\n", "shop/api/setup.cfg": "[flake8]\n"})
    seen = look(tmp_path)

    assert seen.tree.nested == []
    assert "shop/db.py" in seen.sources


def test_projects_below_are_named(tmp_path: Path, capsys: Capture) -> None:
    lay(tmp_path / "back end", {**APP, "pyproject.toml": "[tool.pytest.ini_options]\n"})

    out = said(tmp_path, capsys)

    assert f"python -m pytest_testbed init '{tmp_path}/back end'" in out
    assert look(tmp_path).sources == {}


def test_compose_files_of_the_repository_above(tmp_path: Path) -> None:
    (tmp_path / ".git").mkdir()
    lay(tmp_path, {"compose.yml": "services:\n  db:\n    image: postgres:15\n"})
    lay(tmp_path / "backend", APP)

    assert active(tmp_path / "backend", "testbed_pg_image") == ["postgres:15"]
    assert [each.is_pipeline for each in look(tmp_path / "backend").images] == [False]


def test_folders_above_that_may_not_be_looked_into(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    image = "services:\n  db:\n    image: postgres:15\n"
    lay(tmp_path, {".git/config": "", "compose.yml": image, "closed/compose.yml": image, "closed/backend/a.py": ""})
    plain = Path.glob, os.stat

    def glob(path: Path, pattern: str) -> Iterator[Path]:
        if path.name == "closed":
            raise PermissionError(13, "Permission denied", str(path))
        return plain[0](path, pattern)

    def stat(path: str | Path, **how: object) -> object:
        if str(path).endswith(("backend/.git", "closed/.git")):
            raise PermissionError(13, "Permission denied", str(path))
        return plain[1](path, **how)  # type: ignore[arg-type]

    monkeypatch.setattr(Path, "glob", glob)
    monkeypatch.setattr(os, "stat", stat)

    assert [str(each.place) for each in look(tmp_path / "closed" / "backend").images] == ["../../compose.yml:3"]
