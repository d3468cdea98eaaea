"""API: orders. The application asks the inventory service, and hands the order on to the worker's queue."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from pika.adapters.blocking_connection import BlockingChannel

from fixtures.factories import PASSWORD, ProductFactory, UserFactory
from pytest_testbed import ApiClient, Broker, MockService
from shop.models import Product

pytestmark = [pytest.mark.api, pytest.mark.messaging]  # a second area, beside the folder's


@pytest.fixture
def lamp_id(product: Product) -> int:
    return product.id


def test_an_order_is_confirmed_and_handed_on(
    api_client: ApiClient, lamp_id: int, rabbitmq_broker: Broker, mock_service: Callable[[str], MockService]
) -> None:
    api_client.login()

    placed = api_client.post("/orders", json={"items": [{"product": lamp_id, "quantity": 2}], "card": "tok_visa"})

    placed.assert_status(201).assert_json({"status": "CONFIRMED", "total": 200})
    mock_service("inventory").verify("POST", f"/api/inventory/{lamp_id}/reserve", json={"quantity": 2}, times=1)
    assert rabbitmq_broker.expect("orders").json == {"orderId": placed.json()["id"]}


def test_a_product_that_is_there_twice_is_added_up(
    api_client: ApiClient, lamp_id: int, mock_service: Callable[[str], MockService]
) -> None:
    api_client.login()

    items = [{"product": lamp_id, "quantity": 1}, {"product": lamp_id, "quantity": 3}]
    api_client.post("/orders", json={"items": items}).assert_status(201).assert_json({"total": 400})

    mock_service("inventory").verify("POST", f"/api/inventory/{lamp_id}/reserve", json={"quantity": 4}, times=1)


def test_what_is_out_of_stock_is_not_ordered(
    api_client: ApiClient, lamp_id: int, rabbitmq_broker: Broker, mock_service: Callable[[str], MockService]
) -> None:
    api_client.login()
    mock_service("inventory").stub("POST", "/api/inventory/{product}/reserve", status=409)

    api_client.post("/orders", json={"items": [{"product": lamp_id, "quantity": 11}]}).assert_status(409)

    rabbitmq_broker.expect_none("orders")


def test_an_unknown_product(api_client: ApiClient, mock_service: Callable[[str], MockService]) -> None:
    api_client.login()

    api_client.post("/orders", json={"items": [{"product": 4711, "quantity": 1}]}).assert_status(404)

    mock_service("inventory").verify("POST", "/api/inventory/{product}/reserve", times=0)


def test_an_inventory_service_that_hangs_up(
    api_client: ApiClient, lamp_id: int, mock_service: Callable[[str], MockService]
) -> None:
    api_client.login()
    mock_service("inventory").stub("POST", "/api/inventory/{product}/reserve", fault="reset")

    api_client.post("/orders", json={"items": [{"product": lamp_id, "quantity": 1}]}).assert_status(503)


def test_an_order_that_the_broker_does_not_take(
    api_client: ApiClient, lamp_id: int, rabbitmq_channel: BlockingChannel, mock_service: Callable[[str], MockService]
) -> None:
    """The customer is told so, and what was put aside is put back."""
    api_client.login()
    rabbitmq_channel.queue_delete("orders")

    api_client.post("/orders", json={"items": [{"product": lamp_id, "quantity": 1}]}).assert_status(503)

    (order,) = api_client.get("/orders").json()
    assert order["status"] == "REFUSED"
    mock_service("inventory").verify("DELETE", "/api/inventory/reservations/res-456", times=1)


@pytest.mark.parametrize(
    "items",
    [
        None,
        [],
        {"product": 1},
        [{"product": 1}],
        [{"product": 1, "quantity": 0}],
        [{"product": 1, "quantity": 2.9}],
        [{"product": 1, "quantity": 1_000}, {"product": 1, "quantity": 1}],
        [{"product": "1", "quantity": 1}],
    ],
)
def test_an_invalid_order_is_refused(api_client: ApiClient, items: object) -> None:
    api_client.login()
    assert "items" in api_client.post("/orders", json={"items": items}).assert_status(400).json()["errors"]


@pytest.mark.parametrize("card", ["x" * 101, "tok\0visa"])
def test_an_invalid_card_is_refused_before_anything_is_put_aside(
    api_client: ApiClient, lamp_id: int, card: str, mock_service: Callable[[str], MockService]
) -> None:
    api_client.login()

    answer = api_client.post("/orders", json={"items": [{"product": lamp_id, "quantity": 1}], "card": card}).assert_status(400)

    assert list(answer.json()["errors"]) == ["card"]
    mock_service("inventory").verify("POST", "/api/inventory/{product}/reserve", times=0)


def test_orders_need_a_login(api_client: ApiClient) -> None:
    api_client.post("/orders", json={}).assert_status(401)


def test_nobody_sees_the_order_of_another(api_client: ApiClient, lamp_id: int) -> None:
    ada, grace = [api_client.as_user(email=each.email, password=PASSWORD) for each in UserFactory.create_batch(2)]
    order = ada.post("/orders", json={"items": [{"product": lamp_id, "quantity": 1}]}).assert_status(201).json()

    ada.get(f"/orders/{order['id']}").assert_status(200).assert_json(order)
    grace.get(f"/orders/{order['id']}").assert_status(404)
    api_client.login()  # the administrator
    api_client.get(f"/orders/{order['id']}").assert_status(200).assert_json(order)

    assert [ada.get("/orders").json(), grace.get("/orders").json()] == [[order], []]


@pytest.mark.usefixtures("pg_session")  # the factories' session
def test_the_list_of_products(api_client: ApiClient) -> None:
    lamp, desk = ProductFactory.create(name="Lamp", price=2500, stock=4), ProductFactory.create(name="Desk", price=9000, stock=0)

    assert api_client.get("/products").assert_status(200).json() == [
        {"id": lamp.id, "name": "Lamp", "price": 2500, "stock": 4},
        {"id": desk.id, "name": "Desk", "price": 9000, "stock": 0},
    ]
