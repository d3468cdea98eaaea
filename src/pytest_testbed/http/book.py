"""The book of stubs of one service in one test: what answers which request, and what has been asked."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

from .answer import Answer, answer_of
from .match import Pattern, compared, distance
from .request import Request

__all__ = ["USUAL", "Book", "Scenario", "Served", "Stub", "spoken"]

USUAL = 5
"""The priority of a stub that names none; 1 is the highest, as in WireMock."""
BEGUN = "Started"
"""The state that each scenario begins in, as in WireMock."""
NEAREST = 3
"""Stubs that a request without one is compared with."""

Maker = Callable[[Request], object]


class Scenario(NamedTuple):
    """A stub's part in a scenario: it answers in one state, and sets another.

    Source: WireMock's scenarios.
    """

    name: str
    required: str | None = None
    new: str | None = None


class Served(NamedTuple):
    """A request with what came of it."""

    request: Request
    stub: Stub | None
    answer: Answer
    why: str
    """Why there was no answer of a stub's; "" where there was."""
    is_late: bool = False
    """Whether its test had ended."""


class Stub:
    """A stub of a mock service, as `stub` returns it.

    Args:
        pattern: what a request has to be like.
        answer: what comes back, or what makes it of a request.
        times: how often; None for ever.
        then: what comes back after that, one by one; the last of it for ever. Without it the stub is used up.
        priority: 1 comes before 2.
        scenario: its part in one.
        source: where it was written, for people.
    """

    def __init__(
        self,
        pattern: Pattern,
        answer: Answer | Maker,
        times: int | None = None,
        then: Sequence[Answer | Maker] = (),
        priority: int = USUAL,
        scenario: Scenario | None = None,
        source: str = "",
    ) -> None:
        self.pattern = pattern
        self.priority = priority
        self.scenario = scenario
        self.source = source
        self.requests: list[Request] = []
        """The requests that it has answered."""
        self._answer, self._times, self._then = answer, times, tuple(then)

    def __str__(self) -> str:
        return str(self.pattern) + (f" (from {self.source})" if self.source else "")

    @property
    def is_used_up(self) -> bool:
        """Whether it has answered as often as it was to."""
        return self._times is not None and not self._then and len(self.requests) >= self._times

    def take(self, request: Request, params: Mapping[str, str]) -> Answer | Maker:
        """Count a request, and return what answers it."""
        request.path_params = params
        self.requests.append(request)
        late = len(self.requests) - 1 - (self._times if self._times is not None else len(self.requests))
        return self._answer if late < 0 else self._then[min(late, len(self._then) - 1)]

    def renewed(self) -> Stub:
        """Return it as it was before its first request."""
        return Stub(self.pattern, self._answer, self._times, self._then, self.priority, self.scenario, self.source)


class Book:
    """The stubs of one service, the last that was added first, and what it was asked.

    Args:
        name: the service's.
        stubs: what it begins with, in the order of being added.
        test: whose it is, for people.
    """

    def __init__(self, name: str, stubs: Sequence[Stub] = (), test: str = "") -> None:
        self.name = name
        self.test = test
        self.served: list[Served] = []
        self.faults: list[str] = []
        """What went wrong in the code of stubs."""
        self.allows_unmatched = False
        self.over: threading.Event = threading.Event()
        """Set when the test has ended: what comes then is too late, and what waits for its answer gets none."""
        self.others: Callable[[], list[str]] = list
        """Returns the names of this test's other services that have stubs."""
        self.changed: threading.Condition = threading.Condition()
        self._first, self._stubs, self._states = stubs, [], {}
        self.reset()

    _stubs: list[Stub]
    _states: dict[str, str]

    def reset(self) -> None:
        """Begin anew: with the first stubs, in no state, asked nothing."""
        with self.changed:
            self._states.clear()
            self._stubs.clear()
            for stub in self._first:
                self._insert(stub.renewed())
            self.served = []  # another one: who counts what is in it sees that
            self.faults.clear()

    def ended(self) -> Book:
        """Return a book for what comes when the test has ended: it keeps nothing of what the test was asked."""
        book = Book(self.name, (), self.test)
        book.over.set()
        return book

    def add(self, stub: Stub) -> Stub:
        """Add a stub, before those of its priority."""
        with self.changed:
            self._insert(stub)
        return stub

    def _insert(self, stub: Stub) -> None:
        at = next((at for at, each in enumerate(self._stubs) if each.priority >= stub.priority), len(self._stubs))
        self._stubs.insert(at, stub)

    def remove(self, stub: Stub) -> None:
        """Take a stub out; ValueError where it is not in."""
        __tracebackhide__ = True
        with self.changed:
            if stub not in self._stubs:
                raise ValueError(f"mock service {self.name!r} does not have this stub, or no more: {stub}")
            self._stubs.remove(stub)

    @property
    def stubs(self) -> list[Stub]:
        """The stubs, in the order in which they are asked."""
        with self.changed:
            return list(self._stubs)

    @property
    def requests(self) -> list[Request]:
        """All that was asked, in the order in which it came."""
        with self.changed:
            return [each.request for each in self.served]

    @property
    def unmatched(self) -> list[Served]:
        """What no stub answered."""
        with self.changed:
            return [each for each in self.served if each.stub is None]

    # --- asked

    def serve(self, request: Request) -> Served:
        """Answer a request; runs in the thread of its connection."""
        with self.changed:
            if self.over.is_set():
                return Served(request, None, *self._too_late(request), is_late=True)
            stub, params = self._stub_for(request)
            maker = stub.take(request, params) if stub is not None else None
            if stub is not None and stub.scenario is not None and stub.scenario.new is not None:
                self._states[stub.scenario.name] = stub.scenario.new
            if not callable(maker):
                return self._noted(request, stub, maker)
        answer, fault = made(maker, request)  # outside the lock: it may ask this very service
        with self.changed:
            if fault:
                self.faults.append(f"the stub {stub}, asked for {request}, failed: {fault}")
            if self.over.is_set():  # the test has ended without it
                return Served(request, None, *self._too_late(request, fault), is_late=True)
            return self._noted(request, stub, answer)

    def failed(self, text: str) -> None:
        """Take note of what went wrong; it fails the test."""
        with self.changed:
            self.faults.append(text)

    def _noted(self, request: Request, stub: Stub | None, answer: Answer | None) -> Served:
        if answer is None:
            why = self.why(request)
            served = Served(request, None, Answer(404, body=why + "\n"), why)
        else:
            served = Served(request, stub, answer, "")
        self.served.append(served)
        self.changed.notify_all()
        return served

    def _too_late(self, request: Request, fault: str = "") -> tuple[Answer, str]:
        why = f"{request} came to mock service {self.name!r} by the address that it had in the test {self.test}, which has ended."
        if fault:
            why += f" The code of its stub failed: {fault}"
        return Answer(404, body=why + "\n"), why

    def _stub_for(self, request: Request) -> tuple[Stub | None, Mapping[str, str]]:
        for stub in self._stubs:
            if stub.is_used_up or self._is_out_of_state(stub):
                continue
            params = stub.pattern.match(request)
            if params is not None:
                return stub, params
        return None, {}

    def _is_out_of_state(self, stub: Stub) -> bool:
        wants = stub.scenario.required if stub.scenario is not None else None
        return wants is not None and self._states.get(stub.scenario.name, BEGUN) != wants  # type: ignore[union-attr]

    # --- words for a request without a stub

    def why(self, request: Request) -> str:
        """Return why no stub answers a request: the nearest ones, compared field by field."""
        lines = [f"no stub of mock service {self.name!r} matches {request}"]
        if not self._stubs:
            with_stubs = f" This test has stubs in {', '.join(map(repr, others))}." if (others := self.others()) else ""
            return f"{lines[0]}: it has none. Add one with .stub({request.method!r}, {request.path!r}, json=...).{with_stubs}"
        near = sorted(self._stubs, key=lambda stub: distance(stub.pattern, request))
        lines[0] += ". The nearest:" if len(near) > 1 else ". The only one:"
        for stub in near[: NEAREST if len(near) <= NEAREST else 2]:
            lines.append(f"  {stub}{self._state(stub)}")
            lines += [f"    {line}" for line in compared(stub.pattern, request)]
        if (more := len(near) - len(near[: NEAREST if len(near) <= NEAREST else 2])) > 0:
            lines.append(f"  and {more} more that are less like it")
        return "\n".join(lines)

    def _state(self, stub: Stub) -> str:
        if stub.is_used_up:
            return f", used up: it was to answer {spoken(len(stub.requests))}"
        if self._is_out_of_state(stub):
            scenario = stub.scenario
            assert scenario is not None
            state = self._states.get(scenario.name, BEGUN)
            return f", not now: scenario {scenario.name!r} is in state {state!r}, and it needs {scenario.required!r}"
        return ""

    def matching(self, pattern: Pattern) -> list[Request]:
        """Return the requests so far that match a pattern."""
        with self.changed:
            return list(self._matching(pattern))

    def _matching(self, pattern: Pattern) -> Iterator[Request]:
        return (each.request for each in self.served if pattern.match(each.request) is not None)

    def wait_for(self, pattern: Pattern, is_enough: Callable[[int], bool], within: float) -> list[Request]:
        """Return the requests that match a pattern, once they are enough or the time is over."""
        served: list[Served] = []
        seen = count = 0

        def enough() -> bool:  # looks only at what has come since
            nonlocal served, seen, count
            if served is not self.served:  # at first, and after a reset
                served, seen, count = self.served, 0, 0
            count += sum(1 for each in served[seen:] if pattern.match(each.request) is not None)
            seen = len(served)
            return is_enough(count)

        with self.changed:
            self.changed.wait_for(enough, within)
            return list(self._matching(pattern))


def made(maker: Maker, request: Request) -> tuple[Answer, str]:
    """Return what a stub's code answers, and what went wrong in it."""
    try:
        return answer_of(maker(request)), ""
    except BaseException as error:  # also pytest.fail, and whatever else would end a thread of the server's
        import traceback

        # only the frames of its own code
        text = "".join(
            traceback.format_exception(type(error), error, error.__traceback__ and error.__traceback__.tb_next)
        ).strip()
        return Answer(500, body=f"the code of a stub failed: {error!r}\n"), text


def spoken(count: int) -> str:
    """Return "never", "once" or "3 times"."""
    return {0: "never", 1: "once"}.get(count, f"{count} times")
