"""What a stub wants of a request, and the words for how one differs."""

from __future__ import annotations

import re
from typing import Any
from unittest import mock

import pytest

from pytest_testbed.http.match import Pattern, compared, distance, pattern_of
from pytest_testbed.http.request import Request


def asked(target: str, method: str = "GET", body: bytes = b"", **headers: str) -> Request:
    return Request(method, target, [(name.replace("_", "-"), value) for name, value in headers.items()], body)


def params(path: str | re.Pattern[str], target: str) -> dict[str, str] | None:
    found = pattern_of("GET", path).match(asked(target))
    return dict(found) if found is not None else None


# --- method and path


@pytest.mark.parametrize("method", ["ANY", "*", "any", "GET", "get"])
def test_methods_that_match(method: str) -> None:
    assert pattern_of(method, "/").match(asked("/")) == {}


def test_another_method() -> None:
    assert pattern_of("POST", "/").match(asked("/")) is None


@pytest.mark.parametrize(
    ("path", "target", "found"),
    [
        ("/items", "/items", {}),
        ("/items", "/items?x=1", {}),
        ("/items", "/items/", None),
        ("/items", "/Items", None),
        ("*", "/whatever/there/is", {}),
        ("/café", "/caf%C3%A9", {}),
        ("/caf%C3%A9", "/caf%c3%a9", {}),
        ("/a b", "/a%20b", {}),
        ("/a%2Fb", "/a%2fb", {}),
        ("/a/b", "/a%2Fb", None),
        ("/100%", "/100%25", {}),
        ("/items/{id}", "/items/3", {"id": "3"}),
        ("/items/{id}", "/items/a%2Fb%20c", {"id": "a/b c"}),
        ("/items/{id}", "/items/", None),
        ("/items/{id}", "/items/3/4", None),
        ("/café/{id}", "/caf%C3%A9/1", {"id": "1"}),
        ("/{a}/{b}", "/x/y", {"a": "x", "b": "y"}),
        ("/{a}/{b}", "/x%2Fy", None),
        ("/v{version}/x.{ending}", "/v2/x.json", {"version": "2", "ending": "json"}),
        ("/files/{rest:path}", "/files/a/b%2Fc", {"rest": "a/b/c"}),
        ("/files/{rest:path}", "/files/", {"rest": ""}),
        ("/files/{rest:path}/end", "/files/a/b/end", {"rest": "a/b"}),
        ("/a.c/{id}", "/abc/1", None),
        (re.compile(r"/items/(?P<id>\d+)"), "/items/12", {"id": "12"}),
        (re.compile(r"/items/(?P<id>\d+)"), "/items/12/x", None),
        (re.compile(r"/items(/(?P<id>\d+))?"), "/items", {}),
    ],
)
def test_paths(path: str | re.Pattern[str], target: str, found: dict[str, str] | None) -> None:
    assert params(path, target) == found


# --- query and headers


@pytest.mark.parametrize(
    ("query", "target", "fits"),
    [
        ({"a": "1"}, "/?a=1&b=2", True),
        ({"a": 1}, "/?a=1", True),
        ({"a": 1.5}, "/?a=1.5", True),
        ({"a": "1"}, "/?a=2&a=1", True),
        ({"a": "1"}, "/?b=1", False),
        ({"a": ["1", "2"]}, "/?a=2&a=1", True),
        ({"a": ["1", "2"]}, "/?a=1", False),
        ({"a": None}, "/?b=1", True),
        ({"a": None}, "/?a=", False),
        ({"a": ""}, "/?a=", True),
        ({"a": ""}, "/", False),
        ({"a": re.compile(r"\d+")}, "/?a=12", True),
        ({"a": re.compile(r"\d+")}, "/?a=12x", False),
        ({"a": re.compile(r".*")}, "/", False),
        ({"a": mock.ANY}, "/?a=anything", True),
        ({"a": mock.ANY}, "/", False),
    ],
)
def test_queries(query: dict[str, object], target: str, fits: bool) -> None:
    assert (pattern_of("GET", "/", query=query).match(asked(target)) is not None) is fits


def test_a_query_in_the_path_and_one_beside_it() -> None:
    pattern = pattern_of("GET", "/items?tag=a&tag=b", query={"page": 2})
    assert pattern.match(asked("/items?page=2&tag=b&tag=a")) is not None
    assert pattern.match(asked("/items?page=2&tag=b")) is None
    assert pattern.match(asked("/items?tag=b&tag=a")) is None


@pytest.mark.parametrize(
    ("wanted", "there", "fits"),
    [
        ("application/json", "application/json", True),
        ("application/json", "Application/JSON; charset=utf-8", True),
        ("application/json; charset=utf-8", "application/json; charset=utf-8", True),
        ("application/json; charset=utf-8", "application/json", False),
        ("application/json", "text/plain", False),
        (None, "text/plain", False),
    ],
)
def test_content_types(wanted: object, there: str, fits: bool) -> None:
    pattern = pattern_of("GET", "/", headers={"content-TYPE": wanted})
    assert (pattern.match(asked("/", Content_Type=there)) is not None) is fits


def test_headers() -> None:
    request = asked("/", X_Tenant="a", Authorization="Bearer t")
    assert pattern_of("GET", "/", headers={"x-tenant": "a", "Authorization": re.compile("Bearer .+")}).match(request) == {}
    assert pattern_of("GET", "/", headers={"X-Tenant": "A"}).match(request) is None
    assert pattern_of("GET", "/", headers={"X-Other": None}).match(request) == {}


# --- bodies


@pytest.mark.parametrize(
    ("wanted", "body", "fits"),
    [
        ({"a": 1}, b'{"a": 1, "b": 2}', True),
        ({"a": {"b": [1, {"c": 2}]}}, b'{"a": {"b": [1, {"c": 2, "d": 3}]}}', True),
        ({"a": 1}, b'{"a": true}', False),
        ({"a": [1]}, b'{"a": [1, 2]}', False),
        ({"a": mock.ANY}, b'{"a": null}', True),
        ({"a": mock.ANY}, b"{}", False),
        (None, b"null", True),
        (None, b"", False),
        ([], b"[]", True),
        ({}, b"no json", False),
        ({"a": 1}, b"[" * 100_000, False),
    ],
)
def test_json(wanted: Any, body: bytes, fits: bool) -> None:
    assert (pattern_of("GET", "/", json=wanted).match(asked("/", body=body)) is not None) is fits


@pytest.mark.parametrize(
    ("wanted", "body", "fits"),
    [
        ("é", "é".encode(), True),
        (b"\xff", b"\xff", True),
        ("a", b"ab", False),
        ("", b"", True),
        ("", b"x", False),
        (re.compile(r"a=\d+"), b"a=12", True),
        (re.compile(r"a=\d+"), b"a=12&b", False),
    ],
)
def test_whole_bodies(wanted: Any, body: bytes, fits: bool) -> None:
    assert (pattern_of("GET", "/", body=wanted).match(asked("/", body=body)) is not None) is fits


# --- bad arguments


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ({"method": ""}, ValueError, "'' is no method; there are GET, POST and the others, and ANY"),
        ({"method": "GET /"}, ValueError, "'GET /' is no method"),
        ({"method": None}, ValueError, "None is no method"),
        ({"path": "items"}, ValueError, "path 'items' must begin with / and have no fragment"),
        ({"path": "http://host/items"}, ValueError, "must begin with /"),
        ({"path": "/a#b"}, ValueError, "have no fragment"),
        ({"path": "/{a"}, ValueError, "has a brace that is not part of a parameter such as"),
        ({"path": "/{1}"}, ValueError, "has a brace"),
        ({"path": "/{a:int}"}, ValueError, "has a brace"),
        ({"path": "/{a}/{a}"}, ValueError, "names a parameter twice"),
        ({"path": b"/"}, TypeError, "path b'/' is neither text nor a compiled regular expression"),
        ({"query": {"a": True}}, TypeError, "True is no text; a query or header has texts such as 'true' or '3'"),
        ({"query": {"a": b"x"}}, TypeError, "b'x' is no text"),
        ({"query": {"a": []}}, ValueError, "query: 'a' has an empty list; None says that it is not there"),
        ({"query": "a=1"}, TypeError, "query='a=1' is no mapping"),
        ({"query": {1: "a"}}, TypeError, "query: 1 is no name"),
        ({"headers": {"A": {"b": 1}}}, TypeError, "is no text"),
        ({"headers": [("A", "b")]}, TypeError, "headers=.* is no mapping"),
        ({"body": {"a": 1}}, TypeError, "is no body: give text, bytes or a compiled regular expression; JSON has"),
    ],
)
def test_bad_arguments(arguments: dict[str, Any], error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        pattern_of(**{"method": "GET", "path": "/", **arguments})


# --- words


def test_all_fields_are_compared() -> None:
    pattern = pattern_of(
        "POST",
        "/items/{id}",
        query={"page": "1", "debug": None},
        headers={"X-Tenant": re.compile("a+")},
        json={"sku": "A1", "count": 2},
        body="x",
    )
    request = asked("/items/3?page=2&debug=1", body=b'{"sku": "A1", "count": 3}', X_Tenant="b")
    assert list(compared(pattern, request)) == [
        "✗ method           GET, not POST",
        "  path             /items/3?page=2&debug=1",
        "✗ query page       '2', not '1'",
        "✗ query debug      '1', not absent",
        "✗ header X-Tenant  'b', not matching 'a+'",
        "✗ json             count is 3, not 2",
        '✗ body             \'{"sku": "A1", "count": 3}\', not \'x\'',
    ]


@pytest.mark.parametrize(
    ("body", "words"),
    [(b"", "there is no body; wanted is {'a': 1}"), (b"<xml>", "the body is no JSON: '<xml>'"), (b"{}", "a is missing")],
)
def test_words_for_json(body: bytes, words: str) -> None:
    assert list(compared(pattern_of("POST", "/", json={"a": 1}), asked("/", "POST", body)))[-1] == f"✗ json    {words}"


def test_long_bodies_are_cut() -> None:
    line = list(compared(pattern_of("POST", "/", body="y"), asked("/", "POST", b"x" * 1000)))[-1]
    assert len(line) < 300


def nearest(patterns: dict[str, Pattern], request: Request) -> str:
    return min(patterns, key=lambda name: distance(patterns[name], request))


def test_the_nearest() -> None:
    patterns = {
        "typo": pattern_of("GET", "/itmes/3"),
        "method": pattern_of("POST", "/items/3"),
        "other": pattern_of("GET", "/orders"),
        "json": pattern_of("POST", "/orders/{id}", json={"a": 1}),
    }
    assert nearest(patterns, asked("/items/3", "DELETE")) == "method"
    assert nearest(patterns, asked("/itmes/4")) == "typo"
    assert nearest(patterns, asked("/orders/7", "POST", b'{"a": 2}')) == "json"
    assert distance(patterns["other"], asked("/orders")) == 0


# --- secrets


def test_secrets_are_shown_neither_of_the_request_nor_of_the_stub() -> None:
    pattern = pattern_of(
        "POST",
        "/charge",
        query={"api_key": "MINE"},
        headers={"Authorization": "Bearer MINE", "Cookie": re.compile("session=.+"), "X-Token": None},
        json={"user": {"password": "MINE"}, "keys": [{"secret": "MINE"}], "name": "Ada"},
    )
    request = asked(
        "/charge?api_key=SENT",
        "POST",
        b'{"user": {"password": "SENT"}, "keys": [{"secret": "SENT"}], "name": "Bob"}',
        Authorization="Bearer SENT",
        Cookie="SENT",
        X_Token="SENT",
    )
    assert list(compared(pattern, request)) == [
        "  method                POST",
        "  path                  /charge?api_key=***",
        "✗ query api_key         '***', not '***'",
        "✗ header Authorization  'Bearer ***', not 'Bearer ***'",
        "✗ header Cookie         '***', not matching 'session=.+'",
        "✗ header X-Token        '***', not absent",
        "✗ json                  user.password is ***, not ***; keys is [{'secret': '***'}], not [{'secret': '***'}]; "
        "name is 'Bob', not 'Ada'",
    ]


@pytest.mark.parametrize(
    ("wanted", "body", "line"),
    [
        ({"json": {"password": "MINE"}}, b"", "there is no body; wanted is {'password': '***'}"),
        ({"json": {}}, b"password=SENT&a=1", "the body is no JSON: 'password=***&a=1'"),
        ({"body": "a=1&token=MINE"}, b"token=SENT", "'token=***', not 'a=1&token=***'"),
    ],
)
def test_secrets_in_bodies(wanted: dict[str, Any], body: bytes, line: str) -> None:
    assert list(compared(pattern_of("POST", "/", **wanted), asked("/", "POST", body)))[-1].endswith(f"  {line}")
