"""Test data: factory_boy's factories on the session of each test, and values that repeat."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Literal

import pytest

from ..plugin import plain_errors
from ..settings import SETTINGS, Section, option

if TYPE_CHECKING:
    from ..factories.factories import Factories


def modules(names: Sequence[str]) -> None:
    """Check dotted names of modules."""
    for name in " ".join(names).split():
        if not all(part.isidentifier() for part in name.split(".")):
            raise ValueError(f"holds {name!r}, which is not the name of a module, such as tests.factories")


class FactorySettings(Section, prefix=""):
    """Options of test data."""

    factory_modules: tuple[str, ...] = option(
        (),
        check=modules,
        help="Modules with factories; for a UserFactory in them, tests have the fixtures user and user_factory.",
    )
    factory_rebind: tuple[str, ...] = option(
        (),
        help="Factories that are bound to the test's session though they have one of their own: module:Factory, or module "
        "for all of it.",
    )
    factory_persistence: Literal["flush", "commit", "none"] = option(
        "flush", help="What factories do with what they have made, where they do not say it themselves."
    )
    seed: int | None = option(
        None,
        flag=True,
        help="Number from which test data are made: with that of an earlier run, which its output names, they are the same; "
        "without it: by chance.",
    )


SECTION = FactorySettings
SESSIONS = ("pg_session", "pg_async_session", "pg_class_session", "pg_module_session")
"""Fixtures whose sessions factories are on; one that the user defines under such a name counts as well."""
ENGINES = ("pg_engine", "pg_connection", "pg_sessionmaker", "pg_database", "pg_url", "pg_dsn")
"""Fixtures of tests that could have a session."""
ASKED = frozenset((*SESSIONS, *ENGINES, "factories"))
SEED = pytest.StashKey[int]()
"""On the configuration: what the run's test data come from, once somebody has asked."""
SEEDED = pytest.StashKey[bool]()
"""On the configuration of xdist's controller: whether a worker has told of factories."""
INHERITED = pytest.StashKey[str | None]()
"""On the configuration: the test of another pytest in which this one runs."""
BEFORE = pytest.StashKey[Any]()
"""On the configuration: factories that were there before it, as in a pytest that runs inside a test."""
TOLD = "testbed_data_seed"
"""What controller and workers tell each other."""


@pytest.hookimpl(tryfirst=True)
def pytest_load_initial_conftests(early_config: pytest.Config) -> None:
    """Note which factories are not of this run."""
    if "factory.base" in sys.modules and not early_config.pluginmanager.hasplugin("randomly"):
        from ..factory_seeds import all_factories

        early_config.stash[BEFORE] = set(all_factories())


@pytest.hookimpl(trylast=True)
def pytest_configure(config: pytest.Config) -> None:
    """Wait for factory_boy and Faker; a run without them has nothing else of this part."""
    if SETTINGS not in config.stash:
        return
    from ..later import WhenImported

    config.stash[INHERITED] = os.environ.get("PYTEST_CURRENT_TEST")
    waiting = WhenImported()
    if "faker.generator" in sys.modules or config.stash[SETTINGS][FactorySettings].seed is not None:
        seed_data(config)
    if "faker.generator" not in sys.modules:
        waiting.actions["faker.generator"] = lambda: seed_data(config)
    if "factory.alchemy" not in sys.modules:
        waiting.actions["factory.alchemy"] = lambda: patch(config)
    elif are_loaded():
        patch(config)
    if waiting.actions:
        sys.meta_path.insert(0, waiting)
        config.add_cleanup(lambda: leave(waiting))
    if config.stash[SETTINGS][FactorySettings].factory_modules:
        from ..factory_fixtures import FactoryFixtures

        config.pluginmanager.register(FactoryFixtures(config), "pytest_testbed.factory_fixtures")


def leave(waiting: object) -> None:
    """Wait no more."""
    sys.meta_path[:] = [each for each in sys.meta_path if each is not waiting]


def patch(config: pytest.Config) -> None:
    """Bind factories, from now on."""
    from ..factory_binding import patch_factories

    patch_factories(config)


def seed_data(config: pytest.Config) -> None:
    """Let data repeat, unless pytest-randomly does."""
    from ..factory_seeds import seed_tests

    seed_tests(config)


def are_loaded() -> bool:
    """Tell whether there is any factory; that factory_boy is loaded says little: pytest-randomly does it."""
    alchemy = sys.modules.get("factory.alchemy")
    return alchemy is not None and bool(alchemy.SQLAlchemyModelFactory.__subclasses__())


@pytest.hookimpl(wrapper=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> Iterator[None]:
    """Look for tests with sessions, and for factories that came with them."""
    result = yield
    asked = any(not ASKED.isdisjoint(getattr(item, "fixturenames", ())) for item in items)
    if asked or config.stash[SETTINGS][FactorySettings].factory_rebind or are_loaded():
        from ..factory_binding import bound_factories

        bound_factories(config).collected(items)
    return result


def running(config: pytest.Config) -> str:
    """Return the test that runs, and its phase in brackets; "" where none does."""
    found = os.environ.get("PYTEST_CURRENT_TEST")
    return found if found and found != config.stash[INHERITED] else ""


def seed_of(config: pytest.Config) -> int:
    """Return what the run's test data come from: said, or told by xdist's controller, or by chance."""
    if SEED not in config.stash:
        said = config.stash[SETTINGS][FactorySettings].seed
        told = getattr(config, "workerinput", {}).get(TOLD)
        by_chance = int.from_bytes(os.urandom(4))
        config.stash[SEED] = next(seed for seed in (said, told, by_chance) if seed is not None)
    return config.stash[SEED]


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """Tell a worker of xdist the seed."""
    node.workerinput[TOLD] = seed_of(node.config)


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any, error: object) -> None:
    """Note that a worker of xdist had factories."""
    if (getattr(node, "workeroutput", None) or {}).get(TOLD):
        node.config.stash[SEEDED] = True


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Say how the data of failed tests can be had again."""
    failed = [report for kind in ("failed", "error") for report in terminalreporter.stats.get(kind, ())]
    seeds = {report.testbed_seed for report in failed if hasattr(report, "testbed_seed")}
    for seed in sorted(seeds):
        terminalreporter.write_line(f"testbed: failed tests had data from a seed: --testbed-seed={seed} makes them again")
    if not seeds and config.stash.get(SEEDED, False) and config.get_verbosity() >= 0:
        terminalreporter.write_line(f"testbed: test data from --testbed-seed={seed_of(config)}")


# --- fixtures


@pytest.fixture
def factories(request: pytest.FixtureRequest) -> Factories:
    """The factory_boy factories on this test's session: create objects, look up a factory by name.

    The session is `pg_session` if the test has none. Factories are on the session of the test without this fixture, too.

    See docs/how-to/test-data.md.
    """
    from ..factory_binding import factories_of

    with plain_errors(request.config):
        return factories_of(request)


@pytest.fixture
def _factories_later(request: pytest.FixtureRequest) -> None:
    """What gives a session to factories of a test that has an engine alone."""
    from ..factory_binding import bound_factories

    bound_factories(request.config).ask_later(request)
