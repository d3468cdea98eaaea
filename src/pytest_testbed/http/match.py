"""What a request has to be like, field by field; and how one that is not differs."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, NamedTuple
from urllib.parse import parse_qsl

from ..jsonpart import differences, holds
from .exchange import is_secret, masked_literals, masked_login, masked_text, masked_url, masked_value
from .request import SLASH, Request, decoded

__all__ = [
    "AnyPath",
    "Body",
    "Field",
    "Path",
    "Pattern",
    "Text",
    "body_rule",
    "body_shown",
    "compared",
    "compared_texts",
    "distance",
    "json_part",
    "no_json",
    "path_rule",
    "pattern_of",
    "text_rule",
]

__tracebackhide__ = True  # of what users have given that cannot be, pytest shows their line
PARAMETER = r"\{(?P<name>[A-Za-z_]\w*)(?P<all>:path)?\}"
LOOKED_AT = 2000
"""Bytes of a body that are looked at for what is shown of it."""
ANY = ("ANY", "*")
"""Words for any method."""


class Text(NamedTuple):
    """A rule for one text, such as the value of a header: in words, and as a test; None stands for a text that is not there."""

    words: str
    holds: Callable[[str | None], bool]


class Body(NamedTuple):
    """A rule for a body: which field it is called, in words, and what is wrong with a body; "" for nothing."""

    name: str
    words: str
    fault: Callable[[Request], str]


class Path(NamedTuple):
    """A rule for the path: in words, and what the parts are that it names; None where the path is another."""

    words: str
    params: Callable[[Request], Mapping[str, str] | None]
    is_template: bool = False


class Field(NamedTuple):
    """One field of a request, compared: what was wanted, what was there, whether that fits.

    Of a body, what is there is the difference.
    """

    name: str
    wanted: str
    got: str
    fits: bool

    def __str__(self) -> str:
        if self.fits or self.name == "json":
            return cut(self.got)
        return f"{cut(self.got)}, not {cut(self.wanted)}"


AnyPath: Path = Path("any path", lambda request: {})


class Pattern:
    """What a stub, or a verification, wants of a request.

    Args:
        method: in capitals, or "ANY".
        path: the rule for the path.
        query: rules for parameters.
        headers: rules for headers.
        bodies: rules for the body.
    """

    def __init__(
        self,
        method: str,
        path: Path,
        query: Sequence[tuple[str, Text]] = (),
        headers: Sequence[tuple[str, Text]] = (),
        bodies: Sequence[Body] = (),
    ) -> None:
        self.method: str = method.upper()
        self.path = path
        self.query: tuple[tuple[str, Text], ...] = tuple(query)
        self.headers: tuple[tuple[str, Text], ...] = tuple(headers)
        self.bodies: tuple[Body, ...] = tuple(bodies)
        self._any = self.method in ANY

    def __str__(self) -> str:
        return f"{self.method} {self.path.words}"

    def match(self, request: Request) -> Mapping[str, str] | None:
        """Return the parts of the path that the pattern names, or None where the request is another."""
        if not (self._any or request.method == self.method) or (params := self.path.params(request)) is None:
            return None
        for name, rule in self.query:
            if not _any_holds(rule, request.query.get(name, ())):
                return None
        for name, rule in self.headers:
            if not _any_holds(rule, request.headers.all(name)):
                return None
        return None if any(body.fault(request) for body in self.bodies) else params

    def fields(self, request: Request) -> Iterator[Field]:
        """Yield each field that the pattern speaks of, compared with the request's."""
        yield Field("method", self.method, request.method, self._any or request.method == self.method)
        yield Field("path", self.path.words, masked_url(request.target), self.path.params(request) is not None)
        for name, rule in self.query:
            yield compared_texts("query", name, rule, request.query.get(name, []))
        for name, rule in self.headers:
            yield compared_texts("header", name, rule, request.headers.all(name))
        for body in self.bodies:
            fault = body.fault(request)
            yield Field(body.name, body.words, fault or cut(text_of(request)), not fault)


def _any_holds(rule: Text, values: Sequence[str]) -> bool:
    return any(map(rule.holds, values)) if values else rule.holds(None)


def compared_texts(kind: str, name: str, rule: Text, values: Sequence[str]) -> Field:
    """Return the field of a parameter or header; secrets in it are masked."""
    words, fits = rule.words, _any_holds(rule, values)
    if is_secret(name):
        words, values = masked_literals(words), [masked_login(value) for value in values]
    return Field(f"{kind} {name}", words, " and ".join(map(repr, values)) if values else "(none)", fits)


# --- how far a request is from a pattern


def distance(pattern: Pattern, request: Request) -> float:
    """Return how far a request is from a pattern: 0 where it matches; a wrong path weighs most."""
    from difflib import SequenceMatcher

    far = 0.0
    for field in pattern.fields(request):
        if field.fits:
            continue
        if field.name == "path":
            far += 1 + 4 * (1 - SequenceMatcher(None, field.wanted, request.path).ratio())
        else:
            far += 1.5 if field.name == "method" else 1
    return far


def compared(pattern: Pattern, request: Request) -> Iterator[str]:
    """Yield a line for each field: what was wanted and what was there."""
    fields = list(pattern.fields(request))
    wide = max(len(field.name) for field in fields)
    for field in fields:
        yield f"{'  ' if field.fits else '✗ '}{field.name:{wide}}  {field}"


def cut(text: str) -> str:
    """Return a text that fits a line."""
    return text if len(text) <= 200 else f"{text[:200]}…"


# --- the rules that Python code writes


def text_rule(wanted: object, name: str = "") -> Text:
    """Return the rule for a value: a text is equal, a regular expression matches all of it, None means that it is not there.

    Anything else is compared by `==`, so that `mock.ANY` and its like may stand there. The media type that a content type
    names is enough: "application/json" fits "application/json; charset=utf-8".
    """
    if wanted is None:
        return Text("absent", lambda value: value is None)
    if isinstance(wanted, re.Pattern):
        regex = wanted
        return Text(f"matching {regex.pattern!r}", lambda value: value is not None and regex.fullmatch(value) is not None)
    if name.lower() == "content-type" and isinstance(wanted, str) and ";" not in wanted:
        plain = wanted.strip().lower()
        return Text(repr(wanted), lambda value: value is not None and value.partition(";")[0].strip().lower() == plain)
    if isinstance(wanted, bool | bytes | dict | set | list | tuple):
        raise TypeError(f"{wanted!r} is no text; a query or header has texts such as 'true' or '3'")
    if isinstance(wanted, int | float):
        wanted = str(wanted)
    return Text(repr(wanted), lambda value: value is not None and bool(wanted == value))


def path_rule(path: str | re.Pattern[str]) -> Path:
    """Return the rule for a path: as it is, with {name} for one part and {name:path} for the rest, or a regular expression.

    Raises:
        ValueError: it is no path, or names a parameter twice.
        TypeError: it is neither text nor a regular expression.
    """
    if isinstance(path, re.Pattern):
        return Path(f"matching {path.pattern!r}", lambda request: _groups(path, request))
    if not isinstance(path, str):
        raise TypeError(f"path {path!r} is neither text nor a compiled regular expression")
    if path == "*":
        return AnyPath
    if not path.startswith("/") or "#" in path:
        raise ValueError(f"path {path!r} must begin with / and have no fragment")
    if "{" not in path and "}" not in path:
        forms = (path, decoded(path))
        return Path(path, lambda request: {} if request.raw_path in forms or request.parts in forms else None)
    regex = _template(path)
    return Path(path, lambda request: _params(regex, request), True)


def _template(path: str) -> re.Pattern[str]:
    at, text = 0, ""
    for found in re.finditer(PARAMETER, path):
        text += re.escape(decoded(path[at : found.start()])) + f"(?P<{found['name']}>{'.*' if found['all'] else '[^/]+'})"
        at = found.end()
    rest = path[at:]
    if "{" in re.sub(PARAMETER, "", path) or "}" in re.sub(PARAMETER, "", path):
        raise ValueError(f"path {path!r} has a brace that is not part of a parameter such as {{id}} or {{rest:path}}")
    try:
        return re.compile(text + re.escape(decoded(rest)), re.DOTALL)
    except re.error:
        raise ValueError(f"path {path!r} names a parameter twice") from None


def _params(regex: re.Pattern[str], request: Request) -> Mapping[str, str] | None:
    found = regex.fullmatch(request.parts)  # a slash that is encoded in a part is no end of it
    return {name: value.replace(SLASH, "/") for name, value in found.groupdict().items()} if found is not None else None


def _groups(regex: re.Pattern[str], request: Request) -> Mapping[str, str] | None:
    found = regex.fullmatch(request.path)
    return {name: value for name, value in found.groupdict().items() if value is not None} if found is not None else None


def json_part(wanted: Any) -> Body:
    """Return the rule for a body that is JSON with a part in it."""

    def fault(request: Request) -> str:
        try:
            whole = request.peek()
        except (ValueError, RecursionError):
            return no_json(request, wanted)
        return "" if holds(whole, wanted) else "; ".join(islice(differences(whole, wanted, shown=masked_value), 5))

    return Body("json", f"{masked_value('', wanted)} in it", fault)


def no_json(request: Request, wanted: Any) -> str:
    """Return what is wrong with a body that was to be JSON."""
    if not request.body:
        return f"there is no body; wanted is {masked_value('', wanted)}"
    return f"the body is no JSON: {body_shown(request)}"


def body_rule(wanted: str | bytes | re.Pattern[str]) -> Body:
    """Return the rule for a whole body: equal text or bytes, or a regular expression that matches all of it.

    Raises:
        TypeError: it is none of these.
    """
    if isinstance(wanted, re.Pattern):
        regex = wanted
        return Body(
            "body", f"matching {regex.pattern!r}", lambda request: "" if regex.fullmatch(request.text) else body_shown(request)
        )
    if not isinstance(wanted, str | bytes):
        raise TypeError(
            f"{wanted!r} is no body: give text, bytes or a compiled regular expression; JSON has an argument of its own"
        )
    exact = wanted.encode() if isinstance(wanted, str) else wanted
    words = repr(masked_text(wanted) if isinstance(wanted, str) else wanted)
    return Body("body", words, lambda request: "" if request.body == exact else body_shown(request))


def body_shown(request: Request) -> str:
    """Return a body for people."""
    return cut(repr(text_of(request))) if request.body else "empty"


def text_of(request: Request) -> str:
    """Return the beginning of a body as text, secrets masked."""
    return masked_text(request.body[:LOOKED_AT].decode("utf-8", "replace"))


def pattern_of(
    method: str,
    path: str | re.Pattern[str],
    query: Mapping[str, object] | None = None,
    headers: Mapping[str, object] | None = None,
    json: Any = ...,
    body: str | bytes | re.Pattern[str] | None = None,
) -> Pattern:
    """Return the pattern of a stub or a verification that Python code wrote; `...` is no JSON.

    Raises:
        ValueError: the method or the path cannot be one.
        TypeError: a value has a type that none can have.
    """
    if not isinstance(method, str) or not re.fullmatch(r"[A-Za-z-]+|\*", method):
        raise ValueError(f"{method!r} is no method; there are GET, POST and the others, and ANY")
    said: list[tuple[str, object]] = []
    if isinstance(path, str) and path != "*":
        path, _, text = path.partition("?")
        said += parse_qsl(text, keep_blank_values=True)
    said += _each(query, "query")
    bodies = [*([json_part(json)] if json is not ... else ()), *([body_rule(body)] if body is not None else ())]
    return Pattern(
        method,
        path_rule(path),
        [(name, text_rule(value)) for name, value in said],
        [(name, text_rule(value, name)) for name, value in _each(headers, "headers")],
        bodies,
    )


def _each(values: Mapping[str, object] | None, what: str) -> Iterator[tuple[str, object]]:
    """Yield each name with each value that is wanted of it."""
    if values is not None and not isinstance(values, Mapping):
        raise TypeError(f"{what}={values!r} is no mapping of names to values")
    for name, value in (values or {}).items():
        if not isinstance(name, str):
            raise TypeError(f"{what}: {name!r} is no name")
        several = value if isinstance(value, list | tuple) else [value]
        if not several:
            raise ValueError(f"{what}: {name!r} has an empty list; None says that it is not there")
        yield from ((name, each) for each in several)
