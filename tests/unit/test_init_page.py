"""The page about `init` shows what `init` says."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from pytest_testbed.commands.line import main

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "init.md"
FILE = re.compile(r"^\*\*`([^`]+)`\*\*\n\n```\w+\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def test_the_page_shows_what_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = PAGE.read_text(encoding="utf-8")
    files = dict(FILE.findall(text))
    ini = files.pop("pytest.ini")
    for name, content in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(content)

    assert main(["init", str(tmp_path)]) == 0

    out = capsys.readouterr().out.replace(str(tmp_path), "/home/me/shop")
    shown = re.search(r"^```text\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    assert shown is not None
    assert shown[1] == out
    assert ini in out
