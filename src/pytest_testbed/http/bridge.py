"""Where containers on this machine reach what listens on it."""

from __future__ import annotations

import os
import socket
import struct
import sys
from pathlib import Path

from ..errors import StubError
from .machine import IN_CONTAINER

__all__ = ["address_for_containers"]

BRIDGES = ("docker0", "podman0", "cni-podman0")
"""The default bridges of engines on Linux."""
SIOCGIFADDR = 0x8915
DESKTOP = "host.docker.internal"
"""The name by which containers of Docker Desktop reach what listens on the machine's loopback."""


def address_for_containers() -> tuple[str, str]:
    """Return the name by which containers reach this machine, and the address to listen on for that.

    Raises:
        StubError: there is none; says what to do.
    """
    if not sys.platform.startswith("linux"):
        return DESKTOP, "127.0.0.1"
    for name in BRIDGES:  # also where this is a container that has an engine of its own, or the machine's network
        if (address := _address_of(name)) is not None:
            return address, address
    if any(Path(name).exists() for name in IN_CONTAINER):
        own = _own_address()
        return own, own
    where = f"DOCKER_HOST is {os.environ['DOCKER_HOST']}" if os.environ.get("DOCKER_HOST") else "is the engine running?"
    raise StubError(
        f"there is no address by which containers reach this process: looked for the bridges {', '.join(BRIDGES)} ({where}). "
        "Start the engine, or run the container with network=host and give it .url."
    )


def _address_of(interface: str) -> str | None:
    """Return the IPv4 address of a network interface, None where it has none or there is no such one."""
    import fcntl

    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            found = fcntl.ioctl(probe.fileno(), SIOCGIFADDR, struct.pack("256s", interface.encode()[:15]))
        except OSError:
            return None
    return socket.inet_ntoa(found[20:24])


def _own_address() -> str:
    """Return this container's own address, which its neighbours reach."""
    try:
        return socket.gethostbyname(name := socket.gethostname())
    except OSError as error:
        raise StubError(
            f"this process is in a container whose name {name!r} has no address ({error}) that its neighbours could be told. "
            "Let the container have a network."
        ) from None
