"""Processes that are timed, and tables of their times; folders that are gone when the benchmark ends."""

from __future__ import annotations

import atexit
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from importlib.metadata import entry_points
from pathlib import Path

PLAIN = ["-p", "no:cacheprovider", "-q", "--no-header"]
TOLD = "-vv"
"""With `PLAIN` before it: what a run did is told at its end."""
OURS, PEERS = "testbed", "pytest_postgresql"


class Table:
    """Samples of several variants, in seconds."""

    def __init__(self, title: str) -> None:
        self.title = title
        self.samples: dict[str, list[float]] = {}

    def add(self, name: str, seconds: float) -> None:
        """Add one sample."""
        self.samples.setdefault(name, []).append(seconds)

    def median(self, name: str) -> float:
        """Return a variant's median in milliseconds."""
        return statistics.median(self.samples[name]) * 1e3

    def over(self, name: str, floor: str) -> float:
        """Return the median of the pairwise differences in milliseconds."""
        return statistics.median(a - b for a, b in zip(self.samples[name], self.samples[floor], strict=True)) * 1e3

    def show(self) -> None:
        """Print the medians."""
        print(f"\n{self.title}")
        for name, values in self.samples.items():
            low, high = min(values) * 1e3, max(values) * 1e3
            print(f"  {name:44} {self.median(name):9.2f} ms   (min {low:.2f}, max {high:.2f}, n {len(values)})")


def environment(**more: str) -> dict[str, str]:
    """Return an environment without anything that could steer pytest or us."""
    # byte code is cached as on any user's machine: else every start would compile what it loads
    others = ("DATABASE_URL", "PYTHONDONTWRITEBYTECODE")
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("TESTBED_", "PG", "PYTEST_")) and k not in others}
    return {**kept, **more}


def without_others(wanted: str) -> list[str]:
    """Return the arguments that block every installed plugin but one, in the way in which users load it."""
    names = {point.name for point in entry_points(group="pytest11")} - {wanted}
    return [part for name in sorted(names) for part in ("-p", f"no:{name}")]


def temporary(directory: str | None = None) -> Path:
    """Return a new folder that is removed when the benchmark ends."""
    path = Path(tempfile.mkdtemp(prefix="testbed-benchmark-", dir=directory))
    atexit.register(shutil.rmtree, path, ignore_errors=True)
    return path


def timed(command: list[str], folder: Path, variables: dict[str, str]) -> tuple[float, str]:
    """Run a command that must succeed; return its wall time in seconds, and what it wrote."""
    began = time.perf_counter()
    done = subprocess.run(command, cwd=folder, env=environment(**variables), capture_output=True, text=True, check=False)
    took = time.perf_counter() - began
    if done.returncode:
        sys.exit(f"{' '.join(command)}\n{done.stdout}{done.stderr}")
    return took, done.stdout


def pytest_told(folder: Path, *arguments: str, plugin: str = "", **variables: str) -> tuple[float, str]:
    """Run pytest with one installed plugin, in a process of its own; return its wall time and what it wrote."""
    return timed([sys.executable, "-m", "pytest", *PLAIN, *without_others(plugin), *arguments], folder, variables)


def pytest_run(folder: Path, *arguments: str, plugin: str = "", **variables: str) -> float:
    """Run pytest with one installed plugin, in a process of its own; return its wall time in seconds."""
    return pytest_told(folder, *arguments, plugin=plugin, **variables)[0]


def until_query(project: Path, plugin: str = "", **variables: str) -> float:
    """Return the seconds from the start of pytest to the first query's answer."""
    out = project / "out"
    began = time.time()
    pytest_run(project, plugin=plugin, BENCH_OUT=str(out), **variables)
    return float(out.read_text()) - began


def engines() -> list[str]:
    """Return the providers that this machine has: local always, docker where an engine answers."""
    try:
        done = subprocess.run(["docker", "version"], capture_output=True, check=False)
        found = done.returncode == 0
    except FileNotFoundError:
        found = False
    if not found:
        print("\ndocker: no engine answers, left out")
    return ["local", "docker"] if found else ["local"]


def tidy(variables: dict[str, str]) -> None:
    """End the hosts of a ledger that is the benchmark's own, and remove what dead ones left."""
    state, cache = (variables[name] for name in ("XDG_STATE_HOME", "TESTBED_CACHE_DIR"))
    if not Path(state, "pytest-testbed").is_dir():  # the user's own ledger would be taken
        return
    for command in ("stop", "--all"), ("prune",):
        whole = [sys.executable, "-m", "pytest_testbed", *command]
        subprocess.run(whole, env=environment(XDG_STATE_HOME=state, TESTBED_CACHE_DIR=cache), capture_output=True, check=False)
