"""What stands between marks of the page, and results that are kept in a file from one part of a run to the next."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from .chart import chart
from .model import Result
from .show import markdown, versions

MARKS = {
    "compared": ("<!-- compared -->", "<!-- end of what was compared -->"),
    "clone": ("<!-- clone -->", "<!-- end of clone -->"),
}
PARTS = {
    "load": "What a plugin costs that is installed and not used",
    "start": "From the start of pytest to its end, with one test",
    "test": "What one test costs",
    "xdist": "Workers of pytest-xdist",
}
NAMED = (
    "pytest-testbed", "pytest-postgresql", "pytest-mock-resources", "pytest-sqla", "pytest-testcontainers", "pytest-rabbitmq",
    "testcontainers", "pytest-httpserver", "responses", "pytest", "pytest-xdist", "SQLAlchemy", "psycopg", "pika", "requests",
)  # fmt: skip
"""Packages whose versions the page shows; the file of results has all."""


def put(path: Path, name: str, lines: Sequence[str]) -> None:
    """Put lines between a pair of marks.

    Raises:
        SystemExit: the page has no such marks.
    """
    begin, end = MARKS[name]
    text = path.read_text(encoding="utf-8")
    head, found, rest = text.partition(begin)
    _, also, tail = rest.partition(end)
    if not found or not also:
        raise SystemExit(f"{path} has no lines {begin} and {end}; between them the result is written")
    path.write_text("\n".join([f"{head}{begin}", "", *lines, "", f"{end}{tail}"]), encoding="utf-8")


def part_of(key: str) -> str:
    """Return the part that a comparison belongs to: what stands before the first hyphen."""
    return key.partition("-")[0]


def lines(kept: dict[str, Any], charts: dict[str, str]) -> Iterator[str]:
    """Yield what was compared: the machine, the charts, the tables, the versions."""
    results = [Result.read(each) for each in kept["results"].values()]
    days = sorted({result.made for result in results})
    commits = sorted({result.commit for result in results})
    loads = [result.load for result in results]
    machine = kept["machine"]
    yield f"Made on {' and '.join(days)} by `benchmarks/compare.py` at commit {', '.join(f'`{each}`' for each in commits)}."
    yield ""
    yield "| | |"
    yield "|---|---|"
    for name, value in machine.items():
        yield f"| {name} | {value} |"
    yield f"| load when a table was begun | {min(loads):.1f} to {max(loads):.1f} |"
    for part, title in PARTS.items():
        own = [result for result in results if part_of(result.key) == part]
        if own:
            yield from ("", f"### {title}", "")
        if own and part in charts:
            yield from (f"![{title}: a bar for each contender; the same figures stand in the tables below]({charts[part]})", "")
        for result in own:
            yield from (*markdown(result), "")
    yield from ("### Versions", "", *versions(kept["versions"], NAMED))


def charts_for(kept: dict[str, Any], page: Path) -> dict[str, str]:
    """Draw a chart for each part beside the page; return their file names."""
    results = [Result.read(each) for each in kept["results"].values()]
    made = {}
    for part, title in PARTS.items():
        own = [result for result in results if part_of(result.key) == part]
        if own:
            made[part] = f"{page.stem}-{part}.svg"
            page.with_name(made[part]).write_text(chart(own, title), encoding="utf-8")
    return made


def read(path: Path | None) -> dict[str, Any]:
    """Return the results of earlier parts, empty where there are none."""
    nothing: dict[str, Any] = {"machine": {}, "versions": {}, "results": {}, "clone": {}}
    if path is None or not path.exists():
        return nothing
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return {**nothing, **found}


def write(path: Path | None, kept: dict[str, Any]) -> None:
    """Keep the results, whole or not at all."""
    if path is not None:
        new = path.with_name(f"{path.name}.new")
        new.write_text(json.dumps(kept, indent=1), encoding="utf-8")
        new.replace(path)


def as_kept(result: Result) -> dict[str, Any]:
    """Return a result for the file."""
    return asdict(result)
