"""Which mail, or which address, is meant; and in what another one differs."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from email.utils import parseaddr

from .message import Mail

__all__ = ["Criterion", "Wanted", "address_fits", "described", "of_use", "text_fits"]

Criterion = str | re.Pattern[str] | Callable[[str], object] | None
"""A text, a pattern that is found in it, or a predicate of it; None for anything."""
LONGEST = 60


def address_fits(address: str, wanted: Criterion) -> bool:
    """Tell whether an address is one that is meant: equal but for upper and lower case."""
    if isinstance(wanted, str):
        return address.casefold() == (parseaddr(wanted)[1] or wanted).casefold()
    return text_fits(address, wanted)


def text_fits(text: str, wanted: Criterion) -> bool:
    """Tell whether a text has in it what is meant."""
    if wanted is None:
        return True
    if isinstance(wanted, str):
        return wanted in text
    if isinstance(wanted, re.Pattern):
        return wanted.search(text) is not None
    return bool(wanted(text))


@dataclass(frozen=True)
class Wanted:
    """What a mail must be like.

    Args:
        to: one of those whom it was sent to.
        sender: the address in its From header, or in MAIL FROM.
        subject: what is in its subject.
        text: what is in its text or its HTML.
        matching: a predicate of the `Mail`.

    Raises:
        TypeError: one of them is none of that.
    """

    to: Criterion = None
    sender: Criterion = None
    subject: Criterion = None
    text: Criterion = None
    matching: Callable[[Mail], object] | None = None

    def __post_init__(self) -> None:
        for name in ("to", "sender", "subject", "text"):
            of_use(name, getattr(self, name))
        if self.matching is not None and not callable(self.matching):
            raise TypeError(f"matching={self.matching!r} is no predicate of a mail.")

    def faults(self, mail: Mail) -> list[str]:
        """Return why a mail is not one that is meant; nothing where it is."""
        return list(self._faults(mail))

    def _faults(self, mail: Mail) -> Iterator[str]:
        if self.to is not None and not any_fits(mail.recipients, self.to):
            yield f"was sent to {listed(mail.recipients)}{self._named_only(mail)}"
        senders = dict.fromkeys(each for each in (mail.sender, mail.return_path) if each)
        if self.sender is not None and not any_fits(senders, self.sender):
            yield f"is from {listed(senders)}"
        if not text_fits(mail.subject, self.subject):
            yield f"has the subject {shortened(mail.subject)}"
        if self.text is not None and not any(text_fits(each, self.text) for each in (mail.text, mail.html)):
            yield f"has the text {shortened(mail.text or mail.html)}"
        if self.matching is not None and not self.matching(mail):
            yield f"{described(self.matching)} says no"

    def _named_only(self, mail: Mail) -> str:
        named = [*mail.to, *mail.cc]
        return ": it is named in the header, but it was not among the recipients" if any_fits(named, self.to) else ""

    def __str__(self) -> str:
        """Return what is meant, in words; "" for any mail."""
        said = {name: getattr(self, name) for name in ("to", "sender", "subject", "text", "matching")}
        return ", ".join(f"{name}={described(value)}" for name, value in said.items() if value is not None)


def of_use(name: str, criterion: object) -> None:
    """See that a criterion is one.

    Raises:
        TypeError: it is none.
    """
    is_pattern = isinstance(criterion, re.Pattern) and isinstance(criterion.pattern, str)
    if not (criterion is None or isinstance(criterion, str) or is_pattern or callable(criterion)):
        raise TypeError(f"{name}={criterion!r} is no text, no pattern of texts and no predicate.")


def any_fits(addresses: Iterable[str], wanted: Criterion) -> bool:
    """Tell whether one of some addresses is meant."""
    return any(address_fits(each, wanted) for each in addresses)


def described(value: object) -> str:
    """Return a criterion in words."""
    if isinstance(value, re.Pattern):
        return f"re.compile({value.pattern!r})"
    return getattr(value, "__name__", "a predicate") if callable(value) else repr(value)


def listed(addresses: Iterable[str]) -> str:
    """Return some addresses in words."""
    return ", ".join(addresses) or "nobody"


def shortened(text: str) -> str:
    """Return a text in one line, cut to a length."""
    return repr(text if len(text) <= LONGEST else f"{text[:LONGEST]}…")
