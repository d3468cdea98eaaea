"""Which session factories are on: the test's, its class's or its module's; and how far their sequences have come there."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from .naming import Rebind

__all__ = ["RANKS", "TEST", "Binder", "Bound", "Counter"]

RANKS = {"session": 0, "package": 1, "module": 2, "class": 3, "function": 4}
"""Scopes, the widest first: what is set up for one sees the sessions of its own and of wider ones."""
TEST = RANKS["function"]


class Bound:
    """A session that factories are on.

    Args:
        session: SQLAlchemy's; of an asynchronous one, the synchronous one in it.
        face: what the test has: the session, or the asynchronous one.
        fixture: the name of what gives it.
        persistence: what is done with a new object: "flush", "commit" or None.
        is_undone: what a test does on it is undone at the test's end.
    """

    def __init__(self, session: Any, face: Any, fixture: str, persistence: str | None, *, is_undone: bool = True) -> None:
        self.session = session
        self.face = face
        self.fixture = fixture
        self.persistence = persistence
        self.is_undone = is_undone

    @property
    def is_async(self) -> bool:
        """Tell whether it can only be used by what is awaited."""
        return self.face is not self.session


class Counter:
    """What factory_boy has for a sequence: the next number."""

    def __init__(self, seq: int) -> None:
        self.seq: int = seq

    def next(self) -> int:
        """Take a number."""
        self.seq += 1
        return self.seq - 1

    def reset(self, next_value: int = 0) -> None:
        """Go on with another number."""
        self.seq = next_value


class Scope:
    """The sessions and sequences of a test, or of a class or module."""

    def __init__(self, rank: int) -> None:
        self.rank = rank
        self.sessions: list[Bound] = []
        self.counters: dict[Any, Any] = {}
        """By factory_boy's options of the factory that counts."""

    def session(self) -> Bound | None:
        """Return the last one; an asynchronous one only where there is no other, as factories are synchronous."""
        plain = [each for each in self.sessions if not each.is_async]
        return (plain or self.sessions or [None])[-1]  # type: ignore[list-item]


class Binder:
    """The sessions of the test that runs, and of what is around it.

    Args:
        persistence: "flush", "commit" or None, for factories that do not say it themselves.
        offset: where sequences begin.
        rebind: names those that are bound though they have a session of their own.
    """

    def __init__(self, persistence: str | None, offset: int, rebind: Rebind) -> None:
        self.persistence = persistence
        self.offset = offset
        self.rebind = rebind
        self.forced: str | None = None
        """A persistence that counts for the moment."""
        self.where: Callable[[], str] = lambda: ""
        """Says, for an error, what runs and what it could ask for."""
        self.limit: int = TEST
        """What is being set up: sessions of narrower scopes are not for it."""
        self.early: Callable[[], Callable[[], object] | None] = lambda: None
        """Returns what sets up the session that a test has among its fixtures, and would have a little later."""
        self.late: Callable[[], object] | None = None
        """Gives the test a session when it first creates something, where it has an engine and no session."""
        self._is_asking = False
        self._wide: list[Scope] = []
        self._test: Scope | None = None
        self._sessionless = Scope(TEST)
        """Sequences of tests that have no session: they go on from test to test, as they do without us."""
        self._outside = Scope(RANKS["session"])
        """Sequences of what is made where there is no session, and outlasts tests: at imports, in fixtures of the session."""

    # --- from test to test

    def begin(self) -> None:
        """Begin a test."""
        self._test, self.limit, self.late = Scope(TEST), TEST, None

    def end(self) -> None:
        """End the test: sequences are what they were before it."""
        self._test = self.late = None

    @contextmanager
    def setting_up(self, rank: int) -> Iterator[None]:
        """Let no session be seen that ends before what is set up."""
        before, self.limit = self.limit, rank
        try:
            yield
        finally:
            self.limit = before

    @contextmanager
    def flushing(self) -> Iterator[None]:
        """Let what is created be flushed and no more."""
        before, self.forced = self.forced, "flush"
        try:
            yield
        finally:
            self.forced = before

    def bind(self, rank: int, bound: Bound) -> Callable[[], None]:
        """Let factories be on a session, until the returned function is called."""
        scope = self._scope(rank)
        scope.sessions.append(bound)

        def release() -> None:
            scope.sessions.remove(bound)
            if not scope.sessions and scope in self._wide:
                self._wide.remove(scope)

        return release

    def _scope(self, rank: int) -> Scope:
        if rank == TEST and self._test is not None:
            return self._test
        for scope in self._wide:
            if scope.rank == rank:
                return scope
        self._wide.append(Scope(rank))
        self._wide.sort(key=lambda scope: scope.rank)
        return self._scope(rank)

    # --- sessions

    def current(self) -> Bound | None:
        """Return the session of what runs, if it has one."""
        for scope in self._visible():
            if (bound := scope.session()) is not None:
                return bound
        return None

    def _visible(self) -> Sequence[Scope]:
        """Return the scopes of what runs, the innermost first."""
        inner = [self._test] if self._test is not None and self.limit == TEST else []
        return [*inner, *(scope for scope in reversed(self._wide) if scope.rank <= self.limit)]

    def session_for(self, meta: Any) -> Bound | None:
        """Return the session on which a factory is, None where that is its own, or none."""
        return self.current() if self.governs(meta) else None

    def governs(self, meta: Any) -> bool:
        """Tell whether the session of a factory is ours to choose."""
        said = vars(meta)
        if said.get("sqlalchemy_session") is None and not said.get("sqlalchemy_session_factory"):
            return True
        return bool(self.rebind) and self.rebind.names(meta.factory)

    def provide(self) -> Bound | None:
        """Return the session of what runs, which may be made now."""
        if not self._is_asking and (ask := self._coming()) is not None:
            self._is_asking = True  # what makes the session may create objects itself
            try:
                ask()
            finally:
                self._is_asking = False
        return self.current()

    def _coming(self) -> Callable[[], object] | None:
        """Return what gives the test a session of its own, if it has none and can have one."""
        if self._test is None or self._test.sessions or self.limit < TEST:
            return None
        return self.early() or (self.late if self.current() is None else None)

    # --- sequences

    def counter(self, meta: Any) -> Any:
        """Return how far the sequence of a factory has come where we are, None where it has not begun."""
        scope = self._counting(meta)
        return vars(meta)["_counter"] if scope is None else scope.counters.get(meta.counter_reference)

    def count(self, meta: Any, counter: Any) -> None:
        """Let the sequence of a factory go on with a counter where we are."""
        scope = self._counting(meta)
        if scope is None:
            vars(meta)["_counter"] = counter
        else:
            scope.counters[meta.counter_reference] = counter

    def begin_again(self, meta: Any) -> None:
        """Forget how far the sequence of a factory has come where we are."""
        scope = self._counting(meta)
        assert scope is not None  # who asks has seen that it is governed
        scope.counters.pop(meta.counter_reference, None)

    def begin_counting(self, meta: Any) -> None:
        """Let the sequence of a factory begin: after what wider scopes have made, as their rows are there."""
        self.count(meta, Counter(self._next(meta.counter_reference)))

    def adopt(self, meta: Any) -> None:
        """Take over how far a factory has come before factory_boy asked us."""
        counter = vars(meta)["_counter"]
        if counter is not None and self.governs(meta):
            self._outside.counters.setdefault(meta.counter_reference, Counter(counter.seq))

    def _counting(self, meta: Any) -> Scope | None:
        """Return the scope whose sequence it is; None for the factory's own, where it has a session of its own for now."""
        if vars(meta).get("counter_reference") is None or not self.governs(meta):
            return None
        visible = self._visible()
        if self._test is None or self.limit < TEST:
            return next(iter(visible), self._outside)
        if self._coming() is not None:
            return self._test
        for scope in visible:
            if (bound := scope.session()) is not None:
                return self._test if bound.is_undone else scope
        return self._sessionless

    def _next(self, reference: Any) -> int:
        counters = [scope.counters.get(reference) for scope in (*self._visible(), self._outside)]
        found = next((counter for counter in counters if counter is not None), None)
        return found.seq if found is not None else self._first(reference)

    def _first(self, reference: Any) -> int:
        """Return the first number; a factory that says it itself knows why."""
        method = reference.factory._setup_next_sequence
        first: int = method()
        return first + self.offset if method.__func__.__module__ == "factory.base" else first
