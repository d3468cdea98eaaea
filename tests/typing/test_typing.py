"""Guard: users' code with our types passes mypy --strict, and mistakes are seen."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

HERE = Path(__file__).parent


def checked(name: str) -> list[tuple[int, str]]:
    """Return line and code of each error that mypy finds in a file."""
    api = pytest.importorskip("mypy.api")
    shown, problem, _ = api.run(
        [
            "--strict",
            "--config-file=",
            f"--cache-dir={HERE.parent.parent / '.mypy_cache'}",
            "--no-error-summary",
            str(HERE / name),
        ]
    )
    assert not problem
    found = re.findall(r"^.*?([^/\s]+\.py):(\d+): error: .*\[([\w-]+)\]$", shown, re.MULTILINE)
    assert len(found) == shown.count(": error:")
    assert [where for where, *_ in found if where != name] == [], shown
    return [(int(line), code) for _, line, code in found]


def test_what_users_write_is_accepted() -> None:
    assert checked("user_code.py") == []


def test_mistakes_are_refused() -> None:
    lines = enumerate((HERE / "refused.py").read_text().splitlines(), 1)
    expected = [(number, line.partition("# error: ")[2]) for number, line in lines if "  # error: " in line]
    assert len(expected) > 4
    assert checked("refused.py") == expected
