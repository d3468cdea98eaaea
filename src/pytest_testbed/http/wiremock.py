"""One mapping in WireMock's JSON format, turned into a stub.

Source: WireMock's documentation of request matching, stubbing, stateful behaviour and faults.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from random import SystemRandom
from typing import Any

from .answer import Answer
from .book import USUAL, Scenario, Stub
from .jsonequal import Equality
from .match import AnyPath, Body, Pattern, Text, path_rule
from .match import Path as PathRule
from .request import Request

__all__ = ["Bad", "stub_of"]

Place = tuple[str | int, ...]
DICE = SystemRandom()  # the usual one is the tests', who may have seeded it

MAPPING = (
    *("request", "response", "priority", "scenarioName", "requiredScenarioState", "newScenarioState"),
    *("id", "uuid", "name", "persistent", "metadata", "insertionIndex"),
)
URLS = ("url", "urlPattern", "urlPath", "urlPathPattern", "urlPathTemplate")
REQUEST = (
    *("method", *URLS, "pathParameters", "queryParameters", "headers", "cookies", "basicAuthCredentials", "basicAuth"),
    "bodyPatterns",
)
RESPONSE = (
    *("status", "statusMessage", "headers", "body", "jsonBody", "base64Body", "bodyFileName"),
    *("fixedDelayMilliseconds", "delayDistribution", "fault"),
)
RULES = ("equalTo", "contains", "doesNotContain", "matches", "doesNotMatch", "absent", "and", "or", "not")
FLAGS = {"equalTo": ("caseInsensitive",), "equalToJson": ("ignoreArrayOrder", "ignoreExtraElements")}
BODY_RULES = (*RULES, "equalToJson", "binaryEqualTo")
FOREIGN = {
    *("postServeActions", "serveEventListeners", "transformers", "transformerParameters", "proxyBaseUrl"),
    *("additionalProxyRequestHeaders", "removeProxyRequestHeaders", "proxyUrlPrefixToRemove", "chunkedDribbleDelay"),
    *("customMatcher", "multipartPatterns", "formParameters", "host", "port", "scheme", "clientIp"),
    *("matchesJsonPath", "matchesJsonSchema", "equalToXml", "matchesXPath", "equalToNumber", "hasExactly", "includes"),
    *("before", "after", "equalToDateTime", "doesNotMatchJsonPath"),
}
"""Words of WireMock's that are known, and not understood."""
FAULTS = {
    "CONNECTION_RESET_BY_PEER": "reset",
    "EMPTY_RESPONSE": "empty",
    "RANDOM_DATA_THEN_CLOSE": "garbage",
    "MALFORMED_RESPONSE_CHUNK": "half-chunk",
}


class Bad(Exception):
    """A mapping says what is not understood.

    Args:
        path: the keys and indexes that lead there.
        text: what is wrong.
    """

    def __init__(self, path: Place, text: str) -> None:
        super().__init__(text)
        self.path = path


def stub_of(mapping: Any, at: Place, bodies: Path, source: str) -> Stub:
    """Return the stub of a mapping.

    Args:
        mapping: as it was read.
        at: what leads to it in its file.
        bodies: the folder with the files that it may name.
        source: the file, for people.

    Raises:
        Bad: it says what is not understood.
    """
    known(mapping, at, MAPPING, "a mapping")
    pattern = pattern_in(mapping.get("request", {}), (*at, "request"))
    if "response" not in mapping:
        raise Bad(at, "the mapping has no 'response'.")
    answer = answer_in(mapping["response"], (*at, "response"), bodies)
    priority = typed(mapping, at, "priority", int, USUAL)
    scenario = None
    if "scenarioName" in mapping:
        names = (typed(mapping, at, key, str, None) for key in ("scenarioName", "requiredScenarioState", "newScenarioState"))
        scenario = Scenario(*names)
    elif key := next((key for key in ("requiredScenarioState", "newScenarioState") if key in mapping), None):
        raise Bad((*at, key), f"{key!r} needs 'scenarioName' beside it.")
    return Stub(pattern, answer, priority=priority, scenario=scenario, source=source)


def known(value: Any, at: Place, keys: tuple[str, ...], what: str) -> None:
    """Check that a value is an object with known keys.

    Raises:
        Bad: it is none, or has another key; says the nearest.
    """
    if not isinstance(value, dict):
        raise Bad(at, f"{what} is {value!r}, not an object.")
    for key in value:
        if key in keys:
            continue
        if key in FOREIGN:
            if value[key] in ([], {}, None, ""):
                continue  # WireMock writes empty ones into the files that it records
            raise Bad((*at, key), f"{key!r} is one of WireMock's keys that mock_service does not understand.")
        from ..nearest import suggestion

        hint = suggestion(key, keys) or f"; there are: {', '.join(keys)}."
        raise Bad((*at, key), f"{key!r} is not a key of {what}{hint}")


def typed(value: Mapping[str, Any], at: Place, key: str, kind: type, default: Any) -> Any:
    """Return the value of a key, or the default.

    Raises:
        Bad: it is of another type.
    """
    if key not in value or value[key] is None:
        return default
    found = value[key]
    if not isinstance(found, kind) or (kind is int and isinstance(found, bool)):
        names = {str: "text", int: "a whole number", bool: "true or false", dict: "an object", list: "a list"}
        raise Bad((*at, key), f"{key!r} is {found!r}, not {names[kind]}.")
    return found


# --- the request


def pattern_in(request: Any, at: Place) -> Pattern:
    """Return what a mapping wants of a request."""
    known(request, at, REQUEST, "'request'")
    query = [*rules_in(request, at, "queryParameters")]
    headers = [*rules_in(request, at, "headers")]
    bodies = [*bodies_in(request, at), *cookies_in(request, at), *path_parameters_in(request, at)]
    for key in ("basicAuthCredentials", "basicAuth"):
        if login := typed(request, at, key, dict, None):
            known(login, (*at, key), ("username", "password"), repr(key))
            pair = f"{login.get('username', '')}:{login.get('password', '')}"
            value = f"Basic {base64.b64encode(pair.encode()).decode()}"
            headers.append(("Authorization", Text("the basic login", value.__eq__)))
    return Pattern(typed(request, at, "method", str, "ANY"), path_in(request, at), query, headers, bodies)


def path_in(request: Mapping[str, Any], at: Place) -> PathRule:
    """Return the rule for the URL."""
    given = [key for key in URLS if key in request]
    if not given:
        return AnyPath
    if len(given) > 1:
        raise Bad((*at, given[1]), f"{given[0]!r} and {given[1]!r} exclude each other.")
    key, text = given[0], typed(request, at, given[0], str, "")
    if key == "url":
        return PathRule(text, lambda asked: {} if asked.target == text else None)
    if key == "urlPath":
        return PathRule(text, lambda asked: {} if asked.raw_path == text else None)
    if key == "urlPathTemplate":
        try:
            return path_rule(text)
        except ValueError as error:
            raise Bad((*at, key), f"{error}.") from None
    regex = compiled(text, (*at, key))
    part = "target" if key == "urlPattern" else "raw_path"
    return PathRule(f"matching {text!r}", lambda asked: {} if regex.fullmatch(getattr(asked, part)) else None)


def compiled(text: Any, at: Place) -> re.Pattern[str]:
    """Return a regular expression.

    Raises:
        Bad: it is none in Python's syntax, which differs from Java's in rare points.
    """
    if not isinstance(text, str):
        raise Bad(at, f"{text!r} is no regular expression.")
    try:
        return re.compile(text)
    except re.error as error:
        raise Bad(at, f"{text!r} is no regular expression that Python understands: {error}.") from None


def rules_in(request: Mapping[str, Any], at: Place, key: str) -> Iterator[tuple[str, Text]]:
    """Yield each name of an object of rules with its rule."""
    for name, rule in typed(request, at, key, dict, {}).items():
        yield name, text_in(rule, (*at, key, name))


def text_in(rule: Any, at: Place, keys: tuple[str, ...] = RULES) -> Text:
    """Return the rule for a text."""
    word, value = only(rule, at, keys)
    here = (*at, word)
    if word == "absent":
        return Text("absent", lambda text: text is None) if value else Text("present", lambda text: text is not None)
    if word in ("and", "or"):
        return several(word, value, here, keys)
    if word == "not":
        inner = text_in(value, here, keys)
        return Text(f"not {inner.words}", lambda text: text is not None and not inner.holds(text))
    if not isinstance(value, str):
        raise Bad(here, f"{word!r} is {value!r}, not text.")
    if word == "equalTo":
        if typed(rule, at, "caseInsensitive", bool, False):
            return Text(f"{value!r} in any case", lambda text: text is not None and text.lower() == value.lower())
        return Text(repr(value), lambda text: text == value)
    if word in ("contains", "doesNotContain"):
        wanted = word == "contains"
        words = f"with {value!r} in it" if wanted else f"without {value!r}"
        return Text(words, lambda text: text is not None and (value in text) is wanted)
    regex, wanted = compiled(value, here), word == "matches"
    words = f"matching {value!r}" if wanted else f"not matching {value!r}"
    return Text(words, lambda text: text is not None and (regex.fullmatch(text) is not None) is wanted)


def only(rule: Any, at: Place, keys: tuple[str, ...]) -> tuple[str, Any]:
    """Return the one word of a rule, and what it says."""
    flags = tuple(flag for each in keys for flag in FLAGS.get(each, ()))
    known(rule, at, (*keys, *flags), "a rule")
    words = [key for key in rule if key in keys]
    if len(words) != 1:
        raise Bad(at, f"a rule has one of {', '.join(keys)}; this one has {', '.join(words) or 'none'}.")
    for flag in rule.keys() & set(flags) - set(FLAGS.get(words[0], ())):
        raise Bad((*at, flag), f"{flag!r} does not go with {words[0]!r}.")
    return words[0], rule[words[0]]


def several(word: str, value: Any, at: Place, keys: tuple[str, ...]) -> Text:
    """Return the rule that joins others."""
    if not isinstance(value, list) or not value:
        raise Bad(at, f"{word!r} is {value!r}, not a list of rules.")
    parts = [text_in(each, (*at, index), keys) for index, each in enumerate(value)]
    joined: Callable[[Iterator[bool]], bool] = all if word == "and" else any
    words = f" {word} ".join(part.words for part in parts)
    return Text(words, lambda text: joined(part.holds(text) for part in parts))


def cookies_in(request: Mapping[str, Any], at: Place) -> Iterator[Body]:
    """Yield the rules for cookies."""
    for name, rule in rules_in(request, at, "cookies"):

        def fault(asked: Request, name: str = name, rule: Text = rule) -> str:
            value = cookies_of(asked).get(name)
            return "" if rule.holds(value) else ("(none)" if value is None else repr(value))

        yield Body(f"cookie {name}", rule.words, fault)


def cookies_of(request: Request) -> dict[str, str]:
    """Return the cookies of a request."""
    pairs = (part.partition("=") for value in request.headers.all("cookie") for part in value.split(";"))
    return {name.strip(): value.strip() for name, _, value in pairs}


def path_parameters_in(request: Mapping[str, Any], at: Place) -> Iterator[Body]:
    """Yield the rules for the parts of the path that a template names."""
    rules = [*rules_in(request, at, "pathParameters")]
    if not rules:
        return
    if "urlPathTemplate" not in request:
        raise Bad((*at, "pathParameters"), "'pathParameters' needs 'urlPathTemplate' beside it.")
    path = path_in(request, at)
    for name, rule in rules:

        def fault(asked: Request, name: str = name, rule: Text = rule) -> str:
            value = (path.params(asked) or {}).get(name)
            return "" if rule.holds(value) else repr(value)

        yield Body(f"part {name}", rule.words, fault)


def bodies_in(request: Mapping[str, Any], at: Place) -> Iterator[Body]:
    """Yield the rules for the body."""
    for index, rule in enumerate(typed(request, at, "bodyPatterns", list, [])):
        yield body_in(rule, (*at, "bodyPatterns", index))


def body_in(rule: Any, at: Place) -> Body:
    """Return a rule for the body."""
    word, value = only(rule, at, BODY_RULES)
    if word == "equalToJson":
        return json_in(rule, value, at)
    if word == "binaryEqualTo":
        exact = decoded(value, (*at, word))
        return Body("body", f"{len(exact)} bytes", lambda asked: "" if asked.body == exact else f"other {len(asked.body)} bytes")
    text = text_in(rule, at, RULES)
    return Body("body", text.words, lambda asked: "" if text.holds(asked.text if asked.body else None) else repr(asked.text))


def json_in(rule: Mapping[str, Any], value: Any, at: Place) -> Body:
    """Return the rule for a body that is equal as JSON."""
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except ValueError as error:
            raise Bad((*at, "equalToJson"), f"'equalToJson' is no JSON: {error}.") from None
    equality = Equality(typed(rule, at, "ignoreArrayOrder", bool, False), typed(rule, at, "ignoreExtraElements", bool, False))

    def fault(asked: Request) -> str:
        try:
            whole = asked.json
        except ValueError:
            return f"the body is no JSON: {asked.text!r}" if asked.body else f"there is no body; wanted is {value!r}"
        return "; ".join(list(equality.differences(whole, value))[:5])

    return Body("json", repr(value), fault)


# --- the response


def answer_in(response: Any, at: Place, bodies: Path) -> Answer | Callable[[Request], object]:
    """Return what a mapping answers."""
    known(response, at, RESPONSE, "'response'")
    fault = typed(response, at, "fault", str, None)
    if fault is not None and fault not in FAULTS:
        from ..nearest import suggestion

        hint = suggestion(fault, FAULTS) or f"; there are: {', '.join(FAULTS)}."
        raise Bad((*at, "fault"), f"'fault' is {fault!r}, which there is not{hint}")
    headers = typed(response, at, "headers", dict, {})
    for name, value in headers.items():
        if not isinstance(value, str) and not (isinstance(value, list) and all(isinstance(each, str) for each in value)):
            raise Bad((*at, "headers", name), f"header {name!r} is {value!r}, not text or a list of texts.")
    delay = typed(response, at, "fixedDelayMilliseconds", int, 0) / 1000
    try:
        answer = Answer(
            typed(response, at, "status", int, 200),
            body=body_of(response, at, bodies),
            headers=headers,
            delay=delay,
            fault=FAULTS.get(fault or ""),
            reason=typed(response, at, "statusMessage", str, ""),
        )
    except ValueError as error:
        raise Bad(at, f"{error}.") from None
    if spread := typed(response, at, "delayDistribution", dict, None):
        delays = distribution(spread, (*at, "delayDistribution"))
        return lambda asked: replace(answer, delay=delay + delays())
    return answer


def body_of(response: Mapping[str, Any], at: Place, bodies: Path) -> bytes:
    """Return the body of a response."""
    given = [key for key in ("body", "jsonBody", "base64Body", "bodyFileName") if response.get(key) is not None]
    if len(given) > 1:
        raise Bad((*at, given[1]), f"{given[0]!r} and {given[1]!r} exclude each other.")
    if not given:
        return b"null" if "jsonBody" in response else b""
    key = given[0]
    if key == "jsonBody":
        return json.dumps(response[key], ensure_ascii=False).encode()
    text: str = typed(response, at, key, str, "")
    if key == "base64Body":
        return decoded(text, (*at, key))
    if key == "body":
        return text.encode()
    path = (bodies / text.lstrip("/")).resolve()
    if not path.is_relative_to(bodies.resolve()) or not path.is_file():
        raise Bad((*at, key), f"'bodyFileName' is {text!r}, and there is no such file in {bodies}.")
    return path.read_bytes()


def decoded(text: Any, at: Place) -> bytes:
    """Return what a text says in Base64."""
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError, TypeError) as error:
        raise Bad(at, f"{text!r} is no Base64: {error}.") from None


def distribution(spread: Mapping[str, Any], at: Place) -> Callable[[], float]:
    """Return what draws a delay in seconds."""
    shapes = {"fixed": ("milliseconds",), "uniform": ("lower", "upper"), "lognormal": ("median", "sigma")}
    kind = spread.get("type")
    if kind not in shapes:
        raise Bad((*at, "type"), f"'type' is {kind!r}, not one of {', '.join(shapes)}.")
    known(spread, at, ("type", *shapes[kind]), f"a {kind} distribution")
    numbers = [spread.get(key) for key in shapes[kind]]
    if not all(isinstance(each, int | float) and not isinstance(each, bool) and each >= 0 for each in numbers):
        raise Bad(at, f"a {kind} distribution needs {' and '.join(shapes[kind])}, numbers from 0 on.")
    first, second = (float(each or 0) for each in (numbers * 2)[:2])
    if kind == "lognormal":
        return lambda: first * DICE.lognormvariate(0, second) / 1000
    return lambda: DICE.uniform(first, second) / 1000
