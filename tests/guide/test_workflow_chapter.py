"""The guide's complex business workflow: an admin, a customer, a product, an order with its items."""

from __future__ import annotations

import pytest
from sqlalchemy import func, select
from sqlalchemy.orm import Session, sessionmaker

from pytest_testbed import Mailbox, Queries

from .accounts import Mailer
from .factories import OrderFactory, OrderItemFactory, ProductFactory, UserFactory
from .models import User
from .workflow import BusinessWorkflow, OrderItem, PlacedOrder, Product


@pytest.fixture
def workflow(pg_session: Session, mailbox: Mailbox) -> BusinessWorkflow:
    return BusinessWorkflow(pg_session, Mailer(*mailbox.address))


@pytest.mark.budget(queries=30, messages=0)
def test_an_order_is_processed(
    workflow: BusinessWorkflow, mailbox: Mailbox, pg_session: Session, pg_sessionmaker: sessionmaker[Session]
) -> None:
    admin = UserFactory(role="admin")
    customer = UserFactory(role="customer")
    product = ProductFactory(price=100, stock=10)
    order = OrderFactory(user=customer)
    OrderItemFactory(order=order, product=product, quantity=2)

    result = workflow.process_order(order.id)

    assert result.success
    assert result.inventory_adjusted
    assert result.notifications_sent == 2
    mailbox.expect(to=customer.email, subject="on its way")
    mailbox.expect(to=admin.email, subject="was processed")
    with pg_sessionmaker() as elsewhere:  # it is in the database, not in the identity map alone
        stored = elsewhere.get_one(PlacedOrder, order.id)
        assert (stored.status, stored.total, stored.items[0].product.stock) == ("PROCESSED", 200, 8)


def test_too_little_stock_changes_nothing(workflow: BusinessWorkflow, mailbox: Mailbox, pg_session: Session) -> None:
    order = OrderFactory()
    plenty = OrderItemFactory(order=order, product__stock=100, quantity=7).product
    OrderItemFactory(order=order, product__name="the last one", product__stock=1, quantity=2)
    pg_session.commit()  # factories flush; the workflow's own rollback would take their rows with it

    result = workflow.process_order(order.id)

    assert not result.success
    assert result.reason == "not enough of the last one"
    assert pg_session.scalar(select(Product.stock).where(Product.id == plenty.id)) == 100
    assert pg_session.get_one(PlacedOrder, order.id).status == "REJECTED"
    mailbox.expect_none()


def test_an_order_without_items(workflow: BusinessWorkflow) -> None:
    assert workflow.process_order(OrderFactory().id).reason == "nothing to do"


def test_what_one_item_brings_with_it(pg_session: Session) -> None:
    OrderItemFactory()
    for model in (User, Product, PlacedOrder, OrderItem):
        assert pg_session.scalar(select(func.count()).select_from(model)) == 1


@pytest.mark.parametrize("time_", ["first", "second"])
def test_every_test_counts_anew(pg_session: Session, time_: str, worker_id: str) -> None:
    user, other = UserFactory(), UserFactory()
    number = int(user.email.removeprefix("user").partition("@")[0])
    assert number % 1_000_000 == 0
    assert other.email == f"user{number + 1}@example.com"


NAMES: dict[str, set[str]] = {}


@pytest.mark.parametrize("time_", ["first", "second"])
def test_data_repeats_for_the_same_test_alone(pg_session: Session, time_: str) -> None:
    """Which names there are is for the seed to say; two tests have different ones."""
    names = {UserFactory().name for _ in range(20)}
    assert all(names != others for others in NAMES.values())
    NAMES[time_] = names


class TestManyItems:
    """What a loop over the items sends grows with them; a budget tells, and does not flake."""

    @pytest.mark.parametrize("items", [1, 5])
    def test_statements_of_an_order(
        self, workflow: BusinessWorkflow, pg_queries: Queries, pg_session: Session, items: int
    ) -> None:
        order = OrderFactory()
        OrderItemFactory.create_batch(items, order=order)
        pg_session.commit()
        with pg_queries.only() as sent:
            assert workflow.process_order(order.id).success
        assert len(sent.matching("FOR UPDATE")) == items


@pytest.mark.performance
@pytest.mark.budget(queries=1_010, seconds=5)
def test_bulk_insert(pg_session: Session) -> None:
    users = UserFactory.create_batch(1000)
    assert len({user.email for user in users}) == 1000
    assert pg_session.scalar(select(func.count()).select_from(User)) == 1000
