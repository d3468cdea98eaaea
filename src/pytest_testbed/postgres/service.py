"""PostgreSQL as a kind of service: the recipe, the readiness probe, the reading of URLs.

Runs in the host process as well, so it imports the driver only where it is used.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from contextlib import closing, suppress

from ..services.model import RANDOM, ContainerRecipe, Endpoint, GiveUp, ProcessRecipe, ServiceSpec

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["SPARE", "TEMPLATE_PREFIX", "TUNING", "parse_url", "postgres_spec", "probe", "spare_of"]

TUNING: Mapping[str, str] = {
    # nothing of a test server survives a crash of the machine, so nothing is written for that
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "wal_level": "minimal",
    "max_wal_senders": "0",
    # a worker of autovacuum in the template makes CREATE DATABASE wait
    "autovacuum": "off",
    "jit": "off",
    # PostgreSQL's own 0 forbids two-phase commit, which an application may use; room for some costs next to nothing
    "max_prepared_transactions": "64",
    # said of each database that is made, in the midst of what tests made the server say
    "log_checkpoints": "off",
    "checkpoint_warning": "0",
    # who waits for a lock, and for whom: a failed test shows it
    "log_lock_waits": "on",
    # with the database, as a server may be shared by several workers (see services.logs.of_database)
    "log_line_prefix": "%m [%p] %q%u@%d ",
}
"""Server settings for tests, for the servers that we start ourselves."""

SPARE = "testbed_spare"
"""An empty database that a server of our own has from its start, for the first who needs one to rename."""
CREATE_SPARE = f"CREATE DATABASE {SPARE} STRATEGY FILE_COPY"

TEMPLATE_PREFIX = "testbed_t_"
"""What the names of templates begin with that may be kept for later runs; 16 hexadecimal digits follow."""
SPARE_PREFIX = "testbed_s_"


def spare_of(template: str) -> str:
    """Return the name of the clone that a server of our own has ready, for the first who needs one to rename."""
    return SPARE_PREFIX + template.removeprefix(TEMPLATE_PREFIX)


_PORT = 5432
_USER = "postgres"
_DATA = "/var/lib/testbed/data"  # not the image's own path: images from 18 on refuse a mount there


def postgres_spec(
    *,
    image: str = "postgres:18",
    version: str | None = None,
    provider: str = "auto",
    url: str | None = None,
    url_source: str = "",
    bindir: str = "",
    args: Sequence[str] = (),
    environment: Sequence[str] = (),
    initdb_args: Sequence[str] = (),
    tmpfs: str = "1g",
    timeout: float = 60.0,
    driver: str = "psycopg2",
    project: str = "",
    environ: Mapping[str, str] | None = None,
) -> ServiceSpec:
    """Return the recipe of a PostgreSQL server.

    Args:
        image: for the docker provider.
        version: the version that the server must have, "17" or "17.2"; None for any.
        provider: "auto", "external", "docker" or "local".
        url: a server that is there already.
        url_source: where the URL came from, for errors.
        bindir: directory of the binaries for the local provider; "" to look for them.
        args: more arguments for the server, for example `-c`, `work_mem=64MB`.
        environment: more variables of the container, as `NAME=value`.
        initdb_args: more arguments for initdb.
        tmpfs: cap of the container's memory file system for data, "" for none.
        timeout: seconds that a start may take.
        driver: the driver that tests will use, "psycopg2" or "psycopg".
        project: the project whose template the cached data directory of a local server may hold; "" for none.
        environ: where the `PG*` variables are looked up that say what `url` does not; None for this
            process's. A server of our own heeds none.
    """
    if version and re.fullmatch(r"postgres:\d+", image):
        image = f"postgres:{version}"
    settings = [part for name, value in TUNING.items() for part in ("-c", f"{name}={value}")]
    if url:
        from .parameters import folded

        url = folded(url, os.environ if environ is None else environ)
    process = ProcessRecipe(
        recipe="pytest_testbed.postgres.local:LocalPostgres",
        options={"bindir": bindir, "args": [*settings, *args], "initdb_args": list(initdb_args), "project": project},
    )
    return ServiceSpec(
        kind="postgres",
        probe="pytest_testbed.postgres.service:probe",
        fixtures=("pytest_testbed.plugins.postgres:pg_service", "pytest_testbed.plugins.postgres:_pg_test"),
        imports=("pytest_testbed.postgres.database", f"sqlalchemy.dialects.postgresql.{driver}", driver),
        provider=provider,
        version=version,
        timeout=timeout,
        container=_container(image, [*settings, *args], environment, initdb_args, tmpfs),
        process=process,
        url=url,
        url_source=url_source,
        url_parser="pytest_testbed.postgres.service:parse_url",
        visit="pytest_testbed.postgres.visit:PostgresVisit",
        drop="pytest_testbed.postgres.service:drop_database",
        options={"scheme": "postgresql", "database": "postgres", "url_remedy": "set testbed_pg_url (or DATABASE_URL)"},
    )


def _container(
    image: str, args: Sequence[str], environment: Sequence[str], initdb_args: Sequence[str], tmpfs: str
) -> ContainerRecipe:
    from shlex import join

    variables = {
        "POSTGRES_USER": _USER,
        "POSTGRES_PASSWORD": RANDOM,
        # small WAL files: nothing to fill with zeros (known to initdb since PostgreSQL 11); the image's shell evaluates it
        "POSTGRES_INITDB_ARGS": join(["--no-sync", "--wal-segsize=1", *initdb_args]),
        "PGDATA": _DATA,
        **dict(line.split("=", 1) for line in environment),
    }
    return ContainerRecipe(
        image=image,
        port=_PORT,
        command=["postgres", *args],
        environment=variables,
        tmpfs={_DATA: tmpfs} if tmpfs else {},
        shm_size=256 * 1024 * 1024,
        # the image makes the role that its variables name, whoever set them
        user=variables["POSTGRES_USER"] or _USER,
        password=variables["POSTGRES_PASSWORD"],
    )


def parse_url(url: str) -> Endpoint:
    """Return the endpoint that a PostgreSQL URL names; a driver in its scheme is passed over.

    Raises:
        ValueError: it is no URL of PostgreSQL, or has a parameter that cannot be carried on.
    """
    from urllib.parse import unquote, urlsplit

    from .parameters import carried

    form = "it must be like postgresql://user:password@host:port/database; in a password, @ : / ? # [ ] must be encoded"
    try:
        parts = urlsplit(url)
    except ValueError:  # whose own words may show a part of the password
        raise ValueError(form) from None
    if parts.scheme.partition("+")[0] not in ("postgresql", "postgres"):
        raise ValueError("it must begin with postgresql://")
    said, query = carried(parts.query)  # its address wins over what stands before it, as in libpq
    try:
        port = int(said.get("port") or parts.port or _PORT)
    except ValueError:
        raise ValueError(form) from None
    host = said.get("host") or unquote(parts.hostname or "") or "localhost"
    socket = host if host.startswith("/") else ""
    return Endpoint(
        kind="postgres",
        host="localhost" if socket else host,
        port=port,
        user=said.get("user") or unquote(parts.username or "") or os.environ.get("USER", _USER),
        password=said.get("password") or unquote(parts.password or ""),
        database=said.get("dbname") or unquote(parts.path.lstrip("/")) or "postgres",
        socket=socket,
        scheme="postgresql",
        query=query,
    )


# what waiting cannot change, by SQLSTATE where the server answered, else by libpq's own words
_HOPELESS = (
    ("password authentication failed", "the user or the password is wrong; correct the URL"),
    ("no password supplied", "the server wants a password; add it to the URL"),
    ("does not exist", "create it, or correct the URL"),
    ("could not translate host name", "the host name is unknown; correct the URL"),
    ("no pg_hba.conf entry", "the server's pg_hba.conf does not let this user or address in"),
    ("is not permitted to log in", "the role has no LOGIN; correct the URL"),
    ("server does not support SSL", "correct sslmode, in the URL or in PGSSLMODE"),
)
_ABSENT = ("Connection refused", "No such file or directory", "timeout expired", "No route to host", "unreachable")


def connection_parameters(endpoint: Endpoint, database: str | None = None) -> dict[str, Any]:
    """Return libpq's parameters for an endpoint; the private socket is taken where there is one."""
    return {
        **endpoint.parameters(),
        "host": endpoint.socket or endpoint.host,
        "port": endpoint.port,
        "user": endpoint.user,
        "password": endpoint.password or None,
        "dbname": database or endpoint.database,
    }


def probe(endpoint: Endpoint, timeout: float) -> str:
    """Log in and return the server's version; a server of our own also gets its password.

    Raises:
        GiveUp: waiting cannot help: wrong credentials, no such database, no right to create one.
        Exception: the driver's own error while the server is not ready.
    """
    if endpoint.provider == "local":
        return _set_password(endpoint, timeout)
    import psycopg2

    try:
        # the wait is ours to end, whatever connect_timeout the URL has
        connection = psycopg2.connect(**{**connection_parameters(endpoint), "connect_timeout": max(2, round(timeout))})
    except psycopg2.OperationalError as error:
        text = " ".join(str(error).split())
        if any(words in text for words, _ in _HOPELESS):
            raise GiveUp(f"{text}{_remedy(endpoint, text)}") from None
        raise psycopg2.OperationalError(f"{text}{_remedy(endpoint, text)}") from None
    except psycopg2.ProgrammingError as error:  # its libpq does not know a parameter, or not this value
        raise GiveUp(" ".join(str(error).split())) from None
    try:
        connection.autocommit = True
        with connection.cursor() as cursor:
            if endpoint.provider == "external":
                _check_rights(cursor, endpoint)
            elif endpoint.provider == "docker" and connection.info.server_version >= 15_00_00:
                with suppress(psycopg2.Error):  # somebody else is making it, or it is not to be had
                    _make_spare(cursor)
        return _version(connection.info.server_version)
    finally:
        connection.close()


def _make_spare(cursor: Any) -> None:
    """Make a clone of the newest template, or an empty database where there is none, for the first who needs one."""
    cursor.execute(
        "SELECT datname FROM pg_database WHERE datname = %s OR starts_with(datname::text, %s) OR starts_with(datname::text, %s) "
        "ORDER BY oid DESC",
        (SPARE, TEMPLATE_PREFIX, SPARE_PREFIX),
    )
    names = [row[0] for row in cursor.fetchall()]
    newest = next((name for name in names if name.startswith(TEMPLATE_PREFIX)), "")
    if not newest and SPARE not in names:
        cursor.execute(CREATE_SPARE)
    elif newest and spare_of(newest) not in names:
        cursor.execute(f'CREATE DATABASE "{spare_of(newest)}" TEMPLATE "{newest}" STRATEGY FILE_COPY')


def _remedy(endpoint: Endpoint, text: str) -> str:
    """Return what can be done about a login's error, by who chose how to log in."""
    remedy = next((remedy for words, remedy in _HOPELESS if words in text), "")
    if not remedy and any(words in text for words in _ABSENT):
        remedy = "start it, or correct the URL"
    elif remedy and endpoint.provider == "docker":
        return " → look at testbed_pg_environment."
    return f" → {remedy}." if remedy and endpoint.provider == "external" else ""


def _set_password(endpoint: Endpoint, timeout: float) -> str:
    """Give our own server this run's password: its copied data directory holds none."""
    from .spares import enter, make_spare

    session = enter(endpoint, timeout)
    in_use = False
    try:
        session.execute(f"ALTER ROLE CURRENT_USER PASSWORD '{endpoint.password}'")
        version = session.parameters["server_version"].split()[0]
        if int(version.partition(".")[0]) >= 15:
            in_use = make_spare(session)
        return version
    finally:
        if not in_use:
            session.close()


# a transaction that was prepared belongs to nobody's connection: no force ends it
_ENDS = "SELECT format('ROLLBACK PREPARED %L', gid) FROM pg_prepared_xacts WHERE database = '{name}'"


def drop_database(endpoint: Endpoint, name: str) -> None:
    """Drop a database of ours from a server that is not.

    Raises:
        ValueError: the name is not one of ours.
    """
    import psycopg2

    if not re.fullmatch(r"testbed_[0-9a-f]{12}_\w+", name):
        raise ValueError(f"{name!r} is no database of a run; it is left alone")
    drop = f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)'
    if endpoint.provider == "local":  # without a driver
        from .spares import enter

        session = enter(endpoint, 30.0)
        for end in session.column(_ENDS.format(name=name)):
            inner = enter(endpoint.with_(database=name), 30.0)
            inner.execute(end)
            inner.close()
        session.execute(drop)
        session.close()
        return

    def connected(database: str | None = None) -> Any:
        connection = psycopg2.connect(**{**connection_parameters(endpoint, database), "connect_timeout": 5})
        connection.autocommit = True
        return closing(connection)

    with connected() as connection, connection.cursor() as cursor:
        cursor.execute(_ENDS.format(name=name))
        for (end,) in cursor.fetchall():
            with connected(name) as there:
                there.cursor().execute(end)
        cursor.execute(drop)


def _check_rights(cursor: Any, endpoint: Endpoint) -> None:
    cursor.execute("SELECT rolcreatedb OR rolsuper FROM pg_roles WHERE rolname = current_user")
    if cursor.fetchone() != (True,):
        raise GiveUp(
            f"the role {endpoint.user!r} may not create databases, and tests need one of their own "
            f'→ ALTER ROLE "{endpoint.user}" CREATEDB; or name another role.'
        )


def _version(number: int) -> str:
    return f"{number // 10000}.{number % 10000}"
