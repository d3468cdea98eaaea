"""External: a mail server on a real port."""

from __future__ import annotations

import pytest

from pytest_testbed import Mailbox
from shop.mail import Mailer


def test_a_mail_arrives(mailbox: Mailbox) -> None:
    assert Mailer(*mailbox.address).send("ada@example.com", "Grüße", "Zwölf Lampen.")

    assert "Zwölf" in mailbox.expect(to="ada@example.com", subject="Grüße").text


@pytest.mark.parametrize("to", ["ada@[.b", "ada@example.com\nBcc: grace@example.com"])
def test_a_mail_that_cannot_be_made_stops_nothing(mailbox: Mailbox, to: str) -> None:
    assert not Mailer(*mailbox.address).send(to, "Hello", "")

    assert len(mailbox) == 0


def test_a_mail_server_that_is_closing(mailbox: Mailbox, caplog: pytest.LogCaptureFixture) -> None:
    mailbox.refuse(at="connect", code=421)

    assert not Mailer(*mailbox.address).send("ada@example.com", "Hello", "")

    assert "'Hello' was not sent to ada@example.com" in caplog.text
    assert len(mailbox) == 0
