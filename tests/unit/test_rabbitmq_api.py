"""The management API's client against a small server that misbehaves as real ones do."""

from __future__ import annotations

import base64
import json
import socket
import threading
import time
import traceback
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from pytest_testbed.rabbitmq.api import ApiError, ManagementApi, management_url
from pytest_testbed.rabbitmq.vhosts import VhostStock
from pytest_testbed.services.model import Endpoint

USER, PASSWORD = "bob", "s3cret/ü"
TOKEN = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()


class Server(ThreadingHTTPServer):
    """Answers as it was told, the last answer again and again."""

    daemon_threads = True

    def __init__(self) -> None:
        self.answers: list[Any] = [(200, {})]
        """Each a status and a body; or "close" (before an answer), "hang", "cut" (within one)."""
        self.asked: list[tuple[str, str, Any]] = []
        self.logins: set[str | None] = set()
        self.connections = 0
        self.closes_behind = False
        """Whether it closes connections after an answer, and says nothing of it."""
        self.over = threading.Event()
        super().__init__(("127.0.0.1", 0), Handler)
        self.thread = threading.Thread(target=self.serve_forever, args=(0.01,))
        self.thread.start()

    @property
    def endpoint(self) -> Endpoint:
        ports = {"management": self.server_port}
        return Endpoint(kind="rabbitmq", host="127.0.0.1", port=1, user=USER, password=PASSWORD, ports=ports)

    def end(self) -> None:
        self.over.set()
        self.shutdown()
        self.thread.join()
        self.server_close()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1  # an answer is one piece: two would wait for each other
    server: Server

    def setup(self) -> None:
        self.server.connections += 1
        super().setup()

    def log_message(self, *args: Any) -> None:
        pass

    def answer(self) -> None:
        size = int(self.headers.get("Content-Length") or 0)
        body = json.loads(self.rfile.read(size)) if size else None
        server = self.server
        server.asked.append((self.command, self.path, body))
        server.logins.add(self.headers.get("Authorization"))
        answer = server.answers.pop(0) if len(server.answers) > 1 else server.answers[0]
        if answer == "hang":
            server.over.wait(10)
        if isinstance(answer, str):
            self.close_connection = True
            if answer == "cut":
                self.wfile.write(b'HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{"a":')
            return
        status, said = answer
        data = said if isinstance(said, bytes) else json.dumps(said).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)
        self.close_connection = server.closes_behind

    do_GET = do_PUT = do_POST = do_DELETE = answer


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server()
    yield server
    server.end()


@pytest.fixture
def api(server: Server) -> Iterator[ManagementApi]:
    api = ManagementApi(server.endpoint, 2.0)
    yield api
    api.close()


# --- what is asked


def test_one_connection_serves_all_requests(server: Server, api: ManagementApi) -> None:
    server.answers = [(200, {"a": 1}), (201, b""), (200, [1]), (204, b"")]
    assert api.get("vhosts", "a/b c%") == {"a": 1}
    assert api.put("vhosts", "x") is None
    assert api.post("queues", "/", "ü", "get", body={"count": 1}) == [1]
    assert api.delete("vhosts", "x") is True
    assert server.asked == [
        ("GET", "/api/vhosts/a%2Fb%20c%25", None),
        ("PUT", "/api/vhosts/x", {}),
        ("POST", "/api/queues/%2F/%C3%BC/get", {"count": 1}),
        ("DELETE", "/api/vhosts/x", None),
    ]
    assert server.logins == {f"Basic {TOKEN}"}
    assert server.connections == 1


def test_what_is_not_there_cannot_be_deleted(server: Server, api: ManagementApi) -> None:
    server.answers = [(404, {"error": "Object Not Found", "reason": "Not Found"})]
    assert api.drop_vhost("x") is False
    server.answers = [(403, {})]
    with pytest.raises(ApiError, match="403 Forbidden"):
        api.drop_vhost("x")


@pytest.mark.parametrize("closes", [True, False])
def test_a_connection_that_the_broker_has_closed_meanwhile_is_made_anew(server: Server, api: ManagementApi, closes: bool) -> None:
    server.closes_behind = closes
    for _ in range(3):
        assert api.get("x") == {}
    assert server.connections == (3 if closes else 1)
    assert len(server.asked) == 3


def test_a_broker_that_closes_before_it_answers_is_asked_once_more_at_most(server: Server, api: ManagementApi) -> None:
    server.answers = ["close", (200, {}), "close", "close", (200, {"back": True})]
    with pytest.raises(ApiError):
        api.get("x")
    assert len(server.asked) == 1, "nothing was kept that it might have closed"
    api.get("x")
    with pytest.raises(ApiError, match="does not answer to GET /api/x: Remote end closed connection") as caught:
        api.get("x")
    assert caught.value.status == 0
    assert len(server.asked) == 4
    assert api.get("x") == {"back": True}


# --- what goes wrong

NOTHING = b""


@pytest.mark.parametrize(
    ("answer", "words", "status"),
    [
        ((400, {"error": "bad_request", "reason": "inequivalent arg"}), "refused GET /api/x: 400 inequivalent arg", 400),
        ((401, {"error": "not_authorised", "reason": "Login failed"}), "refused GET /api/x: 401 Login failed", 401),
        ((404, {"error": "Object Not Found"}), "refused GET /api/x: 404 Object Not Found", 404),
        ((500, NOTHING), "refused GET /api/x: 500 Internal Server Error", 500),
        ((503, b"<h1>gone\n fishing</h1>"), "refused GET /api/x: 503 <h1>gone fishing</h1>", 503),
        ((400, ["a", 1]), r"refused GET /api/x: 400 \['a', 1\]", 400),
        ((301, NOTHING), "refused GET /api/x: 301 Moved Permanently", 301),
        (
            (200, b"<html>a web site</html>"),
            "^what answers at http://127.*[0-9] is no management API: <html>a web site</html>",
            0,
        ),
        ((200, b"\xff\xfe"), "is no management API", 0),
        ("close", "does not answer to GET /api/x: Remote end closed connection without response", 0),
        ("cut", "does not answer to GET /api/x: IncompleteRead", 0),
    ],
)
def test_an_error_has_the_brokers_words_and_never_the_password(
    server: Server, api: ManagementApi, answer: Any, words: str, status: int
) -> None:
    server.answers = [answer]
    with pytest.raises(ApiError, match=words) as caught:
        api.get("x")
    assert caught.value.status == status
    assert f"http://127.0.0.1:{server.server_port}" in str(caught.value)
    told = "".join(traceback.format_exception(caught.value))
    assert not any(secret in told for secret in (PASSWORD, "s3cret", TOKEN))


def test_a_broker_that_says_nothing_is_given_up_in_time(server: Server) -> None:
    server.answers = ["hang", (200, {"late": 1})]
    api = ManagementApi(server.endpoint, 0.05)
    began = time.monotonic()
    with pytest.raises(ApiError, match="does not answer to GET /api/x: timed out"):
        api.get("x")
    assert time.monotonic() - began < 1.5
    server.over.set()
    api._timeout = 5.0
    assert api.get("y") == {"late": 1}, "and its late answer is not taken for another's"
    assert server.connections == 2
    api.close()


def test_a_port_where_nobody_is() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        endpoint = Endpoint(kind="rabbitmq", host="127.0.0.1", port=1, ports={"management": taken.getsockname()[1]})
        with pytest.raises(ApiError, match="does not answer to GET /api/x: .*refused"):
            ManagementApi(endpoint).get("x")


def test_a_port_that_speaks_another_protocol() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def greet() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.sendall(b"AMQP\x00\x00\x09\x01")

        thread = threading.Thread(target=greet)
        thread.start()
        endpoint = Endpoint(kind="rabbitmq", host="127.0.0.1", port=1, ports={"management": listener.getsockname()[1]})
        with pytest.raises(ApiError, match="does not answer to GET /api/x: "):
            ManagementApi(endpoint, 2.0).get("x")
        thread.join()


# --- where it is


@pytest.mark.parametrize(
    ("facts", "url"),
    [
        ({}, "http://h:15672"),
        ({"ports": {"management": 81}}, "http://h:81"),
        ({"host": "::1"}, "http://[::1]:15672"),
        ({"extra": {"management": "https://broker.example.com/rabbit/"}}, "https://broker.example.com/rabbit/"),
    ],
)
def test_its_address(facts: dict[str, Any], url: str) -> None:
    assert management_url(Endpoint(**{"kind": "rabbitmq", "host": "h", "port": 5672, **facts})) == url


@pytest.mark.parametrize("tail", ["/rabbit/", "/rabbit", "/rabbit/api/"])
def test_it_may_be_below_a_path(server: Server, tail: str) -> None:
    url = f"http://127.0.0.1:{server.server_port}{tail}"
    api = ManagementApi(server.endpoint.with_(ports={}, extra={"management": url}))
    api.get("whoami")
    api.close()
    assert server.asked == [("GET", "/rabbit/api/whoami", None)]


@pytest.mark.parametrize("port", ["nonsense", "99999", "1"])
def test_a_login_in_its_address_is_not_shown(port: str) -> None:
    url = f"http://{USER}:s3cret@127.0.0.1:{port}"
    with pytest.raises(ApiError, match="the management API at http://127.0.0.1") as caught:
        ManagementApi(Endpoint(kind="rabbitmq", host="h", port=1, extra={"management": url}), 2.0).get("x")
    assert "s3cret" not in "".join(traceback.format_exception(caught.value))


# --- virtual hosts


@pytest.fixture
def stock(server: Server) -> Iterator[VhostStock]:
    stock = VhostStock(server.endpoint, "0123456789ab", {"definitions": {"queues": []}}, lambda text: None)
    yield stock
    stock.close()


def test_a_virtual_host_is_made_with_its_definitions(server: Server, stock: VhostStock) -> None:
    stock.make("v")
    stock.remove("v")
    assert [(method, path) for method, path, _ in server.asked] == [
        ("PUT", "/api/vhosts/v"),
        ("POST", "/api/definitions/v"),
        ("DELETE", "/api/vhosts/v"),
    ]
    assert server.connections == 1


def test_one_whose_definitions_are_refused_does_not_stay(server: Server, stock: VhostStock) -> None:
    server.answers = [(201, b""), (400, {"reason": "no such type"}), (204, b"")]
    with pytest.raises(ApiError, match="no such type"):
        stock.make("v")
    assert [method for method, _, _ in server.asked] == ["PUT", "POST", "DELETE"]


@pytest.mark.parametrize(
    ("answers", "is_made"), [([(200, {"name": "v"})], False), ([(404, {}), (201, b"")], True), ([(503, b"")], None)]
)
def test_a_worker_s_is_made_where_it_is_missing(
    server: Server, stock: VhostStock, answers: list[Any], is_made: bool | None
) -> None:
    """And not where that cannot be told: what an application has there would be declared anew."""
    server.answers = answers
    if is_made is None:
        with pytest.raises(ApiError, match="503"):
            stock.open("v")
    else:
        assert stock.open("v") is is_made
    assert ("PUT" in [method for method, _, _ in server.asked]) is bool(is_made)


def test_connections_of_a_stock_end_with_it(server: Server, stock: VhostStock) -> None:
    stock.make("a")
    (api,) = stock._idle
    stock.close()
    assert stock._idle == []
    assert api._connection is None
    with stock._api() as late:
        late.get("x")
    assert stock._idle == []


def test_connections_to_a_broker_that_has_ended_are_not_used_again(server: Server, stock: VhostStock) -> None:
    with stock._api() as lent:
        stock.make("a")
        assert len(stock._idle) == 1
        stock.forget(server.endpoint.with_(user="another"))
    assert stock._idle == []
    assert lent._connection is None
    server.logins.clear()
    stock.make("b")
    assert server.logins == {"Basic " + base64.b64encode(f"another:{PASSWORD}".encode()).decode()}


def test_virtual_hosts_are_listed_again_where_one_went_meanwhile(server: Server, api: ManagementApi) -> None:
    server.answers = [(500, b""), (500, b""), (200, [{"name": "/"}, {"name": "shop"}])]
    assert api.vhosts() == ["/", "shop"]
    server.answers, server.asked = [(500, {"reason": "out of cheese"})], []
    with pytest.raises(ApiError, match="500 out of cheese"):
        api.vhosts()
    assert len(server.asked) == 5
    server.answers, server.asked = [(401, b"")], []
    with pytest.raises(ApiError, match="401"):
        api.vhosts()
    assert len(server.asked) == 1
