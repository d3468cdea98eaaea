"""Waiting for a server, on a clock of the tests' own."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from pytest_testbed import Endpoint, ServiceNotReady
from pytest_testbed.services.model import GiveUp, LogMark
from pytest_testbed.services.readiness import wait_until_ready


class Server:
    """A server whose life is said beforehand."""

    patience: float | None = None
    endpoint = Endpoint(kind="thing", host="h", port=1, provider="fake", source="nowhere")

    def __init__(self, end: str | None = None, *, mendable: bool = False) -> None:
        self.end = end
        self.mendable = mendable

    def exited(self) -> str | None:
        return self.end

    def logs(self, lines: int = 50, since: LogMark | None = None) -> str:
        return "its last words"

    def mend(self) -> bool:
        mended, self.mendable = self.mendable, False
        if mended:
            self.end = None
        return mended

    def restart(self) -> bool:
        return True

    def stop(self) -> None:
        pass


class Clock:
    """A clock that moves when somebody sleeps."""

    def __init__(self) -> None:
        self.now = 100.0
        self.pauses: list[float] = []

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)
        self.now += seconds


def wait(server: Server, probe: Callable[[float], str], timeout: float = 1.0) -> tuple[str, Clock]:
    clock = Clock()
    return wait_until_ready(server, probe, timeout, clock=clock, sleep=clock.sleep), clock


def test_first_answer_ends_the_wait_and_pauses_are_short() -> None:
    answers = iter([OSError("no"), OSError("no"), "17.2"])

    def probe(seconds: float) -> str:
        answer = next(answers)
        if isinstance(answer, OSError):
            raise answer
        return answer

    version, clock = wait(Server(), probe)
    assert version == "17.2"
    assert clock.pauses == pytest.approx([0.001, 0.0012])


def refuse(error: Exception) -> Callable[[float], str]:
    def probe(seconds: float) -> str:
        raise error

    return probe


def test_deadline_tells_the_last_error_and_the_log() -> None:
    with pytest.raises(ServiceNotReady) as caught:
        wait(Server(), refuse(OSError("connection\nrefused")), 0.5)
    text = str(caught.value)
    assert "thing (fake, nowhere) was not ready within 0.5 s; the last try said: connection refused" in text
    assert text.endswith("    its last words")


def test_exit_ends_the_wait_at_once() -> None:
    clock = Clock()
    with pytest.raises(ServiceNotReady, match=r"ended while it was starting: exit code 1\."):
        wait_until_ready(Server("exit code 1"), refuse(OSError("no")), 60, clock=clock, sleep=clock.sleep)
    assert clock.pauses == []


def test_exit_that_can_be_mended_is_waited_out() -> None:
    answers = iter(["", "17.2"])

    def probe(seconds: float) -> str:
        return next(answers) or refuse(OSError("no"))(seconds)

    assert wait(Server("exit code 1", mendable=True), probe)[0] == "17.2"


def test_hopeless_probe_ends_the_wait_at_once() -> None:
    clock = Clock()
    with pytest.raises(ServiceNotReady, match="cannot be used: wrong password"):
        wait_until_ready(Server(), refuse(GiveUp("wrong password")), 60, clock=clock, sleep=clock.sleep)
    assert clock.pauses == []


def test_one_try_gets_no_more_time_than_is_left() -> None:
    given: list[float] = []

    def probe(seconds: float) -> str:
        given.append(seconds)
        raise OSError("no")

    with pytest.raises(ServiceNotReady):
        wait(Server(), probe, 0.5)
    assert max(given) == 0.5
