"""A PostgreSQL server and a broker that are there already, for contenders that start none and for times without a start."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

from .model import Unable
from .processes import Processes
from .venvs import Venvs

SERVE = """
import json, sys
from pytest_testbed import Testbed
from pytest_testbed.postgres.service import postgres_spec
from pytest_testbed.rabbitmq.service import rabbitmq_spec
kind, bindir = sys.argv[1:]
spec = postgres_spec(provider="local", bindir=bindir) if kind == "postgres" else rabbitmq_spec(provider="local")
with Testbed([spec]) as testbed:
    found = testbed.endpoint(kind)
    print(json.dumps({"host": found.host, "port": found.port, "user": found.user, "password": found.password,
                      "url": found.url(), "management": found.ports.get("management", 0)}), flush=True)
    if kind == "postgres":
        import psycopg
        admin = psycopg.connect(found.url(), autocommit=True)
        for line in sys.stdin:
            name = line.strip()
            admin.execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')
            admin.execute(f'CREATE DATABASE "{name}"')
            print(name, flush=True)
    sys.stdin.read()
"""


class Servers:
    """Servers of local binaries that live for the whole comparison; each is started when it is first asked for.

    They are those of this project's own local provider: on loopback, with the settings for tests (no `fsync`) that
    every contender has the good of. They end when our end of the pipe closes, however we end.
    """

    def __init__(self, venvs: Venvs, processes: Processes, binaries: str) -> None:
        self._venvs, self._processes, self._binaries = venvs, processes, binaries
        self._running: dict[str, subprocess.Popen[str]] = {}
        self._found: dict[str, dict[str, Any]] = {}

    def get(self, kind: str) -> dict[str, Any]:
        """Return where a server is.

        Raises:
            Unable: it cannot be started.
        """
        if kind not in self._found:
            command = [self._venvs.interpreter("pytest-testbed"), "-c", SERVE, kind, self._binaries]
            folder = Path(self._processes.new(f"server-{kind}"))
            cache = {"TESTBED_CACHE_DIR": str(self._processes.folder / "home" / "cache")}
            process = self._processes.start(command, folder, cache, stdin=subprocess.PIPE)
            assert process.stdout is not None
            line = process.stdout.readline()
            if not line.startswith("{"):
                rest = process.communicate()[0]
                raise Unable(f"the common {kind} server did not start: {(line + rest).strip().splitlines()[-1][:160]}")
            self._running[kind], self._found[kind] = process, json.loads(line)
        return self._found[kind]

    def database(self, name: str) -> str:
        """Make a database anew on the common server; return its name."""
        self.get("postgres")
        process = self._running["postgres"]
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(f"{name}\n")
        process.stdin.flush()
        if process.stdout.readline().strip() != name:
            raise Unable("the common postgres server has made no database")
        return name

    def stop(self) -> None:
        """End them."""
        for process in self._running.values():
            if process.stdin is not None:
                process.stdin.close()
            try:
                process.wait(timeout=20)
            except subprocess.TimeoutExpired:
                self._processes.stop(process)
        self._running.clear()
