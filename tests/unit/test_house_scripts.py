"""What the scripts of the house find wrong: with a package, and with a measurement of coverage."""

from __future__ import annotations

import json
import sys
import tarfile
import zipfile
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

import pytest

SCRIPTS = Path(__file__).parent.parent.parent / "scripts"
ABOUT = "pytest_testbed-1.dist-info"
ENTRY = "[pytest11]\ntestbed = pytest_testbed.plugin\n"


def script(name: str) -> ModuleType:
    spec = spec_from_file_location(name, SCRIPTS / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    sys.modules[name] = module  # for its dataclasses
    spec.loader.exec_module(module)
    del sys.modules[name]
    return module


contents, table = script("package_contents"), script("coverage_table")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A checkout."""
    for name in ("src/pytest_testbed/py.typed", "src/pytest_testbed/plugin.py", "src/pytest_testbed/__pycache__/plugin.pyc"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("")
    return tmp_path


def good() -> dict[str, str]:
    own = {"METADATA": "", "WHEEL": "", "RECORD": "", "entry_points.txt": ENTRY, "licenses/LICENSE": ""}
    return {
        "pytest_testbed/py.typed": "",
        "pytest_testbed/plugin.py": "",
        **{f"{ABOUT}/{name}": text for name, text in own.items()},
    }


def faults(root: Path, files: dict[str, str]) -> list[str]:
    with zipfile.ZipFile(root / "it.whl", "w") as wheel:
        for name, text in files.items():
            wheel.writestr(name, text)
    return contents.faults_of_wheel(root / "it.whl", root)


def test_a_good_wheel(root: Path) -> None:
    assert faults(root, good()) == []


@pytest.mark.parametrize("name", ["pytest_testbed/py.typed", "pytest_testbed/plugin.py"])
def test_a_wheel_without_a_file(root: Path, name: str) -> None:
    assert faults(root, {key: text for key, text in good().items() if key != name}) == [f"wheel: {name} is missing"]


def test_a_wheel_without_types_where_the_checkout_has_none(root: Path) -> None:
    (root / "src/pytest_testbed/py.typed").unlink()
    files = {key: text for key, text in good().items() if not key.endswith("py.typed")}
    assert faults(root, files) == ["wheel: pytest_testbed/py.typed is missing"]


def test_a_wheel_without_the_licence(root: Path) -> None:
    files = {key: text for key, text in good().items() if not key.endswith("LICENSE")}
    assert faults(root, files) == ["wheel: licenses/LICENSE is missing"]


@pytest.mark.parametrize("name", ["tests/test_it.py", "pytest_testbed/__pycache__/plugin.pyc", "conftest.py"])
def test_a_wheel_with_a_file_too_many(root: Path, name: str) -> None:
    assert faults(root, {**good(), name: ""}) == [f"wheel: {name} does not belong there"]


def test_a_wheel_of_another_day(root: Path) -> None:
    assert faults(root, {**good(), "pytest_testbed/plugin.py": "x"}) == [
        "wheel: pytest_testbed/plugin.py differs from the checkout"
    ]


def test_a_wheel_that_pytest_would_not_see(root: Path) -> None:
    (fault,) = faults(root, {**good(), f"{ABOUT}/entry_points.txt": "[console_scripts]\n"})
    assert "does not name it under pytest11" in fault


def test_an_sdist(root: Path) -> None:
    for name in contents.PAGES:
        (root / name).write_text("")
    names = [*contents.PAGES, "PKG-INFO", "src/pytest_testbed/py.typed", "src/pytest_testbed/plugin.py"]
    with tarfile.open(root / "it.tar.gz", "w:gz") as sdist:
        for name in names:
            sdist.add(root / "README.md", f"it-1/{name}")
    assert contents.faults_of_sdist(root / "it.tar.gz", root) == []
    (root / "src/pytest_testbed/more.py").write_text("")
    assert contents.faults_of_sdist(root / "it.tar.gz", root) == ["sdist: src/pytest_testbed/more.py is missing"]


# --- coverage


def report(path: Path, covered: int) -> str:
    few = {"num_statements": 10, "covered_lines": 10, "num_branches": 10, "covered_branches": covered}
    many = {"num_statements": 90, "covered_lines": 90, "num_branches": 90, "covered_branches": 90}
    files = {"src/pytest_testbed/http/mock.py": {"summary": few}, "src/pytest_testbed/plugin.py": {"summary": many}}
    path.write_text(json.dumps({"files": files}))
    return str(path)


@pytest.mark.parametrize(("covered", "code"), [(5, 0), (4, 1)])
def test_the_table(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], covered: int, code: int
) -> None:
    monkeypatch.setattr(sys, "argv", ["it", report(tmp_path / "it.json", covered), "--least", "95"])
    assert table.main() == code
    shown = capsys.readouterr()
    rows = [line.split() for line in shown.out.splitlines()]
    assert [row[0] for row in rows] == ["package", "(beside", "http", "all"]
    assert rows[-1][1:] == ["100", "100.0%", "100", f"{90 + covered}.0%"]
    assert shown.err == ("less than 95 % is covered\n" if code else "")
