"""A visit at a broker's front door, between a client and a broker that are played: what each is told, byte by byte."""

from __future__ import annotations

import socket
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import nullcontext, suppress
from types import SimpleNamespace
from typing import Any

import pytest

from pytest_testbed.errors import TestbedError
from pytest_testbed.rabbitmq.frames import CLOSE, CLOSE_OK, HEADER, START, START_OK, TUNE, frame_size, method_of
from pytest_testbed.rabbitmq.visit import RabbitVisit
from pytest_testbed.services.board import Board
from pytest_testbed.services.model import Endpoint

SECURE, SECURE_OK, TUNE_OK, OPEN, OPEN_OK = (10, 20), (10, 21), (10, 31), (10, 40), (10, 41)
HEARTBEAT = b"\x08\0\0\0\0\0\0\xce"
DEADLINE = 5.0


def frame(method: tuple[int, int], arguments: bytes = b"", channel: int = 0) -> bytes:
    payload = struct.pack(">HH", *method) + arguments
    return struct.pack(">BHI", 1, channel, len(payload)) + payload + b"\xce"


def body(size: int, channel: int = 1) -> bytes:
    return struct.pack(">BHI", 3, channel, size) + b"x" * size + b"\xce"


def login(user: str, password: str) -> bytes:
    response = b"\0".join([b"", user.encode(), password.encode()])
    return frame(START_OK, b"\0\0\0\0\x05PLAIN" + struct.pack(">I", len(response)) + response + b"\x05en_US")


def opening(vhost: str) -> bytes:
    return frame(OPEN, bytes([len(vhost)]) + vhost.encode() + b"\0\0")


class End:
    """One end of a connection, with a deadline for all that it waits for."""

    def __init__(self, connection: socket.socket) -> None:
        self.socket = connection
        connection.settimeout(DEADLINE)

    def says(self, *pieces: bytes) -> None:
        for piece in pieces:
            self.socket.sendall(piece)

    def hears(self, *wanted: bytes) -> None:
        for each in wanted:
            assert self.exactly(len(each)) == each

    def exactly(self, size: int) -> bytes:
        data = b""
        while len(data) < size:
            piece = self.socket.recv(size - len(data))
            assert piece, f"hung up after {data!r}"
            data += piece
        return data

    def frame(self) -> bytes:
        head = self.exactly(7)
        return head + self.exactly(frame_size(head) - 7)

    def hears_end(self) -> None:
        assert self.socket.recv(1) == b""


class Stage:
    """A visit, its client and its broker."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._listener.settimeout(DEADLINE)
        self.endpoint = Endpoint(
            kind="rabbitmq", host="127.0.0.1", port=self._listener.getsockname()[1], user="broker's", password="own"
        )
        self.made: list[str] = []
        self.fault: Exception | None = None
        stock = SimpleNamespace(ensure=self._make, under_way=nullcontext)
        self.door: Any = SimpleNamespace(
            host=SimpleNamespace(stock=lambda kind, run: stock),
            spec=SimpleNamespace(kind="rabbitmq"),
            run="run",
            board=Board(Board.allocate()),
            facts={"user": "given", "password": "away", "vhost": "the worker's"},
            stand_in="",
            endpoint=lambda: self.endpoint,
            leave=lambda visit: None,
        )
        # by TCP: a pair of Unix sockets tells of its end in another way
        self.client = End(socket.create_connection(self._listener.getsockname()))
        self._far, _ = self._listener.accept()
        self._far.settimeout(None)
        self.visit = RabbitVisit(self.door, self._far)
        self._thread = threading.Thread(target=self.visit.run, daemon=True)

    def _make(self, vhost: str) -> None:
        if self.fault is not None:
            raise self.fault
        self.made.append(vhost)

    def begin(self) -> End:
        """Let the visit begin; return the broker's end."""
        self._thread.start()
        self.client.says(HEADER)
        connection, _ = self._listener.accept()
        self.broker = End(connection)
        self.broker.hears(HEADER)
        return self.broker

    def log_in(self) -> End:
        """Let the client come in; return the broker's end."""
        broker, client = self.begin(), self.client
        broker.says(frame(START))
        client.hears(frame(START))
        client.says(login("given", "away"))
        broker.hears(login("broker's", "own"))
        broker.says(frame(TUNE, b"\0" * 8))
        client.hears(frame(TUNE, b"\0" * 8))
        client.says(frame(TUNE_OK, b"\0" * 8), opening("/"))
        broker.hears(frame(TUNE_OK, b"\0" * 8), opening("the worker's"))
        broker.says(frame(OPEN_OK, b"\0"))
        client.hears(frame(OPEN_OK, b"\0"))
        return broker

    def ends(self) -> None:
        """Wait until the visit is over."""
        self._thread.join(DEADLINE)
        assert not self._thread.is_alive()

    def close(self) -> None:
        self.visit.cut()
        for end in (self.client, getattr(self, "broker", self.client)):
            end.socket.close()
        self._listener.close()
        if self._thread.ident is not None:
            self.ends()
        self._far.close()
        if self.visit.upstream is not None:
            self.visit.upstream.close()


@pytest.fixture
def stage() -> Iterator[Stage]:
    stage = Stage()
    yield stage
    stage.close()


# --- coming in


def test_the_login_is_the_brokers_and_the_virtual_host_the_workers(stage: Stage) -> None:
    stage.log_in()
    assert stage.made == ["the worker's"]


def test_what_is_asked_in_between_is_answered(stage: Stage) -> None:
    """A challenge to the login, heartbeats before a virtual host is named."""
    broker, client = stage.begin(), stage.client
    broker.says(frame(START))
    client.hears(frame(START))
    client.says(login("given", "away"))
    broker.hears(login("broker's", "own"))
    for number in (b"1", b"2"):
        broker.says(frame(SECURE, number))
        client.hears(frame(SECURE, number))
        client.says(frame(SECURE_OK, number))
        broker.hears(frame(SECURE_OK, number))
    broker.says(frame(TUNE, b"\0" * 8))
    client.hears(frame(TUNE, b"\0" * 8))
    client.says(frame(TUNE_OK, b"\0" * 8), HEARTBEAT, HEARTBEAT, opening(""))
    broker.hears(frame(TUNE_OK, b"\0" * 8), HEARTBEAT, HEARTBEAT, opening("the worker's"))


def test_what_is_said_piece_by_piece(stage: Stage) -> None:
    broker, client = stage.begin(), stage.client
    broker.says(*(bytes([each]) for each in frame(START)))
    client.hears(frame(START))
    client.says(*(bytes([each]) for each in login("given", "away")))
    broker.hears(login("broker's", "own"))


@pytest.mark.parametrize("close", [frame(CLOSE, b"\0" * 7), body(3, channel=0)], ids=["close", "body"])
def test_who_does_not_name_a_virtual_host_is_answered(stage: Stage, close: bytes) -> None:
    broker, client = stage.begin(), stage.client
    broker.says(frame(START))
    client.hears(frame(START))
    client.says(login("given", "away"))
    broker.hears(login("broker's", "own"))
    broker.says(frame(TUNE, b"\0" * 8))
    client.hears(frame(TUNE, b"\0" * 8))
    client.says(close)
    broker.hears(close)
    broker.says(frame(CLOSE_OK))
    if close == frame(CLOSE, b"\0" * 7):
        client.hears(frame(CLOSE_OK))


def test_a_refused_login(stage: Stage) -> None:
    """The broker closes the connection in place of tuning it."""
    broker, client = stage.begin(), stage.client
    broker.says(frame(START))
    client.hears(frame(START))
    client.says(login("given", "wrong"))
    broker.hears(login("given", "wrong"))
    broker.says(frame(CLOSE, b"\x01\x93"))
    client.hears(frame(CLOSE, b"\x01\x93"))
    client.says(frame(CLOSE_OK))
    broker.hears(frame(CLOSE_OK))
    broker.socket.close()
    client.hears_end()
    stage.ends()


@pytest.mark.parametrize("nonsense", [b"\xff" * 20, b"\x01\0\0\xff\xff\xff\xff" + b"\0" * 10], ids=["bytes", "endless"])
@pytest.mark.parametrize("whose", ["client", "broker"])
def test_nonsense_is_passed_on_as_it_is(stage: Stage, nonsense: bytes, whose: str) -> None:
    broker, client = stage.begin(), stage.client
    if whose == "broker":
        broker.says(nonsense)
        client.hears(nonsense)
    else:
        broker.says(frame(START))
        client.hears(frame(START))
        client.says(nonsense)
        broker.hears(nonsense)
    broker.says(b"what?")
    client.hears(b"what?")
    client.says(b"that")
    broker.hears(b"that")
    broker.socket.close()
    client.hears_end()
    stage.ends()


def test_another_protocol_is_passed_on_as_it_is(stage: Stage) -> None:
    stage._thread.start()
    stage.client.says(b"AMQP\0\1\0\0")
    connection, _ = stage._listener.accept()
    stage.broker = broker = End(connection)
    broker.hears(b"AMQP\0\1\0\0")
    broker.says(b"AMQP\0\1\0\0")
    stage.client.hears(b"AMQP\0\1\0\0")
    stage.client.socket.close()
    broker.hears_end()


@pytest.mark.parametrize("words", [b"", b"AMQ", HEADER])
def test_who_hangs_up_on_the_way_in(stage: Stage, words: bytes) -> None:
    if words == HEADER:
        broker = stage.begin()
        broker.says(frame(START))
        stage.client.hears(frame(START))
    else:
        stage._thread.start()
        stage.client.says(words)
    stage.client.socket.close()
    stage.ends()
    assert stage.door.board.messages == (words == HEADER)
    assert stage.door.board.on_their_way == 0


def test_a_broker_that_hangs_up_on_the_way_in(stage: Stage) -> None:
    broker = stage.begin()
    broker.socket.close()
    stage.client.hears_end()
    stage.ends()


@pytest.mark.parametrize("words", ["there is none", "ö" * 400])
def test_why_nobody_is_let_in(stage: Stage, words: str) -> None:
    """In AMQP's words, of which there is room for 255 bytes."""
    stage.fault = TestbedError(words)
    stage._thread.start()
    stage.client.says(HEADER)
    told = stage.client.frame()
    assert method_of(told) == CLOSE
    assert struct.unpack_from(">H", told, 11) == (541,)
    assert told[14 : 14 + told[13]].decode() == words[:127]
    stage.client.hears_end()
    stage.ends()


def test_a_broker_that_cannot_be_reached(stage: Stage) -> None:
    stage.endpoint = stage.endpoint.with_(port=1)
    stage._thread.start()
    stage.client.says(HEADER)
    assert b"refused" in stage.client.frame()
    stage.client.hears_end()
    stage.ends()


# --- asking whether all is done

CHANNEL_OPEN, FLOW, FLOW_OK, PUBLISH = (20, 10), (20, 20), (20, 21), (60, 40)


def asks(channel: int) -> bytes:
    return frame(FLOW, b"\1", channel)


def test_a_question_and_its_answer_are_unseen_by_the_client(stage: Stage) -> None:
    broker, client, visit = stage.log_in(), stage.client, stage.visit
    client.says(frame(CHANNEL_OPEN, b"\0", 3), frame((50, 10), b"\0" * 9, 3))
    broker.hears(frame(CHANNEL_OPEN, b"\0", 3), frame((50, 10), b"\0" * 9, 3))
    visit.inquire()
    broker.hears(asks(3))
    waiting = threading.Thread(target=visit.await_answer)
    waiting.start()
    broker.says(body(5, 3), frame(FLOW_OK, b"\1", 3), body(6, 3))
    client.hears(body(5, 3), body(6, 3))
    waiting.join(DEADLINE)
    visit.inquire()  # it has said nothing since
    client.says(HEARTBEAT)
    broker.hears(HEARTBEAT)


def test_nothing_is_asked_where_something_is_half_said(stage: Stage) -> None:
    broker, client = stage.log_in(), stage.client
    half = frame(CHANNEL_OPEN, b"\0", 1), frame(CHANNEL_OPEN, b"\0", 2), frame(PUBLISH, b"\0" * 5, 1)
    client.says(*half)
    broker.hears(*half)
    stage.visit.inquire()
    broker.hears(asks(2))
    declaration = frame((50, 10), b"\0" * 90, 2)
    client.says(declaration[:50])
    broker.hears(declaration[:50])
    broker.says(frame(FLOW_OK, b"\1", 2), body(1))
    client.hears(body(1))
    stage.visit.inquire()
    client.says(declaration[50:])
    broker.hears(declaration[50:])


def test_nobody_waits_long_for_an_answer(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pytest_testbed.rabbitmq.visit.ANSWER_SECONDS", 0.3)
    broker, client = stage.log_in(), stage.client
    client.says(frame(CHANNEL_OPEN, b"\0", 1))
    broker.hears(frame(CHANNEL_OPEN, b"\0", 1))
    stage.visit.inquire()
    began = time.monotonic()
    stage.visit.await_answer()
    assert 0.2 < time.monotonic() - began < 30
    broker.says(frame(FLOW_OK, b"\1", 1), body(5))
    client.hears(body(5))


@pytest.mark.parametrize("is_waited_for", [True, False])
def test_a_broker_that_takes_nothing_is_not_asked(stage: Stage, is_waited_for: bool) -> None:
    """It would have to be waited for, as the client's own thread perhaps does by now."""
    broker, opens = stage.log_in(), frame(CHANNEL_OPEN, b"\0", 1)
    stage.client.says(opens)
    broker.hears(opens)
    if is_waited_for:
        stage.client.socket.settimeout(0.3)
        with pytest.raises(TimeoutError):
            while True:
                stage.client.says(body(100_000))
    else:
        assert stage.visit.upstream is not None
        with suppress(BlockingIOError):
            while True:
                stage.visit.upstream.send(body(100_000), socket.MSG_DONTWAIT)
    asking = threading.Thread(target=stage.visit.inquire, daemon=True)
    asking.start()
    asking.join(1)
    assert not asking.is_alive()


# --- leaving


def is_told_to_leave(said: bytes) -> bool:
    return method_of(said) == CLOSE and b"the test is over in which this connection was opened" in said


def test_leave_is_taken_of_the_broker_for_who_hangs_up_without_a_word(stage: Stage) -> None:
    broker = stage.log_in()
    stage.client.socket.close()
    assert is_told_to_leave(broker.frame())
    assert not stage.visit._gone.is_set()
    broker.says(body(5), frame((60, 60), b"x" * 9, channel=1), frame(CLOSE_OK))
    stage.ends()
    assert stage.visit._gone.is_set()
    broker.hears_end()


@pytest.mark.parametrize("whose", ["client", "broker"])
def test_who_has_closed_the_connection_in_amqps_words_is_left_at_that(stage: Stage, whose: str) -> None:
    broker, client = stage.log_in(), stage.client
    one, other = (client, broker) if whose == "client" else (broker, client)
    one.says(frame(CLOSE, b"\0\xc8\0\0\0\0\0"))
    other.hears(frame(CLOSE, b"\0\xc8\0\0\0\0\0"))
    other.says(frame(CLOSE_OK))
    one.hears(frame(CLOSE_OK))
    client.socket.close()
    broker.hears_end()
    stage.ends()


def test_who_is_dismissed_is_told_and_the_broker_too(stage: Stage) -> None:
    broker = stage.log_in()
    stage.visit.dismiss()
    assert is_told_to_leave(broker.frame())
    assert is_told_to_leave(stage.client.frame())
    broker.says(frame(CLOSE_OK))
    stage.visit.await_end()
    stage.client.hears_end()
    stage.ends()


def test_who_is_dismissed_in_the_midst_of_a_frame_may_finish_it(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """Behind half a frame the broker would understand nothing."""
    broker, client = stage.log_in(), stage.client
    say, goes_on = stage.visit.say, threading.Event()

    def say_and_wait(piece: bytes) -> None:
        say(piece)
        goes_on.wait(DEADLINE)

    monkeypatch.setattr(stage.visit, "say", say_and_wait)
    client.says(body(100_000)[:1000])
    broker.hears(body(100_000)[:1000])
    client.says(body(100_000)[1000:] + body(50))
    stage.visit.dismiss()
    goes_on.set()
    broker.hears(body(100_000)[1000:])
    assert is_told_to_leave(broker.frame())
    broker.says(frame(CLOSE_OK))
    stage.ends()


def test_who_is_dismissed_and_does_not_finish_a_frame(stage: Stage) -> None:
    broker, client = stage.log_in(), stage.client
    client.says(body(100)[:50])
    broker.hears(body(100)[:50])
    stage.visit.dismiss()
    broker.hears_end()
    broker.socket.close()
    stage.visit.await_end()
    stage.ends()


def test_a_client_that_is_in_the_midst_of_hearing_a_frame_is_told_nothing(stage: Stage) -> None:
    """It would take the words for the frame's."""
    broker, client = stage.log_in(), stage.client
    broker.says(body(100)[:50])
    client.hears(body(100)[:50])
    stage.visit.dismiss()
    assert is_told_to_leave(broker.frame())
    broker.says(body(100)[50:], frame(CLOSE_OK))
    client.hears_end()
    stage.ends()


def test_a_broker_that_does_not_let_go(stage: Stage) -> None:
    """It is not waited for beyond a second."""
    stage.log_in()
    stage.visit.dismiss()
    began = time.monotonic()
    stage.visit.await_end()
    assert 0.9 < time.monotonic() - began < 2
    stage.ends()


def test_a_client_that_does_not_listen_is_not_waited_for(stage: Stage) -> None:
    broker = stage.log_in()
    broker.socket.settimeout(0.3)
    with pytest.raises(TimeoutError):  # until the door waits for the client
        while True:
            broker.says(body(100_000))
    broker.socket.settimeout(DEADLINE)
    stage.visit.dismiss()
    began = time.monotonic()
    ended = threading.Thread(target=stage.visit.await_end)
    ended.start()
    assert is_told_to_leave(broker.frame())
    broker.socket.close()
    ended.join(DEADLINE)
    assert time.monotonic() - began < 1
    stage.ends()


def test_a_visit_that_is_still_on_its_way_in_can_be_dismissed(stage: Stage) -> None:
    stage._thread.start()
    stage.client.says(b"AM")
    stage.visit.dismiss()
    stage.visit.await_end()
    stage.ends()


def test_the_end_of_the_door_waits_for_no_broker(stage: Stage) -> None:
    stage.log_in()
    began = time.monotonic()
    stage.visit.cut()
    stage.ends()
    assert time.monotonic() - began < 0.5
