"""Logging in: a login is sent, the token is found in its answer, and kept for the run."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ..errors import AppError
from .apiresponse import ApiResponse, found_at

__all__ = ["Login", "Tokens"]


@dataclass(frozen=True, slots=True)
class Login:
    """How one logs in.

    Args:
        path: where, behind the client's base.
        form: send a form instead of JSON.
        token: where the token is in the answer: keys with dots between; "" where the answer sets a cookie.
        scheme: the word before it in the Authorization header; "" for none.
        credentials: the fields of the login where nobody says others.
    """

    path: str = "/auth/login"
    form: bool = False
    token: str = "token"  # noqa: S105 - the name of a key
    scheme: str = "Bearer"
    credentials: Mapping[str, str] = field(default_factory=dict)

    def arguments(self, fields: Mapping[str, Any]) -> dict[str, Any]:
        """Return what the request of a login is sent with."""
        return {"data" if self.form else "json": dict(fields)}

    def header_of(self, answer: ApiResponse) -> str:
        """Return the Authorization header that follows from the answer to a login.

        Raises:
            AppError: the login was refused, or there is no token in the answer.
        """
        __tracebackhide__ = True
        if not 200 <= answer.native.status_code < 300:
            raise AppError(f"the login was refused:\n{answer._told()}")
        if not self.token:
            return ""  # by the session's cookie
        try:
            token = found_at(answer.json(), self.token)
        except ValueError:
            raise AppError(f"the answer to the login is no JSON:\n{answer._told()}") from None
        except LookupError as error:
            raise AppError(
                f"the answer to the login has no token at testbed_api_token = {self.token}: {error}.\n{answer._told()}"
            ) from None
        if not isinstance(token, str) or not token:
            raise AppError(
                f"the answer to the login has at testbed_api_token = {self.token} no text, but a value of type "
                f"{type(token).__name__}.\n{answer._told()}"
            )
        return f"{self.scheme} {token}".strip()


class Tokens:
    """The Authorization headers of users who have logged in, for a run."""

    def __init__(self) -> None:
        self._headers: dict[str, str] = {}

    def key(self, place: str, fields: Mapping[str, Any]) -> str:
        """Return what a login is known by: where, and who."""
        return f"{place} {json.dumps(dict(fields), sort_keys=True, default=repr)}"

    def get(self, key: str) -> str | None:
        """Return a header, if there is one."""
        return self._headers.get(key)

    def put(self, key: str, header: str) -> None:
        """Keep a header."""
        self._headers[key] = header

    def drop(self, key: str) -> None:
        """Forget a header."""
        self._headers.pop(key, None)
