"""A visit whose client does not take what it has asked for is in nobody's way; what could not be made is told."""

from __future__ import annotations

import gc
import os
import socket
import weakref
from types import SimpleNamespace
from typing import Any

import pytest

from pytest_testbed.errors import TestbedError
from pytest_testbed.postgres import unseen
from pytest_testbed.postgres.messages import message
from pytest_testbed.postgres.visit import IDLE, UNDO, PostgresVisit
from pytest_testbed.services.board import Board
from pytest_testbed.services.frontdoor import FrontDoor
from pytest_testbed.services.visit import Visit

DOOR: Any = SimpleNamespace(board=SimpleNamespace(messages=0), facts={"through": False})
NOTICE = message(b"A", b"\0\0\0\x01news\0hello\0")
ANSWER = message(b"C", b"ROLLBACK\0") + message(b"Z", IDLE)


class Visited:
    """A visit between two sockets that a test holds."""

    def __init__(self) -> None:
        self.client, theirs = socket.socketpair()
        self.server, upstream = socket.socketpair()
        self.visit = PostgresVisit(DOOR, theirs)
        self.visit.upstream, self.visit._state = upstream, IDLE
        for each in (self.client, self.server):
            each.settimeout(5)

    def close(self) -> None:
        for each in (self.client, self.server, self.visit.client, self.visit.upstream):
            if each is not None:
                each.close()


@pytest.fixture
def visited(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(unseen, "PATIENCE", 0.05)
    visited = Visited()
    yield visited
    visited.close()


def slip_in(visited: Visited) -> bool:
    return visited.visit._slip_in(UNDO, (IDLE,))


def test_the_answer_is_ours_and_the_rest_the_clients(visited: Visited) -> None:
    visited.server.sendall(NOTICE + ANSWER)
    assert slip_in(visited)
    assert visited.server.recv(1000) == UNDO
    assert visited.client.recv(1000) == NOTICE
    assert visited.visit.state() == IDLE


def test_nobody_waits_for_who_is_being_answered(visited: Visited) -> None:
    with visited.visit.hearing:
        assert not slip_in(visited)


def test_an_answer_that_comes_late_is_not_the_clients(visited: Visited) -> None:
    visited.server.sendall(ANSWER[:7])
    assert not slip_in(visited)
    visited.visit._state = IDLE
    assert not slip_in(visited)
    visited.server.sendall(ANSWER[7:] + NOTICE)
    assert visited.visit.upstream is not None
    assert visited.visit.answer(visited.visit.upstream)
    assert visited.client.recv(1000) == NOTICE
    visited.server.sendall(NOTICE)
    assert visited.visit.answer(visited.visit.upstream)
    assert visited.client.recv(1000) == NOTICE


def test_who_is_still_answered_is_not_idle(visited: Visited) -> None:
    """Two statements came at once; after the first answer the second is still to come."""
    upstream = visited.visit.upstream
    assert upstream is not None
    visited.visit.say(message(b"Q", b"SELECT 1\0") * 2)
    visited.server.sendall(ANSWER)
    assert visited.visit.answer(upstream)
    assert visited.visit.state() == b""
    assert not slip_in(visited)
    visited.server.sendall(ANSWER)
    assert visited.visit.answer(upstream)
    assert visited.visit.state() == IDLE


def test_who_could_not_be_asked_stays_idle(visited: Visited) -> None:
    with visited.visit.hearing:
        assert not slip_in(visited)
    assert visited.visit.state() == IDLE


def test_a_backend_that_has_gone(visited: Visited) -> None:
    visited.server.close()
    assert not slip_in(visited)


def test_a_backend_that_hangs_up_instead_of_an_answer(visited: Visited, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unseen, "PATIENCE", 60)
    visited.server.shutdown(socket.SHUT_WR)
    assert not slip_in(visited)


@pytest.mark.parametrize("is_parked", [True, False])
def test_the_end_of_a_backend_is_the_clients_unless_we_gave_it_up(visited: Visited, is_parked: bool) -> None:
    upstream = visited.visit.upstream
    assert upstream is not None
    visited.visit.is_parked = is_parked
    visited.visit.ended(upstream)
    visited.client.settimeout(0.01)
    if is_parked:
        with pytest.raises(TimeoutError):
            visited.client.recv(1)
    else:
        assert visited.client.recv(1) == b""


def test_the_end_of_an_earlier_backend_is_nobodys(visited: Visited) -> None:
    earlier, other = socket.socketpair()
    with earlier, other:
        visited.visit.ended(earlier)
        visited.client.settimeout(0.01)
        with pytest.raises(TimeoutError):
            visited.client.recv(1)


@pytest.mark.parametrize("is_parked", [True, False])
def test_it_comes_back_once(visited: Visited, is_parked: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    came: list[str] = []
    monkeypatch.setattr(visited.visit, "_come_back", lambda: came.append("back"))
    visited.visit.is_parked = is_parked
    visited.visit._return()
    assert len(came) == is_parked


def test_who_leaves_needs_no_backend(visited: Visited) -> None:
    visited.visit.is_parked = True
    with pytest.raises(EOFError):
        visited.visit.say(message(b"X"))


def test_who_is_dismissed_hears_why(visited: Visited) -> None:
    assert visited.visit.dismiss()
    assert b"the test of this connection is over" in visited.client.recv(1000)
    assert visited.client.recv(1000) == b""


def test_a_visit_is_gone_with_the_last_reference_to_it(visited: Visited) -> None:
    """Its sockets are open for as long as it is there: none of its parts may keep it."""
    visit = PostgresVisit(DOOR, visited.client)
    visit.upstream, visit._state = visited.server, IDLE
    assert visit.park()
    seen = weakref.ref(visit)
    gc.disable()
    try:
        del visit
        assert seen() is None
    finally:
        gc.enable()


@pytest.mark.parametrize(("piece", "messages"), [(b"piece", 1), (b"", 0)])
def test_what_is_taken_from_a_client_is_on_its_way_before_that(piece: bytes, messages: int) -> None:
    """Else who looks in between finds it neither with the client nor on its way, and takes it for passed on."""
    board = Board(file := Board.allocate())
    os.close(file)
    seen: list[tuple[str, int]] = []

    def recv(size: int) -> bytes:
        seen.append(("taken", board.on_their_way))
        return piece

    visit: Any = SimpleNamespace(
        door=SimpleNamespace(board=board, stand_in=""),
        client=SimpleNamespace(recv=recv),
        say=lambda piece: seen.append(("said", board.on_their_way)),
    )
    assert Visit.heed(visit) is bool(piece)
    assert seen == [("taken", 1), ("said", 1)][: messages + 1]
    assert (board.messages, board.on_their_way) == (messages, 0)


def test_an_error_of_a_driver_while_something_is_made_is_what_clients_are_told() -> None:
    nothing: Any = None
    spec: Any = SimpleNamespace(visit="", kind="postgres")
    door = FrontDoor(nothing, spec, "run", nothing, nothing, {})

    def make() -> None:
        raise LookupError("no room")

    for _ in range(2):
        with pytest.raises(TestbedError, match="it was not made: LookupError: no room"):
            door.await_made(make)
