"""`http_mock` under code that uses httpx or httpx2: the stubs are the same."""

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

HEAD = """
import asyncio, importlib, sys
import pytest, requests, responses
from responses import matchers

@pytest.fixture(params=["httpx", "httpx2"])
def x(request):
    return importlib.import_module(request.param)

def in_async(x, method, url, **more):
    async def ask():
        async with x.AsyncClient() as client:
            return await client.request(method, url, **more)
    return asyncio.run(ask())

def in_sync(x, method, url, **more):
    return x.request(method, url, **more)

both = pytest.mark.parametrize("ask", [in_sync, in_async])
"""


def run(project: Project, test: str, *args: str) -> pytest.RunResult:
    project.write(test_it=HEAD + test)
    return project.run(*args)


def test_stubs_answer_as_they_do_requests(project: Project) -> None:
    run(
        project,
        """
@both
def test_it(http_mock, x, ask):
    http_mock.post(
        "https://a.example/charges",
        json={"id": 1},
        status=402,
        headers={"X-A": "b"},
        match=[
            matchers.json_params_matcher({"a": 1}),
            matchers.query_param_matcher({"q": "1"}),
            matchers.header_matcher({"X-K": "v"}),
        ],
    )
    answer = ask(x, "POST", "https://a.example/charges?q=1", json={"a": 1}, headers={"X-K": "v"})
    assert isinstance(answer, x.Response)
    assert (answer.status_code, answer.json(), answer.headers["x-a"]) == (402, {"id": 1}, "b")
    assert answer.headers["content-type"] == "application/json"
    [call] = http_mock.calls
    assert (call.request.method, call.request.url) == ("POST", "https://a.example/charges?q=1")
    assert call.request.body in (b'{"a":1}', b'{"a": 1}')
    assert call.response.json() == {"id": 1}

@both
def test_forms_callbacks_and_cookies(http_mock, x, ask):
    http_mock.post("https://a.example", body="ok", match=[matchers.urlencoded_params_matcher({"a": "1"})])
    assert ask(x, "POST", "https://a.example", data={"a": "1"}).text == "ok"
    http_mock.add_callback("PUT", "https://b.example/", lambda request: (201, {"X-N": "1"}, request.body[::-1]))
    answer = ask(x, "PUT", "https://b.example/", content=b"abc")
    assert (answer.status_code, answer.text) == (201, "cba")
    http_mock.get("https://c.example/", headers=[("Set-Cookie", "a=1"), ("Set-Cookie", "b=2")])
    assert dict(ask(x, "GET", "https://c.example/").cookies) == {"a": "1", "b": "2"}

@both
def test_redirects_and_packed_bodies(http_mock, x, ask):
    import gzip
    http_mock.get("https://a.example/", status=302, headers={"Location": "https://b.example/"})
    http_mock.get("https://b.example/", body=gzip.compress(b"x" * 1000), headers={"Content-Encoding": "gzip"})
    assert ask(x, "GET", "https://a.example/", follow_redirects=True).text == "x" * 1000
    assert len(http_mock.calls) == 2

def test_streams(http_mock, x):
    http_mock.post("https://a.example/", body=b"x" * 1000)
    with x.stream("POST", "https://a.example/", content=iter([b"a", b"b"])) as answer:
        assert len(list(answer.iter_bytes(10))) == 100
    assert http_mock.calls[0].request.body == b"ab"
    async def ask():
        async with x.AsyncClient() as client, client.stream("POST", "https://a.example/") as answer:
            return [part async for part in answer.aiter_bytes(10)]
    assert len(asyncio.run(ask())) == 100

@both
def test_errors(http_mock, x, ask):
    for error, expected in (
        (requests.ConnectionError("no"), x.ConnectError),
        (requests.ConnectTimeout("no"), x.ConnectTimeout),
        (requests.ReadTimeout("no"), x.ReadTimeout),
        (requests.exceptions.ChunkedEncodingError("no"), x.RemoteProtocolError),
        (requests.exceptions.SSLError("no"), x.ConnectError),
        (ConnectionResetError("no"), x.ConnectError),
        (x.PoolTimeout("no"), x.PoolTimeout),
        (ZeroDivisionError("no"), ZeroDivisionError),
    ):
        http_mock.reset()
        http_mock.get("https://a.example/", body=error)
        with pytest.raises(expected, match="^no$"):
            ask(x, "GET", "https://a.example/")
""",
    ).assert_outcomes(passed=18)


def test_threads_and_proxies(project: Project) -> None:
    run(
        project,
        """
from concurrent.futures import ThreadPoolExecutor

def test_threads(http_mock):
    import httpx, httpx2
    http_mock.get("https://a.example/", body="x")
    with ThreadPoolExecutor(6) as pool:
        texts = pool.map(lambda n: (httpx, httpx2, requests)[n % 3].get("https://a.example/").text, range(18))
        assert list(texts) == ["x"] * 18
    assert len(http_mock.calls) == 18

@pytest.mark.parametrize("scheme", ["http", "https"])
def test_proxies(http_mock, x, scheme):
    http_mock.get(f"{scheme}://a.example/", body="x")
    with x.Client(proxy="http://proxy.example:3128") as client:
        assert client.get(f"{scheme}://a.example/").text == "x"
""",
    ).assert_outcomes(passed=5)


def test_no_request_gets_out_while_respx_comes(project: Project) -> None:
    """Nor one of a thread that came to the door before, and goes on when respx is there."""
    run(
        project,
        """
import httpcore, httpcore2, httpx
from respx.mocks import HTTPCoreMocker

PLAIN = httpcore.ConnectionPool.handle_request

def test_it(http_mock, monkeypatch):
    http_mock.get("https://a.example/", body="x")
    make, seen = HTTPCoreMocker.mock, []

    def mock(cls, spec):
        seen.append(httpcore.ConnectionPool.handle_request)
        return make(spec)

    monkeypatch.setattr(HTTPCoreMocker, "mock", classmethod(mock))
    early = httpcore.ConnectionPool.handle_request
    assert httpx.get("https://a.example/").text == "x"
    assert seen and PLAIN not in seen
    assert early is not httpcore.ConnectionPool.handle_request
    with httpcore.ConnectionPool() as pool:
        assert early(pool, httpcore.Request("GET", "https://a.example/")).read() == b"x"
    assert len(http_mock.calls) == 2

@pytest.mark.parametrize("ask", ["requests", "httpx"])
def test_after(ask):
    assert httpcore.ConnectionPool.handle_request is PLAIN
""",
    ).assert_outcomes(passed=3)


def test_what_no_stub_matches(project: Project) -> None:
    result = run(
        project,
        """
@both
def test_it(http_mock, x, ask):
    http_mock.get("https://a.example/")
    try:
        ask(x, "POST", "https://a.example/", json={})
    except Exception as error:
        assert type(error) is x.ConnectError
        assert "doesn't match any registered mock" in str(error)
""",
    )
    result.assert_outcomes(passed=4, errors=4)
    assert result.stdout.str().count("the method is POST, not GET") == 4
    assert result.stdout.str().count("http_mock: POST https://a.example/ → no answer (no stub matched)") == 4


def test_this_machine_and_what_is_in_process(project: Project) -> None:
    run(
        project,
        """
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

@pytest.fixture(scope="module")
def served():
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            body = self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)
        def log_message(self, *args):
            pass
    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server.server_port
        server.shutdown()
        thread.join()

@both
def test_loopback(http_mock, x, ask, served):
    http_mock.post(f"http://127.0.0.1:{served}/stub", body="stubbed")
    answer = ask(x, "POST", f"http://127.0.0.1:{served}/", content=b"real")
    assert answer.text == "real"
    assert "network_stream" in answer.extensions, "it was not sent by httpx itself"
    assert ask(x, "POST", f"http://127.0.0.1:{served}/stub").text == "stubbed"
    assert len(http_mock.calls) == 1

def test_applications(http_mock, x):
    def wsgi(environ, start_response):
        start_response("200 OK", [])
        return [b"in process"]
    async def asgi(scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"in process"})
    with x.Client(transport=x.WSGITransport(app=wsgi)) as client:
        assert client.get("https://a.example/").text == "in process"
    async def ask():
        async with x.AsyncClient(transport=x.ASGITransport(app=asgi)) as client:
            return await client.get("https://a.example/")
    assert asyncio.run(ask()).text == "in process"
    with x.Client(transport=x.MockTransport(lambda request: x.Response(204))) as client:
        assert client.get("https://a.example/").status_code == 204

def test_starlette(http_mock):
    import warnings
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from starlette.testclient import TestClient
    from starlette.responses import PlainTextResponse
    assert TestClient(PlainTextResponse("in process")).get("/").text == "in process"
""",
    ).assert_outcomes(passed=7)


def test_respx_of_the_user_s_own(project: Project) -> None:
    run(
        project,
        """
import httpx, respx

def test_within(http_mock):
    http_mock.get("https://ours.example/", body="ours")
    http_mock.get("https://both.example/", body="ours")
    with respx.mock as theirs:
        theirs.get("https://theirs.example/").respond(text="theirs")
        theirs.get("http://localhost:1/").respond(text="theirs")
        assert httpx.get("https://ours.example/").text == "ours"
        assert httpx.get("https://theirs.example/").text == "theirs"
        assert httpx.get("http://localhost:1/").text == "theirs"
        with pytest.raises(AssertionError, match="not mocked"):
            httpx.get("https://nobody.example/")
    with pytest.raises(httpx.ConnectError):
        httpx.get("https://theirs.example/")
    http_mock.unmatched.clear()

def test_is_put_back():
    with pytest.raises(httpx.ConnectError, match="refused"):
        httpx.get("http://127.0.0.1:1/")
    from respx.mocks import Mocker
    assert [mocker for mocker in Mocker.registry.values() if mocker.routers or mocker._patches] == []
""",
    ).assert_outcomes(passed=2)


LATE = """
import sys
import pytest

FINDERS = list(sys.meta_path)

def test_imported_before_the_fixture(request):
    assert "httpcore" not in sys.modules and "httpcore2" not in sys.modules

@pytest.mark.parametrize("name", ["httpx", "httpx2"])
def test_it(http_mock, name):
    http_mock.get("https://a.example/", body="stubbed")
    loaded = sys.modules.get({"httpx": "httpcore", "httpx2": "httpcore2"}[name])
    assert loaded is None
    x = __import__(name)
    assert x.get("https://a.example/").text == "stubbed"
    assert type(sys.modules["httpcore"].__loader__).__module__.startswith(("importlib", "_frozen"))

def test_again(http_mock):
    import httpx2
    http_mock.get("https://a.example/", body="stubbed")
    assert httpx2.get("https://a.example/").text == "stubbed"

def test_nothing_is_left():
    assert sys.meta_path == FINDERS
"""


def test_what_is_imported_in_the_test(project: Project) -> None:
    project.write(test_it=LATE)
    project.run_apart("-W", "error").assert_outcomes(passed=5)


def test_without_respx_httpx_is_left_alone(project: Project) -> None:
    project.write(
        conftest="import sys\nsys.modules['respx'] = None",
        test_it="""
        import httpx, httpx2, pytest, requests

        @pytest.mark.parametrize("x", [httpx, httpx2])
        def test_it(http_mock, x):
            http_mock.get("http://127.0.0.1:1/", body="stubbed")
            assert requests.get("http://127.0.0.1:1/").text == "stubbed"
            with pytest.raises(x.ConnectError, match="refused"):
                x.get("http://127.0.0.1:1/")
        """,
    )
    project.run_apart().assert_outcomes(passed=2)


def test_without_httpx2(project: Project) -> None:
    project.write(
        conftest="import sys\nsys.modules['httpx2'] = sys.modules['httpcore2'] = None",
        test_it="""
        import httpx

        def test_it(http_mock):
            http_mock.get("https://a.example/", body="stubbed")
            assert httpx.get("https://a.example/").text == "stubbed"
        """,
    )
    project.run_apart().assert_outcomes(passed=1)


@pytest.mark.parametrize("plugin", ["pytest_asyncio.plugin", "anyio.pytest_plugin"])
def test_asynchronous_tests(project: Project, plugin: str) -> None:
    pytest.importorskip(plugin)
    mark = "asyncio" if "asyncio" in plugin else "anyio"
    project.write(
        conftest="import pytest\n@pytest.fixture\ndef anyio_backend(): return 'asyncio'",
        test_it=f"""
        import httpx, pytest

        @pytest.mark.{mark}
        async def test_it(http_mock):
            http_mock.get("https://a.example/", body="stubbed")
            async with httpx.AsyncClient() as client:
                assert (await client.get("https://a.example/")).text == "stubbed"

        @pytest.mark.{mark}
        async def test_unmatched(http_mock):
            async with httpx.AsyncClient() as client:
                with pytest.raises(httpx.ConnectError):
                    await client.get("https://a.example/")
        """,
    )
    result = project.run("-p", plugin, "-W", "ignore::pytest.PytestDeprecationWarning")
    result.assert_outcomes(passed=2, errors=1)
