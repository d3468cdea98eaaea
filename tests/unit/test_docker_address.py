"""Which engine is found, why none answers, and how its containers are reached; no engine is needed."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest

from pytest_testbed.services.model import Refusal
from pytest_testbed.services.providers import engine_address
from pytest_testbed.services.providers.engine_address import (
    Engine,
    EngineAddress,
    Placement,
    addresses,
    clock_ahead,
    connect,
    placement,
)

VERSION = b'{"ApiVersion": "1.41"}'
GOOD_ANSWER = b"HTTP/1.0 200 OK\r\nContent-Type: application/json\r\nContent-Length: 22\r\n\r\n" + VERSION
Serve = Callable[[Callable[[socket.socket], None]], str]


@pytest.fixture
def home(tmp_path: Path) -> dict[str, str]:
    """An environment without any docker settings."""
    return {"HOME": str(tmp_path), "XDG_RUNTIME_DIR": str(tmp_path / "runtime")}


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Serve a Unix socket; each connection is given to the function."""
    with contextlib.ExitStack() as stack:
        # tmp_path is too long for a socket on macOS, and closed to other users
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="tb-"))
        Path(folder).chmod(0o755)

        def start(talk: Callable[[socket.socket], None]) -> str:
            path = f"{folder}/{len(os.listdir(folder))}.sock"
            listener = stack.enter_context(socket.socket(socket.AF_UNIX))
            listener.bind(path)
            listener.listen()

            def converse(peer: socket.socket) -> None:
                with contextlib.suppress(OSError):
                    if peer.recv(1, socket.MSG_PEEK):  # else the client only looked whether someone listens
                        talk(peer)

            def accept() -> None:
                with contextlib.suppress(OSError):
                    while True:
                        peer = listener.accept()[0]
                        stack.callback(peer.close)
                        threading.Thread(target=converse, args=(peer,), daemon=True).start()

            threading.Thread(target=accept, daemon=True).start()
            stack.callback(listener.shutdown, socket.SHUT_RDWR)
            return path

        yield start


def answer(peer: socket.socket) -> None:
    peer.recv(4096)
    peer.sendall(GOOD_ANSWER)


def write_context(config: Path, name: str, url: str, *, tls: bool = False, skip: bool = False) -> Path:
    key = hashlib.sha256(name.encode()).hexdigest()
    meta = config / "contexts" / "meta" / key / "meta.json"
    meta.parent.mkdir(parents=True)
    meta.write_text(json.dumps({"Name": name, "Endpoints": {"docker": {"Host": url, "SkipTLSVerify": skip}}}))
    certificates = config / "contexts" / "tls" / key / "docker"
    if tls:
        certificates.mkdir(parents=True)
    return certificates


def only(found: list[EngineAddress] | Refusal) -> EngineAddress:
    assert isinstance(found, list), found
    assert len(found) == 1
    return found[0]


# --- which engine


def test_settings_win_in_the_order_of_the_docker_command(home: dict[str, str], tmp_path: Path) -> None:
    config = tmp_path / ".docker"
    write_context(config, "current", "tcp://current:1")
    write_context(config, "named", "tcp://named:1")
    (config / "config.json").write_text('{"currentContext": "current"}')
    assert only(addresses(home)).url == "tcp://current:1"
    assert only(addresses(home | {"DOCKER_CONTEXT": "named"})).url == "tcp://named:1"
    assert only(addresses(home | {"DOCKER_CONTEXT": "named", "DOCKER_HOST": "tcp://host:1"})).url == "tcp://host:1"


def test_docker_config_moves_the_contexts(home: dict[str, str], tmp_path: Path) -> None:
    write_context(tmp_path / "elsewhere", "mine", "unix:///mine.sock")
    (tmp_path / "elsewhere" / "config.json").write_text('{"currentContext": "mine"}')
    found = only(addresses(home | {"DOCKER_CONFIG": str(tmp_path / "elsewhere")}))
    assert (found.url, found.socket, found.source) == ("unix:///mine.sock", "/mine.sock", "docker context 'mine'")


@pytest.mark.parametrize(("skip", "verify"), [(False, "1"), (True, "")])
def test_the_certificates_of_a_context_are_handed_on(home: dict[str, str], tmp_path: Path, skip: bool, verify: str) -> None:
    certificates = write_context(tmp_path / ".docker", "safe", "tcp://far:2376", tls=True, skip=skip)
    assert only(addresses(home | {"DOCKER_CONTEXT": "safe"})).environment() == {
        "DOCKER_HOST": "tcp://far:2376",
        "DOCKER_CERT_PATH": str(certificates),
        "DOCKER_TLS_VERIFY": verify,
    }


def test_a_plain_context_does_not_turn_on_tls(home: dict[str, str], tmp_path: Path) -> None:
    write_context(tmp_path / ".docker", "plain", "tcp://far:2375")
    assert only(addresses(home | {"DOCKER_CONTEXT": "plain"})).environment() == {"DOCKER_HOST": "tcp://far:2375"}


def test_an_unknown_context_is_refused_by_name(home: dict[str, str]) -> None:
    refusal = addresses(home | {"DOCKER_CONTEXT": "gone"})
    assert isinstance(refusal, Refusal)
    assert "'gone'" in refusal.reason
    assert "DOCKER_CONTEXT" in refusal.reason
    assert "docker context use" in refusal.remedy


@pytest.mark.parametrize("text", ["", "{", "[]", '{"currentContext": ""}', '{"currentContext": "default"}'])
def test_a_config_without_a_context_leads_to_the_default_sockets(home: dict[str, str], tmp_path: Path, text: str) -> None:
    (tmp_path / ".docker").mkdir()
    (tmp_path / ".docker" / "config.json").write_text(text)
    found = addresses(home, "linux")
    assert isinstance(found, list)
    assert found[0].source == "default"


def test_default_sockets_that_exist_are_tried_in_order(home: dict[str, str], tmp_path: Path) -> None:
    tails = ["runtime/docker.sock", ".docker/run/docker.sock", ".docker/desktop/docker.sock"]
    tails += [".colima/default/docker.sock", ".rd/docker.sock", "runtime/podman/podman.sock"]
    for tail in reversed(tails):
        (tmp_path / tail).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / tail).touch()
    found = addresses(home, "linux")
    assert isinstance(found, list)
    ours = [each.socket for each in found if each.socket.startswith(str(tmp_path))]
    assert ours == [str(tmp_path / tail) for tail in tails]


def test_windows_has_a_pipe(home: dict[str, str]) -> None:
    assert only(addresses(home, "win32")).url == "npipe:////./pipe/docker_engine"


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("unix:///var/run/docker.sock", ""),
        ("npipe:////./pipe/docker_engine", ""),
        ("tcp://localhost:2375", ""),
        ("tcp://127.0.0.2:2375", ""),
        ("tcp://[::1]:2375", ""),
        ("tcp://docker:2375", "docker"),
        ("https://10.0.0.5:2376", "10.0.0.5"),
        ("ssh://me@build.example.org:22", "build.example.org"),
    ],
)
def test_only_other_machines_are_remote(url: str, host: str) -> None:
    assert EngineAddress(url=url, source="DOCKER_HOST").remote_host == host


# --- why none answers


def test_without_a_socket_it_is_refused_and_docker_not_imported(tmp_path: Path) -> None:
    code = (
        "import sys; from pytest_testbed.services.providers.engine_address import connect; r = connect();"
        "print(r.reason); print(r.remedy); print(*sorted({'docker', 'requests'} & set(sys.modules)))"
    )
    env = os.environ | {"HOME": str(tmp_path), "DOCKER_HOST": f"unix://{tmp_path}/none.sock"}
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True)
    reason, remedy, imported = done.stdout.split("\n")[:3]
    assert reason == f"no engine answers at unix://{tmp_path}/none.sock (DOCKER_HOST) (no such file)"
    assert "start Docker" in remedy
    assert imported == ""


def hang(peer: socket.socket) -> None:
    threading.Event().wait()


def drip(peer: socket.socket) -> None:
    while True:
        peer.sendall(b"H")  # each byte begins a socket's timeout anew
        threading.Event().wait(0.05)


@pytest.mark.parametrize("talk", [hang, drip])
def test_an_engine_that_hangs_is_given_up(serve: Serve, talk: Callable[[socket.socket], None]) -> None:
    pytest.importorskip("docker")  # its import is not part of the limit
    path, began = serve(talk), time.monotonic()
    refusal = connect({"DOCKER_HOST": f"unix://{path}"})
    assert 1.9 < time.monotonic() - began < 2.6
    assert isinstance(refusal, Refusal)
    assert f"unix://{path}" in refusal.reason
    assert "no answer within 2 s" in refusal.reason


def test_a_dead_socket_is_refused_as_such(serve: Serve) -> None:
    dead = serve(hang) + "x"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(dead)
    refusal = connect({"DOCKER_HOST": f"unix://{dead}"})
    assert isinstance(refusal, Refusal)
    assert "connection refused" in refusal.reason


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_missing_rights_are_told_with_their_remedy(serve: Serve) -> None:
    path = serve(answer)
    engine = connect({"DOCKER_HOST": f"unix://{path}"})  # and all modules are loaded now
    assert isinstance(engine, Engine)
    engine.api.close()
    os.chmod(path, 0)
    told, tell = os.pipe()
    if (child := os.fork()) == 0:  # rights do not bind root: become someone else
        try:
            if os.getuid() == 0:
                os.setuid(65534)
            refusal = connect({"DOCKER_HOST": f"unix://{path}"})
            os.write(tell, f"{refusal.reason}\n{refusal.remedy}".encode())  # type: ignore[union-attr]
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    reason, _, remedy = os.read(told, 9999).decode().partition("\n")
    os.close(told)
    os.close(tell)
    assert "permission denied" in reason
    assert "group `docker`" in remedy
    assert "rootless" in remedy


def test_tls_problems_are_told_as_such(serve: Serve, tmp_path: Path) -> None:
    def wants_tls(peer: socket.socket) -> None:
        peer.recv(4096)
        peer.sendall(b"HTTP/1.0 400 Bad Request\r\n\r\nClient sent an HTTP request to an HTTPS server.\n")
        peer.close()

    for environment in (
        {"DOCKER_HOST": "tcp://127.0.0.1:9", "DOCKER_TLS_VERIFY": "1", "DOCKER_CERT_PATH": str(tmp_path)},
        {"DOCKER_HOST": f"unix://{serve(wants_tls)}"},
    ):
        refusal = connect(environment)
        assert isinstance(refusal, Refusal)
        assert refusal.reason.startswith("TLS to the engine at")
        assert "DOCKER_CERT_PATH" in refusal.remedy


def test_a_speaker_of_nonsense_is_no_engine(serve: Serve) -> None:
    def nonsense(peer: socket.socket) -> None:
        peer.recv(4096)
        peer.sendall(b"HTTP/1.0 200 OK\r\n\r\nhello")
        peer.close()

    refusal = connect({"DOCKER_HOST": f"unix://{serve(nonsense)}"})
    assert isinstance(refusal, Refusal)
    assert "\n" not in refusal.reason
    assert len(refusal.reason) < 400


def test_a_dead_socket_does_not_hide_a_living_one(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    good = serve(answer)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(good + "x")
    both = [EngineAddress(url=f"unix://{path}", source="default") for path in (good + "x", good)]
    monkeypatch.setattr(engine_address, "addresses", lambda environment: both)
    engine = connect()
    assert isinstance(engine, Engine)
    engine.api.close()
    assert engine.address.socket == good


# --- how containers are reached


class FakeApi:
    """Knows one container and a bridge whose gateway is, or is not, ours."""

    def __init__(self, containers: dict[str, dict[str, object]], bridge: dict[str, str]) -> None:
        self.containers, self.bridge = containers, bridge

    def inspect_container(self, name: str) -> dict[str, object]:
        if name not in self.containers:
            raise OSError("no such container")
        return self.containers[name]

    def inspect_network(self, name: str) -> dict[str, object]:
        return {"IPAM": {"Config": [self.bridge]}}


def a_container(mode: str, *networks: str) -> dict[str, object]:
    return {
        "HostConfig": {"NetworkMode": mode},
        "NetworkSettings": {"Networks": dict.fromkeys(networks)},
        "State": {"Running": True},
    }


FAR_BRIDGE = {"Subnet": "192.0.2.0/24", "Gateway": "192.0.2.1"}  # TEST-NET-1: nobody's address


@pytest.fixture
def inside(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make this process look like one in the container `me`."""
    monkeypatch.setattr(engine_address.os.path, "exists", lambda path: path == "/.dockerenv")
    monkeypatch.setattr(engine_address, "_own_ids", lambda: iter(["other", "me"]))


def place(api: FakeApi, url: str = "unix:///var/run/docker.sock") -> Placement:
    return placement(Engine(address=EngineAddress(url=url, source="DOCKER_HOST"), api=api))


@pytest.mark.usefixtures("inside")
@pytest.mark.parametrize(
    ("containers", "network"),
    [
        ({"me": a_container("shop_default", "shop_default")}, "shop_default"),
        ({"me": a_container("container:app"), "app": a_container("net", "net")}, "net"),
        ({"me": a_container("none", "none")}, ""),
        ({}, ""),
    ],
)
def test_inside_a_container_services_join_its_network(containers: dict[str, dict[str, object]], network: str) -> None:
    assert place(FakeApi(containers, FAR_BRIDGE)) == Placement(publish="", host="", network=network)


@pytest.mark.usefixtures("inside")
@pytest.mark.parametrize("bridge", [{"Subnet": "127.0.0.0/8"}, {"Gateway": "127.0.0.1"}])
def test_beside_the_engine_ports_are_published_on_loopback(bridge: dict[str, str]) -> None:
    """With `--network host`, and where the engine runs in our own container."""
    api = FakeApi({"me": a_container("host", "host")}, bridge)
    assert place(api) == Placement(publish="127.0.0.1", host="127.0.0.1")


@pytest.mark.usefixtures("inside")
def test_a_remote_engine_publishes_on_its_own_host() -> None:
    assert place(FakeApi({}, FAR_BRIDGE), "tcp://docker:2375") == Placement(publish="0.0.0.0", host="docker")


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("mountinfo", "1 2 8:1 /var/lib/docker/containers/{id}/hostname /etc/hostname rw - ext4 /dev/sda1 rw\n"),
        ("mountinfo", "1 2 0:9 /x/overlay-containers/{id}/userdata/hosts /etc/hosts rw - tmpfs tmpfs rw\n"),
        ("cgroup", "4:memory:/docker/{id}\n"),
        ("cgroup", "0::/system.slice/docker-{id}.scope\n"),
    ],
)
def test_our_own_container_is_found_whatever_its_host_name(
    file: str, text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    layer = "f" * 64  # no container, though it looks like one
    (tmp_path / "mountinfo").write_text(f"1 2 0:1 / / rw - overlay overlay rw,upperdir=/o/overlay2/{layer}/diff\n")
    with (tmp_path / file).open("a") as stream:
        stream.write(text.format(id="a1" * 32))
    monkeypatch.setattr(socket, "gethostname", lambda: "laptop")
    monkeypatch.setattr(engine_address, "Path", lambda folder, name: tmp_path / name)
    assert list(engine_address._own_ids()) == ["a1" * 32]


def test_a_host_name_is_taken_for_an_id_only_where_it_looks_like_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "gethostname", lambda: "postgres")
    assert "postgres" not in list(engine_address._own_ids())
    monkeypatch.setattr(socket, "gethostname", lambda: "0123456789ab")
    assert next(engine_address._own_ids()) == "0123456789ab"


# --- its clock


class Clock:
    """An engine's interface that knows the time."""

    def __init__(self, said: str | None) -> None:
        self.said = said

    def info(self) -> dict[str, str]:
        if self.said is None:
            raise OSError("no engine")
        return {"SystemTime": self.said}


@pytest.mark.parametrize("hours", [-1, 1])
def test_a_remote_engines_clock_is_asked(hours: int) -> None:
    moment = datetime.fromtimestamp(time.time() + 3600 * hours, timezone(timedelta(hours=5)))
    said = moment.strftime("%Y-%m-%dT%H:%M:%S.%f") + "789+05:00"
    engine = Engine(address=EngineAddress(url="tcp://far:2375", source="a test"), api=Clock(said))
    assert abs(clock_ahead(engine) - 3600 * hours) < 1


@pytest.mark.parametrize("said", [None, "", "half past nine"])
def test_a_clock_that_cannot_be_read_is_taken_for_ours(said: str | None) -> None:
    assert clock_ahead(Engine(address=EngineAddress(url="tcp://far:2375", source="a test"), api=Clock(said))) == 0.0


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere engines run in a machine of their own")
def test_an_engine_on_this_machine_has_our_clock() -> None:
    engine = Engine(address=EngineAddress(url="unix:///x.sock", source="a test"), api=Clock("2020-01-01T00:00:00Z"))
    assert clock_ahead(engine) == 0.0
