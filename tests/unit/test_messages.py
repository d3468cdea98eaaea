"""What a client of the protocol says when it is asked who it is."""

from __future__ import annotations

import pytest

from pytest_testbed.postgres.messages import LONG, AuthenticationError, answer_to, message


@pytest.mark.parametrize(
    ("method", "more", "answer"),
    [
        (3, b"", message(b"p", b"secret\0")),
        # SELECT 'md5' || md5(md5('secret' || 'shop') || '\x01020304')
        (5, b"\1\2\3\4", message(b"p", b"md509c7baab7568cd5d6bd39754f079adc5\0")),
        (12, b"v=whatever", b""),
    ],
)
def test_the_answer(method: int, more: bytes, answer: bytes) -> None:
    assert answer_to(LONG.pack(method) + more, "shop", "secret", []) == answer


@pytest.mark.parametrize(("method", "more"), [(7, b""), (10, b"SCRAM-SHA-512\0\0")])
def test_what_is_asked_for_and_not_known(method: int, more: bytes) -> None:
    with pytest.raises(AuthenticationError, match=f"the authentication method {method}"):
        answer_to(LONG.pack(method) + more, "shop", "secret", [])
