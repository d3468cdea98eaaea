"""Shows how much of each package is covered, and fails where all is covered too little.

python scripts/coverage_table.py coverage.json --least 95
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

PACKAGE = "pytest_testbed"


@dataclass
class Counted:
    """What was counted in some files."""

    statements: int = 0
    run: int = 0
    branches: int = 0
    taken: int = 0

    def add(self, summary: Mapping[str, int]) -> None:
        """Count one more file."""
        self.statements += summary["num_statements"]
        self.run += summary["covered_lines"]
        self.branches += summary["num_branches"]
        self.taken += summary["covered_branches"]

    @property
    def of_branches(self) -> float:
        """The branches that were taken, in percent."""
        return 100 * self.taken / self.branches if self.branches else 100.0

    @property
    def of_statements(self) -> float:
        """The statements that were run, in percent."""
        return 100 * self.run / self.statements if self.statements else 100.0


def counted(files: Mapping[str, Mapping[str, Mapping[str, int]]]) -> dict[str, Counted]:
    """Return what was counted, by package; files beside the packages count as one."""
    found: dict[str, Counted] = defaultdict(Counted)
    for name, facts in files.items():
        _, _, inside = name.rpartition(f"{PACKAGE}/")
        folder = inside.split("/")[0] if "/" in inside else "(beside them)"
        found[folder].add(facts["summary"])
        found["all"].add(facts["summary"])
    return dict(found)


def rows(found: Mapping[str, Counted]) -> Iterator[str]:
    """Yield the lines of a table, the whole last."""
    yield f"{'package':<16}{'statements':>11}{'run':>8}{'branches':>10}{'taken':>8}"
    for name in (*sorted(found.keys() - {"all"}), "all"):
        each = found[name]
        yield f"{name:<16}{each.statements:>11}{each.of_statements:>7.1f}%{each.branches:>10}{each.of_branches:>7.1f}%"


def main() -> int:
    """Print the table; return 1 where too few branches were taken."""
    parser = argparse.ArgumentParser(description="Show how much of each package is covered.")
    parser.add_argument("report", help="what `coverage json` wrote")
    parser.add_argument("--least", type=float, default=0.0, help="percent of statements and of branches that are enough")
    chosen = parser.parse_args()
    found = counted(json.loads(Path(chosen.report).read_text(encoding="utf-8"))["files"])
    print("\n".join(rows(found)))
    whole = found["all"]
    if min(whole.of_branches, whole.of_statements) < chosen.least:
        print(f"less than {chosen.least:g} % is covered", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
