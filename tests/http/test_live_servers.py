"""Applications on their servers: as they start, as they end, and what does not."""

from __future__ import annotations

import os
import re
import resource
import signal
import socket
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import requests

from pytest_testbed.errors import AppError, ConfigurationError
from pytest_testbed.http import appserver, process, stacks
from pytest_testbed.http.live import LiveApp
from pytest_testbed.http.process import ProcessServer
from pytest_testbed.http.starting import Wanted, outside, start

WSGI = """
import time
from threading import Event
held, arrived = Event(), Event()

def app(environ, start_response):
    if environ["PATH_INFO"] == "/held":
        arrived.set()
        held.wait(20)
    if environ["PATH_INFO"] == "/broken":
        raise RuntimeError("no such thing")
    if environ["PATH_INFO"] == "/exit":
        raise SystemExit(3)
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", "5")])
    return [b"hello"]
"""
ASGI = """
import asyncio, os, sys, time
seen = []

async def answer(send):
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"5")]})
    await send({"type": "http.response.body", "body": b"hello"})

async def without_lifespan(scope, receive, send):
    assert scope["type"] == "http"
    if scope["path"] == "/exit":
        os._exit(7)
    await answer(send)

def with_lifespan(startup=None, shutdown=None):
    async def app(scope, receive, send):
        if scope["type"] != "lifespan":
            return await answer(send)
        await receive()
        if startup:
            await startup()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        if shutdown:
            await shutdown()
        seen.append("shutdown")
        await send({"type": "lifespan.shutdown.complete"})
    return app

app = with_lifespan()

async def never():
    while True:
        await asyncio.sleep(0.01)

async def blocking():
    while True:
        time.sleep(0.01)

async def raising():
    raise RuntimeError("no database")

async def exiting():
    sys.exit(3)

hangs_at_start = with_lifespan(startup=never)
blocks_at_start = with_lifespan(startup=blocking)
raises_at_start = with_lifespan(startup=raising)
exits_at_start = with_lifespan(startup=exiting)
hangs_at_stop = with_lifespan(shutdown=never)
raises_at_stop = with_lifespan(shutdown=raising)

async def says_failed(scope, receive, send):
    await receive()
    await send({"type": "lifespan.startup.failed", "message": "the words of the application"})
"""


@pytest.fixture
def modules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "live_wsgi.py").write_text(WSGI)
    (tmp_path / "live_asgi.py").write_text(ASGI)
    (tmp_path / "live_hangs.py").write_text("import threading\nthreading.Event().wait(20)\n")
    yield tmp_path
    for name in [name for name in sys.modules if name.startswith("live_")]:
        del sys.modules[name]


Starter = Callable[..., LiveApp]


@pytest.fixture
def begin(modules: Path) -> Iterator[Starter]:
    """Start an application of these modules; it is ended after the test."""
    apps: list[LiveApp] = []

    def begin(path: str, server: str = "thread", **more: Any) -> LiveApp:
        apps.append(start(Wanted(path, "testbed_app", server, **more)))
        return apps[-1]

    yield begin
    for app in apps:
        app.stop()


@pytest.fixture(params=["werkzeug", "wsgiref"])
def wsgi_server(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param == "wsgiref":
        monkeypatch.setattr(appserver, "find_spec", lambda name: None)
    return str(request.param)


def took(do: Callable[[], object]) -> float:
    began = time.perf_counter()
    do()
    return time.perf_counter() - began


@pytest.mark.parametrize("server", ["thread", "process"])
@pytest.mark.parametrize("path", ["live_asgi:app", "live_asgi:without_lifespan", "live_wsgi:app"])
def test_it_answers(begin: Starter, path: str, server: str) -> None:
    app = begin(path, server)

    assert requests.get(f"{app.url}/", timeout=5).text == "hello"
    assert app.interface == path[5:9]
    assert f"http://{app.host}:{app.port}" == app.url
    assert app.stop() == ""
    if isinstance(app.server, ProcessServer):
        assert (app.server.log(), app.server.stop()) == ("", ""), "nothing is left of it"
    with pytest.raises(requests.ConnectionError):
        requests.get(app.url, timeout=5)


@pytest.mark.usefixtures("wsgi_server")
def test_wsgi_answers_several_at_once(begin: Starter) -> None:
    app = begin("live_wsgi:app")
    slow = threading.Thread(target=requests.get, args=[f"{app.url}/held"], kwargs={"timeout": 20})
    slow.start()
    try:
        assert requests.get(app.url, timeout=5).text == "hello"
    finally:
        sys.modules["live_wsgi"].held.set()
        slow.join()


@pytest.mark.usefixtures("wsgi_server")
def test_an_error_of_the_application_is_an_answer(begin: Starter) -> None:
    app = begin("live_wsgi:app")

    for path in ("/broken", "/exit"):
        assert requests.get(f"{app.url}{path}", timeout=5).status_code == 500
    assert requests.get(app.url, timeout=5).status_code == 200


@pytest.mark.usefixtures("wsgi_server")
def test_the_stop_of_wsgi_waits_for_nothing(begin: Starter) -> None:
    app = begin("live_wsgi:app")
    with requests.Session() as session:  # whose connection stays open
        session.get(app.url, timeout=5)
        assert took(app.stop) < 0.3


def test_the_stop_of_asgi_does_not_wait_for_connections(begin: Starter) -> None:
    app = begin("live_asgi:app")
    with requests.Session() as session:
        session.get(app.url, timeout=5)
        assert took(app.stop) < 0.45
    assert sys.modules["live_asgi"].seen == ["shutdown"]


def test_who_ends_it_as_soon_as_it_answers_has_its_end_as_well(modules: Path) -> None:
    import live_asgi

    server = appserver.serving(live_asgi.app, "asgi", appserver.bound())
    server.run(server.stop)
    assert live_asgi.seen == ["shutdown"]


def test_threads_are_gone_in_the_end(begin: Starter) -> None:
    before = set(threading.enumerate())
    for path in ("live_asgi:app", "live_wsgi:app"):
        app = begin(path)
        with requests.Session() as session:
            session.get(app.url, timeout=5)
            app.stop()
    for thread in set(threading.enumerate()) - before:
        thread.join(5)
    assert set(threading.enumerate()) <= before


def test_small_answers_are_sent_at_once() -> None:
    with appserver.bound() as listener:
        assert listener.proto == socket.IPPROTO_TCP, "asyncio sets TCP_NODELAY by that"


# --- faults at the start


@pytest.mark.parametrize("server", ["thread", "process"])
@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("live_asgi:raises_at_start", "RuntimeError: no database"),
        ("live_asgi:exits_at_start", "it called sys.exit(3)"),
        ("live_asgi:says_failed", "the words of the application"),
        ("live_hangs_not:app", "there is no live_hangs_not on sys.path"),
    ],
)
def test_a_crash_is_told_at_once(begin: Starter, path: str, text: str, server: str) -> None:
    began = time.perf_counter()
    with pytest.raises((AppError, ConfigurationError)) as failed:
        begin(path, server)

    assert text in str(failed.value)
    assert time.perf_counter() - began < 10, "the time-out is 30 s"


@pytest.mark.parametrize("server", ["thread", "process"])
@pytest.mark.parametrize(("path", "where"), [("live_asgi:blocks_at_start", "in blocking"), ("live_hangs:app", "live_hangs.py")])
def test_a_hang_is_told_with_its_place(begin: Starter, path: str, where: str, server: str) -> None:
    with pytest.raises(AppError) as failed:
        begin(path, server, timeout=1.0 if server == "process" else 0.3)

    assert "testbed_app_timeout" in str(failed.value)
    assert where in str(failed.value)
    if "live_asgi" in sys.modules:  # let the thread that is left end
        sys.modules["live_asgi"].time = None


def test_a_lifespan_that_waits_for_ever(begin: Starter) -> None:
    began = time.perf_counter()
    with pytest.raises(AppError, match="has not started within 0.3 s"):
        begin("live_asgi:hangs_at_start", timeout=0.3)
    assert 0.3 <= time.perf_counter() - began < 3, "it waits so long once, and for nothing else"
    sys.modules["live_asgi"].asyncio = None


@pytest.mark.parametrize("path", ["live_asgi:hangs_at_start", "live_asgi:hangs_at_stop"])
def test_a_hang_without_a_server_is_bounded(begin: Starter, path: str) -> None:
    began = time.perf_counter()
    if path.endswith("start"):
        with pytest.raises(AppError, match="the start of live_asgi:hangs_at_start takes longer than 0.3 s"):
            begin(path, "none", timeout=0.3)
    else:
        assert "the end of live_asgi:hangs_at_stop takes longer than 0.3 s" in begin(path, "none", timeout=0.3).stop()
    assert time.perf_counter() - began < 5


def test_a_module_that_hangs_is_waited_for_just_so_long(begin: Starter) -> None:
    began = time.perf_counter()
    with pytest.raises(AppError, match="takes longer than 0.2 s"):
        begin("live_hangs:app", timeout=0.2)
    assert 0.2 <= time.perf_counter() - began < 3


def test_a_process_that_ends_without_a_word(begin: Starter, modules: Path) -> None:
    (modules / "live_silent.py").write_text("import os\nprint('its last words')\nos._exit(5)\n")
    with pytest.raises(AppError, match=r"(?s)ended with exit code 5\. Its last words:\nits last words"):
        begin("live_silent:app", "process")


def test_a_long_error_of_a_process_arrives_whole(begin: Starter, modules: Path) -> None:
    (modules / "live_wordy.py").write_text("raise RuntimeError('begin ' + 'x' * 300_000 + ' end')\n")
    with pytest.raises(AppError, match=r"(?s)RuntimeError: begin x{300000} end"):
        begin("live_wordy:app", "process")


@pytest.mark.parametrize(
    ("said", "line"), [("logging.basicConfig(format='own %(message)s')", "^own asked$"), ("", "WARNING root: asked$")]
)
def test_the_log_of_a_process_is_as_the_application_has_it(begin: Starter, modules: Path, said: str, line: str) -> None:
    app = "def app(*about):\n    logging.warning('asked')\n    return live_wsgi.app(*about)\n"
    (modules / "live_logs.py").write_text(f"import logging\nimport live_wsgi\n{said}\n{app}")
    live = begin("live_logs:app", "process", interface="wsgi")
    assert requests.get(live.url, timeout=5).text == "hello"

    assert re.search(line, live.server.log(), re.M)  # type: ignore[union-attr]


def test_a_process_is_for_posix(monkeypatch: pytest.MonkeyPatch) -> None:
    server = ProcessServer("live_wsgi:app", "testbed_app", "", appserver.bound(), 1.0, None)
    with monkeypatch.context() as patched, server._listener, server._log:
        patched.setattr(os, "name", "nt")
        with pytest.raises(AppError, match="testbed_app_server = process is for Linux and macOS"):
            server.start()


def test_a_process_that_does_not_say_where_it_is(begin: Starter, monkeypatch: pytest.MonkeyPatch) -> None:
    app = begin("live_wsgi:app", "process")
    server = app.server
    assert isinstance(server, ProcessServer)
    os.kill(server._process.pid, signal.SIGSTOP)
    try:
        with monkeypatch.context() as patched:
            patched.setattr(process, "threading", SimpleNamespace(Event=lambda: SimpleNamespace(wait=lambda seconds: None)))
            assert server._stacks() == server.tail()
    finally:
        os.kill(server._process.pid, signal.SIGCONT)


def test_uvicorn_is_missing(begin: Starter, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(appserver, "find_spec", lambda name: None)
    with pytest.raises(AppError, match=r"pip install 'pytest-testbed\[asgi\]'"):
        begin("live_asgi:app")


def test_a_suite_with_many_open_files(begin: Starter) -> None:
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    if limits[1] < 2048:
        pytest.skip("this user may not open so many")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(limits[0], 2048), limits[1]))
    first = os.open(os.devnull, os.O_RDONLY)
    copies = [os.dup(first) for _ in range(1100)]
    try:
        assert requests.get(begin("live_wsgi:app", "process").url, timeout=5).text == "hello"
    finally:
        for each in (first, *copies):
            os.close(each)
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)


def test_the_interface_can_be_said(begin: Starter, modules: Path) -> None:
    (modules / "live_vague.py").write_text("import live_wsgi\n\ndef app(*args):\n    return live_wsgi.app(*args)\n")
    with pytest.raises(ConfigurationError, match="testbed_app_interface"):
        begin("live_vague:app")

    assert requests.get(begin("live_vague:app", interface="wsgi").url, timeout=5).text == "hello"


# --- readiness

SLOW = """
asked = []

def app(environ, start_response):
    asked.append(environ["PATH_INFO"])
    start_response("404 Not Found" if len(asked) > 2 else "503 Unavailable", [("Content-Length", "0")])
    return []
"""


def test_a_path_is_asked_until_it_is_answered(begin: Starter, modules: Path) -> None:
    (modules / "live_slow.py").write_text(SLOW)
    begin("live_slow:app", ready="/health")

    assert sys.modules["live_slow"].asked == ["/health"] * 3


def test_a_path_that_is_never_answered(begin: Starter) -> None:
    with pytest.raises(AppError, match=r"GET /broken \(testbed_app_ready\).*The last time: the status was 500"):
        begin("live_wsgi:app", ready="/broken", timeout=0.3)


# --- faults while it runs, and at the end


def test_a_hang_at_the_stop_is_bounded(begin: Starter) -> None:
    app = begin("live_asgi:hangs_at_stop", timeout=0.5)

    assert "has not ended within 0.5 s" in app.stop()
    sys.modules["live_asgi"].asyncio = None


def test_a_request_that_hangs_at_the_stop_is_named(begin: Starter) -> None:
    app = begin("live_wsgi:app", timeout=0.3)
    slow = threading.Thread(target=requests.get, args=[f"{app.url}/held"], kwargs={"timeout": 20})
    slow.start()
    assert sys.modules["live_wsgi"].arrived.wait(5)
    try:
        assert "GET /held" in app.stop()
    finally:
        sys.modules["live_wsgi"].held.set()
        slow.join()


@pytest.mark.parametrize("server", ["thread", "process", "none"])
def test_an_error_at_the_stop_is_told(begin: Starter, server: str) -> None:
    app = begin("live_asgi:raises_at_stop", server)

    assert "RuntimeError: no database" in app.stop()


def test_a_hang_at_the_stop_of_a_process(begin: Starter, alive: Callable[[int], bool]) -> None:
    app = begin("live_asgi:hangs_at_stop", "process", timeout=2.0)
    pid = app.server._process.pid  # type: ignore[union-attr]

    assert "has not ended within 2 s (testbed_app_timeout) and was killed" in app.stop()
    assert not alive(pid)


@pytest.fixture
def alive() -> Callable[[int], bool]:
    from pytest_testbed.services.ledger import start_time

    return lambda pid: bool(start_time(pid))


def wait_for_fault(app: LiveApp) -> str:
    with pytest.raises(AppError) as failed:
        app.check(10)
    return str(failed.value)


def test_a_process_that_ends_by_itself(begin: Starter) -> None:
    app = begin("live_asgi:without_lifespan", "process")
    with pytest.raises(requests.ConnectionError):
        requests.get(f"{app.url}/exit", timeout=5)

    assert "does not run any more" in (fault := wait_for_fault(app))
    assert "ended with exit code 7" in fault


def test_a_server_that_ends_by_itself(begin: Starter) -> None:
    app = begin("live_wsgi:app")
    app.server._serving.stop()  # type: ignore[union-attr]

    assert "the application has ended by itself:\nits server ended without an error" in wait_for_fault(app)


def test_a_process_that_is_killed(begin: Starter) -> None:
    app = begin("live_asgi:app", "process")
    os.kill(app.server._process.pid, signal.SIGKILL)  # type: ignore[union-attr]

    assert "was ended by SIGKILL" in wait_for_fault(app)
    assert app.stop() == "", "it was told"


def test_a_forked_child_ends_nothing(begin: Starter) -> None:
    apps = [begin("live_wsgi:app"), begin("live_wsgi:app", "process")]
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pid = os.fork()
    if not pid:
        for app in apps:
            app.stop()
        os._exit(0)
    os.waitpid(pid, 0)

    assert [requests.get(app.url, timeout=5).text for app in apps] == ["hello", "hello"]


def test_what_a_process_has_started_ends_with_it(begin: Starter, modules: Path, alive: Callable[[int], bool]) -> None:
    (modules / "live_parent.py").write_text(
        textwrap.dedent(
            """
            import subprocess, sys
            from live_wsgi import app
            child = subprocess.Popen([sys.executable, "-c", "import time; print('begun', flush=True); time.sleep(60)"])
            print(child.pid, flush=True)
            """
        )
    )
    app = begin("live_parent:app", "process")
    pid = int(app.server.log().splitlines()[0].replace("begun", ""))  # type: ignore[union-attr]
    assert alive(pid)
    app.stop()
    deadline = time.monotonic() + 5
    while alive(pid) and time.monotonic() < deadline:
        time.sleep(0.005)
    assert not alive(pid)


# --- elsewhere


def test_nobody_is_outside() -> None:
    with appserver.bound() as listener:
        port = listener.getsockname()[1]
    with pytest.raises(
        AppError, match=rf"nobody answers at http://127.0.0.1:{port} \(environment BASE_URL\).*testbed_app has it"
    ):
        outside(f"http://127.0.0.1:{port}", "environment BASE_URL", "", 5)


def test_somebody_is_outside() -> None:
    with appserver.bound() as listener:
        port = listener.getsockname()[1]
        assert outside(f"http://localhost:{port}/api/", "x", "", 5).url == f"http://localhost:{port}/api"


def test_somebody_outside_is_asked_until_he_is_ready(begin: Starter, modules: Path) -> None:
    (modules / "live_slow.py").write_text(SLOW)
    app = begin("live_slow:app")

    assert outside(f"{app.url}/", "x", "/health", 5).url == app.url
    assert sys.modules["live_slow"].asked == ["/health"] * 3


def test_whoever_is_behind_a_proxy_is_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    assert outside("http://shop.invalid/", "x", "", 5).url == "http://shop.invalid"
    with appserver.bound() as listener:
        port = listener.getsockname()[1]
    with pytest.raises(AppError, match="nobody answers"):
        outside(f"http://127.0.0.1:{port}", "x", "", 5)


def test_ports_are_those_of_the_scheme() -> None:
    assert (LiveApp("https://shop.example.com/api").port, LiveApp("http://shop").port) == (443, 80)
    assert socket.gethostbyname(LiveApp("http://localhost:1").host) == "127.0.0.1"


# --- what takes too long


def test_a_thread_that_has_ended_is_nowhere() -> None:
    thread = threading.Thread(target=lambda: None)
    thread.start()
    thread.join()
    assert stacks.stack_of(thread.ident or 0) == "  (it has ended)"


def test_an_alarm_is_for_the_main_thread_alone() -> None:
    def work() -> None:
        with stacks.alarm(0.0, "it"):
            done.append(threading.Event().wait(0.05))

    done: list[bool] = []
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert done == [False]


def test_an_interrupt_of_the_user_s_own_stays_one() -> None:
    with pytest.raises(KeyboardInterrupt), stacks.alarm(30, "it"):
        raise KeyboardInterrupt


def test_an_interrupt_that_comes_behind_the_block_is_awaited(monkeypatch: pytest.MonkeyPatch) -> None:
    fired, kill = threading.Event(), signal.pthread_kill

    def late(thread: int, number: int) -> None:
        threading.Timer(0.05, kill, (thread, number)).start()
        fired.set()

    monkeypatch.setattr(signal, "pthread_kill", late)
    with pytest.raises(AppError, match="^it takes longer than 0.01 s"), stacks.alarm(0.01, "it"):
        assert fired.wait(5)


def test_no_interrupt_comes_after_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """The block may end between the time that is over and the interrupt."""
    interrupts: list[object] = []
    monkeypatch.setattr(signal, "pthread_kill", lambda *about: interrupts.append(about))
    watch = stacks._Alarm(0.0)
    watch.end()
    monkeypatch.setattr(watch._done, "wait", lambda seconds: False)
    watch.wait()
    assert (watch.stack, interrupts) == ("", [])


def test_a_loop_has_a_clock_of_its_own_where_there_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    loop = SimpleNamespace(time=lambda: 1.0)
    with monkeypatch.context() as patched:
        patched.delattr(time, "clock_gettime")
        assert appserver._unfrozen(loop).time() == 1.0  # type: ignore[arg-type]
    with monkeypatch.context() as patched:
        patched.setattr(time, "clock_gettime", lambda clock: 2.0)
        assert appserver._unfrozen(loop).time() == 2.0  # type: ignore[arg-type]
