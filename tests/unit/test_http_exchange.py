"""What a report shows of HTTP, and what it must not."""

from __future__ import annotations

import json
import tracemalloc

import pytest

from pytest_testbed.http.exchange import Exchange, Journal, body_text, masked_headers, masked_literals, masked_url

FORM = """--b\r
Content-Disposition: form-data; name="email"\r
\r
ada@example.com\r
--b\r
Content-Disposition: form-data; name="password"\r
Content-Type: text/plain\r
\r
hidden\r
of two lines\r
--b--"""


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://a.example/b?c=d#e", "https://a.example/b?c=d#e"),
        ("https://ada:pw@a.example/?api_key=k&page=2", "https://ada:***@a.example/?api_key=***&page=2"),
        ("https://a.example/cb#access_token=t&state=s", "https://a.example/cb#access_token=***&state=s"),
        ("/a?token=t", "/a?token=***"),
        ("http://ada:hidden@shop/a", "http://ada:***@shop/a"),
        ("http://shop/a?page=2&access_token=hidden", "http://shop/a?page=2&access_token=***"),
        ("http://shop/a#id_token=hidden&x=1", "http://shop/a#id_token=***&x=1"),
        ("/a?author=Ada&authorization=hidden", "/a?author=Ada&authorization=***"),
    ],
)
def test_urls(url: str, shown: str) -> None:
    assert masked_url(url) == shown


@pytest.mark.parametrize(
    ("name", "value", "shown"),
    [
        ("Authorization", "Bearer hidden", "Bearer ***"),
        ("Set-Cookie", "a=hidden; Path=/", "***"),
        ("X-Api-Key", "hidden", "***"),
        ("Location", "http://shop/back?code=1&token=hidden", "http://shop/back?code=1&token=***"),
        ("X-Next", "/a#access_token=hidden", "/a#access_token=***"),
    ],
)
def test_headers(name: str, value: str, shown: str) -> None:
    assert list(masked_headers([(name, value)])) == [(name, shown)]


@pytest.mark.parametrize(
    ("body", "shown"),
    [
        ('{"author": "Ada", "auth": "hidden"}', '{"author": "Ada", "auth": "***"}'),
        ('{"authority": "the shop", "authorization": "hidden"}', '{"authority": "the shop", "authorization": "***"}'),
        ("email=ada&password=hidden", "email=ada&password=***"),
        ('{"password": "hidden", and no JSON', '{"password": "***", and no JSON'),
        (FORM, FORM.replace("hidden\r\nof two lines", "***")),
    ],
)
def test_bodies(body: str, shown: str) -> None:
    assert body_text(body.encode()) == shown
    assert json.dumps("hidden") not in body_text(body.encode())


def test_what_an_error_says() -> None:
    exchange = Exchange("api_client", "GET", "http://shop/a", note="ConnectionError: refused for url: /a?token=hidden")
    assert list(exchange.lines()) == [
        "api_client: GET http://shop/a → no answer (ConnectionError: refused for url: /a?token=***)"
    ]


def test_large_bodies_are_not_kept() -> None:
    journal = Journal()
    tracemalloc.start()
    try:
        for _ in range(10):
            journal.add(Exchange("api_client", "POST", "http://shop/a", 200, sent=bytes(5_000_000), body=bytes(3_000_000)))
        assert tracemalloc.get_traced_memory()[0] < 1_000_000
    finally:
        tracemalloc.stop()
    assert journal.report().splitlines()[1:3] == ["    > (5000000 bytes)", "    < (3000000 bytes)"]


@pytest.mark.parametrize(
    ("words", "shown"),
    [
        ("'Bearer t'", "'Bearer ***'"),
        ('"it\'s"', "'***'"),
        ("'t' in any case and with 'u' in it", "'***' in any case and with '***' in it"),
        ("matching 'Bearer .+'", "matching 'Bearer .+'"),
        ("absent", "absent"),
    ],
)
def test_words_of_rules(words: str, shown: str) -> None:
    assert masked_literals(words) == shown
