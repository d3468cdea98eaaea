"""One mapping in WireMock's JSON format, turned into a stub: its place among others, and what it answers.

Source: WireMock's documentation of stubbing, stateful behaviour and faults; where it is silent, what WireMock 2.35 does.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from random import SystemRandom
from typing import Any

from .answer import Answer
from .book import USUAL, Scenario, Stub
from .request import Request
from .wiremock_keys import Bad, Place, known, nearest, typed
from .wiremock_request import decoded, pattern_in

__all__ = ["stub_of"]

DICE = SystemRandom()  # the usual one is the tests', who may have seeded it

MAPPING = (
    *("request", "response", "priority", "scenarioName", "requiredScenarioState", "newScenarioState"),
    *("id", "uuid", "name", "persistent", "metadata", "insertionIndex"),
)
RESPONSE = (
    *("status", "statusMessage", "headers", "body", "jsonBody", "base64Body", "bodyFileName"),
    *("fixedDelayMilliseconds", "delayDistribution", "fault"),
)
FAULTS = {
    "CONNECTION_RESET_BY_PEER": "reset",
    "EMPTY_RESPONSE": "empty",
    "RANDOM_DATA_THEN_CLOSE": "garbage",
    "MALFORMED_RESPONSE_CHUNK": "half-chunk",
}


def stub_of(mapping: Any, at: Place, bodies: Path, source: str) -> Stub:
    """Return the stub of a mapping.

    Args:
        mapping: as it was read.
        at: what leads to it in its file.
        bodies: the folder with the files that it may name.
        source: where it stands, for people; its name, if it has one, is added.

    Raises:
        Bad: it says what is not understood.
    """
    known(mapping, at, MAPPING, "a mapping")
    pattern = pattern_in(mapping.get("request", {}), (*at, "request"))
    if "response" not in mapping:
        raise Bad(at, "the mapping has no 'response'.")
    answer = answer_in(mapping["response"], (*at, "response"), bodies)
    priority = typed(mapping, at, "priority", int, USUAL)
    if name := typed(mapping, at, "name", str, ""):
        source += f", {name!r}"
    return Stub(pattern, answer, priority=priority, scenario=scenario_in(mapping, at), source=source)


def scenario_in(mapping: Mapping[str, Any], at: Place) -> Scenario | None:
    """Return a mapping's part in a scenario."""
    keys = ("scenarioName", "requiredScenarioState", "newScenarioState")
    name, required, new = (typed(mapping, at, key, str, None) for key in keys)
    if name is not None:
        return Scenario(name, required, new)
    for key in keys[1:]:
        if mapping.get(key) is not None:
            raise Bad((*at, key), f"{key!r} needs 'scenarioName' beside it.")
    return None


def answer_in(response: Any, at: Place, bodies: Path) -> Answer | Callable[[Request], object]:
    """Return what a mapping answers."""
    known(response, at, RESPONSE, "'response'")
    delay = typed(response, at, "fixedDelayMilliseconds", int, 0) / 1000
    body = body_of(response, at, bodies)
    try:
        answer = Answer(
            typed(response, at, "status", int, 200),
            body=body,
            headers=headers_in(response, at),
            delay=delay,
            fault=fault_in(response, at),
            reason=typed(response, at, "statusMessage", str, ""),
        )
    except ValueError as error:
        raise Bad(at, f"{error}.") from None
    one_line((*at, "statusMessage"), answer.reason)
    if spread := typed(response, at, "delayDistribution", dict, None):
        delays = distribution(spread, (*at, "delayDistribution"))
        return lambda asked: replace(answer, delay=delay + delays())
    return answer


def fault_in(response: Mapping[str, Any], at: Place) -> str | None:
    """Return what goes wrong on the socket."""
    fault = typed(response, at, "fault", str, None)
    if fault is not None and fault not in FAULTS:
        raise Bad((*at, "fault"), f"'fault' is {fault!r}, which there is not{nearest(fault, FAULTS)}")
    return FAULTS.get(fault or "")


def headers_in(response: Mapping[str, Any], at: Place) -> dict[str, str | list[str]]:
    """Return the headers of a response."""
    headers: dict[str, str | list[str]] = typed(response, at, "headers", dict, {})
    for name, value in headers.items():
        here = (*at, "headers", name)
        values = value if isinstance(value, list) else [value]
        if not values or not all(isinstance(each, str) for each in values):
            raise Bad(here, f"header {name!r} is {value!r}, not text or a list of texts.")
        for each in (name, *values):
            one_line(here, each)
    return headers


def one_line(at: Place, text: str) -> None:
    """Check that a text can stand in the head of an answer."""
    try:
        text.encode("latin-1")
    except UnicodeEncodeError:
        raise Bad(at, f"{text!r} has letters that the head of an answer cannot have: there it is Latin-1.") from None
    if "\r" in text or "\n" in text:
        raise Bad(at, f"{text!r} is not on one line.")


def body_of(response: Mapping[str, Any], at: Place, bodies: Path) -> bytes:
    """Return the body of a response."""
    given = [key for key in ("body", "jsonBody", "base64Body", "bodyFileName") if response.get(key) is not None]
    if len(given) > 1:
        raise Bad((*at, given[1]), f"{given[0]!r} and {given[1]!r} exclude each other.")
    if not given:
        return b""
    key = given[0]
    here = (*at, key)
    text: str = (
        typed(response, at, key, str, "")
        if key != "jsonBody"
        else json.dumps(response[key], ensure_ascii=False, separators=(",", ":"))
    )
    if key == "base64Body":
        return decoded(text, here)
    if key == "bodyFileName":
        return file_of(text, here, bodies)
    try:
        return text.encode()
    except UnicodeEncodeError:
        raise Bad(here, f"{key!r} has half a letter, which UTF-8 cannot say.") from None


def file_of(name: str, at: Place, bodies: Path) -> bytes:
    """Return the body that stands in a file of its own."""
    if "\0" in name:
        raise Bad(at, f"'bodyFileName' is {name!r}, which no file is called.")
    path = (bodies / name).resolve()
    if name.startswith("/") or not path.is_relative_to(bodies.resolve()):
        raise Bad(at, f"'bodyFileName' is {name!r}, which is not in {bodies}.")
    try:
        return path.read_bytes()
    except OSError as error:
        raise Bad(at, f"'bodyFileName' is {name!r}, and {bodies / name} cannot be read: {error.strerror}.") from None


def distribution(spread: Mapping[str, Any], at: Place) -> Callable[[], float]:
    """Return what draws a delay in seconds."""
    shapes = {"fixed": ("milliseconds",), "uniform": ("lower", "upper"), "lognormal": ("median", "sigma")}
    kind = spread.get("type")
    if not isinstance(kind, str) or kind not in shapes:
        raise Bad((*at, "type"), f"'type' is {kind!r}, not one of {', '.join(shapes)}.")
    known(spread, at, ("type", *shapes[kind]), f"a {kind} distribution")
    numbers: list[float] = []
    for key in shapes[kind]:
        value = spread.get(key)
        if not isinstance(value, int | float) or isinstance(value, bool) or value < 0:
            raise Bad(at, f"a {kind} distribution needs {' and '.join(shapes[kind])}, numbers from 0 on.")
        numbers.append(value)
    first, last = numbers[0], numbers[-1]
    if kind == "lognormal":
        return lambda: first * DICE.lognormvariate(0, last) / 1000
    if first > last:
        raise Bad(at, f"'lower' is {first!r}, above 'upper', {last!r}.")
    return lambda: DICE.uniform(first, last) / 1000
