"""The mock of HTTP without pytest: its place in requests and in httpx, and what is said of requests that met no stub."""

from __future__ import annotations

import asyncio
import re
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
import requests
import respx
from requests.adapters import HTTPAdapter

from pytest_testbed.http import httpx_side
from pytest_testbed.http.exchange import Journal
from pytest_testbed.http.httpx_side import Door, HttpxSide, Loads
from pytest_testbed.http.mock import HttpMock
from pytest_testbed.http.respx_router import Bridge
from pytest_testbed.http.unmatched import Unmatched, compared, unmatched_text

# --- its place in requests


def test_it_takes_its_place_once_and_gives_it_back() -> None:
    before, mock = HTTPAdapter.send, HttpMock()
    mock.stop()
    assert HTTPAdapter.send is before
    mock.start()
    ours = HTTPAdapter.send
    mock.start()
    assert HTTPAdapter.send is ours
    mock.stop()
    assert HTTPAdapter.send is before


@pytest.mark.parametrize("is_noted", [True, False])
def test_answers_are_noted_where_there_is_a_journal(is_noted: bool) -> None:
    journal = Journal()
    with HttpMock(journal=journal if is_noted else None) as mock:
        mock.get("https://a.example/x", json={"a": 1})
        assert requests.get("https://a.example/x", timeout=5).json() == {"a": 1}
        assert len(mock.calls) == 1
    assert ("https://a.example/x" in journal.report()) is is_noted


# --- what is said


def asked(method: str = "GET", url: str = "https://a.example/x") -> requests.PreparedRequest:
    return requests.Request(method, url).prepare()


def test_the_nearest_stubs_are_shown_and_the_rest_is_counted() -> None:
    mock = HttpMock()
    for number in range(7):
        mock.get(f"https://a.example/x{'y' * number}", status=200)
    lines = Unmatched.from_request(asked("POST"), mock.registered()).lines()
    assert lines[1:3] == ("    not GET https://a.example/x:", "        the method is POST, not GET")
    assert lines[-1] == "    and 2 more stubs, which differ more"


def test_a_pattern_that_does_not_fit() -> None:
    mock = HttpMock()
    stub = mock.get(re.compile("https://b"))
    assert compared(asked(), stub).reasons == ("the URL does not match the pattern from its beginning",)
    assert "the URL" not in "".join(compared(asked("POST", "https://b.example/"), stub).reasons)


def test_requests_that_differ_are_cut_with_their_count() -> None:
    many = [Unmatched("GET", f"https://a.example/{number}", None, ()) for number in range(7)]
    text = unmatched_text([*many, many[0]])
    assert text.startswith("8 requests of this test met no stub")
    assert "GET https://a.example/0 (2 times)" in text
    assert "https://a.example/4" in text
    assert "https://a.example/5" not in text
    assert "and 2 others" in text
    assert "others" not in unmatched_text(many[:5])


# --- its place in httpx

LIBRARY = """
class ConnectionPool:
    def handle_request(self, request):
        return "sent"

class HTTPConnection(ConnectionPool): ...

class AsyncConnectionPool:
    async def handle_async_request(self, request):
        return "sent"

class AsyncHTTPConnection(AsyncConnectionPool): ...
"""
CORE = "testbed_core"


@pytest.fixture
def core(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The name of a library that could be httpcore, and is not loaded."""
    (tmp_path / f"{CORE}.py").write_text(LIBRARY)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(httpx_side, "CORES", (CORE,))
    yield CORE
    sys.modules.pop(CORE, None)


class Opened(HttpxSide):
    """One that notes that respx is to come, in its place."""

    def __init__(self) -> None:
        super().__init__(HttpMock())
        self.bridges: list[str] = []
        self.mocks: list[HttpMock] = []

    def _join(self, core: str) -> Any:
        self.bridges.append(core)
        self._bridges[core] = bridge = SimpleNamespace(cover=lambda doors: None, leave=self.mocks.append)  # type: ignore[assignment]
        return bridge


@pytest.mark.parametrize("has_test_respx", [True, False])
@pytest.mark.parametrize("is_loaded", [True, False])
def test_the_first_request_brings_respx(
    core: str, is_loaded: bool, has_test_respx: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if is_loaded:
        import_module(core)
    if not has_test_respx:
        monkeypatch.delitem(sys.modules, "respx")
    side, finders = Opened(), list(sys.meta_path)
    side.start()
    library = import_module(core)
    plain = library.__spec__.loader
    assert type(plain).__module__ != httpx_side.__name__, "the module has the loader of its own finder"
    assert library.__loader__ is plain
    assert side.bridges == ([core] if has_test_respx else [])

    assert library.ConnectionPool().handle_request("request") == "sent"
    assert side.bridges == [core]
    assert asyncio.run(library.AsyncConnectionPool().handle_async_request("request")) == "sent"
    side.stop()
    assert side.mocks == [side._mock]
    assert sys.meta_path == finders
    assert library.ConnectionPool.handle_request.__module__ == core


@pytest.mark.parametrize("is_loaded", [True, False])
def test_without_respx_nothing_is_replaced(core: str, is_loaded: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(httpx_side, "has_respx", lambda: False)
    if is_loaded:
        import_module(core)
    side = Opened()
    side.start()
    library = import_module(core)
    assert library.ConnectionPool.handle_request.__module__ == core
    side.stop()


def test_a_library_that_is_loaded_after_the_end_is_left_alone(core: str) -> None:
    side, before = Opened(), list(sys.meta_path)
    side.start()
    finder = sys.meta_path[0]
    assert isinstance(finder, Loads)
    spec = finder.find_spec(core)
    sys.meta_path[:] = before  # somebody has put the list back
    side.stop()
    assert spec is not None
    assert spec.loader is not None
    module = SimpleNamespace(__name__=core, __spec__=spec, __loader__=None)
    spec.loader.exec_module(module)  # type: ignore[arg-type]
    assert side._doors == []
    assert module.ConnectionPool().handle_request("x") == "sent"


def test_who_looks_for_a_library_finds_what_others_find(core: str, tmp_path: Path) -> None:
    told: list[str] = []
    finder = Loads([core, "testbed_none", "testbed_folder"], told.append)
    (tmp_path / "testbed_folder").mkdir()
    sys.meta_path.insert(0, finder)
    try:
        assert finder.find_spec("testbed_none") is None
        assert finder.find_spec("json") is None, "it is none of those that are waited for"
        found = finder.find_spec("testbed_folder")  # a package without a file
        assert found is not None
        assert found.submodule_search_locations is not None
        import_module(core)
    finally:
        sys.meta_path.remove(finder)
        sys.modules.pop("testbed_folder", None)
    assert told == [core]


def test_two_who_look_for_a_library_do_not_ask_each_other_for_ever(core: str) -> None:
    told: list[str] = []
    finders = [Loads([core], lambda name: told.append(f"inner {name}")), Loads([core], lambda name: told.append(f"outer {name}"))]
    sys.meta_path[:0] = finders
    try:
        import_module(core)
    finally:
        for finder in finders:
            sys.meta_path.remove(finder)
    assert told == [f"outer {core}", f"inner {core}"]


def test_a_closed_door_that_was_put_back_leads_on() -> None:
    class Pool:
        def handle_request(self, request: object) -> object:
            return request

    opened: list[str] = []
    door = Door(Pool, "handle_request", lambda: opened.append("opened"))
    stand_in = Pool.handle_request
    door.close()
    Pool.handle_request = stand_in  # type: ignore[method-assign]
    assert Pool().handle_request("request") == "request"
    assert opened == []


def test_a_bridge_asks_the_innermost_mock_and_goes_with_the_last() -> None:
    bridge, outer, inner = Bridge("httpcore"), HttpMock(), HttpMock()
    routers = respx.mocks.HTTPCoreMocker.routers
    before = list(routers)
    outer.get("https://a.example/x", body="outer")
    inner.get("https://a.example/x", body="inner")
    request = httpx.Request("GET", "https://a.example/x")

    def answer() -> Any:
        return bridge._answer(request)

    bridge.join(outer)
    bridge.join(inner)
    assert len(routers) == len(before) + 1
    assert answer().read() == b"inner"
    bridge.leave(HttpMock())
    bridge.leave(inner)
    assert answer().read() == b"outer"
    assert len(routers) == len(before) + 1
    bridge.leave(outer)
    assert routers == before
    assert answer() is request, "a request that comes after the test's end is let through"
