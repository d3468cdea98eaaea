"""A request as a stub sees it, and an answer as a stub gives it."""

from __future__ import annotations

from typing import Any

import pytest

from pytest_testbed.http.answer import FAULTS, Answer, answer_of
from pytest_testbed.http.request import SLASH, Headers, Request

# --- requests


def test_headers_in_any_case_and_with_several_values() -> None:
    headers = Headers([("X-Tag", "a"), ("Host", "h"), ("x-tag", "b")])
    assert headers["X-TAG"] == "a, b"
    assert headers.all("x-TAG") == ["a", "b"]
    assert headers.all("none") == []
    assert "host" in headers
    assert 3 not in headers  # type: ignore[comparison-overlap]
    assert headers.get("none") is None
    assert list(headers) == ["X-Tag", "Host", "x-tag"]
    assert "X-Tag" in repr(headers)
    with pytest.raises(KeyError):
        _ = headers["none"]


@pytest.mark.parametrize(
    ("target", "path", "query"),
    [
        ("/items?tag=a&tag=b&empty=", "/items", {"tag": ["a", "b"], "empty": [""]}),
        ("/caf%C3%A9?q=a+b%26c", "/café", {"q": ["a b&c"]}),
        ("/a%2Fb", "/a/b", {}),
        ("//twice", "//twice", {}),
        ("http://inventory:80/items?x=1", "/items", {"x": ["1"]}),
        ("http://inventory", "/", {}),
        ("http://inventory?x=1", "/", {"x": ["1"]}),
        ("/to?url=http://other/", "/to", {"url": ["http://other/"]}),
        ("*", "*", {}),
        ("host:443", "host:443", {}),
    ],
)
def test_a_target_in_parts(target: str, path: str, query: dict[str, list[str]]) -> None:
    request = Request("GET", target)
    assert (request.path, request.query) == (path, query)
    assert repr(request).startswith("<Request GET ")


def test_a_slash_that_is_encoded_is_part_of_a_name() -> None:
    assert Request("GET", "/a%2Fb%20c/d").parts == f"/a{SLASH}b c/d"


def test_bodies() -> None:
    request = Request("POST", "/", body=b'{"a": [1]}')
    request.json["a"].append(2)  # nobody else's
    assert request.json == request.peek() == {"a": [1]}
    assert Request("POST", "/", body=b"\xff").text == "\ufffd"
    with pytest.raises(ValueError, match="Expecting value"):
        _ = Request("POST", "/").json


# --- answers


@pytest.mark.parametrize(
    ("answer", "content", "content_type"),
    [
        (Answer(), b"", None),
        (Answer(json=None), b"null", "application/json"),
        (Answer(json={"a": "é"}), b'{"a": "\\u00e9"}', "application/json"),
        (Answer(body="é"), "é".encode(), "text/plain; charset=utf-8"),
        (Answer(body=b"\xff"), b"\xff", None),
        (Answer(json=[], headers={"content-type": "application/problem+json"}), b"[]", "application/problem+json"),
    ],
)
def test_what_is_sent(answer: Answer, content: bytes, content_type: str | None) -> None:
    assert answer.content == content
    assert {name.lower(): value for name, value in answer.pairs}.get("content-type") == content_type


def test_headers_of_an_answer() -> None:
    answer = Answer(headers={"Set-Cookie": ["a=1", "b=2"], "Retry-After": 5})
    assert answer.pairs == (("Set-Cookie", "a=1"), ("Set-Cookie", "b=2"), ("Retry-After", "5"))


def test_an_answer_is_what_it_was_when_it_was_made() -> None:
    value = {"a": 1}
    answer = Answer(json=value)
    value["a"] = 2
    assert answer.content == b'{"a": 1}'


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"status": 100}, "status 100 is not a status code: a whole number from 200 to 599"),
        ({"status": True}, "status True is not a status code"),
        ({"status": "200"}, "status '200' is not a status code"),
        ({"json": {}, "body": "x"}, "json= or body=, not both"),
        ({"delay": -1}, "delay -1 is not a number of seconds"),
        ({"delay": float("nan")}, "delay nan is not a number of seconds"),
        ({"delay": "1"}, "delay '1' is not a number of seconds"),
        ({"fault": "rest"}, "fault 'rest' is not one of " + ", ".join(FAULTS)),
        ({"headers": {"X-A": "b\r\nX-Evil: 1"}}, "header 'X-A': .* is not a text on one line"),
        ({"headers": {"X-A": "€"}}, "of Latin-1 characters"),
        ({"headers": {"X-A": None}}, "header 'X-A': None is not a text"),
        ({"headers": {"X A": "b"}}, "'X A' is not the name of a header"),
        ({"headers": {"X-A:\r\n": "b"}}, "is not the name of a header"),
        ({"reason": "a\nb"}, "reason 'a\\\\nb' is not a text on one line"),
    ],
)
def test_an_answer_that_cannot_be_one(arguments: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Answer(**arguments)


def test_a_body_of_a_wrong_type() -> None:
    with pytest.raises(TypeError, match=r"body \{'a': 1\} is neither text nor bytes; JSON has an argument of its own"):
        Answer(body={"a": 1})  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="not JSON serializable"):
        Answer(json=object())


@pytest.mark.parametrize(
    ("value", "answer"),
    [
        (None, Answer()),
        (204, Answer(204)),
        ("text", Answer(body="text")),
        (b"bytes", Answer(body=b"bytes")),
        ({"a": 1}, Answer(json={"a": 1})),
        ([1], Answer(json=[1])),
        ((201, {"a": 1}), Answer(201, json={"a": 1})),
        ((400, "no"), Answer(400, body="no")),
        ((302, None, {"Location": "/x"}), Answer(302, headers={"Location": "/x"})),
        (Answer(fault="reset"), Answer(fault="reset")),
    ],
)
def test_short_forms_of_answers(value: object, answer: Answer) -> None:
    assert answer_of(value) == answer


@pytest.mark.parametrize("value", [True, 1.5, object(), (1, 2, 3, 4), ("a", "b")])
def test_what_stands_for_no_answer(value: object) -> None:
    with pytest.raises(TypeError, match="is no answer: give an Answer, a status, text or bytes"):
        answer_of(value)


def test_an_answer_in_a_word() -> None:
    assert str(Answer(404)) == "404"
    assert str(Answer(fault="empty")) == "fault empty"
