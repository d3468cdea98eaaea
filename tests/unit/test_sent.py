"""What a client says, in pieces that end anywhere: its messages, and the answers that are still to come."""

from __future__ import annotations

import pytest

from pytest_testbed.postgres.messages import LONGEST, Sent, message
from pytest_testbed.postgres.prepared import Prepared

PARSE = message(b"P", b"one\0SELECT 1\0\0\0")
CLOSE = message(b"C", b"Sone\0")
QUERY = message(b"Q", b"SELECT 1\0")
SYNC = message(b"S")
DATA = message(b"d", b"P\0\0\0\x09P\0\0\0\x09" * 50)
SAID = PARSE + message(b"B", b"\0one\0\0\0\0\0\0\0") + message(b"E", b"\0\0\0\0\0") + SYNC + DATA + QUERY + CLOSE


def told(sent: Sent, data: bytes, size: int) -> list[bytes]:
    return [whole for at in range(0, len(data), size) for whole in sent.follow(data[at : at + size])]


@pytest.mark.parametrize("size", [1, 2, 3, 5, 7, 64, 1000])
def test_wherever_they_are_cut(size: int) -> None:
    sent = Sent()
    assert [whole[:1] for whole in told(sent, SAID * 2, size)] == [b"P", b"B", b"Q", b"C"] * 2
    assert sent.pending == 4
    assert sent.is_between
    sent.answered(5)
    assert sent.pending == 0


def test_a_very_long_one() -> None:
    """Only its beginning is looked at, and what follows it is found."""
    sent = Sent()
    query = message(b"Q", b"x" * (LONGEST + 10))
    found = told(sent, query + SYNC + PARSE, 1 << 16)
    assert [len(whole) for whole in found] == [1 << 16, len(PARSE)]
    assert sent.pending == 2


def test_a_sync_before_copied_data_is_answered_by_nobody() -> None:
    sent = Sent()
    sent.follow(PARSE + SYNC)
    sent.follow(DATA * 3)
    sent.follow(message(b"c") + SYNC)
    assert sent.pending == 1


@pytest.mark.parametrize("kind", [b"c", b"f"])
def test_copied_data_of_a_simple_query(kind: bytes) -> None:
    sent = Sent()
    sent.follow(QUERY + DATA + message(kind))
    assert sent.pending == 1


def names(*said: bytes) -> list[bytes]:
    prepared = Prepared()
    for whole in said:
        prepared.hear(whole)
    asked: list[bytes] = []
    prepared.bring(lambda text: (asked.append(text), b"")[1])
    return [text[5 : text.index(0, 5)] for text in asked]


def parse(name: bytes, text: bytes = b"SELECT 1") -> bytes:
    return message(b"P", name + b"\0" + text + b"\0\0\0")


def text(sql: bytes) -> bytes:
    return message(b"Q", sql + b"\0")


@pytest.mark.parametrize(
    ("said", "left"),
    [
        ((parse(b"a"), parse(b"b")), [b"a", b"b"]),
        ((parse(b"a"), parse(b"b"), message(b"C", b"Sa\0")), [b"b"]),
        ((parse(b"a"), message(b"C", b"Pa\0")), [b"a"]),
        ((parse(b"a"), parse(b"B"), text(b"DEALLOCATE a"), text(b"deallocate prepare B")), [b"B"]),
        ((parse(b"a"), parse(b"B"), text(b'DEALLOCATE "B"')), [b"a"]),
        ((parse(b"a"), parse(b"", b"DEALLOCATE a")), []),
        ((parse(b"a"), parse(b"b"), text(b" DEALLOCATE ALL;")), []),
        ((parse(b"a"), text(b"DISCARD ALL")), []),
        ((parse(b"a"), text(b"DISCARD TEMP"), text(b"SELECT 'DEALLOCATE a'")), [b"a"]),
        ((parse(b"a", b"x" * 10)[:-4],), []),
    ],
)
def test_statements_that_are_kept(said: tuple[bytes, ...], left: list[bytes]) -> None:
    assert names(*said) == left


def brought(name: bytes, *, before: bytes, after: bytes) -> Prepared:
    """Prepare a statement, and bring it to a backend where it gives something else."""
    prepared = Prepared()
    prepared.hear(parse(name))
    prepared.describe(lambda text: before)
    prepared.bring(lambda text: after)
    return prepared


def bind(name: bytes) -> bytes:
    return message(b"B", b"\0" + name + b"\0" + b"\0\0" * 3)


SYNC = message(b"S")


NO_COLUMNS = message(b"t", b"\0\0") + message(b"n") + message(b"Z", b"I")


@pytest.mark.parametrize(
    ("piece", "refused"),
    [
        (bind(b"a") + message(b"E", b"\0" + b"\0" * 4) + SYNC, True),
        (message(b"C", b"P\0") + bind(b"a") + SYNC, True),
        (bind(b"b") + SYNC, False),
        (bind(b"a") + message(b"D", b"P\0") + SYNC, False),
        (message(b"E", b"\0" + b"\0" * 4) + SYNC, False),
    ],
    ids=["executed", "after a close", "another one", "described", "executed only"],
)
def test_who_does_not_ask_what_a_changed_statement_gives_is_refused(piece: bytes, refused: bool) -> None:
    prepared = brought(b"a", before=NO_COLUMNS, after=b"")
    assert prepared.is_refused(piece) is refused


def test_a_statement_that_another_backend_lacks_is_prepared_when_it_is_wanted() -> None:
    prepared = brought(b"a", before=NO_COLUMNS, after=b"")
    assert prepared.missing(bind(b"a") + SYNC) == parse(b"a") + SYNC
    assert prepared.missing(bind(b"b") + SYNC) == b""
    assert prepared.missing(SYNC) == b""
