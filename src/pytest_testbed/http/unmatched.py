"""Requests that no stub matched, and stubs that no request used: what a test is told of them."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from re import Pattern
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from .exchange import MASK, NAMES, masked_url

if TYPE_CHECKING:
    from requests import PreparedRequest
    from responses import BaseResponse

__all__ = ["NearStub", "Unmatched", "unmatched_text", "unused_text"]

SHOWN = 5
"""Stubs that are shown with a request, and requests that are shown."""
LONGEST = 2000
"""Characters of a reason that are shown."""
SECRET = rf"""(?i)(?P<head>['"]?(?:{NAMES}|[\w-]*cookie[\w-]*)['"]?\s*[:=]\s*)(?:'[^']*'|"[^"]*"|[^,}}\n]+)"""
"""A secret member in the reasons of `responses`, which show values as Python does."""


@dataclass(frozen=True, slots=True)
class NearStub:
    """A stub that did not match, and how it differs.

    Args:
        name: method and URL of the stub.
        distance: the less, the nearer it is to the request.
        reasons: one for each thing that differs.
    """

    name: str
    distance: tuple[int, float]
    reasons: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Unmatched:
    """A request that no stub matched.

    Args:
        method: such as "POST".
        url: whole, as it was sent.
        request: the `requests.PreparedRequest`.
        stubs: those that there were, the nearest first.
    """

    method: str
    url: str
    request: Any
    stubs: tuple[NearStub, ...]

    @classmethod
    def from_request(cls, request: PreparedRequest, stubs: Iterable[BaseResponse]) -> Unmatched:
        """Compare a request with each stub now, as stubs come and go."""
        near = sorted((compared(request, stub) for stub in stubs), key=lambda each: each.distance)
        return cls(str(request.method), str(request.url), request, tuple(near))

    def lines(self) -> tuple[str, ...]:
        """Return the lines of a report."""
        return tuple(self._lines())

    def _lines(self) -> Iterator[str]:
        yield f"{self.method} {masked_url(self.url)}"
        if not self.stubs:
            yield "    there are no stubs"
        for stub in self.stubs[:SHOWN]:
            yield f"    not {stub.name}:"
            yield from (f"        {line}" for reason in stub.reasons for line in reason.splitlines())
        if len(self.stubs) > SHOWN:
            yield f"    and {len(self.stubs) - SHOWN} more stubs, which differ more"


def compared(request: PreparedRequest, stub: BaseResponse) -> NearStub:
    """Say how a stub differs from a request that it did not match."""
    reasons = []
    if request.method != stub.method:
        reasons.append(f"the method is {request.method}, not {stub.method}")
    url_reasons, distance = url_compared(str(request.url), stub.url)
    reasons += url_reasons
    if not reasons:
        _, said = stub.matches(request)
        reasons.append(re.sub(SECRET, rf"\g<head>{MASK}", said)[:LONGEST] or "it was used up")
    return NearStub(name_of(stub), (len(url_reasons) + (request.method != stub.method), distance), tuple(reasons))


def url_compared(url: str, wanted: str | Pattern[str]) -> tuple[list[str], float]:
    """Say in which parts two URLs differ, and how far they are from each other, 0 to 1."""
    from difflib import SequenceMatcher

    if isinstance(wanted, Pattern):
        return ([], 0) if wanted.match(url) else (["the URL does not match the pattern from its beginning"], 0.5)
    is_, stub = urlsplit(url), urlsplit(wanted)
    pairs = (
        ("scheme", is_.scheme, stub.scheme),
        ("host", is_.netloc.rpartition("@")[2], stub.netloc.rpartition("@")[2]),
        ("path", is_.path or "/", stub.path or "/"),
    )
    reasons = [f"the {name} is {one}, not {other}" for name, one, other in pairs if one != other]
    if not reasons and is_.netloc != stub.netloc:
        reasons.append("the name and password in the URL are not the stub's: they are part of what is compared")
    return reasons, 1 - SequenceMatcher(None, url, wanted).ratio()


def name_of(stub: BaseResponse) -> str:
    """Return a stub's method and URL."""
    url = f"re.compile({stub.url.pattern!r})" if isinstance(stub.url, Pattern) else masked_url(stub.url)
    return f"{stub.method} {url}"


def origin(url: str) -> str:
    """Return the beginning of a URL, up to its host and port."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}/"


def unmatched_text(requests: Sequence[Unmatched]) -> str:
    """Return what a test is told whose requests met no stub."""
    count = len(requests)
    lines = [f"{count} request{'s' * (count > 1)} of this test met no stub of http_mock:"]
    alike = Counter(each.lines() for each in requests)  # code that tries again sends the same
    for told, times in list(alike.items())[:SHOWN]:
        lines += ["", f"  {told[0]}" + (f" ({times} times)" if times > 1 else ""), *(f"  {line}" for line in told[1:])]
    if len(alike) > SHOWN:
        lines += ["", f"  and {len(alike) - SHOWN} others"]
    host = origin(requests[0].url)
    lines += [
        "",
        f"Add a stub; or let such requests through by @pytest.mark.http_mock(passthrough={host!r}) or",
        f"http_mock.add_passthru({host!r}); where the test wants such a request, it ends with http_mock.unmatched.clear().",
    ]
    return "\n".join(lines)


def unused_text(stubs: Sequence[BaseResponse], source: str, way_out: str = "say @pytest.mark.http_mock(strict=False)") -> str:
    """Return what a test is told that has stubs too many.

    Args:
        stubs: those that no request has used.
        source: who said that this is a fault.
        way_out: what makes it none.
    """
    count = len(stubs)
    lines = [f"{count} stub{'s' * (count > 1)} of http_mock {'were' if count > 1 else 'was'} not used by any request ({source}):"]
    lines += ["", *(f"  {name_of(stub)}" for stub in stubs), ""]
    lines.append(f"Take them away, see why the code does not ask, or {way_out}.")
    return "\n".join(lines)
