"""The entry that pytest loads: the tuple of parts, the core's options and marks, the session's hooks.

PYTEST_DONT_REWRITE: it has no asserts; so pytest does not mind that Python's own loader has read it.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import pytest

from .settings import BUILT_IN, SETTINGS, Section, Settings, nothing_said, option, positive, register, said_early

if TYPE_CHECKING:
    from .services.client import Testbed
    from .session import Run

PARTS = (
    "pytest_testbed.plugins.postgres",
    "pytest_testbed.plugins.rabbitmq",
    "pytest_testbed.plugins.http",
    "pytest_testbed.plugins.mail",
    "pytest_testbed.plugins.factories",
    "pytest_testbed.plugins.files",
    "pytest_testbed.plugins.budgets",
    "pytest_testbed.plugins.levels",
)
"""Plugins of their own; `-p no:<name>` switches one off.

Each may have a `SECTION` of options, `MARKS`, its `KIND` of service, and with that the key `GIVEN` of the server that somebody
named.
"""

MARKS = (
    "unit: (level) a test of one thing alone; for one that is marked so by hand no service is started.",
    "integration: (level) a test of how parts work together, on real services.",
    "e2e: (level) a test of the whole application, from outside.",
    "database: (area) a test that talks to a database.",
    "messaging: (area) a test that talks to a message broker.",
    "api: (area) a test that talks to an HTTP API.",
    "external: (area) a test that talks to, or stands in for, a third party's service.",
    "workflows: (area) a test that follows a business workflow through several parts.",
    "contract: (area) a test that checks a contract between services.",
    "performance: (area) a test that has a budget.",
)
"""The marks that are not one part's."""


class CoreSettings(Section, prefix=""):
    """Options that are not one kind's."""

    provider: str = option(
        "auto",
        flag=True,
        help="Where services come from: external (a server that you name), docker, local (programs of this machine), or a "
        "plugin's own provider; auto takes the first of these that can serve.",
    )
    start: Literal["prefetch", "lazy", "eager"] = option(
        "prefetch",
        flag=True,
        help="When services start: prefetch, together once collection has ended; lazy, when a test first asks; eager, with "
        "pytest itself, those that the configuration speaks of.",
    )
    missing: Literal["fail", "skip"] = option(
        "fail",
        flag=True,
        help="What becomes of a test whose service cannot be had: fail or skip. Under CI, skip counts on the command line only.",
    )
    reuse: bool = option(
        False, flag=True, help="Keep services for the next run of this project, and use those that an earlier run has kept."
    )
    reuse_ttl: float = option(1800.0, check=positive, help="Seconds that kept services wait for the next run before they end.")
    keep_failed: bool = option(
        False, flag=True, help="Keep the database of each failed test as the test has left it, and its server, to look into."
    )
    env: tuple[str, ...] = option(
        (),
        help="Addresses for applications, as environment variables NAME=text with {pg.url}, {rabbitmq.url} and others. "
        "With one of PostgreSQL tests commit for real, unless testbed_pg_isolation says otherwise.",
    )
    max_age: float = option(
        86400.0,
        check=positive,
        help="Seconds of silence after which a run in another container or on another machine counts as dead.",
    )
    cache_dir: Path | None = option(
        None,
        help="Directory for what later runs use again; without it: the user's cache directory, such as ~/.cache/pytest-testbed.",
    )
    data_dir: Path | None = option(
        None,
        help="Directory for the data of servers from local programs; without it: /dev/shm where there is room, else the "
        "temporary directory.",
    )


NO_TESTS = ("collectonly", "setupplan", "showfixtures", "show_fixtures_per_test", "cacheshow")
"""Options with which pytest makes a session and runs no test."""
ASKS = ("testbed", "_pg_test", "_pg_everywhere", "_rabbitmq_everywhere")
"""Fixtures of which a test that can talk to a service has one; the second alone where its application is bound, the others
where it has nothing but an exported address."""
ONLY_LOOKS = pytest.StashKey[bool]()
"""On the configuration: that the tests are only looked at, as with `--testbed-check-levels`."""
RUN: pytest.StashKey[Run] = pytest.StashKey()
"""Where the run is on `config.stash`, once anything asked for it."""
WORKER = pytest.StashKey[str]()
"""xdist's name of this process, where a controller has told it before the configuration knows it."""
ENVIRON = pytest.StashKey[dict[str, str]]()
"""The environment before the first test could change it."""
BAD_MARK = pytest.StashKey[str]()
"""What is wrong with a test's mark, on its stash, where it could not be said at once."""
REPORT = "testbed"
"""Where a worker of xdist puts what it has to tell."""


# --- options, marks, and parts that are switched off


def pytest_addhooks(pluginmanager: pytest.PytestPluginManager) -> None:
    """Make our hooks and our parts known.

    A `pytest_plugins` would have pytest read the metadata of every installed distribution once more.
    """
    from . import hookspecs

    pluginmanager.add_hookspecs(hookspecs)
    for name in PARTS:
        part = import_module(name)
        vars(part)["__dir__"] = lambda part=part: for_pytest(vars(part))
        pluginmanager.register(part, name)


@pytest.hookimpl(tryfirst=True)
def pytest_load_initial_conftests(early_config: pytest.Config) -> None:
    """Export addresses before any conftest is imported."""
    if said_early(early_config, "testbed_env"):
        from .exports import export

        export(early_config)


def sections() -> list[type[Section]]:
    """Return all option sections: keys of a part that is switched off may stay in an ini file."""
    return [CoreSettings, *(part.SECTION for part in map(import_module, PARTS) if hasattr(part, "SECTION"))]


def pytest_addoption(parser: pytest.Parser) -> None:
    """Declare the options."""
    register(parser, sections())


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    """Read the options once and register the marks, those of parts that are switched off as well."""
    for line in (*MARKS, *(line for name in PARTS for line in getattr(import_module(name), "MARKS", ()))):
        config.addinivalue_line("markers", line)
    if config.getoption("help", False):
        return  # who looks for the right name of an option must get to see it
    if not nothing_said(config, sections()):
        from .reading import check_unknown

        check_unknown(config, sections())
    parts = [config.pluginmanager.getplugin(name) for name in PARTS]  # None: switched off, its values do not count
    read = [CoreSettings, *(part.SECTION for part in parts if hasattr(part, "SECTION"))]
    config.stash[SETTINGS] = settings = Settings.from_config(config, read)
    if RUN in config.stash:
        with usage_errors():
            config.stash[RUN].settle(settings, settings[CoreSettings])
    if settings[CoreSettings].provider not in ("auto", *BUILT_IN):
        with usage_errors():
            run_of(config).check_provider()


def run_of(config: pytest.Config) -> Run:
    """Return the run with its services; a session without tests for them never comes here."""
    if RUN not in config.stash:
        from .session import Run

        settings = config.stash[SETTINGS]
        config.stash[RUN] = Run(config, settings, settings[CoreSettings])
    run = config.stash[RUN]
    run.environ = config.stash.get(ENVIRON, None)
    return run


def is_used(items: Sequence[pytest.Item]) -> bool:
    """Tell whether any test can talk to a service."""
    return any(name in getattr(item, "fixturenames", ()) for item in items for name in ASKS)


def configuration_error() -> type[Exception]:
    """Return the class of error; where none is raised, its file is not loaded."""
    from .errors import ConfigurationError

    return ConfigurationError


@contextmanager
def usage_errors() -> Iterator[None]:
    """Show a fault of the configuration as pytest shows its own."""
    try:
        yield
    except configuration_error() as error:
        raise pytest.UsageError(str(error)) from None


@contextmanager
def plain_errors(config: pytest.Config) -> Iterator[None]:
    """Show errors whose text says all without a traceback through our files; `--full-trace` shows it."""
    try:
        yield
    except plain_classes() as error:
        if config.getoption("fulltrace", False):
            raise
        # not `pytest.fail`: what led to the error is in its text, and would be shown once more
        text = "\n".join([f"{type(error).__name__}: {error}", *getattr(error, "__notes__", ())])
        raise pytest.fail.Exception(text, pytrace=False) from None


def plain_classes() -> tuple[type[Exception], ...]:
    """Return those errors' classes; where none is raised, their file is not loaded."""
    from .errors import (
        AppError,
        BrokerError,
        ConfigurationError,
        FactoryError,
        IsolationError,
        SchemaError,
        ServiceDied,
        StubError,
    )

    return (AppError, BrokerError, ConfigurationError, FactoryError, IsolationError, SchemaError, ServiceDied, StubError)


def pytest_report_header(config: pytest.Config) -> list[str]:
    """Show what differs from the defaults, and where it was said."""
    changed = config.stash[SETTINGS].changed()
    line = ["testbed: " + ", ".join(f"{key}={value} (from {source})" for key, value, source in changed)] if changed else []
    return [*line, *(passed_over(config).values() if is_controller(config) else ())]  # a controller does not collect


def passed_over(config: pytest.Config) -> dict[str, str]:
    """Return, by kind, the line on a general variable that names a server and was passed over, if the user wants to read."""
    parts = [part for part in map(config.pluginmanager.getplugin, PARTS) if hasattr(part, "KIND")]
    given = {part.KIND: config.stash.get(part.GIVEN, None) for part in parts if config.get_verbosity() >= 0}
    return {kind: f"testbed: {each.passed_over}" for kind, each in given.items() if each and each.passed_over}


# --- when services start


def runs_tests(config: pytest.Config) -> bool:
    """Tell whether this call of pytest will run tests."""
    return not (config.stash.get(ONLY_LOOKS, False) or any(config.getoption(name, False) for name in NO_TESTS))


def is_controller(config: pytest.Config) -> bool:
    """Tell whether this process only hands tests to xdist's workers."""
    return not is_worker(config) and config.getoption("dist", "no") != "no"


def is_worker(config: pytest.Config) -> bool:
    """Tell whether this process is one of xdist's workers."""
    return hasattr(config, "workerinput")


def worker_of(config: pytest.Config) -> str:
    """Return xdist's name of this process, or "main"; a pytest that runs inside of a worker's test is none."""
    return config.stash.get(WORKER, None) or str(getattr(config, "workerinput", {}).get("workerid", "main"))


def pytest_sessionstart(session: pytest.Session) -> None:
    """Start everything where that is asked for."""
    config = session.config
    if config.stash[SETTINGS][CoreSettings].start == "eager" and runs_tests(config) and not is_controller(config):
        with collection_errors(config):
            run_of(config).start_all()


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> Iterator[None]:
    """Let modules without services run first, after every other plugin has chosen and ordered."""
    before = list(items)
    result = yield
    if is_used(items):
        with collection_errors(config):
            run_of(config).order(before, items)
    return result


@pytest.hookimpl(tryfirst=True)
def pytest_collection_finish(session: pytest.Session) -> None:
    """Start what the selected tests want, while pytest goes on."""
    config = session.config
    config.stash[ENVIRON] = dict(os.environ)
    broken = session.testsfailed and not config.getoption("continue_on_collection_errors", False)
    if is_used(session.items) and runs_tests(config) and not broken:
        with collection_errors(config):
            run_of(config).prepare(session.items)


def pytest_report_collectionfinish(config: pytest.Config, items: Sequence[pytest.Item]) -> list[str]:
    """Say what is being started, or was kept; and where a general variable was passed over, if a test wants its kind."""
    lines = passed_over(config)
    wanted = set().union(*run_of(config).wanted(items).values()) if lines else ()
    return [
        *(line for kind, line in lines.items() if kind in wanted),
        *(config.stash[RUN].prospect() if RUN in config.stash else ()),
    ]


@contextmanager
def collection_errors(config: pytest.Config) -> Iterator[None]:
    """Show a kind that is wrongly described, where that can be done: in xdist's workers each test will."""
    try:
        with usage_errors():
            yield
    except pytest.UsageError:
        if not is_worker(config):
            raise


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Fail a test whose mark is wrong: in xdist's workers an error of usage would be one of pytest."""
    if (fault := item.stash.get(BAD_MARK, None)) is not None:
        pytest.fail(fault, pytrace=False)


# --- the end


@pytest.hookimpl(wrapper=True, trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> Iterator[None]:
    """End the services before the summary is written, so that it can tell what went wrong."""
    try:
        return (yield)
    finally:
        config = session.config
        if RUN in config.stash:
            run = config.stash[RUN]
            run.close()
            if is_worker(config):
                config.workeroutput[REPORT] = run.report()  # type: ignore[attr-defined]


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """Tell a worker of xdist what only the controller knows."""
    config: pytest.Config = node.config
    node.workerinput["testbed_dist"] = config.getoption("dist")
    if runs_tests(config):
        with usage_errors():
            node.workerinput["testbed_party"] = run_of(config).share()
    node.workerinput["testbed_skip"] = run_of(config).skip_is_typed()


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any, error: object) -> None:
    """Take over what a worker of xdist has to tell."""
    report = (getattr(node, "workeroutput", None) or {}).get(REPORT)
    if report:
        run_of(node.config).take_over(node.gateway.id, report)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Say which services were used, and what could not be removed."""
    if RUN not in config.stash:
        return
    run = config.stash[RUN]
    if config.get_verbosity() >= 0:
        details = run.details if config.get_verbosity() > 0 else []
        for line in (*run.lines, *details, *run.waits()):
            terminalreporter.write_line(f"testbed: {line}")
    for line in run.notices:
        terminalreporter.write_line(f"testbed: {line}")
    for fault in run.faults:
        terminalreporter.write_line(f"testbed: could not clean up: {fault}", red=True)


def pytest_unconfigure(config: pytest.Config) -> None:
    """End the services where the session never came to its finish."""
    if RUN in config.stash:
        config.stash[RUN].close()


# --- fixtures for users


@pytest.fixture(scope="session")
def testbed(pytestconfig: pytest.Config) -> Testbed:
    """All services of this run: `endpoint("postgres")` starts one, `logs("postgres")` reads its log.

    A service is started when it is first asked for. `kinds` are the names that are registered, those of plugins and conftests
    as well.

    See docs/how-to/other-kinds.md.
    """
    return run_of(pytestconfig).testbed


def for_pytest(names: Mapping[str, object]) -> list[str]:
    """Return what `dir()` tells of a plugin, its hooks and fixtures: pytest looks at each name twice, and closely."""
    return [name for name, value in names.items() if name.startswith("pytest_") or type(value) is type(testbed)]


def __dir__() -> list[str]:
    return for_pytest(globals())
