"""What it costs to set levels and areas, by the number of collected tests: `python benchmarks/levels.py [--rounds 15]`."""

from __future__ import annotations

import argparse
import json
import statistics
from pathlib import Path

from measuring import OURS, pytest_told, temporary

PLUGIN = """
import gc, json, os, statistics, time
from pytest_testbed import levelled
from pytest_testbed.plugins import levels

def pytest_collection_finish(session):
    config, items = session.config, session.items
    before = [list(item.own_markers) for item in items]
    samples = []
    for turn in range({rounds} + 1):
        gc.collect()
        began = time.perf_counter()
        if levels.anything_said(config, items, levels.fixtures(config)):
            levelled.set_levels(config, items)
        samples.append(time.perf_counter() - began)
        marked = sum(len(item.own_markers) for item in items)
        for item, marks in zip(items, before):
            item.own_markers[:] = marks
    with open(os.environ["BENCH_OUT"], "w") as file:
        json.dump([samples[1:], marked], file)
"""
A_FILE = 50
"""Tests of each file."""
VARIANTS = {
    "a folder says level and area": ("tests/integration/database", "def test_{n}(): pass"),
    "fixtures say both": ("tests/more", "def test_{n}(pg_session, rabbitmq_broker): pass"),
    "marked by hand": ("tests/integration/database", "@pytest.mark.e2e\n@pytest.mark.api\ndef test_{n}(): pass"),
    "with parameters": ("tests/integration/database", "@pytest.mark.parametrize('x', range(5))\ndef test_{n}(x): pass"),
    "nothing says anything": ("tests/more", "def test_{n}(tmp_path): pass"),
}


def project(folder: str, test: str, number: int) -> Path:
    """Write so many tests into one folder of a project."""
    root = temporary()
    (root / folder).mkdir(parents=True)
    (root / "timing.py").write_text(PLUGIN.format(rounds=ROUNDS))
    (root / "pytest.ini").write_text("[pytest]\ntestbed_levels = off\npythonpath = .\n")
    each = A_FILE // 5 if "parametrize" in test else A_FILE
    for file in range(number // A_FILE):
        text = "import pytest\n" + "\n".join(test.format(n=n) for n in range(each))
        (root / folder / f"test_{file}.py").write_text(text)
    return root


def measured(folder: str, test: str, number: int) -> tuple[list[float], int]:
    """Return the seconds of each turn, and how many marks the tests had then."""
    root = project(folder, test, number)
    out = root / "out"
    pytest_told(root, "-p", "timing", "--collect-only", "-qq", plugin=OURS, BENCH_OUT=str(out))
    samples, marks = json.loads(out.read_text())
    return samples, marks


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--sizes", type=int, nargs="+", default=[2_500, 5_000, 10_000, 20_000])
    arguments = parser.parse_args()
    ROUNDS = arguments.rounds
    print("levels of collected tests, medians   (target: at most 60 ms for 10,000, linear)")
    for name, (folder, test) in VARIANTS.items():
        print(f"\n{name}")
        for number in arguments.sizes:
            samples, marks = measured(folder, test, number)
            middle = statistics.median(samples)
            low, high = min(samples) * 1e3, max(samples) * 1e3
            print(
                f"  {number:7,} tests  {middle * 1e3:8.1f} ms   {middle / number * 1e6:5.2f} µs a test   "
                f"(min {low:.1f}, max {high:.1f}; {marks:,} marks)"
            )
