"""Guard: fragments of the changelog are named as the tools expect, are sentences, and are all in the text."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
FOLDER = ROOT / "changelog.d"
SETTINGS = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["towncrier"]
TYPES = [row["directory"] for row in SETTINGS["type"]]
AREAS = re.findall(r'^    \("(\w+)", "', (FOLDER / "template.md.jinja").read_text(), re.MULTILINE)
NAME = re.compile(rf"({'|'.join(AREAS)})-[a-z0-9-]+\.({'|'.join(TYPES)})\.md")


def faults(path: Path) -> list[str]:
    """Return what is wrong with a file in the folder of fragments."""
    text = path.read_text(encoding="utf-8")
    wrong = []
    if not NAME.fullmatch(path.name):
        wrong.append(f"{path.name}: the name is to be AREA-WORD.TYPE.md; areas: {', '.join(AREAS)}; types: {', '.join(TYPES)}")
    if not text.rstrip().endswith("."):
        wrong.append(f"{path.name}: the text ends with no full stop")
    if text.lstrip().startswith(("-", "*", "#")):
        wrong.append(f"{path.name}: the text is one entry; the bullet comes by itself")
    return wrong


def test_fragments() -> None:
    others = {"README.md", "template.md.jinja"}
    assert [fault for path in sorted(FOLDER.iterdir()) if path.name not in others for fault in faults(path)] == []


@pytest.mark.parametrize(
    ("name", "text", "fault"),
    [
        ("pg-x.feature.md", "It is there.\n", None),
        ("pg-x.featur.md", "It is there.", "the name"),
        ("pgx.feature.md", "It is there.", "the name"),
        ("pg-x.feature.rst", "It is there.", "the name"),
        ("pg-x.fix.md", "It is there", "full stop"),
        ("pg-x.fix.md", "", "full stop"),
        ("pg-x.fix.md", "- It is there.", "bullet"),
    ],
)
def test_faults_are_seen(tmp_path: Path, name: str, text: str, fault: str | None) -> None:
    (tmp_path / name).write_text(text)
    found = faults(tmp_path / name)
    assert found == [] if fault is None else fault in found[0]


def test_the_readme_names_them_all() -> None:
    text = (FOLDER / "README.md").read_text()
    assert [word for word in (*TYPES, *AREAS) if f"`{word}`" not in text] == []


def test_the_text_of_the_next_version_has_each_of_them() -> None:
    command = [sys.executable, "-m", "towncrier", "build", "--draft", "--version", "0.0.0"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    shown = " ".join(done.stdout.split())
    assert shown.startswith("## 0.0.0 - ")
    fragments = [path for path in sorted(FOLDER.iterdir()) if NAME.fullmatch(path.name)]
    assert [path.name for path in fragments if f"- {' '.join(path.read_text().split())}" not in shown] == []
    assert SETTINGS["filename"] == "CHANGELOG.md"
    assert (ROOT / "CHANGELOG.md").read_text().count("<!-- towncrier release notes start -->\n") == 1
