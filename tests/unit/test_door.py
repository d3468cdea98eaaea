"""The front door goes on where a client cannot be served."""

from __future__ import annotations

import _socket
import socket
import threading
import traceback
from types import SimpleNamespace
from typing import Any

import pytest

from pytest_testbed.errors import TestbedError
from pytest_testbed.services import frontdoor
from pytest_testbed.services.frontdoor import FrontDoor

NOTHING: Any = None
BOARD: Any = SimpleNamespace(note_visits=lambda count: None)
SPEC: Any = SimpleNamespace(visit="", kind="kind")


class Guest:
    """A visit that says a word."""

    def __init__(self, door: FrontDoor, client: socket.socket) -> None:
        self.client = client

    def cut(self) -> bool:
        return True

    def run(self) -> None:
        self.client.sendall(b"in")
        self.client.close()


def test_who_gets_no_thread_is_sent_away_and_the_next_is_let_in(monkeypatch: pytest.MonkeyPatch) -> None:
    fails = iter([True, False])

    class Thread(threading.Thread):
        def start(self) -> None:
            if next(fails):
                raise RuntimeError("can't start new thread")
            super().start()

    listener = _socket.socket(_socket.AF_INET, _socket.SOCK_STREAM)
    listener.bind(("127.0.0.1", 0))
    listener.listen(5)
    door = FrontDoor(NOTHING, SPEC, "run", listener, BOARD, {})
    door._visit = Guest  # type: ignore[assignment]
    serving = threading.Thread(target=door.serve)
    serving.start()
    monkeypatch.setattr(frontdoor, "threading", SimpleNamespace(Thread=Thread))
    try:
        for word in (b"", b"in"):
            with socket.create_connection(listener.getsockname(), 5) as client:
                assert client.recv(10) == word
        assert len(door.visits) == 1
    finally:
        door.visits.clear()
        door.close()
        serving.join(5)
    assert not serving.is_alive()


def test_an_error_that_many_meet_keeps_nothing_of_them() -> None:
    done = threading.Event()
    done.set()
    slot = SimpleNamespace(done=done, error=TestbedError("there is none"), endpoint=None)
    host: Any = SimpleNamespace(start=lambda spec, run: slot)
    door = FrontDoor(host, SPEC, "run", NOTHING, NOTHING, {})
    frames = []
    for _ in range(3):
        with pytest.raises(TestbedError, match="there is none"):
            door.endpoint()
        frames.append(len(traceback.extract_tb(slot.error.__traceback__)))
    assert frames[0] == frames[2]
