from __future__ import annotations

import pytest

from shop.accounts import account_errors
from shop.passwords import hash_password, is_password

pytestmark = pytest.mark.unit


@pytest.mark.parametrize("email", ["", "ada", "ada@", "@example.com", "ada@example", "ada lovelace@example.com", "ada@.com"])
def test_what_is_no_address(email: str) -> None:
    assert list(account_errors(email, "Ada", "secure123")) == ["email"]


@pytest.mark.parametrize("email", ["ada@[.b", "ada,grace@example.com", "ada@=?utf-8?q?example=0aBcc:_grace?=.com"])
def test_what_is_something_else_in_a_mail_s_header(email: str) -> None:
    """No address, two of them, another header."""
    assert list(account_errors(email, "Ada", "secure123")) == ["email"]


@pytest.mark.parametrize("email", ["ada@example.com", "a.d+a_1@sub-1.example.com", "o'ada@example.com", "jörg@müller.de"])
def test_what_is_an_address(email: str) -> None:
    assert account_errors(email, "Ada", "secure123") == {}


def test_what_is_too_long_for_the_table() -> None:
    assert account_errors("a@" + "b" * 248 + ".com", "n" * 100, "secure123") == {}
    assert list(account_errors("a@" + "b" * 249 + ".com", "n" * 101, "secure123")) == ["email", "name"]


def test_each_field_that_is_wrong_is_named() -> None:
    assert list(account_errors("invalid-email", "", "123")) == ["email", "name", "password"]
    assert account_errors("ada@example.com", "Ada", "secure123") == {}


def test_a_password_is_known_by_its_hash_alone() -> None:
    stored = hash_password("secure123", n=2, p=1)

    assert "secure123" not in stored
    assert stored != hash_password("secure123", n=2, p=1)
    assert is_password("secure123", stored)
    assert not is_password("secure124", stored)
    assert not is_password("", "")


def test_a_hash_says_how_it_was_made() -> None:
    """So the shop can ask for more one day, and all passwords stay valid."""
    assert hash_password("secure123").startswith("scrypt$16384$8$5$")
    assert is_password("secure123", hash_password("secure123", n=4, r=2, p=3))
