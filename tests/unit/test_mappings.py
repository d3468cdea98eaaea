"""Mapping files: what is wrong with one, and where; what a stub from one is called; what only WireMock 3 has."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from pytest_testbed.errors import ConfigurationError
from pytest_testbed.http.book import Book, Stub
from pytest_testbed.http.jsontext import first_repeated, line_of, lines_of_items
from pytest_testbed.http.mappings import read_folders
from pytest_testbed.http.request import Request

OPTION = "testbed_stubs (from pytest.ini)"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "shop").mkdir()
    return tmp_path


def read(folder: Path, content: Any, name: str = "shop/item.json") -> list[Stub]:
    """Return the stubs of one file."""
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())
    return read_folders([folder], OPTION)[Path(name).parts[0]]


def fault_of(folder: Path, content: Any, name: str = "shop/item.json") -> str:
    """Return what is said of one file, behind the option and the file."""
    with pytest.raises(ConfigurationError) as caught:
        read(folder, content, name)
    text, start = str(caught.value), f"{OPTION}: {folder / name}"
    assert text.startswith(start)
    return text[len(start) :]


def lines(*lines: str) -> bytes:
    return "\n".join(lines).encode()


def in_request(line: str) -> bytes:
    return lines("{", ' "request": {', f"  {line}", " },", ' "response": {}', "}")


def in_response(line: str) -> bytes:
    return lines("{", ' "request": {},', ' "response": {', f"  {line}", " }", "}")


def in_rule(line: str) -> bytes:
    return lines("{", ' "request": {"headers": {"X-Tag":', f"  {line}", ' }}, "response": {}', "}")


def in_body(line: str) -> bytes:
    return lines("{", ' "request": {"bodyPatterns": [', f"  {line}", ' ]}, "response": {}', "}")


WRONG: list[tuple[str, bytes, int, str]] = [
    # no JSON
    ("empty", b"", 1, "it is no JSON: Expecting value."),
    ("cut off", lines("{", '"request": {'), 2, "it is no JSON: "),
    ("a comma too much", lines("{", '"response": {},', "}"), 3 if sys.version_info < (3, 13) else 2, "it is no JSON: "),
    (
        "a key twice",
        lines('{"response": {', '"status": 200,', '"status": 201}}'),
        3,
        "it is no JSON: an object has 'status' twice.",
    ),
    ("NaN", in_response('"jsonBody": [1, NaN]'), 4, "it is no JSON: NaN is no value."),
    ("Infinity", in_response('"jsonBody": -Infinity'), 4, "it is no JSON: -Infinity is no value."),
    # unknown keys
    (
        "in the mapping",
        lines("{", '"reqest": {},', '"response": {}}'),
        2,
        "'reqest' is not a key of a mapping; did you mean 'request'?",
    ),
    ("in the request", in_request('"ulr": "/x"'), 3, "'ulr' is not a key of 'request'; did you mean 'url'?"),
    ("in the case of letters", in_request('"URLPATH": "/x"'), 3, "did you mean 'urlPath'?"),
    ("like none", in_request('"zzz": 1'), 3, "'zzz' is not a key of 'request'; there are: method, url, "),
    ("in the response", in_response('"statuss": 200'), 4, "'statuss' is not a key of 'response'; did you mean 'status'?"),
    ("in a rule", in_rule('{"equalsTo": "a"}'), 3, "'equalsTo' is not a key of a rule; did you mean 'equalTo'?"),
    ("in a login", in_request('"basicAuth": {"user": "a"}'), 3, "'user' is not a key of 'basicAuth'; did you mean 'username'?"),
    ("in a body's rule", in_body('{"equalToJSON": {}}'), 3, "did you mean 'equalToJson'?"),
    ("in a distribution", in_response('"delayDistribution": {"type": "fixed", "millis": 1}'), 4, "did you mean 'milliseconds'?"),
    (
        "beside mappings",
        lines("{", '"mappings": [],', '"mapping": 1}'),
        3,
        "'mapping' is not a key of a file with several mappings",
    ),
    # WireMock's, which are not understood
    (
        "import options",
        lines('{"mappings": [],', '"importOptions": {"duplicatePolicy": "IGNORE"}}'),
        2,
        "'importOptions' is one of WireMock's",
    ),
    (
        "an action",
        lines('{"response": {},', '"postServeActions": [{}]}'),
        2,
        "'postServeActions' is one of WireMock's keys that mock_",
    ),
    ("a proxy", in_response('"proxyBaseUrl": "http://other.test"'), 4, "'proxyBaseUrl' is one of WireMock's keys"),
    ("a template", in_response('"transformers": ["response-template"]'), 4, "'transformers' is one of WireMock's keys"),
    (
        "what a JSON path leads not to",
        in_body('{"doesNotMatchJsonPath": "$.a"}'),
        3,
        "'doesNotMatchJsonPath' is one of WireMock's",
    ),
    ("a JSON schema", in_body('{"matchesJsonSchema": "{}"}'), 3, "'matchesJsonSchema' is one of WireMock's keys"),
    ("XML", in_body('{"equalToXml": "<a/>"}'), 3, "'equalToXml' is one of WireMock's keys"),
    ("a form", in_request('"formParameters": {"a": {"equalTo": "1"}}'), 3, "'formParameters' is one of WireMock's keys"),
    # types
    ("a list", b"[]", 1, "a mapping is [], not an object."),
    ("a text", b'"x"', 1, "a mapping is 'x', not an object."),
    ("mappings", lines("{", '"mappings": {}}'), 2, "'mappings' is not a list."),
    ("an item of mappings", lines('{"mappings": [', "{},", "5]}"), 2, "the mapping has no 'response'."),
    ("request", lines("{", '"request": 5,', '"response": {}}'), 2, "'request' is 5, not an object."),
    ("response", lines("{", '"response": null}'), 2, "'response' is None, not an object."),
    ("method", in_request('"method": 5'), 3, "'method' is 5, not text."),
    ("url", in_request('"url": ["/x"]'), 3, "'url' is ['/x'], not text."),
    ("headers", in_request('"headers": []'), 3, "'headers' is [], not an object."),
    ("a rule that is a text", in_request('"headers": {"X-Tag": "a"}'), 3, "a rule is 'a', not an object."),
    ("a rule of nothing", in_rule("{}"), 2, "a rule has one of equalTo, contains, "),
    ("equalTo", in_rule('{"equalTo": 5}'), 3, "'equalTo' is 5, not text."),
    ("a flag", in_rule('{"equalTo": "a", "caseInsensitive": "yes"}'), 3, "'caseInsensitive' is 'yes', not true or false."),
    (
        "a flag of another",
        in_body('{"equalTo": "a", "ignoreArrayOrder": true}'),
        3,
        "'ignoreArrayOrder' does not go with 'equalTo'.",
    ),
    ("and", in_rule('{"and": [{"equalTo": "a"}]}'), 3, "not a list of two rules or more."),
    ("deep in or", in_rule('{"or": [{"equalTo": "a"}, {"equal": "b"}]}'), 3, "'equal' is not a key of a rule"),
    ("bodyPatterns", in_request('"bodyPatterns": {}'), 3, "'bodyPatterns' is {}, not a list."),
    ("a login", in_request('"basicAuth": {"username": "a"}'), 3, "'basicAuth' needs 'username' and 'password'."),
    ("priority", lines('{"response": {},', '"priority": true}'), 2, "'priority' is True, not a whole number."),
    ("status", in_response('"status": "200"'), 4, "'status' is '200', not a whole number."),
    ("a header of the answer", in_response('"headers": {"X-A": [1]}'), 4, "header 'X-A' is [1], not text or a list of texts."),
    ("a header on two lines", in_response(r'"headers": {"X-A": "a\nb"}'), 4, "'a\\nb' is not on one line."),
    ("a delay", in_response('"fixedDelayMilliseconds": 1.5'), 4, "'fixedDelayMilliseconds' is 1.5, not a whole number."),
    (
        "a distribution",
        in_response('"delayDistribution": {"type": "normal"}'),
        4,
        "'type' is 'normal', not one of fixed, uniform, ",
    ),
    (
        "numbers of one",
        in_response('"delayDistribution": {"type": "uniform", "lower": "1"}'),
        4,
        "needs lower and upper, numbers",
    ),
    # values
    ("a method of letters", in_request('"method": "post"'), 3, "'method' is 'post', which no request has; write 'POST'."),
    ("a regular expression", in_rule('{"matches": "a("}'), 3, "'a(' is no regular expression that is understood: "),
    ("one of the URL", in_request('"urlPattern": "/["'), 3, "'/[' is no regular expression that is understood: "),
    (
        "one of a placeholder",
        in_body('{"equalToJson": {"a": "${json-unit.regex}("}}'),
        3,
        "'equalToJson' is no JSON that is understood: ",
    ),
    ("JSON in a text", in_body('{"equalToJson": "{"}'), 3, "'equalToJson' is no JSON that is understood: "),
    ("Base64", in_body('{"binaryEqualTo": "A"}'), 3, "'A' is no Base64: "),
    ("a JSON path", in_body('{"matchesJsonPath": "$.a.size()"}'), 3, "'$.a.size()' is no JSON path that is understood: not from"),
    (
        "in an expression",
        in_body('{"matchesJsonPath": {"absent": true,\n"expression": "$["}}'),
        4,
        "not from '[' on; there are: $, ",
    ),
    ("no path", in_body('{"matchesJsonPath": 5}'), 3, "5 is no JSON path: that is a text such as '$.key'."),
    ("no expression", in_body('{"matchesJsonPath": {"absent": true}}'), 3, "'matchesJsonPath' needs 'expression', the path."),
    ("a key of a path", in_body('{"matchesJsonPath": {"expresion": "$"}}'), 3, "did you mean 'expression'?"),
    ("a path without a rule", in_body('{"matchesJsonPath": {"expression": "$"}}'), 3, "this one has none."),
    (
        "a regular expression in a filter",
        in_body('{"matchesJsonPath": "$[?(@.a =~ /(/)]"}'),
        3,
        "is no JSON path that is understood",
    ),
    ("a template", in_request('"urlPathTemplate": "/{a"'), 3, "is no template: "),
    ("a name twice", in_request('"urlPathTemplate": "/{a}/{b}/{a}"'), 3, "'/{a}/{b}/{a}' has {a} twice."),
    ("a regular expression of numbers", in_request('"urlPattern": 5'), 3, "'urlPattern' is 5, not text."),
    ("parentheses in a filter", in_body('{"matchesJsonPath": "$[?((@.a @.b))]"}'), 3, "is no JSON path that is understood"),
    ("a value in a filter", in_body('{"matchesJsonPath": "$[?(@.a == yes)]"}'), 3, "is no JSON path that is understood"),
    (
        "a part without a template",
        in_request('"url": "/x", "pathParameters": {"a": {"equalTo": "1"}}'),
        3,
        "needs 'urlPathTemplate'",
    ),
    (
        "a part that is not in it",
        in_request('"urlPathTemplate": "/{a}", "pathParameters": {"b": {"equalTo": "1"}}'),
        3,
        "has no {b}.",
    ),
    ("a fault", in_response('"fault": "EMPTY"'), 4, "'fault' is 'EMPTY', which there is not; "),
    ("a body that is not there", in_response('"bodyFileName": "none.json"'), 4, "cannot be read: No such file or directory."),
    ("a body that is a folder", in_response('"bodyFileName": ""'), 4, "cannot be read: "),
    ("a body outside", in_response('"bodyFileName": "../item.json"'), 4, "'bodyFileName' is '../item.json', which is not in "),
    ("a body of the machine", in_response('"bodyFileName": "/etc/hostname"'), 4, "which is not in "),
    ("a body that no file is", in_response(r'"bodyFileName": "a\u0000"'), 4, "which no file is called."),
    ("half a letter", in_response(r'"body": "\ud83d"'), 4, "'body' has half a letter"),
]


@pytest.mark.parametrize(("content", "line", "words"), [row[1:] for row in WRONG], ids=[row[0] for row in WRONG])
def test_a_wrong_file_is_told_with_its_line(folder: Path, content: bytes, line: int, words: str) -> None:
    (folder / "shop" / "__files").mkdir()

    fault = fault_of(folder, content)

    assert fault.startswith(f", line {line}: ")
    assert words in fault


def test_a_file_that_is_not_utf8(folder: Path) -> None:
    assert " is not UTF-8: " in fault_of(folder, '{"response": {"body": "é"}}'.encode("latin-1"))


def test_a_file_that_is_too_deep(folder: Path) -> None:
    assert "it is no JSON that is understood" in fault_of(folder, b'{"response": {"jsonBody": ' + b"[" * 100_000)


def test_a_link_that_leads_nowhere_is_no_file(folder: Path) -> None:
    (folder / "shop" / "item.json").symlink_to("item.json")  # to itself

    with pytest.raises(ConfigurationError, match="has no mapping in it"):
        read_folders([folder], OPTION)


@pytest.mark.parametrize("start", [b"\xef\xbb\xbf", b"\n\n"])
def test_a_mark_of_byte_order_is_no_part_of_a_file(folder: Path, start: bytes) -> None:
    (stub,) = read(folder, start + b'{"response": {}}')

    assert str(stub) == "ANY any path (from shop/item.json)"


def test_a_line_behind_a_mark_of_byte_order(folder: Path) -> None:
    assert fault_of(folder, b"\xef\xbb\xbf\r\n" + b'{"respons": {}}').startswith(", line 2: 'respons'")


# --- folders


def told(*folders: Path) -> str:
    with pytest.raises(ConfigurationError) as caught:
        read_folders(folders, OPTION)
    return str(caught.value)


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    assert told(tmp_path / "none") == f"{OPTION} names {tmp_path / 'none'}, which is not there."


def test_a_folder_that_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    assert told(tmp_path / "file") == f"{OPTION} names {tmp_path / 'file'}, which is no directory."


@pytest.mark.parametrize("path", [None, "shop", "shop/__files/a.json", "shop/readme.txt"])
def test_a_folder_without_a_mapping(tmp_path: Path, path: str | None) -> None:
    if path is not None:
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text("{}") if "." in path else (tmp_path / path).mkdir()

    assert "which has no mapping in it: those of a service called inventory would be in files such as" in told(tmp_path)


def test_one_folder_of_several_without_a_mapping(folder: Path) -> None:
    read(folder, {"response": {}})
    (folder / "other").mkdir()

    assert f"names {folder / 'other'}, which has no mapping in it" in told(folder, folder / "other")


def test_a_file_outside_of_services(folder: Path) -> None:
    (folder / "item.json").write_text("{}")

    assert "in which item.json belongs to no service: each has a folder of its own in it" in told(folder)


def test_the_folder_of_a_wiremock(tmp_path: Path) -> None:
    (tmp_path / "mappings").mkdir()
    (tmp_path / "mappings" / "item.json").write_text('{"response": {}}')

    assert "in which mappings belongs to no service" in told(tmp_path)


def test_a_folder_whose_name_is_none_of_a_service(tmp_path: Path) -> None:
    (tmp_path / "my shop").mkdir()
    (tmp_path / "my shop" / "item.json").write_text('{"response": {}}')

    assert "no mock service can be called 'my shop'" in told(tmp_path)


def test_other_folders_are_nobodys_business(folder: Path) -> None:
    for name in (".editor/settings.json", "not a service/readme.txt"):
        (folder / name).parent.mkdir()
        (folder / name).touch()
    (folder / ".lint.json").touch()

    assert len(read(folder, {"response": {}})) == 1


def test_files_and_bodies_of_a_wiremock_s_folder(folder: Path) -> None:
    (folder / "shop" / "__files").mkdir()
    (folder / "shop" / "__files" / "body.json").write_bytes(b'{"no": "mapping"}')
    read(folder, {"response": {"bodyFileName": "body.json"}}, "shop/mappings/deep/a.json")

    stubs = read_folders([folder], OPTION)["shop"]

    assert [str(stub) for stub in stubs] == ["ANY any path (from shop/mappings/deep/a.json)"]
    assert Book("shop", stubs).serve(Request("GET", "/")).answer.content == b'{"no": "mapping"}'


def test_files_are_read_in_the_order_of_their_paths(folder: Path) -> None:
    names = [f"shop/{name}{number}.json" for name in ("b", "a", "a/x", "B") for number in (2, 10, 1)]
    for name in names:
        read(folder, {"response": {}}, name)

    assert [stub.source for stub in read_folders([folder], OPTION)["shop"]] == sorted(names, key=lambda name: Path(name))


def test_folders_of_one_service_are_added_one_after_the_other(tmp_path: Path) -> None:
    for name in ("one", "two"):
        read(tmp_path / name, {"response": {"body": name}})

    stubs = read_folders([tmp_path / "two", tmp_path / "one"], OPTION)["shop"]

    assert Book("shop", stubs).serve(Request("GET", "/")).answer.content == b"one"


# --- what a stub is called


def test_a_stub_is_called_by_its_file_its_line_and_its_name(folder: Path) -> None:
    first = {"request": {"method": "GET", "url": "/a"}, "response": {}}
    text = json.dumps({"mappings": [first, {**first, "name": "an item"}]}, indent=1)

    stubs = read(folder, text.encode())

    second = text.split("\n").index("  {", 3) + 1
    assert [stub.source for stub in stubs] == ["shop/item.json:3", f"shop/item.json:{second}, 'an item'"]
    why = Book("shop", stubs).serve(Request("GET", "/b")).why
    assert "GET /a (from shop/item.json:3)" in why
    assert f"GET /a (from shop/item.json:{second}, 'an item')" in why


def test_lines_of_items() -> None:
    assert lines_of_items('{"a": 1,\n"b": [\n1, [\n2], {"c":\n3}\n, 4]}', ["b"]) == [3, 3, 4, 6]
    assert lines_of_items("[]", []) == []


def test_the_first_key_that_stands_twice() -> None:
    assert first_repeated('{"a": [{"b": 1,\n"c": {},\n"b": 2}], "a": 1}') == ("b", 3)
    assert first_repeated('{"a": {"a": {"a": 1}}}') is None


def test_many_mappings_in_a_file_are_read_in_a_moment(folder: Path) -> None:
    mapping = {"request": {"url": "/a", "headers": {"X": {"equalTo": "1"}}}, "response": {"jsonBody": {"a": [1, 2, 3]}}}

    assert len(read(folder, {"mappings": [mapping] * 5000})) == 5000


# --- what WireMock 3 alone has


def answers(folder: Path, request: Any, *asked: Request) -> list[int]:
    book = Book("shop", read(folder, {"request": request, "response": {}}))
    return [book.serve(each).answer.status for each in asked]


def test_a_template_of_the_path(folder: Path) -> None:
    request = {"urlPathTemplate": "/items/{id}/parts/{part}"}

    got = answers(folder, request, *(Request("GET", f"/items{each}") for each in ("/1/parts/a?x=1", "/1/parts", "/1/parts/a/b")))

    assert got == [200, 404, 404]


@pytest.mark.parametrize(
    ("template", "fits", "others"),
    [
        ("/i/x", ["/i/x"], ["/i/%78", "/i"]),
        ("/i/a b", [], ["/i/a%20b"]),
        ("/i/{id}", ["/i/a%2Fb", "/i/1?x=1"], ["/i/1/", "/i/", "/I/1"]),
        ("/i/{item-id}", ["/i/x"], []),
        ("/i/{a}-{b}", ["/i/x-y"], ["/i/x"]),
        ("/i/**", ["/i/x", "/i/x/y", "/i/"], ["/i"]),
        ("/i.x/{id}", ["/i.x/1"], ["/iix/1"]),
    ],
)
def test_templates_match_the_path_as_it_was_sent(folder: Path, template: str, fits: list[str], others: list[str]) -> None:
    """What WireMock 3.13 answers, seen by hand."""
    got = answers(folder, {"urlPathTemplate": template}, *(Request("GET", each) for each in (*fits, *others)))

    assert got == [200] * len(fits) + [404] * len(others)


def test_parts_of_a_template(folder: Path) -> None:
    request = {"urlPathTemplate": "/items/{id}", "pathParameters": {"id": {"matches": "[0-9]+%20b"}}}

    assert answers(folder, request, *(Request("GET", f"/items/{each}") for each in ("12%20b", "12", "x"))) == [200, 404, 404]


def test_what_is_not(folder: Path) -> None:
    request = {"queryParameters": {"q": {"not": {"equalTo": "1"}}}, "bodyPatterns": [{"not": {"equalToJson": {"a": 1}}}]}

    got = answers(
        folder,
        request,
        Request("POST", "/x?q=2", body=b"{}"),
        Request("POST", "/x"),
        Request("POST", "/x?q=1"),
        Request("POST", "/x?q=2", body=b'{"a": 1}'),
    )

    assert got == [200, 200, 404, 404]


def test_a_body_that_is_too_deep_is_no_json(folder: Path) -> None:
    deep = b"[" * 100_000

    assert answers(folder, {"bodyPatterns": [{"equalToJson": "[]"}]}, Request("POST", "/x", body=deep)) == [404]


def test_items_in_any_order_are_given_to_those_that_want_them(folder: Path) -> None:
    """One that would take any item leaves the only one that another wants."""
    wanted = {"equalToJson": ["${json-unit.any-string}", "a", "${json-unit.any-string}"], "ignoreArrayOrder": True}
    bodies = ['["a", "b", "c"]', '["c", "b", "a"]', '["a", "b", 3]', '["b", "c", "d"]']

    got = answers(folder, {"bodyPatterns": [wanted]}, *(Request("POST", "/x", body=each.encode()) for each in bodies))

    assert got == [200, 200, 404, 404]


def test_lines_of_what_is_not_there() -> None:
    text = '{"a":\n {"b":\n  [1]}}'

    assert [line_of(text, path) for path in ([], ["a"], ["a", "b"], ["a", "b", 5, "c"], ["x", "a"])] == [1, 1, 2, 2, 1]


@pytest.mark.parametrize(
    ("rule", "body", "words"),
    [
        ("$.a.b", '{"a": {}}', "$.a.b is missing"),
        ("$.a", '{"a": []}', "$.a is []"),
        ("$.a", '{"a": null}', "$.a is null"),
        ("$.a", "", "there is no body"),
        ("$.a", "a=1", "the body is no JSON: 'a=1'"),
        ("$.a", "null", "the body is null"),
        ("$..a", "[" * 100_000 + "]" * 100_000, "the body is nested too deeply"),
        ("$..a", '{"b": 1}', "$..a leads to nothing"),
        ("$[?(@.a == 'x')]", '[{"a": "y"}]', "$[?(@.a == 'x')] leads to nothing"),
        ({"expression": "$.a", "equalTo": "x"}, '{"a": "y"}', "$.a is 'y', not 'x'"),
        ({"expression": "$.a", "equalTo": "x"}, "{}", "$.a is missing, not 'x'"),
        ({"expression": "$.a", "matches": "x+"}, '{"a": 1e999}', "$.a is inf, not matching 'x+'"),
        ({"expression": "$[?(@ > 1)]", "equalTo": "x"}, "[1e999, NaN]", "leads to nothing, not 'x'"),
        ({"expression": "$..a", "contains": "x"}, '[{"a": 1}, {"a": 2}]', "$..a is [1, 2], not with 'x' in it"),
        ({"expression": "$.a", "absent": True}, '{"a": 1}', "$.a is 1, not absent"),
        ({"expression": "$.a", "equalToJson": {"b": [1]}}, '{"a": {"b": [2]}}', "$.a.b[0] is 2, not 1"),
        ({"expression": "$.a", "equalToJson": {"b": 1}}, "{}", "$.a is missing, not {'b': 1}"),
    ],
)
def test_what_a_json_path_leads_to_is_told(folder: Path, rule: Any, body: str, words: str) -> None:
    book = Book("shop", read(folder, {"request": {"bodyPatterns": [{"matchesJsonPath": rule}]}, "response": {}}))

    assert words in book.serve(Request("POST", "/x", body=body.encode())).why


@pytest.mark.parametrize(
    "rule",
    [
        "$.user[?(@.password == 'MINE' && @.pin == 1)].none",
        "$.user[?(@.password =~ /MINE/)].none",
        *(
            {"expression": path, word: "MINE"}
            for path in ("$.user.password", "$.user['password']", "$..password")
            for word in ("equalTo", "contains")
        ),
        {"expression": "$.user.password", "equalToJson": '"MINE"'},
        {"expression": "$.user", "equalToJson": {"password": "MINE"}},
        {"expression": "$.none", "equalToJson": {"password": "MINE"}},
        {"expression": "$.user", "contains": '"password" : "MINE"'},
    ],
    ids=str,
)
def test_secrets_of_a_json_path_are_not_told(folder: Path, rule: Any) -> None:
    book = Book("shop", read(folder, {"request": {"bodyPatterns": [{"matchesJsonPath": rule}]}, "response": {}}))

    why = book.serve(Request("POST", "/x", body=b'{"user": {"password": "SENT"}}')).why

    assert "MINE" not in why
    assert "SENT" not in why
    assert "***" in why


def test_secrets_of_a_mapping_are_not_told(folder: Path) -> None:
    wanted = {
        "method": "POST",
        "url": "/pay?token=MINE",
        "headers": {"X-Api-Key": {"equalTo": "MINE", "caseInsensitive": True}, "Authorization": {"contains": "MINE"}},
        "cookies": {"session": {"equalTo": "MINE"}},
        "bodyPatterns": [{"equalToJson": {"card": "MINE", "list": [{"secret": "MINE"}]}}, {"equalTo": "password=MINE"}],
    }
    book = Book("shop", read(folder, {"request": wanted, "response": {}}))
    headers = [("X-Api-Key", "SENT"), ("Authorization", "Bearer SENT"), ("Cookie", "session=SENT")]
    for body in (b'{"card": "SENT", "list": [{"secret": "SENT"}]}', b'{"list": {"secret": "SENT"}}', b"password=SENT", b""):
        why = book.serve(Request("POST", "/pay?token=SENT", headers, body)).why
        assert "MINE" not in why
        assert "SENT" not in why
        assert "header Authorization  'Bearer ***', not with '***' in it" in why
