"""The figures that the project promises, measured in pairs in one run; medians and ratios, no verdict.

    python benchmarks/run.py                 everything (some minutes; run it when nothing else runs)
    python benchmarks/run.py unused pertest  a part: unused, load, pertest, async, local, docker, reuse, migrated, workers,
                                             queries, frontdoor, isolation, messages, httpmock,
                                             mockservice, live, budgets, factories, levels
    python benchmarks/run.py --rounds 5

Needs the test dependencies and pytest-postgresql (`pip install --group benchmarks`). Variants of one
comparison take turns, so that a machine that slows down slows them all. What is left by runs that are
killed is shown by scripts/deaths. Other plugins are measured by `compare.py`.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable

from asynctest import async_
from budgets import budgets
from factories import factories
from firstquery import docker, local
from frontdoor import frontdoor
from httpmock import http_mock
from isolation import isolation
from levels import levels
from live import live
from load import load
from messages import messages
from migrated import migrated
from mockservice import mockservice
from onetest import pertest, unused
from queries import queries
from reuse import reuse
from workers import workers

PARTS: dict[str, Callable[[int], None]] = {
    "unused": unused,
    "load": load,
    "pertest": pertest,
    "async": async_,
    "local": local,
    "docker": docker,
    "reuse": reuse,
    "migrated": migrated,
    "workers": workers,
    "queries": queries,
    "frontdoor": frontdoor,
    "isolation": isolation,
    "messages": messages,
    "httpmock": http_mock,
    "mockservice": mockservice,
    "live": live,
    "budgets": budgets,
    "factories": factories,
    "levels": levels,
}


def main() -> None:
    """Run what the command line names."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", choices=[*PARTS, []], help="what to measure; default: everything")
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    print(f"Python {sys.version.split()[0]}, {os.cpu_count()} processors, load {os.getloadavg()[0]:.1f}")
    for name in arguments.parts or PARTS:
        PARTS[name](arguments.rounds)


if __name__ == "__main__":
    main()
