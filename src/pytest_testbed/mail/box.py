"""What came for one test, as the server's thread fills it and the test's reads it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

from .message import Mail
from .rules import Rules

if TYPE_CHECKING:
    import ssl

__all__ = ["Box", "Login"]

MOST_REFUSALS = 50


class Login:
    """A login that a client sent; the password is hidden where it is shown.

    Args:
        user: the name.
        password: the password.
        mechanism: "PLAIN" or "LOGIN".
    """

    def __init__(self, user: str, password: str, mechanism: str) -> None:
        self.user = user
        self.password = password
        self.mechanism = mechanism

    def __repr__(self) -> str:
        return f"<Login {self.user!r}, password '***', {self.mechanism}>"


class Box:
    """The mails of one test.

    Args:
        owner: the test's name.
        late: is told what comes after its end; may be called from any thread.
    """

    def __init__(self, owner: str, late: Callable[[str, Mail], None]) -> None:
        self.owner = owner
        self._late = late
        self.rules: Rules = Rules()
        self.arrival: threading.Condition = threading.Condition()
        self.mails: list[Mail] = []
        self.logins: list[Login] = []
        self.refusals: list[str] = []
        """What the server refused, in words."""
        self.tls: ssl.SSLContext | None = None
        """What STARTTLS is done with, where it is offered."""
        self.connections = 0
        """How many clients have connected."""
        self._is_ended = False

    def deliver(self, mail: Mail) -> None:
        """Put a mail in, and tell who waits for one; where the test has ended, it is late."""
        with self.arrival:
            if not self._is_ended:
                self.mails.append(mail)
                self.arrival.notify_all()
                return
        self._late(self.owner, mail)

    def refused(self, what: str) -> None:
        """Note what the server has refused."""
        if len(self.refusals) < MOST_REFUSALS:
            self.refusals.append(what)

    def end(self) -> None:
        """Note that the test has ended; the server does all right again."""
        with self.arrival:
            self._is_ended = True
        self.rules.clear()
