"""What is said over HTTP, as it is shown: without secrets."""

from __future__ import annotations

import pytest

from pytest_testbed.http.exchange import masked_headers, masked_literals, masked_url


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://a.example/b?c=d#e", "https://a.example/b?c=d#e"),
        ("https://ada:pw@a.example/?api_key=k&page=2", "https://ada:***@a.example/?api_key=***&page=2"),
        ("https://a.example/cb#access_token=t&state=s", "https://a.example/cb#access_token=***&state=s"),
        ("/a?token=t", "/a?token=***"),
    ],
)
def test_urls(url: str, shown: str) -> None:
    assert masked_url(url) == shown


def test_headers() -> None:
    headers = [
        ("Location", "/cb?access_token=t&state=s"),
        ("Authorization", "Bearer t"),
        ("Set-Cookie", "a=b; Path=/"),
        ("X-Trace", "1"),
        ("Accept", "*/*"),
    ]
    assert list(masked_headers(headers)) == [
        ("Location", "/cb?access_token=***&state=s"),
        ("Authorization", "Bearer ***"),
        ("Set-Cookie", "***"),
        ("X-Trace", "1"),
    ]


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
