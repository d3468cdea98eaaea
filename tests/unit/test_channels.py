"""The channels that a client at the front door listens to, as its statements tell."""

from __future__ import annotations

import pytest

from pytest_testbed.postgres.channels import Channels
from pytest_testbed.postgres.messages import message


def query(text: str) -> bytes:
    return message(b"Q", text.encode() + b"\0")


def said(*statements: str) -> Channels:
    channels = Channels()
    for count, statement in enumerate(statements):
        assert channels.hear(query(statement), count)
    return channels


@pytest.mark.parametrize(
    ("statements", "names"),
    [
        (["LISTEN news"], ["news"]),
        ([" listen news ; ", "LISTEN news"], ["news"]),
        (["LISTEN news", 'LISTEN "Other"'], ["news", '"Other"']),
        (["LISTEN news", "LISTEN other", "UNLISTEN news"], ["other"]),
        (["UNLISTEN news", "LISTEN other"], ["other"]),
        (["LISTEN news", "LISTEN other", "unlisten *;"], []),
        (["LISTEN news", "UNLISTEN *", "LISTEN other"], ["other"]),
    ],
)
def test_what_is_listened_to(statements: list[str], names: list[str]) -> None:
    channels = said(*statements)
    assert channels.names == names
    assert channels.again() == [query(f"LISTEN {name}") for name in names]


def test_a_prepared_statement_is_heard() -> None:
    channels = Channels()
    assert channels.hear(message(b"P", b"name\0LISTEN news\0\0\0"), 0)
    assert channels.names == ["news"]


def test_other_statements_are_not_about_channels() -> None:
    channels = Channels()
    assert not channels.hear(query("SELECT 'LISTEN news'"), 0)
    assert channels.names == []


def test_what_was_said_since_is_undone() -> None:
    channels = said("LISTEN news", "LISTEN other", "UNLISTEN news")
    assert channels.without_those_since(0) == query("UNLISTEN *;LISTEN news")
    assert channels.names == ["news"]
    assert channels.without_those_since(0) == b""
