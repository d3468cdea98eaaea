"""What the host process knows of the pytest process whose database it has made."""

from __future__ import annotations

from typing import Any

import pytest

from pytest_testbed.errors import HostError
from pytest_testbed.postgres.making import _surroundings


class Witness:
    """Stands for the pytest process at the other end of a wire."""

    def __init__(self, words: object, *, has_closed: bool = False) -> None:
        self._words, self._has_closed = words, has_closed

    def send(self, request: object) -> None:
        if self._has_closed:
            raise HostError("it has gone")

    def waiting(self, timeout: float) -> bool:
        return self._words is not None

    def receive(self) -> object:
        if isinstance(self._words, Exception):
            raise self._words
        return self._words


@pytest.mark.parametrize(
    ("witness", "found"),
    [
        (None, {}),
        (Witness({"cwd": "/"}), {"cwd": "/"}),
        (Witness({"cwd": "/last"}, has_closed=True), {"cwd": "/last"}),
        (Witness(None), {}),
        (Witness(EOFError()), {}),
    ],
    ids=["nobody", "an answer", "last words", "no answer", "an end"],
)
def test_what_it_says(witness: Witness | None, found: dict[str, str]) -> None:
    door: Any = type("Door", (), {"witness": witness})
    assert _surroundings(door) == found
