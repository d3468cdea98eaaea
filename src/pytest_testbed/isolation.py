"""How a test is kept apart on PostgreSQL: what its mark, its fixtures, its folder and the default say of it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from .plugins.levels import SET_LEVEL
from .plugins.postgres import MODES, PostgresSettings
from .settings import SETTINGS

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from .postgres.database import Database
    from .postgres.guard import Guard
    from .postgres.guard_async import AsyncGuard
    from .postgres.plain_async import PlainAsync
    from .postgres.real import RealCommits

__all__ = [
    "apart",
    "argument",
    "async_isolation",
    "check_folders",
    "commit_for_real",
    "engine_of",
    "is_quiet",
    "isolation",
    "isolation_lines",
    "mode_of",
    "read_folders",
    "real_commits",
    "refuse_commits",
]

ISOLATION: pytest.StashKey[Guard | RealCommits] = pytest.StashKey()
"""On a test: what keeps it apart, once that has been found."""
DATABASE: pytest.StashKey[Database] = pytest.StashKey()
"""On the configuration: this process's database, while there is one."""
ASKED: pytest.StashKey[bool] = pytest.StashKey()
"""On a test: whether it has an address, perhaps since it ran only."""
FOLDERS: pytest.StashKey[tuple[str, list[tuple[str, Path]]]] = pytest.StashKey()
ASYNC: pytest.StashKey[AsyncGuard | PlainAsync] = pytest.StashKey()
"""On a test: what gives it its async engine."""


def isolation_lines(lines: Sequence[str]) -> None:
    """Check the lines of `testbed_pg_isolation`; that its folders exist is seen later."""
    from .folders import taken_apart

    for mode, _ in taken_apart(lines):
        if mode not in MODES:
            from .nearest import suggestion

            raise ValueError(f"holds {mode!r}, which is not one of {', '.join(MODES)}{suggestion(mode, MODES) or ''}")


# --- which way


def mode_of(item: pytest.Item | pytest.Collector) -> str:
    """Return how a test, or a module or class, is kept apart.

    Its mark says it, or an address that it asks for, or its folder, or the default.
    """
    if (said := argument(item.iter_markers("pg"), "isolation")) is not None:
        return str(said)
    names = getattr(item, "fixturenames", ())
    if item.stash.get(ASKED, False) or any(name in names for name in ("pg_database", "pg_url", "pg_dsn")):
        return "database"
    if FOLDERS not in item.config.stash:
        item.config.stash[FOLDERS] = read_folders(item.config)
    default, folders = item.config.stash[FOLDERS]
    return next((mode for mode, folder in folders if folder in item.path.parents or folder == item.path), default)


def read_folders(config: pytest.Config) -> tuple[str, list[tuple[str, Path]]]:
    """Return the default of `testbed_pg_isolation`, and its folders, the innermost first."""
    from .folders import inside, taken_apart

    # not by ADDRESS: a single test that asks for an address changes nothing for the others
    default = "database" if config.pluginmanager.hasplugin("pytest_testbed.everywhere") else "transaction"
    folders = []
    for mode, names in taken_apart(config.stash[SETTINGS][PostgresSettings].isolation):
        if names is None:
            default = mode
        folders += [(mode, inside(config.rootpath, name)) for name in names or ()]
    return default, sorted(folders, key=lambda pair: -len(pair[1].parts))


def check_folders(config: pytest.Config) -> None:
    """Refuse a folder of `testbed_pg_isolation` that is not there: its tests would be kept apart in another way than meant.

    Raises:
        pytest.UsageError: names it, and the nearest that is there.
    """
    from .folders import refuse_absent

    source = config.stash[SETTINGS].source(PostgresSettings, "isolation")
    refuse_absent("testbed_pg_isolation", source, config.rootpath, (folder for _, folder in read_folders(config)[1]))


def is_quiet(item: pytest.Item) -> bool:
    """Tell whether a test says of itself that it needs no service; that its folder is called unit does not say so much."""
    return item.get_closest_marker("unit") is not None and item.stash.get(SET_LEVEL, None) != "unit"


def argument(marks: Iterable[pytest.Mark], name: str) -> object:
    """Return an argument of the closest mark that has it, None where none does."""
    return next((mark.kwargs[name] for mark in marks if name in mark.kwargs), None)


# --- what keeps a test apart


def real_commits(request: pytest.FixtureRequest) -> RealCommits:
    """Return the database isolation of this process."""
    __tracebackhide__ = True
    found: RealCommits = request.getfixturevalue("_pg_real")
    return found


def apart(item: pytest.Item, real: RealCommits) -> AbstractContextManager[None]:
    """Return the time of a test that may commit for real; at its end the database is put back."""
    from .postgres.outcome import watched

    commits = mode_of(item) == "database"
    if commits:
        item.stash[ISOLATION] = real
    return watched(real, commits=lambda: commits or mode_of(item) == "database")  # it may ask for an address only later


def commit_for_real(request: pytest.FixtureRequest) -> None:
    """Note that this test was given an address: what it commits by it is no escape, though its arguments do not name it."""
    request.node.stash[ASKED] = True
    if mode_of(request.node) == "database":
        request.node.stash.setdefault(ISOLATION, real_commits(request))


def refuse_commits(request: pytest.FixtureRequest) -> None:
    """Refuse an address to a test that is in a transaction: what it does in one place would not be seen in the other.

    Raises:
        IsolationError: its mark says so, or it has begun in one.
    """
    from .errors import IsolationError

    item, what = request.node, "pg_url, pg_dsn and pg_database are addresses by which a test commits for real"
    if argument(item.iter_markers("pg"), "isolation") == "transaction":
        raise IsolationError(f"{what}, and this one is marked pg(isolation='transaction'). Take one of both away.")
    if ISOLATION in item.stash and mode_of(item) == "transaction":
        raise IsolationError(
            f"{what}, and this one has begun in a transaction before it asked for one. Name the fixture as an argument of the "
            "test, or mark the test: @pytest.mark.pg(isolation='database')."
        )


def isolation(request: pytest.FixtureRequest, *, anew: bool = False) -> Guard | RealCommits:
    """Return what keeps this test apart: the guarded engine, or the database itself; `anew` for each run of a test."""
    stash = request.node.stash
    if anew or ISOLATION not in stash:
        guard: Guard = request.getfixturevalue("_pg_guard")
        if mode_of(request.node) == "database":
            guard.layers.refuse_database()
            stash[ISOLATION] = real_commits(request)
        else:
            refuse_both(request)
            guard.resets_sequences = argument(request.node.iter_markers("pg"), "reset_sequences") is True
            stash[ISOLATION] = guard
    found: Guard | RealCommits = stash[ISOLATION]
    return found


def engine_of(request: pytest.FixtureRequest, guard: Guard, until: ExitStack) -> Engine:
    """Begin a run of this test; return its engine.

    Args:
        request: of the fixture that gives it.
        guard: the transaction isolation of this process.
        until: what is closed with the test.
    """
    found = isolation(request, anew=True)
    if found is not guard:
        request.getfixturevalue("_pg_apart")
    engine: Engine = until.enter_context(found.test())
    return engine


def refuse_both(request: pytest.FixtureRequest) -> None:
    """Refuse a test in transaction isolation that has a sync and an async engine: those are two transactions."""
    if {"pg_engine", "pg_async_engine"} <= {request.fixturename, *request.fixturenames}:
        from .errors import IsolationError

        raise IsolationError(
            "this test has pg_engine and pg_async_engine (or fixtures on them), which in transaction isolation are two "
            "connections that never see each other's rows. Use one of them, such as pg_async_session.run_sync(…) for "
            "synchronous code, or database isolation: @pytest.mark.pg(isolation='database')."
        )


def async_isolation(request: pytest.FixtureRequest, *, anew: bool = False) -> AsyncGuard | PlainAsync:
    """Return what gives this test its async engine; `anew` for each run of a test."""
    stash = request.node.stash
    if anew or ASYNC not in stash:
        database = request.config.stash[DATABASE]
        if mode_of(request.node) == "database":
            request.getfixturevalue("_pg_apart")  # whose end puts the database back
            stash[ASYNC] = database.plain_async(request.config.stash[SETTINGS][PostgresSettings].async_driver)
        else:
            refuse_both(request)
            request.getfixturevalue("_pg_guard").layers.refuse_async()
            guard: AsyncGuard = request.getfixturevalue("_pg_async_guard")
            guard.resets_sequences = argument(request.node.iter_markers("pg"), "reset_sequences") is True
            stash[ASYNC] = stash[ISOLATION] = guard
    made: AsyncGuard | PlainAsync = stash[ASYNC]
    return made
