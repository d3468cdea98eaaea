"""Who wants a connection, and for which request: seen by the frames that lead to it."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import FrameType
from typing import Any

__all__ = ["Caller", "caller_of"]

CLIENTS = frozenset(
    (
        *("requests", "httpx", "httpx2", "httpcore", "httpcore2", "urllib3", "aiohttp", "http.client", "urllib.request"),
        *(
            "xmlrpc.client",
            "httplib2",
            "treq",
            "tornado",
            "niquests",
            "websockets",
            "websocket",
            "botocore",
            "aiobotocore",
            "boto3",
        ),
        *("elasticsearch", "opensearchpy", "pymongo", "redis", "pika", "aio_pika", "aiormq", "psycopg", "asyncpg", "pymysql"),
        *("smtplib", "aiosmtplib", "ftplib", "imaplib", "poplib", "paramiko", "ldap3", "docker", "testcontainers"),
    )
)
PLUMBING = frozenset(
    (
        *("anyio", "trio", "sniffio", "aiohappyeyeballs", "h11", "h2", "gevent", "wrapt"),
        *("sentry_sdk", "opentelemetry", "ddtrace", "newrelic"),
    )
)
"""What may stand between a client and its connection."""
OURS = "pytest_testbed"


@dataclass(frozen=True, slots=True)
class Caller:
    """Who wants a connection.

    Args:
        package: the client, such as "requests"; where none is known, the module whose code it is.
        method: of the request, "" where no frame has one.
        url: of the request, whole; "" where no frame has one.
    """

    package: str
    method: str = ""
    url: str = ""


def caller_of(frame: FrameType | None) -> Caller:
    """Look from a frame outwards: through the clients on the way, to the first that is none.

    What is further out may be a client too, such as one that calls the application in this process.
    """
    package = other = method = url = ""
    while frame is not None:
        module = str(frame.f_globals.get("__name__", ""))
        top = module.partition(".")[0]
        if module == "asyncio.events" and frame.f_code.co_name == "_run":
            break  # a task of the loop: who runs the loop has not asked
        client = module if module in CLIENTS else top if top in CLIENTS else ""
        if client:
            package = client
            if not url:
                method, url = request_in(frame.f_locals)
        elif not (top in sys.stdlib_module_names or top in PLUMBING or top == OURS):
            other = other or top
            if package:
                break
        frame = frame.f_back
    return Caller(package or other or "asyncio", method, url)


def request_in(names: Mapping[str, Any]) -> tuple[str, str]:
    """Return method and URL of the request that is among a function's names; two "" where none is."""
    for made in requests_in(names):
        return made
    return "", ""


def requests_in(names: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield the method and the URL of each request that local variables of a client hold."""
    for name in ("request", "req"):
        made = names.get(name)
        method, url = getattr(made, "method", None), getattr(made, "url", None)
        if isinstance(method, str) and "://" in str(url):
            yield method, str(url)
    method, url = names.get("method"), str(names.get("url") or "")
    if isinstance(method, str) and url:
        if "://" in url:
            yield method, url
        elif url.startswith("/"):
            connection = names.get("self")
            host, port = getattr(connection, "host", None), getattr(connection, "port", None)
            default = getattr(connection, "default_port", None)
            scheme = getattr(connection, "scheme", None) or ("https" if default == 443 else "http")
            if isinstance(host, str):
                shown = "" if port in (None, default, {"https": 443, "http": 80}.get(scheme)) else f":{port}"
                yield method, f"{scheme}://{host}{shown}{url}"
