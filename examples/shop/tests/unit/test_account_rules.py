from __future__ import annotations

import pytest

from shop.accounts import account_errors
from shop.passwords import hash_password, is_password

pytestmark = pytest.mark.unit


@pytest.mark.parametrize("email", ["", "ada", "ada@", "@example.com", "ada@example", "ada lovelace@example.com"])
def test_what_is_no_address(email: str) -> None:
    assert list(account_errors(email, "Ada", "secure123")) == ["email"]


def test_each_field_that_is_wrong_is_named() -> None:
    assert list(account_errors("invalid-email", "", "123")) == ["email", "name", "password"]
    assert account_errors("ada@example.com", "Ada", "secure123") == {}


def test_a_password_is_known_by_its_hash_alone() -> None:
    stored = hash_password("secure123")

    assert "secure123" not in stored
    assert stored != hash_password("secure123")
    assert is_password("secure123", stored)
    assert not is_password("secure124", stored)
    assert not is_password("", "")
