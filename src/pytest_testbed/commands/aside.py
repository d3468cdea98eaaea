"""Calls beside each other, none of which anybody has to wait for longer than he wants to."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Generic, TypeVar

__all__ = ["Aside"]

T = TypeVar("T")


class Aside(Generic[T]):
    """A call that has begun, in a thread of its own; one that hangs does not keep the process from ending."""

    def __init__(self, call: Callable[[], T]) -> None:
        self._values: list[T] = []
        self._errors: list[BaseException] = []
        self._call = call
        self._thread = threading.Thread(target=self._run, name="testbed-doctor", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            self._values.append(self._call())
        except BaseException as error:
            self._errors.append(error)

    def result(self, seconds: float) -> T:
        """Return what the call returns.

        Args:
            seconds: for how long it is waited for, from now on.

        Raises:
            TimeoutError: it has not come back by then.
            BaseException: what it has raised.
        """
        self._thread.join(seconds)
        if self._errors:
            raise self._errors[0]
        if not self._values:
            raise TimeoutError(f"no answer within {seconds:g} s")
        return self._values[0]
