"""JSON paths as WireMock's `matchesJsonPath` has them: the part of them that mapping files mostly use.

Source: the syntax of the Java library JsonPath, which WireMock asks; where it is silent, what WireMock 2.35 does.
"""

from __future__ import annotations

import json
import operator
import re
from collections.abc import Callable, Iterator
from decimal import Decimal, InvalidOperation
from math import isfinite
from typing import Any, NamedTuple

from .javaregex import compiled

__all__ = ["JsonPath", "parsed", "texts_of"]

UNDERSTOOD = "$, .key, ['key'], [0], [-1], [*], .*, ..key, and filters such as [?(@.key == 'value' && @.size > 1)]"
KEY = re.compile(r"""[^\s.\[\]()*'",?=!<>&|~]+""")
QUOTED = re.compile(r"""'((?:[^'\\]|\\['"\\])*)'|"((?:[^"\\]|\\['"\\])*)\"""")
NUMBER = re.compile(r"-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?(?![\w.])")
INDEX = re.compile(r"\[\s*(-?\d+)\s*\]")
FILTER = re.compile(r"\[\s*\?\s*\(")
FILTER_END = re.compile(r"\s*\)\s*\]")
REGEX = re.compile(r"\s*=~\s*/((?:[^/\\]|\\.)+)/(i?)(?=[\s)&|])")
ALL = re.compile(r"\[\s*\*\s*\]")
COMPARISON = re.compile(r"\s*(==|!=|<=|>=|<(?!=)|>(?!=))(?![=~])\s*")
WORDS = {"true": True, "false": False, "null": None}
ORDERS: dict[str, Callable[[Any, Any], bool]] = {"<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge}


class Step(NamedTuple):
    """A step of a path: the values to which it leads from one, and whether that is one at most."""

    of: Callable[[Any], Iterator[Any]]
    is_definite: bool


class JsonPath(NamedTuple):
    """A path: how it is written, its steps, and the last key that it names."""

    text: str
    steps: tuple[Step, ...]
    key: str

    @property
    def is_definite(self) -> bool:
        """Whether the path leads to one value at most."""
        return all(step.is_definite for step in self.steps)

    def read(self, value: Any) -> Any:
        """Return the value to which the path leads, or the list of all of them where it may lead to several.

        Raises:
            LookupError: there is none; of a path that may lead to several, there is nothing at its definite beginning.
        """
        values, is_definite = [value], True
        for step in self.steps:
            values = [found for each in values for found in step.of(each)]
            is_definite = is_definite and step.is_definite
            if is_definite and not values:
                raise LookupError(self.text)
        return values[0] if is_definite else values


# --- steps


def member(key: str) -> Step:
    """Return the step to a member of an object."""

    def of(value: Any) -> Iterator[Any]:
        if isinstance(value, dict) and key in value:
            yield value[key]

    return Step(of, True)


def item(index: int) -> Step:
    """Return the step to an item of a list; a negative index counts from its end."""

    def of(value: Any) -> Iterator[Any]:
        if isinstance(value, list) and -len(value) <= index < len(value):
            yield value[index]

    return Step(of, True)


def children(value: Any) -> Iterator[Any]:
    """Yield the members of an object or the items of a list."""
    if isinstance(value, dict | list):
        yield from value.values() if isinstance(value, dict) else value


def deep(step: Step) -> Step:
    """Return the step that is taken from a value and from all that is in it."""

    def of(value: Any) -> Iterator[Any]:
        yield from step.of(value)
        for each in children(value):
            yield from of(each)

    return Step(of, False)


def chosen(holds: Callable[[Any], bool]) -> Step:
    """Return the step to those items of a list for which a filter holds; of an object, to itself."""

    def of(value: Any) -> Iterator[Any]:
        yield from filter(holds, value if isinstance(value, list) else [value] if isinstance(value, dict) else [])

    return Step(of, False)


# --- reading a path


def parsed(text: str) -> JsonPath:
    """Return a path.

    Raises:
        ValueError: it is none, or has what is not understood; says what is.
    """
    reader = Reader(text)
    if not reader.skip("$"):
        raise reader.wrong()
    path = reader.path()
    if reader.at < len(text):
        raise reader.wrong()
    return path


class Reader:
    """Reads a path from left to right."""

    def __init__(self, text: str) -> None:
        self.text, self.at = text, 0

    def skip(self, word: str) -> bool:
        """Go over a word, if it is next."""
        is_next = self.text.startswith(word, self.at)
        self.at += len(word) * is_next
        return is_next

    def take(self, regex: re.Pattern[str]) -> re.Match[str] | None:
        """Go over what fits, if it is next."""
        found = regex.match(self.text, self.at)
        self.at = self.at if found is None else found.end()
        return found

    def blank(self) -> None:
        """Go over blanks."""
        while self.skip(" "):
            pass

    def wrong(self) -> ValueError:
        """Return the error on what is next."""
        rest = self.text[self.at :]
        return ValueError(
            f"not from {rest!r} on; there are: {UNDERSTOOD}" if rest else f"it ends too early; there are: {UNDERSTOOD}"
        )

    def path(self) -> JsonPath:
        """Return the path behind its $ or @."""
        begun, steps, key = self.at - 1, [], ""
        while self.text[self.at : self.at + 1] in (".", "["):
            start = self.at
            is_deep = self.skip("..")
            step, named = self.step(is_deep or self.skip("."))
            if is_deep and named is None and (self.at < len(self.text) or "?" in self.text[start : self.at]):
                self.at = start  # there the Java library goes ways of its own
                raise self.wrong()
            steps.append(deep(step) if is_deep else step)
            key = named or key
        return JsonPath(self.text[begun : self.at], tuple(steps), key)

    def step(self, is_behind_dot: bool) -> tuple[Step, str | None]:
        """Return the next step, and the key that it names."""
        if is_behind_dot and (found := self.take(KEY)):
            return member(found[0]), found[0]
        if self.take(ALL) or (is_behind_dot and self.skip("*")):
            return EVERY, None
        if found := self.take(INDEX):
            return item(int(found[1])), None
        start = self.at
        if self.take(FILTER):
            holds = self.any_of()
            if self.take(FILTER_END):
                return chosen(holds), None
        elif self.skip("["):
            self.blank()
            if (key := self.quoted()) is not None:
                self.blank()
                if self.skip("]"):
                    return member(key), key
        self.at = start
        raise self.wrong()

    def quoted(self) -> str | None:
        """Return the text in quotes that is next, if it is one."""
        found = self.take(QUOTED)
        return None if found is None else re.sub(r"\\(.)", r"\1", found[1] if found[1] is not None else found[2])

    def any_of(self) -> Callable[[Any], bool]:
        """Return the terms of a filter, joined by || and, more tightly, by &&."""
        parts = [[self.term()]]
        while True:
            self.blank()
            if self.skip("&&"):
                parts[-1].append(self.term())
            elif self.skip("||"):
                parts.append([self.term()])
            else:
                return lambda value: any(all(holds(value) for holds in part) for part in parts)

    def term(self) -> Callable[[Any], bool]:
        """Return one term of a filter: that something is there, how it compares, or more terms in parentheses."""
        self.blank()
        start, is_not = self.at, self.skip("!")
        if self.skip("("):
            inner = self.any_of()
            self.blank()
            if not self.skip(")"):
                raise self.wrong()
            return (lambda value: not inner(value)) if is_not else inner
        if not self.skip("@"):
            raise self.wrong()
        path = self.path()
        if not path.is_definite:
            self.at = start
            raise self.wrong()
        if is_not:
            return lambda value: not values_at(path, value)
        if found := self.take(REGEX):
            regex = compiled(f"(?i){found[1]}" if found[2] else found[1])
            return lambda value: fits(values_at(path, value), regex)
        if (found := self.take(COMPARISON)) is None:
            return lambda value: bool(values_at(path, value))
        wanted, sign = self.literal(), found[1]
        return lambda value: compares(values_at(path, value), sign, wanted)

    def literal(self) -> Any:
        """Return the value with which a term compares; a number as a Decimal."""
        if (text := self.quoted()) is not None:
            return text
        if found := self.take(NUMBER):
            return Decimal(found[0])
        for word, value in WORDS.items():
            if self.skip(word):
                return value
        raise self.wrong()


EVERY = Step(children, False)


def values_at(path: JsonPath, value: Any) -> list[Any]:
    """Return the value to which a definite path leads, in a list; an empty one where it leads nowhere."""
    try:
        return [path.read(value)]
    except LookupError:
        return []


# --- comparing in a filter


def compares(found: list[Any], sign: str, wanted: Any) -> bool:
    """Tell whether a comparison holds."""
    if sign in ("==", "!="):
        return (bool(found) and is_equal(found[0], wanted)) is (sign == "==")
    if not found:
        return False
    got = number_of(found[0])
    if (isinstance(got, str) and isinstance(wanted, str)) or (isinstance(got, Decimal) and isinstance(wanted, Decimal)):
        return ORDERS[sign](got, wanted)
    return False


def fits(found: list[Any], regex: re.Pattern[str]) -> bool:
    """Tell whether a regular expression matches all of a value; what is no text, number or boolean counts as empty text."""
    is_plain = bool(found) and found[0] is not None and not isinstance(found[0], dict | list)
    return regex.fullmatch(text_of(found[0]) if is_plain else "") is not None


def is_equal(got: Any, wanted: Any) -> bool:
    """Tell whether a value is equal to one in a filter: a number is equal to the text that says it."""
    got = number_of(got)
    if isinstance(got, Decimal) and isinstance(wanted, str):
        try:
            return got == Decimal(wanted)
        except InvalidOperation:
            return False
    if isinstance(got, str) and isinstance(wanted, Decimal):
        return got == str(wanted)
    return type(got) is type(wanted) and bool(got == wanted)


def number_of(value: Any) -> Any:
    """Return a number as a Decimal, another value as it is; so is what is too large for a float."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return Decimal(repr(value)) if is_number and isfinite(value) else value


# --- what is found, as texts


def texts_of(found: Any) -> list[str]:
    """Return what a path leads to as the texts that WireMock compares: each item of a list for itself, null not at all."""
    if isinstance(found, dict):
        return [pretty(found)]
    return [text_of(each) for each in (found if isinstance(found, list) else [found]) if each is not None]


def pretty(value: Any, indent: str = "") -> str:
    """Return an object as Java's Jackson prints it."""
    if isinstance(value, dict) and value:
        inner = indent + "  "
        lines = (f"{inner}{text_of_json(key)} : {pretty(each, inner)}" for key, each in value.items())
        return "{\n" + ",\n".join(lines) + f"\n{indent}}}"
    if isinstance(value, list) and value:
        return f"[ {', '.join(pretty(each, indent) for each in value)} ]"
    return {"{}": "{ }", "[]": "[ ]"}.get(text := text_of_json(value), text)


def text_of_json(value: Any) -> str:
    """Return a value as JSON on one line."""
    if isinstance(value, float):
        return text_of(value)
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def text_of(value: Any) -> str:
    """Return a value as Java prints it."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}={text_of(each)}" for key, each in value.items()) + "}"
    if isinstance(value, float) and not isfinite(value):
        return json.dumps(value)
    if isinstance(value, float) and value and not 1e-3 <= abs(value) < 1e7:
        sign, digits, exponent = Decimal(repr(value)).normalize().as_tuple()
        assert isinstance(exponent, int)
        first, *rest = map(str, digits)
        return f"{'-' * sign}{first}.{''.join(rest) or '0'}E{exponent + len(rest)}"
    return value if isinstance(value, str) else repr(value) if isinstance(value, float) else text_of_json(value)
