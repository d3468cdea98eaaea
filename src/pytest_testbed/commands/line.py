"""The arguments of `python -m pytest_testbed`."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from .caches import Cache
from .doctor import doctor
from .init import init
from .prune import Pruning
from .ps import ps
from .stop import stop
from .variables import chosen_cache, max_age

__all__ = ["main"]

DAY = 86400.0

ABOUT = "See what a machine has for tests and what runs on it, end what is kept, remove what dead runs left; set up a project."
CODES = """\
exit codes: 0 done, 1 something could not be done, 2 the command was wrong

environment:
  TESTBED_CACHE_DIR  the cache directory, as the option testbed_cache_dir
  TESTBED_MAX_AGE    seconds after which a silent host in another container or on another
                     machine is taken for dead (86400)
"""
DOCTOR = """\
Tells what this machine has for tests, which provider each kind of service would take, and why
the others would not. Nothing is started for it, and nothing is downloaded.
"""
INIT = """\
Looks at a project and prints the ini lines that it suggests, each below its reason, in the form of
the file that the project has: pytest.ini, pytest.toml, pyproject.toml, tox.ini or setup.cfg. What could
not be decided is there as a comment. No file is written, and none of the project's code is run.

It looks at dependencies, SQLAlchemy's models and engines, Alembic, Django's settings, variables with
addresses, compose files and pipelines, web applications, factories, conftests and folders of tests.
"""
PS = """\
One line for each service. OWNER is
  pid 123                 the pytest that uses it
  kept, idle              kept for later runs, and used by none
  kept, used by pid 5, 6  kept for later runs, and used by these
  elsewhere               in another container or on another machine
  dead                    its host is gone; the next run, or prune, removes what is left
  unreadable, another version   its record cannot be read by this version
"""
STOP = """\
Without arguments: hosts that are kept and that no run uses. A host gets SIGTERM, and 10 s
to end its services. Only processes of this machine that are known to be hosts are ended.
"""
PRUNE = """\
Removes what dead runs left: processes, directories, containers, records. What lives is
not touched. Entries of the cache are removed when they have become old.
"""


def parser() -> argparse.ArgumentParser:
    """Return the parser, with the help that users read."""
    raw = argparse.RawDescriptionHelpFormatter
    line = argparse.ArgumentParser("python -m pytest_testbed", description=ABOUT, epilog=CODES, formatter_class=raw)
    commands = line.add_subparsers(dest="command", title="commands", metavar="COMMAND")

    one = commands.add_parser("ps", help="show what is running", description=PS, formatter_class=raw)
    one.add_argument("--json", action="store_true", help="for programs")

    one = commands.add_parser("stop", help="end hosts and their services", description=STOP, formatter_class=raw)
    which = one.add_mutually_exclusive_group()
    which.add_argument("run", nargs="*", default=[], help="the host of this run, busy or not; a unique beginning will do")
    which.add_argument("--all", action="store_true", help="every host of yours, also those that are in use")

    one = commands.add_parser("prune", help="remove what nobody uses any more", description=PRUNE, formatter_class=raw)
    one.add_argument("--dry-run", action="store_true", help="only show what would be removed")
    one.add_argument("--force", action="store_true", help="also old records that are torn or of another version")
    which = one.add_mutually_exclusive_group()
    which.add_argument(
        "--cache-age", type=_days, default=14.0, metavar="DAYS", help="remove cache entries that are older (default 14)"
    )
    which.add_argument("--cache", action="store_true", help="remove all cache entries")

    one = commands.add_parser("doctor", help="tell what this machine has for tests", description=DOCTOR, formatter_class=raw)
    one.add_argument("--json", action="store_true", help="for programs")

    one = commands.add_parser("init", help="suggest ini lines for a project", description=INIT, formatter_class=raw)
    one.add_argument("directory", nargs="?", default=".", help="where the project is (default: here)")
    return line


def _days(text: str) -> float:
    days = float(text)
    if not 0 <= days < float("inf"):
        raise ValueError(text)
    return days


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    line = parser()
    chosen = line.parse_args(argv)
    if chosen.command is None:
        line.print_help()
        return 0
    if chosen.command == "init":
        return init(chosen.directory)
    try:
        silent = max_age()
    except ValueError as error:
        line.error(str(error))
    cache = Cache(chosen_cache())
    if chosen.command == "ps":
        return ps(cache, silent, as_json=chosen.json)
    if chosen.command == "stop":
        return stop(chosen.run, silent, everyone=chosen.all)
    if chosen.command == "doctor":
        return doctor(cache, as_json=chosen.json)
    pruning = Pruning(silent, dry_run=chosen.dry_run)
    pruning.runs()
    if chosen.force:
        pruning.unreadable()
    pruning.cache(cache, 0.0 if chosen.cache else chosen.cache_age * DAY)
    return pruning.end()
