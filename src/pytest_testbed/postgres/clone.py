"""How a worker's database is made, made anew and set aside: it is a clone of the schema's template, or of a later base."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import closing, nullcontext

from ..errors import SchemaError, ServiceUnavailable
from .admin import CONNECT_TIMEOUT, Admin, Services, sqlstate
from .company import connected, evict, somebody_stays
from .connect import connect
from .sequences import read
from .templates import NO_SUCH_DATABASE, Templates, create, disown, own

__all__ = ["Clone"]

CLONE_TRIES = 3
IN_USE = "55006"


class Clone:
    """A database that was copied from another one, and whose place a new copy can take.

    Args:
        admin: the maintenance connection.
        services: the engine's face.
        name: what it is called.
        templates: gives the database that has the schema; None where the schema is empty.
    """

    def __init__(self, admin: Admin, services: Services, name: str, templates: Templates | None) -> None:
        self._admin = admin
        self._services = services
        self.name = name
        self._templates = templates
        self._bases = 0
        self._base = ""
        self._old = 0
        self.cleaners: list[Callable[[], None]] = []
        """What closes connections of ours to it: they are in the way of who replaces or copies it."""
        self._sequences: dict[tuple[str, str], int] | None = None

    @property
    def template(self) -> str:
        """The database that has the schema; "" where that is empty, or before `ensure`."""
        return self._templates.name if self._templates is not None else ""

    def is_there(self) -> bool:
        """Whether the database exists: whoever has its address can drop it."""
        return bool(self._admin.rows("SELECT FROM pg_database WHERE datname = %s", (self.name,)))

    def clean(self) -> None:
        """Close connections of ours to it."""
        for clean in self.cleaners:
            clean()

    # --- making it

    def ensure(self, *, there: bool = False) -> None:
        """Make the template and the database where they are missing.

        Args:
            there: whether it was made already, for an application that came before the tests.
        """
        if there:
            if self._templates is not None:
                self.replace()
            return
        # a run's names are its own: only a server that came back may have them already
        if not self._admin.lost or not self.is_there():
            began = time.perf_counter()
            self.make()
            self._services.details.append(f"postgres: database {self.name} was made in {time.perf_counter() - began:.3f} s")
        self._admin.lost = False

    def make_again(self) -> None:
        """Make the database where a test or a fixture has dropped it."""
        self.clean()
        self.make()

    def make(self, name: str = "") -> None:
        """Make the database, or another one of that name which is just like it.

        Raises:
            SchemaError: the schema cannot be applied, or its template is in use.
            ServiceUnavailable: somebody drops the template time and again.
        """
        if self._base and not self._admin.lost:
            create(self._admin, self._services, name or self.name, self._base)
            return
        self._base = ""
        if self._templates is None:
            create(self._admin, self._services, name or self.name)
            return
        anew = self._admin.lost or not self._templates.name
        with self._templates.turn() if anew else nullcontext():
            self._copy_template(self._templates, name or self.name)

    def _copy_template(self, templates: Templates, name: str) -> None:
        for attempt in range(CLONE_TRIES):
            template = templates.ensure(anew=attempt > 0 or self._admin.lost)
            try:
                create(self._admin, self._services, name, template)
                return
            except Exception as error:
                if sqlstate(error) == IN_USE:
                    raise SchemaError(self._in_use(template)) from error
                if sqlstate(error) != NO_SUCH_DATABASE:
                    raise
                # another run took it for superfluous, between our look and our copy
        raise ServiceUnavailable(f"the template of the schema was dropped {CLONE_TRIES} times before it could be copied.")

    def _in_use(self, template: str) -> str:
        who = connected(self._admin, template) or "gone by now"
        return (
            f"the template database {template} cannot be copied while somebody is connected to it: {who}. "
            "End that connection; to look at the schema, connect to a copy (CREATE DATABASE … TEMPLATE …)."
        )

    def sequences(self) -> dict[tuple[str, str], int]:
        """Return what the sequences of a database just made give next, by schema and name; asked of one that is, once."""
        if self._sequences is None:
            name = f"{self.name}_sequences"
            self.make(name)
            try:
                connection = connect(self._admin.endpoint, name, "psycopg2", connect_timeout=CONNECT_TIMEOUT)
                with closing(connection), connection.cursor() as cursor:
                    self._sequences = read(lambda sql: (cursor.execute(sql), cursor.fetchall())[1])
            finally:
                self._admin.execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')
                disown(self._services, self._admin.endpoint, name)
        return self._sequences

    # --- a new one in its place

    def replace(self) -> None:
        """Put a new database in the place of this one, which the host drops when there is time; whoever is connected is out."""
        if not self.is_there():
            self.make_again()
            return
        self._old += 1
        old = f"{self.name}_old{self._old}"
        own(self._services, self._admin.endpoint, old)
        self._move_to(old)
        self._drop_later(old)
        self.make()

    def set_aside(self, name: str) -> None:
        """Give the database another name, under which it stays, and make it anew."""
        if not self.is_there():  # there is nothing to keep
            self.make_again()
            return
        self._move_to(name)
        self._admin.execute(f'ALTER DATABASE "{name}" WITH ALLOW_CONNECTIONS true')
        disown(self._services, self._admin.endpoint, self.name)
        self.make()

    def _move_to(self, name: str) -> None:
        """Give the database another name; whoever is connected to it is thrown out."""
        self.clean()
        evict(self._admin, self.name)
        self._admin.execute(f'ALTER DATABASE "{self.name}" RENAME TO "{name}"')

    def _drop_later(self, name: str) -> None:
        endpoint = self._admin.endpoint
        self._services.drop_later("postgres", f"{endpoint.host}:{endpoint.port}/{name}")

    # --- what a new one begins with

    @property
    def base(self) -> str:
        """The database that renewals copy; "" where that is the template."""
        return self._base

    def is_occupied(self) -> bool:
        """Whether somebody stays connected on a server that is not ours: CREATE DATABASE would wait for him in vain, for 5 s.

        On one of our own the front door has brought its clients out, and the others are waited for.
        """
        if self._admin.endpoint.is_ours:
            return False
        self.clean()
        return somebody_stays(self._admin, self.name)

    def keep_base(self) -> bool:
        """Let later renewals begin with the database as it is now, its definitions included; tell whether that can be.

        Fixtures of a wider scope may make tables, which no template has. Nobody may be connected to it.
        """
        self.clean()
        self._bases += 1
        name = f"{self.name}_base{self._bases}"
        try:
            create(self._admin, self._services, name, self.name)
        except Exception as error:
            disown(self._services, self._admin.endpoint, name)
            if sqlstate(error) != IN_USE:
                raise
            return False
        self._base = name
        return True

    def begin_with(self, base: str) -> None:
        """Let later renewals begin with what an earlier `base` was; the present one is needed no more."""
        before, self._base = self._base, base
        if before != base:
            self.forget(before)

    def forget(self, base: str) -> None:
        """Let the host drop what was a `base`."""
        if base:
            self._drop_later(base)
