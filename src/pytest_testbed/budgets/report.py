"""What is said of a test that has used more than it may: budget, actual, and where it went."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from .limits import Limit
from .usage import CALL, SETUP, Usage, Used

__all__ = ["faults"]

SHOWN = 5
"""Groups that are shown of what was counted."""
WIDTH = 200
"""Characters of a shape that are shown."""
WORDS = {"queries": "statement", "http_calls": "HTTP call", "messages": "message"}


def faults(usage: Usage, limits: Mapping[str, Limit], factor: float) -> str:
    """Return what there is to say of the budgets that were exceeded, "" where none was.

    Args:
        usage: what the test has used.
        limits: its budgets, by name.
        factor: what seconds are multiplied by: above 1 under CI.
    """
    lines: list[str] = []
    for name, limit in limits.items():
        if limit.most is None:
            continue
        if name == "seconds":
            if usage.seconds(CALL) > limit.most * factor:
                lines += _of_seconds(usage, limit, factor)
        elif usage.count(name, CALL) > limit.most:
            lines += _of_counter(name, usage, limit)
    return "\n".join(lines)


# --- counters


def _of_counter(name: str, usage: Usage, limit: Limit) -> Iterator[str]:
    used = usage.used(name, CALL)
    yield f"used {counted(name, len(used))}, budget {limit.most:,} ({limit.source})"
    yield from _groups(used)
    if before := usage.count(name, SETUP):
        yield f"  (its fixtures used {counted(name, before)}, which {'is' if before == 1 else 'are'} not in the budget)"


def _groups(used: Sequence[Used]) -> Iterator[str]:
    groups: dict[tuple[str, str], list[Used]] = {}
    for each in used:
        groups.setdefault((each.shape, each.where), []).append(each)
    most = sorted(groups.items(), key=lambda group: -len(group[1]))
    width = max(len(f"{len(group):,}") for _, group in most)
    shown = SHOWN if len(most) > SHOWN + 1 else len(most)
    for (shape, where), group in most[:shown]:
        took = sum(each.milliseconds for each in group)
        ends = [f"{took:.1f} ms" if took else "", where]
        yield f"  {len(group):>{width},} x " + " · ".join([_cut(shape), *filter(None, ends)])
    if rest := most[shown:]:
        yield f"  {sum(len(group) for _, group in rest):>{width},} more, of {len(rest)} other kinds"


def _cut(text: str) -> str:
    return text if len(text) <= WIDTH else f"{text[:WIDTH]}..."


def counted(name: str, number: int) -> str:
    """Return a number of what a counter counts, for people."""
    return f"{number:,} {WORDS[name]}{'' if number == 1 else 's'}"


# --- seconds


def _of_seconds(usage: Usage, limit: Limit, factor: float) -> Iterator[str]:
    most = limit.most or 0.0
    how = f"{most:g} s x {factor:g} under CI, " if factor != 1 else ""
    yield f"used {duration(usage.seconds(CALL))}, budget {most * factor:g} s ({how}{limit.source})"
    parts = []
    for name in usage.names:
        if used := usage.used(name, CALL):
            took = sum(each.milliseconds for each in used) / 1e3
            parts.append(counted(name, len(used)) + (f" in {duration(took)}" if took else ""))
    if parts:
        yield f"  in the test: {', '.join(parts)}"
    apart = [f"setup {duration(usage.seconds(SETUP))}"]
    if usage.waited >= 0.0005:
        apart.append(f"waiting for services to start {duration(usage.waited)}")
    yield f"  not in the budget: {', '.join(apart)}"


def duration(seconds: float) -> str:
    """Return a length of time for people."""
    return f"{seconds:,.3f} s" if seconds >= 0.1 else f"{seconds:.3g} s"
