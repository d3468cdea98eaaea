"""Where RabbitMQ's server is on this machine, and which of its plugins a broker needs."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from ..services.record import record

__all__ = ["Installation", "find_installation", "needed", "plugins_in"]

PLACES = (
    "/usr/lib/rabbitmq/lib/rabbitmq_server-*",
    "/usr/lib/rabbitmq",
    "/opt/rabbitmq",
    "/opt/rabbitmq_server-*",
    "/opt/homebrew/opt/rabbitmq",
    "/usr/local/opt/rabbitmq",
    "/usr/local/lib/rabbitmq_server-*",
)
"""Where packages put it: Debian and RPM, archives, Homebrew."""


@record(frozen=True, kw_only=True)
class Installation:
    """A server on this machine: its directory, with `sbin` and `plugins`, and its version."""

    home: Path
    version: str

    @property
    def source(self) -> str:
        """What users are told of it."""
        return f"rabbitmq-server, {self.home}"


def find_installation(home: str, version: str | None, environ: Mapping[str, str]) -> tuple[Installation | None, list[str]]:
    """Return the newest server of a version, and a line for each place that was looked at.

    Args:
        home: the only place to look at; "" for all usual ones.
        version: the version that it must have, a prefix; None for any.
        environ: where `RABBITMQ_HOME` and `PATH` are read.
    """
    looked: list[str] = []
    found: list[Installation] = []
    for place in dict.fromkeys([Path(home).expanduser()] if home else places(environ)):
        there = version_of(place)
        if not there:
            looked.append(f"{place} (no plugins/rabbit-* and sbin/rabbitmq-server there)" if place.exists() else f"{place}")
        elif version and not f"{there}.".startswith(f"{version}."):
            looked.append(f"{place} has {there}")
        else:
            found.append(Installation(home=place, version=there))
    best = max(found, key=lambda each: numbers(each.version), default=None)
    return best, looked


def places(environ: Mapping[str, str]) -> Iterator[Path]:
    """Yield the directories where a server may be."""
    if environ.get("RABBITMQ_HOME"):
        yield Path(environ["RABBITMQ_HOME"])
    if program := shutil.which("rabbitmq-server", path=environ.get("PATH")):
        yield Path(program).resolve().parent.parent
    for pattern in PLACES:
        path = Path(pattern)
        yield from sorted(path.parent.glob(path.name)) if "*" in pattern else [path]


def version_of(home: Path) -> str:
    """Return the version of the server in a directory; "" where there is none."""
    if not (home / "sbin" / "rabbitmq-server").is_file():
        return ""
    names = [path.name.removesuffix(".ez") for path in (home / "plugins").glob("rabbit-[0-9]*")]
    return max((name.removeprefix("rabbit-") for name in names), key=numbers, default="")


def numbers(version: str) -> tuple[int, ...]:
    """Return a version's numbers, to compare."""
    return tuple(int(each) for each in re.findall(r"\d+", version))


def plugins_in(home: Path) -> dict[str, Path]:
    """Return the plugins of a server by name, the newest of each: directories, and packed ones (`.ez`)."""
    named = [(re.match(r"(\w+)-(\d.*)", path.name), path) for path in (home / "plugins").iterdir()]
    found = sorted(((match[1], numbers(match[2]), path) for match, path in named if match), key=lambda each: each[:2])
    return {name: path for name, _, path in found}


def needed(plugins: Mapping[str, Path], wanted: Iterable[str]) -> set[str] | None:
    """Return the names of all plugins that wanted ones need, by what each says itself; None where one cannot be asked.

    Names of Erlang's own applications are among what they say, and are passed over.
    """
    keep: set[str] = set()
    todo = ["rabbit", "rabbitmq_prelaunch", *wanted]
    while todo:
        name = todo.pop()
        if name in keep or name not in plugins:
            continue
        said = applications(plugins[name] / "ebin" / f"{name}.app")
        if said is None:
            return None
        keep.add(name)
        todo += said
    return keep


def applications(path: Path) -> Sequence[str] | None:
    """Return the applications that one names in its resource file; None where that cannot be read."""
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    found = re.search(r"\{applications,\s*\[([^\]]*)\]", text)
    return re.findall(r"\w+", found[1]) if found else None


def runnable(path: str, environ: Mapping[str, str] = os.environ) -> str | None:
    """Return the path of a program, or None."""
    return shutil.which(path, path=environ.get("PATH"))
