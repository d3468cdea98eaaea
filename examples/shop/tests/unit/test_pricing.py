from __future__ import annotations

import pytest

from shop.pricing import line_total, order_total

pytestmark = pytest.mark.unit  # the folder says it, too; said by hand, it promises that no server need be started


@pytest.mark.parametrize(
    ("price", "quantity", "total"),
    [(250, 1, 250), (250, 9, 2250), (250, 10, 2375), (1, 10, 9)],
)
def test_ten_pieces_and_more_are_cheaper(price: int, quantity: int, total: int) -> None:
    assert line_total(price, quantity) == total


def test_a_line_has_at_least_one_piece() -> None:
    with pytest.raises(ValueError, match="at least 1"):
        line_total(250, 0)


def test_an_order_is_the_sum_of_its_lines() -> None:
    assert order_total([(250, 2), (100, 10)]) == 500 + 950
