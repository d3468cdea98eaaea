"""What is this machine: its addresses, its names, the networks of its containers."""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Iterator
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address
from pathlib import Path

from .places import address_of, host_and_port

__all__ = ["IN_CONTAINER", "engine_hosts", "is_of_containers", "is_own_address", "is_own_name"]

ROUTES = Path("/proc/net/route")
NAMES = Path("/etc/hosts")
IN_CONTAINER = ("/.dockerenv", "/run/.containerenv")
"""What engines put into each container."""
BRIDGES = ("docker", "br-", "podman", "cni-podman")
"""How the names of engines' networks begin."""
ENGINE_NAMES = ("host.docker.internal", "gateway.docker.internal", "host.containers.internal")
"""What engines call the machine that they are on."""
ENGINE_VARIABLES = ("DOCKER_HOST", "TESTCONTAINERS_HOST_OVERRIDE", "TC_HOST")
"""Variables that say where an engine is, as an address or as a host alone."""


def is_own_address(address: IPv4Address | IPv6Address) -> bool:
    """Tell whether an address is one of this machine's: what goes there then comes from there."""
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.connect((str(address), 9))  # nothing is sent
            return address_of(probe.getsockname()[0]) == address
    except OSError:
        return False


def is_of_containers(address: IPv4Address | IPv6Address) -> bool:
    """Tell whether an address is in a network of this machine's containers, or, within a container, in its own."""
    if address.version == 6:
        return False
    within = any(os.path.exists(path) for path in IN_CONTAINER)
    for name, network, gateway in routes():
        if gateway is None and (within or name.startswith(BRIDGES)) and address in network:
            return True
        if within and address == gateway:  # the machine that the container is on
            return True
    return False


def routes() -> Iterator[tuple[str, IPv4Network, IPv4Address | None]]:
    """Yield each route: its interface, its network, and the gateway, None where the network is at hand."""
    try:
        lines = ROUTES.read_text().splitlines()[1:]
    except OSError:  # no Linux
        return
    for line in lines:
        fields = line.split()
        if len(fields) < 8:
            continue
        target, gateway, mask = (IPv4Address(int(fields[n], 16).to_bytes(4, sys.byteorder)) for n in (1, 2, 7))
        yield fields[0], IPv4Network((int(target), str(mask))), gateway if int(gateway) else None


def is_own_name(name: str) -> bool:
    """Tell whether a name is this machine's, or can be looked up without asking another one."""
    plain = name.lower().rstrip(".")
    own = socket.gethostname().lower()
    return plain in (own, own.partition(".")[0], *ENGINE_NAMES) or plain in written_names()


@lru_cache(maxsize=1)
def written_names() -> frozenset[str]:
    """Return the names that this machine's own file has addresses for."""
    try:
        lines = NAMES.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return frozenset()
    return frozenset(name.lower() for line in lines for name in line.partition("#")[0].split()[1:])


def engine_hosts() -> list[str]:
    """Return the hosts of the container engines that the environment names."""
    found = []
    for variable in ENGINE_VARIABLES:
        text = os.environ.get(variable, "")
        host = host_and_port(text)[0] if "://" in text else text
        if host and not text.startswith(("unix:", "npipe:")):
            found.append(host)
    return found
