"""Where processes of this machine listen, by what the kernel says."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

__all__ = ["everybody", "of"]

LISTEN = "0A"


def everybody() -> dict[str, tuple[str, int]]:
    """Return the address and the port of each listening TCP socket of this network, by its inode."""
    found = {}
    for name, family in (("tcp", socket.AF_INET), ("tcp6", socket.AF_INET6)):
        for line in Path(f"/proc/net/{name}").read_text().splitlines()[1:]:
            _, local, _, state, *_, inode = line.split()[:10]
            if state == LISTEN:
                address, port = local.split(":")
                found[inode] = (_readable(address, family), int(port, 16))
    return found


def _readable(address: str, family: socket.AddressFamily) -> str:
    # words of 32 bits, each in the order of this machine's bytes
    words = [int(address[at : at + 8], 16).to_bytes(4, "little") for at in range(0, len(address), 8)]
    return socket.inet_ntop(family, b"".join(words))


def of(pids: Iterable[int]) -> set[tuple[str, int]]:
    """Return the addresses and ports on which some processes listen."""
    listening, inodes = everybody(), set()
    for pid in pids:
        with suppress(OSError):  # it has ended meanwhile
            for entry in os.scandir(f"/proc/{pid}/fd"):
                with suppress(OSError):  # closed meanwhile
                    inodes.add(os.readlink(entry.path).removeprefix("socket:[").removesuffix("]"))
    return {listening[inode] for inode in inodes & listening.keys()}
