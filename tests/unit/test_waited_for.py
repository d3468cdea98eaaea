"""Whoever waits at the front door is told, whatever has happened to who was about to make what they wait for."""

from __future__ import annotations

from typing import Any

import pytest

from pytest_testbed.postgres.database import waited_for


class Door:
    """A doorway at which one step fails."""

    def __init__(self, fails_at: str = "") -> None:
        self.fails_at = fails_at
        self.told: list[str] = []

    def begin_to_make(self) -> bool:
        return bool(self.step("begin_to_make"))

    def visits(self, what: str) -> list[int]:
        self.step(what)
        return []

    def made(self, fault: str = "") -> None:
        self.told.append(fault)

    def step(self, name: str) -> bool:
        if name == self.fails_at:
            raise KeyboardInterrupt
        return True


@pytest.mark.parametrize("step", ["begin_to_make", "park"])
def test_an_interrupt_before_anything_was_made(step: str) -> None:
    door: Any = Door(step)
    with pytest.raises(KeyboardInterrupt), waited_for(door):
        pass
    assert door.told == ["its database could not be made."]


def test_in_order() -> None:
    door: Any = Door()
    with waited_for(door) as there:
        assert there
    assert door.told == [""]
