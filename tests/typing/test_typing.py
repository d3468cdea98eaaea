"""Guard: users' code with our types passes mypy --strict and pyright in strict mode, and mistakes are seen by both."""

from __future__ import annotations

import ast
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).parent
CHECKERS = ("mypy", "pyright")
Found = list[tuple[int, str]]


def by_mypy(name: str) -> Found:
    """Return line and code of each error that mypy finds in a file."""
    api = pytest.importorskip("mypy.api")
    cache = HERE.parent.parent / ".mypy_cache"
    shown, problem, _ = api.run(["--strict", "--config-file=", f"--cache-dir={cache}", "--no-error-summary", str(HERE / name)])
    assert not problem
    found = re.findall(r"^.*?([^/\s]+\.py):(\d+): error: .*\[([\w-]+)\]$", shown, re.MULTILINE)
    assert len(found) == shown.count(": error:")
    assert [where for where, *_ in found if where != name] == [], shown
    return [(int(line), code) for _, line, code in found]


QUIET = {"PYRIGHT_PYTHON_IGNORE_WARNINGS": "1"}
"""Else it looks on the network for a newer version of itself."""


def pyright(*arguments: str) -> dict[str, Any]:
    """Return what pyright tells, as JSON has it."""
    pytest.importorskip("pyright")
    # it asks the first python of PATH where packages are
    environ = {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}", **QUIET}
    command = [sys.executable, "-m", "pyright", "--outputjson", *arguments]
    done = subprocess.run(command, env=environ, capture_output=True, text=True, check=False, cwd=HERE)
    assert done.stdout.startswith("{"), done.stdout + done.stderr
    told: dict[str, Any] = json.loads(done.stdout)
    return told


@pytest.fixture(scope="module")
def pyright_told() -> dict[str, Found]:
    """Line and rule of each error that pyright finds in each file; it is started once, as that takes longest."""
    told = pyright("--project", str(HERE))
    assert told["summary"]["filesAnalyzed"] == 2, told["summary"]
    found: dict[str, Found] = {}
    for each in told["generalDiagnostics"]:
        # that a type is unknown follows from the mistake that is told as well
        if not each.get("rule", "").startswith("reportUnknown"):
            line = each["range"]["start"]["line"] + 1
            found.setdefault(Path(each["file"]).name, []).append((line, each.get("rule", each["message"])))
    return found


@pytest.fixture(params=CHECKERS)
def checked(request: pytest.FixtureRequest) -> Iterator[dict[str, Found]]:
    """What a type checker finds in our two files."""
    if request.param == "mypy":
        yield {name: by_mypy(name) for name in ("user_code.py", "refused.py")}
    else:
        yield request.getfixturevalue("pyright_told")


def test_what_users_write_is_accepted(checked: dict[str, Found]) -> None:
    assert checked.get("user_code.py", []) == []


def test_mistakes_are_refused(checked: dict[str, Found], request: pytest.FixtureRequest) -> None:
    column = CHECKERS.index(request.node.callspec.params["checked"])
    lines = enumerate((HERE / "refused.py").read_text().splitlines(), 1)
    told = [(number, line.partition("  # error: ")[2].split(", ")[column]) for number, line in lines if "  # error: " in line]
    assert len(told) > 20
    assert sorted(checked["refused.py"]) == told


def reference(name: str) -> Any:
    """Return a part of what makes the reference, which knows fixtures and public classes from the source."""
    sys.path.insert(0, str(HERE.parent.parent / "docs"))
    try:
        return import_module(f"reference_pages.{name}")
    finally:
        sys.path.pop(0)


def annotated(file: str) -> dict[str, set[str]]:
    """Return the arguments of all functions in a file with what they are annotated with."""
    found: dict[str, set[str]] = {}
    for node in ast.walk(ast.parse((HERE / file).read_text())):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            used = {each.id for each in ast.walk(node) if isinstance(each, ast.Name)}
            for argument in node.args.args:
                if argument.annotation is not None and argument.arg in used:
                    found.setdefault(argument.arg, set()).add(ast.unparse(argument.annotation))
    return found


def test_every_fixture_is_used_with_its_type() -> None:
    """One that is missing here may have a type that nobody can write."""
    code = annotated("user_code.py")
    wanted = {each.name: each.type for each in reference("fixtures").fixtures()}
    # a fixture's own name, where user_code.py overrides it
    overridden = {"pg_schema": {"Sequence[object]"}}
    assert {name: type for name, type in wanted.items() if type not in code.get(name, overridden.get(name, set()))} == {}


def test_no_public_type_has_to_be_guessed() -> None:
    """Of what users import: an attribute without a type is one that each type checker infers in its own way."""
    told = pyright("--verifytypes", "pytest_testbed", "--ignoreexternal")["typeCompleteness"]["symbols"]
    modules = ("pytest_testbed.hookspecs", "pytest_testbed.settings", "pytest_testbed.testing")
    public = (*modules, *(f"{each.__module__}.{each.__qualname__}" for each in reference("classes").public()))

    found = [each for each in told if each["name"] in public or each["name"].startswith(tuple(f"{name}." for name in public))]
    assert len(found) > 500
    assert {each["name"]: each["diagnostics"] for each in found if not each["isTypeKnown"]} == {}
