"""The real WireMock beside ours: the same mapping files in both, the same bytes sent to both, what came back."""

from __future__ import annotations

import http.client
import json
import shutil
import socket
import subprocess
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from pytest_testbed.http.mappings import read_folders
from pytest_testbed.http.services import MockServices, TestServices

JAVA = ("java", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-Xmx128m")
UNTIL_END_OF_INPUT = '"$@" & cat; kill -9 $!'
"""Ends the command as soon as nobody holds the other end of its input: also where this process is killed."""
SERVICE = "shop"
TIMEOUT = 20.0
OWN_HEADERS = {
    "date",
    "server",
    "connection",
    "content-length",
    "transfer-encoding",
    "matched-stub-id",
    "matched-stub-name",
    "vary",
}
"""What a server says of itself, or of the way in which it sends a body."""


def why_not() -> str:
    """Return why the real WireMock cannot be had; "" where it can."""
    if shutil.which("java") is None:
        return "there is no java"
    return "" if find_spec("wiremock") is not None else "the package wiremock, which has WireMock's jar, is not installed"


def jar() -> Path:
    """Return WireMock's jar."""
    found = find_spec("wiremock")
    assert found is not None
    assert found.origin is not None
    return next((Path(found.origin).parent / "server").glob("wiremock-standalone-*.jar"))


# --- what is sent


@dataclass(frozen=True)
class Ask:
    """A request: sent byte by byte as it is said here."""

    target: str = "/x"
    method: str = "GET"
    headers: Sequence[tuple[str, str]] = ()
    body: bytes = b""
    is_last: bool = True
    """Whether the connection is to be closed after it."""

    def __str__(self) -> str:
        return " ".join(map(str, filter(None, (self.method, self.target, dict(self.headers), self.body))))

    def raw(self) -> bytes:
        """Return its bytes."""
        lines = [f"{self.method} {self.target} HTTP/1.1", "Host: shop.test"]
        lines += ["Connection: close"] if self.is_last else []
        lines += [f"{name}: {value}" for name, value in self.headers]
        if self.body or self.method in ("POST", "PUT", "PATCH"):
            lines.append(f"Content-Length: {len(self.body)}")
        return "\r\n".join([*lines, "", ""]).encode() + self.body


@dataclass(frozen=True)
class Outcome:
    """What came back: an answer, or the kind of failure that a client sees."""

    status: int = 0
    reason: str = ""
    headers: Mapping[str, Sequence[str]] = field(default_factory=dict)
    body: bytes = b""
    failure: str = ""

    @property
    def short(self) -> int | str:
        """The status or the failure."""
        return self.failure or self.status


def send(port: int, ask: Ask) -> Outcome:
    """Send a request and read what comes back."""
    with closing(socket.create_connection(("127.0.0.1", port), TIMEOUT)) as connection:
        connection.sendall(ask.raw())
        try:
            with closing(http.client.HTTPResponse(connection, method=ask.method)) as response:
                response.begin()
                body = response.read()
                headers: dict[str, list[str]] = {}
                for name, value in response.getheaders():
                    if name.lower() not in OWN_HEADERS:
                        headers.setdefault(name.lower(), []).append(value)
                return Outcome(response.status, response.reason, headers, body)
        except http.client.RemoteDisconnected:  # a kind of reset to its class
            return Outcome(failure="empty")
        except ConnectionResetError:
            return Outcome(failure="reset")
        except http.client.BadStatusLine:
            return Outcome(failure="garbage")
        except (http.client.IncompleteRead, ValueError):
            return Outcome(failure="broken off")


# --- the servers


class Real:
    """The real WireMock, with its directory of mappings."""

    def __init__(self, port: int) -> None:
        self.port = port

    def begin(self) -> str:
        """Read the mappings anew; returns what is wrong with them."""
        admin = http.client.HTTPConnection("127.0.0.1", self.port, timeout=TIMEOUT)
        with closing(admin):
            for path in ("/__admin/scenarios/reset", "/__admin/mappings/reset"):
                admin.request("POST", path)
                response = admin.getresponse()
                text = response.read().decode()
                if response.status != 200:
                    return text
        return ""


@contextmanager
def real_wiremock(root: Path) -> Iterator[Real]:
    """Run the real WireMock on a directory."""
    options = ("--port", "0", "--bind-address", "127.0.0.1", "--root-dir", str(root), "--disable-banner")
    command = ("sh", "-c", UNTIL_END_OF_INPUT, "sh", *JAVA, "-jar", str(jar()), *options)
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        with process.stdin:
            said = []
            for line in process.stdout:
                said.append(line)
                if line.startswith("port:"):
                    break
            else:
                raise AssertionError(f"WireMock did not start:\n{''.join(said)}")
            threading.Thread(target=process.stdout.read, daemon=True).start()  # else it would wait once the pipe is full
            yield Real(int(line.split()[1]))


class Both:
    """Both servers; the directory of the real one is the folder of our service.

    Args:
        real: the real one; without it ours is asked alone.
        root: the directory.
    """

    def __init__(self, real: Real | None, root: Path) -> None:
        self.real, self.root = real, root
        self._services: MockServices | None = None
        self.test: TestServices | None = None
        self.port = 0

    def load(self, files: Mapping[str, Any], bodies: Mapping[str, bytes] | None = None) -> None:
        """Give both the same files: mappings by name, and bodies that they name."""
        for folder, contents in (("mappings", files), ("__files", bodies or {})):
            shutil.rmtree(self.root / folder, ignore_errors=True)
            (self.root / folder).mkdir(parents=True)
            for name, content in contents.items():
                path = self.root / folder / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(content if isinstance(content, bytes) else json.dumps(content, indent=2).encode())
        if self.real is not None:
            assert not (wrong := self.real.begin()), wrong
        self._services = MockServices(read_folders([self.root.parent], "testbed_stubs"))
        self.test = self._services.begin("test", lambda served, book: None)
        self.port = self.test(SERVICE).port

    def ask(self, ask: Ask) -> tuple[Outcome, Outcome]:
        """Return what the real one answers, and what ours does."""
        ours = send(self.port, ask)
        return send(self.real.port, ask) if self.real is not None else ours, ours

    def close(self) -> None:
        """End ours; the real one stays."""
        if self._services is not None:
            if self.test is not None:
                self.test.end()
            self._services.close()
