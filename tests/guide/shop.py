"""The small application's orders and payments, which ask services of others."""

from __future__ import annotations

from dataclasses import dataclass

import requests


class OutOfStock(Exception):
    """There are not so many."""


class PaymentError(Exception):
    """The gateway has refused a payment."""


@dataclass(frozen=True)
class Order:
    status: str
    reservation_id: str


@dataclass(frozen=True)
class Payment:
    success: bool
    transaction_id: str


class OrderService:
    """Takes orders; the inventory is another service."""

    def __init__(self, inventory_url: str) -> None:
        self._url = f"{inventory_url}/api/inventory"

    def create_order(self, product_id: str, quantity: int, customer_id: str) -> Order:
        found = requests.get(f"{self._url}/{product_id}", timeout=5)
        found.raise_for_status()
        if found.json()["stock"] < quantity:
            raise OutOfStock(product_id)
        reserved = requests.post(
            f"{self._url}/{product_id}/reserve", json={"quantity": quantity, "customerId": customer_id}, timeout=5
        )
        if reserved.status_code == 409:
            raise OutOfStock(product_id)
        reserved.raise_for_status()
        return Order("CONFIRMED", reserved.json()["reservationId"])


class PaymentProcessor:
    """Charges cards at a gateway."""

    URL = "https://api.payment-gateway.com/charges"

    def __init__(self, post: object = requests.post) -> None:
        self._post = post

    def charge(self, amount: int, token: str, currency: str = "usd") -> Payment:
        answer = self._post(self.URL, json={"amount": amount, "source": token, "currency": currency}, timeout=5)  # type: ignore[operator]
        told = answer.json()
        if answer.status_code >= 400:
            raise PaymentError(told["error"])
        return Payment(told["status"] == "succeeded", told["id"])
