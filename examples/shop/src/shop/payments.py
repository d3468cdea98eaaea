"""The payment gateway: a third party."""

from __future__ import annotations

from dataclasses import dataclass

import requests

TIMEOUT = 10


class PaymentError(Exception):
    """The gateway has refused a payment; the text is its reason, such as card_declined."""


@dataclass(frozen=True)
class Payment:
    """What the gateway says of a payment; without success, it has not decided yet."""

    success: bool
    transaction_id: str


class PaymentProcessor:
    """Charges cards."""

    def __init__(self, url: str) -> None:
        self._url = url

    def charge(self, amount: int, token: str, currency: str = "usd", key: str | None = None) -> Payment:
        """Charge a card.

        Args:
            amount: in cents.
            token: stands for the card.
            currency: its code.
            key: what is paid. However often it is sent, the gateway charges once, and says how that stands.

        Raises:
            PaymentError: the gateway refuses, and says why.
            requests.RequestException: it cannot be reached, or is out of order: nobody knows yet.
        """
        answer = requests.post(
            f"{self._url}/charges",
            json={"amount": amount, "source": token, "currency": currency},
            headers={"Idempotency-Key": key} if key is not None else {},
            timeout=TIMEOUT,
        )
        if answer.status_code == requests.codes.payment_required:
            raise PaymentError(answer.json()["error"])
        answer.raise_for_status()
        body = answer.json()
        return Payment(success=body["status"] == "succeeded", transaction_id=body["id"])
