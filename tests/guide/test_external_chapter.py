"""The chapter "External Service Integration Testing" of the guide: a payment that succeeds, and one that is declined."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest
import requests

if TYPE_CHECKING:
    from pytest_testbed import HttpMock

pytestmark = [pytest.mark.integration, pytest.mark.external]
CHARGES = "https://api.payment-gateway.com/charges"


class PaymentError(Exception):
    """The gateway has refused."""


@dataclass
class Payment:
    success: bool
    transaction_id: str


class PaymentProcessor:
    """The application's own."""

    def charge(self, amount: int, token: str, currency: str) -> Payment:
        answer = requests.post(CHARGES, json={"amount": amount, "source": token, "currency": currency}, timeout=10)
        body = answer.json()
        if not answer.ok:
            raise PaymentError(body["error"])
        return Payment(body["status"] == "succeeded", body["id"])


class TestPaymentGatewayIntegration:
    def test_payment_processing_integration(self, http_mock: HttpMock) -> None:
        http_mock.post(CHARGES, json={"id": "ch_123", "status": "succeeded", "amount": 1000})

        result = PaymentProcessor().charge(amount=1000, token="tok_visa", currency="usd")

        assert result.success
        assert result.transaction_id == "ch_123"
        assert len(http_mock.calls) == 1
        assert http_mock.calls[0].request.url == CHARGES

    def test_payment_failure_integration(self, http_mock: HttpMock) -> None:
        http_mock.post(CHARGES, json={"error": "card_declined"}, status=402)

        with pytest.raises(PaymentError, match="card_declined"):
            PaymentProcessor().charge(amount=1000, token="tok_visa", currency="usd")
