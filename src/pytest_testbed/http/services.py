"""All mock services of a process: which sites listen, whose test they are in, what came too late."""

from __future__ import annotations

import os
import re
import threading
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

from ..errors import StubError
from .book import Book, Served, Stub
from .server import Site
from .service import MockService
from .serving import Serving

__all__ = ["MockServices", "TestServices"]

NAME = re.compile(r"\w[\w-]*")
KEPT = 32
"""Addresses of earlier tests that are still listened to."""
TOLD = 5
"""Faults of a test that are told in full."""
MOST_LATE = 20
"""Requests that came too late, of which each is told."""
OUTSIDE = "no test"
"""Whose requests are those that come before, between and after the tests."""

Told = Callable[[Served, Book], None]


class MockServices:
    """The sites of a process.

    Each test has addresses of its own, so that what an earlier one has left running cannot be taken for it. A name whose
    address is in the environment keeps it: there, a request is of the test in whose time it begins.

    Args:
        stubs: by service, what each test begins with.
    """

    def __init__(self, stubs: Mapping[str, Sequence[Stub]]) -> None:
        self._stubs = stubs
        self._serving: Serving | None = None
        self._pid = os.getpid()
        self._kept: dict[str, Site] = {}
        self._earlier: deque[Site] = deque()
        self._late: Counter[str] = Counter()
        self._lock = threading.Lock()
        self._current: TestServices | None = None

    def serving(self) -> Serving:
        """Return the thread that accepts connections; begun by its first use."""
        if self._serving is None or self._pid != os.getpid():  # in a forked child there is none of our threads
            self._serving, self._pid = Serving(), os.getpid()
            self._earlier.clear()
        return self._serving

    def open(self, site: Site) -> Site:
        """Let a site accept connections."""
        self.serving().add(site)
        return site

    def keep(self, name: str) -> Site:
        """Return the site of a name that keeps its address for the whole run.

        Raises:
            StubError: a mock service cannot have this name.
        """
        if name not in self._kept:
            self._kept[name] = self.open(Site(self.book(name, OUTSIDE), self._note_outside))
        return self._kept[name]

    def book(self, name: str, test: str) -> Book:
        """Return a new book for a service."""
        __tracebackhide__ = True
        if not isinstance(name, str) or NAME.fullmatch(name) is None:
            raise StubError(
                f"a mock service cannot be called {name!r}: a name has letters, digits, _ and -, such as 'inventory'."
            )
        return Book(name, self._stubs.get(name, ()), test)

    # --- from test to test

    def begin(self, test: str, told: Told) -> TestServices:
        """Begin a test."""
        self._current = services = TestServices(self, test, told)
        for name in self._kept:
            services(name)
        return services

    def site_for(self, book: Book, told: Told) -> Site:
        """Return where a service listens in a test."""
        site = self._kept.get(book.name)
        if site is None:
            return self.open(Site(book, partial(self._note, told)))
        site.book, site.told = book, partial(self._note, told)
        return site

    def _note(self, told: Told, served: Served, book: Book) -> None:
        """Take note of a request, in the thread of its connection."""
        if served.is_late:
            self._note_late(served.why)
            if self._current is not None:
                self._current.told(served, book)
        else:
            told(served, book)

    def _note_outside(self, served: Served, book: Book) -> None:
        """Take note of a request to an exported address while there is no test."""
        if served.stub is None:
            self._note_late(f"outside of any test, {served.why}")

    def _note_late(self, text: str) -> None:
        with self._lock:  # what polls does so until the run ends: its text is kept once
            self._late[text] += 1

    def end(self, services: TestServices, sites: Sequence[Site]) -> None:
        """End a test: what comes from now on is too late."""
        if self._current is services:
            self._current = None
        for site in sites:
            site.cut()
            if site not in self._kept.values():
                site.book, site.told = site.book.ended(), partial(self._note, nobody)
                self._earlier.append(site)
        while len(self._earlier) > KEPT:
            self.serving().remove(self._earlier.popleft())

    def late(self) -> list[str]:
        """Return a text on each request that came when its test had ended, or in none, and that was not told yet."""
        with self._lock:
            late, self._late = self._late, Counter()
        return list(counted(late, MOST_LATE))

    def close(self) -> None:
        """End all."""
        if self._serving is not None and self._pid == os.getpid():
            self._serving.close()
        self._serving = None


class TestServices:
    """The mock services of one test: called with a name, it gives the one of that name.

    Args:
        services: those of the process.
        test: the test, for people.
        told: called with each request that was answered.
    """

    __test__ = False

    def __init__(self, services: MockServices, test: str, told: Told) -> None:
        self._services, self._test, self.told = services, test, told
        self._mine: dict[str, tuple[MockService, Site]] = {}
        self._lock = threading.RLock()
        self._is_over = False
        self._bridges: list[Site] = []

    def __call__(self, name: str) -> MockService:
        """Return the service of a name, one and the same in this test.

        Raises:
            StubError: a mock service cannot have this name; or the test has ended.
        """
        __tracebackhide__ = True
        with self._lock:
            if name not in self._mine:
                if self._is_over:
                    raise StubError(
                        f"mock service {name!r} is asked for when its test has ended, {self._test}: threads that ask for one "
                        "must end with the test."
                    )
                book = self._services.book(name, self._test)
                book.others = partial(self._with_stubs, name)
                site = self._services.site_for(book, self.told)
                self._mine[name] = MockService(book, site, partial(self._bridge, book, site)), site
            return self._mine[name][0]

    def __getattr__(self, name: str) -> Any:
        """Tell who takes this for a service how to get one."""
        hint = f": call it with a name first, such as mock_service('inventory').{name}" if hasattr(MockService, name) else ""
        raise AttributeError(f"mock_service has no attribute {name!r}{hint}")

    def _with_stubs(self, name: str) -> list[str]:
        return [other for other, (service, _) in list(self._mine.items()) if other != name and service.book.stubs]

    def _bridge(self, book: Book, site: Site) -> tuple[str, int]:
        """Return where containers reach a service."""
        with self._lock:
            for each in self._bridges:
                if each.book is book:
                    return each.reached_as, each.port
            from .bridge import address_for_containers  # few tests have containers

            name, address = address_for_containers()
            if address == site.host:
                return name, site.port
            bridge = self._services.open(Site(book, site.told, (address, 0)))
            bridge.reached_as = name
            self._bridges.append(bridge)
            return name, bridge.port

    def end(self) -> list[str]:
        """End them, and return what is wrong: requests that no stub has answered, stubs whose code failed."""
        faults: list[str] = []
        with self._lock:
            self._is_over = True
        for service, _ in self._mine.values():
            book = service.book
            with book.changed:
                book.over.set()
            if not book.allows_unmatched:
                faults += counted(each.why for each in book.unmatched)
            faults += counted(book.faults)
        self._services.end(self, [*(site for _, site in self._mine.values()), *self._bridges])
        return faults


def nobody(served: Served, book: Book) -> None:
    """Take no note of a request."""


def counted(texts: Iterable[str] | Counter[str], most: int = TOLD) -> Iterator[str]:
    """Yield each text once, with how often it came; where there are many, how many more."""
    times = Counter(texts)
    for text, count in list(times.items())[:most]:
        more = "\n" if "\n" in text else " "
        yield f"{text}{more}({count} times)" if count > 1 else text
    if len(times) > most:
        yield f"(and {len(times) - most} others)"
