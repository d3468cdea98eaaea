"""Which lines of a broker's log belong to one virtual host."""

from __future__ import annotations

import re

__all__ = ["of_vhost"]

_VHOST = re.compile(r"testbed_[0-9a-f]{12}_\w+")
_PROCESS = re.compile(r"<\d+\.\d+\.\d+>")
_RECORD = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d")
_OUR_DOING = ("rebuilding indices from scratch", "Closing all connections in vhost")
"""Words of what a broker writes where virtual hosts come and go."""


def of_vhost(text: str, vhost: str) -> str:
    """Return a log without what belongs to other virtual hosts of tests.

    A line belongs to the virtual host that it names, or that another line of the same process names: one
    process of the broker serves one connection. What names none is kept, as it may concern all.

    Args:
        text: the log.
        vhost: the virtual host whose lines are kept.
    """
    lines = text.split("\n")
    owners: dict[str, str] = {}
    for line in lines:
        process, found = _PROCESS.search(line), _VHOST.search(line)
        if process and found:
            owners[process[0]] = found[0]
    kept: list[str] = []
    keep = True
    for number, line in enumerate(lines):
        if _RECORD.match(line) or number == 0:  # all others go on with a record
            process, found = _PROCESS.search(line), _VHOST.search(line)
            owner = found[0] if found else owners.get(process[0], vhost) if process else vhost
            keep = owner == vhost and not any(words in line for words in _OUR_DOING)
        if keep:
            kept.append(line)
    return "\n".join(kept)
