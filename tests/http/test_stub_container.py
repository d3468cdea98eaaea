"""A mock service that a real container asks."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator

import pytest

from pytest_testbed.errors import StubError
from pytest_testbed.http.service import MockService
from pytest_testbed.http.services import MockServices

IMAGES = ("postgres:18", "rabbitmq:3", "postgres:15")
"""Any with bash will do."""
ASK = r"""
exec 3<>/dev/tcp/$HOST/$PORT
printf 'POST /reservations HTTP/1.1\r\nHost: inventory\r\nConnection: close\r\nContent-Length: 12\r\n\r\n{"count": 2}' >&3
cat <&3
"""


def docker(*arguments: str) -> str:
    done = subprocess.run(["docker", *arguments], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def image() -> str:
    if shutil.which("docker") is None:
        pytest.skip("docker: there is no such command")
    answered = subprocess.run(["docker", "image", "ls", "-q", "--no-trunc"], capture_output=True, text=True, check=False)
    if answered.returncode:
        pytest.skip(f"docker: {answered.stderr.strip()}")
    for name in IMAGES:
        if subprocess.run(["docker", "image", "inspect", name], capture_output=True, check=False).returncode == 0:
            return name
    pytest.skip(f"docker: none of the images {', '.join(IMAGES)} is there")


@pytest.fixture
def inventory(image: str) -> Iterator[MockService]:
    services = MockServices({})
    inventory = services.begin("test_it", lambda served, book: None)("inventory")
    try:
        yield inventory
    finally:
        services.close()


def test_a_container_asks(inventory: MockService, image: str) -> None:
    try:
        url = inventory.container_url
    except StubError as error:
        pytest.skip(str(error))
    inventory.stub("POST", "/reservations", status=201, json={"id": 7})
    _, host, port = url.replace("//", "").split(":")
    told = docker("run", "--rm", "-e", f"HOST={host}", "-e", f"PORT={port}", "--entrypoint", "bash", image, "-c", ASK)
    assert told.startswith("HTTP/1.1 201 Created")
    assert told.endswith('{"id": 7}')
    (request,) = inventory.verify("POST", "/reservations", json={"count": 2}, times=1)
    assert request.client[0] not in ("127.0.0.1", host)
    assert inventory.container_url == url
    assert inventory.url != url
