"""Questions of ours on a client's channels: asked where nothing is half said, and their answers are not the client's."""

from __future__ import annotations

import random
import struct

import pytest

from pytest_testbed.rabbitmq.channels import Channels, Questions
from pytest_testbed.rabbitmq.frames import Track

OPEN, FLOW, FLOW_OK, CLOSE, CLOSE_OK = (20, 10), (20, 20), (20, 21), (20, 40), (20, 41)
PUBLISH, DELIVER, GET_EMPTY = (60, 40), (60, 60), (60, 72)
HEARTBEAT = b"\x08\0\0\0\0\0\0\xce"


def frame(kind: int, channel: int, payload: bytes) -> bytes:
    return struct.pack(">BHI", kind, channel, len(payload)) + payload + b"\xce"


def method(which: tuple[int, int], channel: int = 1, arguments: bytes = b"") -> bytes:
    return frame(1, channel, struct.pack(">HH", *which) + arguments)


def header(size: int, channel: int = 1) -> bytes:
    return frame(2, channel, struct.pack(">HHQH", 60, 0, size, 0))


def body(size: int, channel: int = 1) -> bytes:
    return frame(3, channel, b"x" * size)


def flow_ok(channel: int = 1) -> bytes:
    return method(FLOW_OK, channel, b"\1")


class Client:
    """What a client has said."""

    def __init__(self) -> None:
        self._channels = Channels()
        self._track = Track(self._channels.note)

    def idle_after(self, data: bytes, size: int) -> list[int]:
        for at in range(0, len(data), size):
            self._track.follow(data[at : at + size])
        return self._channels.idle


@pytest.mark.parametrize("size", [1, 3, 19, 1 << 20])
def test_where_nothing_is_half_said(size: int) -> None:
    client = Client()

    def idle_after(*said: bytes) -> list[int]:
        return client.idle_after(b"".join(said), size)

    assert idle_after(method((10, 40), 0, b"\0\0\0"), method(OPEN, 1), method(OPEN, 2), HEARTBEAT) == [1, 2]
    assert idle_after(method(PUBLISH, 1, b"\0" * 5)) == [2]
    assert idle_after(method((50, 10), 2, b"\0" * 9)) == [2]
    assert idle_after(header(30, 1)) == [2]
    assert idle_after(body(10, 1), body(19, 1)) == [2]
    assert idle_after(body(1, 1)) == [1, 2]
    assert idle_after(method(PUBLISH, 2, b"\0" * 5), header(0, 2)) == [1, 2]
    assert idle_after(method(CLOSE, 1, b"\0" * 7)) == [2]
    assert idle_after(method(CLOSE_OK, 2)) == []
    assert idle_after(method(PUBLISH, 7, b"\0" * 5), header(3, 7), body(3, 7)) == []
    assert idle_after(method(OPEN, 1)) == [1]


class Told:
    """What a client is told of what a broker says."""

    def __init__(self) -> None:
        self.track = Track()
        self.questions = Questions(self.track)

    def of(self, data: bytes, pieces: random.Random | None = None) -> bytes:
        told, at = b"", 0
        while at < len(data):
            piece = data[at : at + (pieces.randrange(1, 30) if pieces is not None else len(data))]
            told += self.questions.sift(piece)
            at += len(piece)
        return told


def test_what_is_asked() -> None:
    told = Told()
    assert not told.questions
    assert told.questions.await_answers(0)
    assert told.questions.ask([1, 258]) == method(FLOW, 1, b"\1") + method(FLOW, 258, b"\1")
    assert told.questions.ask([1, 3]) == method(FLOW, 3, b"\1")
    assert not told.questions.await_answers(0)
    assert told.of(flow_ok(3) + flow_ok(1)) == b""
    assert told.questions
    assert not told.questions.await_answers(0)
    assert told.of(flow_ok(258)) == b""
    assert told.questions.await_answers(0)
    assert not told.questions
    told.questions.ask([1])
    assert not told.questions.await_answers(0)


def test_nothing_else_is_kept_from_the_client() -> None:
    """In whatever pieces it comes; not an answer that it has asked for itself, nor what only looks like one."""
    chance = random.Random(3)
    others = [
        method(DELIVER, 1, b"\0" * 20),
        header(13),
        frame(3, 1, flow_ok(1)),
        body(3000),
        method(GET_EMPTY, 1, b"\0"),
        method(CLOSE_OK, 1),
        method((60, 21), 258, b"\0"),
        HEARTBEAT,
        flow_ok(9),
    ]
    for _ in range(500):
        told = Told()
        told.questions.ask([1, 2, 258])
        said = chance.choices(others, k=chance.randrange(2, 12))
        mixed = list(said)
        for channel in (1, 2, 258):
            mixed.insert(chance.randrange(len(mixed) + 1), flow_ok(channel))
        assert told.of(b"".join(mixed), chance) == b"".join(said)
        assert not told.questions
        assert (told.track.missing, told.track.is_lost) == (0, False)


@pytest.mark.parametrize("short", [method(CLOSE_OK, 1), HEARTBEAT, method(GET_EMPTY, 1, b"\0")])
def test_a_whole_frame_is_never_held_back(short: bytes) -> None:
    """The client waits for it."""
    told = Told()
    told.questions.ask([1])
    assert told.of(short) == short
    assert told.of(flow_ok()[:12]) == b""
    assert told.of(flow_ok()[12:] + short) == short


def test_who_is_in_the_midst_of_hearing_a_frame_when_something_is_asked() -> None:
    told = Told()
    said = body(500)
    told.track.follow(said[:100])
    told.questions.ask([1])
    assert told.of(said[100:] + flow_ok() + said) == said[100:] + said


def test_a_channel_that_the_broker_closes_gives_no_answer() -> None:
    told = Told()
    told.questions.ask([1, 2])
    closes = method(CLOSE, 1, b"\x01\x94\x00\0\0\0\0")
    assert told.of(closes + flow_ok(2)) == closes
    assert told.questions.await_answers(0)


def test_an_answer_that_comes_late_is_ours_all_the_same() -> None:
    told = Told()
    told.questions.ask([1])
    assert not told.questions.await_answers(0.01)
    assert told.of(flow_ok() + HEARTBEAT) == HEARTBEAT
    assert told.of(flow_ok()) == flow_ok()


def test_what_is_no_frame_is_passed_on() -> None:
    told = Told()
    told.questions.ask([1])
    assert told.of(b"\xff" * 100) == b"\xff" * 100
