"""API: orders. The application asks the inventory service, and hands the order on to the worker's queue."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from sqlalchemy.orm import Session

from pytest_testbed import ApiClient, Broker, MockService
from shop.models import Product

pytestmark = [pytest.mark.api, pytest.mark.messaging]  # a second area, beside the folder's


@pytest.fixture
def lamp(product: Product, pg_session: Session) -> int:
    """The id of a product that the application can see."""
    pg_session.commit()
    return product.id


def test_an_order_is_confirmed_and_handed_on(
    api_client: ApiClient, lamp: int, rabbitmq_broker: Broker, mock_service: Callable[[str], MockService]
) -> None:
    api_client.login()

    placed = api_client.post("/orders", json={"items": [{"product": lamp, "quantity": 2}], "card": "tok_visa"})

    placed.assert_status(201).assert_json({"status": "CONFIRMED", "total": 200})
    mock_service("inventory").verify("POST", f"/api/inventory/{lamp}/reserve", json={"quantity": 2}, times=1)
    assert rabbitmq_broker.expect("orders").json == {"orderId": placed.json()["id"]}


def test_what_is_out_of_stock_is_not_ordered(
    api_client: ApiClient, lamp: int, rabbitmq_broker: Broker, mock_service: Callable[[str], MockService]
) -> None:
    api_client.login()
    mock_service("inventory").stub("POST", "/api/inventory/{product}/reserve", status=409)

    api_client.post("/orders", json={"items": [{"product": lamp, "quantity": 11}]}).assert_status(409)

    rabbitmq_broker.expect_none("orders")


def test_an_inventory_service_that_hangs_up(api_client: ApiClient, lamp: int, mock_service: Callable[[str], MockService]) -> None:
    api_client.login()
    mock_service("inventory").stub("POST", "/api/inventory/{product}/reserve", fault="reset")

    api_client.post("/orders", json={"items": [{"product": lamp, "quantity": 1}]}).assert_status(503)


@pytest.mark.parametrize(
    "items", [None, [], [{"product": 1}], [{"product": 1, "quantity": 0}], [{"product": "x", "quantity": 1}]]
)
def test_what_is_no_order(api_client: ApiClient, items: object) -> None:
    api_client.login()
    assert "items" in api_client.post("/orders", json={"items": items}).assert_status(400).json()["errors"]


def test_orders_need_a_login(api_client: ApiClient) -> None:
    api_client.post("/orders", json={}).assert_status(401)
