"""Logging in to a server by its private socket, where it answers as it should not."""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pytest_testbed.postgres.messages import message
from pytest_testbed.postgres.protocol import ServerError, Trusted

OK = message(b"R", struct.pack("!I", 0))
READY = message(b"Z", b"I")


@pytest.fixture
def answering(tmp_path: Path) -> Iterator[Callable[[bytes], str]]:
    """Start what says something to the first client, and return its path."""
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "s"))
        server.listen()
        threads: list[threading.Thread] = []

        def answering(text: bytes) -> str:
            def answer() -> None:
                client, _ = server.accept()
                with client:
                    client.sendall(text)
                    client.shutdown(socket.SHUT_WR)
                    while client.recv(1000):
                        pass

            threads.append(threading.Thread(target=answer))
            threads[-1].start()
            return str(tmp_path / "s")

        yield answering
        for thread in threads:
            thread.join(5)


def test_it_is_let_in(answering: Callable[[bytes], str]) -> None:
    session = Trusted(answering(OK + message(b"S", b"server_version\00017.2\0") + READY), "postgres", "postgres", 5)
    assert session.parameters == {"server_version": "17.2"}
    session.close()


@pytest.mark.parametrize(
    ("answer", "problem"),
    [
        (message(b"R", struct.pack("!I", 10) + b"SCRAM-SHA-256\0\0"), "the server wants a password on its private socket"),
        (message(b"E", b"SFATAL\0VFATAL\0C57P03\0Mstarting up\0\0"), "FATAL 57P03 starting up"),
        (OK + message(b"E", b"SERROR\0VERROR\0C42000\0Mno\0\0") + READY, "ERROR 42000 no"),
        (OK, "the server closed the connection"),
    ],
)
def test_it_is_not_let_in(answering: Callable[[bytes], str], answer: bytes, problem: str) -> None:
    with pytest.raises(ServerError, match=problem):
        Trusted(answering(answer), "postgres", "postgres", 5)
