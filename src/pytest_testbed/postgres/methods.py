"""Methods that take down what they send, in place of a driver's own: plain ones, coroutines, generators, contexts."""

from __future__ import annotations

import inspect
import sys
from collections.abc import AsyncIterator, Callable, Iterator, Sized
from contextlib import ExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from functools import wraps
from types import FrameType, TracebackType
from typing import Any

from ..callers import OURS, Place, place_of
from .sent import begin, end, fail, is_on, now

__all__ = [
    "Driver",
    "Kind",
    "Spoken",
    "async_context",
    "async_generator",
    "context",
    "coroutine",
    "generator",
    "plain",
    "size_of",
    "swap",
]

Method = Callable[..., Any]
NOT_ALONE = frozenset(["sqlalchemy", "pytest_testbed"])
"""Packages whose calls are not taken down here: what they send is known, or nobody's business."""

Spoken = tuple[Any, Any, int | None]
"""A statement as its sender gave it, its parameters, and how many sets of them there are."""
Read = Callable[[Any, tuple[Any, ...], dict[str, Any]], Spoken]
"""Reads that from an object, and the arguments with which its method is called."""
Rows = Callable[[Any, Any], int | None]
"""Says how many rows there were, from the object and what its method returned."""


def swap(stack: ExitStack, owner: Any, name: str, new: Any) -> None:
    """Replace an attribute until the stack is closed; who has replaced it once more by then keeps his own."""
    old = vars(owner)[name]

    def put_back() -> None:
        if vars(owner).get(name) is new:
            setattr(owner, name, old)

    setattr(owner, name, new)
    stack.callback(put_back)


@dataclass(frozen=True, slots=True)
class Driver:
    """A driver, and how its own calls are known.

    Attributes:
        name: its name.
        packages: a call from there is made for whoever called those.
        passing: where this is not empty, only a call from these modules is; the driver's others call for themselves.
    """

    name: str
    packages: frozenset[str]
    passing: frozenset[str] = frozenset()

    def caller(self, frame: FrameType | None) -> Any:
        """Return the application's line that calls, None for a caller without one; `OURS` where nothing is to be taken down."""
        if not is_on():
            return OURS
        while frame is not None:
            module: str = frame.f_globals.get("__name__") or ""
            package = module.partition(".")[0]
            if package in NOT_ALONE:
                return OURS
            if package not in self.packages:
                return place_of(frame)
            if self.passing and module not in self.passing:
                return OURS
            frame = frame.f_back
        return None


@dataclass(frozen=True, slots=True)
class Kind:
    """What is known of a kind of method.

    Attributes:
        driver: whose it is.
        read: reads what is sent from a call.
        rows: says how many rows there were.
    """

    driver: Driver
    read: Read
    rows: Rows

    def sending(self, place: Place | None, owner: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Sending:
        """Return the context in which such a call is made."""
        statement, parameters, sets = self.read(owner, args, kwargs)
        return Sending(text_of(statement, owner), parameters, sets, place, self.driver.name)


class Sending:
    """The time in which a statement is under way; `rows` is set by who knows it."""

    __slots__ = ("_began", "_query", "_what", "rows")

    def __init__(self, statement: str, parameters: Any, sets: int | None, place: Place | None, driver: str) -> None:
        self._what = (statement, parameters, place, driver, sets)
        self.rows: int | None = None

    def __enter__(self) -> Sending:
        statement, parameters, place, driver, sets = self._what
        self._query = begin(statement, parameters, place, driver, sets=sets)
        self._began = now()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if error is None or isinstance(error, GeneratorExit):  # whoever wants no more rows has them
            end(self._query, self._began, self.rows)
        else:
            fail(self._query, self._began, error)


def text_of(statement: Any, owner: Any) -> str:
    """Return a statement's text: drivers take bytes, too, and objects that are made into text for a connection."""
    if isinstance(statement, str):
        return statement
    if isinstance(statement, (bytes, bytearray)):
        return statement.decode("utf-8", "replace")
    try:
        return str(statement.as_string(owner))
    except Exception:
        return str(statement)


def size_of(sets: Any) -> int | None:
    """Return how many sets of parameters there are; None for an iterator, which can be read but once."""
    return len(sets) if isinstance(sets, Sized) else None


# --- the methods; each looks for its caller at once, where his frame is the next one


def plain(original: Method, kind: Kind) -> Method:
    """Return a method that takes down what it sends."""

    @wraps(original)
    def method(self: Any, *args: Any, **kwargs: Any) -> Any:
        place = kind.driver.caller(sys._getframe(1))
        if place is OURS:
            return original(self, *args, **kwargs)
        with kind.sending(place, self, args, kwargs) as sending:
            result = original(self, *args, **kwargs)
            sending.rows = kind.rows(self, result)
        return result

    return method


def coroutine(original: Method, kind: Kind) -> Method:
    """Return a method that gives a coroutine, which takes down what it sends."""

    async def awaited(place: Place | None, self: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        with kind.sending(place, self, args, kwargs) as sending:
            result = await original(self, *args, **kwargs)
            sending.rows = kind.rows(self, result)
        return result

    @wraps(original)
    def method(self: Any, *args: Any, **kwargs: Any) -> Any:
        place = kind.driver.caller(sys._getframe(1))
        return original(self, *args, **kwargs) if place is OURS else awaited(place, self, args, kwargs)

    mark = getattr(inspect, "markcoroutinefunction", None)  # since Python 3.12
    return mark(method) if mark is not None else method


def generator(original: Method, kind: Kind) -> Method:
    """Return a method that gives rows one by one."""

    def rows(place: Place | None, self: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Iterator[Any]:
        with kind.sending(place, self, args, kwargs) as sending:
            sending.rows = 0
            for row in original(self, *args, **kwargs):
                sending.rows += 1
                yield row

    @wraps(original)
    def method(self: Any, *args: Any, **kwargs: Any) -> Any:
        place = kind.driver.caller(sys._getframe(1))
        return original(self, *args, **kwargs) if place is OURS else rows(place, self, args, kwargs)

    return method


def async_generator(original: Method, kind: Kind) -> Method:
    """Return a method that gives rows one by one, to `async for`."""

    async def rows(place: Place | None, self: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> AsyncIterator[Any]:
        with kind.sending(place, self, args, kwargs) as sending:
            sending.rows = 0
            async for row in original(self, *args, **kwargs):
                sending.rows += 1
                yield row

    @wraps(original)
    def method(self: Any, *args: Any, **kwargs: Any) -> Any:
        place = kind.driver.caller(sys._getframe(1))
        return original(self, *args, **kwargs) if place is OURS else rows(place, self, args, kwargs)

    return method


def context(original: Method, kind: Kind) -> Method:
    """Return a method for a `with` block, in which the statement is under way: COPY."""

    @contextmanager
    def inside(place: Place | None, self: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Iterator[Any]:
        with kind.sending(place, self, args, kwargs) as sending:
            with original(self, *args, **kwargs) as result:
                yield result
            sending.rows = kind.rows(self, result)

    @wraps(original)
    def method(self: Any, *args: Any, **kwargs: Any) -> Any:
        place = kind.driver.caller(sys._getframe(1))
        return original(self, *args, **kwargs) if place is OURS else inside(place, self, args, kwargs)

    return method


def async_context(original: Method, kind: Kind) -> Method:
    """Return a method for an `async with` block, in which the statement is under way: COPY."""

    @asynccontextmanager
    async def inside(place: Place | None, self: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> AsyncIterator[Any]:
        with kind.sending(place, self, args, kwargs) as sending:
            async with original(self, *args, **kwargs) as result:
                yield result
            sending.rows = kind.rows(self, result)

    @wraps(original)
    def method(self: Any, *args: Any, **kwargs: Any) -> Any:
        place = kind.driver.caller(sys._getframe(1))
        return original(self, *args, **kwargs) if place is OURS else inside(place, self, args, kwargs)

    return method
