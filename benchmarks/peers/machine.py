"""What this machine is and has: for the head of the page, and to know beforehand what cannot run here."""

from __future__ import annotations

import os
import platform
import pwd
import shutil
import stat
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
SOCKET = Path("/var/run/docker.sock")
RABBITMQ_HOMES = ("/usr/lib/rabbitmq/bin", "/usr/local/sbin", "/opt/homebrew/sbin")


@dataclass(frozen=True)
class User:
    """Whom everything is run as where we are root: PostgreSQL's own tools refuse root."""

    name: str
    number: int
    group: int
    groups: tuple[int, ...]


def said(*command: str) -> str:
    """Return what a command says in its first line, "" where it cannot run or fails."""
    try:
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=30, check=True)
    except (OSError, subprocess.SubprocessError):
        return ""
    return (done.stdout.strip().splitlines() or [""])[0]


def reachable(path: Path) -> bool:
    """Return whether any user can run a file: it and each folder above it are open to all."""
    path = path.resolve()
    return all(each.stat().st_mode & stat.S_IXOTH for each in (path, *path.parents))


def user_and_python(asked: str = "") -> tuple[User | None, str]:
    """Return whom to run everything as (None: ourselves) and with which Python.

    As root it is `nobody`, if there is a Python of at least 3.11 that this user can reach; a home like `/root` is closed.
    """
    if os.geteuid() != 0:
        return None, asked or sys.executable
    system = [f"/usr/bin/python3.{minor}" for minor in range(20, 10, -1)]
    for python in [asked] if asked else [sys.executable, *system]:
        if Path(python).exists() and reachable(Path(python)):
            entry = pwd.getpwnam("nobody")
            groups = (SOCKET.stat().st_gid,) if SOCKET.exists() else ()
            return User(entry.pw_name, entry.pw_uid, entry.pw_gid, groups), python
    return None, asked or sys.executable


def bindir(asked: str = "") -> str:
    """Return the directory of PostgreSQL's binaries that all contenders use: the newest; "" where there are none."""
    if asked:
        return asked
    found = [path for path in Path("/usr/lib/postgresql").glob("*/bin") if (path / "pg_ctl").exists()]
    if found:
        return str(max(found, key=lambda path: int(path.parent.name) if path.parent.name.isdigit() else 0))
    named = said("pg_config", "--bindir") or os.path.dirname(shutil.which("pg_ctl") or "")
    return named if named and Path(named, "pg_ctl").exists() else ""


def rabbitmq_bindir() -> str:
    """Return the directory of `rabbitmq-server` and `rabbitmqctl`, "" where there is none."""
    on_path = os.path.dirname(shutil.which("rabbitmq-server") or "")
    homes = (*RABBITMQ_HOMES, *([on_path] if on_path else []))
    return next((home for home in homes if Path(home, "rabbitmq-server").exists()), "")


def why_no_engine() -> str:
    """Return why no container can run, "" where an engine answers."""
    if shutil.which("docker") is None:
        return "there is no docker command"
    return "" if said("docker", "version", "--format", "{{.Server.Version}}") else "no Docker engine answers"


def why_no_image(image: str) -> str:
    """Return why an image cannot be had, "" where it is there; it is pulled where it is not."""
    if said("docker", "image", "inspect", "--format", "{{.Id}}", image):
        return ""
    done = subprocess.run(["docker", "pull", "--quiet", image], capture_output=True, text=True, check=False, timeout=600)
    return "" if done.returncode == 0 else f"the image {image} is not here and cannot be pulled"


def commit() -> str:
    """Return the commit that is measured, with a plus where files that are measured differ from it."""
    changed = said("git", "status", "--porcelain", "--", "src", "pyproject.toml", "benchmarks")
    return (said("git", "rev-parse", "--short=8", "HEAD") or "unknown") + ("+" if changed else "")


def processor() -> str:
    """Return the processor's name."""
    try:
        info = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return platform.processor() or platform.machine()
    found = [line.partition(":")[2].strip() for line in info.splitlines() if line.startswith("model name")]
    return found[0] if found else platform.machine()


def facts(python: str, user: User | None, images: tuple[str, str], binaries: str) -> dict[str, str]:
    """Return what the page says of the machine."""
    pages, size = os.sysconf("SC_PHYS_PAGES"), os.sysconf("SC_PAGE_SIZE")
    broker = said("dpkg-query", "-W", "-f", "${Version}", "rabbitmq-server") if shutil.which("dpkg-query") else ""
    found = {
        "processor": f"{os.cpu_count()} × {processor()}",
        "memory": f"{pages * size / 2**30:.0f} GB",
        "system": f"{platform.system()} {'.'.join(platform.release().split('.')[:2])}",
        "Python": said(python, "-c", "import platform; print(platform.python_version())"),
        "PostgreSQL, binaries": said(f"{binaries}/postgres", "--version").removeprefix("postgres (PostgreSQL) ")
        if binaries
        else "",
        "RabbitMQ, binaries": broker or rabbitmq_bindir(),
        "Docker engine": said("docker", "version", "--format", "{{.Server.Version}}"),
        "images": f"{images[0]}, {images[1]}",
        "run as": f"`{user.name}`, as PostgreSQL's tools refuse root" if user else pwd.getpwuid(os.geteuid()).pw_name,
    }
    return {name: value or "none" for name, value in found.items()}
