"""One case of each parametrised test, or the others: for a machine that has no time for all of them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from zlib import crc32

__all__ = ["CHOICES", "chosen"]

CHOICES = ("all", "one", "others")


def chosen(names: Iterable[str], which: str) -> set[str]:
    """Return the node ids that are run.

    Of a test's cases the one is taken that its name leads to, and not the first: so providers and drivers, which come first or
    last in all tests alike, have their share.

    Args:
        names: all node ids; the cases of a test have what comes before the bracket in common.
        which: "all", "one" or "others".
    """
    tests: dict[str, list[str]] = defaultdict(list)
    for name in names:
        tests[name.partition("[")[0]].append(name)
    if which == "all":
        return {name for cases in tests.values() for name in cases}
    ones = {_one(test, sorted(cases)) for test, cases in tests.items()}
    return ones if which == "one" else {name for cases in tests.values() for name in cases} - ones


def _one(test: str, cases: Sequence[str]) -> str:
    return cases[crc32(test.encode()) % len(cases)]
