from __future__ import annotations

import pytest

from shop.accounts import account_errors
from shop.passwords import hash_password, is_password

pytestmark = pytest.mark.unit


@pytest.mark.parametrize("email", ["", "ada", "ada@", "@example.com", "ada@example", "ada lovelace@example.com"])
def test_what_is_no_address(email: str) -> None:
    assert list(account_errors(email, "Ada", "secure123")) == ["email"]


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
