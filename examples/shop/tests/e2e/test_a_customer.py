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
from pytest_testbed import ApiClient, Mailbox
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
            yield process.stdout.readline().strip()
        finally:
            process.terminate()


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
def lamp(pg_session: Session) -> Product:
    lamp: Product = ProductFactory.create(name="Lamp", price=2500, stock=10)
    pg_session.commit()
    return lamp


@pytest.mark.parametrize(
    ("card", "status", "text", "stock"),
    [("tok_visa", "PROCESSED", "is paid: 50.00", 8), ("tok_declined", "REFUSED", "cannot be paid: card_declined", 10)],
)
def test_a_customer_buys_lamps(
    api_client: ApiClient,
    worker: None,
    mailbox: Mailbox,
    lamp: Product,
    pg_session: Session,
    card: str,
    status: str,
    text: str,
    stock: int,
) -> None:
    api_client.post("/users", json=ADA).assert_status(201)
    mailbox.expect(to=ADA["email"], subject="Welcome")
    api_client.login(email=ADA["email"], password=ADA["password"])

    order = (
        api_client.post("/orders", json={"items": [{"product": lamp.id, "quantity": 2}], "card": card}).assert_status(201).json()
    )

    assert text in mailbox.expect(to=ADA["email"], subject=f"Order {order['id']}", within=30).text
    api_client.get(f"/orders/{order['id']}").assert_json({"status": status, "total": 5000})
    pg_session.refresh(lamp)
    assert lamp.stock == stock
