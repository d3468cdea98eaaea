"""The application under test as it runs: where it is, whether it still is."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol
from urllib.parse import urlsplit

from ..errors import AppError
from .loading import told

__all__ = ["LiveApp", "Server"]


class Server(Protocol):
    """What an application runs on."""

    def fault(self, patience: float = 0) -> str:
        """Return why it does not run any more, "" while it does; waits so many seconds for its end."""

    def stop(self) -> str:
        """End it; return what did not go well, "" for nothing."""


class LiveApp:
    """The application under test, as it runs.

    Args:
        url: where it is, without a slash at the end.
        app: the application itself, where it is in this process: `live_app.app.dependency_overrides`.
        interface: what it is, "wsgi" or "asgi"; "" for one that is elsewhere.
        server: what it runs on; None for one that we have not started.
        portal: for an ASGI application without a server, what it is called through.
        close: ends that.
    """

    def __init__(
        self,
        url: str,
        app: Any = None,
        interface: str = "",
        server: Server | None = None,
        *,
        portal: Any = None,
        close: Callable[[], None] | None = None,
    ) -> None:
        self.url = url
        self.app = app
        self.interface = interface
        self.portal = portal
        self._server = server
        self._close = close
        self._is_told = False

    @property
    def host(self) -> str:
        """The name or address of its host."""
        return urlsplit(self.url).hostname or ""

    @property
    def port(self) -> int:
        """Its port."""
        parts = urlsplit(self.url)
        return parts.port or (443 if parts.scheme == "https" else 80)

    @property
    def is_in_process(self) -> bool:
        """Whether it has no port and is called directly."""
        return self.app is not None and self._server is None

    def check(self, patience: float = 0) -> None:
        """Check that it still runs.

        Args:
            patience: seconds in which it may turn out that it does not.

        Raises:
            AppError: it does not; says why.
        """
        __tracebackhide__ = True
        if self._server is not None and (fault := self._server.fault(patience)):
            self._is_told = True
            raise AppError(fault)

    def stop(self) -> str:
        """End it; return what did not go well, "" for nothing, or nothing that was not told already."""
        if self._close is not None:
            return self._closed(self._close)
        fault = self._server.stop() if self._server is not None else ""
        return "" if self._is_told else fault

    @staticmethod
    def _closed(close: Callable[[], None]) -> str:
        try:
            close()
        except AppError as error:
            return str(error)
        except Exception as error:
            return f"the application ended with an error:\n{told(error)}"
        return ""

    @property
    def server(self) -> Server | None:
        """What it runs on."""
        return self._server

    def __repr__(self) -> str:
        from .exchange import masked_url

        return f"<LiveApp {masked_url(self.url)}>"
