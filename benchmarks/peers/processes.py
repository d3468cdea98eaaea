"""Processes that are timed, with their own session and a sign by which all that descends from them is found again."""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import subprocess
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from measuring import environment, temporary

from .machine import User
from .model import Unable

LIMIT = 240.0
"""Seconds that a run may take."""
GRACE = 10.0
"""Seconds that a run has to close in order after Ctrl-C, and its descendants to go after its end."""
SIGN = "TESTBED_BENCHMARK_RUN"


@dataclass(frozen=True)
class Ran:
    """What came of a process: its wall time, the time of processors that it and its children took, when it ended."""

    seconds: float
    processor: float
    ended: float
    output: str


class Processes:
    """Runs processes as one user; ends what they leave."""

    def __init__(self, user: User | None) -> None:
        self.user = user
        self.run = f"bench{secrets.token_hex(4)}"
        # the names of sockets are short
        self.folder = temporary("/tmp")
        self.folder.chmod(0o755)
        self.home = self.new("home")

    def new(self, name: str) -> Path:
        """Return an empty folder that the processes may write to."""
        path = self.folder / name
        shutil.rmtree(path, ignore_errors=True)
        path.mkdir(parents=True)
        self.give(path)
        return path

    def give(self, path: Path) -> None:
        """Hand a folder and what is in it to the user that processes run as."""
        if self.user:
            for each in (path, *path.rglob("*")):
                os.chown(each, self.user.number, self.user.group, follow_symlinks=False)

    def environment(self, **more: str) -> dict[str, str]:
        """Return an environment without anything that could steer a contender."""
        found = {name: value for name, value in environment().items() if not name.startswith(("RABBITMQ_", "TC_", "PMR_"))}
        if self.user:
            found |= {"HOME": str(self.home), "USER": self.user.name, "LOGNAME": self.user.name}
        own = {
            "TMPDIR": str(self.folder / "home"),
            "XDG_STATE_HOME": str(self.home / "state"),
            "TESTCONTAINERS_RYUK_DISABLED": "true",
        }
        return {**found, **own, SIGN: self.run, **more}

    def start(self, command: list[str], folder: Path, variables: dict[str, str], **more: Any) -> subprocess.Popen[str]:
        """Start a process in a session of its own: Ctrl-C in our terminal is ours to hand on."""
        if self.user:
            more |= {"user": self.user.number, "group": self.user.group, "extra_groups": list(self.user.groups)}
        return subprocess.Popen(
            command,
            cwd=folder,
            env=self.environment(**variables),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
            **more,
        )

    def timed(self, command: list[str], folder: Path, variables: dict[str, str]) -> Ran:
        """Run a process to its end.

        Raises:
            Unable: it failed, or took too long; with the line that says most.
        """
        began, before = time.perf_counter(), os.times()
        process = self.start(command, folder, variables, stdin=subprocess.DEVNULL)
        try:
            output, _ = process.communicate(timeout=LIMIT)
        except subprocess.TimeoutExpired as error:
            self.stop(process)
            raise Unable(f"has not ended after {LIMIT:.0f} s") from error
        except BaseException:
            self.stop(process)
            raise
        took, ended, after = time.perf_counter() - began, time.time(), os.times()
        if process.returncode:
            raise Unable(telling(output) or f"has ended with code {process.returncode}")
        spent = after.children_user + after.children_system - before.children_user - before.children_system
        return Ran(took, spent, ended, output)

    def stop(self, process: subprocess.Popen[str]) -> None:
        """End a process as Ctrl-C would, and by force if it does not go."""
        for sign in (signal.SIGINT, signal.SIGKILL):
            with suppress(ProcessLookupError):
                os.killpg(process.pid, sign)
            with suppress(subprocess.TimeoutExpired):
                process.communicate(timeout=GRACE)
                return

    def left(self) -> list[int]:
        """Return the processes that bear our sign, by what Linux tells of them; none elsewhere.

        Who started later than we did and bears the whole of a sign that is random is ours.
        """
        found, own = [], Path("/proc/self")
        for path in Path("/proc").glob("[0-9]*") if own.exists() else ():
            with suppress(OSError, ValueError, IndexError):
                process = int(path.name)
                later = process > 1 and process != os.getpid() and started(path) >= started(own)
                if later and bears((path / "environ").read_bytes(), self.run):
                    found.append(process)
        return found

    def sweep(self, *, grace: float = GRACE) -> list[int]:
        """End what runs have left, also where they were killed; return what had to be ended.

        A contender's daemons may take a moment to go by themselves.
        """
        until = time.monotonic() + grace
        while (found := self.left()) and time.monotonic() < until:
            time.sleep(0.1)
        for sign in (signal.SIGTERM, signal.SIGKILL):
            for process in self.left():
                with suppress(ProcessLookupError):
                    os.kill(process, sign)
            until = time.monotonic() + 3
            while self.left() and time.monotonic() < until:
                time.sleep(0.05)
        return found

    def remove_containers(self, whole_names: list[str]) -> None:
        """Remove containers that bear the run's name in theirs, or are named as one of these whole names says."""
        if shutil.which("docker") is None:
            return
        done = subprocess.run(
            ["docker", "ps", "--all", "--format", "{{.Names}}"], capture_output=True, text=True, check=False, timeout=60
        )
        for container in of_run(done.stdout.split(), self.run, whole_names):
            subprocess.run(["docker", "rm", "--force", "--volumes", container], capture_output=True, check=False, timeout=60)


def of_run(containers: list[str], run: str, whole_names: list[str]) -> list[str]:
    """Return the containers that are a run's: its name is random, other names must be the whole."""
    return [name for name in containers if run in name or name in whole_names]


def bears(environ: bytes, run: str) -> bool:
    """Return whether an environment, as `/proc` has it, bears a run's sign."""
    return f"{SIGN}={run}".encode() in environ.split(b"\0")


def started(process: Path) -> int:
    """Return when a process of `/proc` began, in ticks since the machine did."""
    return int((process / "stat").read_text().rpartition(")")[2].split()[19])


def telling(output: str) -> str:
    """Return the line of a failed run that says most: the first error, else the last line."""
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    errors = [line[1:].strip() for line in lines if line.startswith("E ")]
    found = errors or [line for line in lines if "rror" in line] or lines[-1:]
    return found[0][:200] if found else ""
