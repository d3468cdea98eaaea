"""What it costs to set levels and areas, by the number of collected tests."""

from __future__ import annotations

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
SIZES = (2_500, 5_000, 10_000, 20_000)
A_FILE = 50
"""Tests of each file."""
VARIANTS = {
    "a folder says level and area": ("tests/integration/database", "def test_{n}(): pass"),
    "fixtures say both": ("tests/more", "def test_{n}(pg_session, rabbitmq_broker): pass"),
    "marked by hand": ("tests/integration/database", "@pytest.mark.e2e\n@pytest.mark.api\ndef test_{n}(): pass"),
    "with parameters": ("tests/integration/database", "@pytest.mark.parametrize('x', range(5))\ndef test_{n}(x): pass"),
    "nothing says anything": ("tests/more", "def test_{n}(tmp_path): pass"),
}


def project(folder: str, test: str, number: int, turns: int) -> Path:
    """Write so many tests into one folder of a project."""
    root = temporary()
    (root / folder).mkdir(parents=True)
    (root / "timing.py").write_text(PLUGIN.format(rounds=turns))
    (root / "pytest.ini").write_text("[pytest]\ntestbed_levels = off\npythonpath = .\n")
    each = A_FILE // 5 if "parametrize" in test else A_FILE
    for file in range(number // A_FILE):
        text = "import pytest\n" + "\n".join(test.format(n=n) for n in range(each))
        (root / folder / f"test_{file}.py").write_text(text)
    return root


def measured(folder: str, test: str, number: int, turns: int) -> tuple[list[float], int]:
    """Return the seconds of each turn, and how many marks the tests had then."""
    root = project(folder, test, number, turns)
    out = root / "out"
    pytest_told(root, "-p", "timing", "--collect-only", "-qq", plugin=OURS, BENCH_OUT=str(out))
    samples, marks = json.loads(out.read_text())
    return samples, marks


def levels(rounds: int) -> None:
    """Measure each way to say a level, with more and more tests."""
    print("\nlevels of collected tests, medians   (target: at most 60 ms for 10,000, linear)")
    for name, (folder, test) in VARIANTS.items():
        print(f"  {name}")
        for number in SIZES:
            samples, marks = measured(folder, test, number, rounds * 3)
            middle = statistics.median(samples)
            low, high = min(samples) * 1e3, max(samples) * 1e3
            print(
                f"    {number:7,} tests  {middle * 1e3:8.1f} ms   {middle / number * 1e6:5.2f} µs a test   "
                f"(min {low:.1f}, max {high:.1f}; {marks:,} marks)"
            )
