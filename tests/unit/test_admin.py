"""What is done where the server cannot be reached: waited for, asked about, told of."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from pytest_testbed.errors import ServiceDied, ServiceUnavailable
from pytest_testbed.postgres.admin import TRIES, Admin


class OperationalError(Exception):
    """Is known by its name: each driver has its own."""


class Services:
    """The engine's face."""

    def __init__(self, end: str = "") -> None:
        self.end, self.asked = end, 0

    def endpoint(self, kind: str) -> Any:
        return SimpleNamespace(host="nowhere.invalid", port=5432, provider="external", source="a test", kind=kind)

    def check(self, kind: str) -> tuple[str, str]:
        self.asked += 1
        return self.end, "one\ntwo"


def failing(*errors: Exception) -> Callable[[], str]:
    left = list(errors)

    def attempt() -> str:
        if left:
            raise left.pop(0)
        return "reached"

    return attempt


def admin(services: Services) -> Admin:
    face: Any = services
    return Admin(face)


@pytest.mark.parametrize("text", ["the database system is starting up", "the database system is in recovery mode"])
def test_a_server_that_starts_is_waited_for(text: str) -> None:
    services = Services()
    assert admin(services).reach(failing(*[OperationalError(text)] * (TRIES + 3))) == "reached"
    assert services.asked == 0


def test_a_server_that_runs_is_tried_again() -> None:
    services = Services()
    assert admin(services).reach(failing(*[OperationalError("refused")] * (TRIES - 1))) == "reached"
    assert services.asked == TRIES - 1


def test_a_server_that_runs_and_cannot_be_reached_is_told_of() -> None:
    with pytest.raises(ServiceUnavailable, match=r"nowhere\.invalid:5432 \(external, a test\) cannot be reached: refused"):
        admin(Services()).reach(failing(*[OperationalError("refused")] * TRIES))


def test_a_server_that_has_died_is_told_of_with_its_last_lines() -> None:
    dead = admin(Services("killed by signal 9"))
    with pytest.raises(ServiceDied, match=r"(?s)killed by signal 9.*\n    one\n    two"):
        dead.reach(failing(OperationalError("refused")))
    assert dead.lost


def test_another_error_is_the_callers() -> None:
    services = Services()
    with pytest.raises(KeyError):
        admin(services).reach(failing(KeyError("x")))
    assert services.asked == 0
