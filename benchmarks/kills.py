"""What is left of a run that is killed at a random moment, and whether a run beside it notices. Linux only."""

from __future__ import annotations

import os
import random
import signal
import statistics
import subprocess
import sys
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path

from measuring import OURS, PLAIN, engines, environment, pytest_run, temporary, tidy, without_others
from projects import OUR_SESSION, folder

PATIENCE = 5.0
"""Seconds after which nothing may be left."""
BESIDE = 120.0
"""Seconds that the run beside has to begin, and to end."""
TOKEN = "BENCH_RUN"
"""A variable of the killed run: its processes are known by it."""
OF_SERVICE, LABEL = "TESTBED_SERVICE_OF", "pytest-testbed.run"
"""What servers of a run carry: a variable, or a label of the container."""

VICTIM = """
import os, time
from sqlalchemy import text

def test_it(pg_session):
    ends = time.monotonic() + float(os.environ["BENCH_SECONDS"])
    while True:
        assert pg_session.scalar(text("SELECT 1")) == 1
        if time.monotonic() > ends:
            break
"""

BYSTANDER = """
import os, time
from pathlib import Path
from sqlalchemy import text

def test_it(pg_session):
    out, beats = Path(os.environ["BENCH_OUT"]), 0
    started = "SELECT pg_postmaster_start_time()"
    first = pg_session.scalar(text(started))
    while not (out / "stop").exists():
        assert pg_session.scalar(text(started)) == first
        beats += 1
        (out / "part").write_text(str(beats))
        (out / "part").rename(out / "beats")
        time.sleep(0.02)
"""


def kill(rounds: int, seed: int | None = None) -> None:
    """Kill pytest with SIGKILL, four times a round and provider, at moments from its start until well after its first query.

    Each killed run shares its ledger and its cache with one that goes on, so that whatever removes the traces of
    the one could harm the other. A kill is clean where, five seconds later, there is neither a record or socket in the
    ledger, nor a process, a directory or a container of the killed run. The run beside is unharmed where
    it goes on to query the same server, and passes in the end.
    """
    if sys.platform != "linux":
        print("\nkill: needs Linux, left out")
        return
    chosen = random.randrange(10**6) if seed is None else seed
    for provider in engines():
        print(f"\nkill: {provider}, seed {chosen}")
        many(provider, rounds * 4, random.Random(chosen))


class Beside:
    """A run that goes on while others are killed."""

    def __init__(self, variables: dict[str, str]) -> None:
        self._out = temporary()
        project = folder(conftest=OUR_SESSION, test_it=BYSTANDER)
        with open(self._out / "log", "wb") as log:
            self._process = start(project, {**variables, "BENCH_OUT": str(self._out)}, log.fileno())
        ends = time.monotonic() + BESIDE
        while not (self._out / "beats").exists():
            if self._process.poll() is not None or time.monotonic() > ends:
                sys.exit(f"the run beside did not begin:\n{(self._out / 'log').read_text()}")
            time.sleep(0.05)

    def goes_on(self) -> bool:
        """Tell whether it still queries."""
        before = (self._out / "beats").read_text()
        ends = time.monotonic() + 2
        while time.monotonic() < ends and self._process.poll() is None:
            if (self._out / "beats").read_text() != before:
                return True
            time.sleep(0.02)
        return False

    def end(self) -> str:
        """Let it end; return what it wrote where its test did not pass."""
        (self._out / "stop").touch()
        try:
            code = self._process.wait(BESIDE)
        except subprocess.TimeoutExpired:
            self._process.terminate()
            code = self._process.wait()
        return (self._out / "log").read_text() if code else ""


class Traces:
    """What can be seen of one run that is to be killed.

    Args:
        records: the directory of the ledger's records.
        others: the identities that were there before.
        provider: containers are looked for where it is docker.
    """

    def __init__(self, records: Path, others: set[str], provider: str) -> None:
        self._records = records
        self._others = others
        self._provider = provider
        self._runs: set[str] = set()
        self.token = os.urandom(6).hex()

    def look(self) -> list[str]:
        """Note which records there are; return the names of the files in the ledger that are this run's."""
        found = [path for path in self._records.glob("*") if path.name.partition(".")[0] not in self._others]
        self._runs |= {path.stem for path in found if path.suffix == ".json"}
        return [path.name for path in found]

    def left(self) -> list[str]:
        """Return what there is of the run now, one line each."""
        found = [f"record {name}" for name in self.look()]
        marks = {f"{TOKEN}={self.token}".encode(), *(f"{OF_SERVICE}={run}".encode() for run in self._runs)}
        for process in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):
                if marks & set((process / "environ").read_bytes().split(b"\0")):
                    found.append(f"process {process.name}")
        for run in self._runs:
            places = (Path(base, f"testbed-{run}") for base in ("/dev/shm", "/tmp"))
            found += [f"directory {place}" for place in places if place.exists()]
        if self._provider == "docker":
            shown = ["docker", "ps", "--all", "--filter", f"label={LABEL}", "--format", f'{{{{.Label "{LABEL}"}}}}']
            labels = subprocess.run(shown, capture_output=True, text=True, check=True).stdout.split()
            found += [f"container of {run}" for run in labels if run in self._runs]
        return found


def start(project: Path, variables: dict[str, str], output: int = subprocess.DEVNULL) -> subprocess.Popen[bytes]:
    """Start pytest with our plugin alone."""
    command = [sys.executable, "-m", "pytest", *PLAIN, *without_others(OURS)]
    return subprocess.Popen(command, cwd=project, env=environment(**variables), stdout=output, stderr=output)


def identities(records: Path) -> set[str]:
    """Return the identities of the runs in the ledger."""
    return {path.name.partition(".")[0] for path in records.glob("*")}


def many(provider: str, times: int, dice: random.Random) -> None:
    """Kill that many runs one after the other, with a ledger and a cache of the benchmark's own."""
    variables = {"XDG_STATE_HOME": str(temporary()), "TESTBED_CACHE_DIR": str(temporary()), "TESTBED_PROVIDER": provider}
    if image := os.environ.get("TESTBED_PG_IMAGE"):
        variables["TESTBED_PG_IMAGE"] = image
    try:
        beside_another(variables, times, dice)
    finally:
        tidy(variables)


def beside_another(variables: dict[str, str], times: int, dice: random.Random) -> None:
    """Kill that many runs beside one that goes on, and say what became of each."""
    records = Path(variables["XDG_STATE_HOME"]) / "pytest-testbed" / "runs"
    project = folder(conftest=OUR_SESSION, test_it=VICTIM)
    for _ in range(2):  # the second one tells how long a run takes that finds the caches warm
        whole = pytest_run(project, plugin=OURS, BENCH_SECONDS="0", **variables)
    beside = Beside(variables)
    others = identities(records)
    clean, harmless = 0, 0
    last: list[float] = []
    for turn in range(times):
        moment = dice.uniform(0, 1.5 * whole)
        traces = Traces(records, others, variables["TESTBED_PROVIDER"])
        had, remains, seen = one(project, {**variables, "BENCH_SECONDS": "60", TOKEN: traces.token}, traces, moment)
        unharmed = beside.goes_on()
        clean += not remains
        harmless += unharmed
        last.append(seen)
        said = "nothing left" if not remains else f"LEFT: {', '.join(remains)}"
        harm = "" if unharmed else "; the run beside was HARMED"
        print(f"  {turn + 1:3} killed after {moment:.3f} s, with {', '.join(had) or 'nothing'}; {said}{harm}", flush=True)
        others |= identities(records)  # what stayed is counted once
    fault = beside.end()
    print(
        f"  → {clean} of {times} left nothing after {PATIENCE:.0f} s, {harmless} of {times} did not harm the run beside", end=""
    )
    print(f", which {'FAILED in the end' if fault else 'passed'}   (target: all)")
    print(f"  → something was seen for {statistics.median(last):.2f} s after the kill, {max(last):.2f} s at most")
    if fault:
        print(fault)


def one(project: Path, variables: dict[str, str], traces: Traces, moment: float) -> tuple[list[str], list[str], float]:
    """Kill one run; return what there was of it at that moment and what is left, and for how many seconds anything was seen."""
    victim = start(project, variables)
    ends = time.monotonic() + moment
    while (now := time.monotonic()) < ends:
        traces.look()
        time.sleep(min(0.005, ends - now))
    had = counted(traces.left())
    victim.send_signal(signal.SIGKILL)
    killed = time.monotonic()
    victim.wait()
    seen = 0.0
    while (now := time.monotonic()) < killed + PATIENCE:
        if traces.left():
            seen = now - killed
        time.sleep(0.05)
    return had, traces.left(), seen


def counted(found: list[str]) -> list[str]:
    """Return how many things there are of each sort."""
    return [f"{sort}: {count}" for sort, count in Counter(line.partition(" ")[0] for line in found).items()]
