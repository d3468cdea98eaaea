"""References to code, `package.module:attribute`, and where they are looked up."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from pytest_testbed.errors import ConfigurationError
from pytest_testbed.services.model import resolve

SOURCE = Path(__file__).resolve().parents[2] / "src"


def test_a_reference_may_name_what_is_inside_a_class() -> None:
    assert resolve("pathlib:Path.cwd") == Path.cwd


@pytest.mark.parametrize("reference", ["no_such_module:x", "json:no_such_name", "json:loads.inner"])
def test_a_wrong_reference_is_an_error_of_configuration(reference: str) -> None:
    with pytest.raises(ConfigurationError, match=f"'{reference}' cannot be loaded"):
        resolve(reference)


@pytest.mark.parametrize(("reference", "loaded"), [("json:loads", True), ("pytest_testbed.services.wire:Wire", False)])
def test_code_of_others_is_looked_up_as_any_python_would(reference: str, loaded: bool) -> None:
    code = (
        f"import sys; sys.path.append({str(SOURCE)!r}); from pytest_testbed.services.model import resolve; "
        f"resolve({reference!r}); print('site' in sys.modules, any('site-packages' in path for path in sys.path))"
    )
    done = subprocess.run([sys.executable, "-S", "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == [str(loaded)] * 2
