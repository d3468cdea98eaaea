"""The same mapping files in mock_service and in the real WireMock, the same requests to both: the same answers.

The real one is WireMock 2.35, whose jar the package `wiremock` has. `urlPathTemplate`, `pathParameters` and `not` came with
WireMock 3: unit tests alone speak of them. Where the two differ on purpose is in DIFFERENCES and REFUSED, and in
docs/how-to/stub-files.md.
"""

from __future__ import annotations

import base64
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from pytest_testbed.errors import ConfigurationError
from tests.http.both_servers import Ask, Both, Outcome, Real, real_wiremock, why_not

YES = {"status": 200, "body": "yes"}
X = {"urlPath": "/x"}


@pytest.fixture(scope="session")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of the real WireMock, in a folder as testbed_stubs names it."""
    return tmp_path_factory.mktemp("stubs") / "shop"


@pytest.fixture(scope="session")
def real(root: Path) -> Iterator[Real | None]:
    """The real WireMock, one for all tests; None where it cannot be had."""
    if why_not():
        yield None
        return
    for name in ("mappings", "__files"):
        (root / name).mkdir(parents=True)
    with real_wiremock(root) as real:
        yield real


@pytest.fixture
def both(real: Real | None, root: Path) -> Iterator[Both]:
    """Both servers, without mappings; ours alone where the real one cannot be had: the tables say what is right as well."""
    both = Both(real, root)
    yield both
    both.close()


@pytest.mark.skipif(bool(why_not()), reason=f"mock_service is not compared with the real WireMock: {why_not()}")
def test_the_real_one_answers(both: Both) -> None:
    both.load({"m.json": mapping()})

    real, _ = both.ask(Ask())

    assert "matched-stub-id" not in real.headers  # what a server says of itself is not compared
    assert (real.status, real.body) == (200, b"yes")


def mapping(request: Any = X, response: Any = YES, **more: Any) -> dict[str, Any]:
    return {"request": request, "response": response, **more}


def compared(both: Both, steps: Sequence[tuple[Ask, int | str]]) -> None:
    """Send requests to both: the status, or the failure, is the one that is said, and all else is equal."""
    faults = []
    for ask, wanted in steps:
        real, ours = both.ask(ask)
        if real.short != wanted or ours.short != wanted:
            faults.append(f"{ask}: {wanted} was said; the real one has {real.short}, ours {ours.short}")
        elif wanted != 404 and real != ours:  # who has no stub says so in words of his own
            faults.append(f"{ask}: {real} is what the real one has; ours {ours}")
    assert faults == []


def matched(both: Both, request: Any, fits: Sequence[Ask], others: Sequence[Ask]) -> None:
    """Check which requests a mapping matches."""
    both.load({"m.json": mapping(request)})
    compared(both, [*((ask, 200) for ask in fits), *((ask, 404) for ask in others)])


def get(target: str = "/x", **headers: str) -> Ask:
    return Ask(target, headers=[(name.replace("_", "-"), value) for name, value in headers.items()])


def asks(*targets: str) -> list[Ask]:
    return [Ask(target) for target in targets]


def posts(*bodies: str | bytes) -> list[Ask]:
    return [Ask(method="POST", body=body.encode() if isinstance(body, str) else body) for body in bodies]


# --- texts: None is a header, a parameter or a body that is not there

TEXTS: list[tuple[dict[str, Any], list[str | None], list[str | None]]] = [
    ({"equalTo": "abc"}, ["abc"], ["ABC", "xabc", None]),
    ({"equalTo": "abc", "caseInsensitive": True}, ["abc", "ABC"], ["ab", None]),
    ({"equalTo": "abc", "caseInsensitive": False}, ["abc"], ["ABC"]),
    ({"contains": "b"}, ["abc", "b"], ["ac", "B", None]),
    ({"doesNotContain": "b"}, ["ac", None], ["abc"]),
    ({"matches": "a.c"}, ["abc"], ["abcd", "xabc", "ABC", None]),
    ({"matches": "^[0-9]{2,3}$"}, ["12", "123"], ["1", "1234"]),
    ({"matches": "(?i)a.c"}, ["ABC"], ["AB"]),
    ({"doesNotMatch": "a.c"}, ["abcd", None], ["abc"]),
    ({"absent": True}, [None], ["abc"]),
    ({"and": [{"contains": "a"}, {"contains": "c"}]}, ["abc", "ca"], ["ab", None]),
    ({"or": [{"equalTo": "abc"}, {"matches": "[0-9]+"}]}, ["abc", "12"], ["ab", None]),
    ({"or": [{"equalTo": "abc"}, {"absent": True}]}, ["abc", None], ["ab"]),
    ({"or": [{"and": [{"contains": "a"}, {"doesNotContain": "b"}]}, {"equalTo": "b"}]}, ["ac", "b"], ["ab", "c"]),
]
EACH_TEXT = pytest.mark.parametrize(("rule", "fits", "others"), TEXTS, ids=[str(row[0]) for row in TEXTS])


@EACH_TEXT
def test_texts_of_headers(both: Both, rule: Any, fits: list[str | None], others: list[str | None]) -> None:
    def ask(value: str | None) -> Ask:
        return get() if value is None else get(x_tag=value)

    matched(both, {**X, "headers": {"X-Tag": rule}}, [*map(ask, fits)], [*map(ask, others)])


@EACH_TEXT
def test_texts_of_parameters(both: Both, rule: Any, fits: list[str | None], others: list[str | None]) -> None:
    def ask(value: str | None) -> Ask:
        return Ask("/x?other=1") if value is None else Ask(f"/x?other=1&tag={value}")

    matched(both, {**X, "queryParameters": {"tag": rule}}, [*map(ask, fits)], [*map(ask, others)])


@EACH_TEXT
def test_texts_of_bodies(both: Both, rule: Any, fits: list[str | None], others: list[str | None]) -> None:
    def ask(value: str | None) -> Ask:
        return Ask(method="POST", body=(value or "").encode())

    matched(both, {**X, "bodyPatterns": [rule]}, [*map(ask, fits)], [*map(ask, others)])


def cookie(value: str) -> Ask:
    return get(cookie=value)


# --- the other fields of a request

REQUESTS: dict[str, tuple[dict[str, Any], list[Ask], list[Ask]]] = {
    "any request": ({}, [get(), get("/y?z=1"), *posts("a")], []),
    "nulls": ({"urlPath": "/x", "url": None, "method": None, "headers": None, "bodyPatterns": None}, [get()], [get("/y")]),
    # methods
    "GET": ({**X, "method": "GET"}, [get()], [Ask(method="HEAD"), *posts("")]),
    "ANY": ({**X, "method": "ANY"}, [get(), *(Ask(method=each) for each in ("HEAD", "OPTIONS", "PATCH", "PURGE"))], []),
    "HEAD": ({**X, "method": "HEAD"}, [Ask(method="HEAD")], [get()]),
    "OPTIONS": ({**X, "method": "OPTIONS"}, [Ask(method="OPTIONS")], [get()]),
    "a method of one's own": ({**X, "method": "PURGE"}, [Ask(method="PURGE")], [get()]),
    # url: path and query
    "url": ({"url": "/a"}, asks("/a", "/a?"), asks("/a/", "/A", "/a?x=1", "/a/b", "//a")),
    "url with query": ({"url": "/a?x=1&y=2"}, asks("/a?x=1&y=2"), asks("/a", "/a?y=2&x=1", "/a?x=1&y=2&z=3", "/a?x=%31&y=2")),
    "url that is decoded": ({"url": "/a b"}, [], asks("/a%20b", "/a+b")),
    "url that is encoded": ({"url": "/a%20b"}, asks("/a%20b"), asks("/a+b")),
    "url with a letter": ({"url": "/%C3%A9"}, asks("/%C3%A9"), asks("/%c3%a9")),
    "url without a slash": ({"url": "a"}, [], asks("/a")),
    "urlPattern": ({"urlPattern": "/a/[0-9]+"}, asks("/a/12", "/a/1?"), asks("/a/12?x=1", "/a/", "/a/1/2")),
    "urlPattern with query": ({"urlPattern": r"/a\?x=.*"}, asks("/a?x=1", "/a?x=", "/a?x=1&y=2"), asks("/a", "/a?y=1")),
    # urlPath: the path alone
    "urlPath": ({"urlPath": "/a"}, asks("/a", "/a?", "/a?x=1"), asks("/a/", "/A", "/a;v=1", "/%61", "//a")),
    "urlPath with a slash at its end": ({"urlPath": "/a/"}, asks("/a/"), asks("/a")),
    "urlPath that is decoded": ({"urlPath": "/a b"}, [], asks("/a%20b")),
    "urlPath that is encoded": ({"urlPath": "/a%20b"}, asks("/a%20b"), asks("/a+b")),
    "urlPath with a slash in a part": ({"urlPath": "/a%2Fb"}, asks("/a%2Fb"), asks("/a/b")),
    "urlPath with query": ({"urlPath": "/a?x=1"}, [], asks("/a?x=1", "/a")),
    "urlPathPattern": ({"urlPathPattern": "/a/[^/]+"}, asks("/a/12", "/a/12?x=1", "/a/b%2Fc", "/a/%20"), asks("/a/", "/a/1/2")),
    "urlPathPattern that is decoded": ({"urlPathPattern": "/é|/a b"}, [], asks("/%C3%A9", "/a%20b")),
    # parameters
    "no parameter": ({**X, "queryParameters": {}}, asks("/x", "/x?q=1"), []),
    "two parameters": (
        {**X, "queryParameters": {"q": {"equalTo": "1"}, "r": {"equalTo": "2"}}},
        asks("/x?q=1&r=2", "/x?r=2&q=1&z=3"),
        asks("/x?q=1", "/x?r=2", "/x"),
    ),
    "any value of a parameter": (
        {**X, "queryParameters": {"q": {"equalTo": "1"}}},
        asks("/x?q=1&q=2", "/x?q=2&q=1", "/x?&q=1&", "/x?a&q=1"),
        asks("/x?q=2&q=3", "/x?Q=1", "/x?q=1;r=2", "/x?q", "/x?q="),
    ),
    "one value is enough for what is not wanted": (
        {**X, "queryParameters": {"q": {"doesNotContain": "1"}}},
        asks("/x?q=1&q=2"),
        asks("/x?q=1&q=11"),
    ),
    "an empty parameter": ({**X, "queryParameters": {"q": {"equalTo": ""}}}, asks("/x?q", "/x?q="), asks("/x", "/x?")),
    "absent or empty": ({**X, "queryParameters": {"q": {"absent": True}}}, asks("/x", "/x?"), asks("/x?q", "/x?q=")),
    "an encoded parameter": (
        {**X, "queryParameters": {"q é": {"equalTo": "a b+ü"}}},
        asks("/x?q%20%C3%A9=a%20b%2B%C3%BC", "/x?q+%C3%A9=a+b%2B%C3%BC"),
        asks("/x?q%20%C3%A9=a%20b+%C3%BC"),
    ),
    # headers
    "names of headers in any case": (
        {**X, "headers": {"x-TAG": {"equalTo": "1"}}},
        [get(X_Tag="1"), get(x_tag="1")],
        [get(x_tab="1")],
    ),
    "any value of a header": (
        {**X, "headers": {"X-Tag": {"equalTo": "1"}}},
        [Ask(headers=[("X-Tag", "2"), ("x-tag", "1")])],
        [Ask(headers=[("X-Tag", "2"), ("X-Tag", "3")]), get(x_tag="1, 2"), get(x_tag="1,2")],
    ),
    "an empty header": ({**X, "headers": {"X-Tag": {"equalTo": ""}}}, [get(x_tag="")], [get(), get(x_tag="1")]),
    "a header with a letter": ({**X, "headers": {"X-Tag": {"equalTo": "é"}}}, [], [get(x_tag="é")]),
    # cookies
    "a cookie": (
        {**X, "cookies": {"c": {"equalTo": "abc"}}},
        [
            cookie("c=abc"),
            cookie("d=1; c=abc"),
            cookie("d=1;c=abc"),
            cookie('c="abc"'),
            cookie("c=abc; c=2"),
            cookie("c=2; c=abc"),
        ],
        [get(), cookie("c=ab"), cookie("C=abc"), cookie("d=abc"), cookie("c=")],
    ),
    "cookies in two headers": (
        {**X, "cookies": {"c": {"equalTo": "1"}, "d": {"matches": "[0-9]"}}},
        [Ask(headers=[("Cookie", "c=1"), ("Cookie", "d=2")])],
        [cookie("c=1"), cookie("d=2")],
    ),
    "no cookie": ({**X, "cookies": {"c": {"absent": True}}}, [get(), cookie("d=1")], [cookie("c=1"), cookie("c=")]),
    "a cookie that is not so": ({**X, "cookies": {"c": {"doesNotMatch": "a.*"}}}, [cookie("c=b")], [cookie("c=ab"), get()]),
    "a cookie or none": (
        {**X, "cookies": {"c": {"or": [{"equalTo": "a"}, {"absent": True}]}}},
        [cookie("c=a")],
        [get(), cookie("c=b")],
    ),
    # logins
    **{
        key: (
            {**X, key: {"username": "ann", "password": "p:w"}},
            [get(authorization=f"{scheme} {base64.b64encode(b'ann:p:w').decode()}") for scheme in ("Basic", "basic")],
            [get(), get(authorization="Basic xyz"), get(authorization=f"Bearer {base64.b64encode(b'ann:p:w').decode()}")],
        )
        for key in ("basicAuth", "basicAuthCredentials")
    },
    # bodies
    "any body": ({**X, "bodyPatterns": []}, posts("", "a"), []),
    "two rules for a body": ({**X, "bodyPatterns": [{"contains": "a"}, {"contains": "b"}]}, posts("ab"), posts("a", "b", "")),
    "a body of bytes": ({**X, "bodyPatterns": [{"binaryEqualTo": "AQID"}]}, posts(b"\1\2\3"), posts(b"\1\2", b"AQID", b"")),
    "an empty text is no body": ({**X, "bodyPatterns": [{"equalTo": ""}]}, [], posts("", "a")),
    "a body in UTF-8": ({**X, "bodyPatterns": [{"equalTo": "é"}]}, posts("é"), posts("é".encode("latin-1"))),
    "JSON and text": (
        {**X, "bodyPatterns": [{"and": [{"equalToJson": {"a": 1}, "ignoreExtraElements": True}, {"contains": "b"}]}]},
        posts('{"a": 1, "b": 2}'),
        posts('{"a": 1}', "b"),
    ),
    "no body at a GET": ({**X, "bodyPatterns": [{"absent": True}]}, [get()], [Ask(method="GET", body=b"a")]),
}


@pytest.mark.parametrize("name", REQUESTS)
def test_requests(both: Both, name: str) -> None:
    matched(both, *REQUESTS[name])


# --- regular expressions, on bodies

REGEXES: list[tuple[str, list[str], list[str]]] = [
    ("a.*b", ["a b", "a\nb", "a\r\nb", "a\u2028b"], ["a b\n", "a b\r\n", "x\na b"]),
    (".*b.*", ["a\nb\nc", "b"], ["a\nc"]),
    ("^a$", ["a"], ["a\n", "x\na"]),
    ("(?s).*x", ["a\nx"], ["a\nx\n"]),
    ("(?m)^a$.*", ["a\nb"], ["b\na"]),
    (r"\d+", ["12"], ["١٢"]),
    (r"\w+", ["ab_1"], ["é", "a-b"]),
    (r"\s*x", [" \t\nx"], ["\u00a0x"]),
    ("(?i)straße", ["STRAßE", "Straße"], ["strasse", "STRASSE"]),
    ("(?i)é", ["é"], ["É"]),
    ("a(?i)b|c", ["aB", "ab", "C"], ["AB"]),
    ("(a(?i)b)c", ["aBc"], ["aBC"]),
    ("(?i:a)b", ["Ab"], ["AB"]),
    (r"(?<n>a|b)\k<n>", ["aa", "bb"], ["ab"]),
    (r"\Qa.b\E+", ["a.bb"], ["axb"]),
    (r"[\p{Alpha}\d]+", ["a1"], ["é", "_"]),
    (r"\P{Digit}", ["a"], ["1"]),
    (r"\p{L}+", ["aé"], ["1"]),
    (r"[\s\S]*", ["a\nb"], []),
    ("a++b", ["aab"], ["b"]),
    ("(?>a|ab)c", ["ac"], ["abc"]),
    (r"a\z", ["a"], ["a\n"]),
    (r"\h\R", [" \r\n", "\t\n"], ["a\n"]),
    ("[a|b&~]+", ["a|&~b"], ["c"]),
    (r"[\[\]]+", ["[]"], ["a"]),
    (r"\x{1F600}|\u00e9", ["😀", "é"], ["a"]),
    (r'\{"a":\s*[0-9]+\}', ['{"a": 12}', '{"a":\n1}'], ['{"a": "1"}']),
]


@pytest.mark.parametrize(("regex", "fits", "others"), REGEXES, ids=[row[0] for row in REGEXES])
def test_regular_expressions(both: Both, regex: str, fits: list[str], others: list[str]) -> None:
    matched(both, {**X, "bodyPatterns": [{"matches": regex}]}, posts(*fits), posts(*others))


# --- equalToJson

ORDER, EXTRA = {"ignoreArrayOrder": True}, {"ignoreExtraElements": True}
JSON: list[tuple[Any, dict[str, bool], list[str], list[str]]] = [
    (
        '{"a": 1}',
        {},
        ['{"a":1}', '{"a":1.0}', '{"a":1e0}', '{"a":1,"a":1}', '{"a":2,"a":1}'],
        ['{"a":"1"}', '{"a":true}', '{"a":1,"b":2}', "{}", "[]", "null", "", "x"],
    ),
    ({"a": 1.0}, {}, ['{"a":1}', '{"a":1.00}'], ['{"a":1.1}']),
    ({"a": 0.1}, {}, ['{"a":0.10}'], ['{"a":0.1000000001}']),
    ({"a": 10**30}, {}, ['{"a":1%s}' % ("0" * 30)], ['{"a":1%s1}' % ("0" * 29)]),
    ({"a": None}, {}, ['{"a":null}'], ["{}", '{"a":0}']),
    ({"a": None}, EXTRA, ['{"a":null}', '{"a":null,"b":1}'], ["{}"]),
    ({"a": ""}, {}, ['{"a":""}'], ['{"a":null}', '{"a":" "}']),
    ({"a": "x"}, {}, ['{"a":"x"}', '{"a":"\\u0078"}'], ['{"a":"X"}', '{"a":" x"}']),
    ({"b": 1, "a": 2}, {}, ['{"a":2,"b":1}', '\n{ "b": 1,\n "a": 2 }'], ['{"a":1,"b":2}']),
    ({"a": {"b": {"c": 1}}}, {}, ['{"a":{"b":{"c":1}}}'], ['{"a":{"b":{"c":1,"d":2}}}']),
    ({"a": {"b": {"c": 1}}}, EXTRA, ['{"a":{"b":{"c":1,"d":2}},"e":3}'], ['{"a":{"b":{}}}']),
    ({"a": [1, 2, 3]}, {}, ['{"a":[1,2,3]}'], ['{"a":[3,2,1]}', '{"a":[1,2,3,4]}', '{"a":[1,2]}']),
    ({"a": [1, 2, 3]}, ORDER, ['{"a":[3,2,1]}'], ['{"a":[3,2,1,4]}', '{"a":[1,2,2]}', '{"a":[1,2]}']),
    ({"a": [1, 2, 3]}, EXTRA, ['{"a":[1,2,3]}', '{"a":[1,2,3,4]}'], ['{"a":[3,2,1]}', '{"a":[0,1,2,3]}', '{"a":[1,9,2,3]}']),
    ({"a": [1, 2, 3]}, {**ORDER, **EXTRA}, ['{"a":[4,3,2,1]}', '{"a":[1,1,2,3]}'], ['{"a":[1,2]}', '{"a":[1,2,4]}']),
    (
        {"a": [{"x": 1}, {"x": 2}]},
        ORDER,
        ['{"a":[{"x":2},{"x":1}]}'],
        ['{"a":[{"x":2,"y":3},{"x":1}]}', '{"a":[{"x":2},{"x":1},{"x":3}]}'],
    ),
    (
        {"a": [{"x": 1}, {"x": 2}]},
        {**ORDER, **EXTRA},
        ['{"a":[{"x":2,"y":3},{"x":1}]}', '{"a":[{"x":3},{"x":2},{"x":1}]}'],
        ['{"a":[{"x":1},{"x":1}]}'],
    ),
    ({"a": [[1, 2], [3, 4]]}, ORDER, ['{"a":[[4,3],[2,1]]}'], ['{"a":[[1,3],[2,4]]}']),
    ([], {}, ["[]"], ["[1]", "{}"]),
    ([], EXTRA, ["[]", "[1]"], ["{}"]),
    ({}, {}, ["{}"], ['{"a":1}', "[]", ""]),
    ({}, EXTRA, ["{}", '{"a":1}'], ["[]"]),
    ('"text"', {}, ['"text"'], ['"other"']),
    ("5", {}, ["5", "5.0"], ["6", '"5"']),
    # placeholders
    ({"a": "${json-unit.ignore}"}, {}, ['{"a":1}', '{"a":null}', '{"a":{"b":[1]}}'], ["{}", '{"b":1}']),
    ({"a": "#{json-unit.ignore}"}, {}, ['{"a":1}'], ["{}"]),
    ({"a": "${json-unit.ignore-element}"}, {}, ['{"a":1}', "{}"], ['{"b":1}']),
    ({"a": "${json-unit.any-string}"}, {}, ['{"a":"x"}', '{"a":""}'], ['{"a":1}', '{"a":null}', "{}"]),
    ({"a": "#{json-unit.any-string}"}, {}, ['{"a":"x"}'], ['{"a":1}']),
    ({"a": "${json-unit.any-number}"}, {}, ['{"a":1}', '{"a":1.5}'], ['{"a":"1"}', '{"a":true}']),
    ({"a": "${json-unit.any-boolean}"}, {}, ['{"a":true}', '{"a":false}'], ['{"a":1}', '{"a":"true"}']),
    ({"a": "${json-unit.regex}[A-Z]+"}, {}, ['{"a":"AB"}'], ['{"a":"ABc"}', '{"a":12}', "{}"]),
    ({"a": "${json-unit.any-string}x"}, {}, ['{"a":"${json-unit.any-string}x"}'], ['{"a":"x"}']),
    ({"a": ["${json-unit.any-string}", "x"]}, ORDER, ['{"a":["x","q"]}', '{"a":["q","x"]}'], ['{"a":["q","q"]}']),
]


@pytest.mark.parametrize(("wanted", "flags", "fits", "others"), JSON, ids=[f"{row[0]} {'+'.join(row[1])}" for row in JSON])
def test_json(both: Both, wanted: Any, flags: dict[str, bool], fits: list[str], others: list[str]) -> None:
    matched(both, {**X, "bodyPatterns": [{"equalToJson": wanted, **flags}]}, posts(*fits), posts(*others))


# --- matchesJsonPath

PATHS: list[tuple[str | dict[str, Any], list[str], list[str]]] = [
    # a path alone: "", 0 and false are something; null, [] and {} are nothing
    ("$", ['{"a":1}', "[1]", "5", '"x"', "false"], ["{}", "[]", "null", "", "<a/>"]),
    (
        "$.a",
        ['{"a":1}', '{"a":0}', '{"a":false}', '{"a":""}', '{"a":[null]}', '{"a":{"b":null}}'],
        ['{"a":null}', '{"a":[]}', '{"a":{}}', '{"b":1}', '[{"a":1}]', "{}", "[]", "5", '"a"', "null", ""],
    ),
    ("$['a']", ['{"a":1}'], ['{"b":1}', '[{"a":1}]']),
    ('$["a"]', ['{"a":1}'], ['{"b":1}']),
    ("$[ 'a b' ].c", ['{"a b":{"c":1}}'], ['{"a":1}']),
    ("$['a.b']", ['{"a.b":1}'], ['{"a":{"b":1}}']),
    (r"$['it\'s']", ['{"it\'s":1}'], ["{}"]),
    ("$.a-b", ['{"a-b":1}'], ['{"a":1}']),
    ("$.é_1", ['{"é_1":1}'], ["{}"]),
    ("$.a.b", ['{"a":{"b":1}}', '{"a":{"b":false}}'], ['{"a":{}}', '{"a":[{"b":1}]}', '{"a":{"b":null}}', '{"a":"b"}', "{}"]),
    ("$.a[0]", ['{"a":[1,2]}', '{"a":[""]}'], ['{"a":[]}', '{"a":[null,1]}', '{"a":{"0":1}}', '{"a":"x"}']),
    ("$.a[1].b", ['{"a":[0,{"b":1}]}'], ['{"a":[{"b":1}]}']),
    ("$[0]", ["[1]", "[[0]]"], ["[]", "[[]]", '{"0":1}']),
    ("$.[0]", ["[1]"], ["[]"]),
    ("$.a[-1]", ['{"a":[null,2]}', '{"a":[1]}'], ['{"a":[1,null]}', '{"a":[]}']),
    ("$.a[-2]", ['{"a":[1,2]}'], ['{"a":[1]}']),
    # a path that may lead to several: nulls are something
    ("$.a[*]", ['{"a":[1]}', '{"a":[null]}', '{"a":{"b":1}}'], ['{"a":[]}', '{"a":{}}', '{"a":1}', '{"a":null}', "{}"]),
    ("$.*", ['{"a":null}', "[null]"], ["{}", "[]", "5"]),
    ("$.a[*].b", ['{"a":[{"c":1},{"b":2}]}', '{"a":[{"b":null}]}', '{"a":{"x":{"b":1}}}'], ['{"a":[{"c":1}]}', '{"a":{"b":1}}']),
    ("$.a.*.b[0]", ['{"a":[{"b":[1]},5]}'], ['{"a":[{"b":1}]}']),
    ("$..a", ['{"a":null}', '{"b":[{"c":{"a":1}}]}', '[[{"a":0}]]'], ['{"b":"a"}', "[]", '"a"']),
    ("$..['a']", ['{"b":[{"a":1}]}'], ["[]"]),
    ("$.b..a", ['{"b":{"c":[{"a":1}]}}'], ['{"a":1,"b":2}']),
    ("$..a..b", ['{"a":{"c":{"b":1}}}'], ['{"b":{"a":1}}']),
    ("$..a[0]", ['{"b":{"a":[null]}}'], ['{"b":{"a":[]}}', '{"a":1}']),
    ("$..a[*].b", ['{"x":{"a":[{"b":1}]}}'], ['{"a":{"b":1}}']),
    ("$..*", ['{"a":null}', "[1]"], ["{}", "[]", "1"]),
    ("$..[-1]", ['{"a":[1]}'], ['{"a":{"b":1}}']),
    # filters
    ("$.a[?(@.k)]", ['{"a":[{"k":null}]}', '{"a":[1,{"k":0}]}', '{"a":{"k":1}}'], ['{"a":[{"b":1}]}', '{"a":["k"]}', '{"a":5}']),
    ("$[?(@.k == 'x')]", ['[{"k":"x"}]', '{"k":"x"}'], ['[{"k":"X"}]', '{"a":{"k":"x"}}', "[]", '"x"']),
    ("$.a[?(@['k'] == \"x\")].n", ['{"a":[{"k":"x","n":null}]}'], ['{"a":[{"k":"x"},{"k":"y","n":1}]}']),
    ("$[?(@ == 'x')]", ['["y","x"]'], ['["y"]', '{"a":"x"}', '"x"']),
    ("$[?(@.k.n[0] == 1)]", ['[{"k":{"n":[1]}}]'], ['[{"k":{"n":1}}]']),
    ("$[?(@.k == 1)]", ['[{"k":1}]', '[{"k":1.0}]', '[{"k":"1"}]'], ['[{"k":true}]', '[{"k":"1.0"}]', '[{"k":2}]']),
    ("$[?(@.k == '1.0')]", ['[{"k":1}]', '[{"k":"1.0"}]'], ['[{"k":"1"}]']),
    ("$[?(@.k == true)]", ['[{"k":true}]'], ['[{"k":"true"}]', '[{"k":1}]', "[{}]"]),
    ("$[?(@.k == null)]", ['[{"k":null}]'], ['[{"k":0}]', "[{}]"]),
    ("$[?(@.k != 'x')]", ['[{"k":"y"}]', '[{"k":1}]', "[{}]", "[1]"], ['[{"k":"x"}]', "[]"]),
    ("$[?(@.k>1)]", ['[{"k":1.5}]'], ['[{"k":1}]', '[{"k":"2"}]', "[{}]", '[{"k":null}]']),
    ("$[?(@.k >= 1 && @.k<3)]", ['[{"k":1}]', '[{"k":2.9}]'], ['[{"k":3}]', '[{"k":0}]']),
    ("$[?(@.k <= 'b')]", ['[{"k":"a"}]', '[{"k":"b"}]'], ['[{"k":"c"}]', '[{"k":1}]']),
    ("$[?(@.k=='x'&&@.n==-1)]", ['[{"k":"x","n":-1}]'], ['[{"k":"x"},{"n":-1}]']),
    ("$[?(@.a || @.b && @.c)]", ['[{"a":1}]', '[{"b":1,"c":1}]'], ['[{"b":1}]', '[{"c":1}]']),
    ("$[?( (@.a || @.b) && !@.c )]", ['[{"a":1}]'], ['[{"a":1,"c":1}]', "[{}]"]),
    ("$[?(!(@.k == 'x'))]", ['[{"k":"y"}]', "[{}]"], ['[{"k":"x"}]']),
    ("$[?(@.k =~ /x.*/)]", ['[{"k":"xy"}]', '[{"k":"x"}]'], ['[{"k":"yx"}]', '[{"k":"XY"}]', "[{}]"]),
    ("$[?(@.k =~ /x[0-9]|1/i && @.n)]", ['[{"k":"X1","n":1}]', '[{"k":1,"n":0}]'], ['[{"k":"X1"}]', '[{"k":"x"}]']),
    ("$[?(@.k =~ /.*/)]", ['[{"k":"x"}]', "[{}]", "[1]", '[{"k":null}]', '[{"k":[1]}]'], ["[]"]),
    # what is there, by a rule: one value of several is enough
    ({"expression": "$.a", "equalTo": "x"}, ['{"a":"x"}', '{"a":["y","x"]}'], ['{"a":"X"}', '{"a":{"x":1}}', "{}", "[]", ""]),
    ({"expression": "$.a", "equalTo": "X", "caseInsensitive": True}, ['{"a":"x"}'], ['{"a":"y"}']),
    ({"expression": "$.a", "equalTo": ""}, ['{"a":""}'], ['{"a":null}', "{}", '{"a":[]}']),
    ({"expression": "$.a", "equalTo": "1"}, ['{"a":1}', '{"a":"1"}', '{"a":[0,1]}'], ['{"a":1.0}', '{"a":true}']),
    ({"expression": "$.a", "equalTo": "1.5"}, ['{"a":1.5}', '{"a":1.50}', '{"a":15e-1}'], ['{"a":"1.50"}']),
    ({"expression": "$.a", "equalTo": "1.25E7"}, ['{"a":12500000.0}', '{"a":1.25e7}'], ['{"a":12500000}']),
    ({"expression": "$.a", "equalTo": "-1.0E-5"}, ['{"a":-0.00001}'], ['{"a":1e-5}']),
    ({"expression": "$.a", "equalTo": "true"}, ['{"a":true}', '{"a":"true"}'], ['{"a":1}', '{"a":false}']),
    ({"expression": "$.a", "equalTo": "null"}, ['{"a":"null"}'], ['{"a":null}', "{}"]),
    ({"expression": "$.a", "matches": "x+"}, ['{"a":"xx"}', '{"a":["y","x"]}'], ['{"a":"xy"}', "{}"]),
    (
        {"expression": "$.a", "doesNotMatch": "x+"},
        ['{"a":"y"}', '{"a":["x","y"]}', '{"a":1}'],
        ['{"a":"x"}', '{"a":["x"]}', "{}"],
    ),
    ({"expression": "$.a", "contains": "b"}, ['{"a":"abc"}', '{"a":{"b":1}}'], ['{"a":"c"}', "{}"]),
    ({"expression": "$.a", "doesNotContain": "b"}, ['{"a":"c"}', '{"a":["b","c"]}'], ['{"a":"b"}', "{}", '{"a":null}']),
    (
        {"expression": "$.a", "equalTo": '{\n  "b" : [ 1, {\n    "c" : { }\n  }, "é", [ ] ]\n}'},
        ['{"a":{"b":[1,{"c":{}},"é",[]]}}'],
        ['{"a":{"b":[]}}'],
    ),
    ({"expression": "$.a", "equalTo": '{\n  "b" : [ 1.5, 1.0E10 ]\n}'}, ['{"a":{"b":[1.50,1e10]}}'], ['{"a":{"b":[1.5,1]}}']),
    ({"expression": "$.a", "equalTo": "{b=1, c={d=null}}"}, ['{"a":[{"b":1,"c":{"d":null}}]}'], ['{"a":{"b":1,"c":{"d":null}}}']),
    ({"expression": "$.a[*]", "equalTo": '["x",1,null]'}, ['{"a":[["x",1,null]]}'], ['{"a":["x"]}']),
    ({"expression": "$.a", "and": [{"contains": "a"}, {"contains": "b"}]}, ['{"a":"ab"}'], ['{"a":["a","b"]}', '{"a":"a"}']),
    ({"expression": "$.a", "or": [{"equalTo": "a"}, {"absent": True}]}, ['{"a":"a"}'], ['{"a":"b"}', "{}"]),
    ({"expression": "$.a[*].b", "equalTo": "1"}, ['{"a":[{"b":2},{"b":1}]}'], ['{"a":[{"b":2}]}', '{"a":{"b":1}}']),
    ({"expression": "$..a", "equalTo": "x"}, ['{"b":[{"a":"y"},{"a":"x"}]}'], ['{"a":["x"]}', "{}"]),
    ({"expression": "$.a[?(@.k == 'x')].n", "equalTo": "1"}, ['{"a":[{"k":"x","n":1}]}'], ['{"a":[{"k":"y","n":1}]}']),
    (
        {"expression": "$.a", "absent": True},
        ["{}", '{"a":null}', '{"a":[]}', "[]", "5"],
        ['{"a":0}', '{"a":{}}', "", "null", '{"a":""}'],
    ),
    ({"expression": "$.a[*].b", "absent": True}, ["{}", '{"a":[{"c":1}]}'], ['{"a":[{"b":1}]}']),
    ({"expression": "$..a", "absent": True}, ['{"b":1}'], ['{"b":{"a":1}}', ""]),
    (
        {"expression": "$.a", "equalToJson": '{"b": 1}'},
        ['{"a":{"b":1.0}}'],
        ['{"a":{"b":1,"c":2}}', '{"a":[{"b":1}]}', "{}", '{"b":1}', ""],
    ),
    ({"expression": "$.a", "equalToJson": {"b": 1}, "ignoreExtraElements": True}, ['{"a":{"b":1,"c":2}}'], ['{"a":{}}']),
    ({"expression": "$.a", "equalToJson": "[2, 1]", "ignoreArrayOrder": True}, ['{"a":[1,2]}'], ['{"a":[1]}', '{"a":1}']),
    ({"expression": "$.a", "equalToJson": '"x"'}, ['{"a":"x"}'], ['{"a":["x"]}']),
    ({"expression": "$.a", "equalToJson": "null"}, ['{"a":null}', "{}"], ['{"a":0}', "null", ""]),
    ({"expression": "$.a[*].b", "equalToJson": "[1, 2]"}, ['{"a":[{"b":1},{"c":0},{"b":2}]}'], ['{"a":[{"b":2},{"b":1}]}']),
    ({"expression": "$.a[*]", "equalToJson": "[]"}, ['{"a":[]}', '{"a":5}'], ["{}"]),
]


@pytest.mark.parametrize(("path", "fits", "others"), PATHS, ids=[str(row[0]) for row in PATHS])
def test_json_paths(both: Both, path: Any, fits: list[str], others: list[str]) -> None:
    matched(both, {**X, "bodyPatterns": [{"matchesJsonPath": path}]}, posts(*fits), posts(*others))


def test_json_paths_beside_other_rules(both: Both) -> None:
    rules = [{"or": [{"matchesJsonPath": "$.a"}, {"contains": "x"}]}, {"matchesJsonPath": {"expression": "$.b", "absent": True}}]

    matched(both, {**X, "bodyPatterns": rules}, posts('{"a":1}', '{"c":"x"}'), posts('{"a":1,"b":1}', '{"c":1}'))


# --- answers

RESPONSES: dict[str, tuple[dict[str, Any], int | str]] = {
    "nothing": ({}, 200),
    "nulls": ({"status": None, "body": None, "jsonBody": None, "fault": None, "proxyBaseUrl": None, "transformers": []}, 200),
    "201": ({"status": 201}, 201),
    "204": ({"status": 204}, 204),
    "204 with a body": ({"status": 204, "body": "x"}, 204),
    "302": ({"status": 302, "headers": {"Location": "/y"}}, 302),
    "304": ({"status": 304, "body": "x", "headers": {"ETag": '"a"'}}, 304),
    "404": ({"status": 404}, 404),
    "503": ({"status": 503, "headers": {"Retry-After": "5"}, "body": "later"}, 503),
    "words of one's own": ({"status": 201, "statusMessage": "Très bien"}, 201),
    "body": ({"body": "é"}, 200),
    "no body": ({"body": ""}, 200),
    "jsonBody": ({"jsonBody": {"z": [1, None, True], "a": 'é<&"/\n', "b": 12345678901234567890, "c": 1.5, "d": {}}}, 200),
    "jsonBody of a list": ({"jsonBody": []}, 200),
    "jsonBody of a text": ({"jsonBody": "text"}, 200),
    "jsonBody of 0": ({"jsonBody": 0}, 200),
    "jsonBody of null": ({"jsonBody": None}, 200),
    "base64Body": ({"base64Body": "AQID/w=="}, 200),
    "bodyFileName": ({"bodyFileName": "item.json"}, 200),
    "bodyFileName in a folder": ({"bodyFileName": "shop/a b.html"}, 200),
    "content type": ({"headers": {"Content-Type": "application/json"}, "body": "{}"}, 200),
    "header with several values": ({"headers": {"Set-Cookie": ["a=1", "b=2"], "X-A": "1"}}, 200),
    "header without a value": ({"headers": {"X-A": ""}}, 200),
    "header with a letter": ({"headers": {"X-A": "é"}}, 200),
    "Content-Length": ({"headers": {"Content-Length": "3"}, "body": "abc"}, 200),
    "Content-Length that is too long": ({"headers": {"Content-Length": "5"}, "body": "abc"}, "broken off"),
    "Content-Length that is too short": ({"headers": {"Content-Length": "2"}, "body": "abc"}, 200),
    "Transfer-Encoding": ({"headers": {"Transfer-Encoding": "chunked"}, "body": "abc"}, 200),
    "Content-Encoding": ({"headers": {"Content-Encoding": "gzip"}, "body": "abc"}, 200),
    "Connection": ({"headers": {"Connection": "close"}, "body": "abc"}, 200),
    "no delay": ({"fixedDelayMilliseconds": 0}, 200),
    # faults
    "reset": ({"fault": "CONNECTION_RESET_BY_PEER"}, "reset"),
    "empty": ({"fault": "EMPTY_RESPONSE"}, "empty"),
    "empty, with more": ({"fault": "EMPTY_RESPONSE", "status": 500, "body": "x"}, "empty"),
    "garbage": ({"fault": "RANDOM_DATA_THEN_CLOSE"}, "garbage"),
    "half a chunk": ({"fault": "MALFORMED_RESPONSE_CHUNK"}, "broken off"),
}
CLOSED = [name for name in RESPONSES if name != "half a chunk"]
"""Answers that are the same where the connection ends with them; for the other one see DIFFERENCES."""
FILES = {"item.json": b'{"id": 1}\n', "shop/a b.html": "<p>é".encode()}


@pytest.mark.parametrize(("name", "is_last"), [*((name, False) for name in RESPONSES), *((name, True) for name in CLOSED)])
def test_responses(both: Both, name: str, is_last: bool) -> None:
    response, wanted = RESPONSES[name]
    both.load({"m.json": mapping(X, response)}, FILES)

    compared(both, [(Ask(is_last=is_last), wanted)])


@pytest.mark.parametrize("method", ["HEAD", "OPTIONS", "PUT", "DELETE"])
def test_answers_to_other_methods(both: Both, method: str) -> None:
    both.load({"m.json": mapping(X, {"status": 202, "body": "abc", "headers": {"X-A": "1"}})})

    compared(both, [(Ask(method=method), 202)])


SLOW = [
    {"fixedDelayMilliseconds": 60},
    {"delayDistribution": {"type": "fixed", "milliseconds": 60}},
    {"delayDistribution": {"type": "uniform", "lower": 60, "upper": 80}},
    {"delayDistribution": {"type": "lognormal", "median": 80, "sigma": 0.01}},
]


@pytest.mark.parametrize("response", SLOW, ids=str)
def test_delays(both: Both, response: dict[str, Any]) -> None:
    both.load({"m.json": mapping(X, {**response, "body": "late"})})

    begun = time.monotonic()
    compared(both, [(Ask(), 200)])

    assert time.monotonic() - begun >= (0.06 if both.real is None else 0.12)


def test_a_delay_before_a_fault(both: Both) -> None:
    both.load({"m.json": mapping(X, {"fixedDelayMilliseconds": 60, "fault": "EMPTY_RESPONSE"})})

    begun = time.monotonic()
    compared(both, [(Ask(), "empty")])

    assert time.monotonic() - begun >= (0.06 if both.real is None else 0.12)


# --- several mappings


def said(text: str, priority: int | None = None, path: str = "/x", **more: Any) -> dict[str, Any]:
    """A mapping whose answer says which one it is."""
    return mapping({"urlPath": path}, {"body": text}, **({} if priority is None else {"priority": priority}), **more)


def state(text: str, required: str | None = None, new: str | None = None, name: str = "buy", **more: Any) -> dict[str, Any]:
    """A mapping with its part in a scenario."""
    states: dict[str, Any] = {"requiredScenarioState": required, "newScenarioState": new}
    return said(text, scenarioName=name, **{key: value for key, value in states.items() if value is not None}, **more)


def several(*mappings: Any) -> dict[str, Any]:
    return {"mappings": list(mappings)}


ORDERS: dict[str, tuple[dict[str, Any], list[str]]] = {
    "the last of a file": ({"a.json": several(said("1"), said("2"), said("3"))}, ["3"]),
    "with words on the file": ({"a.json": {**several(said("1")), "meta": {"total": 1}}}, ["1"]),
    "the highest priority": ({"a.json": several(said("1", 1), said("2", 2), said("none"))}, ["1"]),
    "the highest priority, first": ({"a.json": several(said("none"), said("2", 2), said("1", 1))}, ["1"]),
    "the last of one priority": ({"a.json": several(said("1", 2), said("2", 2))}, ["2"]),
    "5 is the usual priority": ({"a.json": several(said("none"), said("5", 5))}, ["5"]),
    "the usual priority is 5": ({"a.json": several(said("5", 5), said("none"))}, ["none"]),
    "below the usual one": ({"a.json": several(said("none"), said("6", 6))}, ["none"]),
    "0 and below": ({"a.json": several(said("1", 1), said("0", 0), said("-1", -1))}, ["-1"]),
    "priorities in two files": ({"a.json": said("a", 1), "b.json": several(said("b"), said("c", 3))}, ["a"]),
    "a file in a folder": ({"deep/er/a.json": said("a")}, ["a"]),
    "a hidden file": ({".a.json": said("a")}, ["a"]),
    "names and marks": (
        {"a.json": said("a", name="n", id="8c5db8b0-2db4-4ad7-a99f-38c9b00da3f7", persistent=True, metadata={"by": "me"})},
        ["a"],
    ),
    # scenarios
    "a scenario": (
        {"a.json": several(state("1", "Started", "two"), state("2", "two", "three"), state("3", "three"))},
        ["1", "2", "3", "3"],
    ),
    "a state that is never reached": ({"a.json": several(said("else"), state("1", "nowhere"))}, ["else", "else"]),
    "a state that is not said": ({"a.json": several(state("any"), state("1", "Started", "two"))}, ["1", "any", "any"]),
    "from any state": ({"a.json": several(state("1", None, "two"), state("2", "two", "Started"))}, ["1", "2", "1", "2"]),
    "states of null": ({"a.json": {**said("a"), "scenarioName": "s", "requiredScenarioState": None}}, ["a", "a"]),
    "a scenario over a priority": ({"a.json": several(state("1", "Started", "two"), said("else", 9))}, ["1", "else"]),
    "two scenarios": (
        {"a.json": several(state("1", "Started", "two", name="a"), state("2", "Started", "two", name="b"), said("else", 9))},
        ["2", "1", "else"],
    ),
    "a scenario in two files": (
        {"a.json": state("1", "Started", "two"), "b.json": state("2", "two", "Started")},
        ["1", "2", "1"],
    ),
}


@pytest.mark.parametrize("name", ORDERS)
def test_several_mappings(both: Both, name: str) -> None:
    files, wanted = ORDERS[name]
    both.load(files)

    answers = [both.ask(Ask()) for _ in wanted]

    assert [real.body.decode() for real, _ in answers] == wanted
    assert [ours for _, ours in answers] == [real for real, _ in answers]


# --- where they differ, on purpose


def in_body(path: Any) -> dict[str, Any]:
    return mapping({**X, "bodyPatterns": [{"matchesJsonPath": path}]})


DIFFERENCES: dict[str, tuple[dict[str, Any], Ask, Any, Any]] = {
    # with what the real one has, and what ours has: a status, a failure, or an outcome without headers
    "/ without a stub": (mapping(), Ask("/"), 403, 404),
    "WireMock's own addresses": (mapping(), Ask("/__admin/mappings"), 200, 404),
    "a target that is not encoded": (mapping({"urlPath": "/é"}), Ask("/é"), 200, 404),
    "a target that is not encoded, encoded": (mapping({"urlPath": "/%C3%A9"}), Ask("/é"), 404, 200),
    "a fragment in a target": (mapping({"url": "/x"}), Ask("/x#part"), 200, 404),
    "more behind a JSON body": (mapping({**X, "bodyPatterns": [{"equalToJson": "{}"}]}), posts("{} x")[0], 200, 404),
    "a JSON body in other quotes": (mapping({**X, "bodyPatterns": [{"equalToJson": {"a": 1}}]}), posts("{'a': 1}")[0], 200, 404),
    "more behind a JSON body, by path": (in_body("$.a"), posts('{"a":1} x')[0], 200, 404),
    "a JSON body in other quotes, by path": (in_body("$.a"), posts("{'a':1}")[0], 200, 404),
    "a text is a JSON body, by path": (in_body({"expression": "$.a", "absent": True}), posts("x")[0], 200, 404),
    "null in a list": (in_body({"expression": "$.a", "equalTo": "x"}), posts('{"a":["x",null]}')[0], 500, 200),
    "only null in a list": (in_body({"expression": "$.a", "absent": True}), posts('{"a":[null]}')[0], 500, 200),
    "absent behind a filter that has nothing to filter": (
        in_body({"expression": "$.a[?(@.b)]", "absent": True}),
        posts('{"a":5}')[0],
        404,
        200,
    ),
    "null behind an item that is missing": (
        in_body({"expression": "$.a[1][*]", "equalToJson": "null"}),
        posts('{"a":[]}')[0],
        404,
        200,
    ),
    "1e30": (mapping({**X, "bodyPatterns": [{"equalToJson": {"a": 10**30}}]}), posts('{"a":1e30}')[0], 404, 200),
    "1.0 in a jsonBody": (mapping(X, {"jsonBody": 1.0}), get(), Outcome(200, "OK", {}, b"1"), Outcome(200, "OK", {}, b"1.0")),
    "a status that has no words": (mapping(X, {"status": 599}), get(), Outcome(599, "599"), Outcome(599, "")),
    "words of nothing": (mapping(X, {"statusMessage": ""}), get(), Outcome(200, ""), Outcome(200, "OK")),
    "half a chunk, on a connection that ends": (mapping(X, {"fault": "MALFORMED_RESPONSE_CHUNK"}), get(), 200, "broken off"),
}


@pytest.mark.parametrize("name", DIFFERENCES)
def test_known_differences(both: Both, name: str) -> None:
    each, ask, real_has, ours_has = DIFFERENCES[name]
    both.load({"m.json": each})

    real, ours = both.ask(ask)

    if both.real is not None:
        assert (real if isinstance(real_has, Outcome) else real.short) == real_has
    assert (ours if isinstance(ours_has, Outcome) else ours.short) == ours_has


def rule(text: Any) -> dict[str, Any]:
    return mapping({**X, "headers": {"X-Tag": text}})


REFUSED: dict[str, tuple[Any, str]] = {
    "no response": ({"request": X}, "the mapping has no 'response'"),
    "two addresses": (mapping({**X, "url": "/x"}), "'url' and 'urlPath' exclude each other"),
    "a method in small letters": (mapping({**X, "method": "get"}), "'method' is 'get', which no request has; write 'GET'"),
    "two words in a rule": (rule({"equalTo": "a", "contains": "b"}), "this one has equalTo and contains"),
    "absent that is false": (rule({"absent": False}), "'absent' is False, and WireMock takes that for true"),
    "a set of letters in another": (rule({"matches": "[a-z&&[^b]]"}), "brackets in brackets"),
    "a class of Unicode": (rule({"matches": r"\p{Lu}"}), "has no like in Python"),
    "a function in a JSON path": (in_body("$.a.length()"), "not from '()' on; there are: $, .key, ['key'], "),
    "a slice": (in_body("$.a[0:2]"), "not from '[0:2]' on"),
    "several items": (in_body("$.a[0,1]"), "not from '[0,1]' on"),
    "several keys": (in_body("$['a','b']"), "not from \"['a','b']\" on"),
    "a filter at any depth": (in_body("$..[?(@.a)]"), "not from '..[?(@.a)]' on"),
    "a step behind all": (in_body("$..*.a"), "not from '..*.a' on"),
    "in a filter: another sign": (in_body("$[?(@.a in [1])]"), "not from '[?(@.a in [1])]' on"),
    "in a filter: the whole body": (in_body("$[?($.a)]"), "not from '$.a)]' on"),
    "in a filter: any depth": (in_body("$[?(@..a)]"), "not from '@..a)]' on"),
    "in a filter: the other way round": (in_body("$[?(1 == @.a)]"), "not from '1 == @.a)]' on"),
    "a path without its $": (in_body("a"), "'a' is no JSON path that is understood: not from 'a' on"),
    "a path that is cut off": (in_body("$."), "it ends too early"),
    "a blank behind a path": (in_body("$.a "), "not from ' ' on"),
    "a path in a path": (in_body({"expression": "$.a", "matchesJsonPath": "$.b"}), "is not a key of 'matchesJsonPath'"),
    "two rules for a path": (
        in_body({"expression": "$.a", "equalTo": "x", "contains": "x"}),
        "this one has equalTo and contains",
    ),
    "proxyBaseUrl": (mapping(X, {"proxyBaseUrl": "http://127.0.0.1:1"}), "one of WireMock's keys"),
    "transformers": (mapping(X, {"body": "x", "transformers": ["response-template"]}), "one of WireMock's keys"),
    "chunkedDribbleDelay": (
        mapping(X, {"chunkedDribbleDelay": {"numberOfChunks": 2, "totalDuration": 10}}),
        "one of WireMock's keys",
    ),
    "two bodies": (mapping(X, {"body": "a", "jsonBody": {}}), "'body' and 'jsonBody' exclude each other"),
    "a body that is not there": (mapping(X, {"bodyFileName": "none"}), "cannot be read"),
    "a body outside": (mapping(X, {"bodyFileName": "../mappings/m.json"}), "which is not in"),
    "a status from beyond": (mapping(X, {"status": 600}), "600 is not a status code: a whole number from 200 to 599"),
    "a status of informational kind": (mapping(X, {"status": 101}), "101 is not a status code: a whole number from 200 to 599"),
    "a status that is a text": (mapping(X, {"status": "200"}), "'status' is '200', not a whole number"),
    "a delay below 0": (mapping(X, {"fixedDelayMilliseconds": -1}), "not a number of seconds from 0 on"),
    "limits the wrong way": (
        mapping(X, {"delayDistribution": {"type": "uniform", "lower": 20, "upper": 10}}),
        "'lower' is 20, above 'upper', 10",
    ),
    "a header beyond Latin-1": (mapping(X, {"headers": {"X-A": "→"}}), "there it is Latin-1"),
    "a state without a scenario": (mapping(requiredScenarioState="a"), "needs 'scenarioName' beside it"),
    "a key that stands twice": (
        b'{"request": {},\n"request": {},\n"response": {}}',
        "line 2: it is no JSON: an object has 'request' twice",
    ),
    "a comment": (b'// this\n{"request": {}, "response": {}}', "line 1: it is no JSON"),
    "more behind the end": (b'{"request": {}, "response": {}} x', "line 1: it is no JSON: Extra data"),
    "no mapping at all": (several(), "which has no mapping in it"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_the_real_one_takes_is_refused(both: Both, name: str) -> None:
    content, words = REFUSED[name]

    with pytest.raises(ConfigurationError) as caught:
        both.load({"m.json": content})  # the real one says nothing

    assert words in str(caught.value)


@pytest.mark.skipif(bool(why_not()), reason=why_not())
def test_a_file_with_a_mark_of_its_order_is_understood(both: Both) -> None:
    with pytest.raises(AssertionError, match="Unexpected character"):  # the real one's words; WireMock 3 takes it
        both.load({"m.json": b"\xef\xbb\xbf" + b'{"request": {}, "response": {}}'})


def test_files_are_read_by_their_names(both: Both) -> None:
    """The real one takes them as its file system has them, so that here only ours can be said."""
    both.load({name: said(name) for name in ("b.json", "a.json", "c/a.json", "B.json")})

    real, ours = both.ask(Ask())

    assert ours.body == b"c/a.json"
    assert real.body.decode() in ("b.json", "a.json", "c/a.json", "B.json")
