"""`testbed_factory_modules`: factories that are imported before the tests, and fixtures of what they make."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from types import ModuleType
from typing import Any

import pytest

from .errors import ConfigurationError, FactoryError
from .factories.naming import factories_in, fixture_name, imported, name_of
from .plugin import BAD_MARK, is_controller, is_worker, plain_errors
from .plugins.factories import FactorySettings
from .settings import SETTINGS

__all__ = ["FactoryFixtures"]

FIXTURE = type(pytest.fixture(lambda: None))
"""pytest's class of what it finds fixtures by; it has no public name."""


class FactoryFixtures:
    """A plugin of runs with `testbed_factory_modules`.

    Args:
        config: pytest's; its settings are read.
    """

    def __init__(self, config: pytest.Config) -> None:
        settings = config.stash[SETTINGS]
        self._config = config
        self._modules = " ".join(settings[FactorySettings].factory_modules).split()
        self._option = f"testbed_factory_modules (from {settings.source(FactorySettings, 'factory_modules')})"
        self._fault = ""
        self.on_session: dict[str, str] = {}
        """The names of fixtures that ask for a session, each with its module."""

    def pytest_sessionstart(self) -> None:
        """Import the factories and make the fixtures: before pytest takes those of conftests, which may ask for ours."""
        if is_controller(self._config):
            return  # it runs no tests
        try:
            factories = self._factories()
        except ConfigurationError as error:
            if not is_worker(self._config):
                raise pytest.UsageError(str(error)) from None
            self._fault = str(error)
            return
        if not has_factoryboy(self._config):
            self._config.pluginmanager.register(self._fixtures(factories), "pytest_testbed.factory_fixtures.made")

    def pytest_report_header(self) -> list[str]:
        """Say whose the fixtures are."""
        if not has_factoryboy(self._config):
            return []
        return [
            "testbed: fixtures of testbed_factory_modules are left to pytest-factoryboy; -p no:pytest-factoryboy makes them ours"
        ]

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """Let each test of a worker of xdist fail, where a module is wrong."""
        for item in items if self._fault else ():
            item.stash.setdefault(BAD_MARK, self._fault)

    def _factories(self) -> dict[str, Any]:
        """Return the factories that can make something, by the names of their fixtures.

        Raises:
            ConfigurationError: a module is not there, or has no factory; or two factories have one name.
        """
        made: dict[str, Any] = {}
        for name in self._modules:
            module = imported(name, self._option, [str(self._config.rootpath), *folders(self._config)])
            found = [each for each in factories_in(module).values() if not each._meta.abstract]
            if not found:
                raise ConfigurationError(f"{self._option} names {name!r}, a module that has no factories that make anything.")
            for factory in found:
                other = made.setdefault(fixture_name(factory), factory)
                if other is not factory:
                    raise ConfigurationError(
                        f"{self._option}: {name_of(other)} and {name_of(factory)} would both make the fixture "
                        f"{fixture_name(factory)!r}. Rename one of them, or leave its module out."
                    )
        return made

    def _fixtures(self, factories: dict[str, Any]) -> ModuleType:
        taken = {*names_of_fixtures(self._config.pluginmanager.get_plugins()), "request"}
        holder = ModuleType("pytest_testbed_factories")  # pytest looks into modules and classes, not into objects
        for name, factory in factories.items():
            for fixture, make in ((name, instance_fixture), (f"{name}_factory", class_fixture)):
                if fixture not in taken:
                    setattr(holder, f"fixture_{fixture}", make(fixture, factory))
                    self.on_session |= {fixture: factory.__module__} if is_on_session(factory) else {}
        return holder


def instance_fixture(name: str, factory: Any) -> Any:
    """Return a fixture of what a factory makes."""

    def made(request: pytest.FixtureRequest) -> Any:
        with plain_errors(request.config):
            return instance(request, name, factory)

    made.__doc__ = f"What {name_of(factory)} makes, on the session of the test."
    made.__module__ = factory.__module__
    return pytest.fixture(name=name)(made)


def class_fixture(name: str, factory: Any) -> Any:
    """Return a fixture of a factory itself."""

    def made(request: pytest.FixtureRequest) -> Any:
        if is_on_session(factory):
            session_of(request)
        return factory

    made.__doc__ = f"The class {name_of(factory)}, on the session of the test."
    made.__module__ = factory.__module__
    return pytest.fixture(name=name)(made)


def instance(request: pytest.FixtureRequest, name: str, factory: Any) -> Any:
    """Make something by a factory.

    Raises:
        FactoryError: that would have to be awaited.
    """
    if is_on_session(factory):
        bound = session_of(request)
        if bound.is_async and factory._meta.sqlalchemy_session_persistence:
            raise FactoryError(
                f"the fixture {name} would create {factory._meta.model.__name__} on {bound.fixture}, an asynchronous session, "
                f"and a fixture of factories cannot await. Ask for {name}_factory and factories, and write "
                f"`await factories.create({name}_factory)`."
            )
    return factory()


def session_of(request: pytest.FixtureRequest) -> Any:
    """Return the session of a test, which it has from now on."""
    from .factory_binding import bound_factories

    with plain_errors(request.config):
        return bound_factories(request.config).ask(request)


def is_on_session(factory: Any) -> bool:
    """Tell whether a factory creates on a session of SQLAlchemy that is not its own."""
    from factory.alchemy import SQLAlchemyOptions

    meta = factory._meta
    said = vars(meta)
    is_own = said.get("sqlalchemy_session") is not None or said.get("sqlalchemy_session_factory")
    return isinstance(meta, SQLAlchemyOptions) and not is_own


def names_of_fixtures(plugins: Iterable[Any]) -> Iterator[str]:
    """Yield the names of fixtures that plugins have; those of conftests come before ours by themselves, and may ask for them."""
    for plugin in plugins:
        if os.path.basename(getattr(plugin, "__file__", None) or "") == "conftest.py":
            continue
        for value in list(getattr(plugin, "__dict__", {}).values()):
            if isinstance(value, FIXTURE):
                yield value.name


def folders(config: pytest.Config) -> list[str]:
    """Return the folders that the run was given: a project without conftests has none of them on `sys.path` yet."""
    paths = [config.invocation_params.dir / arg.partition("::")[0] for arg in config.args]
    return [str(path if path.is_dir() else path.parent) for path in paths]


def has_factoryboy(config: pytest.Config) -> bool:
    """Tell whether pytest-factoryboy makes the fixtures, for factories that are registered with it."""
    return any(map(config.pluginmanager.hasplugin, ("pytest-factoryboy", "pytest_factoryboy", "pytest_factoryboy.plugin")))
