"""Where RabbitMQ's server is on this machine, and which of its plugins a broker needs."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from ..services.record import record

__all__ = ["Installation", "find_erlang", "find_installation", "needed", "plugins_in"]

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

PLUGINS_OF_OTHERS = {
    # where a server is → where plugins lie that came from elsewhere, by the packages' own settings
    "/usr/lib/rabbitmq": "/usr/lib/rabbitmq/plugins",
    "/opt/homebrew": "/opt/homebrew/share/rabbitmq/plugins",
    "/usr/local": "/usr/local/share/rabbitmq/plugins",
}


@record(frozen=True, kw_only=True)
class Installation:
    """A server on this machine: its directory, with `sbin` and `plugins`, and its version."""

    home: Path
    version: str

    @property
    def source(self) -> str:
        """What users are told of it."""
        return f"rabbitmq-server, {self.home}"

    @property
    def folders(self) -> list[Path]:
        """Where its plugins are."""
        others = [Path(place) for prefix, place in PLUGINS_OF_OTHERS.items() if self.home.is_relative_to(prefix)]
        return [self.home / "plugins", *(place for place in others if place.is_dir())]

    def plugins(self) -> dict[str, Path]:
        """Return its plugins by name."""
        return plugins_in(self.home, *self.folders[1:])


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
        try:
            there = version_of(place)
        except OSError as error:
            looked.append(f"{place} ({error.strerror})")
            continue
        if not there:
            what = "no plugins/rabbit-* and sbin/rabbitmq-server there" if place.exists() else "not there"
            looked.append(f"{place} ({what})" if home or place.exists() else f"{place}")
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


def plugins_in(home: Path, *others: Path) -> dict[str, Path]:
    """Return the plugins of a server by name, the newest of each: directories, and packed ones (`.ez`).

    Args:
        home: the server's directory.
        others: where more of them are.
    """
    paths = [path for folder in (home / "plugins", *others) for path in folder.iterdir()]
    named = [(re.match(r"(\w+)-v?(\d.*)", path.name), path) for path in paths]
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
        said = applications(plugins[name], name)
        if said is None:
            return None
        keep.add(name)
        todo += said
    return keep


def applications(plugin: Path, name: str) -> Sequence[str] | None:
    """Return the applications that a plugin names in its resource file; None where that cannot be read."""
    try:
        text = packed_resource(plugin, name) if plugin.suffix == ".ez" else (plugin / "ebin" / f"{name}.app").read_bytes()
    except (OSError, LookupError, ValueError):
        return None
    found = re.search(rb"\{applications,\s*\[([^\]]*)\]", text)
    return re.findall(r"\w+", found[1].decode(errors="replace")) if found else None


def packed_resource(plugin: Path, name: str) -> bytes:
    """Return the resource file of a packed plugin.

    Raises:
        LookupError: there is none in it.
        ValueError: it is no archive.
    """
    from zipfile import BadZipFile, ZipFile

    try:
        with ZipFile(plugin) as archive:
            return archive.read(next(each for each in archive.namelist() if each.endswith(f"/ebin/{name}.app")))
    except StopIteration:
        raise LookupError(name) from None
    except BadZipFile as error:
        raise ValueError(str(error)) from None


# --- Erlang


def find_erlang(environ: Mapping[str, str]) -> tuple[Path | None, str]:
    """Return the directory of Erlang's own programs, and in words why there is none.

    A version manager puts scripts of its own on PATH, which look into the user's home for the Erlang that they run. A
    server of ours has another home, so they are asked here.

    Args:
        environ: where `PATH` is read; also the environment of such a script.
    """
    program = shutil.which("erl", path=environ.get("PATH"))
    if program is None:
        return None, "no erl is on PATH"
    directory = Path(program).resolve().parent
    if (directory.parent / "releases").is_dir():
        return directory, ""
    import subprocess

    ask = [program, "-noinput", "-boot", "no_dot_erlang", "-eval", "io:put_chars(code:root_dir()),halt()."]
    try:
        done = subprocess.run(ask, env=dict(environ), capture_output=True, text=True, errors="replace", timeout=20, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        return None, f"{program} does not run: {error}"
    directory = Path(done.stdout.strip(), "bin")
    if done.returncode == 0 and (directory / "erl").is_file():
        return directory, ""
    words = " ".join(f"{done.stdout} {done.stderr}".split())
    return None, f"{program} does not run (exit code {done.returncode}): {words[:1000]}"
