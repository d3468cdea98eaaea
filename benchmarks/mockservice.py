"""What stub servers cost: the first answer, a test, and requests per second against pytest-httpserver's."""

from __future__ import annotations

import statistics

from isolation import TIMER, run
from measuring import OURS, Table, pytest_run
from projects import folder

THEIRS = "pytest_httpserver"
TESTS = 300
REQUESTS = 400
"""Requests of one sample."""

FIRST = """
import http.client, os, time

def ask(url):
    client = http.client.HTTPConnection(url.rstrip("/").removeprefix("http://"))
    client.request("GET", "/items/1")
    answer = client.getresponse()
    answer.read()
    client.close()
    return answer.status

def test_it(request):
    began = time.perf_counter()
    {setup}
    assert ask(url) == 200
    open(os.environ["BENCH_OUT"], "w").write(str(time.perf_counter() - began))
"""
SETUPS = {
    OURS: """server = request.getfixturevalue("mock_service")("inventory")
    server.stub("GET", "/items/{id}", json={"stock": 3})
    url = server.url""",
    THEIRS: """server = request.getfixturevalue("httpserver")
    server.expect_request("/items/1").respond_with_json({"stock": 3})
    url = server.url_for("")""",
}


def first(rounds: int) -> None:
    """Measure from the fixture's first use to an answer that was served; the test has loaded its client before."""
    table = Table("from the first use of the fixture to a served answer")
    projects = {name: folder(test_it=FIRST.replace("{setup}", setup)) for name, setup in SETUPS.items()}
    for _ in range(rounds + 1):
        for name, project in projects.items():
            out = project / "out"
            pytest_run(project, plugin=name, BENCH_OUT=str(out))
            table.add(name, float(out.read_text()))
    table.show()
    print(f"  → {table.median(OURS):.1f} ms   (target: at most 20)")


TEST = """
import pytest

@pytest.mark.parametrize("n", range({tests}))
def test_it({fixture}n):
    {setup}
"""
STUB = 'mock_service("inventory").stub("GET", "/items/{id}", json={"stock": 3})'
THEIR_STUB = 'httpserver.expect_request("/items/1").respond_with_json({"stock": 3})'


def pertest(rounds: int) -> None:
    """Measure what a test with one service and one stub costs."""
    table = Table("one test: a service with a stub")
    bare = "bare pytest"
    variants = {bare: ("", "pass"), OURS: ("mock_service, ", STUB), THEIRS: ("httpserver, ", THEIR_STUB)}
    projects = {
        name: folder(conftest="", timer=TIMER, test_it=TEST.format(tests=TESTS, fixture=fixture, setup=setup))
        for name, (fixture, setup) in variants.items()
    }
    for _ in range(rounds):
        for name, project in projects.items():
            table.add(name, statistics.median(run(project, "" if name == bare else name, {})))
    table.show()
    print(f"  → {table.over(OURS, bare):+.2f} ms over bare pytest   (target: at most 1)")


RATE = """
import http.client, os, time, requests
{more}

COUNT = {count}

def alone(url):
    for _ in range(COUNT):
        assert requests.get(url).status_code == 200

def session(url):
    with requests.Session() as client:
        for _ in range(COUNT):
            assert client.get(url).status_code == 200

def lowest(url):
    host = url.split("/")[2]
    for _ in range(COUNT):
        client = http.client.HTTPConnection(host)
        client.request("GET", "/items/1")
        assert client.getresponse().read()
        client.close()

def test_it(request):
    {setup}
    url = url.rstrip("/") + "/items/1"
    requests.get(url)
    times = []
    for way in (session, alone, lowest):
        began = time.perf_counter()
        way(url)
        times.append(time.perf_counter() - began)
    open(os.environ["BENCH_OUT"], "w").write(" ".join(map(str, times)))
"""
THREADED = f"{THEIRS}, threaded"
IN_THREADS = """
import pytest
@pytest.fixture(scope="session")
def make_httpserver():
    from pytest_httpserver import HTTPServer
    server = HTTPServer(threaded=True)
    server.start()
    yield server
    server.clear()
    server.stop()
"""
WAYS = ("requests.Session", "requests, new connections", "http.client, new connections")


def rate(rounds: int) -> None:
    """Measure how long requests take, one after the other, from the test's own thread."""
    tables = [Table(f"{REQUESTS} requests: {way}") for way in WAYS]
    projects = {}
    for name in (OURS, THEIRS, THREADED):
        setup = SETUPS[name.partition(",")[0]]
        more = IN_THREADS if name == THREADED else ""
        text = RATE.replace("{setup}", setup).replace("{more}", more).replace("{count}", str(REQUESTS))
        projects[name] = folder(test_it=text)
    for turn in range(rounds):
        for name in projects if turn % 2 else reversed(projects):
            out = projects[name] / "out"
            pytest_run(projects[name], plugin=name.partition(",")[0], BENCH_OUT=str(out))
            for table, took in zip(tables, out.read_text().split(), strict=True):
                table.add(name, float(took))
    for table in tables:
        table.show()
        for name in (THEIRS, THREADED):
            ratio = table.median(name) / table.median(OURS)
            print(f"  → requests per second / {name}: {ratio:.2f}   (target: at least 1.0)")


def mockservice(rounds: int) -> None:
    """Measure all of it."""
    for part in (first, pertest, rate):
        part(rounds)
