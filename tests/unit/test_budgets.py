"""Budgets without pytest: what is counted in which phase, and each library's HTTP calls once."""

from __future__ import annotations

import asyncio
import http.client
import json
import socket
import sys
import threading
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib import import_module
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from pytest_testbed.budgets import messages
from pytest_testbed.budgets import usage as usage_module
from pytest_testbed.budgets.calls import Call, recorded
from pytest_testbed.budgets.limits import Limit
from pytest_testbed.budgets.report import faults
from pytest_testbed.budgets.taps import Ear, Taps, swap
from pytest_testbed.budgets.usage import CALL, SETUP, Usage
from pytest_testbed.errors import TestbedWarning

# --- usage


class Thing:
    def __init__(self, shape: str, where: str = "", milliseconds: float = 0.0) -> None:
        self.shape, self.where, self.milliseconds = shape, where, milliseconds


class World:
    """A clock, and what else a test's usage is made of."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = self.waited = 0.0
        self.queries: list[Thing] = []
        monkeypatch.setattr(usage_module, "CLOCK", (lambda: self.now,))
        self.usage = Usage({"queries": self.queries}, lambda: self.waited)

    def go(self, seconds: float, *shapes: str) -> None:
        self.now += seconds
        self.queries += [Thing(shape, "shop.py:1 in buy", 2.0) for shape in shapes]

    def wait(self, seconds: float) -> None:
        self.now += seconds
        self.waited += seconds


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    """A test that has just begun."""
    return World(monkeypatch)


def test_phases_are_counted_apart_and_waiting_in_none(world: World) -> None:
    world.go(1, "a")
    world.wait(10)
    world.usage.end()
    world.go(100, "neither")
    world.usage.switch(CALL)
    world.go(2, "b", "b")
    world.usage.switch(SETUP)
    world.go(4, "c")
    world.wait(20)
    world.usage.switch(CALL)
    world.go(8, "d")
    world.wait(40)
    world.usage.end()
    world.go(100, "neither")
    assert (world.usage.seconds(SETUP), world.usage.seconds(CALL), world.usage.waited) == (5, 10, 70)
    assert [each.shape for each in world.usage.used("queries", SETUP)] == ["a", "c"]
    assert [each.shape for each in world.usage.used("queries", CALL)] == ["b", "b", "d"]
    assert (world.usage.count("queries", CALL), world.usage.count("messages", CALL)) == (3, 0)
    assert world.usage.used("messages", CALL) == []


def told(world: World, most: float | None, name: str = "queries", factor: float = 1.0) -> list[str]:
    return faults(world.usage, {name: Limit(most, "mark on test_it")}, factor).splitlines()


def test_the_largest_groups_are_told_first_and_the_rest_is_counted(world: World) -> None:
    world.usage.switch(CALL)
    world.go(1, *(["INSERT"] * 1200), *(f"SELECT {n}" for n in range(7)), "x" * 300, "x" * 300)
    world.usage.end()
    assert told(world, 1010) == [
        "used 1,209 statements, budget 1,010 (mark on test_it)",
        "  1,200 x INSERT · 2400.0 ms · shop.py:1 in buy",
        f"      2 x {'x' * 200}... · 4.0 ms · shop.py:1 in buy",
        "      1 x SELECT 0 · 2.0 ms · shop.py:1 in buy",
        "      1 x SELECT 1 · 2.0 ms · shop.py:1 in buy",
        "      1 x SELECT 2 · 2.0 ms · shop.py:1 in buy",
        "      4 more, of 4 other kinds",
    ]


@pytest.mark.parametrize(("used", "most", "fails"), [(0, 0, False), (1, 0, True), (2, 2, False), (3, 2, True), (3, None, False)])
def test_as_much_as_the_budget_is_allowed(world: World, used: int, most: float | None, fails: bool) -> None:
    world.usage.switch(CALL)
    world.go(1, *["a"] * used)
    world.usage.end()
    assert bool(told(world, most)) is fails


def test_seconds_are_multiplied(world: World) -> None:
    world.usage.switch(CALL)
    world.go(3, "a")
    world.wait(2)
    world.usage.end()
    assert told(world, 2.0, "seconds", 1.5) == []
    assert told(world, 1.0, "seconds", 1.5) == [
        "used 3.000 s, budget 1.5 s (1 s x 1.5 under CI, mark on test_it)",
        "  in the test: 1 statement in 0.002 s",
        "  not in the budget: setup 0 s, waiting for services to start 2.000 s",
    ]


def test_what_is_little_above_the_budget_is_told_apart(world: World) -> None:
    world.usage.switch(CALL)
    world.go(0.0304)
    world.usage.end()
    assert told(world, 0.03, "seconds")[0] == "used 0.0304 s, budget 0.03 s (mark on test_it)"


# --- HTTP calls


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        is_moved = self.path.startswith("/moved")
        self.send_response(302 if is_moved else 200)
        if is_moved:
            self.send_header("Location", "/there")
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"{}")

    do_POST = do_GET

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    """A server that answers everything, and leads from /moved to /there."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield f"http://user:secret@127.0.0.1:{server.server_port}"
        server.shutdown()


def by_urllib(url: str) -> None:
    urllib.request.urlopen(url.replace("user:secret@", "")).read()


def by_http_client(url: str) -> None:
    host, _, path = url.partition("@")[2].partition("/")
    connection = http.client.HTTPConnection(host)
    for each in [f"/{path}", *(["/there"] if path.startswith("moved") else [])]:
        connection.request("GET", each)
        connection.getresponse().read()
    connection.close()


def by_urllib3(url: str) -> None:
    urllib3 = import_module("urllib3")
    with urllib3.PoolManager() as pool:
        pool.request("GET", url.replace("user:secret@", ""))


def by_requests(url: str) -> None:
    import_module("requests").get(url)


def by_httpx(url: str) -> None:
    import_module("httpx").get(url, follow_redirects=True)


def by_httpx2(url: str) -> None:
    import_module("httpx2").get(url, follow_redirects=True)


def by_async_httpx(url: str) -> None:
    async def go() -> None:
        async with import_module("httpx").AsyncClient(follow_redirects=True) as client:
            await client.get(url)

    asyncio.run(go())


WAYS = [by_urllib, by_http_client, by_urllib3, by_requests, by_httpx, by_httpx2, by_async_httpx]


@pytest.mark.parametrize("way", WAYS)
def test_each_library_s_calls_are_counted_once(url: str, way: Callable[[str], None]) -> None:
    pytest.importorskip(way.__name__.rpartition("_")[2] if way is not by_http_client else "http.client")
    place = url.partition("@")[2]
    with recorded(str(Path(__file__).parent)) as calls:
        way(f"{url}/items/17/0b0e7c9a-1111-4222-8333-444455556666?key=secret")
        way(f"{url}/moved")
    assert [call.shape for call in calls] == [
        f"GET http://{place}/items/*/*",
        f"GET http://{place}/moved",
        f"GET http://{place}/there",
    ]
    assert {call.where.partition(":")[0] for call in calls} == {"test_budgets.py"}
    assert all(call.milliseconds > 0 for call in calls)


@pytest.mark.parametrize("way", WAYS)
def test_a_call_that_reaches_nobody_counts(way: Callable[[str], None]) -> None:
    pytest.importorskip(way.__name__.rpartition("_")[2] if way is not by_http_client else "http.client")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        url = f"http://user:secret@127.0.0.1:{taken.getsockname()[1]}/x"
    with recorded() as calls, pytest.raises(Exception, match=r"(?i)refused|connect|errno"):
        way(url)
    assert len(calls) == (4 if way is by_urllib3 else 1)  # which tries again by itself


def test_aiohttp_s_calls_are_counted_with_the_redirects_that_it_follows(monkeypatch: pytest.MonkeyPatch) -> None:
    class Answer:
        def __init__(self, method: str, url: str, *history: Answer) -> None:
            self.method, self.url, self.history = method, url, history

    class ClientSession:
        _base_url = None

        async def _request(self, method: str, url: str, **more: object) -> Answer:
            if url.endswith("/plain"):
                return Answer("GET", url)
            if url.endswith("/moved"):
                return Answer("GET", "http://x/there", Answer("POST", url), Answer("GET", "http://x/on"))
            raise ConnectionError(url)

    monkeypatch.setitem(sys.modules, "aiohttp", ModuleType("aiohttp"))
    monkeypatch.setattr(sys.modules["aiohttp"], "ClientSession", ClientSession, raising=False)
    with recorded() as calls:
        asyncio.run(ClientSession()._request("post", "http://x/moved"))
        with pytest.raises(ConnectionError):
            asyncio.run(ClientSession()._request("GET", "http://x/nobody"))
        monkeypatch.setattr(ClientSession, "_base_url", "http://x/")
        asyncio.run(ClientSession()._request("GET", "/moved"))
        asyncio.run(ClientSession()._request("GET", "/plain"))
        kept = ClientSession._request
    asyncio.run(kept(ClientSession(), "GET", "/plain"))  # who has kept it counts nothing any more
    assert [call.shape for call in calls] == [
        *("POST http://x/moved", "GET http://x/on", "GET http://x/there", "GET http://x/nobody"),
        *("GET http://x/moved", "GET http://x/on", "GET http://x/there"),
        "GET http://x/plain",
    ]
    assert ClientSession._request.__module__ == __name__


def test_calls_by_way_of_a_proxy_have_their_own_url(url: str) -> None:
    proxy = url.partition("@")[2]
    with recorded() as calls:
        connection = http.client.HTTPConnection(proxy)
        connection.request("GET", "http://api.example.com/x?to=https://y")
        connection.getresponse().read()
        connection.close()
        for port, connection in (
            (443, http.client.HTTPSConnection(proxy)),
            (8443, http.client.HTTPSConnection(proxy)),
            (80, http.client.HTTPConnection(proxy)),
        ):
            connection.set_tunnel("api.example.com", port)
            with pytest.raises(OSError, match="Tunnel connection failed"):
                connection.request("GET", "/x")
            connection.close()
    assert [call.shape for call in calls] == [
        "GET http://api.example.com/x",
        "GET https://api.example.com/x",
        "GET https://api.example.com:8443/x",
        "GET http://api.example.com/x",
    ]


def test_what_a_mock_answers_counts(url: str) -> None:
    requests, httpx, respx, responses = map(pytest.importorskip, ("requests", "httpx", "respx", "responses"))
    with recorded() as calls:
        with responses.RequestsMock() as mock:
            mock.get("https://api.example.com/a", status=302, headers={"Location": "/b"})
            mock.get("https://api.example.com/b", json={})
            requests.get("https://api.example.com/a")
            mock.add_passthru("http://127.0.0.1")
            requests.get(url.replace("user:secret@", ""))
        with respx.mock() as router:
            router.get("https://api.example.com/c").respond(json={})
            httpx.get("https://api.example.com/c")
        httpx.Client(transport=httpx.MockTransport(lambda request: httpx.Response(200))).get("https://api.example.com/d")
    assert sorted(call.url.rpartition("/")[2] for call in calls) == ["", "a", "b", "c", "d"]


def test_an_application_that_is_called_in_this_process_is_no_http(url: str) -> None:
    httpx = pytest.importorskip("httpx")

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await asyncio.to_thread(by_urllib, f"{url}/inside")
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    async def go() -> None:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://app") as client:
            await client.get("/outside")

    with recorded() as calls:
        asyncio.run(go())
    assert [call.url.rpartition("/")[2] for call in calls] == ["inside"]


def test_what_our_own_client_sends_is_the_test_s_and_not_counted(url: str) -> None:
    from pytest_testbed.http.client import ApiClient
    from pytest_testbed.http.live import LiveApp

    plain = url.replace("user:secret@", "")
    for library in ("requests", "httpx"):
        with recorded() as calls, ApiClient(LiveApp(plain), library=library) as client:
            client.get("/x")
            by_urllib(f"{plain}/counted")
        assert [call.url.rpartition("/")[2] for call in calls] == ["counted"]


def test_the_application_s_calls_are_counted_where_our_client_calls_it() -> None:
    requests = pytest.importorskip("requests")
    from pytest_testbed.http.called import WsgiAdapter

    def app(environ: Any, start_response: Any) -> list[bytes]:
        with pytest.importorskip("responses").RequestsMock() as mock:
            mock.get("https://api.example.com/inside", json={})
            requests.get("https://api.example.com/inside")
        start_response("200 OK", [])
        return [b""]

    with recorded() as calls, requests.Session() as session:
        session.mount("http://testserver", WsgiAdapter(app))
        session.get("http://testserver/outside")
    assert [call.url for call in calls] == ["https://api.example.com/inside", "http://testserver/outside"]


def test_calls_of_several_threads_are_all_there(url: str) -> None:
    with recorded() as calls:
        threads = [threading.Thread(target=by_requests, args=(f"{url}/{n}",)) for n in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert sorted(call.url.rpartition("/")[2] for call in calls) == [str(n) for n in range(8)]


def test_who_has_replaced_a_method_meanwhile_keeps_his_own(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    requests = pytest.importorskip("requests")
    plain = requests.Session.send
    with recorded() as calls:
        ours = requests.Session.send
        assert ours is not plain
        theirs = lambda self, request, **more: ours(self, request, **more)  # noqa: E731
        monkeypatch.setattr(requests.Session, "send", theirs)
        by_requests(url)
        assert len(calls) == 1
    assert requests.Session.send is theirs
    by_requests(url)
    with recorded() as later:  # by way of theirs, ours is still called
        by_requests(url)
    assert (len(calls), len(later)) == (1, 1)
    monkeypatch.undo()  # it puts ours back, which does nothing any more
    assert requests.Session.send is ours
    by_requests(url)
    with recorded() as last:
        by_requests(url)
    assert (len(calls), len(last)) == (1, 1)
    requests.Session.send = plain


def test_who_stands_before_a_connection_for_good_has_nothing_counted_twice(url: str) -> None:
    plain = http.client.HTTPConnection.putrequest
    with recorded() as calls:  # as an application does that is made in a test, and begins to trace
        ours = http.client.HTTPConnection.putrequest
        http.client.HTTPConnection.putrequest = lambda *args, **more: ours(*args, **more)  # type: ignore[method-assign]
    try:
        for _ in range(2):
            with recorded() as calls:
                by_urllib(url)
            assert len(calls) == 1
    finally:
        http.client.HTTPConnection.putrequest = plain  # type: ignore[method-assign]


def test_a_version_that_is_not_seen_whole_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    httpx = pytest.importorskip("httpx")
    monkeypatch.delattr(httpx.Client, "_send_single_request")
    told = r"budgets do not see all that httpx does: httpx\.Client has no '_send_single_request' in the version that is installed"
    with pytest.warns(TestbedWarning, match=told), recorded():
        pass


def test_messages_of_a_version_that_is_not_seen_whole_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    pika = pytest.importorskip("pika")
    monkeypatch.delattr(pika.adapters.blocking_connection, "_ConsumerInfo")
    told = r"all that pika does: pika\.adapters\.blocking_connection has no 'on_message_callback'"
    with pytest.warns(TestbedWarning, match=told), messages.recorded():
        pass


@pytest.mark.parametrize(
    ("url", "shape"),
    [
        ("https://api.example.com:8443/users/12/orders", "GET https://api.example.com:8443/users/*/orders"),
        ("https://u:p@api.example.com/v2/a-b?x=1#y", "GET https://api.example.com/v2/a-b"),
        ("http://x/deadbeef/decade/5f3c9a1b", "GET http://x/deadbeef/decade/*"),
        ("http://[::1/x?y", "GET http://[::1/x"),
    ],
)
def test_the_shape_of_a_call(url: str, shape: str) -> None:
    assert Call("GET", url, None).shape == shape


# --- listening


@contextmanager
def module(name: str, folder: Path) -> Iterator[None]:
    (folder / f"{name}.py").write_text("class Client:\n    def send(self): return 1\n")
    sys.path.insert(0, str(folder))
    yield
    sys.path.remove(str(folder))
    sys.modules.pop(name, None)


def test_a_library_that_is_imported_later_is_listened_to(tmp_path: Path) -> None:
    def listen(stack: Any) -> None:
        def wrap(plain: Any, ear: Ear) -> Any:
            def send(self: Any) -> Any:
                taps.add(json.dumps("sent"))
                return plain(self)

            return send

        swap(stack, sys.modules["budgets_later"].Client, "send", wrap)

    taps, before = Taps({"budgets_later": listen}), list(sys.meta_path)
    with module("budgets_later", tmp_path):
        with taps.recorded() as first, taps.recorded() as second:
            client = import_module("budgets_later").Client()
            assert client.send() == 1
        assert client.send() == 1
        assert (first, second) == (['"sent"'], ['"sent"'])
    with module("budgets_never", tmp_path), Taps({"budgets_never": listen}).recorded():
        pass
    assert sys.meta_path == before


def test_a_library_that_is_forbidden_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "budgets_forbidden", None)
    before = list(sys.meta_path)
    with Taps({"budgets_forbidden": lambda stack: pytest.fail("it cannot be listened to")}).recorded():
        assert sys.meta_path == before
        with pytest.raises(ImportError):
            import_module("budgets_forbidden")


def test_a_library_that_is_imported_after_the_end_is_left_alone(tmp_path: Path) -> None:
    listened: list[object] = []
    taps, before = Taps({"budgets_late": listened.append}), list(sys.meta_path)
    with module("budgets_late", tmp_path):
        with taps.recorded():
            finder = sys.meta_path.pop(0)  # somebody has a list of his own
        assert sys.meta_path == before
        sys.meta_path.insert(0, finder)
        try:
            assert import_module("budgets_late").Client().send() == 1
        finally:
            sys.meta_path.remove(finder)
    assert listened == []


# --- messages


def test_messages_of_pika(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is delivered counts where the application takes it, and not once more as it arrives at a blocking channel."""
    blocking = pytest.importorskip("pika.adapters.blocking_connection")
    channels = import_module("pika.channel")
    method = SimpleNamespace(exchange="shop", routing_key="orders", consumer_tag="tag")
    blocked = blocking.BlockingChannel.__new__(blocking.BlockingChannel)

    def consume(channel: object) -> Iterator[tuple[object, ...]]:
        yield method, None, b"1"
        yield None, None, None  # nothing came in time

    class Consumer:
        __slots__ = ("on_message_callback",)

    def consumer(callback: object) -> Consumer:
        made = Consumer()
        made.on_message_callback = callback
        return made

    def deliver(callback: object) -> None:
        channel = SimpleNamespace(_consumers={} if callback is None else {"tag": callback})
        channels.Channel._on_deliver(channel, SimpleNamespace(method=method), None, b"1")

    monkeypatch.setattr(channels.Channel, "basic_publish", lambda self, *where: "sent")
    monkeypatch.setattr(channels.Channel, "_on_deliver", lambda self, *what: None)
    monkeypatch.setattr(blocking.BlockingChannel, "consume", consume)
    monkeypatch.setattr(blocking, "_ConsumerInfo", Consumer)
    with messages.recorded() as posted:
        publish = channels.Channel.basic_publish
        assert publish(None, "shop", "orders") == "sent"
        assert [each.shape for each in posted] == ["published shop → orders"]
        posted.clear()
        going_on = blocking.BlockingChannel.consume(blocked)
        assert len(list(blocking.BlockingChannel.consume(blocked))) == 2
        assert [each.shape for each in posted] == ["received shop → orders"]
        posted.clear()
        assert consumer(None).on_message_callback is None
        called = consumer(lambda channel, method, *rest: rest).on_message_callback
        assert called("channel", method, 1, 2) == (1, 2)
        assert len(posted) == 1
        deliver(None)
        deliver(blocked.basic_ack)
        assert len(posted) == 1
        deliver(print)
        assert len(posted) == 2
    assert publish(None, "shop", "orders") == "sent"
    assert len(list(going_on)) == 2
    assert len(posted) == 2, "who has kept a method counts nothing any more"


def test_messages_of_aio_pika(monkeypatch: pytest.MonkeyPatch) -> None:
    channels = pytest.importorskip("aiormq.channel")

    async def plain(channel: object, body: bytes, **more: object) -> bytes:
        return body

    monkeypatch.setattr(channels.Channel, "basic_publish", plain)
    with messages.recorded() as posted:
        publish = channels.Channel.basic_publish
        assert asyncio.run(publish(None, b"1", exchange="shop", routing_key="orders")) == b"1"
    assert asyncio.run(publish(None, b"2", exchange="shop", routing_key="orders")) == b"2"
    assert [each.shape for each in posted] == ["published shop → orders"]
