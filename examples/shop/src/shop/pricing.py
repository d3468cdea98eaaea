"""Prices, without a database."""

from __future__ import annotations

from collections.abc import Iterable

DISCOUNT_FROM = 10
DISCOUNT_PERCENT = 5


def line_total(price_cents: int, quantity: int) -> int:
    """Return the price of one line; from ten pieces on it is 5 % less, rounded down to a cent."""
    if quantity < 1:
        raise ValueError(f"quantity is {quantity}, and must be at least 1")
    total = price_cents * quantity
    return total * (100 - DISCOUNT_PERCENT) // 100 if quantity >= DISCOUNT_FROM else total


def order_total(lines: Iterable[tuple[int, int]]) -> int:
    """Return the price of an order, given (price in cents, quantity) of each line."""
    return sum(line_total(price, quantity) for price, quantity in lines)
