"""External: the third party's HTTPS address, answered in this process."""

from __future__ import annotations

import pytest
import requests
from responses import matchers

from pytest_testbed import HttpMock
from shop.payments import PaymentError, PaymentProcessor

GATEWAY = "https://api.payment-gateway.com"
CHARGES = f"{GATEWAY}/charges"


def test_payment_processing_integration(http_mock: HttpMock) -> None:
    wanted = matchers.json_params_matcher({"amount": 1000, "source": "tok_visa", "currency": "usd"})
    http_mock.post(CHARGES, json={"id": "ch_123", "status": "succeeded", "amount": 1000}, match=[wanted])

    payment = PaymentProcessor(GATEWAY).charge(amount=1000, token="tok_visa", currency="usd")

    assert payment.success
    assert payment.transaction_id == "ch_123"
    assert len(http_mock.calls) == 1


def test_a_payment_says_what_it_is_for(http_mock: HttpMock) -> None:
    """So that the gateway charges once, however often it is asked."""
    wanted = matchers.header_matcher({"Idempotency-Key": "order-7"})
    http_mock.post(CHARGES, json={"id": "ch_123", "status": "succeeded"}, match=[wanted])

    assert PaymentProcessor(GATEWAY).charge(amount=1000, token="tok_visa", key="order-7").success


def test_a_payment_that_is_not_decided_is_no_success(http_mock: HttpMock) -> None:
    http_mock.post(CHARGES, json={"id": "ch_123", "status": "pending"})

    assert not PaymentProcessor(GATEWAY).charge(amount=1000, token="tok_visa").success


def test_payment_failure_integration(http_mock: HttpMock) -> None:
    http_mock.post(CHARGES, json={"error": "card_declined"}, status=402)

    with pytest.raises(PaymentError, match="card_declined"):
        PaymentProcessor(GATEWAY).charge(amount=1000, token="tok_visa", currency="usd")


@pytest.mark.parametrize("body", [requests.ConnectionError("no route"), requests.ReadTimeout("no answer")])
def test_a_gateway_out_of_order_is_no_refusal(http_mock: HttpMock, body: requests.RequestException) -> None:
    http_mock.post(CHARGES, body=body)

    with pytest.raises(requests.RequestException):
        PaymentProcessor(GATEWAY).charge(amount=1000, token="tok_visa")
