"""Making a run's database before its tests do, in a process of its own: the run's process waits for it.

An application that connects when it is imported holds the pytest process up in the middle of an import, so
that nothing can be imported there to build a schema with. The host starts this process in its place.
"""

from __future__ import annotations

import _socket
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, NoReturn

from ..errors import TestbedError

if TYPE_CHECKING:
    from .database import Options

__all__ = ["main", "plan"]


def plan(
    schema: Sequence[str], seeds: Sequence[str], root: Path, options: Options, worker: str, dsn: str, reuse: float | None
) -> dict[str, Any]:
    """Return what another process must know to make the database with its schema and seeds; {} where it has none.

    Args:
        schema: the entries of `testbed_pg_schema`; what a fixture gives instead cannot be known before the tests.
        seeds: those of `testbed_pg_seed`.
        root: where their relative paths begin.
        options: those of PostgreSQL.
        worker: xdist's name of this process, or "main".
        dsn: the exported address.
        reuse: seconds for which the services wait for another run; None where they end with this one.
    """
    if not schema and not seeds:
        return {}
    chosen = {name: getattr(options, name) for name in ("driver", "lock_timeout", "args", "initdb_args", "environment")}
    return {
        "schema": list(schema),
        "seeds": list(seeds),
        "root": str(root),
        "options": chosen,
        "worker": worker,
        "dsn": dsn,
        "reuse": reuse,
    }


def make(order: dict[str, Any], connection: _socket.socket) -> dict[str, Any]:
    """Make the database as the run's own process would; return its "template", and "notes" to tell.

    Raises:
        TestbedError: it cannot be made.
    """
    from ..services.client import Party, Testbed
    from ..services.connection import HostClient
    from ..services.doorway import Way
    from ..services.model import ServiceSpec
    from .database import worker_database
    from .exported import Exported

    client = HostClient(connection, os.getppid())
    party = Party(run=order["run"], owner=os.getppid(), place="")
    testbed = Testbed([ServiceSpec.from_json(order["spec"])], reuse=order["reuse"], party=party, client=client)
    exported = Exported(order["dsn"], Way(testbed, "postgres"), leads=order["leads"])
    options: Any = SimpleNamespace(**order["options"])
    root, worker = Path(order["root"]), order["worker"]
    with worker_database(testbed, order["schema"], root, options, worker, order["seeds"], None, exported) as database:
        return {"template": database.template, "notes": [*testbed.notes, *testbed.details]}


def main() -> NoReturn:
    """Do what is ordered on the standard input; say on the standard output what came of it."""
    answer = os.dup(1)
    os.dup2(2, 1)  # what the schema's code prints is not for the one who ordered it
    order = json.loads(sys.stdin.buffer.read())
    sys.path[:] = order["path"]
    outcome: dict[str, Any] = {"fault": ""}
    try:
        outcome |= make(order, _socket.socket(fileno=int(sys.argv[2])))
    except TestbedError as error:
        outcome["fault"] = str(error)
    except BaseException:
        import traceback

        outcome["fault"] = traceback.format_exc()
    os.write(answer, json.dumps(outcome).encode())
    os._exit(0)  # threads of the application must not keep us
