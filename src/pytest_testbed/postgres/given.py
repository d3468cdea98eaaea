"""Which server was named: by our own option, or by a general variable where that is safe."""

from __future__ import annotations

from collections.abc import Mapping

from ..given import GivenUrl, of_variable

__all__ = ["GivenUrl", "given_url"]


def given_url(url: str | None, source: str, environ: Mapping[str, str]) -> GivenUrl:
    """Return the server that our own option names, else the one of `DATABASE_URL` where that is safe.

    A general variable may well name the production server: it counts under CI, or where its host is
    this machine or has a single-label name (a service container). What a URL does not say is taken
    from the `PG*` variables: PGHOST may name that server as well.
    """
    from .parameters import folded

    if url:
        return GivenUrl(folded(url, environ), source)
    general = environ.get("DATABASE_URL", "")
    if not general.startswith(("postgresql://", "postgres://", "postgresql+", "postgres+")):
        return GivenUrl()
    general = folded(general, environ)
    return of_variable("DATABASE_URL", general, environ, "a database", "testbed_pg_url", hosts_of)


def hosts_of(url: str) -> list[str]:
    """Return every host that libpq may go to for a URL: it knows lists, and parameters that win over the host."""
    from urllib.parse import parse_qsl, unquote, urlsplit

    parts = urlsplit(url)
    places = parts.netloc.rpartition("@")[2].split(",")
    hosts = [unquote(urlsplit(f"//{place}").hostname or "") for place in places]
    for name, value in parse_qsl(parts.query):
        if name in ("host", "hostaddr"):
            hosts += value.split(",")
        elif name == "service":
            hosts.append(f"of the service {value!r}")
    return hosts
