"""Compares what is in a wheel and an sdist with the checkout: python scripts/package_contents.py WHEEL SDIST."""

from __future__ import annotations

import sys
import tarfile
import zipfile
from collections.abc import Iterable
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = "pytest_testbed"
WHOLE = ("src", "tests", "docs", "examples", "benchmarks", "scripts", "changelog.d")
"""Folders that are in the sdist as they are in the checkout."""
PAGES = ("README.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md", "RELEASING.md", "LICENSE", "pyproject.toml", "tox.ini")
LEFT_BEHIND = {"__pycache__", ".pytest_cache", ".mypy_cache", ".ruff_cache"}


def files(folder: Path) -> set[str]:
    """Return the files below a folder that a run of something did not leave there."""
    return {
        path.relative_to(folder).as_posix()
        for path in folder.rglob("*")
        if path.is_file() and not LEFT_BEHIND & set(path.parts) and path.suffix != ".pyc"
    }


def difference(what: str, found: Iterable[str], wanted: Iterable[str]) -> list[str]:
    """Return a line for each file that is missing or too many."""
    found, wanted = set(found), set(wanted)
    return [
        *(f"{what}: {name} is missing" for name in sorted(wanted - found)),
        *(f"{what}: {name} does not belong there" for name in sorted(found - wanted)),
    ]


def faults_of_wheel(path: Path, root: Path = ROOT) -> list[str]:
    """Return what is wrong with a wheel: it has the whole package, its types, the licence and the entry point, and no more."""
    with zipfile.ZipFile(path) as wheel:
        names = set(wheel.namelist())
        about = {name for name in names if ".dist-info/" in name}
        wanted = {f"{PACKAGE}/{name}" for name in files(root / "src" / PACKAGE)} | {f"{PACKAGE}/py.typed"}
        faults = difference("wheel", names - about, wanted)
        own = {name.partition("/")[2] for name in about}
        faults += difference("wheel", own, {"METADATA", "WHEEL", "RECORD", "entry_points.txt", "licenses/LICENSE"})
        for name in sorted(names - about & wanted):
            source = root / "src" / name
            if source.is_file() and wheel.read(name) != source.read_bytes():
                faults.append(f"wheel: {name} differs from the checkout")
        for name in (each for each in about if each.endswith("/entry_points.txt")):
            if f"[pytest11]\ntestbed = {PACKAGE}.plugin" not in wheel.read(name).decode():
                faults.append("wheel: pytest would not find the plugin: entry_points.txt does not name it under pytest11")
    return faults


def faults_of_sdist(path: Path, root: Path = ROOT) -> list[str]:
    """Return what is wrong with an sdist: it is to have all that the tests and the documentation are made of."""
    with tarfile.open(path) as sdist:
        names = {member.name.partition("/")[2] for member in sdist.getmembers() if member.isfile()}
    wanted = {f"{folder}/{name}" for folder in WHOLE for name in files(root / folder)} | set(PAGES)
    # what the tools add, or take along
    extra = {"PKG-INFO", ".gitignore", ".importlinter"}
    return difference("sdist", names - extra, wanted)


def main() -> int:
    """Print the faults; return 1 where there are any."""
    wheel, sdist = map(Path, sys.argv[1:])
    faults = faults_of_wheel(wheel) + faults_of_sdist(sdist)
    if faults:
        print("\n".join(faults), file=sys.stderr)
        return 1
    print(f"{wheel.name} and {sdist.name} have what they are to have")
    return 0


if __name__ == "__main__":
    sys.exit(main())
