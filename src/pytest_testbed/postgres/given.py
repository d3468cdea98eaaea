"""Which server was named: by our own option, or by a general variable where that is safe."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NamedTuple

__all__ = ["GivenUrl", "given_url"]


class GivenUrl(NamedTuple):
    """A server that somebody named: its URL and who said so; or why a variable was passed over."""

    url: str | None = None
    source: str = ""
    passed_over: str = ""


ALLOW = "set testbed_pg_url (or TESTBED_PG_URL) to use it"


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
    if re.search(r"/testbed_[0-9a-f]{12}_\w+(\?|$)", general):
        return GivenUrl(passed_over="DATABASE_URL names a database of another run of pytest-testbed, and is passed over")
    try:
        far = [host for host in hosts_of(general) if not is_near(host)]
    except ValueError as error:
        return GivenUrl(passed_over=f"DATABASE_URL cannot be understood ({error}) and is passed over; {ALLOW}")
    if environ.get("CI") or not far:
        return GivenUrl(general, "environment DATABASE_URL")
    return GivenUrl(
        passed_over=f"DATABASE_URL names the server {far[0]}, which is not on this machine, and is passed over; {ALLOW}"
    )


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


def is_near(host: str) -> bool:
    """Tell whether a host is this machine, a socket, or a single-label name of a private network."""
    if host == "" or host.startswith(("/", "@")):
        return True
    from ipaddress import ip_address

    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host.isascii() and host.replace("-", "").replace("_", "").isalnum() and not host[0].isdigit()
