"""Wider scopes seen from pytest: a test that lies on a module's or class's rows begins before its first fixture."""

from __future__ import annotations

import os
from collections.abc import Generator
from contextlib import AbstractContextManager, ExitStack, suppress
from typing import TYPE_CHECKING, Any

import pytest

from .errors import IsolationError
from .isolation import ISOLATION, argument, mode_of, real_commits
from .plugin import plain_errors

if TYPE_CHECKING:
    from .postgres.guard import Guard

__all__ = ["WideScopes", "layer_for"]

PLUGIN = "pytest_testbed.wide"
WIDE = frozenset({"pg_module_session", "pg_class_session"})
ON_LAYERS = WIDE | {"pg_engine"}
Wrapper = Generator[None, Any, Any]


def layer_for(request: pytest.FixtureRequest, name: str) -> AbstractContextManager[Any]:
    """Return what gives a session to a module or class.

    Args:
        request: of the wide fixture.
        name: the fixture.

    Raises:
        IsolationError: the test that asks for it already runs, or the scope is in database isolation.
    """
    if os.environ.get("PYTEST_CURRENT_TEST", "").endswith("(call)"):
        raise IsolationError(
            f"{name} was asked for while a test ran. Name it, or the fixture that uses it, as an argument of the test (or in "
            "pytest.mark.usefixtures), so that pytest sets it up before the test begins."
        )
    if is_real(request.node):
        return real_commits(request).layer(name)
    guard: Guard = request.getfixturevalue("_pg_guard")
    if not request.config.pluginmanager.has_plugin(PLUGIN):
        request.config.pluginmanager.register(WideScopes(guard), PLUGIN)
        guard.layers.follows_sequences = any(map(resets_sequences, request.session.items))
    return guard.layer(name)


def is_real(node: pytest.Item | pytest.Collector) -> bool:
    """Tell whether a test, class or module is in database isolation."""
    return mode_of(node) == "database"


def resets_sequences(node: pytest.Item) -> bool:
    """Tell whether a test wants its sequences set back."""
    return argument(node.iter_markers("pg"), "reset_sequences") is True


class WideScopes:
    """A plugin of runs that have such scopes; it has nothing to do while none is open."""

    def __init__(self, guard: Guard) -> None:
        self._guard = guard

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_setup(self, item: pytest.Item) -> None:
        """Refuse a test that cannot run on the layers that are open."""
        layers, names = self._guard.layers, names_of(item)
        with plain_errors(item.config):
            if layers and names & WIDE and is_real(item):
                layers.refuse_database()
            if layers and names & ON_LAYERS:
                layers.refuse_lost()

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_fixture_setup(self, fixturedef: pytest.FixtureDef[Any], request: pytest.FixtureRequest) -> Wrapper:
        """Begin the test before the first fixture of its own; follow fixtures of wider scopes."""
        __tracebackhide__ = True
        layers = self._guard.layers
        if not layers:
            return (yield)
        if fixturedef.scope == "function":
            # pytest would be confused by an error here; the test's next step meets it again
            with suppress(IsolationError, pytest.fail.Exception):
                self._begin(request.node)
            return (yield)
        with layers.setting_up(fixturedef.argname):
            return (yield)

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_call(self, item: pytest.Item) -> Wrapper:
        """Begin a test that has no fixtures of its own."""
        with plain_errors(item.config):
            if self._guard.layers:
                self._begin(item)
        return (yield)

    def _begin(self, item: pytest.Item) -> None:
        guard = self._guard
        if guard.is_test_running or (guard.layers.are_lost and not names_of(item) & ON_LAYERS):
            return
        if is_real(item):
            if names_of(item) & WIDE:
                guard.layers.refuse_database()
            return
        with ExitStack() as stack:
            stack.enter_context(plain_errors(item.config))
            guard.resets_sequences = resets_sequences(item)
            stack.enter_context(guard.test())
            guard.layers.test = item.nodeid
            guard.layers.is_needed_later = lambda: is_needed_later(item, guard.layers.names)
            item.stash[ISOLATION] = guard
            item.addfinalizer(stack.pop_all().close)


def names_of(item: pytest.Item) -> frozenset[str]:
    """Return the fixtures that a test is known to use."""
    return frozenset(getattr(item, "fixturenames", ()))


def is_needed_later(item: pytest.Item, names: str) -> bool:
    """Tell whether tests follow in the module or class of this one, as far as that can be known."""
    items = item.session.items
    if hasattr(item.config, "workerinput") or item not in items:
        return True
    scope = item.getparent(pytest.Module if "pg_module_session" in names else pytest.Class)
    return scope is not None and any(scope in other.listchain() for other in items[items.index(item) + 1 :])
