"""One pytest run and its services: what the hooks of `plugin.py` hand on to."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from importlib import import_module
from typing import TYPE_CHECKING

import pytest

from .errors import ServiceUnavailable
from .scheduling import may_reorder, quiet_modules_first, wanted_kinds
from .settings import Settings

if TYPE_CHECKING:
    from .plugin import CoreSettings
    from .services.client import Testbed
    from .services.model import Endpoint, ServiceSpec

__all__ = ["Run"]


class Run:
    """The services of one pytest run.

    Args:
        config: pytest's; used for its hooks and its terminal.
        settings: the run's options.
        core: the section of options that are not a kind's.
    """

    def __init__(self, config: pytest.Config, settings: Settings, core: CoreSettings) -> None:
        self._config = config
        self._settings = settings
        self._core = core
        self._testbed: Testbed | None = None
        self._specs: list[ServiceSpec] | None = None
        self.faults: list[str] = []
        self.lines: list[str] = []

    @property
    def specs(self) -> list[ServiceSpec]:
        """The kinds that plugins and the root conftest registered."""
        if self._specs is None:
            self._specs = [spec for specs in self._config.hook.pytest_testbed_services(config=self._config) for spec in specs]
        return self._specs

    @property
    def testbed(self) -> Testbed:
        """The face of the engine; made when first needed."""
        if self._testbed is None:
            self._testbed = make_testbed(self)
        return self._testbed

    # --- what the hooks hand on

    def order(self, items: list[pytest.Item]) -> None:
        """Put modules that need no service first, so that they hide the start of the others'."""
        wanting = {item for item in items if "testbed" in getattr(item, "fixturenames", ())}
        if wanting and self._core.start == "prefetch" and may_reorder(self._config):
            items[:] = quiet_modules_first(items, lambda item: item in wanting)

    def prepare(self, items: Sequence[pytest.Item]) -> None:
        """Start what the selected tests want, and load the code that they will need meanwhile."""
        kinds = sorted(set().union(*(wanted_kinds(item, self.specs) for item in self._wanting(items))))
        if not kinds:
            return
        if self._core.start == "lazy":
            self.testbed.connect()
        else:
            self.testbed.prefetch(kinds)
        for spec in self.specs:
            if spec.kind in kinds:
                for module in spec.imports:
                    with suppress(ImportError):  # the fixture that needs it will say so
                        import_module(module)

    def start_all(self) -> None:
        """Start every kind at once (`testbed_start = eager`)."""
        if self._core.start == "eager":
            self.testbed.prefetch(spec.kind for spec in self.specs)

    def close(self) -> None:
        """End the services and keep what there is to tell about them."""
        if self._testbed is None:
            return
        testbed, self._testbed = self._testbed, None
        for kind, endpoint in testbed.started.items():
            where = f"{endpoint.provider}, {endpoint.source}"
            waited = testbed.waited.get(kind, 0.0)
            self.lines.append(
                f"{kind} {endpoint.version} ({where}) was ready after {endpoint.seconds:.2f} s, tests waited {waited:.2f} s"
            )
        self.lines += testbed.notes
        self.faults += testbed.close()

    @staticmethod
    def _wanting(items: Sequence[pytest.Item]) -> list[pytest.Item]:
        return [item for item in items if "testbed" in getattr(item, "fixturenames", ())]

    # --- settings that the testbed needs

    def providers(self) -> dict[str, str]:
        """Return a provider that is not built in, where one is chosen."""
        names = {self._core.provider, *(spec.provider for spec in self.specs)} - {"auto", "external", "docker", "local"}
        found = {name: self._config.hook.pytest_testbed_provider(name=name) for name in names}
        return {name: reference for name, reference in found.items() if reference}

    def skip_where_missing(self) -> bool:
        """Tell whether a missing service skips; under CI only the command line may say so."""
        if self._core.missing != "skip":
            return False
        source = self._settings.source(type(self._core), "missing")
        return source == "the command line" or not os.environ.get("CI")

    @property
    def directories(self) -> dict[str, str]:
        """The directories that the user chose, or ""."""
        return {"cache": str(self._core.cache_dir or ""), "data": str(self._core.data_dir or "")}

    def progress(self) -> Callable[[str], None] | None:
        """Return what shows a line while somebody waits, or None where nobody looks."""
        reporter = self._config.pluginmanager.getplugin("terminalreporter")
        if reporter is None or not getattr(reporter, "isatty", False) or not sys.__stdout__:
            return None
        return LiveLine(reporter.write).show


class LiveLine:
    """One line of a terminal that is written over."""

    def __init__(self, write: Callable[..., None]) -> None:
        self._write = write
        self._length = 0

    def show(self, text: str) -> None:
        """Show a text in place of the last one; "" takes the line away."""
        if not text and not self._length:
            return
        shown = f"testbed: {text} …" if text else ""
        self._write("\r" + " " * self._length + "\r" + shown, flush=True)
        self._length = len(shown)


def make_testbed(run: Run) -> Testbed:
    """Return the engine's face, with pytest's way to skip."""
    from .services.client import Testbed

    class PytestTestbed(Testbed):
        def endpoint(self, kind: str) -> Endpoint:
            try:
                return super().endpoint(kind)
            except ServiceUnavailable as error:
                if run.skip_where_missing():
                    pytest.skip(str(error))
                raise

    return PytestTestbed(
        run.specs, **run.directories, providers=run.providers(), progress=run.progress()
    )
