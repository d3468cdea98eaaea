"""Small real projects whose pytest dies in many ways, and what is left then: for the tests and for `scripts/deaths`."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from stat import S_ISSOCK

from pytest_testbed import Testbed
from pytest_testbed.services.death import gone_within
from pytest_testbed.services.ledger import start_time
from pytest_testbed.services.segments import segments
from tests import leftovers

PATIENCE = 60.0
"""Seconds for something that must come; a slow machine is not what is measured here."""
LIMIT = 5.0
"""Seconds after a death in which everything must be gone."""
SORTS = ("containers", "processes", "folders", "segments", "sockets", "records", "databases")
NAME = "DEATHS_OF"
"""Environment variable by which the processes of a run are known, its host too."""

TALK = """
import os, time
from pathlib import Path

SAID = Path(__file__).parent / "said"

def say(word, text=""):
    part = SAID / f".{word}.{os.getpid()}"
    part.write_text(text)
    part.rename(SAID / word)

def wait(word):
    deadline = time.monotonic() + 60
    while not (SAID / word).exists():
        assert time.monotonic() < deadline, f"nobody said {word}"
        time.sleep(0.005)
"""
CONFTEST = """
import os
import pytest
from pytest_testbed.plugin import run_of
from talk import say

@pytest.hookimpl(tryfirst=True)
def pytest_collection_finish(session):
    if session.items:
        say(f"run-{os.getpid()}", run_of(session.config).testbed.run)

@pytest.hookimpl(tryfirst=True)
def pytest_sessionfinish(session):
    if not hasattr(session.config, "workerinput"):
        say("closing")
"""
TESTS = """
import multiprocessing, os, time
import pytest
from sqlalchemy import text
from talk import SAID, say, wait

def answer(queue):
    queue.put(os.getpid())

def quick(n, session): pass

def patient(n, session): wait("go")

def works(n, session):
    for number in range(300):
        session.execute(text("INSERT INTO t VALUES (:n)"), {"n": number})
        session.commit()

def exits(n, session):
    if n == 0:
        os._exit(3)

def forks(n, session):
    if os.fork() == 0:
        say(f"child-{os.getpid()}")
        wait("end")
        os._exit(0)

def forks_and_waits(n, session):
    forks(n, session)
    wait("go")

def processes(n, session, method):
    context = multiprocessing.get_context(method)
    queue = context.Queue()
    child = context.Process(target=answer, args=(queue,))
    child.start()
    assert queue.get(timeout=30) == child.pid
    child.join(30)
    assert child.exitcode == 0
    wait("go")

def processes_fork(n, session): processes(n, session, "fork")

def processes_spawn(n, session): processes(n, session, "spawn")

def eats_memory(n, session):
    wait("go")
    eaten = []
    while n == 0:
        eaten.append(b"x" * 5_000_000)

def bystander(n, session):
    number = 0
    deadline = time.monotonic() + 600
    while not (SAID / "go").exists():
        assert time.monotonic() < deadline, "nobody said go"
        if (SAID / f"ping-{number}").exists():
            session.execute(text("INSERT INTO t VALUES (:n)"), {"n": number})
            session.commit()
            say(f"pong-{number}", str(session.scalar(text("SELECT count(*) FROM t"))))
            number += 1
        time.sleep(0.005)

@pytest.mark.parametrize("n", range(int(os.environ["DEATHS_TESTS"])))
def test_it(pg_session, pg_service, n):
    pg_session.execute(text("CREATE TABLE t (id int)"))
    pg_session.execute(text("INSERT INTO t VALUES (-1)"))
    pg_session.commit()
    say(f"in-{os.getpid()}")
    say(f"address-{os.getpid()}", pg_service.url(pg_session.get_bind().url.database))
    globals()[os.environ["DEATHS_MODE"]](n, pg_session)
"""
OTHERS = ("cacheprovider", "randomly", "asyncio", "anyio", "postgresql", "rabbitmq", "httpserver", "respx", "faker", "cov")
QUIET = [word for name in OTHERS for word in ("-p", f"no:{name}")]


def until(what: str, is_so: Callable[[], object], seconds: float = PATIENCE) -> None:
    """Wait until something is so.

    Raises:
        TimeoutError: it has not come.
    """
    deadline = time.monotonic() + seconds
    while not is_so():
        if time.monotonic() > deadline:
            raise TimeoutError(f"not within {seconds:g} s: {what}")
        time.sleep(0.002)


class World:
    """One provider, and a state directory of its own, in which runs live and die.

    Args:
        folder: an empty directory.
        provider: "local", "docker" or "external".
        options: what makes pytest use it.
        databases: returns the names of the databases of the server outside; None where there is none.
    """

    def __init__(self, folder: Path, provider: str, options: list[str], databases: Callable[[], list[str]] | None = None) -> None:
        self.folder = folder
        self.provider = provider
        self.options = [f"--testbed-provider={provider}", *options]
        self.databases = databases or list
        self.state = folder / "state"
        self.state.mkdir()
        self.records = self.state / "pytest-testbed" / "runs"
        self._runs: list[Run] = []
        self._bystander: Run | None = None
        self._pings = 0

    def run(self, mode: str, *options: str, **more: object) -> Run:
        """Start a run."""
        self._runs.append(run := Run(self, mode, *options, **more))  # type: ignore[arg-type]
        return run

    def neighbour(self) -> Run:
        """Return the run beside all others, which must not be harmed."""
        if self._bystander is None:
            self._bystander = self.run("bystander")
            self._bystander.until_in_tests(1)
            self._bystander.known(all=True)
        return self._bystander

    def is_neighbour_well(self) -> bool:
        """Tell whether the run beside still has its process, its server and its data."""
        run = self.neighbour()
        number, self._pings = self._pings, self._pings + 1
        run.say(f"ping-{number}")
        with suppress(TimeoutError):
            until("an answer of the run beside", lambda: run.heard(f"pong-{number}") or run.ended(), 10)
        return run.read(f"pong-{number}") == str(number + 2) and not run.ended()

    def environment(self, **more: str) -> dict[str, str]:
        """Return the environment of a run."""
        strange = ("CI", "DATABASE_URL", "PYTEST_ADDOPTS", "PYTEST_XDIST_WORKER", "COLUMNS")
        kept = {name: text for name, text in os.environ.items() if name not in strange and not name.startswith("TESTBED_")}
        return {**kept, "XDG_STATE_HOME": str(self.state), **more}

    def command(self, *words: str) -> None:
        """Call `python -m pytest_testbed`."""
        subprocess.run(
            [sys.executable, "-m", "pytest_testbed", *words],
            env=self.environment(),
            capture_output=True,
            check=False,
            timeout=PATIENCE,
        )

    def close(self) -> dict[str, list[str]]:
        """End all runs; return what the run beside has left, which ends in order."""
        left: dict[str, list[str]] = {}
        if self._bystander is not None:
            self._bystander.say("go")
            with suppress(TimeoutError):
                until("the end of the run beside", self._bystander.ended)
            left = self._bystander.left()[0]
        for run in self._runs:
            run.end()
        self.command("prune")  # what a host has left that was killed, if no other run came
        return left


class Run:
    """One pytest, in a folder of its own.

    Args:
        world: where.
        mode: what its tests do, a function of `TESTS`.
        options: further words for pytest.
        workers: how many workers of xdist; 0: pytest alone.
        tests: how many tests it has; 0: one for each process that runs tests.
        terminal: whether it runs in a terminal of its own.
        cell: where its memory is limited.
    """

    def __init__(
        self,
        world: World,
        mode: str,
        *options: str,
        workers: int = 0,
        tests: int = 0,
        terminal: bool = False,
        cell: Cell | None = None,
    ) -> None:
        self.world = world
        self.workers = workers
        self.id = os.urandom(6).hex()
        self.folder = world.folder / f"run-{self.id}"
        self._said = self.folder / "said"
        self._said.mkdir(parents=True)
        for name, text in (("talk", TALK), ("conftest", CONFTEST), ("test_it", TESTS)):
            (self.folder / f"{name}.py").write_text(text)
        (self.folder / "pytest.ini").write_text("[pytest]\n")
        self._others = self._records()
        self.names: set[str] = set()
        self._is_all_known = False
        self._pids: set[int] = set()
        self._strange = {each.number for each in segments()}  # a former owner of a process id may have left one
        self.master = -1
        command = [sys.executable, "-m", "pytest", *QUIET, *world.options, *options]
        command += ["-p", "xdist", f"-n{workers}"] if workers else []
        tests = tests or max(1, workers)
        environ = world.environment(**{NAME: self.id, "DEATHS_MODE": mode, "DEATHS_TESTS": str(tests)})
        with open(self.folder / "output", "wb") as output:
            if terminal:
                self.master, slave = pty.openpty()
                self.process = self._start(["setsid", "--ctty", "--wait", *command], environ, slave, slave, None)
                os.close(slave)
            else:
                self.process = self._start(command, environ, subprocess.DEVNULL, output.fileno(), cell)

    def _start(
        self, command: list[str], environ: dict[str, str], stdin: int, output: int, cell: Cell | None
    ) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            command,
            cwd=self.folder,
            env=environ,
            stdin=stdin,
            stdout=output,
            stderr=output,
            start_new_session=True,
            preexec_fn=cell.enter if cell is not None else None,
        )

    # --- talking with its tests

    def say(self, word: str) -> None:
        """Say something to the run's tests."""
        (self._said / word).touch()

    def heard(self, word: str) -> list[str]:
        """Return what the run's tests have said, of a pattern."""
        return sorted(path.name for path in self._said.glob(word))

    def read(self, word: str) -> str:
        """Return the text of what was said, "" where nothing was."""
        with suppress(OSError):
            return (self._said / word).read_text()
        return ""

    def pids(self, word: str) -> list[int]:
        """Return the ids of the processes that said something."""
        return [int(name.rpartition("-")[2]) for name in self.heard(f"{word}-*")]

    def until_in_tests(self, number: int = 0) -> None:
        """Wait until all processes of the run are in a test."""
        number = number or max(1, self.workers)
        until("all are in a test", lambda: len(self.heard("in-*")) >= number or self.ended())
        if self.ended():
            raise RuntimeError(f"the run ended too early:\n{self.output()}")

    def until_something_is_made(self) -> None:
        """Wait until the record of the run shows that something is being made."""
        until("a thing on record", lambda: any(self._things(name) for name in self._records() - self._others) or self.ended())

    def _things(self, name: str) -> list[object]:
        with suppress(OSError, ValueError):
            return list(json.loads((self.world.records / f"{name}.json").read_text())["things"])
        return []

    # --- its end

    def ended(self, within: float = 0.0) -> bool:
        """Wait at most so many seconds for the end of pytest, and tell whether it has come."""
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(within)
        return self.process.returncode is not None

    def wait(self) -> int:
        """Wait for the end of pytest and return its exit code."""
        return self.process.wait(PATIENCE)

    def output(self) -> str:
        """Return what pytest wrote."""
        return (self.folder / "output").read_text(errors="replace")

    def kill(self, number: int = signal.SIGKILL) -> None:
        """Send pytest a signal and wait for its end."""
        self.process.send_signal(number)
        self.wait()

    def interrupt(self) -> None:
        """Do what Ctrl-C does: all of the foreground's processes get it."""
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGINT)

    def hosts(self) -> list[int]:
        """Return the host processes of this run."""
        return [pid for pid in self._own() if b"pytest_testbed.services.serve" in read(pid, "cmdline")]

    def _own(self) -> list[int]:
        mark = f"{NAME}={self.id}".encode()
        return [pid for pid in processes() if mark in read(pid, "environ").split(b"\0")]

    def end(self) -> None:
        """End whatever of it still lives; its host in order, so that it removes what there is."""
        self.say("go")
        self.say("end")
        if self.master >= 0:
            os.close(self.master)
            self.master = -1
        hosts = self.hosts()
        for pid in self._own():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM if pid in hosts else signal.SIGKILL)
        for pid in hosts:
            if not gone_within(pid, 10):
                os.kill(pid, signal.SIGKILL)
        self.process.wait()

    # --- what there is of it

    def _records(self) -> set[str]:
        return {path.stem for path in self.world.records.glob("*.json")}

    def known(self, *, all: bool = False) -> None:
        """Learn the names under which the run makes things; `all` of them, where another run begins beside it."""
        if not self._is_all_known:
            self.names |= {self.read(word) for word in self.heard("run-*")} | (self._records() - self._others)
        self._is_all_known |= all

    def traces(self) -> dict[str, list[str]]:
        """Return what there is of the run now, by sort."""
        folders = [path for name in self.names for path in leftovers.directories(name)]
        pids = {pid for pid in processes() if self._is_servers(pid)} | set(self.hosts())
        self._pids |= pids
        files = [path for name in self.names for path in self.world.records.glob(f"{name}.*")]
        inside = [path for folder in folders for path in Path(folder).glob("s/.s*")]
        sockets = [path for path in (*files, *inside) if is_socket(path)]
        docker = self.world.provider == "docker"
        return {
            "containers": [each for name in self.names for each in leftovers.containers(name)] if docker else [],
            "processes": [str(pid) for pid in sorted(pids)],
            "folders": folders,
            "segments": [str(number) for number in self._segments()],
            "sockets": [str(path) for path in sockets],
            "records": [str(path) for path in files if path not in sockets],
            "databases": [base for base in self.world.databases() if any(name in base for name in self.names)],
        }

    def _segments(self) -> list[int]:
        return [each.number for each in segments() if each.maker in self._pids and each.number not in self._strange]

    def _is_servers(self, pid: int) -> bool:
        with suppress(OSError):
            where = os.readlink(f"/proc/{pid}/cwd")
            return any(f"testbed-{name}" in where for name in self.names)
        return False

    def left(self, seconds: float = LIMIT, since: float | None = None) -> tuple[dict[str, list[str]], float]:
        """Wait until nothing is left; return what is left after so many seconds, and how long it took."""
        since = time.monotonic() if since is None else since
        while True:
            self.known()
            left = {sort: names for sort, names in self.traces().items() if names}
            passed = time.monotonic() - since
            if not left or passed > seconds:
                return left, passed
            time.sleep(0.01)


class Cell:
    """A control group whose memory is limited, of either version of Linux's.

    Raises:
        OSError: this machine lets us make none.
    """

    def __init__(self, megabytes: int) -> None:
        root = Path("/sys/fs/cgroup")
        old = (root / "memory").is_dir()
        self._path = (root / "memory" if old else root) / f"testbed-deaths-{os.getpid()}-{os.urandom(3).hex()}"
        self._path.mkdir()
        self._events = "memory.oom_control" if old else "memory.events"
        try:
            (self._path / ("memory.limit_in_bytes" if old else "memory.max")).write_text(str(megabytes * 1024 * 1024))
        except OSError:
            self._path.rmdir()
            raise

    def enter(self) -> None:
        """Put this process into it."""
        (self._path / "cgroup.procs").write_text(str(os.getpid()))

    def kills(self) -> int:
        """Return how often the kernel has killed somebody in it."""
        words = (self._path / self._events).read_text().split()
        return int(words[words.index("oom_kill") + 1])

    def remove(self) -> None:
        """Remove it; it must be empty."""
        until("the end of all in the control group", lambda: not (self._path / "cgroup.procs").read_text(), 20)
        self._path.rmdir()


def processes() -> Iterator[int]:
    """Yield the processes of this machine that live."""
    for entry in os.scandir("/proc"):
        if entry.name.isdigit() and start_time(int(entry.name)):
            yield int(entry.name)


def read(pid: int, what: str) -> bytes:
    """Return a file of a process, b"" where it is gone."""
    with suppress(OSError):
        return Path(f"/proc/{pid}/{what}").read_bytes()
    return b""


def is_socket(path: Path) -> bool:
    """Tell whether a path is one of a socket."""
    with suppress(OSError):
        return S_ISSOCK(path.lstat().st_mode)
    return False


# --- the deaths


@dataclass(frozen=True, kw_only=True)
class Death:
    """A way to die.

    Args:
        title: what happens, for readers.
        act: does it.
        mode: what the tests do meanwhile.
        workers: for which numbers of xdist's workers there is this death.
        early: whether it comes while the service is starting, and not when all are in a test.
        by: who removes what is left: "host" or "next run".
        codes: the exit codes that pytest may have; none: any.
        shows: what pytest must have written.
        terminal: whether pytest runs in a terminal of its own.
        tests: how many tests there are; 0: one for each process that runs some.
    """

    title: str
    act: Callable[[Run], None]
    mode: str = "patient"
    workers: tuple[int, ...] = (0, 2)
    early: bool = False
    by: str = "host"
    codes: tuple[int, ...] = ()
    shows: tuple[str, ...] = ()
    terminal: bool = False
    tests: int = 0


def end_in_order(run: Run) -> None:
    """Let the tests go on to their end."""
    run.say("go")
    run.wait()


def wait_for_end(run: Run) -> None:
    """Do nothing: it ends by itself."""
    run.wait()


def kill_worker(run: Run) -> None:
    """Kill a worker in its test, and let the others go on."""
    os.kill(run.pids("in")[0], signal.SIGKILL)
    end_in_order(run)


def kill_host(run: Run) -> None:
    """Kill the host, and let the run end."""
    for pid in run.hosts():
        os.kill(pid, signal.SIGKILL)
        gone_within(pid, 5)
    end_in_order(run)


def kill_all(run: Run) -> None:
    """Kill the host, pytest and its workers."""
    for pid in {*run.hosts(), run.process.pid, *run.pids("in")}:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGSTOP)  # so that none sees another one's end
    for pid in {*run.hosts(), run.process.pid, *run.pids("in")}:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    run.wait()


def close_terminal(run: Run) -> None:
    """Close the terminal in which pytest runs."""
    os.close(run.master)
    run.master = -1
    run.wait()


def interrupt_once(run: Run) -> None:
    """Press Ctrl-C."""
    run.interrupt()
    run.wait()


def interrupt_twice(run: Run) -> None:
    """Press Ctrl-C, and once more when pytest begins to close."""
    run.interrupt()
    until("pytest closes", lambda: run.heard("closing") or run.ended())
    run.interrupt()
    run.wait()


DEATHS: dict[str, Death] = {
    "end": Death(title="none: the run ends", act=end_in_order, codes=(0,), shows=("testbed: postgres",)),
    "controller": Death(title="`SIGKILL` of pytest", act=Run.kill, codes=(-9,)),
    "worker": Death(
        title="`SIGKILL` of a worker in a test; the run goes on with another one",
        act=kill_worker,
        workers=(2,),
        tests=4,
        codes=(1,),
        shows=("replacing crashed worker", "1 failed, 3 passed"),
    ),
    "host": Death(title="`SIGKILL` of the host process", act=kill_host, by="next run"),
    "all": Death(title="`SIGKILL` of pytest, its workers and the host", act=kill_all, by="next run", codes=(-9,)),
    "memory": Death(title="the kernel's OOM killer", act=end_in_order, mode="eats_memory"),
    "terminal": Death(title="the terminal is closed (`SIGHUP`)", act=close_terminal, terminal=True),
    "exit": Death(title="`os._exit` in a test", act=wait_for_end, mode="exits", codes=(1, 3)),
    "ctrl-c": Death(title="Ctrl-C", act=interrupt_once, codes=(2,), shows=("KeyboardInterrupt", "no tests ran in")),
    "ctrl-c-twice": Death(title="Ctrl-C, and again while pytest closes", act=interrupt_twice),
    "sigterm": Death(title="`SIGTERM` of pytest", act=lambda run: run.kill(signal.SIGTERM), codes=(-15,)),
    "starting": Death(title="`SIGKILL` of pytest while the service starts", act=Run.kill, early=True, codes=(-9,)),
    # not with workers: xdist itself waits some twenty seconds for the child, which has its worker's pipe
    "fork": Death(
        title="none: the run ends; a child that a test forked lives on",
        act=end_in_order,
        mode="forks_and_waits",
        workers=(0,),
        codes=(0,),
    ),
    "fork-killed": Death(
        title="`SIGKILL` of pytest; a child that a test forked lives on", act=Run.kill, mode="forks_and_waits", codes=(-9,)
    ),
    "processes-fork": Death(
        title="none: the run ends; tests use multiprocessing (fork)", act=end_in_order, mode="processes_fork", codes=(0,)
    ),
    "processes-spawn": Death(
        title="none: the run ends; tests use multiprocessing (spawn)", act=end_in_order, mode="processes_spawn", codes=(0,)
    ),
}


@dataclass
class Outcome:
    """What a death has left.

    Args:
        before: what there was of the run, by sort.
        left: what was still there after `LIMIT` seconds.
        stayed: what was still there and was to stay.
        seconds: how long it took until all was gone.
        faults: what else is not as it must be.
        notes: what is to be told of how it was done.
    """

    before: dict[str, list[str]] = field(default_factory=dict)
    left: dict[str, list[str]] = field(default_factory=dict)
    stayed: dict[str, list[str]] = field(default_factory=dict)
    seconds: float = 0.0
    faults: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def die(world: World, death: Death, workers: int = 0, seconds: float = LIMIT) -> Outcome:
    """Let a run die, look at what is left after so many seconds, and whether the run beside it is well."""
    world.neighbour()
    outcome = Outcome()
    cell = None
    if death.mode == "eats_memory":
        try:
            cell = Cell(600 if workers else 350)
        except OSError:
            outcome.notes.append("killed by hand: no control group can be made here")
    run = world.run(death.mode, workers=workers, terminal=death.terminal, tests=death.tests, cell=cell)
    try:
        if death.early:
            run.until_something_is_made()
        elif death.mode != "exits":
            run.until_in_tests()
        else:
            until("somebody is in a test", lambda: run.heard("in-*"))
        run.known()
        outcome.before = run.traces()
        began = time.monotonic()
        act(run, death, cell, outcome)
        since = time.monotonic()
        if death.by == "next run":
            run.known(all=True)
            if not any(run.traces().values()):
                outcome.faults.append("nothing was left for the next run to remove")
            since = time.monotonic()
            sweeper = world.run("patient")
            outcome.left, outcome.seconds = run.left(seconds, since)
            if outcome.left:  # on a slow machine that run may only just have begun
                sweeper.until_in_tests()
                outcome.left = run.left(seconds)[0]
                outcome.seconds = time.monotonic() - since
            sweeper.say("go")
            if sweeper.wait() != 0:
                outcome.faults.append(f"the next run failed:\n{sweeper.output()}")
            if sweeper.left()[0]:
                outcome.faults.append("the next run left something")
        else:
            outcome.left, outcome.seconds = run.left(seconds, since)
        assert since >= began
        outcome.faults += judged(run, death)
        for child in run.pids("child"):
            if not start_time(child):
                outcome.faults.append("the forked child did not live on")
    finally:
        run.end()
        if cell is not None:
            cell.remove()
    if not world.is_neighbour_well():
        outcome.faults.append("the run beside was harmed")
    return outcome


def act(run: Run, death: Death, cell: Cell | None, outcome: Outcome) -> None:
    """Let it die."""
    if death.mode == "eats_memory" and cell is None:
        os.kill(run.pids("in")[0], signal.SIGKILL)
        run.say("go")
        run.wait()
        return
    death.act(run)
    if cell is not None and not cell.kills():
        outcome.faults.append("nobody was killed for want of memory")


def judged(run: Run, death: Death) -> list[str]:
    """Return what is wrong with how pytest ended."""
    code, faults = run.process.returncode, []
    if death.codes and code not in death.codes:
        faults.append(f"exit code {code}, not {' or '.join(map(str, death.codes))}")
    faults += [f"pytest did not say {text!r}" for text in death.shows if text not in run.output()]
    return [f"{fault}:\n{run.output()}" for fault in faults]


def die_and_keep(world: World, workers: int = 0) -> Outcome:
    """Kill a run with `--testbed-reuse`: its databases must go, the host and the servers stay until they are stopped."""
    world.neighbour()
    outcome = Outcome()
    run = world.run("patient", "--testbed-reuse", workers=workers)
    try:
        run.until_in_tests()
        run.known()
        address = run.read(run.heard("address-*")[0])
        (name,) = {run.read(word) for word in run.heard("run-*")}
        outcome.before = {**run.traces(), "databases": databases_at(address, name)}
        hosts = run.hosts()
        run.kill()
        since = time.monotonic()
        with suppress(TimeoutError):
            until("the run's databases are dropped", lambda: not databases_at(address, name), LIMIT)
        outcome.seconds = time.monotonic() - since
        outcome.left = {"databases": left} if (left := databases_at(address, name)) else {}
        outcome.stayed = {sort: names for sort, names in run.traces().items() if sort != "databases"}
        if run.hosts() != hosts or not hosts:
            outcome.faults.append("the host did not stay")
        world.command("stop", *sorted(run.names))
        if after := run.left()[0]:
            outcome.faults.append(f"the host that was stopped left {after}")
    finally:
        run.end()
    if not world.is_neighbour_well():
        outcome.faults.append("the run beside was harmed")
    return outcome


def databases_at(address: str, name: str) -> list[str]:
    """Return the databases of a server that carry a run's name."""
    return [base for base in all_databases(address) if name in base]


def options_for(testbed: Testbed) -> list[str]:
    """Return what makes pytest use the same kind of server as a testbed, on the provider that it has."""
    spec = testbed._specs["postgres"]
    match testbed.endpoint("postgres").provider:
        case "docker":
            assert spec.container is not None
            return ["-o", f"testbed_pg_image={spec.container.image}"]
        case "external":
            return ["-o", f"testbed_pg_url={spec.url}"]
    assert spec.process is not None
    bindir = spec.process.options["bindir"]
    return ["-o", f"testbed_pg_bindir={bindir}"] if bindir else []


def world_like(folder: Path, testbed: Testbed) -> World:
    """Return a world whose runs use the same kind of server as a testbed."""
    endpoint = testbed.endpoint("postgres")
    outside = partial(all_databases, endpoint.url()) if endpoint.provider == "external" else None
    return World(folder, endpoint.provider, options_for(testbed), outside)


def all_databases(address: str) -> list[str]:
    """Return the names of a server's databases."""
    import psycopg2
    from sqlalchemy import make_url

    url = make_url(address)
    host = url.query.get("host", url.host)
    connection = psycopg2.connect(host=host, port=url.port, user=url.username, password=url.password, dbname="postgres")
    with closing(connection), connection.cursor() as cursor:
        cursor.execute("SELECT datname FROM pg_database")
        return [row[0] for row in cursor.fetchall()]


def die_at(world: World, moment: float, workers: int = 0, *, made: bool = False) -> tuple[Outcome, bool]:
    """Kill a run at a moment; return what is left, and whether it had begun to make things and not ended.

    Args:
        world: where.
        moment: seconds after its start.
        workers: how many of xdist's it has.
        made: count the seconds from the moment when the first thing that it makes is on record.
    """
    world.neighbour()
    outcome = Outcome()
    run = world.run("works", workers=workers, tests=6)
    if made:
        run.until_something_is_made()
    run.ended(within=moment)
    run.known()
    outcome.before = run.traces()
    midway = any(outcome.before.values()) and not run.ended()
    run.kill()
    outcome.left, outcome.seconds = run.left()
    run.end()
    if not world.is_neighbour_well():
        outcome.faults.append("the run beside was harmed")
    return outcome, midway
