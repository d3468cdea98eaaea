"""The server of a mock service, byte by byte."""

from __future__ import annotations

import errno
import os
import re
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from types import SimpleNamespace

import pytest

from pytest_testbed.errors import StubError
from pytest_testbed.http import bridge, serving
from pytest_testbed.http.answer import Answer
from pytest_testbed.http.book import Book, Served
from pytest_testbed.http.request import Request
from pytest_testbed.http.server import Site
from pytest_testbed.http.service import MockService
from pytest_testbed.http.services import MockServices, TestServices

OURS = "testbed mock services"


class Bed:
    """One test's services, and what was told of them."""

    def __init__(self) -> None:
        self.all = MockServices({})
        self.told: list[Served] = []
        self.heard = threading.Condition()
        self.services = self.begin("first")

    def begin(self, test: str) -> TestServices:
        return self.all.begin(test, self.note)

    def note(self, served: Served, book: Book) -> None:
        with self.heard:
            self.told.append(served)
            self.heard.notify_all()

    def wait_for(self, count: int) -> list[Served]:
        with self.heard:
            assert self.heard.wait_for(lambda: len(self.told) >= count, 30)
        return self.told


@pytest.fixture
def bed() -> Iterator[Bed]:
    bed = Bed()
    yield bed
    bed.all.close()
    assert [each for each in threading.enumerate() if each.name == OURS] == []


@pytest.fixture
def service(bed: Bed) -> MockService:
    service = bed.services("inventory")
    service.stub("ANY", "*", json={"a": 1})
    return service


def connect(service: MockService) -> socket.socket:
    return socket.create_connection((service.host, service.port), timeout=30)


def whole(connection: socket.socket) -> bytes:
    """Read until the server ends the connection."""
    parts = []
    while part := connection.recv(65536):
        parts.append(part)
    return b"".join(parts)


def say(service: MockService, text: bytes) -> bytes:
    """Say something, and no more; return all that is answered."""
    with closing(connect(service)) as connection:
        connection.sendall(text)
        with suppress(OSError):  # it may be reset by now
            connection.shutdown(socket.SHUT_WR)
        return whole(connection)


OK = b'HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 8\r\n\r\n{"a": 1}'


# --- HTTP as it should be


def test_keep_alive(service: MockService) -> None:
    with closing(connect(service)) as connection:
        for _ in range(3):
            connection.sendall(b"GET /a HTTP/1.1\r\nHost: h\r\n\r\n")
            assert connection.recv(65536) == OK
    assert [each.client for each in service.requests] == [service.requests[0].client] * 3


def test_the_test_s_own_default_of_time_outs_is_its_own(service: MockService) -> None:
    socket.setdefaulttimeout(0.01)
    try:
        with closing(connect(service)) as connection:
            threading.Event().wait(0.05)
            connection.sendall(b"GET /a HTTP/1.1\r\n\r\n")
            assert connection.recv(65536) == OK
    finally:
        socket.setdefaulttimeout(None)


def test_pipelining(service: MockService) -> None:
    assert (
        say(service, b"GET /a HTTP/1.1\r\n\r\nPOST /b HTTP/1.1\r\nContent-Length: 2\r\n\r\nxyGET /c HTTP/1.1\r\n\r\n") == OK * 3
    )
    assert [(each.method, each.target, each.body) for each in service.requests] == [
        ("GET", "/a", b""),
        ("POST", "/b", b"xy"),
        ("GET", "/c", b""),
    ]


def test_a_client_that_asks_to_close(service: MockService) -> None:
    with closing(connect(service)) as connection:
        connection.sendall(b"GET /a HTTP/1.1\r\nConnection: close\r\n\r\n")
        assert b"\r\nConnection: close\r\n" in whole(connection)


@pytest.mark.parametrize("more", [b"", b"Connection: keep-alive\r\n"])
def test_clients_of_http_1_0(service: MockService, more: bytes) -> None:
    with closing(connect(service)) as connection:
        connection.sendall(b"GET /a HTTP/1.0\r\n" + more + b"\r\n")
        if more:
            assert b"\r\nConnection: keep-alive\r\n" in connection.recv(65536)
            connection.sendall(b"GET /a HTTP/1.0\r\n\r\n")
        answer = whole(connection)
    assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
    assert b"\r\nConnection: close\r\n" in answer


def test_chunked_requests(service: MockService) -> None:
    head = b"POST /a HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n"
    assert say(service, head + b"3;x=y\r\nabc\r\nA\r\n0123456789\r\n0\r\nX-Trailer: 1\r\n\r\nGET /b HTTP/1.1\r\n\r\n") == OK * 2
    assert [each.body for each in service.requests] == [b"abc0123456789", b""]


def test_empty_lines_before_a_request_and_headers_that_go_on(service: MockService) -> None:
    assert say(service, b"\r\n\nGET /a HTTP/1.1\nX-A: b\n  c\n\n") == OK
    assert service.requests[0].headers.raw == (("X-A", "b c"),)


def test_expect_100_continue(service: MockService) -> None:
    with closing(connect(service)) as connection:
        connection.sendall(b"POST /a HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n")
        assert connection.recv(65536) == b"HTTP/1.1 100 Continue\r\n\r\n"
        connection.sendall(b"abc")
        assert connection.recv(65536) == OK
    assert service.requests[0].body == b"abc"


def test_head(service: MockService) -> None:
    assert say(service, b"HEAD /a HTTP/1.1\r\n\r\n") == OK.removesuffix(b'{"a": 1}')


@pytest.mark.parametrize("status", [204, 304])
def test_answers_without_a_body(bed: Bed, status: int) -> None:
    service = bed.services("x")
    service.stub("GET", "/a", status=status, body="not sent", headers={"ETag": '"1"'})
    answer = say(service, b"GET /a HTTP/1.1\r\n\r\n")
    assert answer.startswith(f"HTTP/1.1 {status} ".encode())
    assert b"Content-Length" not in answer
    assert b"not sent" not in answer
    assert b'ETag: "1"' in answer


def test_an_absolute_target(service: MockService) -> None:
    assert say(service, b"GET http://inventory/a?x=1 HTTP/1.1\r\nHost: inventory\r\n\r\n") == OK
    assert service.requests[0].target == "/a?x=1"


@pytest.mark.parametrize(("sent", "target"), [(b"//a", "//a"), ("/café".encode(), "/caf%C3%A9"), (b"/a%zz", "/a%zz")])
def test_odd_targets(service: MockService, sent: bytes, target: str) -> None:
    assert say(service, b"GET " + sent + b" HTTP/1.1\r\n\r\n") == OK
    assert service.requests[0].target == target


def test_a_head_of_many_lines(service: MockService) -> None:
    head = b"".join(b"X-%d: %b\r\n" % (number, b"v" * 600) for number in range(90))
    assert say(service, b"GET /a HTTP/1.1\r\n" + head + b"\r\n") == OK
    assert service.requests[0].headers["x-89"] == "v" * 600


def test_headers_of_an_answer_as_they_are_given(bed: Bed) -> None:
    service = bed.services("x")
    service.stub("GET", "/a", headers={"Set-Cookie": ["a=1", "b=2"], "X-N": 3, "X-L": "é"}, status=299)
    head = say(service, b"GET /a HTTP/1.1\r\n\r\n").split(b"\r\n")
    assert head[:5] == [b"HTTP/1.1 299 ", b"Set-Cookie: a=1", b"Set-Cookie: b=2", b"X-N: 3", b"X-L: \xe9"]


def test_a_recorded_answer_that_was_chunked(bed: Bed) -> None:
    service = bed.services("x")
    service.stub("GET", "/a", json={"a": 1}, headers={"Transfer-Encoding": "chunked"})
    service.stub("GET", "/b", headers={"Transfer-Encoding": "chunked"})
    assert say(service, b"GET /a HTTP/1.1\r\n\r\n").endswith(b'\r\n\r\n8\r\n{"a": 1}\r\n0\r\n\r\n')
    assert say(service, b"GET /b HTTP/1.1\r\n\r\n").endswith(b"\r\n\r\n0\r\n\r\n")


@pytest.mark.parametrize("headers", [{"Content-Length": "100"}, {"Connection": "close"}])
def test_answers_after_which_the_connection_ends(bed: Bed, headers: dict[str, str]) -> None:
    service = bed.services("x")
    service.stub("GET", "/a", body="abc", headers=headers)
    with closing(connect(service)) as connection:
        connection.sendall(b"GET /a HTTP/1.1\r\n\r\n")
        assert whole(connection).endswith(b"\r\n\r\nabc")


# --- what is no request


@pytest.mark.parametrize(
    ("sent", "status", "words"),
    [
        (b"nonsense\r\n\r\n", 400, "Bad request syntax ('nonsense')"),
        (b"GET /old\r\n", 400, "'GET /old' is not of the form METHOD TARGET HTTP/1.1"),
        (b"GET /a HTTP/2.0\r\n\r\n", 505, "Invalid HTTP version (2.0)"),
        (b"GET /a HTTP/x\r\n\r\n", 400, "Bad request version ('HTTP/x')"),
        (b"GET /" + b"a" * 70_000 + b" HTTP/1.1\r\n\r\n", 414, "the request line is longer than 64 KiB"),
        (b"GET /a HTTP/1.1\r\nX: " + b"a" * 70_000 + b"\r\n\r\n", 431, "Line too long"),
        (b"GET /a HTTP/1.1\r\n" + b"X: 1\r\n" * 300 + b"\r\n", 431, "Too many headers"),
        (b"GET /a HTTP/1.1\r\nno header\r\n\r\n", 400, "a line of its head is no header"),
        (b"POST /a HTTP/1.1\r\nContent-Length: x\r\n\r\n", 400, "Content-Length 'x' is no number"),
        (b"POST /a HTTP/1.1\r\nContent-Length: -1\r\n\r\n", 400, "Content-Length '-1' is no number"),
        (b"POST /a HTTP/1.1\r\nContent-Length: 9\r\n\r\nabc", 400, "the client went away after 3 of 9 bytes of the body"),
        (b"POST /a HTTP/1.1\r\nContent-Length: 2147483649\r\n\r\nabc", 413, "the body is longer than 2 GiB"),
        (b"POST /a HTTP/1.1\r\nContent-Length: " + b"9" * 5000 + b"\r\n\r\nabc", 413, "the body is longer than 2 GiB"),
        (b"POST /a HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\n", 413, "a chunk is longer than 2 GiB"),
        (b"POST /a HTTP/1.1\r\nTransfer-Encoding: gzip\r\n\r\n", 501, "Transfer-Encoding 'gzip' is not understood"),
        (b"POST /a HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n-1\r\n\r\n", 400, "b'-1\\r\\n' is no size of a chunk"),
        (b"POST /a HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n\r\n", 400, "b'zz\\r\\n' is no size of a chunk"),
        (b"POST /a HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab", 400, "a chunk is not as long as it says"),
        (b"POST /a HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nabcd\r\n", 400, "a chunk is not as long as it says"),
        (b"POST /a HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n", 400, "the client went away between two chunks"),
        (b"\x16\x03\x01\x02\x00\x01\x00\n", 400, "the client speaks TLS: the address of a mock service begins with http://"),
    ],
)
def test_what_is_no_request(bed: Bed, service: MockService, sent: bytes, status: int, words: str) -> None:
    with closing(connect(service)) as connection:
        connection.sendall(sent)
        connection.shutdown(socket.SHUT_WR)
        answer = whole(connection)
    assert answer.startswith(f"HTTP/1.1 {status} ".encode())
    assert words.encode() in answer
    assert b"Connection: close" in answer
    (served,) = bed.wait_for(1)
    assert words in served.why
    assert service.requests == []
    assert bed.services.end() == []


def test_a_connection_without_a_word(bed: Bed, service: MockService) -> None:
    assert say(service, b"") == b""
    assert bed.services.end() == []


def test_a_client_that_goes_in_the_middle_of_its_head(bed: Bed, service: MockService) -> None:
    connection = connect(service)
    connection.sendall(b"GET /a HTTP/1.1\r\nHost")
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()
    assert say(service, b"GET /b HTTP/1.1\r\n\r\n") == OK
    assert bed.services.end() == []


# --- faults


def faulty(bed: Bed, fault: str, **more: object) -> MockService:
    service = bed.services("x")
    service.stub("GET", "/a", fault=fault, **more)  # type: ignore[arg-type]
    return service


def test_a_reset(bed: Bed) -> None:
    with pytest.raises(ConnectionResetError):
        say(faulty(bed, "reset"), b"GET /a HTTP/1.1\r\n\r\n")


def test_an_empty_answer(bed: Bed) -> None:
    assert say(faulty(bed, "empty"), b"GET /a HTTP/1.1\r\n\r\nGET /a HTTP/1.1\r\n\r\n") == b""
    assert len(bed.services("x").requests) == 1


def test_garbage(bed: Bed) -> None:
    assert not say(faulty(bed, "garbage"), b"GET /a HTTP/1.1\r\n\r\n").startswith(b"HTTP")


def test_half_a_chunk(bed: Bed) -> None:
    answer = say(faulty(bed, "half-chunk", json={"a": 1}, status=201), b"GET /a HTTP/1.1\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 201 Created\r\nTransfer-Encoding: chunked\r\n")
    assert answer.endswith(b'\r\n\r\n1000\r\n{"a": 1}')


def test_half_a_chunk_has_no_length(bed: Bed) -> None:
    headers = {"Content-Length": "8", "Transfer-Encoding": "gzip", "Content-Type": "x/y"}
    answer = say(faulty(bed, "half-chunk", body="abcdefgh", headers=headers), b"GET /a HTTP/1.1\r\n\r\n")
    head = answer.partition(b"\r\n\r\n")[0].split(b"\r\n")
    assert head == [b"HTTP/1.1 200 OK", b"Transfer-Encoding: chunked", b"Content-Type: x/y"]


def test_a_refused_client_that_says_more_and_more(service: MockService) -> None:
    with closing(connect(service)) as connection, pytest.raises(OSError):
        connection.sendall(b"nonsense\r\n\r\n")
        for _ in range(3000):
            connection.sendall(b"x" * 65536)


def test_a_connection_that_was_accepted_as_all_ended(bed: Bed, service: MockService) -> None:
    site = Site(service.book, bed.note)
    site.close()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        client = socket.create_connection(listener.getsockname())
        ours, _ = listener.accept()
    with client:
        ours.settimeout(5)
        began = time.monotonic()
        site.serve(ours, ("127.0.0.1", 1))
        assert time.monotonic() - began < 4, "it does not wait for what the client has to say"
        assert client.recv(100) == b""


# --- the end of a test


def test_a_delayed_answer_at_the_end(bed: Bed) -> None:
    service = bed.services("x")
    service.stub("GET", "/a", delay=600)
    with closing(connect(service)) as connection:
        connection.sendall(b"GET /a HTTP/1.1\r\n\r\n")
        bed.wait_for(1)
        assert bed.services.end() == []
        assert whole(connection) == b""


def test_a_client_that_never_reads(bed: Bed) -> None:
    service = bed.services("x")
    service.stub("GET", "/a", body=b"x" * 50_000_000)
    with closing(connect(service)) as connection:
        connection.sendall(b"GET /a HTTP/1.1\r\n\r\n")
        bed.wait_for(1)
        assert bed.services.end() == []
        assert len(whole(connection)) < 50_000_000


def test_a_connection_that_is_idle_lives_on(bed: Bed, monkeypatch: pytest.MonkeyPatch) -> None:
    """The client has its answer before the server knows that all is sent: that is no request any more."""
    ended, mark = threading.Event(), Site.mark

    def slow(site: Site, connection: socket.socket, is_sending: bool | None) -> None:
        if is_sending is None:
            ended.wait(0.005)
        mark(site, connection, is_sending)

    monkeypatch.setattr(Site, "mark", slow)
    bed.all.keep("kept")
    with closing(connect(bed.begin("0")("kept"))) as connection:
        for number in range(5):
            services = bed.begin(f"{number}")
            services("kept").stub("GET", "/a", json={"a": 1})
            connection.sendall(b"GET /a HTTP/1.1\r\n\r\n")
            assert connection.recv(65536) == OK
            assert services.end() == []


def test_a_late_request(bed: Bed, service: MockService) -> None:
    bed.services.end()
    services = bed.begin("second")
    services("inventory").stub("GET", "/a")
    assert say(service, b"GET /a HTTP/1.1\r\n\r\n").startswith(b"HTTP/1.1 404 ")
    assert services("inventory").requests == []
    (late,) = bed.all.late()
    assert late.startswith("GET /a came to mock service 'inventory' by the address that it had in the test first, which has")
    assert bed.all.late() == []
    assert services.end() == []
    assert [each.is_late for each in bed.told] == [True]


def test_addresses_of_earlier_tests_are_given_up(bed: Bed) -> None:
    first = bed.services("inventory")
    bed.services.end()
    for number in range(40):
        services = bed.begin(str(number))
        services("inventory")
        services.end()
    with pytest.raises(ConnectionRefusedError):
        connect(first)
    assert len(bed.all._earlier) == 32


def test_a_request_to_a_kept_address_between_tests(bed: Bed) -> None:
    site = bed.all.keep("kept")
    address = f"GET http://{site.host}:{site.port}/a HTTP/1.1\r\n\r\n".encode()
    before = MockService(site.book, site, lambda: ("", 0))
    assert say(before, address).startswith(b"HTTP/1.1 404 ")
    assert bed.all.late() == [
        "outside of any test, no stub of mock service 'kept' matches GET /a: it has none. "
        "Add one with .stub('GET', '/a', json=...)."
    ]
    services = bed.begin("second")
    services.end()
    assert say(before, address).startswith(b"HTTP/1.1 404 ")
    assert bed.all.late()[0].endswith("in the test second, which has ended.")


def test_many_unmatched_requests_are_told_in_short(bed: Bed) -> None:
    service = bed.services("x")
    for number in [1, 1, 1, 2, 3, 4, 5, 6, 7]:
        service.book.serve(Request("GET", f"/{number}"))
    faults = bed.services.end()
    assert faults[0].endswith(" (3 times)")
    assert len(faults) == 6
    assert faults[-1] == "(and 2 others)"


def test_a_service_that_is_asked_for_when_the_test_has_ended(bed: Bed, service: MockService) -> None:
    bed.services.end()
    assert bed.services("inventory") is service
    with pytest.raises(StubError, match="mock service 'other' is asked for when its test has ended, first: threads"):
        bed.services("other")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")
def test_a_child_does_not_hold_the_port_of_a_service_that_was_closed(bed: Bed, service: MockService) -> None:
    reader, writer = os.pipe()
    if not (child := os.fork()):
        os.close(writer)
        os.read(reader, 1)
        os._exit(0)
    try:
        bed.all.close()
        with pytest.raises(ConnectionRefusedError):
            connect(service).close()
    finally:
        os.close(writer)
        os.waitpid(child, 0)
        os.close(reader)


def test_who_asks_on_and_on_is_told_in_short(bed: Bed, service: MockService) -> None:
    bed.services.end()
    for number in [0] * 9 + [*range(30)]:
        say(service, b"GET /%d HTTP/1.1\r\n\r\n" % number)
    late = bed.all.late()
    assert late[0].endswith("in the test first, which has ended. (10 times)")
    assert len(late) == 21
    assert late[-1] == "(and 10 others)"


def test_an_error_of_our_own_fails_the_test(bed: Bed, service: MockService, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Book, "serve", lambda book, request: 1 / 0)
    assert say(service, b"GET /a HTTP/1.1\r\n\r\n") == b""
    (fault,) = bed.services.end()
    assert re.match("mock service 'inventory' failed itself:\nTraceback(.|\n)*ZeroDivisionError", fault)


def test_a_test_that_ends_after_the_next_has_begun(bed: Bed, service: MockService) -> None:
    first, second = bed.services, bed.begin("second")
    first.end()
    say(service, b"GET /a HTTP/1.1\r\n\r\n")
    assert [each.is_late for each in bed.wait_for(1)] == [True], "the second test is told of it"
    assert second.end() == []


def test_each_service_has_one_bridge_to_containers(bed: Bed, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bridge, "address_for_containers", lambda: ("host.example", "127.0.0.2"))
    services = [bed.services("a"), bed.services("b")]
    urls = [service.container_url for service in services]
    assert len(set(urls)) == 2
    assert [service.container_url for service in services] == urls
    assert all(url.startswith("http://host.example:") for url in urls)


class Listener:
    """What listens, fails to accept as often as it is told, and is busy with a connection until it is released."""

    def __init__(self, *faults: int) -> None:
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.faults = list(faults)
        self.served, self.released = threading.Event(), threading.Event()

    def fileno(self) -> int:
        return self.socket.fileno()

    def accept(self) -> tuple[socket.socket, object]:
        if self.faults:
            raise OSError(self.faults.pop(0), "cannot be accepted")
        return self.socket.accept()

    def serve(self, connection: socket.socket, client: object) -> None:
        self.served.set()
        self.released.wait(30)
        connection.close()

    def close(self) -> None:
        self.socket.close()


def test_a_connection_waits_where_no_file_can_be_opened(monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[float] = []
    monkeypatch.setattr(serving, "time", SimpleNamespace(sleep=pauses.append, monotonic=time.monotonic))
    listener, threads = Listener(errno.EMFILE, errno.ECONNABORTED, errno.ENFILE), serving.Serving()
    threads.add(listener)
    with socket.create_connection(listener.socket.getsockname()):
        assert listener.served.wait(30)
    listener.released.set()
    threads.close()
    assert pauses == [serving.PAUSE] * 2


def test_the_end_does_not_wait_for_a_stub_s_own_code(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serving, "LAST_WAIT", 0.05)
    listener, threads = Listener(), serving.Serving()
    threads.add(listener)
    with socket.create_connection(listener.socket.getsockname()):
        assert listener.served.wait(30)
        threads.close()
        assert threads._reader.fileno() >= 0, "the thread that is left behind may still look at it"
    listener.released.set()
    assert wait(lambda: not any(each.name == OURS for each in threading.enumerate()))
    threads.close()
    assert threads._reader.fileno() == -1


# --- many at once


def test_threads_are_made_as_there_are_connections(service: MockService) -> None:
    def ours() -> int:
        return sum(each.name == OURS for each in threading.enumerate())

    connections = [connect(service) for _ in range(20)]
    for connection in connections:
        connection.sendall(b"GET /a HTTP/1.1\r\n\r\n")
    assert [connection.recv(65536) for connection in connections] == [OK] * 20
    assert ours() >= 20
    for connection in connections:
        connection.close()
    assert wait(lambda: ours() <= 6)


def wait(condition: Callable[[], bool]) -> bool:
    turn = threading.Event()
    return any(condition() or turn.wait(0.01) for _ in range(3000))


def test_200_at_once(service: MockService) -> None:
    service.stub("GET", "/n/{n}", answer=lambda request: Answer(json=int(request.path_params["n"])))
    found: dict[int, bytes] = {}

    def ask(number: int) -> None:
        found[number] = say(service, b"GET /n/%d HTTP/1.1\r\n\r\n" % number)

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(200)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {number: answer.rpartition(b"\r\n")[2] for number, answer in found.items()} == {n: b"%d" % n for n in range(200)}
    assert len(service.requests) == 200
