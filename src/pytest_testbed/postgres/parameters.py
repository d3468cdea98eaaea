"""libpq's parameters in the URL of a named server: which there are, which variables stand for them."""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit

__all__ = ["IN_ASYNCPG", "carried", "folded", "unsafe_without", "variable_of"]

ADDRESS = ("host", "port", "user", "password", "dbname")
"""What an endpoint has fields for."""

# fmt: off
OTHERS = frozenset((
    "application_name", "channel_binding", "client_encoding", "connect_timeout", "fallback_application_name", "gssdelegation",
    "gssencmode", "gsslib", "hostaddr", "keepalives", "keepalives_count", "keepalives_idle", "keepalives_interval",
    "krbsrvname", "load_balance_hosts", "max_protocol_version", "min_protocol_version", "oauth_client_id",
    "oauth_client_secret", "oauth_issuer", "oauth_scope", "options", "passfile", "replication", "require_auth", "requirepeer",
    "scram_client_key", "scram_server_key", "ssl_max_protocol_version", "ssl_min_protocol_version", "sslcert", "sslcertmode",
    "sslcompression", "sslcrl", "sslcrldir", "sslkey", "sslkeylogfile", "sslmode", "sslnegotiation", "sslpassword",
    "sslrootcert", "sslsni", "target_session_attrs", "tcp_user_timeout",
))
# fmt: on

VARIABLES = {
    "PGHOST": "host",
    "PGPORT": "port",
    "PGUSER": "user",
    "PGPASSWORD": "password",
    "PGPASSFILE": "passfile",
    "PGCHANNELBINDING": "channel_binding",
    "PGGSSDELEGATION": "gssdelegation",
    "PGGSSENCMODE": "gssencmode",
    "PGGSSLIB": "gsslib",
    "PGKRBSRVNAME": "krbsrvname",
    "PGLOADBALANCEHOSTS": "load_balance_hosts",
    "PGMAXPROTOCOLVERSION": "max_protocol_version",
    "PGMINPROTOCOLVERSION": "min_protocol_version",
    "PGREQUIREAUTH": "require_auth",
    "PGREQUIREPEER": "requirepeer",
    "PGSSLCERT": "sslcert",
    "PGSSLCERTMODE": "sslcertmode",
    "PGSSLCOMPRESSION": "sslcompression",
    "PGSSLCRL": "sslcrl",
    "PGSSLCRLDIR": "sslcrldir",
    "PGSSLKEY": "sslkey",
    "PGSSLMAXPROTOCOLVERSION": "ssl_max_protocol_version",
    "PGSSLMINPROTOCOLVERSION": "ssl_min_protocol_version",
    "PGSSLMODE": "sslmode",
    "PGSSLNEGOTIATION": "sslnegotiation",
    "PGSSLROOTCERT": "sslrootcert",
    "PGSSLSNI": "sslsni",
    "PGTARGETSESSIONATTRS": "target_session_attrs",
}
"""How to get in. Not PGSERVICE, PGHOSTADDR and PGDATABASE: they lead elsewhere than the URL says."""

IN_ASYNCPG = {"sslmode": "ssl", "passfile": "passfile", "target_session_attrs": "target_session_attrs"}
"""What SQLAlchemy takes from a URL for asyncpg, which it calls with each word of the query as an argument: all are texts."""
# fmt: off
STRICT = {
    "sslrootcert": "", "sslcert": "", "sslkey": "", "sslcrl": "", "sslcrldir": "", "sslcertmode": "require",
    "ssl_min_protocol_version": "tlsv1.3",  # the others are asyncpg's own minimum, or below it
    "channel_binding": "require", "gssencmode": "require", "require_auth": "",
}
# fmt: on
"""What asks for more than asyncpg does by itself, with the value that does; "": each one does."""


def unsafe_without(parameters: Mapping[str, str]) -> str:
    """Return a parameter that `IN_ASYNCPG` lacks, and without which a connection would be less safe; "" for none."""
    plain = parameters.get("sslmode") == "disable"
    for name, value in parameters.items():
        if STRICT.get(name) in ("", value.lower()) and not (plain and name.startswith("ssl")):
            return name
    return ""


def variable_of(parameter: str) -> str:
    """Return the `PG*` variable that stands for a parameter; "" for none."""
    return next((variable for variable, name in VARIABLES.items() if name == parameter), "")


def folded(url: str, environ: Mapping[str, str]) -> str:
    """Return a URL that says itself what libpq would take from the `PG*` variables beside it.

    Nobody has to see the same variables after that: not the host process, nor we after a test has
    patched them. What is no URL of PostgreSQL comes back as it is.
    """
    if not url.startswith(("postgresql://", "postgres://", "postgresql+", "postgres+")):
        return url
    try:
        parts = urlsplit(url)
        said = {name for name, value in parse_qsl(parts.query)}
        login = {"host": parts.hostname, "port": parts.port, "user": parts.username, "password": parts.password}
    except ValueError:  # told by the one who parses it
        return url
    said |= {name for name, value in login.items() if value}
    if "hostaddr" in said:
        said.add("host")
    more = {name: environ[variable] for variable, name in VARIABLES.items() if environ.get(variable) and name not in said}
    if not more:
        return url
    head, hash_, fragment = url.partition("#")
    joint = "&" if parts.query else "" if head.endswith("?") else "?"
    return f"{head}{joint}{urlencode(more, safe='/', quote_via=quote)}{hash_}{fragment}"


def carried(query: str) -> tuple[dict[str, str], str]:
    """Return what a URL's query says of the address, and the other parameters as a query again.

    Raises:
        ValueError: it has a parameter that libpq does not know, or that leads to a service file.
    """
    given = {unquote(name): value for name, value in parse_qsl(query, keep_blank_values=True)}
    for name in given:
        if name == "service":
            raise ValueError("it has the parameter 'service', and a service file is not read; name the server in the URL itself")
        if name not in OTHERS and name not in ADDRESS:
            hint = "; TLS is asked for by 'sslmode'" if name == "ssl" else ""
            raise ValueError(f"it has the parameter {name!r}, which libpq does not know{hint}")
    said = {name: value for name, value in given.items() if value}
    others = {name: value for name, value in said.items() if name in OTHERS}
    return {name: said[name] for name in ADDRESS if name in said}, urlencode(others, safe="/", quote_via=quote)
