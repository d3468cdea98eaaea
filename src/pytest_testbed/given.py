"""Which server was named: by an option of ours, or by a general variable where that is safe."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

__all__ = ["GivenUrl", "is_near", "of_variable"]


class GivenUrl(NamedTuple):
    """A server that somebody named: its URL and who said so; or why a variable was passed over."""

    url: str | None = None
    source: str = ""
    passed_over: str = ""


def of_variable(
    name: str, url: str, environ: Mapping[str, str], what: str, option: str, hosts_of: Callable[[str], Iterable[str]]
) -> GivenUrl:
    """Return the server that a general variable names, where that is safe.

    It may well name the production server: it counts under CI, or where its host is this machine or has a
    single-label name (a service container).

    Args:
        name: the variable's.
        url: what it says, made whole.
        environ: where `CI` is looked up.
        what: what a run of ours has on such a server, such as "a database".
        option: our own, which may name any server.
        hosts_of: returns every host that the URL may lead to; raises ValueError where it cannot be understood.
    """
    allow = f"set {option} (or {option.upper()}) to use it"
    if re.search(r"/testbed_[0-9a-f]{12}_\w+(\?|$)", url):
        return GivenUrl(passed_over=f"{name} names {what} of another run of pytest-testbed, and is passed over")
    try:
        far = [host for host in hosts_of(url) if not is_near(host)]
    except ValueError as error:
        return GivenUrl(passed_over=f"{name} cannot be understood ({error}) and is passed over; {allow}")
    if environ.get("CI") or not far:
        return GivenUrl(url, f"environment {name}")
    return GivenUrl(passed_over=f"{name} names the server {far[0]}, which is not on this machine, and is passed over; {allow}")


def is_near(host: str) -> bool:
    """Tell whether a host is this machine, a socket, or a single-label name of a private network."""
    if host == "" or host.startswith(("/", "@")):
        return True
    from ipaddress import ip_address

    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host.isascii() and host.replace("-", "").replace("_", "").isalnum() and not host[0].isdigit()
