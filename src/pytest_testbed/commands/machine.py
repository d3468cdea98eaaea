"""What `doctor` finds of directories, room, limits, and of runs that live or have died. Nothing is made or written for it."""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path

from ..services.ledger import Lease, read_record, things_of
from ..services.places import ROOM, cache_place, run_directory, shared_place, state_place, unfit
from .finding import Finding, bad, none, ok
from .servers import name_of
from .shown import bytes_of, home_short, size

__all__ = ["directory_findings", "run_findings", "system_findings"]

DIRECTORIES, RUNS, MACHINE = "directories", "runs", "machine"
FEW_FILES = 1024
MEMORY_FILE_SYSTEMS = ("tmpfs", "ramfs")
PRUNE, PS, STOP = (f"python -m pytest_testbed {name}" for name in ("prune", "ps", "stop"))


# --- directories


def directory_findings(cache: str, data: str) -> list[Finding]:
    """Return whether the directories of a run can be written, and how much room there is.

    Args:
        cache: the user's own directory for the cache, "" for the usual one.
        data: the user's own directory for data, "" for the usual one.
    """
    return [
        of_cache(cache_place(cache), None if cache else shared("cache")),
        of_place("state", state_place(), shared("state"), "no record is kept of what runs make, so only they can remove it"),
        of_data(data),
    ]


def shared(name: str) -> Path | None:
    """Return the directory that takes the place of one that cannot be had; None without any for temporary files."""
    try:
        return shared_place() / name
    except OSError:
        return None


def of_cache(place: Path, instead: Path | None) -> Finding:
    """Return how it is with the cache, and what is in it."""
    finding = of_place("cache", place, instead, "nothing is kept for the next run")
    try:
        entries = list(place.iterdir())
    except OSError as error:
        if finding.state == "ok" and os.path.lexists(place):
            return bad(
                DIRECTORIES, "cache", f"{home_short(str(place))} may not be read ({error.strerror})", f"chmod u+rwx {place}"
            )
        return finding
    count = f"{len(entries)} {'entry' if len(entries) == 1 else 'entries'}, {size(sum(map(bytes_of, entries)))}; "
    return Finding(
        finding.group, finding.name, finding.state, finding.text.replace(": ", f": {count}", 1), finding.remedy, finding.facts
    )


def of_place(name: str, place: Path, instead: Path | None, without: str) -> Finding:
    """Return whether a directory that is to be this user's alone can be had: at its place, or else instead of it."""
    facts = {"directory": str(place)}
    why = fault_of(place)
    if not why:
        return Finding(DIRECTORIES, name, "ok", f"{home_short(str(place))}: {room(place)}{to_be_made(place)}", "", facts)
    remedy = f"chown {name_of(os.geteuid())} {place}" if "belongs" in why else f"chmod 700 {place}" if "(mode" in why else ""
    if instead is not None and not fault_of(instead):
        return Finding(DIRECTORIES, name, "bad", f"{home_short(str(place))}: {why}; {instead} is used instead", remedy, facts)
    return Finding(DIRECTORIES, name, "bad", f"{home_short(str(place))}: {why}; {without}", remedy, facts)


def to_be_made(place: Path) -> str:
    """Return a word on a directory that is not there yet."""
    return "" if os.path.lexists(place) else ", to be made by the first run"


def fault_of(place: Path) -> str:
    """Return why a directory cannot be used, or could not be made; "" where nothing is in the way."""
    if os.path.lexists(place):
        return unfit(place)
    parent = next((each for each in place.parents if os.path.lexists(each)), place.parent)
    if not os.path.isdir(parent):
        return f"cannot be made, as {parent} is no directory"
    return "" if os.access(parent, os.W_OK | os.X_OK) else f"cannot be made, as {parent} may not be written"


def of_data(data: str) -> Finding:
    """Return where servers' data would lie."""
    chosen = Path(data).expanduser() if data else None
    try:
        place = run_directory("doctor", chosen).parent
    except OSError as error:
        return bad(DIRECTORIES, "data", f"there is no temporary directory ({error.strerror})", "make one, and let TMPDIR name it")
    facts = {"directory": str(place), "free": free(place)}
    if not place.is_dir():
        return Finding(DIRECTORIES, "data", "bad", f"{place} is not there", "make it, or correct testbed_data_dir", facts)
    if not os.access(place, os.W_OK | os.X_OK):
        return Finding(DIRECTORIES, "data", "bad", f"{place} may not be written", "let TMPDIR name another", facts)
    text, left = f"{place}: {room(place)}", free(place)
    if sys.platform == "linux" and chosen is None and place != Path("/dev/shm"):
        text += f"; /dev/shm has less than {size(ROOM)} free, or may not be written, so data are not in memory"
    if left is not None and left < ROOM:
        return Finding(DIRECTORIES, "data", "bad", text, "free some, or let testbed_data_dir name another", facts)
    return Finding(DIRECTORIES, "data", "ok", text, "", facts)


def free(place: Path) -> int | None:
    """Return the bytes that are free where a directory is, or would be made; None where that cannot be told."""
    for each in (place, *place.parents):
        with suppress(OSError, AttributeError):
            facts = os.statvfs(each)
            return facts.f_bavail * facts.f_frsize
    return None


def room(place: Path) -> str:
    """Return the free room in words."""
    kind = file_system(place)
    return f"{size(free(place))} free{' in memory' if kind in MEMORY_FILE_SYSTEMS else ''}"


def file_system(place: Path, mounts: Path = Path("/proc/mounts")) -> str:
    """Return which sort of file system a directory is on, "" where that cannot be told."""
    best, kind = "", ""
    with suppress(OSError):
        real = os.path.realpath(place)
        for line in mounts.read_text("utf-8", "replace").splitlines():
            _, point, sort, *_ = line.split(" ", 3)
            if (real == point or real.startswith(point.rstrip("/") + "/")) and len(point) >= len(best):
                best, kind = point, sort
    return kind


# --- the machine


def system_findings(environ: Mapping[str, str]) -> list[Finding]:
    """Return which machine it is, who we are, and limits that are too low for servers."""
    user = name_of(os.geteuid()) if hasattr(os, "geteuid") else environ.get("USERNAME", "")
    inside = " in a container" if os.path.exists("/.dockerenv") or os.path.exists("/run/.containerenv") else ""
    text = f"{platform.system()} {platform.release()}, {platform.machine()}, {os.cpu_count()} processors{inside}; user {user}"
    found = [ok(MACHINE, "system", text, user=user, system=platform.system())]
    if environ.get("CI"):
        found.append(ok(MACHINE, "CI", "is set: testbed_missing = skip counts on the command line alone"))
    return [*found, *limits()]


def limits() -> Iterator[Finding]:
    """Yield the limits of a process that a server would meet."""
    try:
        import resource
    except ImportError:
        return
    soft = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    words = "unlimited" if soft == resource.RLIM_INFINITY else str(soft)
    if soft != resource.RLIM_INFINITY and soft < FEW_FILES:
        yield bad(
            MACHINE,
            "open files",
            f"{words} for each process: a broker, or many connections, may need more",
            f"ulimit -n {FEW_FILES}",
        )
    else:
        yield ok(MACHINE, "open files", f"{words} for each process")
    space = resource.getrlimit(resource.RLIMIT_AS)[0]
    if space != resource.RLIM_INFINITY:
        yield bad(MACHINE, "address space", f"limited to {size(space)}: servers may not start", "ulimit -v unlimited")


# --- runs


def run_findings() -> list[Finding]:
    """Return what is kept or in use, and what dead runs have left."""
    counts = {"alive": 0, "kept": 0, "elsewhere": 0, "dead": 0, "things": 0, "unreadable": 0}
    for each in (state_place(), shared("state")):
        if each is not None and each.is_dir() and not unfit(each) and os.access(each / "runs", os.R_OK):
            for path in (each / "runs").glob("*.json"):
                count(path, counts)
    using = f"{counts['alive']} at work, {counts['kept']} kept for the next, {counts['elsewhere']} elsewhere"
    found = [ok(RUNS, "hosts", using, f"{PS} shows them; stop ends those that are kept" if counts["kept"] else "", **counts)]
    if counts["dead"]:
        runs, things = counts["dead"], counts["things"]
        text = f"{runs} dead {'run has' if runs == 1 else 'runs have'} left {things} {'thing' if things == 1 else 'things'}"
        found.append(none(RUNS, "left-overs", text, f"the next run removes them, or {PRUNE}"))
    if counts["unreadable"]:
        text = f"{counts['unreadable']} records are torn, or of another version"
        found.append(none(RUNS, "records", text, f"{PRUNE} --force, once they are old"))
    return found


def count(path: Path, counts: dict[str, int]) -> None:
    """Add what one record tells, by what can be seen from here: nothing is written to learn more."""
    try:
        facts = read_record(path)
        lives = Lease(**facts["host"]).alive()
    except FileNotFoundError:
        return  # it has just ended
    except (OSError, ValueError, TypeError):
        counts["unreadable"] += 1
        return
    if lives is None:
        counts["elsewhere"] += 1
    elif lives:
        counts["kept" if facts.get("kept") and not facts["tenants"] else "alive"] += 1
    else:
        counts["dead"] += 1
        counts["things"] += len(things_of(facts))
