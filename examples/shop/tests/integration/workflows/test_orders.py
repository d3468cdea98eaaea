from __future__ import annotations

import threading

import pytest
from sqlalchemy import Engine, func, select
from sqlalchemy.orm import Session, sessionmaker

from shop.models import Order, Product, User
from shop.service import OrderService, OutOfStock

pytestmark = [pytest.mark.integration, pytest.mark.workflows]


def fill(session: Session, *, stock: int) -> tuple[int, int]:
    """Store a user and a product; return their ids."""
    user = User(email="ada@example.com", name="Ada")
    product = Product(name="Lamp", price_cents=250, stock=stock)
    session.add_all([user, product])
    session.commit()
    return user.id, product.id


def test_an_order_takes_from_the_stock(pg_session: Session, pg_sessionmaker: sessionmaker[Session]) -> None:
    user, lamp = fill(pg_session, stock=12)

    order_id = OrderService(pg_sessionmaker).place(user, {lamp: 10})

    order = pg_session.get_one(Order, order_id)
    assert order.total_cents == 2375
    assert [(line.product.name, line.quantity) for line in order.lines] == [("Lamp", 10)]
    pg_session.expire_all()
    assert pg_session.get_one(Product, lamp).stock == 2


def test_an_order_that_cannot_be_met_leaves_no_trace(pg_session: Session, pg_sessionmaker: sessionmaker[Session]) -> None:
    user, lamp = fill(pg_session, stock=3)

    with pytest.raises(OutOfStock, match="Lamp: 10 wanted, 3 left"):
        OrderService(pg_sessionmaker).place(user, {lamp: 10})

    assert pg_session.scalar(select(func.count()).select_from(Order)) == 0
    assert pg_session.get_one(Product, lamp).stock == 3


@pytest.mark.pg(isolation="database")
def test_two_buyers_do_not_get_the_same_lamp(pg_engine: Engine) -> None:
    """Two connections that lock each other out: a matter for real transactions."""
    sessions = sessionmaker(pg_engine)
    with sessions() as session:
        user, lamp = fill(session, stock=1)
    results: list[str] = []

    def buy() -> None:
        try:
            OrderService(sessions).place(user, {lamp: 1})
            results.append("bought")
        except OutOfStock:
            results.append("too late")

    buyers = [threading.Thread(target=buy) for _ in range(2)]
    for buyer in buyers:
        buyer.start()
    for buyer in buyers:
        buyer.join()

    assert sorted(results) == ["bought", "too late"]
    with sessions() as session:
        assert session.get_one(Product, lamp).stock == 0
