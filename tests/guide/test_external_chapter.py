"""The guide's chapter on third-party services: payments at a gateway that is not there."""

from __future__ import annotations

import httpx
import pytest
import requests
import responses

from .shop import PaymentError, PaymentProcessor

URL = "https://api.payment-gateway.com/charges"


@pytest.fixture(params=[requests.post, httpx.post], ids=["requests", "httpx"])
def payment_processor(request: pytest.FixtureRequest) -> PaymentProcessor:
    return PaymentProcessor(request.param)


def test_a_payment_succeeds(http_mock: responses.RequestsMock, payment_processor: PaymentProcessor) -> None:
    http_mock.post(URL, json={"id": "ch_123", "status": "succeeded", "amount": 1000}, status=200)
    result = payment_processor.charge(amount=1000, token="tok_visa", currency="usd")
    assert result.success
    assert result.transaction_id == "ch_123"
    assert len(http_mock.calls) == 1
    assert http_mock.calls[0].request.url == URL


def test_a_card_is_declined(http_mock: responses.RequestsMock, payment_processor: PaymentProcessor) -> None:
    http_mock.post(URL, json={"error": "card_declined"}, status=402)
    with pytest.raises(PaymentError, match="card_declined"):
        payment_processor.charge(amount=1000, token="tok_visa", currency="usd")


def test_the_charge_is_what_was_asked_for(http_mock: responses.RequestsMock, payment_processor: PaymentProcessor) -> None:
    wanted = responses.matchers.json_params_matcher({"amount": 500, "source": "tok_visa", "currency": "eur"})
    http_mock.post(URL, json={"id": "ch_5", "status": "pending"}, match=[wanted])
    assert not payment_processor.charge(500, "tok_visa", "eur").success
