"""The client of the application: paths, time-outs, answers, logins; over a port and without one, by requests and httpx."""

from __future__ import annotations

import copy
import io
import json
import logging
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import requests
from flask import Flask, Response, jsonify, redirect, request

from pytest_testbed.errors import AppError, ConfigurationError
from pytest_testbed.http import called, sending
from pytest_testbed.http.apiresponse import found_at
from pytest_testbed.http.appserver import bound
from pytest_testbed.http.client import ApiClient
from pytest_testbed.http.exchange import Exchange
from pytest_testbed.http.live import LiveApp
from pytest_testbed.http.login import Login, Tokens
from pytest_testbed.http.threads import ThreadServer

BODY = {"requests": "data", "httpx": "content"}
USER = {"email": "ada@example.com", "password": "s3cret-word"}


class Shop:
    """An application whose tokens can be made to end."""

    def __init__(self) -> None:
        self.app = app = Flask("shop")
        self.logins = 0
        self.valid: set[str] = set()
        self.refuses = False
        self.grants = True
        self.elsewhere = ""
        app.add_url_rule("/api/auth/login", view_func=self.login, methods=["POST"])
        app.add_url_rule("/api/me", view_func=self.me, methods=["GET", "POST"])
        app.add_url_rule("/api/echo", view_func=self.echo, methods=["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"])
        app.add_url_rule("/api/elsewhere", "elsewhere", view_func=lambda: redirect(self.elsewhere))
        app.add_url_rule("/api/moved", view_func=lambda: redirect("/api/echo"))
        app.add_url_rule("/api/cookie", view_func=self.cookie)
        app.add_url_rule("/api/broken", view_func=self.broken)
        self.fields: dict[str, Any] = {}

    def login(self) -> Any:
        self.fields = request.get_json(silent=True) or request.form.to_dict()
        if self.refuses:
            return jsonify(error="locked", password=self.fields.get("password")), 403
        self.logins += 1
        token = f"token-{self.fields.get('email')}-{self.logins}"
        if self.grants:
            self.valid.add(token)
        return jsonify(token=token, data={"jwt": token, "expires": 3600})

    def me(self) -> Any:
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        if token not in self.valid:
            return jsonify(error="who are you?"), 401
        return jsonify(token=token, scheme=scheme, body=request.get_data(as_text=True))

    def echo(self) -> Any:
        headers = {name.lower(): value for name, value in request.headers.items()}
        return jsonify(method=request.method, query=request.args.to_dict(), body=request.get_data(as_text=True), headers=headers)

    def cookie(self) -> Any:
        answer = Response(request.cookies.get("seen", "nothing"))
        answer.set_cookie("seen", "yes")
        return answer

    def broken(self) -> Any:
        raise RuntimeError("no such thing")


@pytest.fixture
def shop() -> Shop:
    return Shop()


@pytest.fixture(params=["thread", "none"])
def app(request: pytest.FixtureRequest, shop: Shop) -> Iterator[LiveApp]:
    if request.param == "none":
        yield LiveApp("http://testserver", shop.app, "wsgi")
        return
    listener = bound()
    url = "http://{}:{}".format(*listener.getsockname())
    server = ThreadServer(shop.app, "wsgi", listener, 10)
    server.start()
    yield LiveApp(url, shop.app, "wsgi", server)
    assert server.stop() == ""


@pytest.fixture(params=["requests", "httpx"])
def library(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def notes() -> list[Exchange]:
    return []


@pytest.fixture
def tokens() -> Tokens:
    return Tokens()


@pytest.fixture
def api(app: LiveApp, library: str, notes: list[Exchange], tokens: Tokens) -> Iterator[ApiClient]:
    with ApiClient(app, prefix="/api", library=library, note=notes.append, tokens=tokens) as client:
        yield client


# --- requests and answers


def test_methods_and_arguments(api: ApiClient) -> None:
    for method in ("get", "post", "put", "patch", "delete"):
        answer = getattr(api, method)("/echo", params={"page": 2}, headers={"X-Shop": "1"})
        answer.assert_status(200).assert_json({"method": method.upper(), "query": {"page": "2"}, "headers": {"x-shop": "1"}})
    assert api.options("/echo").status_code == 200
    assert api.head("/echo").assert_status(200).text == ""
    assert json.loads(api.post("/echo", json={"a": 1}).json()["body"]) == {"a": 1}
    assert api.post("/echo", data={"a": "1"}).json()["body"] == "a=1"
    assert 'name="file"' in api.post("/echo", files={"file": io.BytesIO(b"x")}).json()["body"]
    assert api.request("PUT", "echo").json()["method"] == "PUT"


def test_cookies_stay(api: ApiClient) -> None:
    assert [api.get("/cookie").text for _ in range(2)] == ["nothing", "yes"]


def test_an_answer_has_what_the_native_one_has(api: ApiClient, library: str) -> None:
    answer = api.get("/echo")

    assert answer.headers["content-type"] == "application/json"
    assert answer.native.status_code == answer.status_code == 200
    assert type(answer.native).__module__.startswith(library)


def test_redirects(api: ApiClient, notes: list[Exchange]) -> None:
    api.get("/moved").assert_status(200)

    assert [each.status for each in notes] == [302, 200]


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_a_redirect_elsewhere_has_no_token(api: ApiClient, app: LiveApp, shop: Shop, host: str) -> None:
    heard: list[bytes] = []

    def serve(listener: socket.socket) -> None:
        connection = listener.accept()[0]
        heard.append(connection.recv(65536))
        connection.sendall(b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n")
        connection.close()

    if app.is_in_process:  # such a client reaches nothing but the application
        return
    api.login(**USER)
    with bound() as listener:
        shop.elsewhere = f"http://{host}:{listener.getsockname()[1]}/"
        thread = threading.Thread(target=serve, args=[listener])
        thread.start()
        api.get("/elsewhere").assert_status(204)
        thread.join()
    assert b"authorization" not in heard[0].lower()


def test_an_answer_that_is_a_stream(app: LiveApp) -> None:
    with ApiClient(app, prefix="/api") as api, api.get("/echo", stream=True) as answer:
        assert b"GET" in b"".join(answer.iter_content())


def test_an_answer_can_be_copied_and_shown(api: ApiClient) -> None:
    answer = copy.copy(api.get("/echo?token=abc"))
    assert answer.status_code == 200
    assert repr(answer).endswith("/api/echo?token=***>")


def test_an_error_of_the_application(api: ApiClient) -> None:
    assert api.get("/broken").status_code == 500


def test_no_connection_is_used_again_after_an_error() -> None:
    """A server may close it after its answer; here that is a server which answers once on each connection."""
    answer = b"HTTP/1.1 500 Internal Server Error\r\nContent-Length: 0\r\n\r\n"
    accepted = []

    def serve(listener: socket.socket) -> None:
        for _ in range(3):
            connection = listener.accept()[0]
            accepted.append(connection)  # it stays open, and nobody listens there any more
            connection.recv(65536)
            connection.sendall(answer)

    with bound() as listener:
        thread = threading.Thread(target=serve, args=[listener])
        thread.start()
        url = "http://{}:{}".format(*listener.getsockname())
        for library in ("requests", "httpx"):
            with ApiClient(LiveApp(url), library=library, timeout=5) as api:
                api.get("/").assert_status(500)
                if library == "requests":
                    api.get("/").assert_status(500)
        thread.join()
    for connection in accepted:
        connection.close()
    assert len(accepted) == 3


def test_the_url(api: ApiClient, app: LiveApp) -> None:
    assert api.url("/users?page=1") == api.url("users?page=1") == f"{app.url}/api/users?page=1"
    assert api.url("") == f"{app.url}/api"
    assert api.url("?next=http://x/") == f"{app.url}/api?next=http://x/"
    assert api.url("/proxy/http://x/") == f"{app.url}/api/proxy/http://x/"
    assert api.url(f"{app.url}/api/users") == f"{app.url}/api/users"
    with pytest.raises(AppError, match="For other servers take requests or httpx itself"):
        api.get("https://payments.example.com/v1")


@pytest.mark.parametrize(
    ("url", "prefix", "base"),
    [
        ("http://shop:8000/api", "", "http://shop:8000/api"),
        ("http://shop:8000/api/", "/api", "http://shop:8000/api"),
        ("http://shop:8000", "api", "http://shop:8000/api"),
        ("http://shop:8000/shop", "/api/", "http://shop:8000/shop/api"),
    ],
)
def test_the_base(url: str, prefix: str, base: str) -> None:
    with ApiClient(LiveApp(url), prefix=prefix) as api:
        assert api.base_url == base


def test_a_time_out_is_always_set(library: str) -> None:
    with bound() as silent:
        url = "http://{}:{}".format(*silent.getsockname())
        notes: list[Exchange] = []
        with ApiClient(LiveApp(url), library=library, timeout=0.05, note=notes.append) as api:
            with pytest.raises(Exception, match="(?i)timed out"):
                api.get("/")
            with pytest.raises(Exception, match="(?i)timed out"):
                api.get("/", timeout=0.06)
    assert [each.status for each in notes] == [None, None]
    assert "Timeout" in notes[0].note


def test_httpx_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sending, "find_spec", lambda name: None)
    with pytest.raises(ConfigurationError, match=r"pip install 'pytest-testbed\[httpx\]'"):
        ApiClient(LiveApp("http://127.0.0.1:1"), library="httpx")


def test_assertions_show_the_exchange(api: ApiClient) -> None:
    answer = api.post("/echo", json=USER)
    with pytest.raises(AssertionError) as failed:
        answer.assert_status(201, "3xx", range(400, 500))

    text = str(failed.value)
    assert text.startswith("the status is 200, not 201 or 3xx or 400 to 499\napi_client: POST http")
    assert '> {"email": "ada@example.com", "password": "***"}' in text
    assert USER["password"] not in text.partition("<")[0]
    assert answer.assert_status("2xx").assert_status(200, 201).assert_status(range(200, 300)) is answer
    with pytest.raises(ConfigurationError, match="does not know '20'"):
        answer.assert_status("20")
    with pytest.raises(ConfigurationError, match="wants at least one status"):
        answer.assert_status()


def test_json_that_differs(api: ApiClient) -> None:
    answer = api.get("/echo")
    with pytest.raises(AssertionError) as failed:
        answer.assert_json({"method": "POST", "nothing": 1, "query": {}})

    assert "  method is 'GET', not 'POST'\n  nothing is missing\n" in str(failed.value)
    with pytest.raises(AssertionError, match="the body is no JSON"):
        api.get("/cookie").assert_json({})


def test_exchanges_are_noted(api: ApiClient, notes: list[Exchange]) -> None:
    api.post("/echo", json={"a": 1})

    (exchange,) = notes
    assert (exchange.method, exchange.status, json.loads(exchange.sent)) == ("POST", 200, {"a": 1})
    assert b"POST" in exchange.body


def test_patches_of_responses_are_not_seen(shop: Shop, app: LiveApp) -> None:
    import responses

    with responses.RequestsMock(assert_all_requests_are_fired=False) as mock, ApiClient(app, prefix="/api") as api:
        assert api.get("/echo").status_code == 200
        assert len(mock.calls) == 0
        with pytest.raises(requests.ConnectionError):
            requests.get("http://elsewhere.example.com", timeout=5)


# --- logins


def test_a_login(api: ApiClient, shop: Shop) -> None:
    assert api.get("/me").status_code == 401
    assert api.login(**USER) is api
    assert shop.fields == USER
    api.get("/me").assert_json({"token": "token-ada@example.com-1", "scheme": "Bearer"})
    api.logout()
    assert api.get("/me").status_code == 401


def test_tokens_are_kept_for_the_run(api: ApiClient, app: LiveApp, shop: Shop, tokens: Tokens) -> None:
    api.login(**USER)
    with ApiClient(app, prefix="/api", tokens=tokens) as next_one:
        next_one.login({"password": USER["password"], "email": USER["email"]})
        assert shop.logins == 1
        next_one.login(email="grace@example.com", password="x")
        next_one.login_anew(**USER)
    assert shop.logins == 3


def test_fields_of_any_name(api: ApiClient, shop: Shop) -> None:
    fields = {"self": 1, "credentials": 2, "fresh": 3, "path": 4}
    api.login(**fields)
    assert shop.fields == fields
    api.login({"user-name": "ada"}, password="x")
    assert shop.fields == {"user-name": "ada", "password": "x"}


def test_a_token_that_has_ended_is_taken_anew(api: ApiClient, shop: Shop, library: str) -> None:
    api.login(**USER)
    shop.valid.clear()

    api.post("/me", **{BODY[library]: "all of it"}).assert_json({"token": "token-ada@example.com-2", "body": "all of it"})
    assert shop.logins == 2


def test_a_token_that_is_refused_twice_is_the_answer(api: ApiClient, shop: Shop) -> None:
    api.login(**USER)
    shop.valid.clear()
    shop.grants = False

    assert api.get("/me").status_code == 401
    assert shop.logins == 2


def test_a_login_that_is_refused_on_the_way_is_the_answer_too(api: ApiClient, shop: Shop, notes: list[Exchange]) -> None:
    api.login(**USER)
    shop.valid.clear()
    shop.refuses = True

    assert api.get("/me").status_code == 401
    assert [each.status for each in notes] == [200, 401, 403]


def test_a_refused_login(api: ApiClient, shop: Shop) -> None:
    shop.refuses = True
    with pytest.raises(AppError) as failed:
        api.login(**USER)

    assert str(failed.value).startswith("the login was refused:\napi_client: POST http")
    assert '"error": "locked"' in str(failed.value)
    assert USER["password"] not in str(failed.value)


def test_streams(api: ApiClient, shop: Shop, library: str) -> None:
    name = BODY[library]
    api.login(**USER)
    shop.valid.clear()
    api.post("/me", **{name: io.BytesIO(b"file")}).assert_json({"body": "file"})
    shop.valid.clear()
    with pytest.raises(AppError, match="cannot be sent again, as its body is a stream"):
        api.post("/me", **{name: (part for part in [b"a", b"b"])})


class Through(io.BytesIO):
    """What is read once, and says where it is."""

    def seekable(self) -> bool:
        return False


@pytest.mark.parametrize(
    "given",
    [
        lambda stream: {"data": stream},
        lambda stream: {"content": stream},
        lambda stream: {"files": {"a": stream}},
        lambda stream: {"files": {"a": ("a.txt", stream, "text/plain")}},
        lambda stream: {"files": [("b", b"bytes"), ("a", ("a.txt", stream))]},
    ],
)
def test_bodies_that_can_be_sent_once_more(given: Any) -> None:
    stream = io.BytesIO(b"the whole body")
    stream.seek(4)
    rewind = sending.rewinder(given(stream))
    assert stream.read() == b"whole body"
    rewind()
    assert stream.read() == b"whole body"
    assert sending.rewinder(given(Through(b"body"))) is None
    assert sending.rewinder(given(iter([b"body"]))) is None


@pytest.mark.parametrize(
    ("path", "found"),
    [("items.0.id", 3), ("items.1.id", "there is no '1' in it, but a list"), ("items.id", "no 'id' in it, but a list")],
)
def test_what_is_at_a_path(path: str, found: int | str) -> None:
    body = {"items": [{"id": 3}]}
    if isinstance(found, int):
        assert found_at(body, path) == found
    else:
        with pytest.raises(LookupError, match=found):
            found_at(body, path)


def test_one_s_own_header_goes_first(api: ApiClient, shop: Shop) -> None:
    api.login(**USER)

    assert api.get("/me", headers={"authorization": "Bearer wrong"}).status_code == 401
    assert shop.logins == 1


def test_a_login_of_requests_own_goes_first(app: LiveApp, shop: Shop) -> None:
    with ApiClient(app, prefix="/api") as api:
        api.login(**USER)
        assert api.get("/me", auth=("ada", "wrong")).status_code == 401
    assert shop.logins == 1


def test_threads_that_meet_a_token_that_has_ended(api: ApiClient, shop: Shop) -> None:
    together = threading.Barrier(10)

    def ask(_: int) -> int:
        together.wait(10)
        return int(api.get("/me").status_code)

    api.login(**USER)
    shop.valid.clear()
    with ThreadPoolExecutor(10) as pool:
        assert set(pool.map(ask, range(10))) == {200}
    assert shop.logins == 2


def test_headers_for_others(api: ApiClient, shop: Shop, app: LiveApp) -> None:
    assert api.auth_headers(**USER) == {"Authorization": "Bearer token-ada@example.com-1"}
    assert api.auth_headers(**USER) == {"Authorization": "Bearer token-ada@example.com-2"}
    assert api.authorization is None


def test_somebody_else(api: ApiClient) -> None:
    api.login(**USER)
    other = api.as_user(email="grace@example.com", password="x")

    assert "grace" in other.get("/me").json()["token"]
    assert "ada" in api.get("/me").json()["token"]


def client(app: LiveApp, **login: Any) -> ApiClient:
    return ApiClient(app, prefix="/api", login=Login(**login))


def test_a_form_and_another_place(app: LiveApp, shop: Shop) -> None:
    with client(app, form=True, token="data.jwt", scheme="Token", credentials=USER) as api:
        api.login()
        assert shop.fields == USER
        api.get("/me").assert_json({"scheme": "Token"})


def test_a_token_that_is_not_there(app: LiveApp) -> None:
    with client(app, token="data.access_token") as api, pytest.raises(AppError) as failed:
        api.login(**USER)
    assert 'there is no \'access_token\' in it, but the keys ["expires", "jwt"]' in str(failed.value)
    with client(app, token="data.expires") as api, pytest.raises(AppError, match="no text, but a value of type int"):
        api.login(**USER)


def test_nobody_to_log_in(app: LiveApp) -> None:
    with client(app) as api, pytest.raises(ConfigurationError, match="testbed_api_credentials"):
        api.login()


def test_a_login_by_cookie(app: LiveApp, shop: Shop) -> None:
    with client(app, token="", path="/auth/login") as api:
        assert api.login(**USER).authorization is None
        api.login(**USER)
    assert shop.logins == 2


# --- ASGI without a server


def test_asgi_is_called_directly(caplog: pytest.LogCaptureFixture) -> None:
    from contextlib import asynccontextmanager

    from fastapi import FastAPI

    from pytest_testbed.http.starting import Wanted, _called

    begun = []

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> Any:
        begun.append("begin")
        yield {"shop": "open"}
        begun.append("end")

    app = FastAPI(lifespan=lifespan)

    @app.get("/state")
    async def state(request: Any) -> Any: ...

    @app.get("/broken")
    async def broken() -> Any:
        raise RuntimeError("no such thing")

    @app.get("/hello")
    def hello() -> str:
        return "hello"

    live = _called(app, "asgi", Wanted("shop:app", "testbed_app"))
    with caplog.at_level(logging.ERROR):
        for _ in range(2):
            with ApiClient(live) as api:
                api.get("/hello").assert_status(200).assert_json("hello")
                assert api.get("/broken").status_code == 500
    assert begun == ["begin"]
    assert live.stop() == ""
    assert begun == ["begin", "end"]
    assert "RuntimeError: no such thing" in caplog.text


def test_an_application_without_a_lifespan_is_called_directly() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        assert scope["type"] == "http"
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"hello"})

    with called.asgi_portal(app) as client:
        assert client.get("/").text == "hello"


def test_a_lifespan_that_fails_is_told() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        raise RuntimeError("no database")

    with pytest.raises(AppError, match="(?s)^the application could not be started:.*RuntimeError: no database"):
        with called.asgi_portal(app):
            pass


def test_an_error_of_a_websocket_is_the_client_s(caplog: pytest.LogCaptureFixture) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        raise RuntimeError(f"no such {scope['type']}")

    client = called.asgi_client(app)
    with pytest.raises(RuntimeError, match="no such websocket"), client.websocket_connect("/x"):
        pass
    assert caplog.messages == []
    assert client.get("/x").status_code == 500
    assert caplog.messages[0].startswith("GET /x failed")


@pytest.mark.parametrize("missing", [("starlette",), ("httpx", "httpx2")])
def test_what_an_asgi_application_is_called_with_is_missing(missing: tuple[str, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(called, "find_spec", lambda name: None if name in missing else name)
    with pytest.raises(AppError, match="pip install starlette httpx"):
        called.asgi_client(None)
