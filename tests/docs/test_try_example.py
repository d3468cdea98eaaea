"""What the README's first command does on machines of all kinds: with fakes in place of packages, sudo and Python."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SCRIPTS = ROOT / "scripts"
TOOLS = ("basename", "cat", "chmod", "cksum", "cut", "dirname", "env", "rm", "sed", "sh", "tee", "true")
FAKES = {
    # notes each call, and whether services were forbidden meanwhile
    "apt-get": """
        if [ -e "$POLICY" ]; then forbidden=yes; else forbidden=no; fi
        echo "apt-get $1 forbidden=$forbidden" >>"$LOG"
        if [ -n "${HANGS:-}" ]; then echo hangs; exec sleep 60; fi
        [ -z "${FAILS:-}" ] || exit 100
        if [ "$1" = install ]; then : >"$BROKER"; fi""",
    "sudo": """
        [ -n "${SUDO:-}" ] || exit 1
        [ "$1" = -n ] || exit 9
        shift
        AS_ROOT=1 exec "$@" """,
    "id": 'echo "${WHO:-0}"',
    "update-rc.d": 'echo "update-rc.d $*" >>"$LOG"',
    "systemctl": 'echo "systemctl $*" >>"$LOG"',
    # the environment's Python: finds a broker once one was installed; installs and tests nothing
    "python": """
        case "$*" in
        scripts/broker-here*) [ -e "$BROKER" ] ;;
        "-m pip install"*) echo "pip $*" >>"$LOG"; [ -z "${OFFLINE:-}" ] || { echo "no route to host" >&2; exit 1; } ;;
        "-m pip config"*) exit 1 ;;
        "-m pip"*) ;;
        "-m pytest"*) echo "pytest $*"; echo "TESTBED_ENV: ${TESTBED_ENV:-}"; exit "${FAILED:-0}" ;;
        *) exec "$PYTHON" "$@" ;;
        esac""",
}
HARNESS = """
set -eu
. "$SCRIPTS/environment.sh"
. "$SCRIPTS/broker.sh"
policy=$POLICY python=$FAKE_PYTHON
find_broker "$@"
echo "missing: $no_broker"
"""


class Machine:
    """A machine that has what a test puts there, and nothing else."""

    def __init__(self, root: Path) -> None:
        self._bin = root / "bin"
        self._bin.mkdir()
        self.policy, self.log, self.broker = (root / name for name in ("policy", "log", "broker"))
        self.log.touch()
        for tool in TOOLS:
            self.bring(tool, f'exec {shutil.which(tool)} "$@"')
        for name in ("id", "update-rc.d", "systemctl", "python"):
            self.bring(name)

    def bring(self, name: str, text: str = "") -> Path:
        """Put a program there: a fake of ours, or what a text says."""
        path = self._bin / name
        path.write_text(f"#!/bin/sh\n{text or FAKES[name]}\n", encoding="utf-8")
        path.chmod(0o755)
        return path

    def environment(self, **more: str) -> Mapping[str, str]:
        return {
            "PATH": str(self._bin),
            "SCRIPTS": str(SCRIPTS),
            "POLICY": str(self.policy),
            "LOG": str(self.log),
            "BROKER": str(self.broker),
            "FAKE_PYTHON": str(self._bin / "python"),
            "PYTHON": sys.executable,
            **more,
        }

    def find_broker(self, **environ: str) -> str:
        """Return what the script says."""
        command = ["/bin/sh", "-c", HARNESS, "sh", "-q"]
        done = subprocess.run(command, capture_output=True, text=True, check=True, env=self.environment(**environ))
        return done.stdout

    @property
    def calls(self) -> list[str]:
        return self.log.read_text("utf-8").splitlines()


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


# --- the broker


def test_a_broker_that_is_there_is_taken(machine: Machine) -> None:
    machine.bring("apt-get")
    machine.broker.touch()

    assert machine.find_broker() == "missing: \n"
    assert machine.calls == []


def test_root_on_debian_gets_the_package_and_no_service(machine: Machine) -> None:
    machine.bring("apt-get")

    said = machine.find_broker()

    assert "installing the package rabbitmq-server" in said
    assert said.endswith("missing: \n")
    assert machine.calls == [
        "apt-get update forbidden=yes",
        "apt-get install forbidden=yes",
        "update-rc.d rabbitmq-server disable",
        "systemctl --root=/ --quiet disable epmd.service epmd.socket",
        "systemctl --root=/ --quiet disable rabbitmq-server.service",
    ]
    assert not machine.policy.exists()


def test_what_the_machine_had_stays(machine: Machine) -> None:
    """Its own policy, and the daemon of an Erlang that was there before."""
    machine.bring("apt-get")
    machine.bring("erl", "exit 0")
    machine.policy.write_text("the machine's own")

    assert machine.find_broker().endswith("missing: \n")
    assert machine.policy.read_text() == "the machine's own"
    assert not any("epmd" in call for call in machine.calls)


@pytest.mark.parametrize(("process", "stays"), [(2**30, False), (os.getpid(), True)], ids=["dead", "alive"])
def test_what_a_killed_run_has_left_goes(machine: Machine, process: int, stays: bool) -> None:
    machine.bring("apt-get")
    machine.policy.write_text(f"#!/bin/sh\n# while scripts/broker.sh runs as process {process}\nexit 101\n")

    assert machine.find_broker().endswith("missing: \n")
    assert "apt-get install forbidden=yes" in machine.calls
    assert machine.policy.exists() == stays


def test_sudo_that_asks_for_no_password_will_do(machine: Machine) -> None:
    machine.bring("apt-get")
    machine.bring("sudo")

    assert machine.find_broker(WHO="1000", SUDO="yes").endswith("missing: \n")
    assert "apt-get install forbidden=yes" in machine.calls
    assert not machine.policy.exists()


@pytest.mark.parametrize("environ", [{"WHO": "1000"}, {"WHO": "1000", "INSTALL": "yes"}, {"INSTALL": "no"}])
def test_who_may_not_or_minds_is_told_in_one_line(machine: Machine, environ: Mapping[str, str]) -> None:
    machine.bring("apt-get")
    machine.bring("sudo")

    said = machine.find_broker(**environ)

    assert said.startswith(
        "missing: there is no RabbitMQ: tests with messages are left out; sudo apt-get install rabbitmq-server"
    )
    assert said.count("\n") == 1
    assert machine.calls == []


def test_elsewhere_than_on_debian(machine: Machine) -> None:
    said = machine.find_broker()

    assert "the package rabbitmq-server of your system" in said
    assert "apt-get" not in said


def test_a_package_that_cannot_be_fetched(machine: Machine) -> None:
    machine.bring("apt-get")

    said = machine.find_broker(FAILS="yes")

    assert "missing: there is no RabbitMQ: tests with messages are left out; installing rabbitmq-server failed" in said
    assert machine.calls == ["apt-get update forbidden=yes"]
    assert not machine.policy.exists()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_end_in_the_middle_leaves_no_policy(machine: Machine, number: signal.Signals) -> None:
    machine.bring("apt-get")
    machine.bring("sleep", f'exec {shutil.which("sleep")} "$@"')
    command = ["/bin/sh", "-c", HARNESS, "sh"]
    environ = machine.environment(HANGS="yes")
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environ, start_new_session=True) as process:
        assert process.stdout is not None
        assert any(line == "hangs\n" for line in process.stdout)
        assert machine.policy.exists()
        os.killpg(process.pid, number)  # as a terminal does

    assert process.returncode == 128 + number
    assert not machine.policy.exists()


def broker_here(*arguments: str, **environ: str) -> int:
    """Ask the real script on a machine that has nothing."""
    nothing = {"DOCKER_HOST": "unix:///nowhere/docker.sock", "TESTBED_RABBITMQ_HOME": "/nowhere", "PYTHONPATH": str(ROOT / "src")}
    command = [sys.executable, str(SCRIPTS / "broker-here"), *arguments]
    return subprocess.run(command, env={"PATH": os.environ["PATH"], **nothing, **environ}, check=False).returncode


def test_whether_a_broker_is_here() -> None:
    assert broker_here("-q", "-m", "unit") == 1
    assert broker_here(TESTBED_PROVIDER="local") == 1
    assert broker_here(RABBITMQ_URL="amqp://broker.example.com/") == 1
    assert broker_here(RABBITMQ_URL="amqp://localhost/") == 0
    assert broker_here("--testbed-provider=docker") == 0, "the plugin says better what is wrong with an engine"


# --- the whole command, in a clone with a space in its name


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """What the command needs of a clone."""
    clone = tmp_path / "with space" / "clone"
    for name in (
        "pyproject.toml",
        "examples/shop/pyproject.toml",
        *(f"scripts/{path.name}" for path in SCRIPTS.iterdir() if path.is_file()),
    ):
        (clone / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, clone / name)
    python = clone / ".venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    (clone / ".venv" / "pyvenv.cfg").touch()
    python.write_text(f"#!/bin/sh\n{FAKES['python']}\n", encoding="utf-8")
    python.chmod(0o755)
    return clone


def try_example(clone: Path, machine: Machine, *arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    command = ["clone/scripts/try-example", *arguments]
    return subprocess.run(
        command, cwd=clone.parent, capture_output=True, text=True, check=False, env=machine.environment(**environ)
    )


def test_all_tests_are_run_and_the_second_time_nothing_is_installed(clone: Path, machine: Machine) -> None:
    machine.broker.touch()

    first = try_example(clone, machine, "-v")
    assert first.returncode == 0, first.stderr
    assert f"pytest -m pytest -o cache_dir={clone}/.venv/pytest-cache -v\n" in first.stdout
    assert machine.calls == ["pip -m pip install --quiet --editable .[embedded,alembic,mail] --editable examples/shop"]

    second = try_example(clone, machine, OFFLINE="yes")
    assert second.returncode == 0, second.stderr
    assert len(machine.calls) == 1


@pytest.mark.parametrize("code", ["0", "1"])
def test_without_a_broker_the_rest_is_run(clone: Path, machine: Machine, code: str) -> None:
    done = try_example(clone, machine, "-m", "not unit", FAILED=code)

    assert done.returncode == int(code)
    lines = done.stdout.splitlines()
    told = [number for number, line in enumerate(lines) if line.startswith("==> there is no RabbitMQ")]
    assert told[-1] == len(lines) - 1, "it is said at the end again"
    assert len(told) == 2
    assert "--ignore=tests/integration/messaging --ignore=tests/e2e" in done.stdout
    assert "TESTBED_ENV: DATABASE_URL={pg.url+psycopg2}" in done.stdout
    assert "SMTP_HOST={mail.host}" in done.stdout
    assert "RABBITMQ_URL" not in done.stdout


@pytest.mark.parametrize("arguments", [("-m", "unit"), ("-munit",), ("-m=unit",), ("-m", "e2e", "-v", "-m", "unit")])
def test_for_unit_tests_alone_no_broker_is_looked_for(clone: Path, machine: Machine, arguments: tuple[str, ...]) -> None:
    done = try_example(clone, machine, *arguments)

    assert done.returncode == 0, done.stderr
    assert "RabbitMQ" not in done.stdout
    assert f"-o cache_dir={clone}/.venv/pytest-cache {' '.join(arguments)}\n" in done.stdout


@pytest.mark.parametrize("arguments", [("-m", "unit or api"), ("-k", "unit"), ("-m", "unit", "-m", "e2e"), ("tests/unit",)])
def test_for_others_a_broker_is_looked_for(clone: Path, machine: Machine, arguments: tuple[str, ...]) -> None:
    assert "there is no RabbitMQ" in try_example(clone, machine, *arguments).stdout


def test_without_a_network(clone: Path, machine: Machine) -> None:
    done = try_example(clone, machine, OFFLINE="yes", PIP_INDEX_URL="https://me:secret@packages.example.com/simple")

    assert done.returncode == 1
    assert "no route to host" in done.stderr
    assert "error: pip could not install --editable .[embedded,alembic,mail] --editable examples/shop" in done.stderr
    assert "https://***@packages.example.com/simple, which needs a network" in done.stderr
    assert "pytest -m" not in done.stdout
    assert not list((clone / ".venv").glob("installed-*")), "the next run tries again"


def test_the_usual_index_is_named(clone: Path, machine: Machine) -> None:
    assert "from https://pypi.org/simple, which" in try_example(clone, machine, OFFLINE="yes").stderr
