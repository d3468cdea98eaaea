"""`live_app`, `api_client` and `auth_headers` in runs of pytest."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from wsgiref.simple_server import WSGIRequestHandler, make_server

import pytest

from .conftest import Project

SHOP = """
import json, logging, os, sys

ENVIRON = dict(os.environ)
log = logging.getLogger("shop")

def app(environ, start_response):
    path = environ["PATH_INFO"]
    status = "200 OK"
    if path == "/auth/login":
        body = {"token": "t-" + json.loads(environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"])))["email"]}
    elif path == "/pid":
        body = os.getpid()
    elif path == "/env":
        body = ENVIRON.get("BASE_URL")
    elif path == "/exit":
        os._exit(9)
    elif path == "/log":
        log.warning("the log of the shop")
        print("printed by the shop", file=sys.stderr, flush=True)
        body = "logged"
    else:
        body = {"path": path, "authorization": environ.get("HTTP_AUTHORIZATION")}
    body = json.dumps(body).encode()
    start_response(status, [("Content-Type", "application/json"), ("Content-Length", str(len(body)))])
    return [body]
"""
INI = """
[pytest]
pythonpath = .
testbed_app = live_shop:app
"""
CREDENTIALS = """
testbed_api_credentials =
    email=ada@example.com
    password=s3cret-word
"""


@pytest.fixture
def shop(project: Project) -> Project:
    """A project with an application."""
    project.write(live_shop=SHOP)
    project.pytester.makeini(INI + CREDENTIALS)
    return project


SERVERS = pytest.mark.parametrize("server", ["thread", "process", "none"])


@SERVERS
def test_the_fixtures(shop: Project, server: str) -> None:
    shop.write(
        test_it="""
        def test_the_client(api_client):
            api_client.get("/users").assert_status(200).assert_json({"path": "/users", "authorization": None})
            api_client.login()
            api_client.get("/users").assert_json({"authorization": "Bearer t-ada@example.com"})

        def test_the_next_test_is_nobody(api_client):
            api_client.get("/users").assert_json({"authorization": None})

        def test_headers(auth_headers):
            assert auth_headers == {"Authorization": "Bearer t-ada@example.com"}

        def test_the_application(live_app):
            assert live_app.url == f"http://{live_app.host}" + (f":{live_app.port}" if live_app.port != 80 else "")
        """
    )
    shop.run("-o", f"testbed_app_server={server}", "-W", "error").assert_outcomes(passed=4)


def test_it_is_started_once_for_the_run(shop: Project) -> None:
    shop.write(
        test_it="""
        import os, pytest
        PIDS = set()

        @pytest.mark.parametrize("n", range(2))
        def test_it(api_client, n):
            PIDS.add(api_client.get("/pid").json())
            assert len(PIDS) == 1 and os.getpid() not in PIDS
        """
    )
    shop.run("-o", "testbed_app_server=process").assert_outcomes(passed=2)


def test_nothing_is_printed(shop: Project) -> None:
    shop.write(test_it="def test_it(api_client): api_client.get('/users')")
    result = shop.run("-q", "-s", "-p", "no:logging")

    assert result.stdout.lines[-2].startswith(".")
    result.stderr.no_fnmatch_line("*GET*")


# --- a failure shows what was said


def test_a_failure_shows_what_was_said_and_the_log(shop: Project) -> None:
    shop.write(
        test_it="""
        def test_fails(api_client):
            api_client.login()
            api_client.get("/log").assert_status(201)
        """
    )
    result = shop.run_apart("-o", "testbed_app_server=thread")  # in this one others may have switched logs off

    result.stdout.fnmatch_lines(
        [
            "E * AssertionError: the status is 200, not 201",
            "*Captured log call*",
            "WARNING *shop:live_shop.py*the log of the shop",
            "*Captured HTTP*",
            "api_client: POST http://127.0.0.1:*/auth/login → 200 in * ms",
            '*> {"email": "ada@example.com", "password": "[*][*][*]"}',
            "api_client: GET http://127.0.0.1:*/log → 200 in * ms",
            "*> Authorization: Bearer [*][*][*]",
        ]
    )
    result.stdout.no_fnmatch_line("*s3cret*")


def test_the_log_of_a_process_is_that_of_the_test(shop: Project) -> None:
    shop.write(
        test_it="""
        def test_passes(api_client):
            api_client.get("/log")

        def test_fails(api_client):
            api_client.get("/users")
            assert 0

        def test_fails_and_logs(api_client):
            api_client.get("/log")
            assert 0
        """
    )
    result = shop.run("-o", "testbed_app_server=process")

    result.assert_outcomes(passed=1, failed=2)
    text = result.stdout.str()
    assert text.count("the log of the shop") == 1
    assert text.count("printed by the shop") == 1
    result.stdout.fnmatch_lines(["*test_fails_and_logs*", "*Captured app log*", "*the log of the shop*", "printed by the shop"])


# --- faults


def test_a_crash_at_import_is_told_once_in_each_test(shop: Project) -> None:
    shop.write(live_shop="def f():\n    raise RuntimeError('no settings')\nf()", test_it="def test_it(api_client): pass")
    result = shop.run()

    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(
        [
            "AppError: testbed_app (from *tox.ini) names live_shop:app, which cannot be loaded:",
            "Traceback (most recent call last):",
            '*live_shop.py", line 3, in <module>',
            "RuntimeError: no settings",
        ]
    )
    result.stdout.no_fnmatch_line("*pytest_testbed*loading*")


@pytest.mark.parametrize("server", ["thread", "process"])
def test_a_long_error_is_told_in_full_by_the_first_test(shop: Project, server: str) -> None:
    shop.write(
        live_shop="def f():\n    raise RuntimeError('no settings')\nf()",
        test_it="def test_one(live_app): pass\ndef test_two(api_client): pass\ndef test_three(auth_headers): pass",
    )
    result = shop.run("-o", f"testbed_app_server={server}")
    result.assert_outcomes(errors=3)
    text = result.stdout.str()
    assert text.count("RuntimeError: no settings") == 1
    assert text.count("(told in full by test_it.py::test_one)") == 2
    assert shop.run("--full-trace").stdout.str().count("RuntimeError: no settings") >= 3


@pytest.mark.parametrize(("server", "seconds"), [("thread", 0.5), ("process", 2)])  # an interpreter starts within them
def test_a_hang_at_the_start(shop: Project, server: str, seconds: float) -> None:
    shop.write(live_shop="import threading\nthreading.Event().wait(60)", test_it="def test_it(api_client): pass")
    result = shop.run("-o", f"testbed_app_server={server}", "-o", f"testbed_app_timeout={seconds}")

    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines([f"AppError: *{seconds} s (testbed_app_timeout). It is here:", "*live_shop.py*line 2*"])
    if server == "thread":  # of a process, it is the interpreter that tells
        result.stdout.no_fnmatch_line("*site-packages*pluggy*")


HANGS = """
import asyncio, pathlib

async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        while not pathlib.Path("released").exists():
            await asyncio.sleep(0.01)
    await send({"type": "http.response.start", "status": 204, "headers": []})
    await send({"type": "http.response.body"})
"""


def test_a_hang_at_the_stop(shop: Project) -> None:
    shop.write(live_shop=HANGS, test_it="def test_it(api_client): api_client.get('/').assert_status(204)")
    result = shop.run("-o", "testbed_app_timeout=0.3", "-W", "always")
    (shop.path / "released").touch()

    result.assert_outcomes(passed=1, warnings=1)
    result.stdout.fnmatch_lines(["*TestbedWarning: the application has not ended within 0.3 s (testbed_app_timeout)*"])


def test_an_exit_is_told(shop: Project) -> None:
    shop.write(
        test_it="""
        def test_ends_it(api_client):
            api_client.get("/exit")

        def test_next(api_client):
            pass

        def test_on_the_url(live_app):
            pass

        def test_another():
            pass
        """
    )
    result = shop.run("-o", "testbed_app_server=process")

    result.assert_outcomes(failed=1, errors=2, passed=1)
    result.stdout.fnmatch_lines(
        ["AppError: the application does not run any more: its process * ended with exit code 9. Its last words:"]
    )
    assert result.stdout.str().count("exit code 9") >= 3


def test_nobody_says_which(project: Project) -> None:
    project.write(test_it="def test_it(live_app): pass")
    result = project.run()

    result.stdout.fnmatch_lines(["ConfigurationError: nobody says which application *testbed_app*testbed_app_url*BASE_URL*"])


# --- outside


@pytest.fixture
def outside() -> Iterator[str]:
    """Return the address of an application that runs already."""
    import threading

    class Quiet(WSGIRequestHandler):
        def log_message(self, *args: object) -> None:
            pass

    names: dict[str, object] = {}
    exec(SHOP, names)
    with make_server("127.0.0.1", 0, names["app"], handler_class=Quiet) as server:  # type: ignore[arg-type]
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


CLIENT = "def test_it(api_client): api_client.get('/users').assert_json({'path': '/api/users'})"


def test_an_address_by_the_option(project: Project, outside: str) -> None:
    project.write(test_it=CLIENT)
    project.run("-o", f"testbed_app_url={outside}/api/", "-o", "testbed_api_prefix=/api").assert_outcomes(passed=1)


def test_an_address_by_the_variable(shop: Project, outside: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BASE_URL", f"{outside}/api")
    shop.write(test_it=CLIENT)
    shop.run().assert_outcomes(passed=1)


def test_the_variable_counts_as_it_was_before_the_tests(shop: Project, outside: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BASE_URL", f"{outside}/api")
    shop.write(test_it="import os\nos.environ['BASE_URL'] = 'http://localhost:1'\n" + CLIENT)
    shop.run().assert_outcomes(passed=1)


def test_a_far_address_is_passed_over(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BASE_URL", "https://shop.example.com")
    project.write(test_it="def test_it(live_app): pass")
    result = project.run()

    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*BASE_URL names the server shop.example.com*passed over*testbed_app_url*"])


def test_a_far_address_is_passed_over_with_a_word(shop: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BASE_URL", "https://shop.example.com")
    shop.write(test_it="def test_it(live_app): assert live_app.host == '127.0.0.1'\ndef test_next(live_app): pass")
    result = shop.run()

    result.assert_outcomes(passed=2)
    told = "testbed: BASE_URL names the server shop.example.com*passed over*testbed_app_url*; testbed_app was started"
    result.stdout.fnmatch_lines([told])
    assert result.stdout.str().count("shop.example.com") == 1


def test_nobody_answers_there(project: Project) -> None:
    project.write(test_it="def test_it(live_app): pass")
    result = project.run("-o", "testbed_app_url=http://127.0.0.1:1")

    result.stdout.fnmatch_lines(["AppError: nobody answers at http://127.0.0.1:1 (testbed_app_url, from *"])


# --- the address in the environment

EXPORT = "testbed_env = BASE_URL={app.url}/v1"


@pytest.fixture
def existing(shop: Project) -> Project:
    """A suite that reads its address from the environment, and asks for no fixture of ours."""
    shop.pytester.makeini(INI + EXPORT)
    shop.write(
        conftest="import os\nURL = os.environ['BASE_URL']",
        test_it="""
        import pytest, requests
        from conftest import URL

        @pytest.mark.unit
        def test_unit():
            import sys
            assert "live_shop" not in sys.modules

        @pytest.fixture(scope="session")
        def users():
            return requests.get(f"{URL}/users", timeout=5).json()

        def test_it(users):
            assert users["path"] == "/v1/users"

        def test_ours(api_client):
            assert api_client.get("/env").json() == URL
            assert api_client.base_url + "/v1" == URL
        """,
    )
    return shop


def test_who_asks_before_it_is_started_is_refused(existing: Project) -> None:
    existing.write(
        test_it="""
        import pytest, requests
        from conftest import URL

        @pytest.mark.unit
        def test_unit():
            with pytest.raises(requests.ConnectionError, match="refused"):
                requests.get(URL, timeout=5)

        def test_it():
            assert requests.get(URL, timeout=5).status_code == 200
        """
    )
    existing.run("-W", "error").assert_outcomes(passed=2)


@pytest.mark.parametrize("server", ["thread", "process"])
def test_an_existing_suite_needs_two_lines(existing: Project, server: str) -> None:
    existing.run("-W", "error", "-o", f"testbed_app_server={server}").assert_outcomes(passed=3)


def test_an_existing_suite_in_workers(existing: Project) -> None:
    existing.run_apart("-p", "xdist.plugin", "-n2", "-o", "testbed_app_server=process").assert_outcomes(passed=3)


def test_a_given_address_is_exported_as_it_is(existing: Project, outside: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BASE_URL", outside)
    existing.write(test_it=f"import os\ndef test_it(api_client): assert os.environ['BASE_URL'] == '{outside}/v1'")
    existing.run().assert_outcomes(passed=1)


def test_a_given_address_that_ends_as_the_text_goes_on(existing: Project, outside: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BASE_URL", f"{outside}/v1")
    existing.write(test_it=f"import os\ndef test_it(live_app): assert os.environ['BASE_URL'] == '{outside}/v1'")
    existing.run().assert_outcomes(passed=1)


def test_the_header_says_what_leads_to_the_application(existing: Project) -> None:
    existing.run("--collect-only").stdout.fnmatch_lines(["testbed: BASE_URL from the application"])


@pytest.mark.parametrize(("more", "outcome"), [((), "HostBlocked"), (("-o", "testbed_http_allow=203.0.113.7"), "not blocked")])
def test_the_block_holds_in_a_process_of_its_own(shop: Project, more: tuple[str, ...], outcome: str) -> None:
    shop.write(
        live_shop="""
        import socket

        def app(environ, start_response):
            try:
                socket.create_connection(("203.0.113.7", 80), timeout=0.01).close()
            except Exception as error:
                text = type(error).__name__
            start_response("200 OK", [("Content-Type", "text/plain")])
            return [text.encode()]
        """,
        test_it=f"""
        def test_it(api_client):
            text = api_client.get("/").text
            assert (text if text == "HostBlocked" else "not blocked") == {outcome!r}
        """,
    )
    options = ("testbed_app_server=process", "testbed_http_block=true")
    shop.run(*(word for option in options for word in ("-o", option)), *more).assert_outcomes(passed=1)


def test_the_log_of_werkzeug_has_no_colours(shop: Project) -> None:
    pytest.importorskip("werkzeug")
    shop.write(
        live_shop="""
        def app(environ, start_response):
            start_response("404 Not Found", [("Content-Length", "0")])
            return []
        """,
        test_it="def test_it(api_client): api_client.get('/users').assert_status(200)",
    )
    result = shop.run_apart("-o", "log_level=INFO")  # in this one others may have switched logs off
    result.stdout.fnmatch_lines(['*"GET /users HTTP/1.1" 404 *'])
    result.stdout.no_fnmatch_line("*\x1b*")


def test_what_we_export_names_no_application(shop: Project) -> None:
    shop.pytester.makeini(INI + "testbed_env = BASE_URL=http://127.0.0.1:1")
    shop.write(test_it="def test_it(live_app): assert live_app.app is not None")
    shop.run().assert_outcomes(passed=1)


@pytest.mark.parametrize(
    ("more", "text"),
    [
        ("testbed_app_server = none", "with testbed_app_server = none (from *tox.ini) it has none"),
        ("", "nobody says which that is: name it in testbed_app"),
    ],
)
def test_an_address_that_cannot_be_had(shop: Project, more: str, text: str) -> None:
    shop.pytester.makeini((INI if more else "[pytest]\n") + EXPORT + "\n" + more)
    shop.write(test_it="def test_it(): pass")
    result = shop.run_apart()

    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([f"ERROR: *{text}*"])


def test_nothing_is_started_to_show_a_plan(existing: Project) -> None:
    existing.write(live_shop="raise RuntimeError('imported')")
    assert existing.run("--setup-plan").ret == 0


# --- others' fixtures and plugins


@pytest.mark.parametrize("gives", ["URL", "types.SimpleNamespace(url=URL)"])
def test_somebody_else_s_live_app(project: Project, outside: str, gives: str) -> None:
    project.pytester.makeini("[pytest]\n" + CREDENTIALS)
    project.write(
        conftest=f"import pytest, types\nURL = '{outside}'\n@pytest.fixture\ndef live_app(): return {gives}",
        test_it="def test_it(api_client, auth_headers): api_client.get('/', headers=auth_headers).assert_status(200)",
    )
    project.run().assert_outcomes(passed=1)


def test_a_live_app_that_is_no_url(project: Project) -> None:
    project.write(conftest="import pytest\n@pytest.fixture\ndef live_app(): return 8000", test_it="def test_it(api_client): pass")
    project.run().stdout.fnmatch_lines(["ConfigurationError: the fixture live_app gives 8000, *"])


def test_somebody_else_s_api_client(shop: Project) -> None:
    shop.write(
        conftest="import pytest\n@pytest.fixture\ndef api_client(): return 'mine'",
        test_it="def test_it(api_client, auth_headers): assert api_client == 'mine' and auth_headers['Authorization']",
    )
    shop.run().assert_outcomes(passed=1)


def test_switched_off(project: Project) -> None:
    project.pytester.makeini(INI)
    project.write(test_it="def test_it(): pass\ndef test_live(live_app): pass")
    result = project.run("-p", "no:pytest_testbed.plugins.http")

    result.assert_outcomes(passed=1, errors=1)
    result.stdout.fnmatch_lines(["*fixture 'live_app' not found"])


def test_workers_have_their_own(shop: Project) -> None:
    shop.write(
        test_it="""
        import pathlib, pytest

        @pytest.mark.parametrize("n", range(4))
        def test_it(api_client, worker_id, n):
            pathlib.Path(f"{worker_id}-{api_client.get('/pid').json()}").touch()
        """
    )
    shop.run_apart("-p", "xdist.plugin", "-n2", "--dist=each", "-o", "testbed_app_server=process")
    pids = {path.name.partition("-")[2] for path in shop.path.glob("gw*-*")}

    assert len(pids) == 2


def test_asynchronous_tests(shop: Project) -> None:
    shop.write(
        test_it="""
        import httpx, pytest

        @pytest.mark.asyncio
        async def test_it(live_app, auth_headers):
            async with httpx.AsyncClient(base_url=live_app.url, headers=auth_headers) as client:
                assert (await client.get("/users")).json()["authorization"] == "Bearer t-ada@example.com"
        """
    )
    shop.run_apart("-p", "pytest_asyncio.plugin").assert_outcomes(passed=1)


def test_a_fork_in_a_test(shop: Project) -> None:
    shop.write(
        test_it="""
        import os, warnings

        def test_forks(api_client):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                pid = os.fork()
            if not pid:
                os._exit(0)
            os.waitpid(pid, 0)
            api_client.get("/").assert_status(200)

        def test_next(api_client):
            api_client.get("/").assert_status(200)
        """
    )
    for server in ("thread", "process"):
        shop.run("-o", f"testbed_app_server={server}").assert_outcomes(passed=2)


SLEEPS = """
import asyncio

async def app(scope, receive, send):
    assert scope["type"] == "http"
    await asyncio.sleep(0.001)
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body"})
"""


@pytest.mark.parametrize("source", [SHOP, SLEEPS], ids=["wsgi", "asgi"])
def test_a_stopped_clock(shop: Project, source: str) -> None:
    shop.write(live_shop=source)
    shop.write(
        test_it="""
        import pytest
        from freezegun import freeze_time

        @pytest.fixture(scope="session", autouse=True)
        def stopped():
            with freeze_time("2020-01-01"):
                yield

        def test_it(stopped, api_client):
            api_client.get("/").assert_status(200)
        """
    )
    shop.run_apart("-W", "error", "-o", "testbed_app_ready=/", "-o", "testbed_app_timeout=5").assert_outcomes(passed=1)


def test_no_process_outlives_pytest(shop: Project, alive: Callable[[int], bool]) -> None:
    shop.write(
        test_it="""
        import os, pathlib, threading

        def test_it(api_client):
            if not os.fork():  # who keeps all of the test's pipes open
                threading.Event().wait(8)
                os._exit(0)
            pathlib.Path("pid.part").write_text(str(api_client.get("/pid").json()))
            os.rename("pid.part", "pid")
            threading.Event().wait(30)
        """
    )
    command = [sys.executable, "-m", "pytest", "-o", "testbed_app_server=process", str(shop.path)]
    with subprocess.Popen(command, cwd=shop.path, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        pid = int(awaited(shop.path / "pid"))
        assert alive(pid)
        process.send_signal(signal.SIGKILL)
    deadline = time.monotonic() + 10
    while alive(pid) and time.monotonic() < deadline:
        time.sleep(0.005)
    assert not alive(pid)


def awaited(path: Path) -> str:
    deadline = time.monotonic() + 30
    while not path.exists():
        assert time.monotonic() < deadline
        time.sleep(0.005)
    return path.read_text()


# --- frameworks

FRAMEWORKS = {
    "flask": """
        from flask import Flask
        app = Flask("shop")

        @app.get("/hello")
        def hello():
            return {"says": "hello"}
        """,
    "fastapi": """
        from fastapi import FastAPI
        app = FastAPI()

        @app.get("/hello")
        def hello():
            return {"says": "hello"}
        """,
    "django": """
        import os
        from django.conf import settings
        from django.http import JsonResponse
        from django.urls import path

        if not settings.configured:
            settings.configure(ROOT_URLCONF=__name__, ALLOWED_HOSTS=["*"], SECRET_KEY="x")
        urlpatterns = [path("hello", lambda request: JsonResponse({"says": "hello"}))]

        def wsgi():
            from django.core.wsgi import get_wsgi_application
            return get_wsgi_application()

        def asgi():
            from django.core.asgi import get_asgi_application
            return get_asgi_application()
        """,
}


@SERVERS
@pytest.mark.parametrize("path", ["flask:app", "fastapi:app", "django:wsgi()", "django:asgi()"])
def test_frameworks(project: Project, path: str, server: str) -> None:
    name, _, rest = path.partition(":")
    pytest.importorskip(name)
    module = f"live_{name}_{rest.strip('()')}_{server}"
    project.pytester.makepyfile(**{module: FRAMEWORKS[name]})
    project.write(test_it="def test_it(api_client): api_client.get('/hello').assert_status(200).assert_json({'says': 'hello'})")
    options = ["-o", "pythonpath=.", "-o", f"testbed_app={module}:{rest}", "-o", f"testbed_app_server={server}"]
    # a framework that is imported anew in one process does not go well
    project.run_apart(*options).assert_outcomes(passed=1)
