"""What a client got, with assertions whose errors show the exchange."""

from __future__ import annotations

import json
from typing import Any

from ..errors import ConfigurationError
from ..jsonpart import differences
from .exchange import Exchange, masked_url

__all__ = ["ApiResponse"]


class ApiResponse:
    """An answer: all that the library's own one has (`status_code`, `headers`, `text`, …), and assertions.

    Args:
        native: a `requests.Response` or an `httpx.Response`.
        exchange: what was said.
    """

    def __init__(self, native: Any, exchange: Exchange) -> None:
        self.native = native
        self._exchange = exchange

    def __getattr__(self, name: str) -> Any:
        if name == "native":  # of a copy that is not yet made
            raise AttributeError(name)
        return getattr(self.native, name)

    def __enter__(self) -> ApiResponse:
        return self

    def __exit__(self, *error: object) -> None:
        self.native.close()

    def __bool__(self) -> bool:
        return bool(self.native)

    def __repr__(self) -> str:
        return f"<ApiResponse {self.native.status_code} to {self._exchange.method} {masked_url(self._exchange.url)}>"

    def json(self, **options: Any) -> Any:
        """Return the body, read as JSON."""
        return self.native.json(**options)

    def assert_status(self, *wanted: int | str | range) -> ApiResponse:
        """Check the status: a number, "2xx", or a range; one of them where there are several.

        Raises:
            AssertionError: it is another; shows the exchange.
        """
        __tracebackhide__ = True
        status: int = self.native.status_code
        if not wanted:
            raise ConfigurationError('assert_status wants at least one status, such as 201 or "2xx".')
        if not any(_is_status(status, each) for each in wanted):
            shown = " or ".join(_shown(each) for each in wanted)
            raise AssertionError(f"the status is {status}, not {shown}\n{self._told()}")
        return self

    def assert_json(self, part: Any) -> ApiResponse:
        """Check that the body is JSON and has all that a part says; keys of objects that it does not name may be there as well.

        Raises:
            AssertionError: something is missing or different; names each, and shows the exchange.
        """
        __tracebackhide__ = True
        try:
            body = self.json()
        except ValueError:
            raise AssertionError(f"the body is no JSON\n{self._told()}") from None
        if lines := list(differences(body, part)):
            raise AssertionError("\n".join(["the body is not as wanted:", *(f"  {line}" for line in lines), self._told()]))
        return self

    def _told(self) -> str:
        return "\n".join(self._exchange.lines())


def _is_status(status: int, wanted: int | str | range) -> bool:
    if isinstance(wanted, range):
        return status in wanted
    if isinstance(wanted, int):
        return status == wanted
    digits = wanted.lower().rstrip("x")
    if len(wanted) != 3 or not digits.isdigit():
        raise ConfigurationError(f'assert_status does not know {wanted!r}; it knows a number such as 201, "2xx", or a range.')
    return str(status).startswith(digits)


def _shown(wanted: int | str | range) -> str:
    return f"{wanted.start} to {wanted.stop - 1}" if isinstance(wanted, range) else str(wanted)


def found_at(body: Any, path: str) -> Any:
    """Return what is in a JSON value at a path of keys with dots between, such as data.token or items.0.id.

    Raises:
        LookupError: there is nothing; says which keys are there, instead of which.
    """
    here = body
    for key in path.split("."):
        if isinstance(here, list) and key.isdigit() and int(key) < len(here):
            here = here[int(key)]
        elif isinstance(here, dict) and key in here:
            here = here[key]
        else:
            there = f"the keys {json.dumps(sorted(map(str, here)))}" if isinstance(here, dict) else f"a {type(here).__name__}"
            raise LookupError(f"there is no {key!r} in it, but {there}")
    return here
