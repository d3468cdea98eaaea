"""The database of a failed test, kept so that somebody can look at it."""

from __future__ import annotations

import re
from shlex import quote

from ..services.model import Endpoint
from .database import Database
from .guard import Guard
from .real import RealCommits

__all__ = ["Autopsy"]

MOST = 10
"""Databases that a worker keeps: each takes some megabytes, perhaps of memory."""
LONGEST = 63 - len("testbed_kept__123456_99")


class Autopsy:
    """Keeps databases of failed tests, as many as there is room for.

    Args:
        database: the worker's.
        run: the run's identity, part of each name.
    """

    def __init__(self, database: Database, run: str) -> None:
        self._database = database
        self._run = run
        self._kept = 0

    def keep(self, isolation: Guard | RealCommits, test: str) -> tuple[bool, str]:
        """Keep what the running test has in its database; tell whether that was done, and what its report says of it."""
        if self._kept >= MOST:
            return False, f"Not kept: {MOST} databases of failed tests are kept by now."
        self._kept += 1
        name = database_name(test, self._run, self._kept)
        self._database.keep_as(name)
        try:
            isolation.keep()
        except Exception as error:
            return False, f"Not kept: {error}"
        return True, report(self._database.endpoint, name)


def database_name(test: str, run: str, number: int) -> str:
    """Return the name of a kept database, which says whose it is."""
    slug = re.sub(r"\W+", "_", test.rpartition("::")[2].lower(), flags=re.ASCII).strip("_")
    return f"testbed_kept_{slug[:LONGEST]}_{run[:6]}_{number}"


def report(endpoint: Endpoint, name: str) -> str:
    """Return where a kept database is, with a line for a shell."""
    # somebody else's password is not for reports: psql asks for it, or has it from PGPASSWORD
    url = endpoint.url(name) if endpoint.is_ours else endpoint.with_(password="").url(name)
    return f"{url}\npsql {quote(url)}"
