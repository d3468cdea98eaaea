"""What may stand where in a mapping, and how a mapping that has something else there is told."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from ..nearest import suggestion

__all__ = ["Bad", "Place", "known", "nearest", "typed"]

Place = tuple[str | int, ...]
"""The keys and indexes that lead somewhere."""

FOREIGN = {
    *("postServeActions", "serveEventListeners", "transformers", "transformerParameters", "proxyBaseUrl"),
    *("additionalProxyRequestHeaders", "removeProxyRequestHeaders", "proxyUrlPrefixToRemove", "chunkedDribbleDelay"),
    *("customMatcher", "multipartPatterns", "formParameters", "host", "port", "scheme", "clientIp", "importOptions"),
    *("matchesJsonSchema", "equalToXml", "matchesXPath", "equalToNumber", "hasExactly", "includes"),
    *("before", "after", "equalToDateTime", "doesNotMatchJsonPath"),
}
"""Words of WireMock's that are known, and not understood."""
NAMES = {str: "text", int: "a whole number", bool: "true or false", dict: "an object", list: "a list"}


class Bad(Exception):
    """A mapping says what is not understood.

    Args:
        path: what leads there.
        text: what is wrong.
    """

    def __init__(self, path: Place, text: str) -> None:
        super().__init__(text)
        self.path = path


def known(value: Any, at: Place, keys: tuple[str, ...], what: str) -> None:
    """Check that a value is an object with known keys.

    Raises:
        Bad: it is none, or has another key; says the nearest.
    """
    if not isinstance(value, dict):
        raise Bad(at, f"{what} is {value!r}, not an object.")
    for key in value:
        if key in keys:
            continue
        if key in FOREIGN:
            if value[key] in ([], {}, None, ""):
                continue  # WireMock writes empty ones into the files that it records
            raise Bad((*at, key), f"{key!r} is one of WireMock's keys that mock_service does not understand.")
        raise Bad((*at, key), f"{key!r} is not a key of {what}{nearest(key, keys)}")


def nearest(word: str, words: Collection[str]) -> str:
    """Return the end of a sentence on a word that there is not: the nearest one, or all of them."""
    return suggestion(word, words) or f"; there are: {', '.join(words)}."


def typed(value: Mapping[str, Any], at: Place, key: str, kind: type, default: Any) -> Any:
    """Return the value of a key, or the default, which null stands for as well.

    Raises:
        Bad: it is of another type.
    """
    found = value.get(key)
    if found is None:
        return default
    if not isinstance(found, kind) or (kind is int and isinstance(found, bool)):
        raise Bad((*at, key), f"{key!r} is {found!r}, not {NAMES[kind]}.")
    return found
