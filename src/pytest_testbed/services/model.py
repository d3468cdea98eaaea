"""What a service needs and what a running one offers: the contract, which imports nothing of the engine.

Everything here crosses a process border as JSON, so specs and endpoints are plain data; code is
named by reference, `package.module:attribute`, and looked up in the host process.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from importlib import import_module

from ..errors import ConfigurationError
from .record import as_data, changed, record

TYPE_CHECKING = False  # said so, the host process is spared the import of typing
if TYPE_CHECKING:
    from pathlib import Path
    from typing import Any, Protocol
else:
    Protocol = object

__all__ = [
    "RANDOM",
    "ContainerRecipe",
    "Context",
    "Endpoint",
    "GiveUp",
    "LogMark",
    "ProcessRecipe",
    "Provider",
    "Refusal",
    "Running",
    "ServiceSpec",
    "masked",
    "resolve",
    "sickness",
]


_NOTHING: Mapping[str, Any] = {}

RANDOM = "{testbed:random}"
"""Stands in a `ContainerRecipe` for a secret that the docker provider makes for each container.

It may be part of the password, of a variable's value and of an argument of the command; the secret is
the same in all of them, and stays when the container is made anew. A recipe with a secret of its own
would differ from run to run, and nobody could tell that two of them describe the same server.
"""


@record(frozen=True, kw_only=True)
class ContainerRecipe:
    """How the docker provider runs a kind.

    Args:
        image: the image, with its tag.
        port: where the service listens in the container.
        more_ports: further ports that are published, by name ("management": 15672); the endpoint has them as `ports`.
        command: what the container is started with; () for the image's own.
        plain_command: what it is started with where it ended with `command` before it was ready: a quick start that an
            image does not take must not be the end.
        environment: variables of the container.
        tmpfs: paths in the container that are kept in memory, each with a size limit ("1g"); where the engine refuses
            that, the container is started without.
        shm_size: size of its /dev/shm in bytes; None for the engine's own.
        user: who logs in.
        password: with which password. For one that nobody chose write `RANDOM`, here and wherever the server is told it:
            recipes of equal servers must be equal.
    """

    image: str
    port: int
    more_ports: Mapping[str, int] = _NOTHING
    command: Sequence[str] = ()
    plain_command: Sequence[str] = ()
    environment: Mapping[str, str] = _NOTHING
    tmpfs: Mapping[str, str] = _NOTHING
    shm_size: int | None = None
    user: str = ""
    password: str = ""


@record(frozen=True, kw_only=True)
class ProcessRecipe:
    """How the local provider runs a kind.

    Args:
        recipe: reference to a class with the methods of `LocalRecipe`.
        options: with which the class is made.
    """

    recipe: str
    options: Mapping[str, Any] = _NOTHING


@record(frozen=True, kw_only=True)
class ServiceSpec:
    """A recipe for one kind of service: pure data, with references to code where code is needed.

    A reference is a text `package.module:name`. The host process, to which a spec is sent, looks it up with the `sys.path` of
    pytest.

    Args:
        kind: the name by which it is asked for, such as "postgres".
        probe: reference to `probe(endpoint, timeout) -> str`; it must speak the protocol, return the
            server's version, and raise while the server is not ready (`GiveUp` where waiting cannot
            help). `timeout` is in seconds. It may finish the set-up, e.g. set a password.
        fixtures: references (`module:fixture`) whose use means that a test needs this kind.
        imports: modules that tests of this kind will need; loaded while the service starts.
        provider: "auto", or the one provider that may serve it.
        version: a version (prefix) that the server must have, or None.
        timeout: seconds that a start may take.
        container: for the docker provider; None means that the kind has no image.
        process: for the local provider; None means that the kind has no local form.
        url: a server that is there, for the provider external.
        url_source: who said so, for users.
        url_parser: reference to `parse(url) -> Endpoint`, needed with `url`.
        visit: reference to the subclass of `services.visit.Visit` that lets clients of an exported address
            in; "" where they are passed on as they are.
        drop: reference to `drop(endpoint, name)`, which removes what this run made on a server that is
            not its own (a database); needed with `url`.
        stock: reference to the subclass of `services.stock.Stock` that has things on the service ready for
            tests, each for one; "" where tests need none.
        options: plain data that the kind's own code understands; providers read "scheme" and "database", what they tell
            users to do ("url_remedy", "quick_remedy"), and the external one "extra", for its endpoint.
    """

    kind: str
    probe: str
    fixtures: Sequence[str] = ()
    imports: Sequence[str] = ()
    provider: str = "auto"
    version: str | None = None
    timeout: float = 60.0
    container: ContainerRecipe | None = None
    process: ProcessRecipe | None = None
    url: str | None = None
    url_source: str = ""
    url_parser: str = ""
    visit: str = ""
    drop: str = ""
    stock: str = ""
    options: Mapping[str, Any] = _NOTHING

    def with_(self, **changes: Any) -> ServiceSpec:
        """Return a copy with some fields changed."""
        copy: ServiceSpec = changed(self, changes)
        return copy

    def to_json(self) -> dict[str, Any]:
        """Return the spec as JSON data."""
        data: dict[str, Any] = as_data(self)
        return data

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> ServiceSpec:
        """Build the spec again from what `to_json` gave."""
        values = dict(data)
        if values.get("container"):
            values["container"] = ContainerRecipe(**values["container"])
        if values.get("process"):
            values["process"] = ProcessRecipe(**values["process"])
        return cls(**values)


@record(frozen=True, kw_only=True)
class Endpoint:
    """Where a running service is and how to get in.

    Args:
        kind: the name of the kind, such as "postgres".
        host: where it listens on TCP.
        port: where it listens on TCP; of a server that somebody named by its socket alone, the port in that one's name.
        user: who logs in.
        password: with which password.
        database: on PostgreSQL, a maintenance database.
        socket: the directory of a private Unix socket, or "".
        scheme: what its URL begins with.
        version: such as 18.6.
        provider: "external", "docker", "local" or a plugin's own.
        source: which image, which binaries or which setting it came from.
        seconds: how long its start took.
        query: what else a URL said that somebody named, in its encoding.
        how: what its start could make use of, such as "on cached data"; often empty.
        log: the path of its log, where this machine has it as a file.
        ports: further ports of the same host, by name ("management").
        extra: what else the kind's own code knows of it.
    """

    kind: str
    host: str
    port: int
    user: str = ""
    password: str = ""
    database: str = ""
    socket: str = ""
    scheme: str = ""
    version: str = ""
    provider: str = ""
    source: str = ""
    seconds: float = 0.0
    query: str = ""
    how: str = ""
    log: str = ""
    ports: Mapping[str, int] = _NOTHING
    extra: Mapping[str, str] = _NOTHING

    _hidden = ("password", "query", "extra")

    @property
    def is_ours(self) -> bool:
        """Whether a provider of ours started it, so that it ends with the run and is reached by TCP as well."""
        return self.provider in ("docker", "local")

    def parameters(self) -> dict[str, str]:
        """Return what `query` says."""
        if not self.query:
            return {}
        from urllib.parse import parse_qsl

        return dict(parse_qsl(self.query))

    def url(self, path: str | None = None, *, scheme: str | None = None) -> str:
        """Return the address as a URL, password included: over TCP, or by the socket where somebody named that.

        For SQLAlchemy name the driver: `scheme="postgresql+psycopg2"`. From 2.1 on it takes plain
        `postgresql://` for psycopg 3.

        Args:
            path: what stands behind the slash (a database, a vhost); default: `database`.
            scheme: replaces the endpoint's own, e.g. "postgresql+psycopg".
        """
        from urllib.parse import quote, urlencode

        login = quote(self.user, safe="")
        if self.password:
            login += ":" + quote(self.password, safe="")
        place = f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"
        query = self.query
        if self.socket and not self.is_ours:
            place = ""  # asyncpg would take it, not the socket
            query = "&".join(
                filter(None, (urlencode({"host": self.socket, "port": self.port}, safe="/", quote_via=quote), query))
            )
        tail = quote(self.database if path is None else path, safe="")
        return f"{scheme or self.scheme}://{login + '@' if login else ''}{place}/{tail}{'?' if query else ''}{query}"

    def with_(self, **changes: Any) -> Endpoint:
        """Return a copy with some fields changed."""
        copy: Endpoint = changed(self, changes)
        return copy

    def to_json(self) -> dict[str, Any]:
        """Return the endpoint as JSON data (with its password: for private sockets only)."""
        data: dict[str, Any] = as_data(self)
        return data

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Endpoint:
        """Build the endpoint again from what `to_json` gave."""
        return cls(**data)


@record(frozen=True)
class LogMark:
    """A moment in a server's log.

    Args:
        time: the wall clock in seconds.
        size: of the log file in bytes, or -1.
    """

    time: float
    size: int = -1


@record(frozen=True)
class Refusal:
    """Why a provider cannot serve a spec, and what would make it able to.

    Args:
        reason: one line.
        remedy: one line.
    """

    reason: str
    remedy: str


@record(frozen=True, kw_only=True)
class Context:
    """What a provider may use while it starts something for one run.

    Args:
        run: the run's identity, part of every name and label that is made.
        directory: an existing private directory of this run, for sockets, logs and data.
        cache: a private directory that outlives runs, or None where none can be written.
        own: `own(what, name)` writes to the ledger that this run is about to make a thing
            ("container", "directory", "process", "database").
        disown: takes the same pair back when the thing is gone.
        progress: shows a short line to the waiting user.
        note: tells something worth a line in the summary ("the cache cannot be written").
        data_directory: where the user wants big data, or None to choose.
        only_looks: somebody wants to know what a run would do (`doctor`): a refusal is asked for and nothing else, and
            nothing may be made, fetched or written for it. `directory` is not there then.
    """

    run: str
    directory: Path
    cache: Path | None
    own: Callable[[str, str], None]
    disown: Callable[[str, str], None]
    progress: Callable[[str], None]
    note: Callable[[str], None] = lambda text: None
    data_directory: Path | None = None
    only_looks: bool = False


class GiveUp(Exception):
    """A probe's word that waiting cannot help: a wrong password, a role without rights."""


class Running(Protocol):
    """One started service, as its provider knows it.

    Attributes:
        endpoint: where it is.
        patience: seconds to wait for it at most, or None for the spec's timeout.

    A provider that can keep a server's data for later runs also has `snapshot() -> bool`; callers look it up with
    `getattr`. It ends the server in order, reads its data and starts it again at the same address: whoever was connected
    is not any more, and readiness must be waited for again (the probe may have set-up to repeat), whatever the answer is.
    True: the data are being written to the cache. False: there is no cache, or no name to keep them under (then nothing
    has happened), or it could not be done. It must not be called beside `mend` or `restart`; beside `stop` it may.
    """

    endpoint: Endpoint
    patience: float | None

    def exited(self) -> str | None:
        """Return how the server ended ("exit code 1", "killed by signal 9"), or None while it runs."""

    def mend(self) -> bool:
        """Try to start it in another way, after it ended before it was ready; tell whether that was done."""

    def sick(self) -> str | None:
        """Return why a server that has not ended cannot be used ("paused"), or None.

        Asked where a connection failed, not while the server starts: a test may pause its server for
        a moment. May be left out; `sickness` is how to ask.
        """

    def logs(self, lines: int = 50, since: LogMark | None = None) -> str:
        """Return the last lines that the server wrote, after the mark if there is one; "" where they are out of reach."""

    def restart(self) -> bool:
        """Start the server again at the same address; True where its data was kept."""

    def stop(self) -> None:
        """End it and remove everything that was made for it; harmless when it is gone already."""


class Provider(Protocol):
    """A way to get services. Instances live in the host process and serve one run.

    It may have `found(spec) -> str` as well, looked up with `getattr`: what it would take for a spec that it has not refused,
    in the words that will be its endpoint's `source`.

    Attributes:
        name: by which it is asked for.
    """

    name: str

    def refusal(self, spec: ServiceSpec, context: Context) -> Refusal | None:
        """Say quickly why this spec cannot be served here; None when it can."""

    def start(self, spec: ServiceSpec, context: Context) -> Running:
        """Begin to start it and return at once when it is launched; waiting for readiness is the engine's."""


def sickness(running: Running) -> str | None:
    """Return why a service that has not ended cannot be used, where its provider can tell."""
    ask: Callable[[], str | None] | None = getattr(running, "sick", None)
    return ask() if ask is not None else None


def resolve(reference: str) -> Any:
    """Return what `package.module:attribute` names.

    Raises:
        ConfigurationError: the module cannot be imported or has no such attribute.
    """
    module, _, attribute = reference.partition(":")
    if not module.startswith("pytest_testbed.") and "site" not in sys.modules:
        # the host process starts without it, and an editable install may be found through its .pth file alone
        import site

        site.main()
    try:
        found: Any = import_module(module)
        for part in attribute.split("."):
            found = getattr(found, part)
    except (ImportError, AttributeError) as error:
        raise ConfigurationError(f"{reference!r} cannot be loaded: {error}.") from error
    return found


def masked(text: str) -> str:
    """Hide a secret, for headers and errors; a URL keeps all but what is a password."""
    if "://" not in text:
        return "***"
    import re

    # The query first: a password in it may hold an "@", and after one the next step would stop short of its end.
    text = re.sub(r"(?i)([?&][^=&#]*(?:password|secret|token|scram)[^=&#]*=)[^&]*", r"\1***", text)
    # Greedy up to the last "@", as a password may hold one.
    return re.sub(r"(://[^:/?#@]*):.*@", r"\1:***@", text)
