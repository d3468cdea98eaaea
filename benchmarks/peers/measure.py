"""Runs the ways of a comparison in turns, and gathers what they took."""

from __future__ import annotations

import json
import os
import socket
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from measuring import PLAIN

from .machine import commit, rabbitmq_bindir, why_no_engine, why_no_image
from .model import Comparison, Result, Row, Unable, Way, one_test
from .processes import Processes, Ran
from .servers import Servers
from .venvs import Venvs
from .workers import COUNTS

CLOCK = '''
"""Writes when each test has ended."""
import json, os, time, pytest
ends = []

@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item, nextitem):
    try:
        return (yield)
    finally:
        ends.append(time.time())

def pytest_unconfigure():
    with open(os.environ["BENCH_OUT"], "w") as file:
        json.dump(ends, file)
'''
FEW = 10
"""A test in so many is left out at the beginning: it pays for what is made once."""


class Progress:
    """One line on a terminal that says what is being measured; nothing where there is none."""

    def __init__(self, steps: int) -> None:
        self.steps, self.done, self.began = steps, 0, time.monotonic()
        self.shown = sys.stderr.isatty()

    def step(self, text: str) -> None:
        """Show the next step."""
        self.done += 1
        if self.shown:
            took = time.monotonic() - self.began
            line = f"[{min(self.done, self.steps)}/{self.steps}, {took / 60:.0f}:{took % 60:02.0f}] {text}"
            print(f"\r\033[K{line[:110]}", end="", file=sys.stderr, flush=True)

    def skip(self, steps: int) -> None:
        """Take steps for done that are not made."""
        self.done += steps

    def clear(self) -> None:
        """Make place for other text."""
        if self.shown:
            print("\r\033[K", end="", file=sys.stderr, flush=True)


class Bench:
    """What measuring needs: environments, processes, servers, and what the command line said."""

    def __init__(self, venvs: Venvs, processes: Processes, binaries: str, images: tuple[str, str]) -> None:
        self.venvs, self.processes, self.binaries, self.images = venvs, processes, binaries, images
        self.servers = Servers(venvs, processes, binaries)
        self.refusals: dict[str, str] = {}
        self.broken = False

    def refusal(self, need: str) -> str:
        """Return why something cannot be had here, "" where it can; asked once."""
        if need not in self.refusals:
            self.refusals[need] = self._refusal(need)
        return self.refusals[need]

    def _refusal(self, need: str) -> str:
        if need in ("binaries", "server", "database") and not self.binaries:
            return "there are no binaries of PostgreSQL (`--bindir` names them)"
        if need == "binaries" and os.geteuid() == 0 and self.processes.user is None:
            return "pg_ctl refuses root, and no Python here can be reached by another user (`--python` names one)"
        if need in ("rabbitmq", "broker") and not rabbitmq_bindir():
            return "there is no rabbitmq-server"
        if need in ("docker", "broker image"):
            return why_no_engine() or why_no_image(self.images[need == "broker image"])
        return ""

    def close(self) -> None:
        """End what runs, and remove what is left of what was run."""
        self.servers.stop()
        self.processes.sweep(grace=GRACE_AT_THE_END if not self.broken else 2)
        names = self.processes.folder / "ports"
        self.processes.remove_containers(names.read_text().split() if names.exists() else [])


GRACE_AT_THE_END = 6


class Ready:
    """A way with its project on disk: what is the same in each turn."""

    def __init__(self, bench: Bench, key: str, number: int, way: Way) -> None:
        for need in way.needs:
            if refusal := bench.refusal(need):
                raise Unable(refusal)
        self.bench, self.way = bench, way
        self.python = bench.venvs.interpreter(way.venv)
        self.folder = bench.processes.new(f"{key}-{number}")
        for name, text in {**way.files, "clock.py": CLOCK}.items():
            (self.folder / name).write_text(text)
        bench.processes.give(self.folder)
        self.database = f"{key}_{number}".replace("-", "_")

    def variables(self, tests: int) -> dict[str, str]:
        """Return what tells the project where things are, in this turn."""
        bench, way = self.bench, self.way
        temporary = bench.processes.home
        found = {
            "BENCH_TESTS": str(tests), "BENCH_OUT": str(self.folder / "ends"), "BENCH_BINDIR": bench.binaries,
            "BENCH_IMAGE": bench.images[0], "BENCH_BROKER_IMAGE": bench.images[1], "BENCH_RABBITMQ": rabbitmq_bindir(),
            "BENCH_NAME": f"{bench.processes.run}-{time.monotonic_ns()}", "PYTHONPATH": str(self.folder),
            "PYTEST_TESTCONTAINERS_PROJECT": bench.processes.run, "BENCH_FREE": str(free_port()),
            # Erlang's register of nodes outlives the node: it is one of our own, and ended with the rest
            "ERL_EPMD_PORT": str(free_port()),
            "TESTBED_CACHE_DIR": str(bench.processes.new("fresh") if way.fresh else temporary / "cache"),
        }  # fmt: skip
        if way.contender == "pytest-testbed":
            found |= {"TESTBED_PG_IMAGE": bench.images[0], "TESTBED_RABBITMQ_IMAGE": bench.images[1]}
            found |= {"TESTBED_PG_BINDIR": bench.binaries} if bench.binaries else {}
        if "docker" in way.needs:
            with (bench.processes.folder / "ports").open("a") as file:  # containers of names that are not ours to choose
                file.write(f"pmr_postgres_{found['BENCH_FREE']}\n")
        if {"server", "database"} & {*way.needs}:
            server = bench.servers.get("postgres")
            name = bench.servers.database(self.database) if "database" in way.needs else "postgres"
            user = f"{server['user']}:{server['password']}"
            found |= {
                "BENCH_HOST": server["host"], "BENCH_PORT": str(server["port"]), "BENCH_USER": server["user"],
                "BENCH_PASSWORD": server["password"], "BENCH_DATABASE": name,
                "BENCH_URL": f"postgresql+psycopg://{user}@{server['host']}:{server['port']}/{name}",
            }  # fmt: skip
            found |= {"TESTBED_PG_URL": server["url"]} if way.contender == "pytest-testbed" else {}
        if "broker" in way.needs:
            broker = bench.servers.get("rabbitmq")
            found["BENCH_AMQP"] = broker["url"]
            if way.contender == "pytest-testbed":
                management = f"http://{broker['host']}:{broker['management']}"
                found |= {"TESTBED_RABBITMQ_URL": broker["url"], "TESTBED_RABBITMQ_MANAGEMENT_URL": management}
        return {**found, **way.variables}

    def run(self, tests: int, *arguments: str) -> Ran:
        """Run the project's tests once."""
        command = [self.python, "-m", "pytest", *PLAIN, "--rootdir", str(self.folder), *self.way.arguments, *arguments]
        return self.bench.processes.timed(command, self.folder, self.variables(tests))

    def alone(self) -> list[str]:
        """Return the arguments that keep pytest-xdist out."""
        return self.bench.venvs.blocking(self.way.venv)


def load(ready: Ready) -> dict[str, float]:
    """Measure an empty test with a plugin, and without any."""
    block = ready.bench.venvs.blocking
    way = ready.way
    without = ready.run(1, *block(way.venv, all_of_them=True))
    with_it = ready.run(1, *block(way.venv, all_of_them=True, but=tuple(way.loads.split())))
    return {
        "added": with_it.seconds - without.seconds,
        "added, processor time": with_it.processor - without.processor,
        "bare pytest": without.seconds,
    }


def start(ready: Ready) -> dict[str, float]:
    """Measure a whole run with one test."""
    return {"whole run": ready.run(1, *ready.alone()).seconds}


def many(ready: Ready) -> dict[str, float]:
    """Measure one of many tests, and what comes after the last: what a contender puts off until then."""
    tests = ready.way.tests
    ended = ready.run(tests, *ready.alone(), "-p", "clock").ended
    ends: list[float] = json.loads((ready.folder / "ends").read_text())
    return {"one test": one_test(ends, max(2, tests // FEW)), "end of the run": ended - ends[-2]}


def workers(ready: Ready) -> dict[str, float]:
    """Measure whole runs in one process and in several."""
    return {
        name: ready.run(ready.way.tests, *(["-n", str(count)] if count else ready.alone())).seconds
        for name, count in COUNTS.items()
    }


MEASURES: dict[str, Callable[[Ready], dict[str, float]]] = {"load": load, "start": start, "test": many, "workers": workers}


def warm(ready: Ready) -> None:
    """Run once without measuring: what a machine that has run the suite before has in its caches is there then."""
    ready.run(1, *ready.alone())


def compare(bench: Bench, comparison: Comparison, only: Sequence[str], rounds: int, progress: Progress) -> Result:
    """Measure the ways of a comparison, in turns; a way that fails is named with its reason and the others go on."""
    chosen = [way for way in comparison.ways if not only or way.contender in only]
    rows = {way: Row(way.name, way.contender, way.lacks, way.tests) for way in chosen}
    result = Result(
        comparison.key, comparison.how, comparison.title, comparison.about, comparison.first, comparison.unit,
        list(rows.values()), dict(comparison.absent), time.strftime("%Y-%m-%d"), commit(), os.getloadavg()[0],
    )  # fmt: skip
    turns = comparison.rounds(rounds)
    running: dict[Way, Ready] = {}
    for number, (way, row) in enumerate(rows.items()):
        progress.step(f"{comparison.key}: {way.name}: is it there")
        try:
            running[way] = Ready(bench, comparison.key, number, way)
            warm(running[way])
        except (Unable, OSError) as error:
            running.pop(way, None)
            row.reason = str(error)
            progress.skip(turns)
    for turn in range(turns):
        for way in list(running) if turn % 2 else list(reversed(running)):
            progress.step(f"{comparison.key}: {way.name}, {turn + 1} of {turns}")
            try:
                rows[way].add(MEASURES[comparison.how](running[way]))
            except (Unable, ValueError, OSError) as error:
                running.pop(way)
                rows[way].reason = str(error)
                rows[way].samples.clear()
    return result


def free_port() -> int:
    """Return a port of loopback that nobody holds at the moment."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
        return port


def steps(comparisons: Sequence[Comparison], only: Sequence[str], rounds: int) -> int:
    """Return how many steps of the progress line there are."""
    return sum(
        (1 + each.rounds(rounds)) * len([way for way in each.ways if not only or way.contender in only]) for each in comparisons
    )


def where(folder: Path | None, processes: Processes) -> Path:
    """Return the folder of the environments: the one that was named, which stays, or one that goes with the rest."""
    found = folder or processes.folder / "venvs"
    found.mkdir(parents=True, exist_ok=True)
    return found
