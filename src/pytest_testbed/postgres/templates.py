"""The database that has the project's schema, and that each worker's database is a clone of.

Its name is a hash of all that it is made of, so it is found again by later runs on the same server and
never when it is stale. It gets its name last: a half made one has another. Method: pgtestdb's and
IntegreSQL's template databases, keyed by content.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..services.model import Endpoint
from .admin import Admin, Services, sqlstate
from .connect import engine_url
from .exported import Exported
from .protocol import HOST
from .service import SPARE, TEMPLATE_PREFIX, spare_of

if TYPE_CHECKING:
    from .fence import Detour

__all__ = ["Templates"]

DUPLICATE = "42P04"
TURN = "the templates of postgres"
DAY = 86400
KEPT = 3
"""Templates of a project that stay, however long they have not been used, until `OLD`."""
OLD = 30
"""Days without use after which a template is dropped."""
MOST = 12
"""Templates of a project that may have been used today."""

FIND = """SELECT datname, shobj_description(oid, 'pg_database') FROM pg_database
WHERE datname LIKE %s AND NOT datallowconn AND pg_has_role(datdba, 'member')"""
PRISTINE = """SELECT
(SELECT count(*) FROM pg_roles WHERE rolname !~ '^pg_' AND rolname <> current_user)
+ (SELECT count(*) FROM pg_tablespace WHERE spcname !~ '^pg_') + (SELECT count(*) FROM pg_db_role_setting)
+ (SELECT count(*) FROM pg_file_settings WHERE sourcefile LIKE '%%/postgresql.auto.conf')
+ (SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend'
   AND pid <> pg_backend_pid() AND application_name <> %s)
+ (SELECT count(*) FROM pg_database WHERE datname NOT IN ('template0', 'template1', 'postgres', %s)
   AND datname !~ '^testbed_[ts]_')"""
"""Counts what a snapshot must not hold: it would be there at the next start, where nobody expects it."""


class Templates:
    """Finds or makes the template of one schema on one server.

    Args:
        admin: the maintenance connection.
        services: the engine's face.
        schema: entries for `apply_schema`.
        root: where relative paths of the schema begin.
        driver: "psycopg2" or "psycopg".
        worker: this worker's name, for a template that is being made.
        server: what else decides how the server would make it: its arguments.
        seeds: rows that are in it, for `apply_schema`.
        exported: the address by which applications know the database that is to be; None: they have none.
    """

    def __init__(
        self,
        admin: Admin,
        services: Services,
        schema: Sequence[object],
        root: Path,
        driver: str,
        worker: str,
        server: Sequence[str] = (),
        seeds: Sequence[object] = (),
        exported: Exported | None = None,
    ) -> None:
        self._admin = admin
        self._services = services
        self._schema = schema
        self._seeds = seeds
        self._exported = exported
        self._root = root
        self._driver = driver
        self._server = tuple(server)
        self._half_made = f"testbed_{services.run}_{worker}_template"
        self.name = ""
        """The template, once this worker has found or made it."""
        self._key: str | None = None
        self._has_key = False

    @contextmanager
    def turn(self) -> Iterator[None]:
        """On a server of ours, keep the other workers from looking, making and copying meanwhile.

        Making a template may end in a snapshot, which ends everybody's connections.
        """
        if not self._admin.endpoint.is_ours:
            yield
            return
        self._admin.close()  # whoever waits must not be in the way of a snapshot
        with self._services.turn(TURN):
            yield

    def ensure(self, *, anew: bool = False) -> str:
        """Return the name of a template with the schema, made now where there is none yet.

        Args:
            anew: look for it again, as it may be gone.

        Raises:
            SchemaError: the schema cannot be applied.
        """
        if anew or not self.name:
            self.name = self._ensure()
        return self.name

    def _ensure(self) -> str:
        if (found := self._find()) is not None:
            self._services.details.append(f"postgres: template {found} was there")
            return found
        if self._admin.endpoint.is_ours:  # and this is our turn
            return self._make()
        with self._services.turn(TURN), self._alone_on_server():
            if (found := self._find()) is not None:
                return found
            return self._make()

    def _prefix(self) -> str:
        """Return what the names of this schema's templates begin with; one that cannot be recognised is this run's."""
        from .evidence import schema_key
        from .schema import loaded, modules_of

        if not self._has_key:
            endpoint = self._admin.endpoint
            facts = (endpoint.version, endpoint.user, self._driver, *self._server)
            url = engine_url(endpoint, self._half_made, self._driver)
            imports = not all(name in sys.modules for name in modules_of(self._schema, self._seeds))
            # who does not need it has to wait: there are no tables yet
            with self._led(cache(self._make_half)) if imports else nullcontext() as detour:
                with loaded(self._schema, url, self._root, self._seeds, detour):
                    self._key = schema_key(self._schema, self._root, *facts, seeds=self._seeds)
            self._has_key = True
            if imports and self._exported is not None:
                self._drop_half_made()  # of an application that has connected when it was imported
        return f"{TEMPLATE_PREFIX}{self._key}" if self._key else f"testbed_{self._services.run}_shared"

    @contextmanager
    def _led(self, prepare: Callable[[], None] = lambda: None) -> Iterator[Detour | None]:
        """Lead applications that use their address to the half made template meanwhile; say how they come there.

        Args:
            prepare: makes it where it is not there yet; the host does so by itself.
        """
        from .fence import Detour

        if self._exported is None:
            yield None
        elif self._exported.leads:
            with self._exported.led_to(self._half_made):
                yield Detour(self._exported.dsn, passes=True)
        else:
            self._admin.rows("SELECT")  # what prepares must not connect any more
            yield Detour(self._exported.dsn, prepare=prepare)

    def _make_half(self) -> None:
        """Make the database that will be the template."""
        self._drop_half_made()  # of a try that failed
        create(self._admin, self._services, self._half_made)

    def _drop_half_made(self) -> None:
        self._admin.execute(f'DROP DATABASE IF EXISTS "{self._half_made}" WITH (FORCE)')

    def _find(self) -> str | None:
        from .reads import still_true

        pattern = self._prefix().replace("_", r"\_") + "%"
        for name, comment in self._admin.rows(FIND, (pattern,)):
            facts = facts_of(comment)
            if facts is not None and still_true(facts["files"], self._root):
                self._mark_as_used(name, facts)
                return str(name)
        return None

    @contextmanager
    def _alone_on_server(self) -> Iterator[None]:
        """Keep other runs on a server that is not ours from making the same template meanwhile."""
        lock = f"hashtextextended('{self._prefix()}', 0)"
        self._admin.rows(f"SELECT pg_advisory_lock({lock})")
        try:
            yield
        finally:
            self._admin.rows(f"SELECT pg_advisory_unlock({lock})")

    def _make(self) -> str:
        from .reads import FilesRead
        from .schema import apply_schema

        began = time.perf_counter()
        self._make_half()
        url = engine_url(self._admin.endpoint, self._half_made, self._driver)
        with self._led() as detour, FilesRead(self._root) as read:
            apply_schema(self._schema, url, self._root, self._seeds, detour)
        facts = {"files": read.files(), "project": str(self._root), "used": today()}
        name = self._finish(facts)
        self._services.details.append(f"postgres: template {name} was made in {time.perf_counter() - began:.2f} s")
        if self._key:
            self._prune()
            self._take_snapshot()
        return name

    def _finish(self, facts: dict[str, Any]) -> str:
        """Close the half made template to everybody, and give it its name."""
        name = self._prefix()
        if facts["files"]:
            from hashlib import sha256

            name += "_" + sha256(json.dumps(facts["files"], sort_keys=True).encode()).hexdigest()[:8]
        half = self._half_made
        self._admin.execute(f'ALTER DATABASE "{half}" WITH ALLOW_CONNECTIONS false')
        self._admin.rows("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", (half,))
        self._comment(half, facts)
        try:
            if not self._key:
                own(self._services, self._admin.endpoint, name)
            self._admin.execute(f'ALTER DATABASE "{half}" RENAME TO "{name}"')
        except Exception as error:
            if sqlstate(error) != DUPLICATE:
                raise
            self._admin.execute(f'DROP DATABASE "{half}"')  # somebody was quicker, by another address of this server
        disown(self._services, self._admin.endpoint, half)
        return name

    def _comment(self, name: str, facts: dict[str, Any]) -> None:
        text = json.dumps(facts, sort_keys=True)
        self._admin.execute(f'COMMENT ON DATABASE "{name}" IS %s', (text,))

    def _mark_as_used(self, name: str, facts: dict[str, Any]) -> None:
        if facts["used"] != today() and (self._services.outlives or not self._admin.endpoint.is_ours):
            self._comment(name, {**facts, "used": today()})

    def _prune(self) -> None:
        """Drop this project's templates that nobody is likely to want again."""
        mine = []
        for name, comment in self._admin.rows(FIND, (TEMPLATE_PREFIX.replace("_", r"\_") + "%",)):
            facts = facts_of(comment)
            if facts is not None and facts["project"] == str(self._root):
                mine.append((facts["used"], name))
        for name in superfluous(mine, today()):
            self._admin.execute(f'DROP DATABASE IF EXISTS "{name}"')
            if self._admin.endpoint.is_ours:
                self._admin.execute(f'DROP DATABASE IF EXISTS "{spare_of(name)}"')

    def _take_snapshot(self) -> None:
        """Let the next start of a local server begin with this template, where nothing else is on the server."""
        if self._admin.endpoint.provider != "local" or self._admin.rows(PRISTINE, (HOST, SPARE)) != [(0,)]:
            return
        began = time.perf_counter()
        self._admin.close()
        if self._services.snapshot("postgres"):
            seconds = time.perf_counter() - began
            self._services.details.append(
                f"postgres: the data directory with the template was kept for later starts, {seconds:.2f} s"
            )


def facts_of(comment: str | None) -> dict[str, Any] | None:
    """Return what a template's comment says, or None where it is not one of ours."""
    try:
        facts = json.loads(comment or "")
        return facts if {"files", "project", "used"} <= facts.keys() else None
    except (ValueError, AttributeError):
        return None


def superfluous(templates: Sequence[tuple[int, str]], day: int) -> list[str]:
    """Return which of a project's templates may go; each is given with the day of its last use."""
    newest_first = sorted(templates, reverse=True)
    return [
        name
        for rank, (used, name) in enumerate(newest_first)
        if rank >= MOST or (rank >= KEPT and used < day) or used < day - OLD
    ]


def today() -> int:
    """Return the number of this day."""
    return int(time.time()) // DAY


def create(admin: Admin, services: Services, name: str, template: str | None = None) -> None:
    """Make a database, from a spare one where a server of ours has it ready."""
    own(services, admin.endpoint, name)
    spare = SPARE if template is None else spare_of(template)
    if admin.endpoint.is_ours and take_spare(admin, spare, name):
        return
    parts = [f'CREATE DATABASE "{name}"']
    if template is not None:
        parts.append(f'TEMPLATE "{template}"')
    if admin.endpoint.is_ours and int(admin.endpoint.version.partition(".")[0]) >= 15:
        # quicker for small databases; on a server with other users its checkpoint would be felt
        parts.append("STRATEGY FILE_COPY")
    admin.execute(" ".join(parts))


NO_SUCH_DATABASE = "3D000"


def take_spare(admin: Admin, spare: str, name: str) -> bool:
    """Take a database that the server has ready; tell whether nobody else was first."""
    try:
        admin.execute(f'ALTER DATABASE "{spare}" RENAME TO "{name}"')
    except Exception as error:
        if sqlstate(error) == NO_SUCH_DATABASE:
            return False
        raise
    return True


def own(services: Services, endpoint: Endpoint, name: str) -> None:
    """Write down a database that may outlive this run: those on a server of its own go with it."""
    if services.outlives or not endpoint.is_ours:
        services.own("on postgres", f"{endpoint.host}:{endpoint.port}/{name}")


def disown(services: Services, endpoint: Endpoint, name: str) -> None:
    """Take a database off the ledger that is gone, or has become everybody's."""
    if services.outlives or not endpoint.is_ours:
        services.disown("on postgres", f"{endpoint.host}:{endpoint.port}/{name}")
