"""`testbed_http_block`: what tests may not reach, and what they may."""

from __future__ import annotations

import httpcore  # loaded once for all runs in here
import httpcore2
import httpx
import httpx2
import pytest
import requests
import responses
import respx

from .conftest import Project

LOADED = (httpcore, httpcore2, httpx, httpx2, requests, responses, respx)
BLOCK = ("-o", "testbed_http_block=true")

HEAD = """
import asyncio, socket, sys
import pytest

FAR = "203.0.113.7"  # an address of nobody

def tried(*address, kind=socket.SOCK_STREAM):
    with socket.socket(socket.AF_INET, kind) as sock:
        sock.setblocking(False)
        return sock.connect_ex(address)
"""


def run(project: Project, test: str, *args: str) -> pytest.RunResult:
    project.write(test_it=HEAD + test)
    return project.run(*BLOCK, *args)


def test_nobody_is_blocked_who_did_not_ask(project: Project) -> None:
    project.write(test_it=HEAD + "def test_it(http_mock): tried(FAR, 9)")
    project.run().assert_outcomes(passed=1)


@pytest.mark.parametrize(
    ("client", "code"),
    [
        ("requests", "requests.post('https://me:pw@far.example/v1?token=abc', json={})"),
        ("httpx", "httpx.post('https://me:pw@far.example/v1?token=abc', json={})"),
        ("httpx2", "httpx2.post('https://me:pw@far.example/v1?token=abc', json={})"),
        ("httpx", "asyncio.run(httpx.AsyncClient().post('https://me:pw@far.example/v1?token=abc'))"),
        ("urllib3", "urllib3.PoolManager(retries=False).request('POST', 'https://far.example/v1?token=abc')"),
        ("urllib.request", "urllib.request.urlopen('https://far.example/v1?token=abc', b'x')"),
        ("http.client", "http.client.HTTPSConnection('far.example').request('POST', '/v1?token=abc')"),
    ],
)
def test_the_error_names_client_and_request(project: Project, client: str, code: str) -> None:
    result = run(
        project,
        f"""
import http.client, urllib.request, httpx, httpx2, requests, urllib3

def test_it():
    with pytest.raises(Exception) as caught:
        {code}
    print("said:", caught.value)
    assert isinstance(caught.value, (OSError, httpx.HTTPError, httpx2.HTTPError, urllib3.exceptions.HTTPError))
    assert False
""",
        *("-W", "error", "-o", "testbed_http_allow=pay.example 10.0.0.0/8"),
    )
    result.assert_outcomes(failed=1)
    text = result.stdout.str()
    said = next(line for line in text.splitlines() if line.startswith("said:"))
    login = "me:***@" if "me:pw" in code and client != "requests" else ""
    assert f"{client} tried POST https://{login}far.example/v1?token=*** (far.example:443), which is not on this machine" in said
    assert "testbed_http_block, from -o on the command line" in said
    assert "what is named: pay.example, 10.0.0.0/8." in said
    for way_out in ("http_mock", "mock_service", "testbed_http_allow"):
        assert way_out in said
    assert f"{client}: POST https://{login}far.example/v1?token=*** → no answer (refused: testbed_http_block)" in text


def test_the_error_of_a_bare_socket(project: Project) -> None:
    run(
        project,
        """
from pytest_testbed.errors import HostBlocked

def test_it():
    for call in (
        lambda: tried(FAR, 9),
        lambda: socket.create_connection((FAR, 9)),
        lambda: socket.getaddrinfo("far.example", "https"),
        lambda: socket.gethostbyname("far.example"),
        lambda: socket.gethostbyname_ex("far.example"),
        lambda: asyncio.run(asyncio.open_connection(FAR, 9)),
        lambda: asyncio.run(asyncio.open_connection("far.example", 9)),
    ):
        with pytest.raises(HostBlocked, match=r"^(test_it|asyncio) tried to reach (203.0.113.7|far.example)(:9)?, ") as caught:
            call()
        assert isinstance(caught.value, ConnectionError)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        with pytest.raises(HostBlocked):
            sock.sendto(b"x", (FAR, 9))

def test_six():
    with socket.socket(socket.AF_INET6) as sock, pytest.raises(HostBlocked, match=r"\\[2001:db8::1\\]:9"):
        sock.connect(("2001:db8::1", 9))

def test_in_a_thread():
    from concurrent.futures import ThreadPoolExecutor
    with ThreadPoolExecutor() as pool, pytest.raises(HostBlocked):
        pool.submit(tried, FAR, 9).result()
""",
    ).assert_outcomes(passed=3)


def test_set_up_and_teardown_are_guarded_and_nothing_else(project: Project) -> None:
    project.write(
        conftest="""
        import socket
        def reach():
            with socket.socket() as sock:
                sock.setblocking(False)
                return sock.connect_ex(("203.0.113.7", 9))
        reach()
        def pytest_sessionfinish():
            reach()
        """
    )
    run(
        project,
        """
from conftest import reach

@pytest.fixture(scope="session")
def early():
    reach()

@pytest.fixture
def late():
    yield
    reach()

def test_early(early): pass
def test_late(late): pass
""",
    ).assert_outcomes(passed=1, errors=2)


def test_what_is_allowed(project: Project) -> None:
    run(
        project,
        """
@pytest.fixture
def own():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        try:
            sock.connect((FAR, 9))  # sends nothing
        except OSError:
            pytest.skip("this machine has no network")
        return sock.getsockname()[0]

def test_this_machine(own, tmp_path):
    for host in ("127.0.0.1", "localhost", own):
        with socket.create_server((host, 0)) as server, socket.create_connection(server.getsockname()):
            pass
    tried("0.0.0.0", 9)
    for name in (None, "", "localhost", "x.localhost", socket.gethostname(), FAR):
        try:
            socket.getaddrinfo(name, 80)
        except socket.gaierror:
            pass
    async def ask():
        server = await asyncio.start_server(lambda reader, writer: writer.close(), "localhost", 0)
        reader, writer = await asyncio.open_connection("localhost", server.sockets[0].getsockname()[1])
        writer.close()
        server.close()
    asyncio.run(ask())

def test_unix_sockets(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    with socket.socket(socket.AF_UNIX) as server, socket.socket(socket.AF_UNIX) as client:
        server.bind("it.sock")
        server.listen()
        client.connect("it.sock")

def test_named():
    for address in (("10.1.2.3", 9), ("203.0.113.9", 80), ("198.51.100.1", 8000), ("198.51.100.2", 9)):
        tried(*address)
    for address in (("203.0.113.9", 81), ("198.51.100.1", 8001)):
        with pytest.raises(ConnectionError, match="is not on this machine"):
            tried(*address)
""",
        *("-o", "testbed_http_allow=10.0.0.0/8 203.0.113.9:80 198.51.100.2", "-o", "testbed_app_url=http://198.51.100.1:8000"),
    ).assert_outcomes(passed=3)


def test_the_engine_and_services(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", "tcp://198.51.100.9:2375")
    run(
        project,
        """
def test_it():
    tried("198.51.100.9", 49153)
    tried("198.51.100.10", 5672)
    with pytest.raises(ConnectionError):
        tried("198.51.100.11", 9)
""",
        *("-o", "testbed_rabbitmq_url=amqp://guest:guest@198.51.100.10:5672/"),
    ).assert_outcomes(passed=1)


def test_with_http_mock(project: Project) -> None:
    result = run(
        project,
        """
import requests

@pytest.mark.http_mock(passthrough="https://far.example/")
def test_it(http_mock):
    http_mock.get("https://far.example/", body="stubbed")
    assert requests.get("https://far.example/").text == "stubbed"
    with pytest.raises(requests.ConnectionError, match="requests tried GET https://far.example/real"):
        requests.get("https://far.example/real")
""",
    )
    result.assert_outcomes(passed=1)


def test_a_client_of_docker(project: Project) -> None:
    result = run(
        project,
        """
def test_it(http_mock):
    import docker
    try:
        client = docker.from_env()
        version = client.version()
    except docker.errors.DockerException as error:
        assert "Responses" not in str(error) and "not on this machine" not in str(error)
        pytest.skip("no engine answers")
    assert version["Version"]
    assert len(http_mock.calls) == 0
    client.close()
""",
    )
    counts = result.parseoutcomes()
    assert counts.get("passed", 0) + counts.get("skipped", 0) == 1
    assert "failed" not in counts


def test_pytest_socket_beside_it(project: Project) -> None:
    pytest.importorskip("pytest_socket")
    run(
        project,
        """
import pytest_socket
from pytest_testbed.errors import HostBlocked

REAL = socket.socket

@pytest.mark.enable_socket
@pytest.mark.allow_hosts([FAR])
def test_what_it_allows_is_refused_still():
    with socket.socket() as sock, pytest.raises(HostBlocked):
        sock.connect((FAR, 9))

@pytest.mark.disable_socket
def test_it_refuses_as_well():
    with pytest.raises(pytest_socket.SocketBlockedError):
        socket.socket()

def test_is_put_back():
    assert socket.socket is REAL
""",
        *("-p", "pytest_socket", "--allow-unix-socket", "-W", "ignore:A test tried"),
    ).assert_outcomes(passed=3)


def test_functions_that_a_test_replaces(project: Project) -> None:
    run(
        project,
        """
REAL = socket.getaddrinfo, socket.create_connection, asyncio.BaseEventLoop.getaddrinfo

def test_replaces():
    asyncio.BaseEventLoop.getaddrinfo = "theirs"
    socket.getaddrinfo = lambda *args, **more: [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (FAR, 9))]
    with pytest.raises(ConnectionError, match="is not on this machine"):
        socket.create_connection(("localhost", 9))

def test_theirs_stay():
    assert asyncio.BaseEventLoop.getaddrinfo != "theirs"  # ours, for this test
    socket.getaddrinfo = REAL[0]

def test_ends():
    pass
""",
    )
    import asyncio

    try:
        assert asyncio.BaseEventLoop.getaddrinfo == "theirs"
    finally:
        asyncio.BaseEventLoop.getaddrinfo = REAL_LOOK_UP  # type: ignore[method-assign]


def _real() -> object:
    import asyncio

    return asyncio.BaseEventLoop.getaddrinfo


REAL_LOOK_UP = _real()


def test_afterwards_nothing_is_refused(project: Project) -> None:
    import socket

    run(project, "def test_it(): pass").assert_outcomes(passed=1)
    with socket.socket() as sock:
        sock.setblocking(False)
        sock.connect_ex(("203.0.113.7", 9))
    assert _real() is REAL_LOOK_UP


def test_under_xdist(project: Project) -> None:
    pytest.importorskip("xdist")
    project.write(test_it=HEAD + "@pytest.mark.parametrize('n', range(2))\ndef test_it(n):\n    tried(FAR, 9)")
    result = project.run_apart(*BLOCK, "-p", "xdist", "-n", "2")
    result.assert_outcomes(failed=2)
    assert "HostBlocked: test_it tried to reach 203.0.113.7:9" in result.stdout.str()


def test_the_part_switched_off(project: Project) -> None:
    run(project, "def test_it(): tried(FAR, 9)", "-p", "no:pytest_testbed.plugins.http").assert_outcomes(passed=1)
