"""External: another team's service, as a real server on a real port; its usual answers are in `fixtures/stubs`."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from pytest_testbed import MockService
from shop.inventory import InventoryClient, InventoryError, OutOfStock


@pytest.fixture
def inventory(mock_service: Callable[[str], MockService]) -> MockService:
    return mock_service("inventory")


@pytest.fixture
def client(inventory: MockService) -> InventoryClient:
    return InventoryClient(inventory.url)


def test_stock_and_reservation(client: InventoryClient, inventory: MockService) -> None:
    assert client.stock(123) == 10
    assert client.reserve(123, 2) == "res-456"

    inventory.verify(
        "POST", "/api/inventory/123/reserve", json={"quantity": 2}, headers={"Content-Type": "application/json"}, times=1
    )


def test_the_last_one_is_sold_once(client: InventoryClient, inventory: MockService) -> None:
    inventory.stub("POST", "/api/inventory/{product}/reserve", json={"reservationId": "res-1"}, times=1, then=409)

    assert client.reserve(123, 1) == "res-1"
    with pytest.raises(OutOfStock):
        client.reserve(123, 1)


def test_a_service_that_is_slow(inventory: MockService) -> None:
    inventory.stub("GET", "/api/inventory/{product}", json={"stock": 10}, delay=60)  # ends with the test

    with pytest.raises(InventoryError, match="timed out"):
        InventoryClient(inventory.url, timeout=0.1).stock(123)


@pytest.mark.parametrize("status", [409, 500])
def test_what_cannot_be_released_keeps_none_of_the_others(client: InventoryClient, inventory: MockService, status: int) -> None:
    inventory.stub("DELETE", "/api/inventory/reservations/res-1", status=status)

    client.release_all(["res-1", None, "res-2"])

    inventory.verify("DELETE", "/api/inventory/reservations/res-1", times=1)
    inventory.verify("DELETE", "/api/inventory/reservations/res-2", times=1)


@pytest.mark.parametrize("fault", ["reset", "empty", "garbage"])
def test_a_service_that_breaks_off(client: InventoryClient, inventory: MockService, fault: str) -> None:
    inventory.stub("POST", "/api/inventory/{product}/reserve", fault=fault)

    with pytest.raises(InventoryError):
        client.reserve(123, 1)


@pytest.mark.parametrize("answer", [{"success": True}, {"reservationId": None}, ["res-1"]])
def test_an_answer_without_a_reservation(client: InventoryClient, inventory: MockService, answer: object) -> None:
    inventory.stub("POST", "/api/inventory/{product}/reserve", json=answer)

    with pytest.raises(InventoryError, match="without reservationId"):
        client.reserve(123, 1)
