"""What a stub server answers."""

from __future__ import annotations

import json as _json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

__all__ = ["FAULTS", "Answer", "answer_of", "made_answer"]

__tracebackhide__ = True  # of what users have given that cannot be, pytest shows their line
FAULTS = ("reset", "empty", "garbage", "half-chunk")
"""What can be wrong on the socket: reset by peer, closed without an answer, no HTTP at all, closed in the middle of a chunk."""
HEADER_NAME = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
LINE = "[\t\x20-\x7e\x80-\xff]*"
LONGEST = 1e6
ABSENT: Any = object()
"""No JSON body; None is one."""


@dataclass(frozen=True)
class Answer:
    """An answer of a stub, where more is to be said than a status and a body.

    Args:
        status: HTTP status code.
        json: body, as JSON.
        body: text or bytes instead.
        headers: each with its value, or a list of values.
        delay: seconds to wait before it is sent.
        fault: one of "reset", "empty", "garbage", "half-chunk": what goes wrong instead of an answer.
        reason: the words behind the status code; "" for the usual ones.

    Raises:
        ValueError: a value cannot be one, or both kinds of body are given.
        TypeError: the JSON body cannot be said in JSON.
    """

    status: int = 200
    json: Any = ABSENT
    body: str | bytes = b""
    headers: Mapping[str, str | int | list[str]] = field(default_factory=dict)
    delay: float = 0.0
    fault: str | None = None
    reason: str = ""

    def __post_init__(self) -> None:
        if not isinstance(self.status, int) or isinstance(self.status, bool) or not 200 <= self.status <= 599:
            raise ValueError(f"status {self.status!r} is not a status code: a whole number from 200 to 599")
        if self.json is not ABSENT and self.body:
            raise ValueError("an answer has json= or body=, not both")
        if not isinstance(self.delay, int | float) or not 0 <= self.delay < LONGEST:
            raise ValueError(f"delay {self.delay!r} is not a number of seconds from 0 on")
        if not isinstance(self.body, str | bytes | bytearray | memoryview):
            raise TypeError(f"body {self.body!r} is neither text nor bytes; JSON has an argument of its own")
        if self.fault is not None and self.fault not in FAULTS:
            raise ValueError(f"fault {self.fault!r} is not one of {', '.join(FAULTS)}")
        content, content_type = self._encoded()
        names = {name.lower() for name in self.headers}
        pairs: list[tuple[str, Any]] = [("Content-Type", content_type)] if content_type and "content-type" not in names else []
        for name, value in self.headers.items():
            several = value if isinstance(value, list | tuple) else [value]
            pairs += [(name, str(each) if type(each) in (int, float) else each) for each in several]
        for name, value in pairs:
            if not isinstance(name, str) or re.fullmatch(HEADER_NAME, name) is None:
                raise ValueError(f"{name!r} is not the name of a header")
            if not isinstance(value, str) or re.fullmatch(LINE, value) is None:
                raise ValueError(f"header {name!r}: {value!r} is not a text on one line, of Latin-1 characters")
        if self.reason and re.fullmatch(LINE, self.reason) is None:
            raise ValueError(f"reason {self.reason!r} is not a text on one line, of Latin-1 characters")
        object.__setattr__(self, "content", content)
        object.__setattr__(self, "pairs", tuple(pairs))

    content: bytes = field(init=False, repr=False, compare=False, default=b"")
    pairs: tuple[tuple[str, str], ...] = field(init=False, repr=False, compare=False, default=())

    def _encoded(self) -> tuple[bytes, str]:
        if self.json is not ABSENT:
            return _json.dumps(self.json).encode(), "application/json"
        if isinstance(self.body, str):
            return self.body.encode(), "text/plain; charset=utf-8" if self.body else ""
        return bytes(self.body), ""  # what bytes are, only their author knows

    def __str__(self) -> str:
        return f"fault {self.fault}" if self.fault else str(self.status)


def answer_of(value: object) -> Answer:
    """Return the answer that a short form stands for: a status, text or bytes, or a JSON value; None is an empty 200.

    Raises:
        TypeError: it stands for none.
        ValueError: it stands for a bad one.
    """
    if isinstance(value, Answer):
        return value
    if isinstance(value, tuple) and 2 <= len(value) <= 3 and isinstance(value[0], int):
        return made_answer(*value)
    if value is None:
        return Answer()
    if isinstance(value, int) and not isinstance(value, bool):
        return Answer(value)
    if isinstance(value, str | bytes):
        return Answer(body=value)
    if isinstance(value, dict | list):
        return Answer(json=value)
    raise TypeError(
        f"{value!r} is no answer: give an Answer, a status, text or bytes, a dict or a list, or (status, body[, headers])"
    )


def made_answer(status: int, body: object = None, headers: Mapping[str, str | int | list[str]] | None = None) -> Answer:
    """Return the answer of a tuple (status, body[, headers])."""
    if isinstance(body, str | bytes):
        return Answer(status, body=body, headers=headers or {})
    return Answer(status, headers=headers or {}) if body is None else Answer(status, json=body, headers=headers or {})
