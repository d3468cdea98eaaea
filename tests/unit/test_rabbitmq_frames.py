"""AMQP's frames as a login needs them: whatever a client may say, what is not ours is passed on as it is."""

from __future__ import annotations

import random
import struct

import pytest

from pytest_testbed.rabbitmq.frames import (
    CLOSE,
    CLOSE_OK,
    OPEN,
    START,
    START_OK,
    TUNE,
    TUNE_OK,
    Refused,
    Track,
    closing,
    frame_size,
    login,
    method_of,
    opened,
    plain_login,
    server_version,
    with_login,
    with_vhost,
)

WAS, THEN = ("given", "away"), ("broker's", "öwn")
OPEN_OK = (10, 41)


def long(data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + data


def short(data: bytes) -> bytes:
    return bytes([len(data)]) + data


def frame(method: tuple[int, int], arguments: bytes = b"", channel: int = 0) -> bytes:
    payload = struct.pack(">HH", *method) + arguments
    return struct.pack(">BH", 1, channel) + long(payload) + b"\xce"


PROPERTIES = short(b"product") + b"S" + long(b"PLAIN") + short(b"capabilities") + b"F" + long(short(b"x") + b"t\x01")


def start_ok(mechanism: bytes, response: bytes) -> bytes:
    return frame(START_OK, long(PROPERTIES) + short(mechanism) + long(response) + short(b"en_US"))


def table(**texts: str) -> bytes:
    return b"".join(short(name.encode()) + b"S" + long(text.encode()) for name, text in texts.items())


# --- the login

OURS = start_ok(b"PLAIN", b"\0broker's\0" + "öwn".encode())


@pytest.mark.parametrize(
    ("mechanism", "response"),
    [
        (b"PLAIN", b"\0given\0away"),
        (b"PLAIN", b"given\0given\0away"),
        (b"AMQPLAIN", table(LOGIN="given", PASSWORD="away")),
        (b"AMQPLAIN", table(PASSWORD="away", more="", LOGIN="given")),
        (b"AMQPLAIN", table(LOGIN="given", PASSWORD="away") + short(b"number") + b"I\0\0\0\1"),
    ],
)
def test_the_exported_login_becomes_the_brokers(mechanism: bytes, response: bytes) -> None:
    """What else the client has said of itself stays."""
    assert with_login(start_ok(mechanism, response), WAS, THEN) == OURS


@pytest.mark.parametrize(
    ("mechanism", "response"),
    [
        (b"PLAIN", b"\0given\0other"),
        (b"PLAIN", b"\0other\0away"),
        (b"PLAIN", b"\0given\0away\0"),
        (b"PLAIN", b"given\0away"),
        (b"PLAIN", b"\0given\0\xff\xfe"),
        (b"PLAIN", b""),
        (b"AMQPLAIN", table(LOGIN="given", PASSWORD="other")),
        (b"AMQPLAIN", table(LOGIN="given")),
        (b"AMQPLAIN", short(b"number") + b"I\0\0\0\1" + table(LOGIN="given", PASSWORD="away")),
        (b"AMQPLAIN", table(LOGIN="given", PASSWORD="away")[:-1]),
        (b"AMQPLAIN", b"\xff"),
        (b"AMQPLAIN", b"\x05LOGINS\xff\xff\xff\xff"),
        (b"AMQPLAIN", b""),
        (b"EXTERNAL", b""),
        (b"RABBIT-CR-DEMO", b"given"),
        (b"", b"\0given\0away"),
    ],
)
def test_any_other_login_stays(mechanism: bytes, response: bytes) -> None:
    said = start_ok(mechanism, response)
    assert with_login(said, WAS, THEN) == said


# --- the virtual host


@pytest.mark.parametrize("name", ["", "/"])
@pytest.mark.parametrize("rest", [b"\0\0", b"\0\1", b"\x03abc\0"])
def test_the_default_becomes_the_workers(name: str, rest: bytes) -> None:
    said = frame(OPEN, short(name.encode()) + rest)
    assert with_vhost(said, ("/", ""), "mine") == frame(OPEN, short(b"mine") + rest)


@pytest.mark.parametrize(
    "arguments", [short(b"other") + b"\0\0", short(b"//") + b"\0\0", short(b"\xff/") + b"\0\0", b"\x01", b""]
)
def test_another_virtual_host_stays(arguments: bytes) -> None:
    said = frame(OPEN, arguments)
    assert with_vhost(said, ("/", ""), "mine") == said


def test_a_name_for_which_there_is_no_room() -> None:
    with pytest.raises(ValueError, match="longer than the 255 bytes"):
        with_vhost(frame(OPEN, b"\x01/\0\0"), ("/",), "ö" * 128)


# --- whatever comes


def test_no_nonsense_is_an_error() -> None:
    """A client may send anything: frames that are cut off, whose lengths are wrong, of bytes by chance."""
    chance = random.Random(7)
    whole = [
        start_ok(b"PLAIN", b"\0given\0away"),
        start_ok(b"AMQPLAIN", table(LOGIN="given", PASSWORD="away")),
        frame(OPEN, b"\x01/\0\0"),
    ]
    whole += [frame(START, b"\0\x09" + long(short(b"version") + b"S" + long(b"4.0.5"))), closing(320, "over")]
    for _ in range(20_000):
        data = bytearray(chance.choice(whole))
        for _ in range(chance.randrange(4)):
            data[chance.randrange(7, len(data))] = chance.choice([0, 1, 255, chance.randrange(256)])
        said = frame((10, 11), bytes(data[11 : chance.randrange(11, len(data) + 1)])) if chance.random() < 0.5 else bytes(data)
        for changed in (with_login(said, WAS, THEN), with_vhost(said, ("/", ""), "mine")):
            assert changed[3:7] == struct.pack(">I", len(changed) - 8)
            assert method_of(changed) is not None
        server_version(said)
        follow(said, chance.randrange(1, 9))


@pytest.mark.parametrize("head", [b"AMQP\0\0\x09", b"\x04\0\0\0\0\0\1", b"\x01\0\0\x01\0\0\x01", b"HTTP/1."])
def test_what_is_no_frame(head: bytes) -> None:
    with pytest.raises(Refused, match="does not speak AMQP 0-9-1|another version of AMQP"):
        frame_size(head)


def test_what_has_no_method() -> None:
    assert method_of(b"\x08\0\0\0\0\0\0\xce") is None
    assert method_of(b"\x01\0\0\0\0\0\x03\0\x0a\0\xce") is None
    assert method_of(frame(OPEN)) == OPEN


@pytest.mark.parametrize("text", ["over", "ö" * 200, "x" * 300, ""])
def test_a_close(text: str) -> None:
    """It has room for 255 bytes."""
    said = closing(541, text)
    assert len(said) == frame_size(said)
    assert method_of(said) == CLOSE
    assert said[13] == len(said) - 19 <= 255
    assert text.startswith(said[14:-5].decode())


@pytest.mark.parametrize(
    ("said", "version"),
    [
        (frame(START, b"\0\x09" + long(short(b"version") + b"S" + long(b"4.0.5") + short(b"x") + b"t\1")), "4.0.5"),
        (frame(START, b"\0\x09" + long(short(b"product") + b"S" + long(b"x"))), ""),
        (b"\x07versionS", ""),
        (b"\x07versionS\0\0", ""),
        (b"\x07versionS\0\0\0\x093.1", "3.1"),
    ],
)
def test_the_brokers_version(said: bytes, version: str) -> None:
    assert server_version(said) == version


# --- following what is said


def follow(data: bytes, size: int) -> Track:
    track = Track()
    for at in range(0, len(data), size):
        track.follow(data[at : at + size])
    return track


BODY = b"\x03\0\1" + long(b"x" * 70_000) + b"\xce"
EMPTY = b"\x08\0\0\0\0\0\0\xce"


@pytest.mark.parametrize("size", [1, 2, 3, 5, 7, 8, 11, 12, 1000, 1 << 20])
@pytest.mark.parametrize("method", [frame(CLOSE_OK), frame((20, 41), channel=1), frame((20, 41), channel=256)])
def test_between_two_frames_nothing_is_missing(size: int, method: bytes) -> None:
    data = frame(OPEN, b"\0\0\0") + BODY + EMPTY + method
    track = follow(data, size)
    assert (track.missing, track.is_lost) == (0, False)
    assert track.last == (CLOSE_OK if method == frame(CLOSE_OK) else OPEN)
    for left in (1, 2, 5):
        assert follow(data[:-left], size).missing > 0


def test_what_is_missing() -> None:
    data = frame(OPEN, b"\0\0\0")
    assert [follow(data[:length], 100).missing for length in (0, 1, 6, 7, 10, 11, 12, 14, 15)] == [0, 6, 1, 8, 5, 4, 3, 1, 0]
    assert [follow(BODY[:length], 100).missing for length in (6, 7, 19)] == [1, 12, 69_989]


@pytest.mark.parametrize("size", [1, 2, 7, 11, 19, 1000])
def test_what_is_noted(size: int) -> None:
    """The beginning of each frame, in whatever pieces it comes."""
    header = b"\x02\0\1" + long(struct.pack(">HHQ", 60, 0, 7)) + b"\xce"
    said = [frame((60, 40), b"\0\0", channel=1), header, b"\x03\0\1" + long(b"content") + b"\xce", EMPTY, frame(CLOSE_OK), BODY]
    noted: list[tuple[int, int, int, bytes]] = []
    data, track = b"".join(said), Track(lambda *facts: noted.append(facts))
    for at in range(0, len(data), size):
        track.follow(data[at : at + size])
    assert [each[:3] for each in noted] == [(each[0], each[2], len(each) - 8) for each in said]
    assert [each[3][: len(one)] for each, one in zip(noted, said, strict=True)] == [each[:19] for each in said]


@pytest.mark.parametrize("nonsense", [b"AMQP\0\0\x09\x01", b"\xff" * 50, b"\x01\0\0\0\0\0\3abc\xce"])
def test_what_is_not_followed(nonsense: bytes) -> None:
    for size in (1, 100):
        assert follow(EMPTY + nonsense, size).is_lost


# --- our own login


class Broker:
    """One that answers with given frames."""

    def __init__(self, *answers: bytes) -> None:
        self.answers = list(answers)
        self.said: list[bytes] = []

    def log_in(self) -> str:
        return login(lambda: self.answers.pop(0), self.said.append, *WAS, "mine")


def test_a_login_and_its_end() -> None:
    start = frame(START, b"\0\x09" + long(short(b"version") + b"S" + long(b"3.10.8")))
    broker = Broker(start, frame(TUNE, b"\0\1\0\2\0\0\0\x3c"), frame(OPEN_OK, b"\0"))
    assert broker.log_in() == "3.10.8"
    header, start_ok, tune_and_open, close = broker.said
    assert (header, method_of(start_ok), method_of(close)) == (b"AMQP\0\0\x09\1", START_OK, CLOSE)
    assert plain_login(*WAS) in start_ok
    assert tune_and_open == frame(TUNE_OK, b"\0\1\0\2\0\0\0\0") + frame(OPEN, short(b"mine") + b"\0\0")
    assert opened(frame(OPEN_OK, b"\0"))
    assert not opened(frame(TUNE))


@pytest.mark.parametrize(
    ("answers", "told"),
    [
        ([closing(403, "no")], "403 no"),
        ([frame(START), closing(530, "no such vhost")], "530 no such vhost"),
        ([frame(START), frame(TUNE, b"\0" * 8), closing(541, "")], "541 "),
        ([frame(CLOSE)], "^"),
        ([frame(CLOSE, b"\1")], "^"),
        ([frame(TUNE)], r"the broker answered with \(10, 30\), not with \(10, 10\)"),
        ([EMPTY], r"the broker answered with None"),
    ],
)
def test_a_login_that_is_refused(answers: list[bytes], told: str) -> None:
    with pytest.raises(Refused, match=told):
        Broker(*answers).log_in()
