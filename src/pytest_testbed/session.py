"""One pytest run and its services: what the hooks of `plugin.py` hand on to."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from importlib import import_module
from typing import TYPE_CHECKING, Any

import pytest

from .errors import ConfigurationError, HostError, ServiceUnavailable, TestbedError
from .isolation import is_quiet
from .nearest import suggestion
from .plugin import PARTS
from .scheduling import modules_of, nobody_else_orders, quiet_modules_first, shares_fixtures_of_packages, wanted_kinds
from .settings import BUILT_IN

if TYPE_CHECKING:
    from .plugin import CoreSettings
    from .services.client import Party, Testbed
    from .services.model import Endpoint, ServiceSpec
    from .settings import Settings
    from .watch import Watch

__all__ = ["Run"]

WORTH_TELLING = 0.005
"""Seconds of waiting below which nobody needs to know."""
WATCH = "pytest_testbed.watch"
"""The name of the plugin that looks after tests with services."""


class Run:
    """The services of one pytest run.

    Args:
        config: pytest's; used for its hooks and its terminal.
        settings: the run's options.
        core: the section of options that are not a kind's.

    `environ` is what services see of the environment: one that starts inside a test must not see its patches.
    """

    def __init__(self, config: pytest.Config, settings: Settings, core: CoreSettings) -> None:
        self._config = config
        self._settings = settings
        self._core = core
        self._testbed: Testbed | None = None
        self._specs: dict[str, ServiceSpec] | None = None
        self.environ: Mapping[str, str] | None = None
        self.faults: list[str] = []
        self.lines: list[str] = []
        self.details: list[str] = []
        self.notices: list[str] = []
        """What is told also to who wants it quiet: something is left behind."""
        self.log_filters: dict[str, Callable[[str], str]] = {}
        """By kind: what takes other workers' lines out of a log."""
        self._coming: list[str] = []
        self.exported: set[str] = set()
        """Kinds whose addresses are in the environment: any test may use them that is not marked as a unit test."""
        self.watch: Watch | None = None
        self._waits: dict[str, list[float]] = {}
        self._shared: list[Any] | None = getattr(config, "workerinput", {}).get("testbed_party")

    @property
    def specs(self) -> Mapping[str, ServiceSpec]:
        """The kinds that plugins and the root conftest registered, by name.

        Raises:
            ConfigurationError: a hook gave something else.
        """
        if self._specs is None:
            self._specs = registered(self._config.hook.pytest_testbed_services(config=self._config), self._core.provider)
        return self._specs

    @property
    def testbed(self) -> Testbed:
        """The face of the engine; made when first needed."""
        if self._testbed is None:
            self._testbed = make_testbed(self)
        return self._testbed

    @property
    def waited(self) -> float:
        """Seconds for which this process has waited for services so far."""
        return sum(self._testbed.waited.values()) if self._testbed is not None else 0.0

    def settle(self, settings: Settings, core: CoreSettings) -> None:
        """Take over what pytest has read since the run began early, for exported addresses."""
        self._settings, self._core, self._specs = settings, core, None
        if self._testbed is not None:
            self._testbed.adopt(self.specs.values(), self._progress())

    # --- what the hooks hand on

    def wanted(self, items: Sequence[pytest.Item]) -> dict[pytest.Item, set[str]]:
        """Return the tests that will talk to the engine, each with the kinds that it is known to ask for."""
        found = wanted_kinds(items, list(self.specs.values()))
        if self.exported:
            for item in items:
                if not is_quiet(item):
                    found[item] = found.get(item, set()) | self.exported
        return found

    def order(self, before: Sequence[pytest.Item], items: list[pytest.Item]) -> None:
        """Put modules that need no service first, so that they hide the start of the others'.

        Args:
            before: the tests as they were collected; where the order of modules is another now,
                somebody had a reason, and it stays.
            items: the selected tests, sorted in place.
        """
        if self._core.start != "prefetch" or not (wanted := self.wanted(items)):
            return
        if not nobody_else_orders(self._config) or not self._scheduler_keeps_order() or shares_fixtures_of_packages(items):
            return
        selected = set(items)
        if modules_of(items) == modules_of(item for item in before if item in selected):
            items[:] = quiet_modules_first(items, wanted.__contains__)

    def _scheduler_keeps_order(self) -> bool:
        worker = getattr(self._config, "workerinput", None)
        return worker is None or worker.get("testbed_dist") == "load"

    def prepare(self, items: Sequence[pytest.Item]) -> None:
        """Start what the selected tests want, and load the code that they will need meanwhile."""
        wanted = self.wanted(items)
        if not wanted:
            return
        kinds = self._coming = sorted(set().union(*wanted.values()))
        if not self._config.pluginmanager.hasplugin(WATCH):
            from .watch import Watch

            self.watch = Watch(self, wanted)
            self._config.pluginmanager.register(self.watch, WATCH)
        with suppress(HostError):  # the fixtures will meet it, and tell it of each test
            if self._core.start == "lazy" or not kinds:
                self.testbed.connect()
            else:
                self.testbed.prefetch(kinds)
        for kind in kinds:
            load(self.specs[kind].imports)

    def start_all(self) -> None:
        """Start at once what the configuration speaks of (`testbed_start = eager`); the rest is started when tests want it."""
        if kinds := [kind for kind in self.specs if self._is_spoken_of(kind)]:
            self.testbed.prefetch(kinds)

    def _is_spoken_of(self, kind: str) -> bool:
        """Tell whether a kind has an option set, or an exported address, or is somebody's own: ours are always registered."""
        prefixes = [part.SECTION.section_prefix for part in map(import_module, PARTS) if kind == getattr(part, "KIND", "")]
        keys = tuple(f"testbed_{prefix}_" for prefix in prefixes)
        return not prefixes or kind in self.exported or any(key.startswith(keys) for key, _, _ in self._settings.changed())

    def close(self) -> None:
        """End the services, or leave them to the other workers, and keep what there is to tell about them."""
        if self._testbed is None and (self.is_worker or self._shared is None or not os.path.exists(self._shared[2])):
            return
        testbed, self._testbed = self.testbed, None
        self._shared = None
        for kind, endpoint in testbed.started.items():
            self.tell(self._line(testbed, kind, endpoint))
        for kind, seconds in testbed.waited.items():
            self._waits.setdefault(kind, []).append(seconds)
        try:
            if self.is_worker:
                testbed.hang_up()
            else:
                self.faults += testbed.close()
        except Exception as error:  # it must not stand before the tests' own failures
            self.faults.append(f"{error!r}")
        for note in testbed.notes:
            self.tell(note)
        self.details += testbed.details

    def _line(self, testbed: Testbed, kind: str, endpoint: Endpoint) -> str:
        age = testbed.age(kind)
        # a directory is for those who want to know more
        source = endpoint.source if self._config.get_verbosity() > 0 else endpoint.source.partition(f", {os.sep}")[0]
        where = f"{kind} {endpoint.version} ({endpoint.provider}, {source})"
        if age is not None:
            return f"{where} was there, started by another run {duration(age)} ago"
        how = f", {endpoint.how}" if endpoint.how else ""
        return f"{where} was ready after {endpoint.seconds:.2f} s{how}"

    def begin_log(self, kind: str, own_lines: Callable[[str], str]) -> None:
        """Let what a service has written so far be of no test, and of what follows only this worker's own lines."""
        self.log_filters[kind] = own_lines
        if self.watch is not None:
            self.watch.mark()

    def _notice(self, text: str) -> None:
        if text not in self.notices:
            self.notices.append(text)

    def prospect(self) -> list[str]:
        """Return a line on what is about to be used; empty where nobody wants to read that, or nothing is."""
        loud = self._config.get_verbosity() > 0 or (self._core.reuse and self._config.get_verbosity() == 0)
        if self._testbed is None or not self._coming or not loud or not self.starts_ahead:
            return []
        kinds = ", ".join(self._coming)
        if self._testbed.has_joined:
            return [f"testbed: {kinds}: the host process of another run is there (pid {self._testbed.client.pid})"]
        return [f"testbed: starting {kinds}"]

    def keep_services(self, endpoint: Endpoint) -> None:
        """Let the services stay after this run: a failed test's database on this server is to be looked at."""
        if not endpoint.is_ours:
            self._notice("databases of failed tests are kept until somebody drops them: the server is not ours")
            return
        self.testbed.keep(self._core.reuse_ttl)
        self._notice(
            f"databases of failed tests are kept, and their servers for {duration(self._core.reuse_ttl)}; "
            "`python -m pytest_testbed stop` ends them"
        )

    @property
    def is_worker(self) -> bool:
        """Whether this process is one of xdist's workers."""
        return hasattr(self._config, "workerinput")

    @property
    def starts_ahead(self) -> bool:
        """Whether services start before a test asks for them."""
        return self._core.start != "lazy"

    def take_part(self, party: list[Any] | None) -> None:
        """Have a part in the run of a controller that has told us so before pytest did."""
        self._shared = party

    def share(self) -> list[Any] | None:
        """Return what xdist's workers must know to have a part in this run; None where they cannot have one."""
        if self._shared is None:
            from .services.meeting import place_named

            run = os.urandom(6).hex()
            try:
                place = place_named(f"kept-{self.testbed.fingerprint()}" if self._core.reuse else run)
                self._testbed = None  # the one that ends the run has a part in it
            except ConfigurationError:
                return None  # each test will tell it
            self._shared = [run, os.getpid(), str(place.path) if place is not None else ""]
        return list(self._shared)

    def report(self) -> list[object]:
        """Return what a worker has to tell its controller."""
        return [self.lines, self.faults, self.details, self.notices, self._waits]

    def take_over(self, worker: str, report: Sequence[Any]) -> None:
        """Add what a worker has to tell, once where all say the same."""
        lines, faults, details, notices, waits = report
        for notice in notices:
            self._notice(notice)
        for line in lines:
            self.tell(line)
        self.faults += [f"{worker}: {fault}" for fault in faults]
        self.details += [f"{worker}: {detail}" for detail in details]
        for kind, seconds in waits.items():
            self._waits.setdefault(kind, []).extend(seconds)

    def waits(self) -> list[str]:
        """Return a line on how long tests waited for services, which no test was billed for."""
        parts = [
            f"{kind} {sum(seconds):.2f} s" + (f" ({len(seconds)} workers, {max(seconds):.2f} s at most)" if seconds[1:] else "")
            for kind, seconds in self._waits.items()
            if sum(seconds) >= WORTH_TELLING
        ]
        return [f"tests waited for {', '.join(parts)}"] if parts else []

    # --- settings that the testbed needs

    def check_provider(self) -> None:
        """Refuse a provider that is not built in and that nobody has.

        Raises:
            ConfigurationError: names the value, its source and the nearest provider.
        """
        name = self._core.provider
        if self._offered(name):
            return
        source = self._settings.source(type(self._core), "provider")
        raise ConfigurationError(
            f"testbed_provider = {name!r} (from {source}) is not one of {', '.join(('auto', *BUILT_IN))}, and no plugin "
            f"offers it{suggestion(name, ('auto', *BUILT_IN)) or '.'}"
        )

    def providers(self) -> dict[str, str]:
        """Return the providers that are not built in and that a kind is to be had from."""
        names = {spec.provider for spec in self.specs.values()} - {"auto", *BUILT_IN}
        found = {name: self._offered(name) for name in names}
        return {name: reference for name, reference in found.items() if reference}

    def _offered(self, name: str) -> str | None:
        reference: str | None = self._config.hook.pytest_testbed_provider(name=name)
        return reference

    def skip_where_missing(self) -> bool:
        """Tell whether a missing service skips; under CI only the command line may say so."""
        return self._core.missing == "skip" and not self.skip_is_overruled()

    def skip_is_overruled(self) -> bool:
        """Tell whether a skip was asked for in a way that does not count under CI."""
        in_ci = (os.environ if self.environ is None else self.environ).get("CI")
        return self._core.missing == "skip" and bool(in_ci) and not self.skip_is_typed()

    def tell(self, line: str) -> None:
        """Add a line to the summary, once."""
        if line not in self.lines:
            self.lines.append(line)

    def skip_is_typed(self) -> bool:
        """Tell whether it was this call of pytest that asked to skip: `addopts` is a file like any other."""
        worker = getattr(self._config, "workerinput", None)
        if worker is not None:
            return bool(worker.get("testbed_skip"))
        words = self._config.invocation_params.args
        return self._core.missing == "skip" and any("testbed-missing" in word or "testbed_missing" in word for word in words)

    @property
    def surroundings(self) -> dict[str, Any]:
        """Where and how the host process is to live: what `Testbed` takes besides the kinds."""
        return {
            "cache": str(self._core.cache_dir or ""),
            "data": str(self._core.data_dir or ""),
            "providers": self.providers(),
            "progress": self._progress(),
            "environ": self.environ,
            "directory": str(self._config.invocation_params.dir),
            "project": str(self._config.rootpath),
            "max_age": self._core.max_age,
            "reuse": self._core.reuse_ttl if self._core.reuse else None,
            "party": self._party(),
        }

    def _party(self) -> Party | None:
        from .services.client import Party

        if self._shared is None:
            return None
        run, owner, place = self._shared
        return Party(run=run, owner=owner, place=place)

    def _progress(self) -> Callable[[str], None] | None:
        reporter = self._config.pluginmanager.getplugin("terminalreporter")
        if reporter is None or not reporter.isatty or self._config.get_verbosity() < 0:
            return None
        capture = self._config.pluginmanager.getplugin("capturemanager")
        return LiveLine(reporter, capture.global_and_fixture_disabled if capture is not None else nullcontext).show


class LiveLine:
    """One line of a terminal that is written over while somebody waits.

    Args:
        reporter: pytest's `terminalreporter`.
        uncaptured: makes a context in which output is not captured: the wait is in a test or a fixture.
    """

    def __init__(self, reporter: Any, uncaptured: Callable[[], AbstractContextManager[None]]) -> None:
        self._reporter = reporter
        self._uncaptured = uncaptured
        self._length = 0

    def show(self, text: str) -> None:
        """Show a text in place of the last one; "" takes the line away."""
        if not text and not self._length:
            return
        shown = f"testbed: {text} …" if text else ""
        with self._uncaptured():
            if not self._length:
                self._reporter.ensure_newline()  # the line with the results of tests is not ours to write over
            self._reporter.write("\r" + " " * self._length + "\r" + shown, flush=True)
        self._length = len(shown)


def registered(found: Iterable[Iterable[ServiceSpec]], provider: str) -> dict[str, ServiceSpec]:
    """Return by name what the implementations of `pytest_testbed_services` gave.

    The nearest comes first, so that a conftest may describe a kind anew that a plugin has. A provider
    chosen for the run is that of all kinds which do not insist on one.

    Raises:
        ConfigurationError: one gave no list of `ServiceSpec`.
    """
    from .services.model import ServiceSpec

    specs: dict[str, ServiceSpec] = {}
    for given in found:
        some: list[object] = list(given) if isinstance(given, Iterable) else [given]
        for spec in some:
            if not isinstance(spec, ServiceSpec) or not isinstance(given, Iterable):
                raise ConfigurationError(f"the hook pytest_testbed_services must return a list of ServiceSpec, not {given!r}.")
            specs.setdefault(spec.kind, spec if spec.provider != "auto" else spec.with_(provider=provider))
    return specs


def load(modules: Iterable[str]) -> None:
    """Import modules ahead of their use; what goes wrong will be said by the fixture that needs them."""
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a library's own affairs, in a place where nobody asked for it
        for module in modules:
            with suppress(Exception):
                import_module(module)


def known_error(excinfo: pytest.ExceptionInfo[BaseException]) -> bool:
    """Tell whether a traceback through our files says nothing, for `__tracebackhide__`."""
    return excinfo.errisinstance(TestbedError)


def duration(seconds: float) -> str:
    """Return a length of time for people."""
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"


def make_testbed(run: Run) -> Testbed:
    """Return the engine's face, with pytest's way to skip."""
    from .services.client import Testbed

    class PytestTestbed(Testbed):
        def endpoint(self, kind: str) -> Endpoint:
            __tracebackhide__ = known_error
            try:
                return super().endpoint(kind)
            except ServiceUnavailable as error:
                if run.skip_where_missing():
                    run.tell(f"{kind} is missing, so tests that need it were skipped; -rs shows why")
                    pytest.skip(str(error))
                if run.skip_is_overruled():
                    run.tell("testbed_missing = skip counts under CI only where the command line says it")
                raise

    PytestTestbed.__name__ = PytestTestbed.__qualname__ = "Testbed"
    return PytestTestbed(run.specs.values(), **run.surroundings)
