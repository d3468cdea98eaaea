"""What `doctor` finds of Python and of packages: those that the plugin needs, and those that its extras bring."""

from __future__ import annotations

import platform
import re
import sys
from collections.abc import Iterator
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, requires, version

from .finding import Finding, bad, none, ok

__all__ = ["OWN", "own_version", "package_findings"]

GROUP = "packages"
OWN = "pytest-testbed"
SAME = {"psycopg2-binary": "psycopg2"}
"""Distributions that bring the same module, under the name of another."""
REQUIREMENT = re.compile(
    r"(?P<name>[\w.-]+)\s*(?:\[[^\]]*\])?\s*(?P<version>[^;]*?)\s*(?:;.*?extra\s*==\s*['\"](?P<extra>[\w-]+)['\"])?$"
)


def own_version() -> str:
    """Return the plugin's version, "" where it is not installed."""
    return installed(OWN)


def installed(name: str) -> str:
    """Return a distribution's version, "" where it is not there."""
    for each in (name, SAME.get(name, name)):
        with suppress(PackageNotFoundError):
            return version(each) or ""
    return ""


def package_findings() -> list[Finding]:
    """Return Python, what is required, each extra that is there, and together those that are not."""
    where = sys.prefix if sys.prefix != sys.base_prefix else f"{sys.executable}, no virtual environment"
    python = ok(
        GROUP, "Python", f"{platform.python_version()} ({where})", version=platform.python_version(), executable=sys.executable
    )
    try:
        lines = requires(OWN) or []
    except PackageNotFoundError:
        text = "pytest-testbed is not installed in this Python, and runs from its source: pytest does not load it by itself"
        return [python, bad(GROUP, "required", text, f"{sys.executable} -m pip install {OWN}")]
    wanted: dict[str, list[tuple[str, str]]] = {"": []}
    for line in lines:
        if match := REQUIREMENT.fullmatch(line):
            wanted.setdefault(match["extra"] or "", []).append((match["name"], match["version"]))
    found = [of_packages(extra, names) for extra, names in wanted.items()]
    absent = [each for each in found if each.state == "none"]
    return [python, *(each for each in found if each.state != "none"), *([not_installed(absent)] if absent else [])]


def not_installed(extras: list[Finding]) -> Finding:
    """Return one finding for all extras of which something is lacking: most projects need few of them."""
    facts = {name: version for each in extras for name, version in each.facts["versions"].items()}
    names = ",".join(each.name.strip("[]") for each in extras)
    text = "; ".join(f"{each.name} {each.text.removeprefix('not installed: ')}" for each in extras)
    return none(GROUP, "not installed", text, f'what is wanted of pip install "{OWN}[{names}]"', versions=facts)


def of_packages(extra: str, names: list[tuple[str, str]]) -> Finding:
    """Return what is there of the packages of an extra, "" for what is always required."""
    versions = {name: installed(name) for name, _ in names}
    lacking, old = [name for name in versions if not versions[name]], [*too_old(names, versions)]
    there = ", ".join(f"{name} {found}" for name, found in versions.items() if found)
    get = f'pip install "{OWN}[{extra}]"' if extra else f"pip install --upgrade {OWN} {' '.join(lacking)}".rstrip()
    label, facts = f"[{extra}]" if extra else "required", {"versions": versions}
    if old:
        return Finding(GROUP, label, "bad", f"{there}; too old: {', '.join(old)}", get, facts)
    if not lacking:
        return Finding(GROUP, label, "ok", there, "", facts)
    text = f"{there}; not installed: {', '.join(lacking)}" if there else f"not installed: {', '.join(lacking)}"
    return Finding(GROUP, label, "none" if extra else "bad", text, get, facts)


def too_old(names: list[tuple[str, str]], versions: dict[str, str]) -> Iterator[str]:
    """Yield what is there in a version that will not do."""
    try:
        from packaging.specifiers import SpecifierSet
    except ImportError:  # it comes with pytest, and so does this question
        return
    for name, wanted in names:
        if versions[name] and wanted and not SpecifierSet(wanted).contains(versions[name], prereleases=True):
            yield f"{name} {versions[name]} (wanted: {wanted})"
