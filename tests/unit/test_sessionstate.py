"""What another backend is told of a client's settings, by what the old one has answered."""

from __future__ import annotations

import struct

import pytest

from pytest_testbed.postgres.messages import message
from pytest_testbed.postgres.sessionstate import MOST_NAMES, SessionState


def row(*values: str) -> bytes:
    fields = b"".join(struct.pack("!i", len(value)) + value.encode() for value in values)
    return message(b"D", struct.pack("!h", len(values)) + fields)


def query(sql: str) -> bytes:
    return message(b"Q", sql.encode() + b"\0")


def test_a_project_s_own_settings_are_asked_for_up_to_a_bound() -> None:
    state = SessionState()
    for number in range(MOST_NAMES + 20):
        state.hear(query(f"SET app.n{number} = 1"))
    asked = state.question()
    assert b"('app.n0')" in asked
    assert asked.count(b"('") == MOST_NAMES
    assert f"app.n{MOST_NAMES}".encode() not in asked


@pytest.mark.parametrize("answer", [b"", message(b"E", b"SERROR\0\0")], ids=["nothing", "an error"])
def test_a_backend_that_does_not_answer_leaves_what_was_known(answer: bytes) -> None:
    state = SessionState()
    state.learn(row("work_mem", "8MB") + row("bound", "temporary tables"))
    assert state.bound == ["temporary tables"]
    known = state.again("shop")
    state.learn(answer)
    assert state.again("shop") == known
    assert b"8MB" in b"".join(known)
    assert state.bound == []
