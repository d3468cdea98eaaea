"""Which broker was named: by our own option, or by `RABBITMQ_URL` where that is safe."""

from __future__ import annotations

from collections.abc import Mapping

from ..given import GivenUrl, of_variable
from .service import parse_url

__all__ = ["given_url"]


def given_url(url: str | None, source: str, environ: Mapping[str, str]) -> GivenUrl:
    """Return the broker that our own option names, else the one of `RABBITMQ_URL` where that is safe."""
    if url:
        return GivenUrl(url, source)
    general = environ.get("RABBITMQ_URL", "")
    if not general.startswith(("amqp://", "amqps://", "pyamqp://")):
        return GivenUrl()
    hosts = lambda text: [parse_url(text).host]  # noqa: E731
    return of_variable("RABBITMQ_URL", general, environ, "a virtual host", "testbed_rabbitmq_url", hosts)
