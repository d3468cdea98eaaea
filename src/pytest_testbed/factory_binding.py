"""pytest's side of test data: which session the factories of a test are on."""

from __future__ import annotations

import sys
from collections.abc import Callable, Generator, Sequence
from typing import Any

import pytest

from .errors import ConfigurationError, FactoryError
from .factories.binding import RANKS, TEST, Binder, Bound
from .factories.factories import Factories
from .factories.naming import Rebind
from .plugin import BAD_MARK, is_worker, worker_of
from .plugins.factories import ENGINES, SESSIONS, FactorySettings, are_loaded, running
from .settings import SETTINGS
from .setups import add_fixture

__all__ = ["BoundFactories", "bound_factories", "factories_of", "patch_factories"]

NAME = "pytest_testbed.factory_binding"
OURS = "pytest_testbed.plugins.postgres"
"""Where fixtures are defined whose sessions undo what a test did."""
FOR_EACH_WORKER = 1_000_000
"""Numbers of sequences that a worker of xdist has for itself."""
ENGINE_NAMES, SESSION_NAMES = frozenset(ENGINES), frozenset(SESSIONS)
Wrapper = Generator[None, Any, Any]


def bound_factories(config: pytest.Config) -> BoundFactories:
    """Return the plugin that binds factories; a run without sessions and factories has none of it."""
    found: BoundFactories | None = config.pluginmanager.getplugin(NAME)
    if found is None:
        found = BoundFactories(config)
        config.pluginmanager.register(found, NAME)
    return found


def patch_factories(config: pytest.Config) -> None:
    """Let factory_boy, which is there now, ask for sessions."""
    bound_factories(config).patch()


def factories_of(request: pytest.FixtureRequest) -> Factories:
    """Return the factories of a test.

    Raises:
        FactoryError: there is no session to be had.
    """
    import factory.alchemy  # noqa: F401  who asks for factories has some

    return bound_factories(request.config).factories(request)


class BoundFactories:
    """A plugin of runs with factories, or with sessions on which factories could come to be.

    Args:
        config: pytest's; its settings are read.
    """

    def __init__(self, config: pytest.Config) -> None:
        settings = config.stash[SETTINGS]
        options = settings[FactorySettings]
        rebind = Rebind(
            " ".join(options.factory_rebind).split(),
            f"testbed_factory_rebind (from {settings.source(FactorySettings, 'factory_rebind')})",
        )
        persistence = None if options.factory_persistence == "none" else options.factory_persistence
        digits = worker_of(config).removeprefix("gw")
        offset = int(digits) * FOR_EACH_WORKER if digits.isdigit() else 0
        self.binder = Binder(persistence, offset, rebind)
        self.binder.where, self.binder.early = self._where, self._early
        self._config, self._persistence = config, persistence
        self._take_off: Callable[[], None] | None = None
        self._engines: list[Any] = []
        """Those of the test, the synchronous one in an asynchronous one."""
        self._fixture: tuple[str, str] | None = None
        self._request: pytest.FixtureRequest | None = None
        """Of the fixture that is being set up."""
        if running(config):
            self.binder.begin()  # a test runs that has only now imported factories

    def patch(self) -> None:
        """Let factory_boy ask us for sessions; until the run's end."""
        if self._take_off is None:
            from .factories.patch import Patch

            patch = Patch(self.binder)
            patch.put_on()
            self._take_off = patch.take_off

    def pytest_unconfigure(self) -> None:
        """Leave factory_boy as it was."""
        if self._take_off is not None:
            self._take_off()
            self._take_off = None

    # --- from test to test

    def collected(self, items: list[pytest.Item]) -> None:
        """Look for what is named and not there; prepare tests that have an engine and no session."""
        fault = ""
        try:
            self.binder.rebind.check()
        except ConfigurationError as error:
            fault = str(error)
        if fault and not is_worker(self._config):
            raise pytest.UsageError(fault)
        if "factory.alchemy" in sys.modules:
            self.patch()
        has_factories = are_loaded()
        made = self._config.pluginmanager.getplugin("pytest_testbed.factory_fixtures")
        asking = {"factories", *(made.on_session if made is not None else ())}
        for item in items:
            if fault:
                item.stash.setdefault(BAD_MARK, fault)
            names = getattr(item, "fixturenames", ())
            if not SESSION_NAMES.isdisjoint(names):
                continue
            if not asking.isdisjoint(names):
                if gets_ours(item):
                    add_fixture(item, "_pg_test")  # by which it is seen early that the server is wanted
            elif has_factories and not ENGINE_NAMES.isdisjoint(names):
                add_fixture(item, "_factories_later")

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_setup(self) -> None:
        """Begin a test."""
        self.binder.begin()
        self._engines = []

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_teardown(self) -> Wrapper:
        """End a test, after all of its fixtures."""
        self.binder.late = None  # no fixture can be set up any more
        try:
            return (yield)
        finally:
            self.binder.end()
            self._engines = []

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_fixture_setup(self, fixturedef: pytest.FixtureDef[Any], request: pytest.FixtureRequest) -> Wrapper:
        """Look for sessions among the fixtures; what is shared by tests does not come onto the session of one of them."""
        __tracebackhide__ = True
        if fixturedef.scope == "function":
            outer_request, self._request = self._request, request
            try:
                value = yield
            finally:
                self._request = outer_request
            self._look(fixturedef, TEST, value, request)
            return value
        rank, outer = RANKS[fixturedef.scope], self._fixture
        self._fixture = (fixturedef.argname, fixturedef.scope)
        try:
            with self.binder.setting_up(rank):
                value = yield
        finally:
            self._fixture = outer
        self._look(fixturedef, rank, value, request)
        return value

    def _look(self, fixturedef: pytest.FixtureDef[Any], rank: int, value: Any, request: pytest.FixtureRequest) -> None:
        name = fixturedef.argname
        if name in SESSIONS:
            session = session_in(value)
        elif name in ("pg_engine", "pg_async_engine"):
            self._engines.append(getattr(value, "sync_engine", value))
            return
        else:
            session = session_in(value) if self._engines and rank == TEST else None
            if session is None or getattr(session.bind, "engine", None) not in self._engines:
                return
        if session is not None:
            is_undone = rank == TEST or fixturedef.func.__module__ == OURS
            bound = Bound(session, value, name, self._persistence, is_undone=is_undone)
            request.addfinalizer(self.binder.bind(rank, bound))

    # --- what a test asks for

    def factories(self, request: pytest.FixtureRequest) -> Factories:
        """Return the factories of a test, which has a session from now on.

        Raises:
            FactoryError: there is no session to be had.
        """
        bound = self.ask(request)
        self.patch()
        return Factories(self.binder, bound)

    def ask(self, request: pytest.FixtureRequest) -> Bound:
        """Return the session of a test: that which it has, or will have, or pg_session.

        Raises:
            FactoryError: there is none to be had.
        """
        coming = coming_sessions(request)
        if coming or self.binder.current() is None:
            try:
                request.getfixturevalue(coming[0] if coming else fitting_session(request))
            except pytest.FixtureLookupError as error:
                if error.argname != "pg_session":
                    raise
                raise FactoryError(
                    "factories need a session, and there is no fixture pg_session: PostgreSQL is switched off "
                    "(-p no:pytest_testbed.plugins.postgres). Switch it on, or define a fixture pg_session."
                ) from None
        bound = self.binder.current()
        if bound is None:
            raise FactoryError(
                "factories need a session, and the fixture pg_session, which is not ours, gives none of SQLAlchemy."
            )
        return bound

    def ask_later(self, request: pytest.FixtureRequest) -> None:
        """Let a test that has an engine, and no session, have one when it first creates something; that one commits."""

        def ask() -> None:
            self.ask(request).persistence = "commit" if self._persistence else None  # nobody else could commit it

        self.binder.late = ask

    def _early(self) -> Callable[[], object] | None:
        """Return what sets up the test's session now: the fixture that is being set up stands before it among the arguments."""
        request = self._request
        if request is None or not (coming := coming_sessions(request)):
            return None
        return lambda: request.getfixturevalue(coming[0])

    def _where(self) -> str:
        if self._fixture is not None:
            name, scope = self._fixture
            narrower = "pg_class_session" if scope == "class" else "pg_module_session"
            return f"It was called in the {scope} fixture {name!r}: let that ask for {narrower}" + (
                "." if scope in ("class", "module") else ", and give it the scope of a module."
            )
        test, _, phase = running(self._config).rpartition(" ")
        if not test:
            return (
                "No test is running: call it in a test, or in a fixture, that asks for pg_session, pg_async_session, "
                "pg_module_session or factories."
            )
        return (
            f"{test} {phase} asks for no session: add pg_session (pg_async_session, factories) to its arguments, or mark it "
            "with @pytest.mark.usefixtures('pg_session')."
        )


def coming_sessions(request: pytest.FixtureRequest) -> list[str]:
    """Return the fixtures of a test's own sessions, the synchronous one first."""
    return [name for name in ("pg_session", "pg_async_session") if name in request.fixturenames]


def fitting_session(request: pytest.FixtureRequest) -> str:
    """Return the fixture of a session that a test can have, which has none so far: on the engine that it has."""
    names = request.fixturenames
    return "pg_async_session" if "pg_async_engine" in names and ENGINE_NAMES.isdisjoint(names) else "pg_session"


def session_in(value: Any) -> Any:
    """Return the synchronous session of SQLAlchemy that a fixture gives, None where it gives another thing."""
    orm, asynchronous = sys.modules.get("sqlalchemy.orm"), sys.modules.get("sqlalchemy.ext.asyncio")
    if orm is not None and isinstance(value, orm.Session):
        return value
    if orm is not None and isinstance(value, orm.scoped_session):
        return value()
    if asynchronous is not None and isinstance(value, asynchronous.AsyncSession):
        return value.sync_session
    return None


def gets_ours(item: pytest.Item) -> bool:
    """Tell whether a test that asks for pg_session gets ours; one that the project has may need no server."""
    # there is no public way to ask which definition of a fixture a test would get
    find = getattr(getattr(item.session, "_fixturemanager", None), "getfixturedefs", None)
    found: Sequence[Any] = (find("pg_session", item) if find is not None else None) or ()
    return bool(found) and found[-1].func.__module__ == OURS
