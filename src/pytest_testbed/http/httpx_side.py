"""The stubs of a mock answer the requests of httpx and httpx2 as well, where respx is installed."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .mock import HttpMock

__all__ = ["HttpxSide"]


class HttpxSide:
    """Stub."""

    def __init__(self, mock: HttpMock) -> None:
        self._mock = mock

    def start(self) -> None:
        """Begin."""

    def stop(self) -> None:
        """End."""
