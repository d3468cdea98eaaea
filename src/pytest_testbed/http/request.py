"""A request as a stub server has received it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from .exchange import masked_url

__all__ = ["SLASH", "Headers", "Request", "decoded"]

SLASH = "\0"
"""Stands for a slash that is part of a name, not between two."""
UNREAD: Any = object()


def decoded(path: str) -> str:
    """Return a path with its parts decoded, each for itself."""
    return "/".join(unquote(part).replace("/", SLASH) for part in path.split("/"))


class Headers(Mapping[str, str]):
    """Headers in the order in which they came; names in any case, several values of one name joined by commas."""

    def __init__(self, items: Sequence[tuple[str, str]]) -> None:
        self.raw: tuple[tuple[str, str], ...] = tuple(items)
        self._values: dict[str, list[str]] = {}
        for name, value in self.raw:
            self._values.setdefault(name.lower(), []).append(value)

    def __getitem__(self, name: str) -> str:
        return ", ".join(self._values[name.lower()])

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and name.lower() in self._values

    def __iter__(self) -> Iterator[str]:
        return iter(dict.fromkeys(name for name, _ in self.raw))

    def __len__(self) -> int:
        return len(self._values)

    def __repr__(self) -> str:
        return f"Headers({dict(self)!r})"

    def all(self, name: str) -> list[str]:
        """Return each value of one name."""
        return self._values.get(name.lower(), [])


class Request:
    """A request that a stub server was sent.

    Args:
        method: in capitals.
        target: path and query as they were sent.
        headers: with their values.
        body: its bytes, decoded from chunks.
        client: address and port of who sent it.
    """

    def __init__(
        self,
        method: str,
        target: str,
        headers: Sequence[tuple[str, str]] = (),
        body: bytes = b"",
        client: tuple[str, int] = ("", 0),
    ) -> None:
        if "://" in target and not target.startswith("/"):  # the absolute form, as proxies get it
            _, _, path, query, _ = urlsplit(target)
            target = f"{path or '/'}?{query}" if query else path or "/"
        self.method = method
        self.target = target
        path, _, query = target.partition("?")
        self.raw_path: str = path
        self.raw_query: str = query
        self.path: str = unquote(self.raw_path) if "%" in self.raw_path else self.raw_path
        """The path, decoded."""
        self.headers: Headers = Headers(headers)
        """Its headers, found by their names in upper or lower case."""
        self.body = body
        self.client = client
        self.path_params: Mapping[str, str] = {}
        """The parts of the path that the stub's template names."""
        self._query: dict[str, list[str]] | None = None
        self._read: Any = UNREAD

    @property
    def query(self) -> Mapping[str, list[str]]:
        """Each parameter of the query with its values."""
        if self._query is None:
            found: dict[str, list[str]] = {}
            for name, value in parse_qsl(self.raw_query, keep_blank_values=True):
                found.setdefault(name, []).append(value)
            self._query = found
        return self._query

    @property
    def text(self) -> str:
        """The body as text; what is no UTF-8 in it is replaced."""
        return self.body.decode("utf-8", "replace")

    @property
    def json(self) -> Any:
        """The body as JSON.

        Raises:
            ValueError: it is none.
        """
        return json.loads(self.body)

    def peek(self) -> Any:
        """Return the body as JSON, read once and for all; nobody may change it.

        Raises:
            ValueError: it is none.
        """
        if self._read is UNREAD:
            self._read = json.loads(self.body)
        return self._read

    @property
    def parts(self) -> str:
        """Return the path with its parts decoded; a slash that is encoded in a part stands there as SLASH."""
        if "%" not in self.raw_path:
            return self.raw_path
        return decoded(self.raw_path)

    def __str__(self) -> str:
        """The method and the target, what is secret in its query masked."""
        return f"{self.method} {masked_url(self.target)}"

    def __repr__(self) -> str:
        return f"<Request {self}>"
