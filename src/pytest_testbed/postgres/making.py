"""The making of a run's database for a client that comes before the tests do. Runs in the host process."""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from collections import defaultdict
from contextlib import contextmanager, suppress

from ..errors import HostError, TestbedError
from ..services.frontdoor import FrontDoor
from ..services.wire import Wire

TYPE_CHECKING = False
if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable, Iterator, Mapping
    from typing import Any

    from ..services.model import Endpoint

__all__ = ["create", "make"]

TIMEOUT = 10.0
ANSWER_TIMEOUT = 2.0
"""Seconds in which the pytest process must say what it is like: some code waits without letting other threads run."""
HOME = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
FLAGS = ("-P", "-c", "import sys; sys.path.append(sys.argv[2]); from pytest_testbed.postgres.beforehand import main; main()")
LAST_WORDS = 4000
"""Characters of what a process has written that are shown where it did not come to say what was wrong."""
OF_ONE_PROCESS = ("worker", "dsn")
"""What is different in the plans of the processes of one run."""
_templates: dict[str, str] = {}
_turns: defaultdict[str, threading.Lock] = defaultdict(threading.Lock)
"""By run and plan: its template, and who looks for it. A run's processes import the same; its tests look for themselves."""


def make(door: FrontDoor) -> None:
    """Make the database that a door's clients want: with schema and seeds where the run's options name them.

    Raises:
        TestbedError: it could not be made.
    """
    plan = door.facts["plan"]
    if not plan:
        create(door, door.facts["database"])
        return
    began = time.monotonic()
    door.endpoint()
    key = json.dumps([door.run, {name: value for name, value in plan.items() if name not in OF_ONE_PROCESS}])
    with _turns[key]:
        if _is_copied(door, _templates.get(key, "")):
            notes = ["postgres: the template of another process of this run was copied"]
        else:
            _templates[key], notes = _by_another_process(door, plan)
    seconds = time.monotonic() - began
    door.notes += [*notes, f"postgres: a connection before the tests had the database made for it, in {seconds:.3f} s"]


def _is_copied(door: FrontDoor, template: str) -> bool:
    """Make the database from a template that is known to be this run's; tell whether it could be done."""
    if template:
        with suppress(Exception):  # it may be gone: then it is looked for as ever
            create(door, door.facts["database"], template)
            return True
    return False


def create(door: FrontDoor, name: str, template: str = "") -> None:
    """Make a database: an empty one, or a copy of a template."""
    endpoint = door.endpoint()
    host = door.host
    if host.kept or not endpoint.is_ours:
        host.ledger.own(f"on {door.spec.kind}", f"{endpoint.host}:{endpoint.port}/{name}", door.run)
    from .service import SPARE, spare_of

    copied = f' TEMPLATE "{template}"' if template else ""
    if template and endpoint.is_ours and int(endpoint.version.partition(".")[0]) >= 15:
        copied += " STRATEGY FILE_COPY"  # as `templates.create`
    with _session(endpoint) as execute:
        if endpoint.is_ours:
            with suppress(Exception):
                execute(f'ALTER DATABASE "{spare_of(template) if template else SPARE}" RENAME TO "{name}"')
                return
        execute(f'CREATE DATABASE "{name}"{copied}')


@contextmanager
def _session(endpoint: Endpoint) -> Iterator[Callable[[str], None]]:
    """Give a function that sends a statement to the server."""
    if endpoint.provider == "local":
        from .spares import enter

        session = enter(endpoint, TIMEOUT)
        try:
            yield session.execute
        finally:
            session.close()
        return
    import psycopg2

    from .service import connection_parameters

    connection = psycopg2.connect(**{**connection_parameters(endpoint), "connect_timeout": int(TIMEOUT)})
    try:
        connection.autocommit = True
        yield connection.cursor().execute
    finally:
        connection.close()


# --- with a schema: that is Python code of the project, and the process whose code it is waits for us


def _by_another_process(door: FrontDoor, plan: dict[str, Any]) -> tuple[str, list[str]]:
    """Let a process like the one that waits make the database; return the template, and what there is to tell.

    Raises:
        TestbedError: the schema cannot be applied, or the process came to an end before.
    """
    from tempfile import TemporaryFile

    now = _surroundings(door)
    path = now.get("path") or list(sys.path)
    order = {**plan, "run": door.run, "database": door.facts["database"], "spec": door.spec.to_json(), "path": path}
    environ = _told_apart(door, now.get("environ") or os.environ)
    with TemporaryFile() as noise:
        child = _started(door, environ, now.get("directory", ""), noise.fileno())
        door.at_close.append(child.kill)
        try:
            said, _ = child.communicate(json.dumps(order).encode())
        finally:
            door.at_close.remove(child.kill)
            door.maker = ""
        with suppress(ValueError):
            outcome: dict[str, Any] = json.loads(said)
            if outcome["fault"]:
                raise TestbedError(outcome["fault"])
            return outcome["template"], list(outcome["notes"])
        noise.seek(0)
        words = noise.read().decode(errors="replace")[-LAST_WORDS:].strip()
    raise TestbedError(f"the process that makes the database has ended early (exit code {child.returncode}).\n{words}".strip())


def _surroundings(door: FrontDoor) -> dict[str, Any]:
    """Return what the pytest process is like at the moment; what it was like at last, or nothing, where it cannot say."""
    if door.witness is None:
        return {}
    with suppress(HostError):  # it has closed its end, and left its last words
        door.witness.send({"do": "tell"})
    with suppress(HostError, EOFError):
        if door.witness.waiting(ANSWER_TIMEOUT):
            return door.witness.receive()
    return {}


def _told_apart(door: FrontDoor, environ: Mapping[str, str]) -> dict[str, str]:
    """Return the environment with another password in it, by which the other process's clients are known at the door.

    They come to the template, while all others have to wait for the database itself.
    """
    given = door.facts["password"]
    if door.facts["through"]:
        return dict(environ)
    door.maker = os.urandom(12).hex()
    return {name: value.replace(given, door.maker) for name, value in environ.items()}


def _started(door: FrontDoor, environ: Mapping[str, str], directory: str, noise: int) -> subprocess.Popen[bytes]:
    """Start a process as the other one is, which talks to the host for the same run."""
    import _socket
    import subprocess

    ours, theirs = _socket.socketpair()  # type: ignore[attr-defined,unused-ignore]
    try:
        child = subprocess.Popen(
            [sys.executable, *FLAGS, HOME, str(theirs.fileno())],
            pass_fds=[theirs.fileno()],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=noise,
            # what the tests' coverage is measured with is theirs
            env={name: value for name, value in environ.items() if not name.startswith(("COV_CORE_", "COVERAGE_PROCESS"))},
            cwd=directory if os.path.isdir(directory) else None,
        )
    except OSError as error:
        ours.close()
        raise TestbedError(f"the process that makes the database could not be started: {error}.") from error
    finally:
        theirs.close()
    threading.Thread(target=door.converse, args=(door, Wire(ours)), name="converse", daemon=True).start()
    return child
