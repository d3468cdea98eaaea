"""What a mapping in WireMock's JSON format wants of a request.

Source: WireMock's documentation of request matching; where it is silent, what WireMock 2.35 does.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Callable, Iterator, Mapping
from itertools import islice
from typing import Any

from . import javaregex
from .exchange import MASK, is_secret, masked_literals, masked_text, masked_url, masked_value
from .jsonequal import Equality, check_placeholders
from .jsonpath import JsonPath, parsed, texts_of
from .match import AnyPath, Body, Pattern, Text, body_shown, compared_texts, no_json
from .match import Path as PathRule
from .request import Request
from .wiremock_keys import Bad, Place, known, typed

__all__ = ["decoded", "pattern_in"]

URLS = ("url", "urlPattern", "urlPath", "urlPathPattern", "urlPathTemplate")
REQUEST = (
    *("method", *URLS, "pathParameters", "queryParameters", "headers", "cookies", "basicAuth", "basicAuthCredentials"),
    "bodyPatterns",
)
RULES = ("equalTo", "contains", "doesNotContain", "matches", "doesNotMatch", "absent", "and", "or", "not")
FLAGS = {"equalTo": ("caseInsensitive",), "equalToJson": ("ignoreArrayOrder", "ignoreExtraElements")}
BODY_PARTS = (*RULES, "equalToJson", "matchesJsonPath")
PATH_RULES = (*RULES, "equalToJson")
BODY_RULES = (*BODY_PARTS, "binaryEqualTo")
PARAMETER = re.compile(r"\{([^/{}]+)\}")


def pattern_in(request: Any, at: Place) -> Pattern:
    """Return what a mapping wants of a request.

    Raises:
        Bad: it says what is not understood.
    """
    known(request, at, REQUEST, "'request'")
    headers = [*rules_in(request, at, "headers"), *logins_in(request, at)]
    bodies = [*bodies_in(request, at), *cookies_in(request, at), *path_parameters_in(request, at)]
    return Pattern(method_in(request, at), path_in(request, at), [*rules_in(request, at, "queryParameters")], headers, bodies)


def method_in(request: Mapping[str, Any], at: Place) -> str:
    """Return the method."""
    method: str = typed(request, at, "method", str, "ANY")
    if not re.fullmatch(r"[A-Z][A-Z0-9_-]*", method):
        hint = f"; write {method.upper()!r}." if method.isalpha() else "."
        raise Bad((*at, "method"), f"'method' is {method!r}, which no request has{hint}")
    return method


# --- the URL


def path_in(request: Mapping[str, Any], at: Place) -> PathRule:
    """Return the rule for the URL."""
    given = [key for key in URLS if request.get(key) is not None]
    if not given:
        return AnyPath
    if len(given) > 1:
        raise Bad((*at, given[1]), f"{given[0]!r} and {given[1]!r} exclude each other.")
    key, text = given[0], typed(request, at, given[0], str, "")
    if key == "url":
        return PathRule(masked_url(text), lambda asked: {} if url_of(asked) == text else None)
    if key == "urlPath":
        return PathRule(text, lambda asked: {} if asked.raw_path == text else None)
    if key == "urlPathTemplate":
        return template_in(text, (*at, key))
    regex = compiled(text, (*at, key))
    read = url_of if key == "urlPattern" else path_of
    return PathRule(f"matching {text!r}", lambda asked: {} if regex.fullmatch(read(asked)) else None)


def template_in(text: str, at: Place) -> PathRule:
    """Return the rule of a template: each {name} stands for one part of the path, as it was sent, ** for all that follows."""
    pieces = PARAMETER.split(text)
    names = pieces[1::2]
    if not text.startswith("/") or any(char in "{}" for char in "".join(pieces[::2])):
        raise Bad(at, f"{text!r} is no template: it begins with /, and has parts such as {{id}} in it.")
    if repeated := next((name for index, name in enumerate(names) if name in names[:index]), None):
        raise Bad(at, f"{text!r} has {{{repeated}}} twice.")
    fixed = [re.escape(piece).replace(r"\*\*", ".*") for piece in pieces[::2]]
    regex = re.compile("([^/]+)".join(fixed))

    def params(asked: Request) -> Mapping[str, str] | None:
        found = regex.fullmatch(asked.raw_path)
        return None if found is None else dict(zip(names, found.groups(), strict=True))

    return PathRule(text, params, bool(names))


def url_of(request: Request) -> str:
    """Return path and query; a query without anything in it is none."""
    return f"{request.raw_path}?{request.raw_query}" if request.raw_query else request.raw_path


def path_of(request: Request) -> str:
    """Return the path, as it was sent."""
    return request.raw_path


def path_parameters_in(request: Mapping[str, Any], at: Place) -> Iterator[Body]:
    """Yield the rules for the parts of the path that a template names."""
    rules = [*rules_in(request, at, "pathParameters")]
    if not rules:
        return
    if "urlPathTemplate" not in request:
        raise Bad((*at, "pathParameters"), "'pathParameters' needs 'urlPathTemplate' beside it.")
    path = path_in(request, at)
    for name, rule in rules:
        if f"{{{name}}}" not in request["urlPathTemplate"]:
            raise Bad((*at, "pathParameters", name), f"'urlPathTemplate' has no {{{name}}}.")

        def fault(asked: Request, name: str = name, rule: Text = rule) -> str:
            value = (path.params(asked) or {}).get(name)
            return "" if rule.holds(value) else compared_texts("part", name, rule, [value] if value is not None else []).got

        yield Body(f"part {name}", compared_texts("part", name, rule, []).wanted, fault)


# --- texts


def compiled(text: str, at: Place) -> re.Pattern[str]:
    """Return a regular expression.

    Raises:
        Bad: it is none, or has something of Java's syntax that Python's has not.
    """
    try:
        return javaregex.compiled(text)
    except ValueError as error:
        raise Bad(at, f"{text!r} is no regular expression that is understood: {error}.") from None


def rules_in(request: Mapping[str, Any], at: Place, key: str) -> Iterator[tuple[str, Text]]:
    """Yield each name of an object of rules with its rule."""
    for name, rule in typed(request, at, key, dict, {}).items():
        yield name, text_in(rule, (*at, key, name))


def text_in(rule: Any, at: Place) -> Text:
    """Return the rule for a text. What is not wanted holds also where there is no text."""
    word, value = only(rule, at, RULES)
    here = (*at, word)
    if word == "absent":
        return absent(value, here)
    if word in ("and", "or"):
        parts = [text_in(part, place) for part, place in listed(word, value, here)]
        joined: Callable[[Iterator[bool]], bool] = all if word == "and" else any
        return Text(f" {word} ".join(part.words for part in parts), lambda text: joined(part.holds(text) for part in parts))
    if word == "not":
        inner = text_in(value, here)
        return Text(f"not {inner.words}", lambda text: not inner.holds(text))
    if not isinstance(value, str):
        raise Bad(here, f"{word!r} is {value!r}, not text.")
    if word == "equalTo":
        return equal_to(value, typed(rule, at, "caseInsensitive", bool, False))
    if word == "contains":
        return Text(f"with {value!r} in it", lambda text: text is not None and value in text)
    if word == "doesNotContain":
        return Text(f"without {value!r}", lambda text: text is None or value not in text)
    regex = compiled(value, here)
    if word == "matches":
        return Text(f"matching {value!r}", lambda text: text is not None and regex.fullmatch(text) is not None)
    return Text(f"not matching {value!r}", lambda text: text is None or regex.fullmatch(text) is None)


def absent(value: Any, at: Place) -> Text:
    """Return the rule that there is no text."""
    if value is not True:
        raise Bad(
            at,
            f"'absent' is {value!r}, and WireMock takes that for true; for what must be there, write "
            '{"matches": ".*"}, and for what may be there, nothing.',
        )
    return Text("absent", lambda text: text is None)


def equal_to(value: str, is_any_case: bool) -> Text:
    """Return the rule that a text is another one."""
    if is_any_case:
        return Text(f"{value!r} in any case", lambda text: text is not None and text.lower() == value.lower())
    return Text(repr(value), lambda text: text == value)


def only(rule: Any, at: Place, keys: tuple[str, ...]) -> tuple[str, Any]:
    """Return the one word of a rule, and what it says."""
    flags = tuple(flag for each in keys for flag in FLAGS.get(each, ()))
    known(rule, at, (*keys, *flags), "a rule")
    words = [key for key in rule if key in keys]
    if len(words) != 1:
        raise Bad(at, f"a rule has one of {', '.join(keys)}; this one has {' and '.join(words) or 'none'}.")
    for flag in rule:
        if flag in flags and flag not in FLAGS.get(words[0], ()):
            raise Bad((*at, flag), f"{flag!r} does not go with {words[0]!r}.")
    return words[0], rule[words[0]]


def listed(word: str, value: Any, at: Place) -> Iterator[tuple[Any, Place]]:
    """Yield each rule of a list, and its place."""
    if not isinstance(value, list) or len(value) < 2:
        raise Bad(at, f"{word!r} is {value!r}, not a list of two rules or more.")
    for index, part in enumerate(value):
        yield part, (*at, index)


# --- logins and cookies


def logins_in(request: Mapping[str, Any], at: Place) -> Iterator[tuple[str, Text]]:
    """Yield the rule for the header of a basic login."""
    for key in ("basicAuth", "basicAuthCredentials"):
        if (login := typed(request, at, key, dict, None)) is None:
            continue
        here = (*at, key)
        known(login, here, ("username", "password"), repr(key))
        name, password = typed(login, here, "username", str, None), typed(login, here, "password", str, None)
        if name is None or password is None:
            raise Bad(here, f"{key!r} needs 'username' and 'password'.")
        yield "Authorization", login_rule(base64.b64encode(f"{name}:{password}".encode()).decode(), name)


def login_rule(encoded: str, name: str) -> Text:
    """Return the rule for one login."""

    def holds(text: str | None) -> bool:
        scheme, _, given = (text or "").partition(" ")
        return scheme.lower() == "basic" and given.strip() == encoded

    return Text(f"the basic login of {name!r}", holds)


def cookies_in(request: Mapping[str, Any], at: Place) -> Iterator[Body]:
    """Yield the rules for cookies. One that is not there fits {"absent": true} alone, whatever else the rule is."""
    for name, rule in rules_in(request, at, "cookies"):
        may_lack = "absent" in request["cookies"][name]

        def fault(asked: Request, name: str = name, rule: Text = rule, may_lack: bool = may_lack) -> str:
            values = cookies_of(asked, name)
            if any(map(rule.holds, values)) if values else may_lack:
                return ""
            return compared_texts("cookie", f"cookie {name}", rule, values).got

        yield Body(f"cookie {name}", compared_texts("cookie", f"cookie {name}", rule, []).wanted, fault)


def cookies_of(request: Request, name: str) -> list[str]:
    """Return the values of a cookie, without the quotes around them."""
    pairs = (part.partition("=") for value in request.headers.all("cookie") for part in value.split(";"))
    values = [value.strip() for key, _, value in pairs if key.strip() == name]
    return [value[1:-1] if len(value) > 1 and value[0] == value[-1] == '"' else value for value in values]


# --- the body


def bodies_in(request: Mapping[str, Any], at: Place) -> Iterator[Body]:
    """Yield the rules for the body."""
    for index, rule in enumerate(typed(request, at, "bodyPatterns", list, [])):
        yield body_in(rule, (*at, "bodyPatterns", index), BODY_RULES)


def body_in(rule: Any, at: Place, keys: tuple[str, ...] = BODY_PARTS) -> Body:
    """Return a rule for the body."""
    word, value = only(rule, at, keys)
    here = (*at, word)
    if word == "equalToJson":
        return json_in(rule, value, at)
    if word == "matchesJsonPath":
        return json_path_in(value, here)
    if word == "binaryEqualTo":
        exact = decoded(value, here)
        return Body("body", f"{len(exact)} bytes", lambda asked: "" if asked.body == exact else f"other {len(asked.body)} bytes")
    if word in ("and", "or"):
        return joined_bodies(word, [body_in(part, place) for part, place in listed(word, value, here)])
    if word == "not":
        inner = body_in(value, here)
        return Body("body", f"not {inner.words}", lambda asked: "" if inner.fault(asked) else body_shown(asked))
    text = text_in(rule, at)
    words = masked_literals(text.words, masked_text)
    return Body("body", words, lambda asked: "" if text.holds(asked.text if asked.body else None) else body_shown(asked))


def joined_bodies(word: str, parts: list[Body]) -> Body:
    """Return the rule that joins others."""

    def fault(asked: Request) -> str:
        faults = [part.fault(asked) for part in parts]
        if all(faults) if word == "or" else any(faults):
            return "; ".join(dict.fromkeys(filter(None, faults)))
        return ""

    return Body("body", f" {word} ".join(part.words for part in parts), fault)


def json_in(rule: Mapping[str, Any], value: Any, at: Place) -> Body:
    """Return the rule for a body that is equal as JSON."""
    wanted, equality = equality_in(rule, value, at)

    def fault(asked: Request) -> str:
        try:
            return "; ".join(islice(equality.differences(asked.json, wanted), 5))
        except (ValueError, RecursionError):
            return no_json(asked, wanted)

    return Body("json", masked_value("", wanted), fault)


def equality_in(rule: Mapping[str, Any], value: Any, at: Place) -> tuple[Any, Equality]:
    """Return what a value has to be equal to, and what counts as equal."""
    try:
        if isinstance(value, str):
            value = json.loads(value)
        check_placeholders(value)
    except (ValueError, RecursionError) as error:
        raise Bad((*at, "equalToJson"), f"'equalToJson' is no JSON that is understood: {error}.") from None
    return value, Equality(typed(rule, at, "ignoreArrayOrder", bool, False), typed(rule, at, "ignoreExtraElements", bool, False))


# --- paths in a JSON body


def json_path_in(value: Any, at: Place) -> Body:
    """Return the rule for what a JSON path leads to in the body."""
    path, words, path_fault = path_rule_in(value, at)

    def fault(asked: Request) -> str:
        try:
            if (body := asked.peek()) is None:  # null is no JSON to the real one
                return "the body is null"
            return path_fault(body)
        except ValueError:
            return f"the body is no JSON: {body_shown(asked)}" if asked.body else "there is no body"
        except RecursionError:
            return "the body is nested too deeply"

    return Body("json", f"{shown_path(path)} {words}", fault)


def path_rule_in(value: Any, at: Place) -> tuple[JsonPath, str, Callable[[Any], str]]:
    """Return a path, the rule on it in words, and what is wrong with a body by it; "" for nothing."""
    if not isinstance(value, dict):
        path = path_of_json(value, at)
        return path, "there", lambda body: nothing_at(path, body)
    flags = tuple(flag for each in PATH_RULES for flag in FLAGS.get(each, ()))
    known(value, at, ("expression", *PATH_RULES, *flags), "'matchesJsonPath'")
    if "expression" not in value:
        raise Bad(at, "'matchesJsonPath' needs 'expression', the path.")
    path = path_of_json(value["expression"], (*at, "expression"))
    rule = {key: each for key, each in value.items() if key != "expression"}
    word, wanted = only(rule, at, PATH_RULES)
    if word == "equalToJson":
        wanted, equality = equality_in(rule, wanted, at)
        return path, masked_value(path.key, wanted), lambda body: unequal_at(path, body, wanted, equality)
    text = text_in(rule, at)
    words = masked_literals(text.words, (lambda _: MASK) if is_secret(path.key) else masked_text)
    return path, words, lambda body: other_text_at(path, body, text, words, word == "absent")


def path_of_json(text: Any, at: Place) -> JsonPath:
    """Return a JSON path.

    Raises:
        Bad: it is none that is understood.
    """
    if not isinstance(text, str):
        raise Bad(at, f"{text!r} is no JSON path: that is a text such as '$.key'.")
    try:
        return parsed(text)
    except ValueError as error:
        raise Bad(at, f"{text!r} is no JSON path that is understood: {error}.") from None


def nothing_at(path: JsonPath, body: Any) -> str:
    """Return that a path leads to nothing; "" if it leads to something: null, [] and {} are nothing, "", 0 and false are not."""
    found, shown = found_at(path, body)
    return f"{shown_path(path)} {shown}" if found is None or found in ([], {}) else ""


def unequal_at(path: JsonPath, body: Any, wanted: Any, equality: Equality) -> str:
    """Return in what differs what a path leads to; what is not there counts as null."""
    found, shown = found_at(path, body)
    differences = [*islice(equality.differences(found, wanted, shown_path(path)), 5)]
    if differences and found is None:
        return f"{shown_path(path)} {shown}, not {masked_value(path.key, wanted)}"
    return "; ".join(differences)


def other_text_at(path: JsonPath, body: Any, rule: Text, words: str, is_absent: bool) -> str:
    """Return that no text to which a path leads is as it has to be. Where there is none, no rule holds but absent."""
    found, shown = found_at(path, body)
    texts = texts_of(found)
    fits = not texts if is_absent else any(map(rule.holds, texts))
    return "" if fits else f"{shown_path(path)} {shown}, not {words}"


def found_at(path: JsonPath, body: Any) -> tuple[Any, str]:
    """Return what a path leads to, None for nothing, and the same in words."""
    try:
        found = path.read(body)
    except LookupError:
        return None, "is missing"
    if found is None:
        return None, "is null"
    if not path.is_definite and found == []:
        return found, "leads to nothing"
    masks = is_secret(path.key) and isinstance(found, list)
    return found, f"is {MASK if masks else masked_value(path.key, found)}"


def shown_path(path: JsonPath) -> str:
    """Return a path for people: what a filter compares a secret with is one itself."""
    return re.sub(r"\?\s*\(.*\)", f"?({MASK})", path.text) if is_secret(path.text) else path.text


def decoded(text: Any, at: Place) -> bytes:
    """Return what a text says in Base64.

    Raises:
        Bad: it is none.
    """
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError, TypeError) as error:
        raise Bad(at, f"{text!r} is no Base64: {error}.") from None
