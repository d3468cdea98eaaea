"""What was said over HTTP in a test, kept for the report of its failure: secrets masked, cut to what fits."""

from __future__ import annotations

import json
import re
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import urlsplit, urlunsplit

__all__ = [
    "MASK",
    "NAMES",
    "Exchange",
    "Journal",
    "body_text",
    "is_secret",
    "masked_headers",
    "masked_literals",
    "masked_text",
    "masked_url",
    "masked_value",
]

KEPT = 50
"""Exchanges of a test that are kept."""
SHOWN = 10
"""Exchanges that a report shows."""
LONGEST = 1000
"""Characters of a body that are shown."""
READ = 1_000_000
"""Bytes of a body up to which it is looked into."""
MASK = "***"
# texts, not compiled: most runs never need them, and compiling them takes milliseconds
WORDS = r"passw|passphrase|secret|token|api[-_]?key|auth(?!or(?!i[sz]))|credential|private|session|signature|cvc|cvv|card"
"""What names of secrets have in them; an author is none."""
CONFIDENTIAL = rf"(?i){WORDS}|cookie"
NAMES = rf"[\w.-]*(?:{WORDS})[\w.-]*"
PAIR = rf"(?i)(?P<head>(?:^|[?&;#\s]){NAMES}=)[^&;\s]+"
MEMBER = rf'(?i)(?P<head>"{NAMES}"\s*:\s*)("(?:[^"\\]|\\.)*"?|[\w.+-]+)'
FIELD = rf'(?is)(?P<head>\bname="{NAMES}"(?:[^\r\n]*\r?\n)+?\r?\n).*?(?=\r?\n--|$)'
"""A field of a form in parts."""
LITERAL = r"""(?<!matching )(?<!matching b)(?:'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*")"""
KNOWN = ("content-type", "content-length", "location", "www-authenticate", "retry-after", "host")
"""Headers that are shown besides those whose value is a secret."""


@dataclass(frozen=True, slots=True)
class Exchange:
    """One request and what came of it.

    Args:
        who: which part of ours saw it, such as "api_client" or "mock_service inventory".
        method: of the request.
        url: whole, or the path and query where no more is known.
        status: of the answer; None where there was none.
        seconds: how long it took; None where nobody looked.
        sent_headers: those of the request.
        sent: its body.
        headers: those of the answer.
        body: of the answer.
        note: what else is to be said, such as why there was no answer.
        at: when it began, by `time.monotonic`.
    """

    who: str
    method: str
    url: str
    status: int | None = None
    seconds: float | None = None
    sent_headers: Iterable[tuple[str, str]] = ()
    sent: bytes = b""
    headers: Iterable[tuple[str, str]] = ()
    body: bytes = b""
    note: str = ""
    at: float = field(default_factory=time.monotonic)

    def lines(self) -> Iterator[str]:
        """Yield the lines of a report."""
        came = str(self.status) if self.status is not None else "no answer"
        took = f" in {self.seconds * 1000:.0f} ms" if self.seconds is not None else ""
        yield f"{self.who}: {self.method} {masked_url(self.url)} → {came}{took}" + (
            f" ({masked_pairs(self.note)})" if self.note else ""
        )
        yield from self._part("> ", self.sent_headers, self.sent)
        yield from self._part("< ", self.headers, self.body)

    def lightened(self) -> Exchange:
        """Return it with what is shown of its large bodies, instead of them."""
        large = {name: body_text(body).encode() for name in ("sent", "body") if len(body := getattr(self, name)) > READ}
        return replace(self, **large) if large else self  # type: ignore[arg-type]

    def _part(self, mark: str, headers: Iterable[tuple[str, str]], body: bytes) -> Iterator[str]:
        for name, value in masked_headers(headers):
            yield f"    {mark}{name}: {value}"
        if body:
            yield from (f"    {mark}{line}" for line in body_text(body).splitlines())


class Journal:
    """The exchanges of a test, the last of them kept."""

    def __init__(self) -> None:
        self._exchanges: deque[Exchange] = deque(maxlen=KEPT)
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def add(self, exchange: Exchange) -> None:
        """Keep an exchange, without bodies so large that none would be shown; may be called from any thread."""
        self._exchanges.append(exchange.lightened())
        self._count += 1

    def report(self) -> str:
        """Return the last exchanges for people, in the order in which they began."""
        shown = sorted(self._exchanges, key=lambda each: each.at)[-SHOWN:]
        lines = [f"({self._count - len(shown)} earlier ones are not shown)"] if self._count > len(shown) else []
        return "\n".join([*lines, *(line for each in shown for line in each.lines())])


# --- secrets


def masked_headers(headers: Iterable[tuple[str, str]]) -> Iterator[tuple[str, str]]:
    """Yield the headers that say something, what is secret of them masked."""
    for name, value in headers:
        if is_secret(name):
            yield name, masked_login(value)
        elif name.lower() in KNOWN or name.lower().startswith("x-"):
            yield name, masked_pairs(value)


def masked_pairs(text: str) -> str:
    """Return a text with the values of secret parameters in it masked, as they stand in URLs and forms."""
    return re.sub(PAIR, rf"\g<head>{MASK}", text)


def masked_url(url: str) -> str:
    """Return a URL without the password and the secret parameters in it."""
    try:
        parts = urlsplit(url)
        login, at, host = parts.netloc.rpartition("@")
    except ValueError:
        return url
    if at:
        parts = parts._replace(netloc=f"{login.partition(':')[0]}:{MASK}@{host}" if ":" in login else f"{MASK}@{host}")
    return urlunsplit(parts._replace(query=masked_pairs(parts.query), fragment=masked_pairs(parts.fragment)))


def is_secret(name: str) -> bool:
    """Tell whether what has this name is a secret: a header, a parameter, a key."""
    return re.search(CONFIDENTIAL, name) is not None


def masked_login(value: str) -> str:
    """Return a secret header's value: no more of it than its scheme, such as Bearer."""
    scheme, space, rest = value.partition(" ")
    return f"{scheme} {MASK}" if space and rest and "=" not in scheme else MASK


def masked_text(text: str) -> str:
    """Return a text without what stands in it as the value of a secret parameter or key."""
    return re.sub(FIELD, rf"\g<head>{MASK}", re.sub(MEMBER, rf'\g<head>"{MASK}"', masked_pairs(text)))


def masked_value(path: str, value: Any) -> str:
    """Return a JSON value for people, by its path: "user.password"."""
    return MASK if is_secret(path.rpartition(".")[2]) and is_plain(value) else repr(masked(value))


def masked_literals(words: str, mask: Callable[[str], str] = masked_login) -> str:
    """Return the words of a rule with each text in quotes masked that it compares with; a regular expression is no secret."""
    return re.sub(LITERAL, lambda found: repr(mask(found[0][1:-1])), words)


def body_text(body: bytes) -> str:
    """Return a body for people: secrets masked, cut to a length; of one that is no text, its size."""
    if len(body) > READ:
        return f"({len(body)} bytes)"
    try:
        text = body.decode()
    except UnicodeDecodeError:
        return f"({len(body)} bytes that are no text)"
    try:
        text = json.dumps(masked(json.loads(text)), ensure_ascii=False)
    except ValueError:
        text = masked_text(text)
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}… ({len(body)} bytes)"


def masked(value: Any) -> Any:
    """Return a JSON value with the values of secret keys masked."""
    if isinstance(value, Mapping):
        return {key: MASK if is_secret(str(key)) and is_plain(each) else masked(each) for key, each in value.items()}
    if isinstance(value, list):
        return [masked(each) for each in value]
    return value


def is_plain(value: object) -> bool:
    """Tell whether a value is one that may be a secret itself."""
    return isinstance(value, str | int | float) and not isinstance(value, bool) and value != ""
