"""Which hosts are this machine's or allowed; who asks for a connection."""

from __future__ import annotations

import asyncio
import socket
import sys
from ipaddress import ip_address
from pathlib import Path

import pytest

from pytest_testbed.errors import HostBlocked, StubError
from pytest_testbed.http import block, bridge, given, machine
from pytest_testbed.http.block import Guard
from pytest_testbed.http.callers import Caller, caller_of, request_in
from pytest_testbed.http.exchange import Exchange
from pytest_testbed.http.places import Place, Places, is_loopback


@pytest.mark.parametrize(
    "host",
    ["localhost", "LOCALHOST.", "a.localhost", "127.0.0.1", "127.9.9.9", "::1", "[::1]", "::ffff:127.0.0.1", "0.0.0.0", "::"],
)
def test_loopback(host: str) -> None:
    assert is_loopback(host)


@pytest.mark.parametrize("host", ["localhost.example", "notlocalhost", "128.0.0.1", "127.0.0.1.example", "", "fe80::1%lo"])
def test_no_loopback(host: str) -> None:
    assert not is_loopback(host)


@pytest.mark.parametrize(
    ("text", "host", "port", "is_in"),
    [
        ("a.example", "A.example.", 1, True),
        ("a.example", "b.a.example", 1, False),
        ("*.example", "b.a.example", 1, True),
        (".example", "a.example", 1, True),
        ("*.example", "example", 1, False),
        ("a.example:80", "a.example", 80, True),
        ("a.example:80", "a.example", 81, False),
        ("a.example:80", "a.example", None, True),
        ("10.0.0.0/8", "10.255.0.1", 1, True),
        ("10.0.0.7/8", "10.255.0.1", 1, True),
        ("10.0.0.0/8", "11.0.0.1", 1, False),
        ("10.0.0.0/8", "ten.example", 1, False),
        ("10.0.0.1:80", "10.0.0.1", 80, True),
        ("10.0.0.1:80", "10.0.0.1", 81, False),
        ("fe80::/10", "fe80::1", 1, True),
        ("fe80::1", "fe80::1%eth0", 1, True),
        ("[fe80::1]:80", "fe80::1", 81, False),
    ],
)
def test_places(text: str, host: str, port: int | None, is_in: bool) -> None:
    assert Places([Place.from_text(text)]).has(host, port) is is_in


@pytest.mark.parametrize(
    "text", ["https://a.example", "a.example/x", "a.example:http", "a.example:70000", "10.0.0.0/99", "*", "a!"]
)
def test_no_place(text: str) -> None:
    with pytest.raises(ValueError, match="^holds "):
        Place.from_text(text)


def test_urls() -> None:
    places = Places([Place.from_text("a.example:8443")], lambda: ["services.example"])
    for url in (
        "http+docker://x/y",
        "http+unix://%2Fx/y",
        "https://a.example:8443/",
        "amqp://services.example",
        "http://u:p@[::1]:80/",
    ):
        assert places.lead_to(url)
    for url in ("https://a.example/", "https://b.example/", "http://[::1/", "x", "http://b.example/@localhost"):
        assert not places.lead_to(url)


ROUTES = """Iface Destination Gateway Flags RefCnt Use Metric Mask MTU Window IRTT
eth0 00000000 010011AC 0003 0 0 0 00000000 0 0 0
docker0 000011AC 00000000 0001 0 0 0 0000FFFF 0 0 0
eth0 0002A8C0 00000000 0001 0 0 0 00FFFFFF 0 0 0
eth1 0002A8C0
eth1 00000000 0101140A 0003 0 0 0 00000000 0 0 0
"""


@pytest.mark.skipif(sys.byteorder != "little", reason="the table is in the byte order of the machine")
@pytest.mark.parametrize("within", [False, True])
def test_networks_of_containers(within: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "route").write_text(ROUTES)
    monkeypatch.setattr(machine, "ROUTES", tmp_path / "route")
    monkeypatch.setattr(machine, "IN_CONTAINER", (str(tmp_path) if within else str(tmp_path / "no"),))
    assert machine.is_of_containers(ip_address("172.17.5.5"))
    assert machine.is_of_containers(ip_address("192.168.2.9")) is within
    assert machine.is_of_containers(ip_address("10.20.1.1")) is within, "a gateway is the machine that the container is on"
    assert not machine.is_of_containers(ip_address("8.8.8.8"))
    assert not machine.is_of_containers(ip_address("2001:db8::1"))


def test_engines(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in machine.ENGINE_VARIABLES:
        monkeypatch.delenv(name, raising=False)
    assert machine.engine_hosts() == []
    monkeypatch.setenv("DOCKER_HOST", "unix:///run/docker.sock")
    assert machine.engine_hosts() == []
    monkeypatch.setenv("DOCKER_HOST", "ssh://me@build.example")
    monkeypatch.setenv("TC_HOST", "other.example")
    assert machine.engine_hosts() == ["build.example", "other.example"]


def test_an_engine_that_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", "tcp://build.example:2375")
    guard = Guard(Places(), "test")
    guard.heard("socket.getaddrinfo", ("build.example", 2375, 0, 0, 0))
    with pytest.raises(ConnectionError):
        guard.heard("socket.getaddrinfo", ("other.example", 2375, 0, 0, 0))


def test_containers_reach_their_neighbours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bridge, "_address_of", lambda name: None)
    monkeypatch.setattr(bridge, "IN_CONTAINER", (str(tmp_path),))
    monkeypatch.setattr(socket, "gethostbyname", lambda name: "10.88.0.7")
    assert bridge.address_for_containers() == ("10.88.0.7", "10.88.0.7")

    def unknown(name: str) -> str:
        raise OSError("no such name")

    monkeypatch.setattr(socket, "gethostbyname", unknown)
    with pytest.raises(StubError, match=r"has no address \(no such name\)"):
        bridge.address_for_containers()
    monkeypatch.setattr(bridge, "IN_CONTAINER", ())
    with pytest.raises(StubError, match="looked for the bridges"):
        bridge.address_for_containers()


@pytest.mark.parametrize("url", ["http://", "http://:8000/x", "http://a.example:0"])
def test_a_base_url_that_is_none(url: str) -> None:
    found = given.given_url(None, "", {"BASE_URL": url})
    assert found.url is None
    assert "BASE_URL cannot be understood (it is not of the form http://host:8000) and is passed over" in found.passed_over


def test_an_address_of_an_allowed_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """The look-up of a name is heard before its answer is known."""
    guard = Guard(Places([Place.from_text("pay.example")]), "test")
    found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("198.51.100.4", 0))]
    monkeypatch.setattr(block.socket, "getaddrinfo", lambda *_: found)
    with socket.socket() as sock:
        with pytest.raises(ConnectionError):
            guard.heard("socket.connect", (sock, ("198.51.100.4", 80)))
        guard.heard("socket.getaddrinfo", ("pay.example", 80, 0, 0, 0))
        guard.heard("socket.connect", (sock, ("198.51.100.4", 80)))
        with pytest.raises(ConnectionError):
            guard.heard("socket.connect", (sock, ("198.51.100.5", 80)))


def test_what_leads_nowhere_is_not_refused() -> None:
    guard = Guard(Places(), "test")
    with socket.socket(socket.AF_UNIX) as local, socket.socket(type=socket.SOCK_DGRAM) as datagrams, socket.socket() as sock:
        guard.heard("socket.connect", (local, "/run/x"))
        guard.heard("socket.connect", (datagrams, ("198.51.100.4", 80)))
        guard.heard("socket.sendmsg", (sock, None))
        guard.heard("socket.sendto", (datagrams, ("<broadcast>", 80)))
        with pytest.raises(HostBlocked):
            guard.heard("socket.sendto", (datagrams, ("198.51.100.4", 80)))
        with pytest.raises(HostBlocked):
            guard.heard("socket.connect", (sock, (b"198.51.100.4", 80)))


def test_what_is_done_about_a_refusal_is_not_refused_itself() -> None:
    told: list[str] = []

    def tell(exchange: Exchange) -> None:
        told.append(exchange.url)
        guard.heard("socket.getaddrinfo", ("log.example", 80))

    guard = Guard(Places(), "test")
    guard._tell = tell
    with pytest.raises(HostBlocked, match="to reach pay.example:443"):
        guard.heard("socket.getaddrinfo", ("pay.example", 443))
    assert told == ["pay.example:443"]
    with pytest.raises(HostBlocked, match="to reach log.example"):
        guard.heard("socket.getaddrinfo", ("log.example", 80))


def test_names_that_a_loop_looks_up_are_those_of_the_guard_that_is_on(monkeypatch: pytest.MonkeyPatch) -> None:
    async def answer(loop: object, host: object, port: object, **more: object) -> str:
        return f"{host}:{port}"

    def look_up() -> object:
        return asyncio.run(asyncio.BaseEventLoop.getaddrinfo(None, "pay.example", 443))  # type: ignore[arg-type]

    monkeypatch.setattr(asyncio.BaseEventLoop, "getaddrinfo", answer)
    guard = Guard(Places(), "test")
    monkeypatch.setattr(Guard, "current", None)
    with block.loops_guarded(guard):
        assert look_up() == "pay.example:443"
        Guard.current = guard
        with pytest.raises(HostBlocked):
            look_up()
    assert look_up() == "pay.example:443"
    others = lambda *about: answer(*about)  # noqa: E731
    with block.loops_guarded(guard):
        monkeypatch.setattr(asyncio.BaseEventLoop, "getaddrinfo", others)
    assert asyncio.BaseEventLoop.getaddrinfo is others, "who has replaced it meanwhile keeps his own"


def test_asyncio_is_not_loaded_for_a_guard(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "asyncio")
    with block.loops_guarded(Guard(Places(), "test")):
        assert "asyncio" not in sys.modules


class Connection:
    """One of urllib3, or of http.client."""

    def __init__(self, host: object = "a.example", port: int = 80, scheme: str | None = None, default_port: int | None = None):
        self.host, self.port, self.scheme, self.default_port = host, port, scheme, default_port


@pytest.mark.parametrize(
    ("url", "connection", "whole"),
    [
        ("https://a.example/x", None, "https://a.example/x"),
        ("/x", Connection(), "http://a.example/x"),
        ("/x", Connection(port=8080), "http://a.example:8080/x"),
        ("/x", Connection(port=443, default_port=443), "https://a.example/x"),
        ("/x", Connection(port=443, scheme="https"), "https://a.example/x"),
        ("/x", Connection(port=80, scheme="https"), "https://a.example:80/x"),
        ("/x", Connection(host=None), ""),
        ("/x", None, ""),
        ("x", Connection(), ""),
        ("", Connection(), ""),
    ],
)
def test_the_request_of_a_client_that_has_its_parts(url: str, connection: Connection | None, whole: str) -> None:
    assert request_in({"method": "GET", "url": url, "self": connection}) == (("GET", whole) if whole else ("", ""))
    assert request_in({"method": None, "url": url, "self": connection}) == ("", "")


def test_who_asks() -> None:
    names = {"__name__": "requests.adapters", "caller_of": caller_of, "sys": sys}
    exec("def send(request): return caller_of(sys._getframe())", names)
    outer = {"__name__": "shop.payments", "send": names["send"]}
    exec("def charge(request): return send(request)", outer)
    client = {"__name__": "httpx", "charge": outer["charge"]}
    exec("def call(request): return charge(request)", client)

    class Request:
        method, url = "POST", "https://a.example/"

    assert client["call"](Request()) == Caller("requests", "POST", "https://a.example/")
    assert caller_of(sys._getframe()).package == __name__.partition(".")[0]
