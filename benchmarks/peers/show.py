"""Tables of what was measured, as text for a terminal and as Markdown for the page."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from .model import OURS, Result, Row, spread

NOTHING = "–"


def figure(seconds: float | None, unit: str) -> str:
    """Return a time with as many digits as mean something."""
    if seconds is None:
        return NOTHING
    value = seconds * 1e3 if unit == "ms" else seconds
    digits = 2 if abs(value) < 10 else 1 if abs(value) < 100 else 0
    return f"{value:.{digits}f} {unit}"


def times(ratio: float | None) -> str:
    """Return a ratio to ours."""
    if ratio is None:
        return NOTHING
    return f"{ratio:.0f} ×" if ratio >= 20 else f"{ratio:.1f} ×" if ratio >= 2 else f"{ratio:.2f} ×"


def cells(result: Result, row: Row) -> list[str]:
    """Return the cells of a row."""
    values = row.samples.get(result.first)
    if not values:
        return [row.name, NOTHING, NOTHING, NOTHING, *([NOTHING] * len(result.columns[1:])), row.reason]
    low, high = spread(values)
    unit = result.unit
    between = f"{figure(low, unit).removesuffix(f' {unit}')} – {figure(high, unit)}, n {len(values)}"
    more = [figure(row.median(column), unit) for column in result.columns[1:]]
    return [row.name, figure(row.median(result.first), unit), times(result.ratio(row)), between, *more, row.lacks]


def heads(result: Result) -> list[str]:
    """Return the heads of the columns."""
    return ["", result.first, "of ours", "lowest – highest", *result.columns[1:], "what it does not give"]


def text(result: Result) -> str:
    """Return a table for a terminal; what is long (what is not given, why there is no figure) stands below."""
    rows = [heads(result)[:-1], *(cells(result, row)[:-1] for row in result.rows)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = [result.title]
    for first, *others in rows:
        aligned = [first.ljust(widths[0]), *map(str.rjust, others, widths[1:])]
        lines.append("  " + "  ".join(aligned).rstrip())
    lines += [f"  not measured: {row.name}: {row.reason}" for row in result.rows if row.reason]
    lines += [f"  not in it: {name}: {why}" for name, why in result.absent.items()]
    return "\n".join(lines)


def markdown(result: Result) -> Iterator[str]:
    """Yield the lines of a section: heading, what is compared, table, who is not in it, who is ahead.

    The last column is left out where nobody lacks anything.
    """
    rows = [heads(result), *(cells(result, row) for row in result.rows)]
    width = len(rows[0]) - (not any(row[-1] for row in rows[1:]))
    yield f"#### {result.title}"
    yield ""
    yield result.about
    yield ""
    yield "| " + " | ".join(rows[0][:width]) + " |"
    yield "|---|" + "---:|" * (len(rows[0]) - 2) + "---|" * (width - len(rows[0]) + 1)
    for row, found in zip(result.rows, rows[1:], strict=True):
        name = f"**{row.name}**" if row.contender == OURS else row.name
        yield "| " + " | ".join([name, *map(escaped, found[1:width])]) + " |"
    if result.absent:
        yield ""
        yield "Not in it: " + "; ".join(f"{name} ({why})" for name, why in result.absent.items()) + "."
    ahead = result.ahead()
    if ahead:
        yield ""
        yield f"Ahead of ours: {', '.join(row.name for row in ahead)}."


def escaped(cell: str) -> str:
    """Return a cell that ends no column of a Markdown table."""
    return cell.replace("|", "\\|").replace("\n", " ")


def versions(found: dict[str, dict[str, str]], named: Sequence[str]) -> Iterator[str]:
    """Yield a table of the versions that were resolved; one line where all environments agree."""
    yield "| package | version |"
    yield "|---|---|"
    for package in named:
        held = {each[package]: "" for each in found.values() if package in each}
        if len(held) == 1:
            yield f"| {package} | {next(iter(held))} |"
        elif held:
            by = [f"{version} ({', '.join(v for v, each in found.items() if each.get(package) == version)})" for version in held]
            yield f"| {package} | {', '.join(by)} |"
