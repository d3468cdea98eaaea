"""End to end: the shop as it is deployed, the API and the worker in processes of their own, and nothing patched."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from sqlalchemy.orm import Session

import shop
from fixtures.factories import ProductFactory
from pytest_testbed import ApiClient, Broker, Mailbox
from shop.models import Product

ADA = {"email": "ada@example.com", "name": "Ada", "password": "secure123"}
pytestmark = pytest.mark.messaging


@contextmanager
def shop_process(*command: str) -> Iterator[str]:
    """Run a command of the shop, with the addresses of this run; give its first line, which comes when it is ready."""
    source = Path(shop.__file__).parents[1]  # where it is found, installed or not
    with subprocess.Popen([sys.executable, "-m", "shop", *command], cwd=source, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            line = process.stdout.readline().strip()
            assert line, f"`shop {' '.join(command)}` ended before it was ready; its own words are in the captured output"
            yield line
        finally:
            process.terminate()
            try:
                process.wait(timeout=10)
            except subprocess.TimeoutExpired:  # fails the test, and waits for nobody
                process.kill()
                raise


@pytest.fixture(scope="module")
def live_app() -> Iterator[str]:
    """Where `api_client` finds the application, instead of in pytest's own process."""
    with shop_process("serve", "--port", "0") as url:
        yield url


@pytest.fixture(scope="module")
def worker() -> Iterator[None]:
    with shop_process("worker") as line:
        assert line == "waiting for orders"
        yield


@pytest.fixture
def ada(api_client: ApiClient, mailbox: Mailbox) -> ApiClient:
    """A customer who has just registered, and is logged in."""
    api_client.post("/users", json=ADA).assert_status(201)
    mailbox.expect(to=ADA["email"], subject="Welcome")
    api_client.login(email=ADA["email"], password=ADA["password"])
    return api_client


@pytest.fixture
def lamp(pg_session: Session) -> Product:
    lamp: Product = ProductFactory.create(name="Lamp", price=2500, stock=10)
    return lamp


@pytest.mark.usefixtures("worker")
@pytest.mark.parametrize(
    ("card", "status", "told", "left"),
    [("tok_visa", "PROCESSED", "is paid: 50.00", 8), ("tok_declined", "REFUSED", "is refused: card_declined", 10)],
)
def test_two_lamps(
    ada: ApiClient, lamp: Product, pg_session: Session, rabbitmq_broker: Broker, mailbox: Mailbox,
    card: str, status: str, told: str, left: int,
) -> None:  # fmt: skip
    order = ada.post("/orders", json={"items": [{"product": lamp.id, "quantity": 2}], "card": card}).assert_status(201).json()

    rabbitmq_broker.expect("orders.processed", matching={"orderId": order["id"], "status": status}, within=30)
    ada.get(f"/orders/{order['id']}").assert_json({"status": status, "total": 5000})
    assert told in mailbox.expect(to=ADA["email"], subject=f"Order {order['id']}").text
    pg_session.refresh(lamp)
    assert lamp.stock == left
