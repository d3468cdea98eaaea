"""`testbed_pg_bind`: while a test runs, the application's own engines lead to the engine of that test."""

from __future__ import annotations

import warnings
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest

from .errors import IsolationError, TestbedWarning
from .isolation import is_quiet, mode_of
from .plugin import collection_errors, runs_tests
from .plugins.postgres import ADDRESS, PostgresSettings
from .postgres.targets import Targets
from .settings import SETTINGS
from .setups import add_fixture

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from .postgres.bind import Binder

__all__ = ["BoundApplication"]

FIXTURE = "_pg_test"
"""The fixture in which applications are bound; what else has to do with the test on PostgreSQL comes after it."""


class BoundApplication:
    """A plugin of runs with `testbed_pg_bind`.

    Args:
        config: pytest's; its settings are read.
    """

    def __init__(self, config: pytest.Config) -> None:
        settings = config.stash[SETTINGS]
        self._options = settings[PostgresSettings]
        self._targets = Targets(" ".join(self._options.bind).split(), settings.source(PostgresSettings, "bind"))
        self._binder: Binder | None = None
        self._ending: pytest.Item | None = None
        self._told: set[tuple[str, str]] = set()

    @pytest.hookimpl(wrapper=True)
    def pytest_collection_modifyitems(self, config: pytest.Config, items: list[pytest.Item]) -> Iterator[None]:
        """Give all tests but those of units the fixture; refuse what can be known to be wrong by now."""
        result = yield
        found = False
        for item in items:
            if hasattr(item, "fixturenames") and not is_quiet(item):
                add_fixture(item, FIXTURE)
                found = True
        if found and runs_tests(config):
            with collection_errors(config):
                self._targets.look()
        return result

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_setup(self, item: pytest.Item) -> None:
        """Note what the application is before any fixture can change it."""
        self._ending = None
        if FIXTURE in getattr(item, "fixturenames", ()):
            self._targets.load()

    @pytest.hookimpl(wrapper=True)
    def pytest_fixture_setup(
        self, fixturedef: pytest.FixtureDef[Any], request: pytest.FixtureRequest
    ) -> Generator[None, object, object]:
        """Tell of fixtures of wider scopes that lead the application to its own server: nobody sees it in the tests."""
        __tracebackhide__ = True
        if fixturedef.scope == "function":
            return (yield)
        from .postgres.strangers import connections_told, engines_of

        def tell(engine: Engine) -> None:
            self._tell(fixturedef, engine, request.config)

        engines = [engine for target in self._targets.known() for engine in engines_of(target)]
        with connections_told(engines, tell):
            return (yield)

    def _tell(self, fixture: pytest.FixtureDef[Any], engine: Engine, config: pytest.Config) -> None:
        """Warn, once for each fixture, where an engine does not lead to an address that we have given away."""
        address = config.stash.get(ADDRESS, None)
        if address is not None and str(engine.url.port) == address.form("port"):
            return
        place = engine.url.render_as_string(hide_password=True)
        if (fixture.argname, place) in self._told:
            return
        self._told.add((fixture.argname, place))
        warnings.warn(
            TestbedWarning(
                f"the {fixture.scope} fixture {fixture.argname!r} let the application connect to its own database, {place}: "
                "testbed_pg_bind leads to the tests' database only while a single test runs. Give the fixture the scope of a "
                "function, let it use pg_module_session, or set the application's address by testbed_env, too."
            ),
            stacklevel=2,
        )

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_teardown(self, item: pytest.Item) -> None:
        """Note that no fixture can be set up any more."""
        self._ending = item

    @contextmanager
    def test(self, request: pytest.FixtureRequest) -> Iterator[None]:
        """Bind the application for one test, unless that is marked as one of a unit.

        Raises:
            ConfigurationError: a target is wrong.
        """
        if is_quiet(request.node):
            yield
            return
        if self._binder is None:
            targets = self._targets.resolved()
            from .postgres.bind import Binder

            self._binder = Binder(targets, self._options.driver)
        with self._binder.bound(lambda: self._engine(request)):
            yield

    def _engine(self, request: pytest.FixtureRequest) -> Engine:
        """Return the engine of a test, set up when the application first connects."""
        if self._ending is request.node:
            raise IsolationError(
                "the application connected for the first time while the fixtures of its test were being torn down, where "
                "PostgreSQL cannot be set up any more. Let the test, or the fixture that does it, ask for pg_engine."
            )
        if "pg_async_engine" in request.fixturenames and mode_of(request.node) == "transaction":
            asynchronous: Engine = request.getfixturevalue("pg_async_engine").sync_engine
            return asynchronous  # whose rows the application has to see
        engine: Engine = request.getfixturevalue("pg_engine")
        return engine

    def pytest_unconfigure(self) -> None:
        """Take our listener off SQLAlchemy's sessions."""
        if self._binder is not None:
            self._binder.close()
