"""The arguments of `python -m pytest_testbed`."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from .caches import Cache
from .init import init
from .prune import Pruning
from .ps import ps
from .stop import stop
from .variables import chosen_cache, max_age

__all__ = ["main"]

DAY = 86400.0

ABOUT = "Tell what this machine has for tests, set up a project, see what runs, end what is kept, remove what dead runs left."
CODES = """\
exit codes:
  0  done
  1  something could not be done; standard error says what
  2  the command was wrong

environment:
  TESTBED_CACHE_DIR  the cache directory, as the option testbed_cache_dir
  TESTBED_MAX_AGE    seconds of silence after which a host in another container or on another machine
                     counts as dead; 86400 if not set
"""
DOCTOR = """\
Tells what this machine has for tests (container engine, images, binaries, named servers, packages,
directories), which provider each kind of service of this project would take, and why none of the
others, with what can be done about it. Nothing is started, fetched or written for it.

The project is that of the present directory. pytest reads its configuration, and loads the
conftest.py files that it loads at its start; no test is collected.
"""
DOCTOR_CODES = """\
marks:
  ok  there, and can be used
  –   not there, or not used: nothing is wrong with that
  !!  amiss; the line after the arrow says what can be done

exit codes:
  0  each kind of service can be had
  1  some kind cannot, or pytest does not get so far
  2  the command was wrong

example: what `pytest --testbed-provider docker tests/api` would take
  python -m pytest_testbed doctor -- --testbed-provider docker tests/api
"""
INIT = """\
Looks at a project and prints the ini lines that it suggests, each below its reason, in the form of
the file that the project has: pytest.ini, pytest.toml, pyproject.toml, tox.ini or setup.cfg. What could
not be decided is there as a comment. No file is written, and none of the project's code is run.

It looks at dependencies, SQLAlchemy's models and engines, Alembic, Django's settings, variables with
addresses, compose files and pipelines, web applications, factories, conftests and folders of tests.
"""
PS = """\
Shows one line for each service that your test runs have on record, on this machine and wherever else
the state directory is shared, and one for the cache.

columns:
  RUN                           the run's identity, for the command stop
  KIND, PROVIDER, ADDRESS, AGE  of the service; - where a host has none, or has not told
  OWNER                         who uses it
  SIZE                          of the run's directories, told once for each run; of a container, what
                                it has written, if the engine says so within 3 s
  PROJECT                       the directory of the project

owners:
  pid 123                      the pytest that uses it
  kept, idle                   kept for later runs, and used by none
  kept, used by pid 5, 6       kept for later runs, and used by these
  elsewhere, heard 12 s ago    in another container or on another machine
  dead                         its host is gone; the next run, or prune, removes what is left
  unreadable, another version  its record cannot be read by this version
"""
STOP = """\
Ends hosts, and with them their services. Without arguments: those that are kept and that no run uses.
A host gets SIGTERM, and 10 s to end its services.

A process is sent a signal only if it is surely a host: its id and the time at which it started are
those on record.
"""
PRUNE = """\
Removes what dead runs left (processes, directories, containers, records), and entries of the cache that
no run has used for 14 days (a run by itself removes them after 30). What lives is not touched. In a
cache directory of your own choice, only files with our names are entries.
"""


def parser() -> argparse.ArgumentParser:
    """Return the parser, with the help that users read."""
    raw = argparse.RawDescriptionHelpFormatter
    line = argparse.ArgumentParser("python -m pytest_testbed", description=ABOUT, epilog=CODES, formatter_class=raw)
    commands = line.add_subparsers(dest="command", title="commands", metavar="COMMAND")

    one = commands.add_parser("ps", help="show what is running", description=PS, formatter_class=raw)
    one.add_argument("--json", action="store_true", help="print JSON, for programs")

    one = commands.add_parser("stop", help="end hosts and their services", description=STOP, formatter_class=raw)
    which = one.add_mutually_exclusive_group()
    which.add_argument(
        "run", nargs="*", default=[], metavar="RUN", help="end the host of this run, busy or not; a unique beginning will do"
    )
    which.add_argument("--all", action="store_true", help="end every host of yours on this machine, busy or not")

    one = commands.add_parser("prune", help="remove what nobody uses any more", description=PRUNE, formatter_class=raw)
    one.add_argument("--dry-run", action="store_true", help="remove nothing; show what would be removed")
    one.add_argument(
        "--force",
        action="store_true",
        help="remove also records that cannot be read, if they are older than a day and their host does not live; what they tell "
        "of stays",
    )
    which = one.add_mutually_exclusive_group()
    which.add_argument(
        "--cache-age",
        type=_days,
        default=14.0,
        metavar="DAYS",
        help="remove cache entries that no run has used for so many days (default: 14)",
    )
    which.add_argument("--cache", action="store_true", help="remove all cache entries, whatever their age")

    one = commands.add_parser(
        "doctor", help="tell what this machine has for tests", description=DOCTOR, epilog=DOCTOR_CODES, formatter_class=raw
    )
    one.add_argument("--json", action="store_true", help="print JSON, for programs")
    one.add_argument("pytest", nargs="*", metavar="-- PYTEST", help="arguments that pytest would be called with")

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
    if chosen.command == "doctor":
        from .doctor import doctor  # a third of a second of imports, which no other command needs

        return doctor(chosen.pytest, as_json=chosen.json)
    try:
        silent = max_age()
    except ValueError as error:
        line.error(str(error))
    cache = Cache(chosen_cache())
    if chosen.command == "ps":
        return ps(cache, silent, as_json=chosen.json)
    if chosen.command == "stop":
        return stop(chosen.run, silent, everyone=chosen.all)
    pruning = Pruning(silent, dry_run=chosen.dry_run)
    pruning.runs()
    if chosen.force:
        pruning.unreadable()
    pruning.cache(cache, 0.0 if chosen.cache else chosen.cache_age * DAY)
    return pruning.end()
