"""Guard: who may import whom, and where options are read."""

from __future__ import annotations

import ast
import configparser
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SOURCE = ROOT / "src" / "pytest_testbed"
FILES = sorted(SOURCE.rglob("*.py"))
LIGHT = [
    *(
        SOURCE / f"{name}.py"
        for name in (
            "__init__",
            "nearest",
            "reading",
            "errors",
            "hookspecs",
            "marks",
            "plugin",
            "scheduling",
            "session",
            "settings",
        )
    ),
    *sorted((SOURCE / "plugins").glob("*.py")),
]


READERS = ("settings.py", "reading.py", "variables.py")  # the last for the command line, which has no pytest
CONFIGS = ("config", "pytestconfig", "self._config", "request.config", "session.config", "item.config", "node.config")


def name_of(path: Path) -> str:
    return path.relative_to(SOURCE).as_posix()


def test_the_contracts_of_the_import_linter(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    cli = pytest.importorskip("importlinter.cli")
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(sys, "path", list(sys.path))
    code = cli.lint_imports(config_filename=str(ROOT / ".importlinter"), no_cache=True)
    shown = capsys.readouterr().out
    assert code == 0, shown
    assert " 0 broken" in shown


def at_load(body: list[ast.stmt]) -> Iterator[ast.Import | ast.ImportFrom]:
    """Yield the imports that run when the file is loaded."""
    for node in body:
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            yield node
        elif isinstance(node, ast.If):
            if "TYPE_CHECKING" not in ast.unparse(node.test):
                yield from at_load(node.body)
            yield from at_load(node.orelse)
        elif isinstance(node, (ast.Try, ast.With, ast.ClassDef)):
            yield from at_load(node.body)


def outside(node: ast.Import | ast.ImportFrom, allowed: set[str]) -> list[str]:
    if isinstance(node, ast.ImportFrom):
        # relative ones lead to files of ours
        own = node.level > 0 and (node.module or "").split(".")[0] not in ("services", "postgres")
        names = [] if own else [f"{'.' * node.level}{node.module}"]
    else:
        names = [alias.name for alias in node.names]
    return [name for name in names if name.split(".")[0] not in allowed]


@pytest.mark.parametrize("path", LIGHT, ids=name_of)
def test_light_files_import_the_standard_library_and_pytest(path: Path) -> None:
    allowed = {*sys.stdlib_module_names, "pytest"} - {"asyncio", "multiprocessing", "ssl"}
    found = [name for node in at_load(ast.parse(path.read_text()).body) for name in outside(node, allowed)]
    assert found == []


def reads_an_option(node: ast.AST) -> bool:
    """Tell whether this is a look at an option of ours, from pytest or from the environment."""
    if isinstance(node, ast.Attribute):
        return node.attr == "getini" or (node.attr.startswith("testbed_") and "option" in ast.unparse(node.value))
    if isinstance(node, (ast.Call, ast.Subscript)):
        what = ast.unparse(node.func if isinstance(node, ast.Call) else node.value)
        words = ast.walk(node.args[0]) if isinstance(node, ast.Call) and node.args else ast.walk(node)
        ours = any(isinstance(word, ast.Constant) and str(word.value).lower().startswith("testbed") for word in words)
        return ours and any(part in what for part in ("getoption", "getvalue", "environ", "getenv"))
    return False


@pytest.mark.parametrize("path", [path for path in FILES if path.name not in READERS], ids=name_of)
def test_options_are_read_in_few_files_alone(path: Path) -> None:
    assert [ast.unparse(node) for node in ast.walk(ast.parse(path.read_text())) if reads_an_option(node)] == []


@pytest.mark.parametrize(
    "code",
    [
        "config.getini('x')",
        "config.getoption('testbed_start')",
        "config.option.testbed_start",
        "os.environ['TESTBED_START']",
        "os.environ.get('TESTBED_START', '')",
        "os.getenv('TESTBED_START')",
    ],
)
def test_the_reading_of_an_option_is_seen(code: str) -> None:
    assert any(map(reads_an_option, ast.walk(ast.parse(code))))


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_nothing_is_hung_on_config(path: Path) -> None:
    tree = ast.parse(path.read_text())
    targets = [
        target
        for node in ast.walk(tree)
        for target in (node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else [])
    ]
    hung = [
        ast.unparse(target) for target in targets if isinstance(target, ast.Attribute) and ast.unparse(target.value) in CONFIGS
    ]
    assert hung == []


def test_each_folder_is_in_the_contracts() -> None:
    """A new one would be in none, and nobody would notice."""
    contracts = configparser.ConfigParser()
    contracts.read(ROOT / ".importlinter")
    told = {name: contracts[f"importlinter:contract:{name}"] for name in ("bodies", "capabilities", "floors", "engine")}
    folders = {path.parent.name for path in SOURCE.glob("*/__init__.py")} - {"services", "plugins", "commands"}
    for name, key in (
        ("bodies", "source_modules"),
        ("capabilities", "modules"),
        ("floors", "layers"),
        ("engine", "forbidden_modules"),
    ):
        missing = {folder for folder in folders if f"pytest_testbed.{folder}" not in told[name][key].split()}
        assert not missing, f"the contract {name} of .importlinter does not have {', '.join(sorted(missing))}"
