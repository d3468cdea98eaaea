"""What a client sends with: a session of requests, or a client of httpx, alike for both."""

from __future__ import annotations

import sys
from importlib.util import find_spec
from inspect import signature
from typing import Any

from ..errors import ConfigurationError
from .called import WsgiAdapter, asgi_client
from .live import LiveApp

__all__ = ["failures", "fresh_connections", "native_client", "rewinder"]


def native_client(app: LiveApp, library: str, is_near: bool) -> Any:
    """Return a `requests.Session` or an `httpx.Client` that reaches the application.

    Args:
        app: the application.
        library: "requests" or "httpx"; an ASGI application that is called directly has Starlette's client.
        is_near: whether its host is this machine: then no proxy and no .netrc of the user's is asked.

    Raises:
        ConfigurationError: httpx is not installed.
    """
    if app.is_in_process and app.interface == "asgi":
        return asgi_client(app.app, app.portal)
    if library == "httpx":
        if find_spec("httpx") is None:
            raise ConfigurationError(
                "testbed_api_library = httpx needs the package httpx, which is not installed: pip install "
                "'pytest-testbed[httpx]'. Or leave the option out: then api_client sends with requests."
            )
        import httpx

        transport = httpx.WSGITransport(app.app, raise_app_exceptions=False) if app.is_in_process else None
        # no connection is kept: see `fresh_connections`
        limits = httpx.Limits(max_keepalive_connections=0)
        return httpx.Client(transport=transport, trust_env=not is_near, limits=limits, follow_redirects=True)
    import requests

    session = requests.Session()
    session.trust_env = not is_near
    adapter = WsgiAdapter(app.app) if app.is_in_process else _unseen()()
    session.mount("http://", adapter)
    if not app.is_in_process:
        session.mount("https://", adapter)
    return session


def fresh_connections(native: Any) -> Any:
    """Let the next request make a connection of its own; returns what has to be closed in the end, None for nothing.

    Servers close one after an error of the application without saying so in the answer, uvicorn for one; whether that is
    seen before the next request is sent on it is a matter of luck. Requests of other threads go on undisturbed.
    """
    if not type(native).__module__.startswith("requests"):
        return None  # keeps none
    old = native.get_adapter("http://")
    if isinstance(old, WsgiAdapter):
        return None
    adapter = type(old)()
    native.mount("http://", adapter)
    native.mount("https://", adapter)
    return old


_made: dict[Any, Any] = {}


def _unseen() -> Any:
    """Return the class of an adapter that the patches of `responses` do not see: they are for what the application calls."""
    from requests.adapters import HTTPAdapter

    send = HTTPAdapter.send
    if send.__module__ != HTTPAdapter.__module__ and "responses" in sys.modules:  # it is patched just now
        mock = sys.modules["responses"].RequestsMock
        send = signature(mock).parameters["real_adapter_send"].default  # what it calls where it lets a request through
    if send not in _made:
        _made[send] = type("Adapter", (HTTPAdapter,), {"send": lambda self, *args, **more: send(self, *args, **more)})  # noqa: PLW0108  # it may be no function
    return _made[send]


def failures(native: Any) -> type[Exception]:
    """Return the class of errors that a request which gets no answer raises."""
    if type(native).__module__.startswith("requests"):
        import requests

        return requests.RequestException
    error: type[Exception] = sys.modules[_base(type(native))].HTTPError
    return error


def _base(client: type) -> str:
    """Return the package of an httpx client: httpx, or httpx2."""
    return next(each.__module__.partition(".")[0] for each in client.__mro__ if each.__module__.startswith("httpx"))


# --- bodies that can be sent once more


def _streams(options: dict[str, Any]) -> list[Any]:
    """Return what of a request's arguments is read while it is sent."""
    found: list[Any] = []

    def look(value: Any) -> None:
        if isinstance(value, dict):
            value = list(value.values())
        if isinstance(value, list | tuple):
            for each in value:
                look(each)
        elif hasattr(value, "read") or hasattr(value, "__next__") or hasattr(value, "__aiter__"):
            found.append(value)

    for name in ("data", "content", "files"):
        look(options.get(name))
    return found


def rewinder(options: dict[str, Any]) -> Any:
    """Return what sets the bodies of a request back to where they are now; None where one cannot be set back."""
    streams = _streams(options)
    try:
        places = [(each, each.tell()) for each in streams]
    except (AttributeError, OSError):
        return None
    if not all(each.seekable() for each in streams):
        return None

    def rewind() -> None:
        for each, place in places:
            each.seek(place)

    return rewind
