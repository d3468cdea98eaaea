"""Messages between a pytest process and the host: whole, in order, and with a word for what breaks them."""

from __future__ import annotations

import _socket
import os
from collections.abc import Iterator

import pytest

from pytest_testbed.errors import HostError
from pytest_testbed.services.wire import LARGEST, SteadyWire, Wire

Ends = tuple[_socket.socket, _socket.socket]


@pytest.fixture
def ends() -> Iterator[Ends]:
    """Both ends of a connection."""
    import socket

    with_names = socket.socketpair()
    ours, theirs = (_socket.socket(fileno=each.detach()) for each in with_names)
    yield ours, theirs
    ours.close()
    theirs.close()


@pytest.fixture(params=[Wire, SteadyWire])
def wire(request: pytest.FixtureRequest, ends: Ends) -> Wire:
    made: Wire = request.param(ends[0])
    return made


def test_messages_come_whole_and_in_order(wire: Wire, ends: Ends) -> None:
    other = Wire(ends[1])
    for each in ("one", "two", "x" * 100_000):
        other.send({"said": each})
    assert [wire.receive()["said"] for _ in range(3)] == ["one", "two", "x" * 100_000]
    assert not wire.waiting()


def test_one_in_pieces(wire: Wire, ends: Ends) -> None:
    """The rest of its length comes later, too."""
    data = b'\x00\x00\x00\x0a{"said":1}'
    ends[1].sendall(data[:2])
    assert wire.waiting()
    ends[1].sendall(data[2:7])
    ends[1].sendall(data[7:])
    assert wire.receive() == {"said": 1}


@pytest.mark.parametrize("said", [b"", b"\x00\x00", b"\x00\x00\x00\x0a{"])
def test_the_other_end_leaves(wire: Wire, ends: Ends, said: bytes) -> None:
    """Between two messages, or within one."""
    ends[1].sendall(said)
    ends[1].close()
    with pytest.raises(EOFError, match="closed the connection"):
        wire.receive()


@pytest.mark.parametrize("said", [b"{]", b"[1]", b"\xff\xfe"])
def test_what_is_no_message(ends: Ends, said: bytes) -> None:
    ends[1].sendall(len(said).to_bytes(4) + said)
    with pytest.raises(HostError, match="something that is no message"):
        Wire(ends[0]).receive()


def test_one_that_is_too_long_is_not_waited_for(ends: Ends) -> None:
    ends[1].sendall((LARGEST + 1).to_bytes(4))
    with pytest.raises(HostError, match=f"a message of {LARGEST + 1} bytes"):
        Wire(ends[0]).receive()


def test_a_connection_that_is_broken(wire: Wire, ends: Ends) -> None:
    ends[1].close()
    with pytest.raises(HostError, match=r"broke: .*Broken pipe"):
        wire.send({"said": 1})
    wire.close()
    with pytest.raises(HostError, match=r"broke: .*Bad file descriptor"):
        wire.receive()


def test_one_that_breaks_within_a_message(ends: Ends) -> None:
    """The length is there, the rest cannot be read."""

    class Breaking(_socket.socket):
        def recv(self, size: int, flags: int = 0) -> bytes:
            raise ConnectionResetError("reset")

    ends[1].sendall(b'\x00\x00\x00\x0a{"said":1}')
    breaking = Wire(Breaking(fileno=os.dup(ends[0].fileno())))
    with pytest.raises(HostError, match="broke: reset"):
        breaking.receive()
    breaking.close()


def test_open_files_are_handed_on(ends: Ends) -> None:
    reading, writing = os.pipe()
    wire, other = Wire(ends[0]), Wire(ends[1])
    other.send({"said": 1}, files=[writing])
    other.send({"said": 2})
    assert [wire.receive()["said"] for _ in range(2)] == [1, 2]
    (theirs,) = wire.files
    os.write(theirs, b"x")
    assert os.read(reading, 1) == b"x"
    for each in (reading, writing, theirs):
        os.close(each)
