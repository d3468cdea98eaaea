"""External: a mail server on a real port."""

from __future__ import annotations

import socket

from pytest_testbed import Mailbox
from shop.mail import Mailer


def test_a_mail_arrives(mailbox: Mailbox) -> None:
    assert Mailer(*mailbox.address).send("ada@example.com", "Grüße", "Zwölf Lampen.")

    assert "Zwölf" in mailbox.expect(to="ada@example.com", subject="Grüße").text


def test_a_mail_server_that_is_down() -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))  # a port on which nobody listens

        assert not Mailer(*nobody.getsockname()).send("ada@example.com", "Hello", "")
