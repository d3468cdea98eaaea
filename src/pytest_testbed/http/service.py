"""A mock service as a test has it: its address, its stubs, what it was asked."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from inspect import iscoroutinefunction
from pathlib import Path
from typing import Any

from .answer import ABSENT, LONGEST, Answer, answer_of
from .book import USUAL, Book, Stub, spoken
from .match import Pattern, compared, distance, pattern_of
from .request import Request
from .server import Site

__all__ = ["MockService"]

__tracebackhide__ = True  # of what users have given that cannot be, pytest shows their line
HERE = str(Path(__file__).parent)
NEAREST = 3


class MockService:
    """A stub server in one test, as `mock_service("name")` gives it.

    Args:
        book: its stubs, and what it was asked.
        site: where it listens.
        bridge: returns where containers reach it, made when first asked for.
    """

    def __init__(self, book: Book, site: Site, bridge: Callable[[], tuple[str, int]]) -> None:
        self.book = book
        self._site = site
        self._bridge = bridge

    def __repr__(self) -> str:
        return f"<MockService {self.name!r} at {self.url}>"

    @property
    def name(self) -> str:
        """The name that it was asked for by."""
        return self.book.name

    @property
    def host(self) -> str:
        """The address where it listens."""
        return self._site.host

    @property
    def port(self) -> int:
        """The port where it listens."""
        return self._site.port

    @property
    def url(self) -> str:
        """Its address, http://127.0.0.1:port, for code in this process and in others on this machine."""
        return f"http://{self.host}:{self.port}"

    @property
    def container_url(self) -> str:
        """Its address for code in containers on this machine; listens on the engine's bridge from its first use on.

        Raises:
            StubError: there is no such bridge on this machine.
        """
        host, port = self._bridge()
        return f"http://{host}:{port}"

    def stub(
        self,
        method: str,
        path: str | re.Pattern[str],
        *,
        status: int = 200,
        json: Any = ABSENT,
        body: str | bytes = b"",
        headers: Mapping[str, str | int | list[str]] | None = None,
        delay: float = 0.0,
        fault: str | None = None,
        answer: Callable[[Request], object] | None = None,
        query: Mapping[str, object] | None = None,
        request_headers: Mapping[str, object] | None = None,
        request_json: Any = ...,
        request_body: str | bytes | re.Pattern[str] | None = None,
        times: int | None = None,
        then: object = (),
        priority: int = USUAL,
    ) -> Stub:
        """Add a stub. Of those that match a request, the last that was added answers.

        What a request has to be like:

        Args:
            method: such as "GET", or "ANY".
            path: as it is, with {name} for one part of it and {name:path} for all that follows, or a compiled regular
                expression that matches the whole path; "*" for any.
            query: parameters, each with its text, a compiled regular expression, or None: it must not be there.
            request_headers: headers, likewise; of a content type, the media type is enough.
            request_json: what must be in the JSON body: keys of objects; lists item by item.
            request_body: the whole body as text or bytes, or a regular expression that matches all of it.
            status: of the answer.
            json: the answer's body as JSON.
            body: the answer's body as text or bytes.
            headers: of the answer.
            delay: seconds before the answer.
            fault: what goes wrong on the socket: "reset", "empty", "garbage" or "half-chunk".
            answer: makes the answer of the request instead: an `Answer`, a status, text, bytes, a dict or list for JSON, or a
                tuple (status, body[, headers]). Runs in a thread of the server.
            times: how often it answers; None for ever.
            then: what it answers after that: an answer in one of these forms, or a list of them, one by one, the last for ever.
                Without it the stub is used up, and others may match.
            priority: 1 is asked before 2, whatever was added last.

        Raises:
            ValueError: a value cannot be one.
            TypeError: a value has a type that none can have.
        """
        pattern = pattern_of(method, path, query, request_headers, request_json, request_body)
        mine: Answer | Callable[[Request], object]
        if answer is not None:
            if not callable(answer):
                raise TypeError(
                    f"answer={answer!r} is not callable; an answer that is known is given by status=, json=, body=, headers="
                )
            if json is not ABSENT or body or headers or fault or delay or status != 200:
                raise ValueError("a stub has answer= or status=, json=, body=, headers=, delay=, fault=; not both")
            mine = _code(answer)
        else:
            mine = Answer(status, json, body, dict(headers or {}), delay, fault)
        if times is not None and (not isinstance(times, int) or isinstance(times, bool) or times < 1):
            raise ValueError(f"times={times!r} is not a whole number above 0")
        following = _answers(then)
        if following and times is None:
            raise ValueError("then= says what comes after times= answers: give both")
        if not isinstance(priority, int) or priority < 1:
            raise ValueError(f"priority={priority!r} is not a whole number above 0")
        return self.book.add(Stub(pattern, mine, times, following, priority, None, _caller()))

    def remove(self, stub: Stub) -> None:
        """Take out a stub that `stub` has returned.

        Raises:
            ValueError: it is not there, or no more.
        """
        self.book.remove(stub)

    def reset(self) -> None:
        """Begin anew: only the stubs of files, asked nothing."""
        self.book.reset()

    # --- what it was asked

    @property
    def requests(self) -> list[Request]:
        """All requests of this test, in the order in which they came."""
        return self.book.requests

    @property
    def unmatched(self) -> list[Request]:
        """The requests that no stub has answered; they fail the test at its end."""
        return [each.request for each in self.book.unmatched]

    def allow_unmatched(self) -> None:
        """Let requests without a stub not fail this test: the 404 is what it is about."""
        self.book.allows_unmatched = True

    def verify(
        self,
        method: str,
        path: str | re.Pattern[str],
        *,
        json: Any = ...,
        body: str | bytes | re.Pattern[str] | None = None,
        query: Mapping[str, object] | None = None,
        headers: Mapping[str, object] | None = None,
        times: int | None = None,
        at_least: int | None = None,
        at_most: int | None = None,
        within: float = 0.0,
    ) -> list[Request]:
        """Check that a request came in this test, and return those that match.

        Args:
            method: as for `stub`.
            path: as for `stub`.
            json: what must be in the JSON body.
            body: the whole body.
            query: parameters.
            headers: headers.
            times: how many came; without any of the three, at least one.
            at_least: how many came at least.
            at_most: how many came at most.
            within: seconds to wait for it. With times=0 or at_most= alone it waits that long for what must not come.

        Raises:
            AssertionError: it did not come so often; the nearest requests are compared field by field.
            ValueError: a value cannot be one.
            TypeError: a value has a type that none can have.
        """
        pattern = pattern_of(method, path, query, headers, json, body)
        wanted = Count(times, at_least, at_most)
        if not isinstance(within, int | float) or isinstance(within, bool) or not 0 <= within < LONGEST:
            raise ValueError(f"within={within!r} is not a number of seconds from 0 on")
        found = self.book.wait_for(pattern, wanted.is_settled, within)
        if not wanted.holds(len(found)):
            raise AssertionError("\n".join(self._unmet(pattern, wanted, found, within)))
        return found

    def _unmet(self, pattern: Pattern, wanted: Count, found: Sequence[Request], within: float) -> Iterator[str]:
        waited = f" within {within:g} s" if within else ""
        yield f"mock service {self.name!r} was asked {pattern} {spoken(len(found))}{waited}, not {wanted}."
        for request in found[:NEAREST]:
            yield f"  it came: {request}"
        others = [each for each in self.requests if pattern.match(each) is None]
        if not others:
            yield "  nothing else came." if found else "  nothing came at all."
            return
        others.sort(key=lambda request: distance(pattern, request))
        yield f"  nearest of {len(others)} others that came:" if len(others) > 1 else "  what came:"
        for request in others[:NEAREST]:
            yield f"  {request}"
            yield from (f"    {line}" for line in compared(pattern, request))


class Count:
    """How often something is to come.

    Raises:
        ValueError: a number is none, or times= is given with one of the others.
    """

    def __init__(self, times: int | None, at_least: int | None, at_most: int | None) -> None:
        for name, value in (("times", times), ("at_least", at_least), ("at_most", at_most)):
            if value is not None and (not isinstance(value, int) or isinstance(value, bool) or value < 0):
                raise ValueError(f"{name}={value!r} is not a whole number from 0 on")
        if times is not None and (at_least is not None or at_most is not None):
            raise ValueError("give times=, or at_least= and at_most=; not both")
        if at_least is not None and at_most is not None and at_least > at_most:
            raise ValueError(f"at_least={at_least} is above at_most={at_most}")
        if times is None and at_least is None and at_most is None:
            at_least = 1
        self.least = times if times is not None else at_least or 0
        self.most = times if times is not None else at_most

    def holds(self, count: int) -> bool:
        """Tell whether that many are right."""
        return count >= self.least and (self.most is None or count <= self.most)

    def is_settled(self, count: int) -> bool:
        """Tell whether nothing that may still come matters: what is wanted came, or too much did."""
        if self.most is not None and count > self.most:
            return True
        return count >= self.least and (self.least > 0 or self.most is None)

    def __str__(self) -> str:
        if self.most == self.least:
            return spoken(self.least)
        if self.most is None:
            return f"at least {spoken(self.least)}" if self.least else "any number of times"
        return f"{self.least} to {self.most} times" if self.least else f"at most {spoken(self.most)}"


def _answers(then: object) -> list[Answer | Callable[[Request], object]]:
    """Return what a stub answers after its first answers; a list is several of them, not one in JSON."""
    if then == () or then is None:
        return []
    several = then if isinstance(then, list) else [then]
    return [_code(each) if callable(each) else answer_of(each) for each in several]


def _code(answer: Callable[[Request], object]) -> Callable[[Request], object]:
    if iscoroutinefunction(answer):
        raise TypeError(f"{answer!r} is a coroutine function: a stub's code runs in a thread of the server, without a loop")
    return answer


def _caller() -> str:
    """Return the place in the user's code that adds a stub."""
    frame = sys._getframe(1)
    while frame.f_back is not None and frame.f_code.co_filename.startswith(HERE):
        frame = frame.f_back
    return f"{Path(frame.f_code.co_filename).name}:{frame.f_lineno}"
