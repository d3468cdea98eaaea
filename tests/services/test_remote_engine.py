"""An engine that is reached over TCP, as `DOCKER_HOST` names one: a relay on loopback stands for its port."""

from __future__ import annotations

import contextlib
import os
import socket
import socketserver
import threading
from collections.abc import Iterator
from typing import Any

import psycopg2
import pytest

from pytest_testbed import Testbed
from pytest_testbed.errors import ServiceUnavailable
from pytest_testbed.postgres.service import connection_parameters, postgres_spec
from pytest_testbed.services.providers.engine_address import Engine, connect
from tests.conftest import Servers

IMAGE = os.environ.get("TESTBED_TESTS_IMAGE", "postgres:18")


def pump(source: socket.socket, target: socket.socket) -> None:
    """Hand on what comes, and the end of it."""
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            target.sendall(data)
    with contextlib.suppress(OSError):
        target.shutdown(socket.SHUT_WR)


class Relay(socketserver.ThreadingTCPServer):
    """Hands each connection on to the engine's socket.

    Args:
        path: that socket.
    """

    daemon_threads = True

    def __init__(self, path: str) -> None:
        super().__init__(("127.0.0.1", 0), socketserver.BaseRequestHandler)
        self._path = path
        self.connections = 0

    def finish_request(self, request: Any, client_address: Any) -> None:
        """Serve one connection."""
        self.connections += 1
        with socket.socket(socket.AF_UNIX) as engine:
            engine.connect(self._path)
            back = threading.Thread(target=pump, args=(engine, request), daemon=True)
            back.start()
            pump(request, engine)
            back.join()

    @property
    def url(self) -> str:
        """What `DOCKER_HOST` says."""
        return f"tcp://127.0.0.1:{self.server_address[1]}"


@pytest.fixture
def engine(servers: Servers) -> Iterator[Engine]:
    """The engine by its socket, to look behind the relay; skips where there is none, or where it lacks the image."""
    servers.get("docker")
    found = connect()
    assert isinstance(found, Engine)
    with contextlib.closing(found.api):
        if not found.address.socket:
            pytest.skip("docker: the engine is reached over TCP already")
        yield found


@pytest.fixture
def relay(engine: Engine) -> Iterator[Relay]:
    """A port of this machine that leads to the engine."""
    with Relay(engine.address.socket) as relay:
        thread = threading.Thread(target=relay.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        yield relay
        relay.shutdown()
        thread.join()


def environ_with(relay_url: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("DOCKER_")}
    return {**kept, "DOCKER_HOST": relay_url}


def containers_of(engine: Engine, run: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = engine.api.containers(all=True, filters={"label": f"pytest-testbed.run={run}"})
    return found


def test_engine_over_tcp_serves_and_is_cleaned_up(relay: Relay, engine: Engine) -> None:
    with Testbed([postgres_spec(provider="docker", image=IMAGE)], environ=environ_with(relay.url)) as testbed:
        endpoint = testbed.endpoint("postgres")
        with contextlib.closing(psycopg2.connect(**connection_parameters(endpoint, endpoint.database))) as connection:
            cursor = connection.cursor()
            cursor.execute("SELECT 1")
            assert cursor.fetchone() == (1,)
        [container] = containers_of(engine, testbed.run)
        assert endpoint.provider == "docker"
        assert relay.connections > 0
        assert {port.get("IP") for port in container["Ports"] if "PublicPort" in port} <= {"127.0.0.1"}, (
            "an engine on loopback is this machine's: nobody else may reach its containers"
        )
    assert containers_of(engine, testbed.run) == []


def test_engine_that_is_gone_is_named_with_its_source() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # and does not listen
        url = f"tcp://127.0.0.1:{taken.getsockname()[1]}"
        with Testbed([postgres_spec(provider="docker", image=IMAGE)], environ=environ_with(url)) as testbed:
            with pytest.raises(ServiceUnavailable) as caught:
                testbed.endpoint("postgres")
    assert f"no engine answers at {url} (DOCKER_HOST)" in str(caught.value)


def test_engine_that_was_named_and_passed_over_is_told_of(servers: Servers) -> None:
    bindir = servers.any_local()._specs["postgres"].process.options["bindir"]  # type: ignore[union-attr]
    with Testbed([postgres_spec(bindir=bindir)], environ=environ_with("tcp://127.0.0.1:1")) as testbed:
        assert testbed.endpoint("postgres").provider == "local"
        assert any(note.startswith("docker was passed over, though DOCKER_HOST is set: no engine") for note in testbed.notes)
