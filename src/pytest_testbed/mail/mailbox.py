"""What a test says to its mail server: expect a mail, look at those that came, refuse some."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from difflib import get_close_matches
from typing import TypedDict, Unpack

from ..nearest import suggestion
from .box import Box, Login
from .criteria import Criterion, Wanted, of_use
from .message import Mail
from .report import unmet
from .rules import STAGES, Rule, Stage
from .server import HOST, MailServer

__all__ = ["Criteria", "Mailbox"]

WITHIN = 5.0
"""Seconds for which `expect` waits if nobody says."""
ANSWERS: dict[Stage, str] = {
    "connect": "the server does not want to talk to you",
    "auth": "5.7.8 these credentials are not accepted",
    "mail": "5.1.8 this sender is not accepted",
    "rcpt": "5.1.1 this recipient is not accepted",
    "data": "5.7.1 this mail is not accepted",
}
"""What the server says to what it refuses, if nobody says."""
CODES: dict[Stage, int] = {"connect": 554, "auth": 535, "mail": 550, "rcpt": 550, "data": 554}


class Criteria(TypedDict, total=False):
    """What a mail must be like; see `Mailbox.expect`."""

    to: Criterion
    sender: Criterion
    subject: Criterion
    text: Criterion
    matching: Callable[[Mail], object] | None


class Mailbox:
    """An SMTP server with nothing in it, as a test talks to it; for any thread.

    Args:
        box: what comes.
        port: where the server listens for it.
        server: where it is.
        late: gives what has come to the ports of earlier tests, in words.
    """

    def __init__(self, box: Box, port: int, server: MailServer, late: Callable[[], Sequence[str]] = tuple) -> None:
        self._box, self._server, self._late = box, server, late
        self._taken: list[Mail] = []
        self.host: str = HOST
        """The address at which the server listens."""
        self.port = port
        """The port at which it listens."""

    @property
    def address(self) -> tuple[str, int]:
        """Host and port: `smtplib.SMTP(*mailbox.address)`."""
        return self.host, self.port

    @property
    def messages(self) -> list[Mail]:
        """All mails that came in this test, in their order; `len(mailbox)` of them."""
        return list(self._box.mails)

    @property
    def logins(self) -> list[Login]:
        """The logins that clients sent; any is accepted. `.user`, `.password`, `.mechanism`."""
        return list(self._box.logins)

    def __len__(self) -> int:
        return len(self._box.mails)

    def __repr__(self) -> str:
        return f"<Mailbox {self.host}:{self.port}, {len(self)} mail{'s' if len(self) != 1 else ''}>"

    # --- what came

    def expect(self, *, within: float = WITHIN, **criteria: Unpack[Criteria]) -> Mail:
        """Wait for a mail, and return it; the next `expect` does not find it again, but it stays in `messages`.

        A text, a pattern (`re.compile`) or a predicate of the text says what is meant. A mail must be like all that is said.

        Args:
            within: seconds.
            to: one of those whom it was sent to, Bcc as well; a text is the whole address.
            sender: the address in its From header, or in MAIL FROM; a text is the whole address.
            subject: of the mail; a text is a part of it.
            text: of the mail, or its HTML; a text is a part of it.
            matching: a predicate of the `Mail`.

        Raises:
            AssertionError: none came; shows what did, the nearest first.
            TypeError: what is said is no text, pattern or predicate.
        """
        __tracebackhide__ = True
        wanted = wanted_of(criteria)
        with self._box.arrival:
            found = self._box.arrival.wait_for(lambda: self._next(wanted), within)
            if found is not None:
                self._taken.append(found)
                return found
        raise AssertionError(unmet(self._box, f"{self.host}:{self.port}", wanted, within, self._taken, self._late()))

    def expect_none(self, *, within: float = 0.0, **criteria: Unpack[Criteria]) -> None:
        """See to it that no such mail is there, or comes in so many seconds; those that `expect` returned do not count.

        Args:
            within: seconds.
            criteria: see `expect`.

        Raises:
            AssertionError: there is one.
        """
        __tracebackhide__ = True
        wanted = wanted_of(criteria)
        with self._box.arrival:
            found = self._box.arrival.wait_for(lambda: self._next(wanted), within)
        if found is not None:
            said = str(wanted)
            raise AssertionError(f"there is a mail{f' with {said}' if said else ''}:\n  {found}")

    def clear(self) -> None:
        """Forget what came so far."""
        with self._box.arrival:
            self._box.mails.clear()
            self._taken.clear()

    def _next(self, wanted: Wanted) -> Mail | None:
        there = (mail for mail in self._box.mails if not any(each is mail for each in self._taken))
        return next((mail for mail in there if not wanted.faults(mail)), None)

    # --- what the server does wrong

    def refuse(
        self,
        *,
        to: Criterion = None,
        sender: Criterion = None,
        at: Stage = "rcpt",
        code: int | None = None,
        text: str = "",
        times: int | None = None,
    ) -> Rule:
        """Let the server refuse something until the test ends, or the `with` block of what is returned.

        Args:
            to: this recipient alone; at "data" a mail of which it is one.
            sender: this sender alone; at "auth" this user.
            at: "connect", "auth", "mail" (the sender), "rcpt" (each recipient), "data" (the whole mail).
            code: the answer, 400 to 599; after 421 the server closes the connection.
            text: the answer's text.
            times: how many times; then all is right again. None: always.

        Raises:
            ValueError: the stage or the code is none.
        """
        code = CODES[checked(at, to, sender)] if code is None else code
        if not 400 <= code <= 599:
            raise ValueError(f"{code} is no refusal: that is a code from 400 to 499 (try again) or from 500 to 599 (never).")
        if "\n" in text or "\r" in text:
            raise ValueError(f"{text!r} has more than one line.")
        answer = f"{code} {text or default_text(at, code)}"
        return self._rule(Rule("refuse", at, undo=self._undo, to=to, sender=sender, answer=answer, times=times))

    def delay(
        self,
        seconds: float,
        *,
        to: Criterion = None,
        sender: Criterion = None,
        at: Stage = "data",
        times: int | None = None,
    ) -> Rule:
        """Let the server wait before it answers; a mail is in the box only then, and never if the client hangs up before.

        Args:
            seconds: how long.
            to: see `refuse`.
            sender: see `refuse`.
            at: before which answer; see `refuse`.
            times: how many times; None: always.

        Raises:
            ValueError: the stage is none, or the time is less than nothing.
        """
        if seconds < 0:
            raise ValueError(f"{seconds:g} seconds are less than nothing.")
        return self._rule(
            Rule("delay", checked(at, to, sender), undo=self._undo, to=to, sender=sender, seconds=seconds, times=times)
        )

    def drop(self, *, to: Criterion = None, sender: Criterion = None, at: Stage = "data", times: int | None = None) -> Rule:
        """Let the server close the connection instead of an answer; the mail is not kept.

        Args:
            to: see `refuse`.
            sender: see `refuse`.
            at: instead of which answer; see `refuse`.
            times: how many times; None: always.

        Raises:
            ValueError: the stage is none.
        """
        return self._rule(Rule("drop", checked(at, to, sender), undo=self._undo, to=to, sender=sender, times=times))

    def offer_starttls(self) -> str:
        """Offer STARTTLS to clients that connect from now on in this test; needs the program openssl.

        Returns:
            The file of the certificate, which is signed by itself: a client that checks it must be told to trust it, by
            `ssl.create_default_context(cafile=...)` or the environment's SSL_CERT_FILE.

        Raises:
            ConfigurationError: the certificate cannot be made.
        """
        return self._server.offer_tls(self._box)

    def _rule(self, rule: Rule) -> Rule:
        return self._box.rules.add(rule)

    def _undo(self, rule: Rule) -> None:
        self._box.rules.remove(rule)


def wanted_of(criteria: Criteria) -> Wanted:
    """Return what a mail must be like.

    Raises:
        TypeError: there is no such criterion; says the nearest.
    """
    for name in criteria.keys() - Criteria.__annotations__.keys():
        raise TypeError(f"{name!r} is none of {', '.join(Criteria.__annotations__)}{suggestion(name, Criteria.__annotations__)}")
    return Wanted(**criteria)


def checked(at: Stage, to: Criterion, sender: Criterion) -> Stage:
    """Return a stage.

    Raises:
        ValueError: there is none of that name, or what it depends on is not known by then.
    """
    if at not in STAGES:
        near = get_close_matches(str(at), STAGES, 1)
        hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(map(repr, STAGES))}."
        raise ValueError(f"at={at!r} is no point where the server answers; {hint}")
    known = {"connect": (), "auth": ("sender",), "mail": ("sender",)}.get(at, ("to", "sender"))
    for name, value in (("to", to), ("sender", sender)):
        of_use(name, value)
        if value is not None and name not in known:
            raise ValueError(f"at={at!r} comes before the server knows {name}=; leave that out, or choose a later one.")
    return at


def default_text(at: Stage, code: int) -> str:
    """Return the text of an answer; the number in it must not contradict the code before."""
    text = ANSWERS[at]
    return f"{str(code)[0]}{text[1:]}" if text[0].isdigit() else text
