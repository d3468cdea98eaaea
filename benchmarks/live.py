"""What the application live costs: a round trip by `api_client`, the first answer, the end, against servers written by hand."""

from __future__ import annotations

import statistics
from pathlib import Path

from measuring import OURS, Table, pytest_run
from projects import folder

TRIPS = 1000
"""Round trips in a run."""

WSGI = """
def app(environ, start_response):
    start_response("200 OK", [("Content-Type", "application/json"), ("Content-Length", "15")])
    return [b'{"says":"hello"}'[:15]]
"""
ASGI = """
async def app(scope, receive, send):
    assert scope["type"] == "http"
    headers = [(b"content-type", b"application/json"), (b"content-length", b"16")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": b'{"says":"hello"}'})
"""
APPS = {"werkzeug": WSGI.replace('"15"', '"16"').replace("[:15]", ""), "uvicorn": ASGI}

BY_HAND = {
    "werkzeug": """
import pytest, threading
from werkzeug.serving import make_server
from shop import app

@pytest.fixture(scope="session")
def url():
    server = make_server("127.0.0.1", 0, app, threaded=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.port}"
    server.shutdown()
    thread.join()
""",
    "uvicorn": """
import pytest, threading, time, uvicorn
from shop import app

@pytest.fixture(scope="session")
def url():
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="error"))
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        time.sleep(0.001)
    yield "http://127.0.0.1:{}".format(server.servers[0].sockets[0].getsockname()[1])
    server.should_exit = True
    thread.join()
""",
}
QUIET = """
import logging
logging.getLogger("werkzeug").setLevel("ERROR")
"""

TRIP = """
import os, requests, time
from pathlib import Path

def test_it({fixture}):
    {first}
    def trip():
        {trip}
    trip()
    times = []
    for _ in range({trips}):
        began = time.perf_counter()
        trip()
        times.append(time.perf_counter() - began)
    Path(os.environ["BENCH_OUT"]).write_text("\\n".join(map(str, times)))
"""
OF_HAND = {"fixture": "url", "first": "session = requests.Session()", "trips": TRIPS}
KEPT = TRIP.format(**OF_HAND, trip='assert session.get(url + "/hello", timeout=10).json() == {"says": "hello"}')
PLAIN = TRIP.format(**OF_HAND, trip='assert requests.get(url + "/hello", timeout=10).json() == {"says": "hello"}')
MINE = TRIP.format(
    fixture="api_client",
    first="pass",
    trips=TRIPS,
    trip='assert api_client.get("/hello").assert_status(200).json() == {"says": "hello"}',
)
INI = "[pytest]\npythonpath = .\ntestbed_app = shop:app\n"


def project(app: str, **files: str) -> Path:
    """Return a folder with an application and its tests."""
    made = folder(shop=app, **files)
    (made / "pytest.ini").write_text(INI if "conftest" not in files or not files["conftest"] else "[pytest]\npythonpath = .\n")
    return made


def live(rounds: int) -> None:
    """Measure all of it."""
    for server, app in APPS.items():
        hand = QUIET + BY_HAND[server]
        variants = {
            "api_client": project(app, conftest="", test_it=MINE),
            f"{server} by hand, requests.Session": project(app, conftest=hand, test_it=KEPT),
            f"{server} by hand, requests.get": project(app, conftest=hand, test_it=PLAIN),
        }
        trips, whole = Table(f"{server}: a round trip, {TRIPS} in a run"), Table(f"{server}: the rest of the run")
        for turn in range(rounds):
            for name in variants if turn % 2 else reversed(variants):
                out = variants[name] / "out"
                took = pytest_run(variants[name], plugin=OURS if name == "api_client" else "", BENCH_OUT=str(out))
                times = [float(line) for line in out.read_text().split()]
                trips.add(name, statistics.median(times))
                whole.add(name, took - sum(times))
        trips.show()
        whole.show()
        for name in list(variants)[1:]:
            ratio = trips.median("api_client") / trips.median(name)
            print(f"  → api_client / {name}: {ratio:.2f}   (target: at most 1.2)")
