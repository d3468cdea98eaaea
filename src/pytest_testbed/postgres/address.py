"""The address of a worker's database as applications know it, stable for the run."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import quote, urlencode

from ..errors import ConfigurationError
from ..services.client import Testbed
from ..services.doorway import Doorway
from ..services.witness import Witness
from .exported import Exported

__all__ = ["DatabaseAddress"]


REFUSED = (
    ("sslmode", "verify-full", "sslmode=verify-ca"),
    # libpq takes it for verify-full, and nothing less
    ("sslrootcert", "system", "sslmode=verify-ca and a file as sslrootcert"),
)
"""What a server's URL may not ask for where its address is exported, and what to say instead."""
FOUND = {"sslrootcert": "root.crt", "sslcert": "postgresql.crt", "sslkey": "postgresql.key", "sslcrl": "root.crl"}
"""Files below ~/.postgresql that both libpq and asyncpg look for where a URL names none."""


class DatabaseAddress:
    """A port on loopback that leads to one database.

    Args:
        database: its name.
        url: that of a server which is not ours; "" for one that is.
        user: the role's name on a server of ours.
        lock_timeout: seconds that a statement of a client waits for a lock, where the client says nothing else and the
            server is ours; 0 for as long as it takes.
    """

    kind = "postgres"

    def __init__(self, database: str, url: str = "", user: str = "postgres", lock_timeout: float = 0.0) -> None:
        self.database = database
        self._lock_timeout = lock_timeout
        self._through = bool(url)
        self._parameters: Mapping[str, str] = {}
        self._plan: Mapping[str, Any] = {}
        self.user: str = user
        self.password: str = os.urandom(12).hex()
        if url:
            self._of_server(url)
        self.doorway: Doorway = Doorway()

    def _of_server(self, url: str) -> None:
        from .service import parse_url

        try:
            endpoint = parse_url(url)
        except ValueError as error:
            raise ConfigurationError(f"the server's URL cannot be exported: {error}.") from None
        said = endpoint.parameters()
        for name, value, instead in REFUSED:
            if said.get(name) == value:
                raise ConfigurationError(
                    f"an address of a server with {name}={value} cannot be exported: applications reach it by 127.0.0.1, "
                    f"which its certificate does not name. Say {instead} in testbed_pg_url."
                )
        said.pop("hostaddr", None)  # with it libpq would pass the port by
        self.user = endpoint.user
        self.password = endpoint.password
        self._parameters = said

    @property
    def facts(self) -> Mapping[str, Any]:
        """What a `PostgresVisit` needs to know."""
        login = {"user": self.user, "password": self.password, "database": self.database}
        # in milliseconds, as the server wants it
        return {**login, "through": self._through, "plan": self._plan, "lock_timeout": f"{self._lock_timeout * 1000:.0f}"}

    @property
    def exported(self) -> Exported:
        """The address, for who makes the database."""
        return Exported(self.form("dsn"), self.doorway, leads=not self._through)

    def open(self, testbed: Testbed, plan: Mapping[str, Any] | None = None) -> None:
        """Let the host of a run hold the port from now on.

        Args:
            testbed: the engine's face.
            plan: what `beforehand.plan` gave, for who connects before the tests; None: they find an empty database.
        """
        if plan:
            self._plan = {**plan, "leads": not self._through}
            self.doorway.witness = Witness()
        self.doorway.hand_over(testbed, self.kind, self.facts)

    def settle(self) -> None:
        """Note that nothing more will be imported before the tests."""
        if self.doorway.witness is not None:
            self.doorway.witness.close()

    def form(self, name: str) -> str:
        """Return one of the forms that the part exports, such as "url", "url+asyncpg" or "port".

        Raises:
            ConfigurationError: a URL for that driver cannot say what the server's own does.
        """
        name, plus, driver = name.partition("+")
        forms: Mapping[str, Callable[[], str]] = {
            "url": lambda: self._url(f"postgresql{plus}{driver}"),
            "dsn": self._dsn,
            "host": lambda: self.doorway.host,
            "port": lambda: str(self.doorway.port),
            "user": lambda: self.user,
            "password": lambda: self.password,
            "database": lambda: self.database,
        }
        return forms[name]()

    def _url(self, scheme: str) -> str:
        login = quote(self.user, safe="") + (":" + quote(self.password, safe="") if self.password else "")
        parameters = self._for_asyncpg() if scheme.endswith("+asyncpg") else self._parameters
        query = urlencode(parameters, safe="/", quote_via=quote)
        return f"{scheme}://{login}@{self.doorway.host}:{self.doorway.port}/{self.database}{'?' if query else ''}{query}"

    def _for_asyncpg(self) -> Mapping[str, str]:
        """Return the parameters in the words that SQLAlchemy has for asyncpg; what has none is left out, if it may be."""
        from .parameters import IN_ASYNCPG, unsafe_without, variable_of

        if name := unsafe_without(self._parameters):
            variable = f" and {variable_of(name)}" if variable_of(name) else ""
            instead = f", and name the file ~/.postgresql/{FOUND[name]}, where asyncpg looks by itself" if name in FOUND else ""
            raise ConfigurationError(
                f"the server's URL has {name}={self._parameters[name]}, for which a URL of asyncpg has no word, and without it "
                f"the connection would be less safe. Name another driver, such as psycopg; or leave {name} out of "
                f"testbed_pg_url{variable}{instead}."
            )
        return {IN_ASYNCPG[name]: value for name, value in self._parameters.items() if name in IN_ASYNCPG}

    def _dsn(self) -> str:
        pairs = {
            "host": self.doorway.host,
            "port": str(self.doorway.port),
            "user": self.user,
            "password": self.password,
            "dbname": self.database,
            **self._parameters,
        }
        return " ".join(f"{name}={_quoted(value)}" for name, value in pairs.items() if value)


def _quoted(value: str) -> str:
    """Return a value as libpq's keyword form wants it."""
    if value and not any(letter.isspace() or letter in "'\\" for letter in value):
        return value
    return "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"
