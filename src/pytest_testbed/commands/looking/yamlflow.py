"""What stands behind a key of YAML on one line: a text, or lists and mappings in brackets and braces."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import suppress

__all__ = ["entries", "plain"]

KEY = re.compile(r"""("[^"]*"|'[^']*'|[^\s:,{}\[\]"'][^:,{}\[\]]*?)\s*:(?=[\s,{}\[\]"'])""")
TEXT = re.compile(r"""\s*("[^"]*"|'[^']*'|[^,{}\[\]]*)\s*""")
SPACE = re.compile(r"\s*")

Entry = tuple[tuple[str, ...], str]
"""The keys that lead to a text from there (an entry of a list has the key "-"), and the text."""


def entries(body: str) -> Iterator[Entry]:
    """Yield all texts; none of what is not closed on its line, or nested too deeply."""
    body = body.strip()
    if body[:1] not in ("{", "["):
        yield from (((), each) for each in plain(body))
        return
    found: list[Entry] = []
    with suppress(ValueError, IndexError, RecursionError):
        rest = body[_bracketed(body, 0, (), found) :].strip()
        if not rest or rest.startswith("#"):
            yield from found


def plain(text: str) -> list[str]:
    """Return a text without its quotes and comment; [] for what is none: an anchor, an alias, a tag, a text of several lines."""
    text = text.strip()
    if text[:1] in ("'", '"'):
        end = text.find(text[0], 1)
        return [text[1:end]] if end > 0 else []
    text = re.sub(r"\s+#.*$", "", text)
    return [] if not text or text[0] in "&*!|>#" else [text]


def _bracketed(text: str, at: int, keys: tuple[str, ...], found: list[Entry]) -> int:
    """Take what is between two brackets or braces, of which the first is at a place; return where it goes on.

    Raises:
        ValueError: it is not of this form.
        IndexError: it is not closed.
    """
    is_mapping = text[at] == "{"
    close = "}" if is_mapping else "]"
    at = _after_space(text, at + 1)
    while text[at] != close:
        inner = (*keys, "-")
        if is_mapping:
            if (key := KEY.match(text, at)) is None:
                raise ValueError(text)
            inner = (*keys, key[1].strip("\"'"))
            at = _after_space(text, key.end())
        if text[at] in "{[":
            at = _after_space(text, _bracketed(text, at, inner, found))
        else:
            match = TEXT.match(text, at)
            assert match is not None
            found += ((inner, each) for each in plain(match[1]))
            at = match.end()
        if text[at] == ",":
            at = _after_space(text, at + 1)
        elif text[at] != close:
            raise ValueError(text)
    return at + 1


def _after_space(text: str, at: int) -> int:
    match = SPACE.match(text, at)
    return match.end() if match else at
