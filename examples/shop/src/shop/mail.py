"""The shop's mails, sent by SMTP."""

from __future__ import annotations

import logging
import smtplib
from email.message import EmailMessage

log = logging.getLogger(__name__)


class Mailer:
    """Sends mails."""

    def __init__(self, host: str, port: int) -> None:
        self._host, self._port = host, port

    def send(self, to: str, subject: str, text: str) -> bool:
        """Send a mail; tell whether it was. One that cannot be sent, or not even be made, stops no registration and no order."""
        try:
            mail = EmailMessage()
            mail["From"], mail["To"], mail["Subject"] = "shop@example.com", to, subject
            mail.set_content(text)
            with smtplib.SMTP(self._host, self._port, timeout=10) as smtp:
                smtp.send_message(mail)
        except Exception as error:  # for what is no address EmailMessage raises AttributeError, IndexError and others
            log.warning("%r was not sent to %s: %r", subject, to, error)
            return False
        return True
