"""Which hosts are this machine's, and which somebody has allowed."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from urllib.parse import urlsplit

__all__ = ["Place", "Places", "address_of", "host_and_port", "is_loopback"]

LOCAL_NAMES = ("localhost", "ip6-localhost", "localhost.localdomain")
LOCAL_SCHEMES = ("http+docker", "http+unix", "https+unix")
"""Schemes of requests for which nothing but a Unix socket, or a container engine, is behind the adapter."""
DEFAULT_PORTS = {"http": 80, "https": 443}


@lru_cache(maxsize=1024)
def address_of(host: str) -> IPv4Address | IPv6Address | None:
    """Return the address that a text is, None for a name; an IPv4 address in IPv6's dress counts as the former."""
    try:
        address = ip_address(host.strip("[]").partition("%")[0])
    except ValueError:
        return None
    mapped = getattr(address, "ipv4_mapped", None)
    return mapped or address


@lru_cache(maxsize=1024)
def is_loopback(host: str) -> bool:
    """Tell whether a name or an address always leads to this machine."""
    address = address_of(host)
    if address is not None:
        return address.is_loopback or address.is_unspecified
    name = host.lower().rstrip(".")
    return name in LOCAL_NAMES or name.endswith(".localhost")


@lru_cache(maxsize=1024)
def host_and_port(url: str) -> tuple[str, int | None, str]:
    """Return host, port and scheme of a URL; "" for a host that cannot be told."""
    try:
        parts = urlsplit(url)
        return (parts.hostname or ""), parts.port or DEFAULT_PORTS.get(parts.scheme), parts.scheme
    except ValueError:
        return "", None, ""


@dataclass(frozen=True, slots=True)
class Place:
    """Hosts that are allowed: a name, all names below one, an address, or a network; all ports of it, or one.

    Args:
        text: as the user has written it.
        name: in lower case; one that begins with a dot stands for all names that end so. "" for a network.
        network: of addresses; None for a name.
        port: the only one, None for all.
    """

    text: str
    name: str = ""
    network: IPv4Network | IPv6Network | None = None
    port: int | None = None

    @classmethod
    def from_text(cls, text: str) -> Place:
        """Read `example.com`, `*.example.com`, `10.0.0.7`, `10.0.0.0/8`, `[fe80::1]`; each, but a network, with `:8080`.

        Raises:
            ValueError: it is none of these; the text finishes a sentence.
        """
        if "://" in text:
            raise ValueError(f"holds {text!r}: hosts are named without https:// and without a path")
        try:
            return cls(text, network=ip_network(text.strip("[]"), strict=False))
        except ValueError:
            pass
        host, colon, port = text.rpartition(":")
        if not colon:
            host, port = text, ""
        if colon and not (port.isdigit() and 0 < int(port) < 65536):
            raise ValueError(f"holds {text!r}, whose port is no number from 1 to 65535")
        number = int(port) if port else None
        address = address_of(host)
        if address is not None:
            return cls(text, network=ip_network(address), port=number)
        name = host.lower().rstrip(".").removeprefix("*")
        if not name.strip(".") or not all(
            part.replace("-", "").replace("_", "").isalnum() for part in name.strip(".").split(".")
        ):
            raise ValueError(f"holds {text!r}, which is no name, no address and no network such as 10.0.0.0/8")
        return cls(text, name=name, port=number)

    def has(self, host: str, port: int | None) -> bool:
        """Tell whether a host and port are of this place; a port that is not known is."""
        if self.port is not None and port is not None and port != self.port:
            return False
        if self.network is not None:
            address = address_of(host)
            return address is not None and address.version == self.network.version and address in self.network
        name = host.lower().rstrip(".")
        return name.endswith(self.name) if self.name.startswith(".") else name == self.name


class Places:
    """All hosts that need no stub.

    Args:
        allowed: those that somebody has named.
        services: called for the hosts of services, which may change while a test runs.
    """

    def __init__(self, allowed: Iterable[Place] = (), services: Callable[[], Iterable[str]] = tuple) -> None:
        self.allowed: tuple[Place, ...] = tuple(allowed)
        self.services = services

    def has(self, host: str, port: int | None) -> bool:
        """Tell whether a host is this machine, one of a service, or allowed."""
        return is_loopback(host) or any(place.has(host, port) for place in self.allowed) or host in self.services()

    def lead_to(self, url: str) -> bool:
        """Tell whether a URL leads to one of them, or to a Unix socket."""
        host, port, scheme = host_and_port(url)
        return scheme in LOCAL_SCHEMES or (bool(host) and self.has(host, port))
