"""The database of this process, and all else that a run with PostgreSQL has: made of the options, on pytest's side."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TYPE_CHECKING

import pytest

from .plugin import CoreSettings, plain_errors, run_of, worker_of
from .plugins.postgres import ADDRESS, BOUND, DJANGO, GIVEN, PostgresSettings
from .postgres.given import GivenUrl
from .settings import SETTINGS

if TYPE_CHECKING:
    from .postgres.database import Database
    from .postgres.real import RealCommits
    from .services.client import Testbed
    from .services.model import ServiceSpec

__all__ = ["bound_application", "offered", "own_database", "own_real_commits", "register_helpers"]


def register_helpers(config: pytest.Config) -> None:
    """Register the plugins of ours that the options of this run want."""
    settings = config.stash[SETTINGS]
    mine = settings[PostgresSettings]
    if settings[CoreSettings].keep_failed:
        from .keep import KeepFailed

        config.pluginmanager.register(KeepFailed(), "pytest_testbed.keep")
    if mine.bind:
        from .bound import BoundApplication

        config.stash[BOUND] = BoundApplication(config)
        config.pluginmanager.register(config.stash[BOUND], "pytest_testbed.bound")
    if DJANGO in mine.schema and all(map(config.pluginmanager.hasplugin, ("django", "pytest_testbed.everywhere"))):
        from . import migrated

        config.pluginmanager.register(migrated, "pytest_testbed.migrated")


def offered(config: pytest.Config) -> ServiceSpec:
    """Return the recipe of the server that the options name."""
    from .postgres.arguments import words
    from .postgres.service import postgres_spec

    mine, given = config.stash[SETTINGS][PostgresSettings], config.stash.get(GIVEN, GivenUrl())
    spec = postgres_spec(
        image=mine.image,
        version=mine.version,
        url=given.url,
        url_source=given.source,
        bindir=str(mine.bindir or ""),
        args=words(mine.args),
        environment=mine.environment,
        initdb_args=words(mine.initdb_args),
        tmpfs=mine.tmpfs,
        timeout=mine.timeout,
        driver=mine.driver,
        project=str(config.rootpath),
        environ={},  # looked at when pytest started
    )
    if mine.schema or mine.seed:
        spec = spec.with_(imports=(*spec.imports, "pytest_testbed.postgres.schema", "pytest_testbed.postgres.evidence"))
    if given.passed_over:
        spec = spec.with_(options={**spec.options, "url_remedy": given.passed_over})
    return spec


@contextmanager
def own_database(
    testbed: Testbed, config: pytest.Config, schema: Sequence[object], seeds: Sequence[object]
) -> Iterator[Database]:
    """Give this process's database for the length of the run.

    Args:
        testbed: the engine's face.
        config: pytest's.
        schema: what `pg_schema` gives.
        seeds: what `pg_seed` gives.
    """
    from .addresses import open_address
    from .isolation import DATABASE
    from .postgres.database import worker_database

    options = config.stash[SETTINGS][PostgresSettings]
    address = config.stash.get(ADDRESS, None)
    doorway, exported = (address.doorway, address.exported) if address is not None else (None, None)
    made = worker_database(testbed, schema, config.rootpath, options, worker_of(config), seeds, doorway, exported)
    with plain_errors(config), made as database:
        open_address(config, database)
        config.stash[DATABASE] = database
        run_of(config).begin_log("postgres", database.own_lines)
        yield database


@contextmanager
def own_real_commits(config: pytest.Config, database: Database) -> Iterator[RealCommits]:
    """Give the database isolation on this process's database, and watch fixtures of wider scopes from then on."""
    from .apart import Apart
    from .postgres.real import RealCommits

    address = config.stash.get(ADDRESS, None)
    is_early = config.pluginmanager.hasplugin("pytest_testbed.everywhere")
    real = RealCommits(database, address.doorway if address is not None else None, is_early=is_early)
    config.pluginmanager.register(Apart(real), "pytest_testbed.apart")
    with plain_errors(config):
        real.settle()
    yield real
    real.close()


def bound_application(request: pytest.FixtureRequest) -> AbstractContextManager[None]:
    """Return a context in which the application's own engines lead to this test's, where they are named."""
    bound = request.config.stash.get(BOUND, None)
    return bound.test(request) if bound is not None else nullcontext()
