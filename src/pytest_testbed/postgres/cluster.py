"""A data directory for one run: unpacked from the cache where that can be, made by initdb where not.

The cache holds two sorts of packed directories: pristine ones, and those of a project, which have its migrated
template in them. Both are named by a fingerprint of all that they depend on.
"""

from __future__ import annotations

import json
import os
import re
import stat
import subprocess
import threading
import time
import zlib
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from ..errors import ServiceNotReady
from ..services.model import Context
from ..services.providers.local import User, hand_over, run_as
from .archive import Damaged, pack, unpack
from .binaries import Binaries

__all__ = ["HBA", "Cluster", "fingerprint", "initdb_flags", "remove", "server_environment"]

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
OURS = re.compile(r"pgdata-\d+-[0-9a-f]{16}\.pack")
MOST = 12
"""How many packed directories a cache holds."""
OLDEST = 30 * 24 * 3600.0
"""Seconds after which one that nobody has used is removed."""
LARGEST = 512 * 1024 * 1024
"""Bytes above which data are not kept: they go through the host's memory."""


class Cluster:
    """A data directory for one run, taken from the cache where it holds one.

    Args:
        binaries: what makes it and will serve it.
        user: whose it is, where that is not us.
        initdb_args: more arguments for initdb.
        context: of the run.
        project: what data with a migrated template are for, apart from what pristine ones depend on; "" for none.
    """

    def __init__(
        self, binaries: Binaries, user: User | None, initdb_args: Sequence[str], context: Context, project: str = ""
    ) -> None:
        self._binaries = binaries
        self._user = user
        self._flags = [*initdb_flags(binaries.major), *initdb_args]
        self._context = context
        self._data = context.directory / "data"
        self._used: Path | None = None
        self._writer: threading.Thread | None = None
        self._pristine = self._named()
        self._migrated = self._named(project) if project else None

    def _named(self, *more: str) -> Path | None:
        if self._context.cache is None:
            return None
        user = self._user.uid if self._user else None
        facts = json.dumps([FORMAT, self._binaries.version, self._flags, HBA, user, *more])
        return self._context.cache / f"pgdata-{self._binaries.major}-{fingerprint(facts)}.pack"

    @property
    def can_be_kept(self) -> bool:
        """Whether there is a cache and a name for what a project has made of the data."""
        return self._migrated is not None

    @property
    def origin(self) -> str:
        """Where the data came from, for the summary."""
        if self._used is None:
            return "on data made by initdb"
        return "on cached data" if self._used == self._pristine else "on cached data with the project's template"

    def lay_out(self) -> Path:
        """Make the data directory and return it."""
        if self._data.exists():  # a kept host has given up a server here
            remove(self._data)
        for cached in (self._migrated, self._pristine):
            if cached is not None and cached.exists() and self._unpacked(cached):
                return self._data
        self._initialise()
        if self._pristine is not None:
            self._keep_as(self._pristine)
        return self._data

    def _unpacked(self, cached: Path) -> bool:
        try:
            unpack(cached, self._data)
        except Damaged:
            self._throw_away(cached)
            return False
        except OSError as error:
            remove(self._data)
            if not cached.exists():  # another run has pruned it, or thrown it away, since we saw it
                return False
            raise ServiceNotReady(
                f"PostgreSQL's data could not be written to {self._data}: {error.strerror} → free some room there, "
                "or name a directory that has it: testbed_data_dir"
            ) from None
        self._used = cached
        with suppress(OSError):
            os.utime(cached)  # `prune` goes by the last use
        return True

    def _throw_away(self, cached: Path) -> None:
        remove(self._data)
        with suppress(OSError):
            cached.unlink()
        self._context.note("the cached data directory of PostgreSQL was damaged; it has been made again")

    def renew(self) -> bool:
        """Replace data that came from the cache by other ones, and throw the cached ones away."""
        used, self._used = self._used, None
        if used is None:
            return False
        self._throw_away(used)
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

    def keep(self) -> bool:
        """Keep the data as they are now, with their migrated template; tell whether they will be. No server may run on them."""
        return self._migrated is not None and self._keep_as(self._migrated)

    def _keep_as(self, cached: Path) -> bool:
        """Read the data now; they are written to the cache while the run goes on."""
        try:
            parts = pack(self._data, LARGEST)
        except OSError as error:
            self._not_cached(error)
            return False
        self._writer = threading.Thread(target=self._store, args=(parts, cached, self._writer), name="cache")
        self._writer.start()
        return True

    def _store(self, parts: Sequence[bytes], cached: Path, earlier: threading.Thread | None) -> None:
        if earlier is not None:
            earlier.join()  # what is newer shall stay
        part = cached.with_name(f"{cached.name}.{os.urandom(4).hex()}")
        remove_abandoned(cached.parent)
        prune(cached.parent, but=cached)
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


def server_environment(home: Path) -> dict[str, str]:
    """Return the variables that a server of ours sees: none of the caller's PG*, messages in English.

    Its time zone is UTC, as in a container: what initdb finds is cached, and must not be the first caller's.
    """
    kept = {k: v for k, v in os.environ.items() if k in ("PATH", "TMPDIR", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH")}
    return {**kept, "HOME": str(home), "LC_MESSAGES": "C", "LANG": "C.UTF-8", "TZ": "UTC"}


def prune(cache: Path, but: Path) -> None:
    """Make room for `but`: of the other packed directories only some stay, those that were used last."""
    ages: list[tuple[float, Path]] = []
    for each in cache.iterdir():
        with suppress(OSError):
            facts = each.lstat()
            if each != but and OURS.fullmatch(each.name) and stat.S_ISREG(facts.st_mode):
                ages.append((time.time() - facts.st_mtime, each))
    for rank, (age, each) in enumerate(sorted(ages), start=2):
        if rank > MOST or age > OLDEST:
            with suppress(OSError):
                each.unlink()


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
