"""A mail as tests see it: its headers decoded, its parts told apart; however broken it is."""

from __future__ import annotations

import email
import email.policy
from collections.abc import Callable, Iterator, Mapping
from email.message import EmailMessage, Message
from email.utils import getaddresses
from functools import cached_property
from typing import TypeVar

__all__ = ["Attachment", "Headers", "Mail", "sized"]

T = TypeVar("T")
UNNAMED = "attachment"


class Attachment:
    """A part of a mail that is neither its text nor its HTML.

    Args:
        name: of the file, "" where none is said.
        content_type: such as "application/pdf".
        content: its bytes, decoded.
    """

    def __init__(self, name: str, content_type: str, content: bytes) -> None:
        self.name = name
        self.content_type = content_type
        self.content = content

    def __repr__(self) -> str:
        return f"<Attachment {self}>"

    def __str__(self) -> str:
        """Return its name, type and size."""
        return f"{self.name or '(no name)'} ({self.content_type}, {sized(len(self.content))})"


class Headers(Mapping[str, str]):
    """The decoded headers of a mail; upper and lower case are the same, and of equal names the first counts."""

    def __init__(self, pairs: list[tuple[str, str]]) -> None:
        self.pairs = pairs
        """All of them, in their order."""
        self._found = {name.lower(): value for name, value in reversed(pairs)}

    def __getitem__(self, name: str) -> str:
        return self._found[name.lower()]

    def __iter__(self) -> Iterator[str]:
        return iter(dict.fromkeys(name for name, _ in self.pairs))

    def __len__(self) -> int:
        return len(self._found)

    def __repr__(self) -> str:
        return f"<Headers {dict(self)!r}>"


class Mail:
    """A mail that came.

    Args:
        raw: its bytes, as they were sent.
        return_path: the address in MAIL FROM; "" for a bounce.
        recipients: the addresses in RCPT TO: whom it was really sent to, Bcc as well.
    """

    def __init__(self, raw: bytes, return_path: str = "", recipients: tuple[str, ...] = ()) -> None:
        self.raw = raw
        self.return_path = return_path
        self.recipients = recipients

    # --- headers

    @cached_property
    def message(self) -> EmailMessage:
        """The whole as the standard library has it."""
        message = email.message_from_bytes(self.raw, policy=email.policy.default)
        assert isinstance(message, EmailMessage)
        return message

    @cached_property
    def headers(self) -> Headers:
        """The decoded headers: `mail.headers["Reply-To"]`."""
        return Headers([(name, _decoded(self.message, name, value)) for name, value in self.message.raw_items()])

    @property
    def subject(self) -> str:
        """Its subject, "" where there is none."""
        return self.headers.get("subject", "")

    @property
    def sender(self) -> str:
        """The address in its From header; where there is none, that in MAIL FROM."""
        return next(iter(self._addresses("from")), self.return_path)

    @property
    def to(self) -> list[str]:
        """The addresses in its To header."""
        return self._addresses("to")

    @property
    def cc(self) -> list[str]:
        """The addresses in its Cc header."""
        return self._addresses("cc")

    def _addresses(self, name: str) -> list[str]:
        values = [value for each, value in self.headers.pairs if each.lower() == name]
        return [address for _, address in getaddresses(values) if address]

    # --- parts

    @property
    def text(self) -> str:
        """Its plain text, "" where there is none."""
        return self._parts[0]

    @property
    def html(self) -> str:
        """Its HTML, "" where there is none."""
        return self._parts[1]

    @property
    def attachments(self) -> list[Attachment]:
        """All its other parts, images that its HTML shows as well."""
        return list(self._parts[2])

    @cached_property
    def _parts(self) -> tuple[str, str, list[Attachment]]:
        bodies: dict[str, str] = {}
        attachments = []
        for part in leaves(self.message):
            kind = _safely(part.get_content_type, "application/octet-stream")
            name = _readable(_safely(part.get_filename, None) or "")
            is_body = not name and _safely(part.get_content_disposition, None) != "attachment"
            if is_body and kind in ("text/plain", "text/html") and kind not in bodies:
                bodies[kind] = _text(part)
            else:
                attachments.append(Attachment(name, kind, _content(part)))
        return bodies.get("text/plain", ""), bodies.get("text/html", ""), attachments

    # --- for people

    def __repr__(self) -> str:
        return f"<Mail {self}>"

    def __str__(self) -> str:
        """Return it in one line."""
        count = len(self.attachments)
        more = f", {count} attachment{'s' if count > 1 else ''}" if count else ""
        return f"{self.subject!r} from {self.sender or 'nobody'} to {', '.join(self.recipients) or 'nobody'}{more}"


def leaves(message: Message) -> Iterator[Message]:
    """Yield the parts of a mail that have none themselves; a forwarded mail is one part."""
    parts = message.get_payload() if message.is_multipart() else None
    if not isinstance(parts, list) or _safely(message.get_content_maintype, "") == "message":
        yield message
        return
    for part in parts:
        yield from leaves(part)  # type: ignore[arg-type]  # a text is there only where somebody has put one


def sized(count: int) -> str:
    """Return a number of bytes for people."""
    if count < 1000:
        return f"{count} bytes"
    return f"{count / 1000:.1f} kB" if count < 1_000_000 else f"{count / 1_000_000:.1f} MB"


# --- what may be broken


def _safely(get: Callable[[], T], default: T) -> T:
    """Return what the standard library makes of a mail; its parser fails on some broken ones, in many ways."""
    try:
        return get()
    except Exception:
        return default


def _decoded(message: EmailMessage, name: str, value: str) -> str:
    """Return a header as people read it; one that cannot be understood, as it was sent."""
    return _readable(_safely(lambda: str(message.policy.header_fetch_parse(name, value)), " ".join(value.split())))


def _readable(text: str) -> str:
    """Return a text whose bytes that are no ASCII were put aside by the parser."""
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def _content(part: Message) -> bytes:
    """Return the bytes of a part, decoded."""
    payload = part.get_payload()
    if isinstance(payload, list):  # a mail in the mail
        return b"".join(_safely(each.as_bytes, b"") for each in payload if isinstance(each, Message))
    content = _safely(lambda: part.get_payload(decode=True), None)
    return content if isinstance(content, bytes) else str(payload).encode("utf-8", "surrogateescape")


def _text(part: Message) -> str:
    """Return the text of a part, whatever charset it says it has."""
    content = _content(part)
    for charset in (_safely(part.get_content_charset, None) or "utf-8", "utf-8"):
        try:
            return content.decode(charset).replace("\r\n", "\n")
        except (LookupError, ValueError):
            continue
    return content.decode("latin-1").replace("\r\n", "\n")
