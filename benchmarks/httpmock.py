"""What `http_mock` costs a test, against bare `responses` in a fixture of one's own."""

from __future__ import annotations

import statistics

from isolation import TIMER, run
from measuring import OURS, Table
from projects import folder

TESTS = 300

BODY = """
import pytest, requests
{head}

@pytest.mark.parametrize("n", range({tests}))
def test_it({fixture}, n):
    {fixture}.post("https://api.payment-gateway.com/charges", json={{"id": "ch_123"}})
    assert {library}.post("https://api.payment-gateway.com/charges", json={{"amount": 1000}}).json() == {{"id": "ch_123"}}
"""
BARE_HEAD = """import responses

@pytest.fixture
def mocked():
    with responses.RequestsMock() as mock:
        yield mock
"""
BARE_RESPX = """import httpx, respx

@pytest.fixture
def mocked():
    with respx.mock() as mock:
        yield mock

@pytest.mark.parametrize("n", range({tests}))
def test_it(mocked, n):
    mocked.post("https://api.payment-gateway.com/charges").respond(json={{"id": "ch_123"}})
    assert httpx.post("https://api.payment-gateway.com/charges", json={{"amount": 1000}}).json() == {{"id": "ch_123"}}
"""
BARE, MOCK, LOADED, RESPX, HTTPX = (
    "responses.RequestsMock in a fixture",
    "http_mock",
    "http_mock, requests, httpx loaded as well",
    "respx.mock in a fixture, httpx",
    "http_mock, httpx",
)


def http_mock(rounds: int) -> None:
    """Measure one test with a stub and a request."""
    ours = {"fixture": "http_mock", "tests": TESTS}
    bodies = {
        BARE: (BODY.format(head=BARE_HEAD, fixture="mocked", library="requests", tests=TESTS), ""),
        MOCK: (BODY.format(head="", library="requests", **ours), OURS),
        LOADED: (BODY.format(head="import httpx, httpcore", library="requests", **ours), OURS),
        RESPX: ("import pytest\n" + BARE_RESPX.format(tests=TESTS), ""),
        HTTPX: (BODY.format(head="import httpx, httpcore", library="httpx", **ours), OURS),
    }
    projects = {name: (folder(conftest="", timer=TIMER, test_it=body), plugin) for name, (body, plugin) in bodies.items()}
    table = Table("one test: a stub, a request, its answer")
    for turn in range(rounds):
        for name in projects if turn % 2 else reversed(projects):
            project, plugin = projects[name]
            table.add(name, statistics.median(run(project, plugin, {})))
    table.show()
    for name, floor in ((MOCK, BARE), (LOADED, BARE), (HTTPX, RESPX)):
        target = "   (target: at most 1.15)" if name == MOCK else ""
        print(f"  → {name}: {table.median(name) / table.median(floor):.2f} × {floor}{target}")
