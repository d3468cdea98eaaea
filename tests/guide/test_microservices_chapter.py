"""The guide's chapter on microservices: orders that reserve stock in another service."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import requests

from pytest_testbed import MockService

from .shop import OrderService, OutOfStock

Services = Callable[[str], MockService]


@pytest.fixture
def inventory(mock_service: Services) -> MockService:
    service = mock_service("inventory")
    service.stub("GET", "/api/inventory/123", json={"productId": "123", "stock": 10})
    service.stub("POST", "/api/inventory/123/reserve", json={"reservationId": "res-456", "success": True})
    return service


def test_an_order_reserves_its_stock(inventory: MockService) -> None:
    order = OrderService(inventory.url).create_order(product_id="123", quantity=2, customer_id="cust-789")
    assert order.status == "CONFIRMED"
    assert order.reservation_id == "res-456"
    inventory.verify(
        "POST", "/api/inventory/123/reserve", headers={"Content-Type": "application/json"}, json={"quantity": 2}, times=1
    )


def test_without_enough_stock_nothing_is_reserved(inventory: MockService) -> None:
    with pytest.raises(OutOfStock):
        OrderService(inventory.url).create_order(product_id="123", quantity=11, customer_id="cust-789")
    inventory.verify("POST", "/api/inventory/123/reserve", times=0)


def test_the_last_one_is_sold_once(inventory: MockService) -> None:
    inventory.stub("POST", "/api/inventory/123/reserve", json={"reservationId": "res-1"}, times=1, then=409)
    orders = OrderService(inventory.url)
    assert orders.create_order("123", 1, "cust-1").reservation_id == "res-1"
    with pytest.raises(OutOfStock):
        orders.create_order("123", 1, "cust-2")


def test_a_failing_inventory_is_seen(inventory: MockService) -> None:
    inventory.stub("GET", "/api/inventory/123", fault="reset")
    with pytest.raises(requests.ConnectionError):
        OrderService(inventory.url).create_order("123", 1, "cust-789")


def test_a_reservation_that_differs_is_told_field_by_field(inventory: MockService) -> None:
    OrderService(inventory.url).create_order("123", 3, "cust-789")
    with pytest.raises(AssertionError, match="quantity is 3, not 2"):
        inventory.verify("POST", "/api/inventory/123/reserve", json={"quantity": 2})
